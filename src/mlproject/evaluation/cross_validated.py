"""How sure a figure from cross-validation is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlproject.evaluation.scores import CONFIDENCE, wilson_interval


def nadeau_bengio_error(scores: Sequence[float], ratio: float) -> float:
    """Estimate the standard error of the mean score of a cross-validation's fits.

    The fits share most of their training images, so their scores are not independent. Source: Nadeau and Bengio, Machine
    Learning 52 (2003) 239-281, who add `ratio` to the usual 1 / fits.

    Args:
        scores: one for each fit, at least two.
        ratio: the images that a fit holds out, relative to those it trains on.

    Returns:
        sqrt((1 / fits + ratio) s^2), where s^2 is the variance of the scores.
    """
    return float(np.sqrt((1 / len(scores) + ratio) * np.var(scores, ddof=1)))


def cross_validated_interval(correct: NDArray[np.bool_], folds: NDArray[np.integer]) -> tuple[float, float]:
    """Compute a 95 % interval of a cross-validated accuracy.

    It is the mean plus and minus t (fits - 1 degrees of freedom) times `nadeau_bengio_error`, and at least as wide as Wilson's
    interval for as many images. Wilson's alone is too narrow, because it takes the training images as given (Bates, Hastie
    and Tibshirani, arXiv 2104.00673) and the images of a group as independent; the other alone has no width where all folds
    are equally accurate. How often both contain the true accuracy: bench/README.md, "Intervals of cross-validation".

    Args:
        correct: bool (repeats, images), whether each image was classified correctly when it was held out.
        folds: int (repeats, images), the number of the fold that held each image out.

    Returns:
        The interval's ends (low, high), 0..1.
    """
    accuracy, images = float(correct.mean()), correct.shape[1]
    fold_count = len(np.unique(folds[0]))
    scores = [
        float(repeat_correct[repeat_folds == fold].mean())
        for repeat_correct, repeat_folds in zip(correct, folds, strict=True)
        for fold in np.unique(repeat_folds)
    ]
    half_width = stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1) * nadeau_bengio_error(scores, 1 / (fold_count - 1))
    low, high = wilson_interval(round(accuracy * images), images)
    return float(max(min(accuracy - half_width, low), 0)), float(min(max(accuracy + half_width, high), 1))
