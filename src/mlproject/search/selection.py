"""Which trial wins a search."""

import math
from collections.abc import Mapping, Sequence

from mlproject import evaluation
from mlproject.experiment import Value
from mlproject.search.journal import Trial, unpack_bits

SIGNIFICANCE_LEVEL = 0.05


def standard_error(accuracy: float, images: int) -> float:
    """The binomial standard error of an accuracy that was measured on so many images; NaN where the accuracy is NaN."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def select_winner(completed: Sequence[Trial], known: Mapping[str, Value], images: int) -> Trial:
    """Select the trial whose values are refitted.

    The best-known values win unless another trial classifies significantly more validation images correctly. All trials
    predict the same images, so the exact McNemar test compares them image by image. Its p-values are adjusted by Holm's
    method over all compared trials, because the best of several trials is partly the luckiest one. Best-known values have
    been through whole fits, and trials with a smaller lead lost it in the whole fit (bench/README.md, "What a lead is
    worth").

    Args:
        completed: the trials that did not fail, at least one.
        known: the best-known values.
        images: the number of validation images.

    Returns:
        The most accurate of the trials that are significantly better than the best-known values; the trial of these values
        where there is none; the most accurate trial where the trial of the best-known values failed.
    """
    with_known_values = [trial for trial in completed if trial.values == known]
    if not with_known_values:
        return max(completed, key=lambda trial: trial.val_accuracy)
    reference = max(with_known_values, key=lambda trial: trial.val_accuracy)
    others = [trial for trial in completed if trial.values != known]
    p = evaluation.holm_adjusted_mcnemar(
        unpack_bits(reference.correct, images), [unpack_bits(trial.correct, images) for trial in others]
    )
    better = [
        trial
        for trial, adjusted in zip(others, p, strict=True)
        if adjusted < SIGNIFICANCE_LEVEL and trial.val_accuracy > reference.val_accuracy
    ]
    return max(better, key=lambda trial: trial.val_accuracy, default=reference)
