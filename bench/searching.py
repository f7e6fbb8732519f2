"""What the benches of searches share: one search in a store of its own."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlproject import journal, search, tracking
from mlproject.journal import Journal
from mlproject.search import Found
from mlproject.tasks import Task


@contextlib.contextmanager
def store() -> Iterator[None]:
    """An empty folder as the working one, with an MLflow store in it that is gone afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            tracking.choose_experiment(tracking.connect(), "bench")
            yield
        finally:
            os.chdir(before)


def searched(
    task: Task, name: str, tuner: str, search_seconds: float, max_trials: int | None = None
) -> tuple[Found, Journal]:
    """A whole search that takes so many seconds for its trials, tracked as ever; `name` must be new in the store."""
    with (
        journal.opened(Path("searches"), name, search.made_of(task, {"name": name})) as kept,
        tracking.run(name, {"role": "search", "search": kept.search}),
    ):
        return search.search(task, kept, tuner, search_seconds / search.SEARCH_SHARE, max_trials), kept
