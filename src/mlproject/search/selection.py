"""Which trial wins a search."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlproject import evaluation
from mlproject.experiment import Value
from mlproject.objectives import OBJECTIVES
from mlproject.search.journal import LOSSES, PREDICTIONS, Trial, unpack

SIGNIFICANCE_LEVEL = 0.05


def standard_error(trial: Trial, labels: NDArray[np.int64], objective: str) -> float:
    """The standard error of a trial's score, over the folds where there are any; NaN for a failed trial.

    Without folds it comes from the validation images (see `evaluation.score_standard_error`).
    """
    if not trial.predictions:
        return math.nan
    if not math.isnan(trial.fold_error):
        return trial.fold_error
    losses = unpack(trial.losses, LOSSES) if trial.losses else np.empty(0)
    return evaluation.score_standard_error(objective, labels, unpack(trial.predictions, PREDICTIONS), losses)


def select_winner(
    completed: Sequence[Trial], best_known: Mapping[str, Value], labels: NDArray[np.int64], objective: str
) -> Trial:
    """Select the trial whose values are refitted.

    The best-known values win unless another trial is significantly better on the validation images. All trials predict the
    same images, so a paired test compares them image by image: the exact McNemar test for the accuracy, and a permutation test
    for the other objectives. The p-values are adjusted by Holm's method over all compared trials, because the best of several
    trials is partly the luckiest one. Best-known values have been through whole fits, and trials with a smaller lead lost it
    in the whole fit (bench/README.md, "What a lead is worth").

    Args:
        completed: the trials that did not fail, at least one.
        best_known: the best-known values.
        labels: int64 (m,), the true classes of the validation images.
        objective: a key of `objectives.OBJECTIVES`.

    Returns:
        The best of the trials that are significantly better than the best-known values; the trial of these values where there
        is none; the best trial where the trial of the best-known values failed.
    """

    def goodness(trial: Trial) -> float:
        return OBJECTIVES[objective].goodness(trial.scores[objective])

    best_known_trials = [trial for trial in completed if trial.values == best_known]
    if not best_known_trials:
        return max(completed, key=goodness)
    reference = max(best_known_trials, key=goodness)
    others = [trial for trial in completed if trial.values != best_known]
    p_values = _adjusted_p_values(reference, others, labels, objective)
    better_trials = [
        trial
        for trial, p_value in zip(others, p_values, strict=True)
        if p_value < SIGNIFICANCE_LEVEL and goodness(trial) > goodness(reference)
    ]
    return max(better_trials, key=goodness, default=reference)


def _adjusted_p_values(
    reference: Trial, others: Sequence[Trial], labels: NDArray[np.int64], objective: str
) -> NDArray[np.float64]:
    """The p-value of each of the others against the reference, adjusted by Holm's method."""
    if objective == "val_loss":
        reference_outputs, *other_outputs = (unpack(trial.losses, LOSSES) for trial in (reference, *others))
    else:
        reference_outputs, *other_outputs = (unpack(trial.predictions, PREDICTIONS) for trial in (reference, *others))
    if objective == "val_accuracy":
        return evaluation.holm_adjusted_mcnemar(
            reference_outputs == labels, [outputs == labels for outputs in other_outputs]
        )
    return evaluation.holm(
        [evaluation.permutation_test(objective, labels, reference_outputs, outputs) for outputs in other_outputs]
    )
