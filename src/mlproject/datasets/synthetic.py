"""Small stand-ins for the real data sets: same shapes and class names, made from a seed, with planted confusions.

A class has a look: a smooth random pattern, most of it shared with the other classes of its superclass. An image is
the look of its class, shifted, at some contrast and brightness, under noise. For each pair in `PLANTED`, a share
`MIXED` of both classes' images is drawn with the look of the other: no network can tell these apart, so an analysis
must find these confusions and none as strong elsewhere.
"""

from types import ModuleType

import numpy as np
from scipy.ndimage import zoom

from mlproject.datasets.files import Arrays

MIXED = 0.4
"""Share of a planted class's images that look like the other class of its pair: the best recall is 1 - MIXED."""

PLANTED: dict[str, tuple[tuple[str, str], ...]] = {
    # All within one superclass, but the last: dolphin (aquatic_mammals) and shark (fish) confuse superclasses too.
    "cifar100": (("boy", "girl"), ("maple_tree", "oak_tree"), ("leopard", "tiger"), ("dolphin", "shark")),
    "fashion-mnist": (("T-shirt/top", "Shirt"),),
}
"""Pairs of class names that look alike, for each data set; none for others."""

PER_CLASS = {"cifar100": (40, 10)}
OTHERS_PER_CLASS = (150, 50)
"""Training and test images of a class."""


def make(name: str, module: ModuleType, seed: int = 0) -> Arrays:
    """A synthetic stand-in for the data set `name` of that module, with its `CLASSES`, its `SHAPE` and, where it has any, its
    superclasses: "cifar100" (4,000 training and 1,000 test images), "fashion-mnist" (1,500 and 500) or any other.

    Images uint8 and labels int64, shuffled, with the same number of images for each class.
    """
    rng = np.random.default_rng(seed)
    classes, shape = module.CLASSES, module.SHAPE
    groups = getattr(module, "SUPERCLASS_OF", np.arange(len(classes)))
    looks = _patterns(rng, max(groups) + 1, shape)[groups] + 0.7 * _patterns(rng, len(classes), shape)
    other = np.arange(len(classes))
    for a, b in PLANTED.get(name, ()):
        i, j = classes.index(a), classes.index(b)
        other[i], other[j] = j, i
    train, test = (_draw(rng, looks, other, count) for count in PER_CLASS.get(name, OTHERS_PER_CLASS))
    return Arrays(*train, *test, source=f"synthetic, seed {seed}")


def _patterns(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth random patterns, float32 (count, height, width, channels), -1..1: 4 x 4 random colours, blended."""
    height, width, channels = shape
    colours = rng.uniform(-1, 1, (count, 4, 4, channels)).astype(np.float32)
    return zoom(colours, (1, height / 4, width / 4, 1), order=1)


def _draw(
    rng: np.random.Generator, looks: np.ndarray, other: np.ndarray, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, height, width, channels) and labels int64 (n,): `per_class` of each class, in random order."""
    labels = rng.permutation(np.repeat(np.arange(len(looks)), per_class))
    shown = np.where(rng.random(len(labels)) < MIXED, other[labels], labels)
    height, width = looks.shape[1:3]
    rows = (np.arange(height) + rng.integers(-2, 3, (len(labels), 1))) % height
    columns = (np.arange(width) + rng.integers(-2, 3, (len(labels), 1))) % width
    per_image = (len(labels), 1, 1, 1)
    images = looks[shown[:, None, None], rows[:, :, None], columns[:, None, :]]
    images *= rng.uniform(15, 45, per_image).astype(np.float32)
    images += rng.uniform(100, 155, per_image).astype(np.float32)
    images += 35 * rng.standard_normal(images.shape, dtype=np.float32)
    return np.clip(images, 0, 255).astype(np.uint8), labels
