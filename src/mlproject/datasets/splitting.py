"""Which training images are set aside for validation, whatever the sizes of the classes and groups. Pure."""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split


def stratified(strata: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
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
        random = np.random.default_rng(seed)
        _, classes = np.unique(strata, return_inverse=True)
        return _draw(classes, _apportion(np.bincount(classes), fraction, random), random)


def grouped(strata: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw whole groups of images for validation, as nearly as possible in the proportions of the classes.

    The groups come in random order. One is drawn if this brings the numbers of validation images of its classes closer
    to what `stratified` would draw (in squares), and if each of its classes keeps a training image. If no group is, the one
    that comes closest is drawn. scikit-learn's StratifiedGroupKFold would not keep every class in training.

    Args:
        strata: int64 (n,), the class of each image.
        groups: int64 (n,), the group of each image.
        fraction: the fraction of the images to draw, in (0, 1).
        seed: the seed of the draw.

    Returns:
        int64, the rows of the validation images in rising order; empty if no group can be drawn.
    """
    random = np.random.default_rng(seed)
    _, classes = np.unique(strata, return_inverse=True)
    names, numbers = np.unique(groups, return_inverse=True)
    counts = np.bincount(classes)
    wanted, drawn = _apportion(counts, fraction, random), np.zeros_like(counts)
    chosen, closest = np.zeros(len(names), dtype=bool), (math.inf, -1)
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    for group in random.permutation(len(names)):
        of_group, images = np.unique(classes[members[group]], return_counts=True)
        if (drawn[of_group] + images >= counts[of_group]).any():
            continue
        missing = wanted[of_group] - drawn[of_group]
        farther = float(((missing - images) ** 2).sum() - (missing**2).sum())
        if farther < 0:
            chosen[group], drawn[of_group] = True, drawn[of_group] + images
        closest = min(closest, (farther, int(group)))
    if not chosen.any() and closest[1] >= 0:
        chosen[closest[1]] = True
    return np.flatnonzero(chosen[numbers])


def share(strata: NDArray[np.int64], groups: NDArray[np.int64] | None, fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw a share of the images in the proportions of the classes. A smaller share is part of a larger one.

    Args:
        strata: int64 (n,), the class of each image.
        groups: int64 (n,), the group of each image; then whole groups are drawn, whatever their classes. None without groups.
        fraction: the fraction of the images of each class, or of the groups, in (0, 1], rounded up.
        seed: the seed of the draw.

    Returns:
        int64, the rows in rising order.
    """
    random = np.random.default_rng(seed)
    if groups is not None:
        names = random.permutation(np.unique(groups))
        return np.flatnonzero(np.isin(groups, names[: math.ceil(fraction * len(names))]))
    _, classes = np.unique(strata, return_inverse=True)
    wanted = np.array([math.ceil(fraction * count) for count in np.bincount(classes)])
    return np.sort(_draw(classes, wanted, random))


def _draw(classes: NDArray[np.int64], wanted: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw `wanted` images of each class; more of them include fewer of them, drawn with the same random numbers."""
    order = random.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    place = np.arange(len(classes)) - np.searchsorted(classes[order], classes[order])  # 0 for the first of each class
    return order[place < wanted[classes[order]]]


def _apportion(counts: NDArray[np.int64], fraction: float, random: np.random.Generator) -> NDArray[np.int64]:
    """How many images of each class are drawn, if classes have `counts` (each at least 1).

    Every class keeps a training image. If as many images as classes are drawn, each class with two or more images gives at
    least one. Beyond that the numbers are proportional, and what rounding leaves goes to the largest remainders; a random
    order decides between equal ones.
    """
    most = counts - 1
    total = min(math.ceil(fraction * counts.sum()), int(most.sum()))
    shares = total * counts / counts.sum() + 1e-9 * random.random(len(counts))
    least = np.minimum(most, 1) if np.minimum(most, 1).sum() <= total else np.zeros_like(counts)
    numbers = np.clip(np.floor(shares).astype(np.int64), least, most)
    while numbers.sum() < total:
        numbers[np.where(numbers < most, shares - numbers, -np.inf).argmax()] += 1
    while numbers.sum() > total:
        numbers[np.where(numbers > least, shares - numbers, np.inf).argmin()] -= 1
    return np.asarray(numbers, np.int64)
