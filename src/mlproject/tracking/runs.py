"""Begins, resumes and ends runs, including runs whose process was killed."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_PROJECT_ENTRY_POINT,
    MLFLOW_PROJECT_ENV,
    MLFLOW_RUN_NOTE,
)

from mlproject import process
from mlproject.errors import StoreGoneError, UserError, first_line, truncate
from mlproject.tracking import abandoned, experiment_page, permissions, queries, refused, store
from mlproject.tracking.abandoned import FAILURE, INTERRUPTED, owner_tags
from mlproject.tracking.commit import git_commit
from mlproject.tracking.log import active_run_id, log_values, set_tags

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
        run = queries.find_existing_run(self.run_id)
        if run is None or run.info.status != "RUNNING" or run.info.lifecycle_stage != "active":
            state = "there is no such run" if run is None else "this run has ended"
            logger.warning(
                "MLFLOW_RUN_ID=%s is ignored: %s; `mlflow run` sets it, `unset MLFLOW_RUN_ID` removes a leftover",
                truncate(self.run_id),
                state,
            )
            self.run_id = None
            return
        log_values(self.run_id, tags=owner_tags())
        self.tags = run.data.tags

    @property
    def command(self) -> str | None:
        """The command without its parameters, as in `mlflow run . -e tune --env-manager local`; None without a run."""
        if not self.run_id:
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
    queries.forget_experiments()
    git_commit()  # read now: a commit that is made while the command runs is not that of the imported code
    project = ProjectRun()
    project.tag_owner()
    abandoned.end_stale_runs(project_run_id=project.run_id)
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
    is_given = experiment_id not in (None, store.DEFAULT_EXPERIMENT_ID)
    if is_given:
        name = f"MLflow's experiment of MLFLOW_EXPERIMENT_ID={truncate(experiment_id)!r} or --experiment-name"
    try:
        if not is_given:
            # If another process creates it at the same moment, MLflow 3.17 does not make it the active one.
            experiment_id = store.retry(lambda: mlflow.set_experiment(comparison)).experiment_id
        experiment = store.retry(lambda: mlflow.set_experiment(experiment_id=experiment_id))
        permissions.require_logging(experiment, name)
        store.retry(lambda: experiment_page.mark_as_training(experiment))
        queries.add_experiment(experiment.experiment_id)
    except MlflowException as error:
        message = truncate(" ".join(str(error.message).split()))
        raise UserError(
            f"{name} cannot be logged into: {message}; accepted: an experiment that is not deleted, named by "
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
    process.stop_if_requested()
    all_tags = {**tags, **owner_tags()} | ({} if resume else {"git.commit": git_commit()})
    run_id = store.retry(lambda: _start(name, all_tags, nested, resume)).info.run_id
    try:
        yield run_id
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | SystemExit | StoreGoneError)
        set_tags({FAILURE: INTERRUPTED if killed else first_line(error)[:500]})
        _end(run_id, "KILLED" if killed else "FAILED")
        raise
    _end(run_id, "FINISHED")


def _start(name: str, all_tags: dict[str, str], nested: bool, resume: str | None) -> mlflow.ActiveRun:
    if resume is None:
        return mlflow.start_run(run_name=name, nested=nested, tags=all_tags)
    earlier = mlflow.get_run(resume)
    mlflow.set_experiment(experiment_id=earlier.info.experiment_id)
    if FAILURE in earlier.data.tags:
        mlflow.MlflowClient().delete_tag(resume, FAILURE)
    return mlflow.start_run(resume, run_name=name, nested=nested, tags=all_tags)


def _end(run_id: str, status: str) -> None:
    """End the active run now, or through the outbox when the store does not answer."""
    end = end_item(run_id, status)
    try:
        mlflow.end_run(status)
    except Exception as error:  # even if this fails, MLflow has no active run any more
        if not store.is_transient(error):
            raise
        store.send(end)


def end_item(run_id: str, status: str) -> dict[str, Any]:
    """The outbox's item that ends a run now."""
    return {"run_id": run_id, "status": status, "end_time": int(1000 * time.time())}


def failure_callback() -> Callable[[str], None]:
    """Make a function that ends the run that is active now as FAILED. Any thread may call it.

    Returns:
        A function whose argument is the reason, which becomes the run's tag "failure".
    """
    run_id = active_run_id()

    def end_as_failed(reason: str) -> None:
        log_values(run_id, tags={FAILURE: reason})
        store.send(end_item(run_id, "FAILED"))

    return end_as_failed
