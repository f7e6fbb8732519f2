"""Accuracies and differences whose intervals cover both the test images and the training seeds.

Every seed's network classifies the same images, so seeds and images are two crossed random effects, and an accuracy varies for
three reasons: other images, other seeds, and their interaction (which seed errs on which image is largely chance). Radiology
has the same design where several readers judge the same cases: Dorfman, Berbaum and Metz, Invest. Radiol. 27 (1992) 723-731;
Obuchowski and Rockette, Commun. Stat. Simul. Comput. 24 (1995) 285-308. The degrees of freedom are those of Hillis, Stat. Med.
26 (2007) 596-619.

`python bench/interval_coverage.py` simulates how often the 95 % intervals contain the true value, with accuracies of .7 and .9
and standard deviations of .2 and .5 points between seeds; bench/README.md has the figures, also those of the methods that were
tried and dropped. With three seeds or more it is 93 to 97 %. With two seeds the variance between them is estimated
from a single difference, and it is 91 to 98 %. With one seed nothing can be known about the seeds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mlproject.evaluation.checks import check_correct, check_same_length
from mlproject.evaluation.scores import CONFIDENCE, accuracy_interval


class CrossedAccuracy(NamedTuple):
    """The mean accuracy of the networks of several seeds.

    Attributes:
        mean: 0..1.
        low, high: the ends of its 95 % interval, 0..1.
        df: the interval's degrees of freedom; infinite with one seed.
        seed_std: the standard deviation between seeds, without what the seeds' luck on single images adds to it, 0..1; NaN
            with one seed.
    """

    mean: float
    low: float
    high: float
    df: float
    seed_std: float


class CrossedDifference(NamedTuple):
    """The difference of two mean accuracies on the same images.

    Attributes:
        difference: the mean accuracy of model a minus that of model b, -1..1.
        low, high: the ends of its 95 % interval.
        p: the two-sided p-value.
        seeds_covered: whether interval and p cover the seeds; if not, they cover the images alone.
        seed_std: the standard deviation between seeds of each of the two models (their root mean square), as
            `CrossedAccuracy` has it; NaN when the seeds are not covered.
        image_variance: the variance between images of the difference of two models' hit rates over all seeds; with one seed
            on either side it includes `interaction_variance`.
        interaction_variance: what a single seed of each model adds to it; 0 when the seeds are not covered.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds_covered: bool
    seed_std: float
    image_variance: float
    interaction_variance: float


class _SeedSpread(NamedTuple):
    """The variance of the seeds' accuracies, and the part of it that comes from the interaction with the images."""

    seeds: int
    variance: float
    interaction: float

    @property
    def seed_variance(self) -> float:
        """The variance between seeds on infinitely many images."""
        return max(self.variance - self.interaction, 0.0)


def crossed_accuracy(correct: NDArray[np.bool_]) -> CrossedAccuracy:
    """Compute the mean accuracy of several seeds, with a 95 % interval that covers images and seeds.

    The variance of the mean has a part for the images and one for the seeds. The interval is Wilson's (J. Am. Stat. Assoc. 22
    (1927) 209-212), with the number of images that would give this variance, and the quantile of Student's t (Korn and
    Graubard, Surv. Methodol. 24 (1998) 193-201, combine both for surveys).

    Args:
        correct: bool, (seeds, images), whether the network of each seed classifies each image correctly.

    Returns:
        The mean with its interval; with one seed the interval covers the images alone.

    Raises:
        UserError: if there are no seeds or no images, or the values are not of type bool.
    """
    correct = check_correct("correct", correct, by_seed=True)
    seeds, images = correct.shape
    mean = float(correct.mean())
    if seeds == 1:
        return CrossedAccuracy(mean, *accuracy_interval(correct[0]), df=float("inf"), seed_std=float("nan"))
    spread = _seed_spread(correct)
    variance_from_images = float(correct.mean(axis=0).var(ddof=1)) / images if images > 1 else 0.0
    # Networks that err independently would have this variance, and hard images only make it larger. A lower estimate, as from a
    # handful of images, is due to chance, and at 0 there would be no degrees of freedom.
    variance_from_images = max(variance_from_images, mean * (1 - mean) / (seeds * images))
    variance = variance_from_images + spread.seed_variance / seeds
    df = _degrees_of_freedom(variance, variance_from_images, images, [spread])
    effective_images = mean * (1 - mean) / variance if variance else images
    t = _critical_t(df)
    centre = (mean + t**2 / (2 * effective_images)) / (1 + t**2 / effective_images)
    root = float(np.sqrt(mean * (1 - mean) / effective_images + t**2 / (4 * effective_images**2)))
    half_width = t / (1 + t**2 / effective_images) * root
    # For a mean of 0 or 1, rounding could leave the mean outside of its interval.
    low, high = min(max(centre - half_width, 0.0), mean), max(min(centre + half_width, 1.0), mean)
    return CrossedAccuracy(mean, low, high, df, float(np.sqrt(spread.seed_variance)))


def crossed_difference(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], same_networks: bool = False
) -> CrossedDifference:
    """Estimate by how much model a is more accurate than model b, over images and seeds.

    The images are the same for both models. The variance of the difference is that of the images' differences, in which the
    interaction is contained, plus what the seeds add to it: those of each model, which are independent of each other, or, if
    both predict with the same networks, those of the difference. If equal seeds make the networks of two models alike, for
    instance by equal initial weights, this is too much rather than too little.

    The variance between images is never taken to be 0: it is at least what one image would cause that only one model gets right.
    Two models that agree on thirty test images may still differ on others, so their interval must not have zero width.

    Args:
        correct_a: bool, (seeds of a, images), whether the network of each seed of model a classifies each image correctly.
        correct_b: bool, (seeds of b, images), the same for model b, with the images in the same order.
        same_networks: whether a and b are two ways to predict with the same networks, in the same order of the seeds.

    Returns:
        The difference with a t interval and the p-value of the t test. With one seed on either side both cover the images
        alone.

    Raises:
        UserError: if there are no seeds or images, the numbers of images differ, or the values are not of type bool; for the
            same networks also if the numbers of seeds differ.
    """
    correct_a = check_correct("correct_a", correct_a, by_seed=True)
    correct_b = check_correct("correct_b", correct_b, by_seed=True)
    check_same_length("correct_a", correct_a.T, "correct_b", correct_b.T)
    image_differences = correct_a.mean(axis=0) - correct_b.mean(axis=0)
    # Not the mean of the images' differences: sums of thirds are rounded, and equal accuracies must differ by exactly 0.
    images, difference = len(image_differences), float(correct_a.mean() - correct_b.mean())
    smallest_variance = 1 / images  # the variance where the difference is 1 for one image and 0 for the others
    between_images = max(float(image_differences.var(ddof=1)), smallest_variance) if images > 1 else smallest_variance
    spreads = _seed_spreads(correct_a, correct_b, same_networks)
    variance = between_images / images + sum(spread.seed_variance / spread.seeds for spread in spreads)
    df = _degrees_of_freedom(variance, between_images / images, images, spreads)
    standard_error = float(np.sqrt(variance))
    half_width = _critical_t(df) * standard_error
    contained_interaction = images * sum(spread.interaction / spread.seeds for spread in spreads)
    return CrossedDifference(
        difference,
        max(difference - half_width, -1.0),
        min(difference + half_width, 1.0),
        p=float(2 * special.stdtr(df, -abs(difference) / standard_error)),
        seeds_covered=bool(spreads),
        seed_std=float(np.sqrt(sum(spread.seed_variance for spread in spreads) / 2)) if spreads else float("nan"),
        image_variance=max(between_images - contained_interaction, 0.0),
        interaction_variance=images * sum(spread.interaction for spread in spreads),
    )


def _seed_spreads(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], same_networks: bool) -> list[_SeedSpread]:
    """What the seeds add to the variance of a difference; nothing is known of it with one seed on either side."""
    if min(len(correct_a), len(correct_b)) == 1:
        return []
    if same_networks:
        check_same_length("correct_a", correct_a, "correct_b", correct_b)
        return [_seed_spread(correct_a - correct_b.astype(np.float64))]
    return [_seed_spread(correct_a), _seed_spread(correct_b)]


def _seed_spread(values: NDArray[np.bool_] | NDArray[np.float64]) -> _SeedSpread:
    """The mean squares of a two-way table without replication, divided by the number of images."""
    seeds, images = values.shape
    between_seeds = float(values.mean(axis=1).var(ddof=1))
    between_images = float(values.mean(axis=0).var())
    residual = float(values.var()) - between_images - between_seeds * (seeds - 1) / seeds
    residual_df = (images - 1) * (seeds - 1)
    return _SeedSpread(seeds, between_seeds, max(residual, 0.0) * seeds / residual_df if residual_df else 0.0)


def _critical_t(df: float) -> float:
    """The quantile of Student's t for the interval."""
    return float(special.stdtrit(df, (1 + CONFIDENCE) / 2))


def _degrees_of_freedom(variance: float, variance_from_images: float, images: int, spreads: list[_SeedSpread]) -> float:
    """Satterthwaite's, with the whole variance of the seeds' means in the denominator, as Hillis proposes.

    With only the part that is left after subtracting the interaction, a seeds' variance that happens to be estimated as 0 would
    count as known exactly.
    """
    denominator = variance_from_images**2 / max(images - 1, 1)
    denominator += sum((spread.variance / spread.seeds) ** 2 / (spread.seeds - 1) for spread in spreads)
    return float(variance**2 / denominator) if denominator else float("inf")
