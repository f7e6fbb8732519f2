"""Which training images are set aside for validation, whatever the sizes of the classes and groups. Pure."""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split


def draw_stratified(strata: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw validation images in the proportions of the classes.

    Where scikit-learn's stratified split works, this is it. It refuses a class with one image, and fewer validation images
    than classes. Then the numbers of `_apportion` are drawn from each class.

    Args:
        strata: int64 (n,), the class of each image.
        fraction: the fraction of the images to draw, in (0, 1), rounded up to whole images.
        seed: the seed of the draw.

    Returns:
        int64, the rows of the validation images in no particular order; empty if no class has two images.
    """
    rows = np.arange(len(strata))
    try:
        return np.asarray(train_test_split(rows, test_size=fraction, random_state=seed, stratify=strata)[1])
    except ValueError:
        rng = np.random.default_rng(seed)
        _, classes = np.unique(strata, return_inverse=True)
        return _draw_rows(classes, _apportion(np.bincount(classes), fraction, rng), rng)


def draw_groups(strata: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw whole groups of images for validation, as nearly as possible in the proportions of the classes.

    The groups come in random order. One is drawn if this brings the numbers of validation images of its classes closer
    to what `draw_stratified` would draw (in squares), and if each of its classes keeps a training image. If no group is, the one
    that comes closest is drawn. scikit-learn's StratifiedGroupKFold would not keep every class in training.

    Args:
        strata: int64 (n,), the class of each image.
        groups: int64 (n,), the group of each image.
        fraction: the fraction of the images to draw, in (0, 1).
        seed: the seed of the draw.

    Returns:
        int64, the rows of the validation images in rising order; empty if no group can be drawn.
    """
    rng = np.random.default_rng(seed)
    _, classes = np.unique(strata, return_inverse=True)
    group_names, group_numbers = np.unique(groups, return_inverse=True)
    counts = np.bincount(classes)
    target_counts, drawn_counts = _apportion(counts, fraction, rng), np.zeros_like(counts)
    is_drawn, closest = np.zeros(len(group_names), dtype=bool), (math.inf, -1)
    members = np.split(np.argsort(group_numbers, kind="stable"), np.cumsum(np.bincount(group_numbers))[:-1])
    for group in rng.permutation(len(group_names)):
        group_classes, group_counts = np.unique(classes[members[group]], return_counts=True)
        if (drawn_counts[group_classes] + group_counts >= counts[group_classes]).any():
            continue
        shortfall = target_counts[group_classes] - drawn_counts[group_classes]
        distance_change = float(((shortfall - group_counts) ** 2).sum() - (shortfall**2).sum())
        if distance_change < 0:
            is_drawn[group], drawn_counts[group_classes] = True, drawn_counts[group_classes] + group_counts
        closest = min(closest, (distance_change, int(group)))
    if not is_drawn.any() and closest[1] >= 0:
        is_drawn[closest[1]] = True
    return np.flatnonzero(is_drawn[group_numbers])


def draw_share(
    strata: NDArray[np.int64], groups: NDArray[np.int64] | None, fraction: float, seed: int
) -> NDArray[np.int64]:
    """Draw a share of the images in the proportions of the classes. A smaller share is part of a larger one.

    Args:
        strata: int64 (n,), the class of each image.
        groups: int64 (n,), the group of each image; then whole groups are drawn, whatever their classes. None without groups.
        fraction: the fraction of the images of each class, or of the groups, in (0, 1], rounded up.
        seed: the seed of the draw.

    Returns:
        int64, the rows in rising order.
    """
    rng = np.random.default_rng(seed)
    if groups is not None:
        shuffled_groups = rng.permutation(np.unique(groups))
        return np.flatnonzero(np.isin(groups, shuffled_groups[: math.ceil(fraction * len(shuffled_groups))]))
    _, classes = np.unique(strata, return_inverse=True)
    target_counts = np.array([math.ceil(fraction * count) for count in np.bincount(classes)])
    return np.sort(_draw_rows(classes, target_counts, rng))


def _draw_rows(
    classes: NDArray[np.int64], target_counts: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw `target_counts` images of each class; more of them include fewer of them, drawn with the same random numbers."""
    order = rng.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    rank = np.arange(len(classes)) - np.searchsorted(classes[order], classes[order])  # 0 for the first of each class
    return order[rank < target_counts[classes[order]]]


def _apportion(counts: NDArray[np.int64], fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many images of each class are drawn, if classes have `counts` (each at least 1).

    Every class keeps a training image. If as many images as classes are drawn, each class with two or more images gives at
    least one. Beyond that the numbers are proportional, and what rounding leaves goes to the largest remainders; a random
    order decides between equal ones.
    """
    upper_bounds = counts - 1
    total = min(math.ceil(fraction * counts.sum()), int(upper_bounds.sum()))
    shares = total * counts / counts.sum() + 1e-9 * rng.random(len(counts))
    lower_bounds = np.minimum(upper_bounds, 1) if np.minimum(upper_bounds, 1).sum() <= total else np.zeros_like(counts)
    allocation = np.clip(np.floor(shares).astype(np.int64), lower_bounds, upper_bounds)
    while allocation.sum() < total:
        allocation[np.where(allocation < upper_bounds, shares - allocation, -np.inf).argmax()] += 1
    while allocation.sum() > total:
        allocation[np.where(allocation > lower_bounds, shares - allocation, np.inf).argmin()] -= 1
    return np.asarray(allocation, np.int64)
