"""What experiment files do to MLflow by themselves: it is refused, or turned off."""

import warnings

import mlflow
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

from mlproject.errors import UserError


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
