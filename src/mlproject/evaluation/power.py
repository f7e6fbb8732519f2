"""How many seeds or test images it takes to tell two models apart."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from mlproject.evaluation.scores import CONFIDENCE

POWER = 0.8  # the chance of finding a difference that is there
FEWEST_SEEDS = 2  # With one seed the interval does not cover the seeds.
MANY_SEEDS = 100  # With so many, Student's t hardly differs from the normal distribution.


class SampleSize(NamedTuple):
    """What it takes to settle a difference.

    Attributes:
        seeds: of each model; None if no number of seeds is enough with these test images.
        images: the test images needed with infinitely many seeds, where `seeds` is None; None otherwise, and where the
            difference is 0.
    """

    seeds: int | None
    images: int | None


def sample_size_to_settle(
    difference: float, seed_std: float, images: int, image_variance: float, interaction_variance: float = 0.0
) -> SampleSize:
    """Compute how many seeds of each model settle a difference: a power of 80 % at the two-sided level of 5 %.

    Args:
        difference: the true difference of the two mean accuracies, -1..1.
        seed_std: the standard deviation of an accuracy between seeds, 0..1, for both models.
        images: the number of test images.
        image_variance: as `crossed_difference` gives it. One measured with single seeds includes the interaction, which
            more seeds would make smaller; the result is then an upper bound.
        interaction_variance: as `crossed_difference` gives it.

    Returns:
        The number of seeds, at least 2, or else of test images.
    """
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    if difference == 0:
        return SampleSize(None, None)
    allowed_variance = (difference / z) ** 2 - image_variance / images  # variance that the seeds may have
    if allowed_variance <= 0:
        return SampleSize(None, math.ceil(image_variance * (z / difference) ** 2))
    one_seed_variance = interaction_variance / images + 2 * seed_std**2
    seeds = max(math.ceil(one_seed_variance / allowed_variance), FEWEST_SEEDS)
    # Student's t needs a few more seeds than the normal distribution.
    while seeds < MANY_SEEDS and _power(difference, seeds, image_variance / images, one_seed_variance) < POWER:
        seeds += 1
    return SampleSize(seeds, None)


def _power(difference: float, seeds: int, variance_from_images: float, one_seed_variance: float) -> float:
    """The power of the t test of `crossed_difference`, with the degrees of freedom that its variances lead to."""
    variance = variance_from_images + one_seed_variance / seeds
    if not variance:
        return 1.0
    model_variance = one_seed_variance / (2 * seeds)
    df = variance**2 / (2 * model_variance**2 / (seeds - 1)) if model_variance else np.inf
    critical = stats.t.ppf((1 + CONFIDENCE) / 2, df)
    return float(stats.nct.sf(critical, min(df, 1e6), abs(difference) / math.sqrt(variance)))
