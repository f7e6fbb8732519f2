"""Ends runs that no process ends any more: of processes that were killed, and of trials that a journal knows better."""

import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE

from mlproject import process
from mlproject.errors import counted
from mlproject.tracking import permissions, store
from mlproject.tracking.queries import find_existing_run, search_runs

# The tag that says why a run ended badly, and its value when the run was stopped from outside.
FAILURE, INTERRUPTED = "failure", "interrupted"
OWNER = {"host", "process"}  # the tags that identify the process to which a run belongs
OF_THIS_HOST = "attributes.status = 'RUNNING' and tags.host = '{}'"
OF_A_PROJECT = f"attributes.status = 'RUNNING' and tags.`{MLFLOW_SOURCE_TYPE}` = 'PROJECT'"
PRESUMED_DEAD_AFTER = 86_400  # seconds after which a run of `mlflow run` on an unknown host is presumed dead

logger = logging.getLogger(__name__)


def owner_tags() -> dict[str, str]:
    """The tags that identify the process to which a run belongs."""
    return {"host": process.host(), "process": process.identity()}


def is_of_this_process(run_id: str) -> bool:
    """Whether this process began a run, or continued it.

    Args:
        run_id: The run.

    Returns:
        False also for a run that does not exist.
    """
    run = find_existing_run(run_id)
    return run is not None and run.data.tags.items() >= owner_tags().items()


def reconcile_trials(search: str, statuses: Mapping[str, str]) -> None:
    """Make the runs of a search's trials agree with its journal.

    Args:
        search: The search's id, as in the tag "search".
        statuses: For each trial that has ended its run's id and status, "FINISHED" or "FAILED". Any other run of a trial
            becomes KILLED, since the trial is done again: also one that ended in time, but not before the disk was full.
    """

    def reconcile() -> None:
        for trial in search_runs(f"tags.search = '{search}' and tags.role = 'trial'"):
            if trial.info.run_id in statuses:
                _set_final_status(trial, statuses[trial.info.run_id])
            elif trial.info.status != "KILLED":
                _set_final_status(trial, "KILLED")

    store.retry(reconcile)


def end_own_runs(project_run_id: str | None = None) -> None:
    """End every run that this process left RUNNING as KILLED.

    An interruption can come at a moment when no `with` block ends the run, and a server can make a run twice, when its
    first answer was lost. If the store does not answer, the next start ends these runs.

    Args:
        project_run_id: The run of `mlflow run`, which goes on; None if there is none, or if it is to end, too.
    """
    with contextlib.suppress(Exception):
        while mlflow.active_run():
            mlflow.end_run("KILLED")
        for running in search_runs(OF_THIS_HOST.format(process.host())):
            if running.info.run_id != project_run_id and running.data.tags.items() >= owner_tags().items():
                _set_final_status(running, "KILLED")


def end_stale_runs(project_run_id: str | None) -> None:
    """End the runs that our processes on this host left RUNNING when they were killed. Other runs do not change.

    Args:
        project_run_id: The run of `mlflow run`, which goes on; None if there is none.
    """
    running = search_runs(OF_THIS_HOST.format(process.host())) + search_runs(OF_A_PROJECT)
    stale = {run.info.run_id: run for run in running if run.info.run_id != project_run_id and _is_stale(run)}
    ended = 0
    for run in stale.values():
        with permissions.ignore_denial():  # a run of another user of this machine stays
            _set_final_status(run, "KILLED")
            ended += 1
    if ended:
        logger.info("ended %s that an earlier command had left open", counted(ended, "run"))


def _is_stale(run: Run) -> bool:
    tags = run.data.tags
    if tags.keys() >= OWNER:
        return tags["host"] == process.host() and not process.is_alive(tags["process"])
    # A run without our tags may belong to an `mlflow run` that was killed or failed before our command started.
    if tags.get(MLFLOW_SOURCE_TYPE) != "PROJECT" or not _is_of_working_folder(run):
        return False
    began = run.info.start_time / 1000
    local = mlflow.get_tracking_uri().startswith("sqlite")  # then the process of `mlflow run` would be on this host
    return (local and not process.has_mlflow_run_since(began)) or time.time() - began > PRESUMED_DEAD_AFTER


def is_of_this_project(run: Run) -> bool:
    """Whether `mlflow run` made a run for this project.

    Args:
        run: Any run that `mlflow run` made.

    Returns:
        True if a command of this project has begun in the run, or if its project is the working folder.
    """
    return run.data.tags.keys() >= OWNER or _is_of_working_folder(run)


def _is_of_working_folder(run: Run) -> bool:
    source = run.data.tags.get(MLFLOW_SOURCE_NAME, "")
    return Path(source.removeprefix("file://").partition("#")[0]) == Path.cwd()


def _set_final_status(run: Run, status: str) -> None:
    """Set the status of a run that has ended and is not the active one, with the tag that belongs to the status."""
    client = mlflow.MlflowClient()
    if run.info.status != status:
        client.set_terminated(run.info.run_id, status)
    if status == "KILLED":  # as a batch, because two processes may set the tag at the same moment
        client.log_batch(run.info.run_id, tags=[RunTag(FAILURE, INTERRUPTED)])
    elif run.data.tags.get(FAILURE) == INTERRUPTED:
        client.delete_tag(run.info.run_id, FAILURE)
