"""Begins, resumes and ends runs, including runs whose process was killed."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_PROJECT_ENTRY_POINT,
    MLFLOW_PROJECT_ENV,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

from mlproject import process
from mlproject.errors import StoreGoneError, UserError, first_line, truncate
from mlproject.tracking import experiment_page, permissions, refused, store
from mlproject.tracking.commit import git_commit
from mlproject.tracking.log import active_run_id, log_values, set_tags

# The tag that says why a run ended badly, and its value when the run was stopped from outside.
FAILURE, INTERRUPTED = "failure", "interrupted"
PRESUMED_DEAD_AFTER = 86_400  # seconds after which a run of `mlflow run` on an unknown host is presumed dead

logger = logging.getLogger(__name__)


class ProjectRun:
    """The run that `mlflow run` opened for the whole command, if there is one. It only gets tags and a description.

    `mlflow run` passes its id in MLFLOW_RUN_ID, and MLflow's first `start_run` would resume it. The runs of a search
    need a parent of their own, so the constructor removes the variable from the environment.
    """

    def __init__(self) -> None:
        self.run_id = os.environ.pop("MLFLOW_RUN_ID", None)
        self.experiment_id = os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        self.tags: dict[str, str] = {}

    def tag_owner(self) -> None:
        """Tag the run with this process, so that a later start can end it if this process is killed.

        An id that is left over in the shell from something else is ignored with a warning.
        """
        if not self.run_id:
            return
        found = find_existing_run(self.run_id)
        if found is None or found.info.status != "RUNNING" or found.info.lifecycle_stage != "active":
            state = "there is no such run" if found is None else "this run has ended"
            logger.warning(
                "MLFLOW_RUN_ID=%s is ignored: %s; `mlflow run` sets it, `unset MLFLOW_RUN_ID` removes a leftover",
                truncate(self.run_id),
                state,
            )
            self.run_id = None
            return
        for key, value in owner_tags().items():
            mlflow.MlflowClient().set_tag(self.run_id, key, value)
        self.tags = {**found.data.tags, **owner_tags()}

    @property
    def command(self) -> str | None:
        """The command without its parameters, as in `mlflow run . -e tune --env-manager local`; None without a run."""
        if not self.tags:
            return None
        entry, manager = self.tags.get(MLFLOW_PROJECT_ENTRY_POINT, "main"), self.tags.get(MLFLOW_PROJECT_ENV, "local")
        return f"mlflow run . -e {entry} --env-manager {manager}"

    def set_description(self, text: str) -> None:
        """Set the run's description, which MLflow's UI shows on the run's page.

        Args:
            text: Markdown.
        """
        if self.run_id:
            log_values(self.run_id, tags={MLFLOW_RUN_NOTE: text})


def connect() -> ProjectRun:
    """Open the store, and end the runs in it that our processes left running when they were killed.

    Returns:
        The run of `mlflow run`. Its `run_id` is None if `mlflow run` did not start the command.

    Raises:
        UserError: The store cannot be reached or written.
    """
    store.connect()
    git_commit()  # read now: a commit that is made while the command runs is not that of the imported code
    project = ProjectRun()
    project.tag_owner()
    _end_stale_runs(project)
    refused.delete_refused_runs()
    return project


def use_comparison(project: ProjectRun, comparison: str) -> None:
    """Log the following runs into this comparison. What we call a *comparison*, MLflow calls an *experiment*.

    An *experiment* of ours is one model to search, train and register; MLflow has no word for it, and it appears there
    as the tag "experiment". Runs that are compared with each other share one MLflow experiment, so that the UI shows
    them side by side. The two vocabularies meet in this function.

    Args:
        project: The run of `mlflow run`. If `mlflow run --experiment-name` named an MLflow experiment, that one is
            used.
        comparison: The comparison's name; it becomes the name of the MLflow experiment, which is created if needed.
            Runs that belong to no comparison, such as reports and notebooks, use a name of their own.

    Raises:
        UserError: The MLflow experiment is missing, deleted or another user's, or its artifacts were in a folder that is
            gone.
    """
    experiment_id, name = project.experiment_id, f"MLflow's experiment {comparison!r}"
    if experiment_id not in (None, store.DEFAULT_EXPERIMENT_ID):
        name = f"MLflow's experiment of MLFLOW_EXPERIMENT_ID={truncate(experiment_id)!r} or --experiment-name"
    try:
        if experiment_id in (None, store.DEFAULT_EXPERIMENT_ID):
            # If another process creates it at the same moment, MLflow 3.17 does not make it the active one.
            experiment_id = store.retry(lambda: mlflow.set_experiment(comparison)).experiment_id
        experiment = store.retry(lambda: mlflow.set_experiment(experiment_id=experiment_id))
        permissions.require_logging(experiment, name)
        store.retry(lambda: experiment_page.open_as_training(experiment))
    except MlflowException as error:
        said = truncate(" ".join(str(error.message).split()))
        raise UserError(
            f"{name} cannot be logged into: {said}; accepted: an experiment that is not deleted, named by "
            "`mlflow run --experiment-name NAME`, or none (unset MLFLOW_EXPERIMENT_ID)"
        ) from error


def check_permissions(project: ProjectRun, comparison: str, model_name: str) -> None:
    """Test, before anything is trained, that runs may be logged into a comparison and a model registered under a name.

    The requests cost some milliseconds. They leave nothing behind except the comparison itself.

    Args:
        project: The run of `mlflow run`.
        comparison: The comparison's name.
        model_name: The name of the registered model.

    Raises:
        UserError: A right is missing.
        StoreGoneError: The store has not answered for too long.
    """
    use_comparison(project, comparison)
    permissions.require_registering(model_name)


@contextmanager
def run(name: str, tags: Mapping[str, str], nested: bool = False, resume: str | None = None) -> Iterator[str]:
    """Keep a run active inside a `with` block.

    The run ends as FINISHED, as FAILED after an exception, or as KILLED after an interruption or a StoreGoneError.

    Args:
        name: The run's name.
        tags: Its tags; the owner and, for a new run, the git commit are added.
        nested: Whether the active run becomes its parent.
        resume: The id of an earlier run to continue, which stays in its own MLflow experiment.

    Yields:
        The run's id.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    process.stop_if_told()
    labels = {**tags, **owner_tags()} | ({} if resume else {"git.commit": git_commit()})
    run_id = store.retry(lambda: _start(name, labels, nested, resume)).info.run_id
    try:
        yield run_id
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | SystemExit | StoreGoneError)
        set_tags({FAILURE: INTERRUPTED if killed else first_line(error)[:500]})
        _end(run_id, RunStatus.KILLED if killed else RunStatus.FAILED)
        raise
    _end(run_id, RunStatus.FINISHED)


def _start(name: str, labels: dict[str, str], nested: bool, resume: str | None) -> mlflow.ActiveRun:
    if resume is None:
        return mlflow.start_run(run_name=name, nested=nested, tags=labels)
    found = mlflow.get_run(resume)
    mlflow.set_experiment(experiment_id=found.info.experiment_id)
    if FAILURE in found.data.tags:
        mlflow.MlflowClient().delete_tag(resume, FAILURE)
    return mlflow.start_run(resume, run_name=name, nested=nested, tags=labels)


def _end(run_id: str, status: int) -> None:
    """End the active run now, or through the outbox when the store does not answer."""
    end = end_item(run_id, status)
    try:
        mlflow.end_run(end["status"])
    except Exception as error:  # even if this fails, MLflow has no active run any more
        if not store.is_transient(error):
            raise
        store.send(end)


def end_item(run_id: str, status: int) -> dict[str, Any]:
    """The outbox's item that ends a run."""
    return {"run_id": run_id, "status": RunStatus.to_string(status), "end_time": int(1000 * time.time())}


def failure_callback() -> Callable[[str], None]:
    """Make a function that ends the run that is active now as FAILED. Any thread may call it.

    Returns:
        A function whose argument is the reason, which becomes the run's tag "failure".
    """
    run_id = active_run_id()

    def end_as_failed(reason: str) -> None:
        log_values(run_id, tags={FAILURE: reason})
        store.send(end_item(run_id, RunStatus.FAILED))

    return end_as_failed


def find_existing_run(run_id: str) -> Run | None:
    """Read a run that may be missing.

    Args:
        run_id: Any text.

    Returns:
        The run, deleted or not; None when the store has none of this id.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    try:
        return store.retry(lambda: mlflow.get_run(run_id))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def find_run(search: str, role: str, seed: int | None = None) -> str | None:
    """Find the run that has a role in a search.

    Args:
        search: The search's id, as in the tag "search".
        role: The run's role, as in the tag "role": "search" for the parent, "final" for the registered final
            fit, "repeat" for a final fit with another seed.
        seed: The seed, as in the tag "seed"; None for any.

    Returns:
        The id of the newest such run; None when there is none.
    """
    query = f"tags.search = '{search}' and tags.role = '{role}'" + (
        f" and tags.seed = '{seed}'" if seed is not None else ""
    )
    found = store.retry(lambda: _search_runs(query))
    return found[0].info.run_id if found else None


def reconcile_trials(search: str, statuses: Mapping[str, str]) -> None:
    """Make the runs of a search's trials agree with its journal.

    Args:
        search: The search's id, as in the tag "search".
        statuses: For each trial that has ended its run's id and status, "FINISHED" or "FAILED". The run of any other
            trial becomes KILLED if it is still RUNNING.
    """

    def reconcile() -> None:
        for trial in _search_runs(f"tags.search = '{search}' and tags.role = 'trial'"):
            if trial.info.run_id in statuses:
                _set_final_status(trial, statuses[trial.info.run_id])
            elif trial.info.status == "RUNNING":
                _set_final_status(trial, "KILLED")

    store.retry(reconcile)


def end_own_runs() -> None:
    """End every run that this process left RUNNING as KILLED.

    An interruption can come at a moment when no `with` block ends the run. If the store does not answer, the next
    start ends these runs.
    """
    with contextlib.suppress(Exception):
        while mlflow.active_run():
            mlflow.end_run("KILLED")
        for running in _search_runs("attributes.status = 'RUNNING'"):
            if running.data.tags.items() >= owner_tags().items():
                _set_final_status(running, "KILLED")


def owner_tags() -> dict[str, str]:
    """The tags that identify the process to which a run belongs."""
    return {"host": process.host(), "process": process.identity()}


def _end_stale_runs(project: ProjectRun) -> None:
    """End the runs that our processes on this host left RUNNING when they were killed. Other runs do not change."""
    running = _search_runs("attributes.status = 'RUNNING'")
    stale = [found for found in running if found.info.run_id != project.run_id and _is_stale(found)]
    for found in stale:
        _set_final_status(found, "KILLED")
    if stale:
        logger.info("ended %d runs that killed processes had left running", len(stale))


def _is_stale(found: Run) -> bool:
    tags = found.data.tags
    if {"host", "process"} <= tags.keys():
        return tags["host"] == process.host() and not process.alive(tags["process"])
    # A run without our tags may belong to an `mlflow run` that was killed or failed before our command started.
    if tags.get(MLFLOW_SOURCE_TYPE) != "PROJECT" or not _is_working_folder(tags.get(MLFLOW_SOURCE_NAME, "")):
        return False
    began = found.info.start_time / 1000
    local = mlflow.get_tracking_uri().startswith("sqlite")  # then the process of `mlflow run` would be on this host
    return (local and not process.mlflow_run_since(began)) or time.time() - began > PRESUMED_DEAD_AFTER


def _is_working_folder(source: str) -> bool:
    return Path(source.removeprefix("file://").partition("#")[0]) == Path.cwd()


def _set_final_status(found: Run, status: str) -> None:
    """Set the status of a run that has ended and is not the active one, with the tag that belongs to the status."""
    client = mlflow.MlflowClient()
    if found.info.status != status:
        client.set_terminated(found.info.run_id, status)
    if status == "KILLED":  # as a batch, because two processes may set the tag at the same moment
        client.log_batch(found.info.run_id, tags=[RunTag(FAILURE, INTERRUPTED)])
    elif found.data.tags.get(FAILURE) == INTERRUPTED:
        client.delete_tag(found.info.run_id, FAILURE)


def _search_runs(query: str) -> list[Run]:
    """All runs that match the query, in every MLflow experiment."""
    client = mlflow.MlflowClient()
    everywhere = [experiment.experiment_id for experiment in store.iterate_pages(client.search_experiments)]
    return list(store.iterate_pages(partial(client.search_runs, everywhere, query)))
