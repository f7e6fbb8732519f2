"""Log into the active run: parameters, metrics and tags through the outbox, artifacts with retries.

In a worker, which has no store, what is logged is recorded, and sent by the process that has one.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.numpy_dataset import from_numpy
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from numpy.typing import NDArray

from mlproject.tracking import store
from mlproject.tracking.outbox import Item

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGEST_LENGTH = 36  # of a data set; MLflow keeps no more
ADDRESSES = ("http://", "https://", "s3://", "gs://")  # of sources that MLflow knows; it refuses others, such as hf://
NOTHING: Mapping[str, Any] = MappingProxyType({})
# What takes all writes inside of `record`. None sends them to the store.
_recorder: ContextVar[list[Item] | None] = ContextVar("recorder", default=None)


def active_run_id() -> str:
    """The id of the active run, which `tracking.run` began.

    Returns:
        MLflow's run id.

    Raises:
        RuntimeError: No run is active.
    """
    if _recorder.get() is not None:
        return ""  # the process that sends what is recorded knows the run
    active = mlflow.active_run()
    if active is None:
        raise RuntimeError("no run is active: log inside `with tracking.run(...)`")
    return str(active.info.run_id)


def log_params(params: Mapping[str, object]) -> None:
    """Log parameters of the active run.

    Args:
        params: Values by name; MLflow stores them as text.
    """
    log_values(active_run_id(), params=params)


def log_metrics(
    metrics: Mapping[str, float],
    step: int | None = None,
    dataset: tuple[str, str] | None = None,
    model_id: str | None = None,
) -> None:
    """Log metrics of the active run.

    Args:
        metrics: Finite numbers by name.
        step: The step of all of them, such as the epoch; 0 by default.
        dataset: Name and digest of the data set that they were measured on, as given to `log_dataset`.
        model_id: The logged model that they are of; None for a model that is not logged.
    """
    log_values(active_run_id(), metrics=metrics, step=step, dataset=dataset, model_id=model_id)


def set_tags(tags: Mapping[str, object]) -> None:
    """Set tags of the active run.

    Args:
        tags: Values by name; MLflow stores them as text.
    """
    log_values(active_run_id(), tags=tags)


def set_description(text: str) -> None:
    """Set the description of the active run, which MLflow's UI shows on the run's page.

    Args:
        text: Markdown.
    """
    log_values(active_run_id(), tags={MLFLOW_RUN_NOTE: text})


def log_values(
    run_id: str,
    metrics: Mapping[str, float] = NOTHING,
    params: Mapping[str, object] = NOTHING,
    tags: Mapping[str, object] = NOTHING,
    step: int | None = None,
    dataset: tuple[str, str] | None = None,
    model_id: str | None = None,
) -> None:
    """Send values of any run to the store. Metrics carry the time of this call, even when they are delivered later.

    Args:
        run_id: The run.
        metrics: Finite numbers by name.
        params: Parameters by name.
        tags: Tags by name.
        step: The step of the metrics; 0 by default.
        dataset: Name and digest of the data set of the metrics.
        model_id: The logged model of the metrics.
    """
    now = int(1000 * time.time())
    dataset_name, digest = dataset or (None, None)
    origin = (model_id, dataset_name, digest and digest[:DIGEST_LENGTH])
    item = {
        "run_id": run_id,
        "metrics": [(name, float(value), now, step or 0, *origin) for name, value in metrics.items()],
        "params": [(name, str(value)) for name, value in params.items()],
        "tags": [(name, str(value)) for name, value in tags.items()],
    }
    recorder = _recorder.get()
    if recorder is None:
        store.send(item)
    else:
        recorder.append(item)


def log_table(table: pd.DataFrame, path: str) -> None:
    """Log a table as a CSV artifact of the active run.

    Args:
        table: The table; its index is not written.
        path: The artifact's path, such as "search/trials.csv".
    """
    store.retry_file_transfer(lambda: mlflow.log_text(table.to_csv(index=False), path))


def log_json(path: str, content: Mapping[str, object]) -> None:
    """Log a mapping as a JSON artifact of the active run.

    Args:
        path: The artifact's path, such as "environment.json".
        content: Values that JSON can represent.
    """
    store.retry_file_transfer(lambda: mlflow.log_dict(dict(content), path))


def log_figure(figure: "Figure", path: str) -> None:
    """Log a matplotlib figure as a PNG artifact of the active run.

    Args:
        figure: The figure.
        path: The artifact's path, such as "plots/confusion.png".
    """
    store.retry_file_transfer(lambda: mlflow.log_figure(figure, path, save_kwargs={"dpi": 110, "bbox_inches": "tight"}))


def log_arrays(path: str, **arrays: NDArray[Any]) -> None:
    """Log arrays as one compressed .npz artifact of the active run.

    Args:
        path: The artifact's path, such as "evaluation/predictions.npz".
        **arrays: The arrays by the names that they have in the file.
    """
    recorder = _recorder.get()
    if recorder is None:
        _log_run_arrays(active_run_id(), path, arrays)
    else:
        recorder.append({"path": path, "arrays": arrays})


def _log_run_arrays(run_id: str, path: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Log arrays as one compressed .npz artifact of any run."""
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, name)
        content: dict[str, Any] = {**arrays}  # without this, type checkers match an array with `allow_pickle`
        np.savez_compressed(file, **content)
        store.retry_file_transfer(lambda: mlflow.log_artifact(str(file), folder, run_id=run_id))


def log_folder(folder: Path, path: str) -> None:
    """Log all files of a folder and its subfolders as artifacts of the active run.

    Args:
        folder: The local folder.
        path: The artifacts' folder in the run.
    """
    store.retry_file_transfer(lambda: mlflow.log_artifacts(str(folder), path))


def log_dataset(name: str, digest: str, source: str, images: NDArray[Any], labels: NDArray[Any], context: str) -> None:
    """Log a data set as an input of the active run: name, digest, shapes and source, but no pixels.

    Args:
        name: The data set's name, such as "cifar100-train".
        digest: A hash of its content; MLflow keeps 36 characters.
        source: The path or URL that the data came from. Any other text (the seed of synthetic data) is kept only as the
            tag "source".
        images: The images, of shape (n, height, width, channels).
        labels: Their labels, of shape (n,).
        context: What the data is used for, "training" or "testing".
    """
    location: Any = source if os.path.exists(source) or source.startswith(ADDRESSES) else None
    # MLflow has two classes for a local path and warns that it chooses one.
    with warnings.catch_warnings(action="ignore"):
        dataset = from_numpy(images, source=location, targets=labels, name=name, digest=digest[:DIGEST_LENGTH])
    store.retry(lambda: mlflow.log_input(dataset, context=context, tags={"source": source[:500]}))


@contextmanager
def record() -> Iterator[list[Item]]:
    """Inside of this, `log_params`, `log_metrics`, `set_tags` and `log_arrays` write into a list and not into a store.

    A worker has no store. The process that has one sends what is recorded.

    Yields:
        What was logged so far, for `replay`. Metrics carry the time at which they were logged.
    """
    items: list[Item] = []
    token = _recorder.set(items)
    try:
        yield items
    finally:
        _recorder.reset(token)


def replay(run_id: str, items: Iterable[Item]) -> None:
    """Log into a run what another process recorded.

    Args:
        run_id: The run, active or not.
        items: What `record` gave, or a part of it. Metrics that are sent twice count once.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    for item in items:
        if "arrays" in item:
            _log_run_arrays(run_id, item["path"], item["arrays"])
        else:
            store.send(item | {"run_id": run_id})
