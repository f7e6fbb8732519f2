"""MLflow apart from any run of ours: saving a model to a folder, and what experiment files do to MLflow by themselves."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.models import infer_signature
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS
from numpy.typing import NDArray

from mlproject.errors import UserError

if TYPE_CHECKING:
    import keras


def save_model(model: "keras.Model", example: NDArray[Any], path: Path) -> None:
    """Save a model to a folder, as it would be logged.

    Args:
        model: The model.
        example: Images of shape (n, height, width, channels), dtype uint8, for the model's signature.
        path: The folder, which must not exist.
    """
    signature = infer_signature(example, model.predict(example, verbose=0))
    # Without explicit requirements MLflow infers them in a subprocess, which takes ten seconds.
    mlflow.keras.save_model(model, str(path), signature=signature, pip_requirements=["keras"])


def require_no_active_run() -> None:
    """Refuse a run that an experiment's file has started by itself.

    Raises:
        UserError: A run is active, which ours could not begin beside.
    """
    if mlflow.active_run():
        raise UserError(
            "an experiment's file starts an MLflow run, by mlflow.start_run or mlflow.log_*; accepted: neither, because "
            "everything is logged already"
        )


def disable_autologging() -> None:
    """Turn MLflow's autologging off, if an experiment's file turned it on.

    It would go through the endless training batches before the first step, log every trial a second time, and add a model of
    some megabytes to each.
    """
    enabled = [name for name, config in AUTOLOGGING_INTEGRATIONS.items() if not config.get("disable", True)]
    if enabled:
        mlflow.autolog(disable=True, silent=True)
        warnings.warn(
            "mlflow.autolog() is turned off: everything is logged already, and it does not work with endless data sets",
            stacklevel=2,
        )
