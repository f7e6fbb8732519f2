"""The metrics of a cross-validated trial's run: a curve for each fold, and their mean under the names of any other trial."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mlproject import tracking
from mlproject.objectives import OBJECTIVES
from mlproject.training.fit import FitResult

CURVES = ("loss", "accuracy", *OBJECTIVES)


def log_fold_epoch(fold_number: int, epoch: int, row: Mapping[str, Any]) -> None:
    """Log a row of a fit's history into the active run, at the step of its epoch.

    All folds begin with step 1, so that their curves lie above each other, and the last value of `fold_1_val_accuracy` is the
    score of the fold.

    Args:
        fold_number: of the fold, from 1 through all repeats.
        epoch: of the fit, from 1.
        row: the values by the names of `FitResult.history`.
    """
    curves = {f"fold_{fold_number}_{name}": row[name] for name in CURVES if name in row}
    tracking.log_metrics(curves, step=epoch)


def log_kept_epochs(results: Sequence[FitResult]) -> None:
    """Log the epochs of fits that an earlier process finished, whose run was given up."""
    for fold_number, result in enumerate(results, 1):
        for row in result.history.to_dict("records"):
            log_fold_epoch(fold_number, row["epoch"], {str(name): value for name, value in row.items()})


def mean_history(results: Sequence[FitResult]) -> pd.DataFrame:
    """The mean of the fits' histories, by epoch.

    Args:
        results: of the fits, at least one.

    Returns:
        A row for each epoch, with the columns of `FitResult.history`. The scores of the last row are the means of what the
        fits reached, also where a deadline ended some of them early.
    """
    if len(results) == 1:
        return results[0].history
    epochs = pd.concat([result.history for result in results]).groupby("epoch")
    mean = epochs.mean(numeric_only=True).assign(stage=epochs["stage"].first()).reset_index()
    for name in OBJECTIVES:
        mean.loc[mean.index[-1], name] = pd.Series([result.history[name].iloc[-1] for result in results]).mean()
    return mean
