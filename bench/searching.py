"""What the benches share: a search, or a whole `tune` in a store of its own whatever the surroundings name."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlproject import journal, search, tracking
from mlproject.journal import Journal
from mlproject.search import Found
from mlproject.tasks import Task

import mlflow
import pandas as pd

PROJECT = Path(__file__).resolve().parent.parent
JOURNALS = Path(".mlproject", "benches")


@contextlib.contextmanager
def store() -> Iterator[None]:
    """An empty folder as the working one, with an MLflow store in it that is gone afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update(_own_store(Path(folder)))
        try:
            tracking.choose_experiment(tracking.connect(), "bench")
            yield
        finally:
            os.chdir(before)


def _own_store(folder: Path) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}


def tune(experiment: str, folder: Path, *arguments: str, data_dir: str | None) -> dict:
    """What `subprocess` is to be called with for `tune` of one experiment in an empty folder; `cwd` and the store are there."""
    (folder / "experiments").symlink_to(PROJECT / "experiments")
    command = [sys.executable, "-m", "mlproject", "tune", "--experiment", experiment, *arguments]
    command += ["--data-dir", str(Path(data_dir).resolve()) if data_dir else ""]
    return {"args": command, "cwd": folder, "env": os.environ | _own_store(folder), "stdout": subprocess.DEVNULL}


def searched(
    task: Task, name: str, tuner: str, search_seconds: float, max_trials: int | None = None
) -> tuple[Found, Journal]:
    """A whole search that takes so many seconds for its trials, tracked as ever; one that was begun in this store goes on."""
    settings = {"name": name, "tuner": tuner, "seed": task.seed, "seconds": search_seconds, "max_trials": max_trials}
    with journal.opened(JOURNALS, name, search.made_of(task, settings)) as kept:
        parent = tracking.find_run(kept.search, "search")
        if kept.trials and parent is None:  # its runs were deleted
            kept.restart()
        with tracking.run(name, {"role": "search", "search": kept.search}, resume=parent):
            tracking.log_params(settings)
            return search.search(task, kept, tuner, search_seconds / search.SEARCH_SHARE, max_trials), kept


def finished(made_by: Mapping[str, object]) -> pd.DataFrame:
    """The finished runs in the active MLflow experiment that have these parameters."""
    same = [f"params.{name} = '{value}'" for name, value in made_by.items()]
    return mlflow.search_runs(filter_string=" AND ".join([*same, "attributes.status = 'FINISHED'"]))
