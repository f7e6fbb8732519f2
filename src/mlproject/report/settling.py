"""What it takes to settle the difference of two models: seeds of each, or test images. Pure."""

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report.content import Column
from mlproject.report.formats import MISSING, approximate_count, brief_points, count, unsigned_points

SEED_STDS = (0.002, 0.005)  # standard deviations of an accuracy between seeds, where none was measured
NOTE = (
    "Seeds to settle it: with this number of seeds of each model, 80% of studies would find a difference of this size. Where no "
    "number of seeds is enough, the column has the number of test images that it would take. The standard deviation between "
    "seeds is the measured one; where none was measured, the numbers are upper limits for 0.2 and 0.5 points."
)


def _format_requirement(if_small: float, if_large: float, images: float) -> str:
    """(5, 29, NaN) -> "5 to 29"; (NaN, NaN, 12345) -> "12,000 images"; all NaN -> "–"."""
    if pd.isna(if_small):
        return MISSING if pd.isna(images) else f"{approximate_count(images)} images"
    return count(if_small) if if_small == if_large else f"{count(if_small)} to {count(if_large)}"


COLUMN = Column("seeds to settle it", ("needed_if_small", "needed_if_large", "needed_images"), _format_requirement)


def requirements(difference: evaluation.CrossedDifference, images: int) -> dict[str, float]:
    """Say what it takes to settle a difference of the size that was found.

    Args:
        difference: as `evaluation.crossed_difference` gives it.
        images: the number of test images.

    Returns:
        needed_if_small and needed_if_large, the seeds of each model with the smaller and the larger of `SEED_STDS`, or twice
        the seeds with the measured spread, NaN if no number is enough; and needed_images, NaN otherwise.
    """
    spreads = (difference.seed_std, difference.seed_std) if difference.seeds_covered else SEED_STDS
    small, large = (
        evaluation.sample_size_to_settle(
            difference.difference, seed_std, images, difference.image_variance, difference.interaction_variance
        )
        for seed_std in spreads
    )
    row = {"needed_if_small": small.seeds, "needed_if_large": large.seeds, "needed_images": small.images}
    return {name: np.nan if value is None else value for name, value in row.items()}


def sentences(pair: pd.Series, significant: bool) -> list[str]:
    """Say in words what the interval of a pair does not cover, and what it takes to settle the difference.

    Args:
        pair: a row of the frame that `pairs.compare` gives.
        significant: whether the difference is significant.

    Returns:
        A sentence; none if the difference is significant over images and seeds.
    """
    if pair["covers"] == "images and seeds":
        return [] if significant else [f"{_sentence_for_measured_seeds(pair)}."]
    single = [pair[model] for model in ("a", "b") if pair[f"seeds_{model}"] == 1]
    trained = "Each network" if len(single) == 2 else single[0]
    return [
        f"{trained} was trained with one seed, so the interval does not cover what another seed would change. "
        f"{_sentence_for_unknown_seeds(pair)}."
    ]


def _sentence_for_measured_seeds(pair: pd.Series) -> str:
    if np.isnan(pair["needed_if_small"]):
        return f"As for the difference between {pair['a']} and {pair['b']}, {_more_images_clause(pair)}"
    return (
        f"If {pair['a']} and {pair['b']} truly differ by {brief_points(pair['difference'])} points, about "
        f"{count(pair['needed_if_small'])} seeds of each show it in 80% of studies, given the measured standard deviation of "
        f"{unsigned_points(pair['seed_std'])} points between seeds"
    )


def _sentence_for_unknown_seeds(pair: pd.Series) -> str:
    small, large = pair["needed_if_small"], pair["needed_if_large"]
    if np.isnan(small):
        clause = _more_images_clause(pair)
        return clause[0].upper() + clause[1:]
    start = (
        f"If {pair['a']} and {pair['b']} truly differ by {brief_points(pair['difference'])} points, {count(small)} seeds of each "
        f"(-P seeds={small:.0f}) show it in at least 80% of studies, provided that the standard deviation between seeds is"
    )
    if small == large:
        return f"{start} at most 0.5 points"
    return f"{start} 0.2 points; if it is 0.5 points, it takes {count(large)} seeds of each"


def _more_images_clause(pair: pd.Series) -> str:
    if np.isnan(pair["needed_images"]):
        return "no number of seeds or test images settles it, because the accuracies are equal"
    verb, limit = ("are not", "about") if pair["covers"] == "images and seeds" else ("may not be", "up to")
    return (
        f"more seeds alone {verb} enough to settle it: {limit} {approximate_count(pair['needed_images'])} test images would be "
        f"needed in place of {count(pair['images'])}"
    )
