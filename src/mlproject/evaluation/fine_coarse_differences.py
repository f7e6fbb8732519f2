"""A fine model compared with a coarse model: the scores of each fine class minus the scores of its superclass."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

from mlproject.evaluation.checks import check_labels, check_same_length, check_superclass_of
from mlproject.evaluation.multiple_testing import benjamini_hochberg
from mlproject.evaluation.scores import CONFIDENCE, SCORES

CLASS_RESAMPLES = 2_000  # fewer than for one difference in accuracy, because each one scores all classes
RESAMPLES_AT_ONCE = 100  # bounds the memory, because a resample takes 8 bytes for each image


def class_differences(
    fine_labels: NDArray[np.integer],
    fine_predictions: NDArray[np.integer],
    coarse_predictions: NDArray[np.integer],
    superclass_of: NDArray[np.integer],
) -> pd.DataFrame:
    """Compare the scores of each fine class, by a fine model, with those of its superclass, by a coarse model.

    The intervals are percentiles of a bootstrap over the images (2,000 resamples, seed 0). Both models are scored on
    the same resample, so the intervals account for images that are hard for both.

    Args:
        fine_labels: int, (images,), the true fine classes.
        fine_predictions: int, (images,), the fine model's predictions.
        coarse_predictions: int, (images,), the coarse model's predictions of superclasses, with the images in the same
            order.
        superclass_of: int, (classes,), for each fine class the index of its superclass.

    Returns:
        One row for each fine class. For each score (precision, recall, f1): `<score>_difference`, the fine class's
        score minus its superclass's, -1..1, and its 95 % interval `<score>_low`, `<score>_high`. For f1 also `p`, the
        two-sided p-value of a z-test (the difference divided by its bootstrap standard error, compared with the
        standard normal distribution), and `p_adjusted`, adjusted by Benjamini and Hochberg's method over the classes
        that have images (NaN for a class without images).

    Raises:
        UserError: if lengths do not match or an index is outside its range.
    """
    classes = len(superclass_of)
    superclass_of = check_superclass_of(superclass_of, classes)
    # The coarse model may know superclasses that none of the fine classes belongs to.
    superclasses = int(max(superclass_of.max(), np.max(coarse_predictions, initial=0))) + 1
    fine_labels = check_labels("fine_labels", fine_labels, classes)
    fine_predictions = check_labels("fine_predictions", fine_predictions, classes)
    coarse_predictions = check_labels("coarse_predictions", coarse_predictions, superclasses)
    check_same_length("fine_labels", fine_labels, "fine_predictions", fine_predictions)
    check_same_length("fine_labels", fine_labels, "coarse_predictions", coarse_predictions)
    outcomes = np.stack([fine_labels, fine_predictions, coarse_predictions])
    differences, resampled = _bootstrap_differences(outcomes, superclass_of, superclasses)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    table: dict[str, NDArray[np.float64]] = {}
    for index, score in enumerate(SCORES):
        table |= {f"{score}_difference": differences[index], f"{score}_low": low[index], f"{score}_high": high[index]}
    p = _normal_p_values(differences[SCORES.index("f1")], resampled[SCORES.index("f1")])
    has_images = np.bincount(fine_labels, minlength=classes) > 0
    p_adjusted = np.full(classes, np.nan)
    p_adjusted[has_images] = benjamini_hochberg(p[has_images])
    return pd.DataFrame(table | {"p": p, "p_adjusted": p_adjusted})


def _bootstrap_differences(
    outcomes: NDArray[np.integer], superclass_of: NDArray[np.integer], superclasses: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the differences of the scores on the images themselves and on resamples of them.

    Args:
        outcomes: int, (3, images): true fine class, predicted fine class, predicted superclass.
        superclass_of: int, (classes,), for each fine class the index of its superclass.
        superclasses: the number of superclasses.

    Returns:
        float64, (3 scores, classes), and float64, (3 scores, resamples, classes).
    """
    # Images with the same three indices are of the same kind and count alike in all scores. So it suffices to know how
    # many images of each kind a resample holds.
    (truth, fine, coarse), kind_of_image = np.unique(outcomes, axis=1, return_inverse=True)
    kind_of_image, kinds = kind_of_image.ravel(), len(truth)
    fine_indicators = _indicators(truth, fine, len(superclass_of))
    coarse_indicators = _indicators(superclass_of[truth], coarse, superclasses)

    def differences(draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute (3 scores, resamples, classes) from the indices of the drawn images, (resamples, images)."""
        offsets = kinds * np.arange(len(draws))[:, None]
        all_counts = np.bincount((kind_of_image[draws] + offsets).ravel(), minlength=kinds * len(draws))
        counts = all_counts.reshape(len(draws), -1)
        return _scores(counts, fine_indicators) - _scores(counts, coarse_indicators)[:, :, superclass_of]

    images, rng = outcomes.shape[1], np.random.default_rng(0)
    observed = differences(np.arange(images)[None])[:, 0]
    batches = [
        differences(rng.integers(images, size=(RESAMPLES_AT_ONCE, images)))
        for _ in range(CLASS_RESAMPLES // RESAMPLES_AT_ONCE)
    ]
    return observed, np.concatenate(batches, axis=1)


def _normal_p_values(difference: NDArray[np.float64], resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute two-sided p-values of differences (classes,) from their resamples (resamples, classes)."""
    standard_error = resampled.std(axis=0, ddof=1)
    # If all resamples agree, the standard error is 0 and z is undefined. z is then 0, so that p is 1.
    z = np.divide(np.abs(difference), standard_error, out=np.zeros_like(difference), where=standard_error > 0)
    return np.asarray(2 * stats.norm.sf(z), dtype=np.float64)


def _indicators(labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int) -> list[sparse.csr_array]:
    """Build indicator matrices (kinds, classes) of: correctly predicted class, predicted class, true class."""
    rows, ones = np.arange(len(labels)), np.ones(len(labels))
    entries = (predictions == labels, predictions), (ones, predictions), (ones, labels)
    return [sparse.csr_array((values, (rows, columns)), (len(labels), classes)) for values, columns in entries]


def _scores(counts: NDArray[np.int64], indicators: list[sparse.csr_array]) -> NDArray[np.float64]:
    """Compute precision, recall and F1, (3, resamples, classes), from counts (resamples, kinds); 0/0 gives 0."""
    hits, predicted, true = (np.asarray(counts @ indicator, dtype=np.float64) for indicator in indicators)
    ratios = (hits, predicted), (hits, true), (2 * hits, predicted + true)
    return np.stack(
        [
            np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)
            for numerator, denominator in ratios
        ]
    )
