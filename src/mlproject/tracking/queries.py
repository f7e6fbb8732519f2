"""Finds runs in the MLflow experiments of this project, with queries that do not grow with those of other people."""

from functools import partial

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mlproject.tracking import store

# For each store the MLflow experiments in which runs are searched.
_experiments: dict[str, set[str]] = {}


def add_experiment(experiment_id: str) -> None:
    """Search runs in this MLflow experiment, too.

    Args:
        experiment_id: Its id.
    """
    _experiment_ids().add(experiment_id)


def forget_experiments() -> None:
    """List the MLflow experiments anew when runs are searched the next time."""
    _experiments.clear()


def _experiment_ids() -> set[str]:
    """The MLflow experiments that this project has ever logged into, and the default one, into which `mlflow run` logs.

    They are listed once. What other processes create later has no runs that this one searches. A server may have many of
    other people; those of this project have a tag there, which `permissions.require_logging` sets.
    """
    address = mlflow.get_tracking_uri()
    if address not in _experiments:
        our_experiments = f"tags.{store.OUR_TAG} = 'true'" if store.is_server(address) else None
        experiments = store.iterate_pages(mlflow.MlflowClient().search_experiments, filter_string=our_experiments)
        _experiments[address] = {store.DEFAULT_EXPERIMENT_ID, *(experiment.experiment_id for experiment in experiments)}
    return _experiments[address]


def search_runs(query: str) -> list[Run]:
    """The runs in the MLflow experiments of this project.

    Args:
        query: A filter in MLflow's language.

    Returns:
        All runs that match and are not deleted, the newest first.
    """
    return list(store.iterate_pages(partial(mlflow.MlflowClient().search_runs, sorted(_experiment_ids()), query)))


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
    runs = store.retry(lambda: search_runs(query))
    return runs[0].info.run_id if runs else None
