"""Two models compared on the same images.

Both models see the same images, so their accuracies are not independent: an image that is hard for one is hard for the
other. Only the discordant images tell the models apart: those that exactly one of the two classifies correctly.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlproject.evaluation.checks import check_correct, check_same_length
from mlproject.evaluation.multiple_testing import holm
from mlproject.evaluation.scores import CONFIDENCE


def paired_difference(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> dict[str, float]:
    """Estimate by how much model a is more accurate than model b, with an interval and a test.

    Args:
        correct_a: bool, (images,), whether model a classifies each image correctly.
        correct_b: bool, (images,), the same for model b, with the images in the same order.

    Returns:
        `difference`, the accuracy of a minus the accuracy of b, -1..1.
        `low` and `high`, its 95 % interval by Agresti and Min's adjusted Wald method for matched pairs, which adds half an
        observation to each cell of the 2 x 2 table (Stat. Med. 24 (2005) 729-740), so that it is valid when few images or
        none are discordant.
        `p`, the two-sided p-value of the exact McNemar test.

    Raises:
        UserError: if the lengths differ, there are no images, or the values are not of type bool.
    """
    only_a, only_b = _count_discordant("correct_a", correct_a, "correct_b", correct_b)
    images = len(correct_a)
    low, high = _agresti_min_interval(only_a, only_b, images)
    return {"difference": (only_a - only_b) / images, "low": low, "high": high, "p": _mcnemar_p_value(only_a, only_b)}


def holm_adjusted_mcnemar(
    correct_reference: NDArray[np.bool_], correct_others: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Test each of several models against one reference model on the same images.

    The test is the exact McNemar test, two-sided, and the p-values are adjusted by Holm's method over all the other
    models. A small p-value says that two accuracies differ, not which of them is higher.

    Args:
        correct_reference: bool, (images,), whether the reference model classifies each image correctly.
        correct_others: for each of the other models the same, with the images in the same order; may be empty.

    Returns:
        float64, (others,), the adjusted p-values in the order given.

    Raises:
        UserError: if the lengths differ, there are no images, or the values are not of type bool.
    """
    correct_reference = check_correct("correct_reference", correct_reference)
    counts = [
        _count_discordant("correct_reference", correct_reference, f"correct_others[{index}]", correct)
        for index, correct in enumerate(correct_others)
    ]
    return holm([_mcnemar_p_value(only_reference, only_other) for only_reference, only_other in counts])


def _count_discordant(
    name_a: str, correct_a: NDArray[np.bool_], name_b: str, correct_b: NDArray[np.bool_]
) -> tuple[int, int]:
    """Count the images that only model a classifies correctly, and those that only model b does."""
    correct_a = check_correct(name_a, correct_a)
    correct_b = check_correct(name_b, correct_b)
    check_same_length(name_a, correct_a, name_b, correct_b)
    return int(np.sum(correct_a & ~correct_b)), int(np.sum(~correct_a & correct_b))


def _mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Compute the two-sided p-value of the exact McNemar test, a binomial test on the discordant images."""
    discordant = only_a + only_b
    return float(stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0


def _agresti_min_interval(only_a: int, only_b: int, images: int) -> tuple[float, float]:
    adjusted_a, adjusted_b, total = only_a + 0.5, only_b + 0.5, images + 2
    centre = (adjusted_a - adjusted_b) / total
    standard_error = np.sqrt(adjusted_a + adjusted_b - (adjusted_a - adjusted_b) ** 2 / total) / total
    half_width = stats.norm.ppf((1 + CONFIDENCE) / 2) * standard_error
    return float(max(centre - half_width, -1)), float(min(centre + half_width, 1))
