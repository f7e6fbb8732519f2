"""The runs: begun, resumed, ended whatever happens; and what is logged into the active one."""

import contextlib
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_PROJECT_ENTRY_POINT,
    MLFLOW_PROJECT_ENV,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

from mlproject import process
from mlproject.errors import StoreGoneError, UserError, first_line
from mlproject.tracking import store

FAILURE, INTERRUPTED = "failure", "interrupted"  # the tag of a run that ended badly, and its value when it was told to
UNSEEN_SECONDS = 86_400  # after which a run of `mlflow run` on who knows which host is taken for dead


class Project:
    """The run that `mlflow run` opened for the whole command, if there is one. It is annotated, never logged into.

    `mlflow run` hands it down in MLFLOW_RUN_ID, and the first `start_run` would resume it; the runs of a search need a parent
    of their own, so the variable is taken out of the environment.
    """

    def __init__(self):
        self.run_id = os.environ.pop("MLFLOW_RUN_ID", None)
        self.experiment_id = os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        self.tags: dict[str, str] = {}

    def claim(self) -> None:
        """Say in its tags whose process it is, so that it can be ended for us should we not live to."""
        if self.run_id:
            for key, value in _owner().items():
                mlflow.MlflowClient().set_tag(self.run_id, key, value)
            self.tags = mlflow.get_run(self.run_id).data.tags

    @property
    def command(self) -> str | None:
        """How the command began, up to its parameters: `mlflow run . -e tune --env-manager local`; None without a run."""
        if not self.tags:
            return None
        entry, manager = self.tags.get(MLFLOW_PROJECT_ENTRY_POINT, "main"), self.tags.get(MLFLOW_PROJECT_ENV, "local")
        return f"mlflow run . -e {entry} --env-manager {manager}"

    def annotate(self, note: str) -> None:
        """Write `note` (Markdown) as the run's description."""
        if self.run_id:
            _log(self.run_id, tags={MLFLOW_RUN_NOTE: note})


def connect() -> Project:
    """Open the store, end what killed processes of ours left running in it; gives the run of `mlflow run`.

    Raises UserError when the store cannot be reached or written.
    """
    store.connect()
    commit()  # now: the code is imported, and another commit may be made while it runs
    project = Project()
    project.claim()
    _end_stale_runs(project)
    return project


def choose_experiment(project: Project, name: str) -> None:
    """Log what follows into the MLflow experiment `name`, or into the one that `mlflow run --experiment-name` named.

    Raises UserError when it is deleted.
    """
    named = project.experiment_id
    try:
        if named in (None, store.DEFAULT_EXPERIMENT_ID):
            # Not yet the active one in MLflow 3.17, where another process made it at the same moment.
            named = store.outbox.insist(lambda: mlflow.set_experiment(name)).experiment_id
        store.outbox.insist(lambda: mlflow.set_experiment(experiment_id=named))
    except MlflowException as error:
        raise UserError(f"MLflow's experiment {name!r} cannot be logged into: {error.message}") from error


@contextmanager
def run(name: str, tags: Mapping[str, str], nested: bool = False, resume: str | None = None) -> Iterator[str]:
    """A run for the length of a `with`; gives its id.

    `resume` is the id of an earlier run to go on with, in its own MLflow experiment.
    An exception ends it as FAILED, an interruption, or the store's going away for good, as KILLED.
    """
    process.stop_if_told()
    labels = {**tags, **_owner()} | ({} if resume else {"git.commit": commit()})
    active = store.outbox.insist(lambda: _start(name, labels, nested, resume))
    try:
        yield active.info.run_id
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | SystemExit | StoreGoneError)
        set_tags({FAILURE: INTERRUPTED if killed else first_line(error)[:500]})
        _end(active.info.run_id, RunStatus.KILLED if killed else RunStatus.FAILED)
        raise
    _end(active.info.run_id, RunStatus.FINISHED)


def _end(run_id: str, status: int) -> None:
    """End the active run, or see to it that it will be ended when the store answers again."""
    end = {"run_id": run_id, "status": RunStatus.to_string(status)}
    end["end_time"] = int(1000 * time.time())
    try:
        mlflow.end_run(end["status"])
    except Exception as error:  # the run is no longer MLflow's active one even so
        if not store.passing(error):
            raise
        store.outbox.send(end)


def ender() -> Callable[[str], None]:
    """A function for any thread that ends the run now active as FAILED, for the reason it is given."""
    run_id = mlflow.active_run().info.run_id

    def end(reason: str) -> None:
        _log(run_id, tags={FAILURE: reason})
        status = RunStatus.to_string(RunStatus.FAILED)
        store.outbox.send({"run_id": run_id, "status": status, "end_time": int(1000 * time.time())})

    return end


def _owner() -> dict[str, str]:
    """Tags that say whose run it is."""
    return {"host": process.host(), "process": process.identity()}


def _start(name: str, labels: Mapping[str, str], nested: bool, resume: str | None) -> mlflow.ActiveRun:
    if resume is None:
        return mlflow.start_run(run_name=name, nested=nested, tags=labels)
    found = mlflow.get_run(resume)
    mlflow.set_experiment(experiment_id=found.info.experiment_id)
    if FAILURE in found.data.tags:
        mlflow.MlflowClient().delete_tag(resume, FAILURE)
    return mlflow.start_run(resume, run_name=name, nested=nested, tags=labels)


def find_run(search: str, role: str) -> str | None:
    """The id of the run with these tags; None when there is none."""
    found = store.outbox.insist(lambda: _runs(f"tags.search = '{search}' and tags.role = '{role}'"))
    return found[0].info.run_id if found else None


def settle_trials(search: str, ended: Mapping[str, str]) -> None:
    """Give the runs of a search's trials the status they should have: that in `ended`, by run id, or else no longer RUNNING."""

    def settle() -> None:
        for trial in _runs(f"tags.search = '{search}' and tags.role = 'trial'"):
            if trial.info.run_id in ended:
                _close(trial, ended[trial.info.run_id])
            elif trial.info.status == "RUNNING":
                _close(trial, "KILLED")

    store.outbox.insist(settle)


def end_own_runs() -> None:
    """End whatever this process left RUNNING: an interruption can come at a moment when nothing else would.

    Should the store not answer, it is left to the next start.
    """
    with contextlib.suppress(Exception):
        while mlflow.active_run():
            mlflow.end_run("KILLED")
        for one in _runs("attributes.status = 'RUNNING'"):
            if one.data.tags.items() >= _owner().items():
                _close(one, "KILLED")


def _end_stale_runs(project: Project) -> None:
    """End the runs that our processes on this host left RUNNING when they were killed. Those of other hosts are left alone."""
    stale = [one for one in _runs("attributes.status = 'RUNNING'") if one.info.run_id != project.run_id and _stale(one)]
    for one in stale:
        _close(one, "KILLED")
    if stale:
        print(f"{len(stale)} runs of ours were left running by killed processes: ended", flush=True)


def _stale(found: mlflow.entities.Run) -> bool:
    tags = found.data.tags
    if {"host", "process"} <= tags.keys():
        return tags["host"] == process.host() and not process.alive(tags["process"])
    # `mlflow run` was killed, or its environment could not be made, before our command could put its tags on the run.
    if tags.get(MLFLOW_SOURCE_TYPE) != "PROJECT" or not _names_this_folder(tags.get(MLFLOW_SOURCE_NAME, "")):
        return False
    began = found.info.start_time / 1000
    seen = mlflow.get_tracking_uri().startswith("sqlite") and not process.mlflow_run_since(began)
    return seen or time.time() - began > UNSEEN_SECONDS


def _names_this_folder(source: str) -> bool:
    return Path(source.removeprefix("file://").partition("#")[0]) == Path.cwd()


def _close(found: mlflow.entities.Run, status: str) -> None:
    """Give a run that is not the active one its last status."""
    client = mlflow.MlflowClient()
    if found.info.status != status:
        client.set_terminated(found.info.run_id, status)
    if status == "KILLED":  # as a batch, which two processes may set at the same moment
        client.log_batch(found.info.run_id, tags=[RunTag(FAILURE, INTERRUPTED)])
    elif found.data.tags.get(FAILURE) == INTERRUPTED:
        client.delete_tag(found.info.run_id, FAILURE)


def _runs(query: str) -> list[mlflow.entities.Run]:
    """All runs, in whatever MLflow experiment, that answer the query."""
    client = mlflow.MlflowClient()
    everywhere = [one.experiment_id for one in store.pages(client.search_experiments)]
    return list(store.pages(partial(client.search_runs, everywhere, query)))


def log_params(params: Mapping[str, object]) -> None:
    """Log parameters of the active run."""
    _log(params=params)


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log finite numbers as metrics of the active run, all at one step."""
    _log(metrics=metrics, step=step)


def set_tags(tags: Mapping[str, object]) -> None:
    """Set tags of the active run."""
    _log(tags=tags)


def note(text: str) -> None:
    """Describe the active run in Markdown; the UI shows it on the run's page."""
    _log(tags={MLFLOW_RUN_NOTE: text})


def _log(
    run_id: str | None = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
    params: Mapping[str, object] = MappingProxyType({}),
    tags: Mapping[str, object] = MappingProxyType({}),
    step: int | None = None,
) -> None:
    """Send values of a run (the active one) to the store; they carry the time of now, whenever they arrive."""
    now = int(1000 * time.time())
    store.outbox.send(
        {
            "run_id": run_id or mlflow.active_run().info.run_id,
            "metrics": [(name, float(value), now, step or 0) for name, value in metrics.items()],
            "params": [(name, str(value)) for name, value in params.items()],
            "tags": [(name, str(value)) for name, value in tags.items()],
        }
    )


def log_table(table: pd.DataFrame, path: str) -> None:
    """Log a table as the CSV artifact `path`."""
    store.transfer(lambda: mlflow.log_text(table.to_csv(index=False), path))


def log_json(path: str, content: Mapping[str, object]) -> None:
    """Log a mapping as the JSON artifact `path`."""
    store.transfer(lambda: mlflow.log_dict(dict(content), path))


def log_figure(figure, path: str) -> None:
    """Log a matplotlib figure as the PNG artifact `path`."""
    store.transfer(lambda: mlflow.log_figure(figure, path, save_kwargs={"dpi": 110, "bbox_inches": "tight"}))


def log_arrays(path: str, **arrays: np.ndarray) -> None:
    """Log named arrays as one compressed .npz artifact `path`."""
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, name)
        np.savez_compressed(file, **arrays)
        store.transfer(lambda: mlflow.log_artifact(file, folder))


def log_folder(folder: Path, path: str) -> None:
    """Log all files below `folder` as artifacts below `path`."""
    store.transfer(lambda: mlflow.log_artifacts(str(folder), path))


def log_dataset(name: str, digest: str, source: str, images: np.ndarray, labels: np.ndarray, context: str) -> None:
    """Log images and labels as the run's input in `context` ("training", "testing"): shapes, digest, source; no pixels.

    `source` is the path or URL they came from; anything else (the seed of synthetic data) is kept as the tag "source".
    """
    known = source if Path(source).exists() or "://" in source else None
    # MLflow has two classes for a local path and warns that it takes one.
    with warnings.catch_warnings(action="ignore"):
        dataset = mlflow.data.from_numpy(images, source=known, targets=labels, name=name, digest=digest[:36])
    store.outbox.insist(lambda: mlflow.log_input(dataset, context=context, tags={"source": source[:500]}))


def commit() -> str:
    """The git commit of the working folder when first asked for, with "+changes" when files differed from it; "unknown" outside
    a repository.
    """
    return _commit(Path.cwd())


@cache
def _commit(folder: Path) -> str:
    try:
        head, changed = (
            subprocess.run(["git", *asked], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for asked in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")
