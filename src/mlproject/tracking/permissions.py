"""What the user of this process may do: tested before anything is trained, with requests that leave nothing behind."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import mlflow
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from mlproject.errors import UserError
from mlproject.tracking import store
from mlproject.tracking.database import local_folder

DENIED = "PERMISSION_DENIED"


def require_logging(experiment: Experiment, name: str) -> None:
    """Test that runs with artifacts can be logged into an MLflow experiment.

    Args:
        experiment: The MLflow experiment.
        name: What to call it in messages.

    Raises:
        UserError: Another user owns it, or its artifacts were in a folder that is gone.
        MlflowException: Whatever else the store answers.
    """
    if _is_server():
        write = partial(mlflow.MlflowClient().set_experiment_tag, experiment.experiment_id, store.OUR_TAG, "true")
        if _is_denied(write):
            raise UserError(
                f"{name} at {store.address()} may not be logged into by {_user()}; accepted: the permission EDIT on "
                f"experiment {experiment.experiment_id}, or another one, as in `mlflow run --experiment-name NAME`"
            )
        return
    folder = local_folder(experiment.artifact_location or "")
    if folder and not folder.exists() and not folder.parent.parent.exists():
        raise UserError(
            f"{name} keeps its artifacts in {folder}, and {folder.parent.parent} does not exist (any more); accepted: the "
            f"folder {folder.parent.name} in that place, or beside the database that was moved"
        )


def require_registering(model_name: str) -> None:
    """Test that a version of a registered model can be made.

    A server with users checks their rights before it checks the request. Therefore a request without the source of the
    version, or without the name of the model, is denied or found incomplete, and nothing is made.

    Args:
        model_name: The model's name.

    Raises:
        UserError: Another user owns the model, or this user may not make models.
        StoreGoneError: The store has not answered for too long.
    """
    if not _is_server():
        return
    client = mlflow.MlflowClient()
    exists = _exists(model_name)
    incomplete_request = (
        partial(client.create_model_version, model_name, "") if exists else partial(client.create_registered_model, "")
    )
    if _is_denied(incomplete_request):
        raise registration_denied(model_name)


def registration_denied(model_name: str) -> UserError:
    """What to say to a user who may not register a version.

    Args:
        model_name: The model's name.

    Returns:
        The error, to be raised.
    """
    return UserError(
        f"the registered model {model_name!r} at {store.address()} may not get a version from {_user()}; accepted: the "
        "permission EDIT or MANAGE on it, from its owner, or an experiment with another name"
    )


@contextmanager
def ignore_denial() -> Iterator[None]:
    """Inside of this, the store's refusal of a call that this user has no right to is passed over."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != DENIED:
            raise


def _exists(model_name: str) -> bool:
    try:
        return bool(store.retry(lambda: mlflow.MlflowClient().get_registered_model(model_name)))
    except MlflowException as error:
        if error.error_code == DENIED:  # it exists, and not even its existence is for this user to know
            return True
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _is_denied(request: Callable[[], object]) -> bool:
    try:
        store.retry(request)
    except MlflowException as error:
        if error.error_code == DENIED:
            return True
        if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
            raise
    return False


def _is_server() -> bool:
    return store.is_server(store.address())


def _user() -> str:
    name = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return f"the user {name!r}" if name else "this user"
