"""Small synthetic stand-ins for the real data sets: same image shapes and class names, with known confusions.

Each class has a pattern: smooth and random, and mostly shared with the other classes of its superclass. An image is
its class's pattern, shifted, at a random contrast and brightness, with noise added. For each pair of classes in
`CONFUSED_PAIRS`, the fraction `MIXED_FRACTION` of both classes' images shows the pattern of the other class. No network can
tell these images apart, so an analysis must find these confusions, and no others that are as strong.
"""

import numpy as np
from scipy.ndimage import zoom

from mlproject.datasets.declaration import Declaration
from mlproject.datasets.files import Arrays

MIXED_FRACTION = 0.4
"""The fraction of a confused class's images that shows the other class of its pair: the best recall is 1 - MIXED_FRACTION."""

CONFUSED_PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    # All pairs but the last are within one superclass; dolphin (aquatic_mammals) and shark (fish) confuse superclasses.
    "cifar100": (("boy", "girl"), ("maple_tree", "oak_tree"), ("leopard", "tiger"), ("dolphin", "shark")),
    "fashion-mnist": (("T-shirt/top", "Shirt"),),
}
"""For each data set the pairs of class names that look alike; data sets that are not listed have none."""

IMAGES_PER_CLASS = {"cifar100": (40, 10)}
"""For each data set the number of training images and of test images of one class."""

DEFAULT_IMAGES_PER_CLASS = (150, 50)
"""The same for data sets that are not listed above, as far as MOST_VALUES allows."""

MOST_VALUES, FEWEST_IMAGES = 50_000_000, 3
"""Numbers in the training images of a set that is not listed above, so that it fits into memory; and the fewest training images
of a class, whatever they take."""


def make(declaration: Declaration, seed: int = 0) -> Arrays:
    """Make a synthetic stand-in for a data set.

    Args:
        declaration: the data set's name, classes, shape and superclasses. "cifar100" gets 4,000 training and 1,000 test
            images, "fashion-mnist" 1,500 and 500; any other gets 150 and 50 for each class, or fewer if images are large.
        seed: the seed of all random numbers.

    Returns:
        Images uint8 and labels int64, shuffled, with equally many images of each class.
    """
    rng = np.random.default_rng(seed)
    name, classes, superclass_of = declaration.name, declaration.classes, declaration.superclass_of
    shared_patterns = _patterns(rng, int(max(superclass_of)) + 1, declaration.shape)[superclass_of]
    patterns = shared_patterns + 0.7 * _patterns(rng, len(classes), declaration.shape)
    partner = np.arange(len(classes))
    for first, second in CONFUSED_PAIRS.get(name, ()):
        if first in classes and second in classes:  # a user's own images may have the same name
            i, j = classes.index(first), classes.index(second)
            partner[i], partner[j] = j, i
    train_count, test_count = IMAGES_PER_CLASS.get(name) or _images_per_class(patterns.size)
    train_images, train_labels = _draw_images(rng, patterns, partner, train_count)
    test_images, test_labels = _draw_images(rng, patterns, partner, test_count)
    return Arrays(train_images, train_labels, test_images, test_labels, source=f"synthetic, seed {seed}")


def _images_per_class(value_count: int) -> tuple[int, int]:
    """How many training and test images a class gets, if one image of each class has so many values together."""
    train, test = DEFAULT_IMAGES_PER_CLASS
    allowed = min(train, max(MOST_VALUES // value_count, FEWEST_IMAGES))
    return allowed, allowed * test // train


def _patterns(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth random patterns, float32 (count, height, width, channels), -1..1: 4 x 4 random colours, interpolated."""
    height, width, channels = shape
    colours = rng.uniform(-1, 1, (count, 4, 4, channels)).astype(np.float32)
    return zoom(colours, (1, height / 4, width / 4, 1), order=1)


def _draw_images(
    rng: np.random.Generator, patterns: np.ndarray, partner: np.ndarray, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, height, width, channels) and labels int64 (n,): `per_class` of each class, in random order.

    `patterns` is float32 (classes, height, width, channels); `partner` holds for each class the one that it is
    confused with, or the class itself.
    """
    labels = rng.permutation(np.repeat(np.arange(len(patterns)), per_class))
    shown_classes = np.where(rng.random(len(labels)) < MIXED_FRACTION, partner[labels], labels)
    height, width = patterns.shape[1:3]
    rows = (np.arange(height) + rng.integers(-2, 3, (len(labels), 1))) % height
    columns = (np.arange(width) + rng.integers(-2, 3, (len(labels), 1))) % width
    per_image = (len(labels), 1, 1, 1)
    images = patterns[shown_classes[:, None, None], rows[:, :, None], columns[:, None, :]]
    images *= rng.uniform(15, 45, per_image).astype(np.float32)
    images += rng.uniform(100, 155, per_image).astype(np.float32)
    images += 35 * rng.standard_normal(images.shape, dtype=np.float32)
    return np.clip(images, 0, 255).astype(np.uint8), labels
