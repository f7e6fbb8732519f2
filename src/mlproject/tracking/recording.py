"""Logging in a process without a store: a worker's writes are recorded there, and sent by the process that has the store."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mlproject.tracking import store
from mlproject.tracking.log import RECORDER, log_run_arrays
from mlproject.tracking.outbox import Item


@contextmanager
def recorded() -> Iterator[list[Item]]:
    """Inside of this, `log_params`, `log_metrics`, `set_tags` and `log_arrays` write into a list and not into a store.

    Yields:
        What was logged so far, for `replay`. Metrics carry the time at which they were logged.
    """
    items: list[Item] = []
    token = RECORDER.set(items)
    try:
        yield items
    finally:
        RECORDER.reset(token)


def replay(run_id: str, items: Iterable[dict[str, Any]]) -> None:
    """Log into a run what another process recorded.

    Args:
        run_id: The run, active or not.
        items: What `recorded` gave, or a part of it. Metrics that are sent twice count once.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    for item in items:
        if "arrays" in item:
            log_run_arrays(run_id, item["path"], item["arrays"])
        else:
            store.send(item | {"run_id": run_id})
