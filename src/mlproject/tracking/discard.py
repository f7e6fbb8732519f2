"""Removes the run that `mlflow run` began for a command which then refused its input."""

import contextlib

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_TYPE

from mlproject.tracking import store


def discard_project_run(run_id: str) -> None:
    """Delete the run of `mlflow run` for a command with bad input, so that typing errors do not pile up among the runs.

    MLflow can restore it with `mlflow runs restore`. Nothing happens if the store cannot be opened, if `mlflow run` did not
    begin the run, or if the run has ended: then the id is left over from something else. The run gets its status first,
    because `mlflow run` itself would fail to set that of a deleted run.

    Args:
        run_id: The run, as in MLFLOW_RUN_ID.
    """
    with contextlib.suppress(Exception):
        store.connect()
        client = mlflow.MlflowClient()
        found = client.get_run(run_id)
        if found.data.tags.get(MLFLOW_SOURCE_TYPE) == "PROJECT" and found.info.status == "RUNNING":
            client.set_terminated(run_id, "FAILED")
            client.delete_run(run_id)
