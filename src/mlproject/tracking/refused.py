"""Runs that `mlflow run` began for commands which then refused their input: they are deleted, so that they do not pile up."""

import contextlib

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_TYPE

from mlproject.errors import truncate
from mlproject.tracking import permissions, store
from mlproject.tracking.queries import search_runs

REFUSED = "refused"  # the tag with the reason


def mark_refused(run_id: str, reason: str) -> None:
    """Tag the run of `mlflow run` for a command with bad input, and delete those that were tagged before.

    It cannot be deleted itself: `mlflow run` sets its status when the command has ended, and MLflow 3.17 ends with a traceback
    when it finds the run deleted. Nothing happens if the store cannot be used, or if the id is left over from something else.

    Args:
        run_id: The run, as in MLFLOW_RUN_ID.
        reason: The message of the error.
    """
    with contextlib.suppress(Exception):
        store.connect()
        client = mlflow.MlflowClient()
        run = client.get_run(run_id)
        if run.data.tags.get(MLFLOW_SOURCE_TYPE) == "PROJECT" and run.info.status == "RUNNING":
            delete_refused_runs()
            client.set_tag(run_id, REFUSED, truncate(reason))


def delete_refused_runs() -> None:
    """Delete the ended runs with the tag; `mlflow runs restore` brings them back. Where that is not permitted they stay."""
    with contextlib.suppress(Exception):
        for run in search_runs(f"tags.{REFUSED} LIKE '%' and attributes.status = 'FAILED'"):
            with permissions.ignore_denial():
                mlflow.MlflowClient().delete_run(run.info.run_id)
