"""Runs that are under way at the same time. MLflow's fluent interface knows one active run at a time."""

from collections.abc import Mapping

import mlflow
from mlflow.entities import RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlproject.tracking import store
from mlproject.tracking.abandoned import FAILURE, owner_tags
from mlproject.tracking.commit import git_commit
from mlproject.tracking.log import active_run_id, log_values
from mlproject.tracking.runs import end_item


def open_run(name: str, tags: Mapping[str, str], resume: str | None = None) -> str:
    """Begin a run below the active one without making it active, so that several can be under way at once.

    Args:
        name: The run's name.
        tags: Its tags; the owner and the git commit are added.
        resume: The id of an earlier run to continue.

    Returns:
        The run's id, for `log_values`, `replay` and `close_run`.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    if resume:
        store.retry(lambda: _resume(resume))
        return resume
    parent = store.retry(lambda: mlflow.get_run(active_run_id())).info
    all_tags = {**tags, **owner_tags(), "git.commit": git_commit(), MLFLOW_PARENT_RUN_ID: parent.run_id}
    client, experiment_id = mlflow.MlflowClient(), parent.experiment_id
    created = store.retry(lambda: client.create_run(experiment_id, tags=resolve_tags(all_tags), run_name=name))
    return str(created.info.run_id)


def _resume(run_id: str) -> None:
    client = mlflow.MlflowClient()
    client.update_run(run_id, status="RUNNING")
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in owner_tags().items()])
    if FAILURE in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, FAILURE)


def close_run(run_id: str, status: str, failure: str = "") -> None:
    """End a run that `open_run` began.

    Args:
        run_id: The run.
        status: "FINISHED", "FAILED" or "KILLED".
        failure: Why it ended badly; the run's tag "failure".
    """
    if failure:
        log_values(run_id, tags={FAILURE: failure[:500]})
    store.send(end_item(run_id, status))
