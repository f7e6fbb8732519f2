"""The batches of a fit: gathered from one tensor in memory, mirrored, moved, erased and shrunk by whole-batch operations."""

import keras
import numpy as np
import tensorflow as tf

from mlproject.datasets import Dataset
from mlproject.errors import UserError
from mlproject.recipe import Recipe

PREDICTED_AT_ONCE = 250  # images; no smaller batch is left of 10,000 test images, which would be traced apart


def training(
    inputs, data: Dataset, rows: np.ndarray, recipe: Recipe, seed: int, *, augment: bool, steps: int, skip: int = 0
) -> tf.data.Dataset:
    """Endless shuffled batches of `inputs` (n, ...) at `rows`, with one-hot labels (float32).

    Images are changed as the recipe says where `augment` asks for it; frozen features cannot be.
    What a batch holds depends on the seed and its number alone, not on threads or on where the fit began: it can begin after
    `skip` batches. `steps` batches make the fit, which is what the shares of `recipe.sizes` refer to.
    Raises UserError where erased squares would be as large as the images.
    """
    if augment and recipe.erase >= min(inputs.shape[1:3]):
        raise UserError(
            f"erase={recipe.erase} of a recipe is not accepted; less than {min(inputs.shape[1:3])} pixels is"
        )
    gathered, targets = _gatherer(inputs), tf.one_hot(data.train_labels, len(data.class_names))
    size = min(recipe.batch_size, len(rows))
    grey = tf.constant(np.round(data.spec().mean), tf.uint8)
    mirrored_first = tf.constant(np.random.default_rng(seed).integers(2, size=len(data.train_labels)))

    def batch(number, index):
        images = gathered(index)
        if augment:
            mirrored = (tf.gather(mirrored_first, index) + number * size // len(rows)) % 2
            images = _augmented(images, recipe, mirrored, grey, number, steps, seed)
        return images, tf.gather(targets, index)

    order = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows), seed=seed).repeat()
    order = order.batch(size, drop_remainder=True).enumerate().skip(skip)
    return _untuned(order.map(batch, num_parallel_calls=2).prefetch(4))


def _gatherer(inputs):
    """What takes the rows `index` (n,) out of `inputs`, as a tensor."""
    if not isinstance(inputs, np.memmap):
        # Gathering images one by one in Python kept a core busy; this runs in TensorFlow's threads.
        source = tf.constant(inputs)
        return lambda index: tf.gather(source, index)

    # Features of a gigabyte stay on disk: the system keeps in memory what it has room for.
    def rows(index):
        values = tf.numpy_function(lambda index: np.asarray(inputs[index]), [index], inputs.dtype)
        return tf.ensure_shape(values, (*index.shape, *inputs.shape[1:]))

    return rows


def plain(inputs, data: Dataset, rows: np.ndarray, size: int = 500) -> tf.data.Dataset:
    """Batches of `inputs` at `rows` in their order, once, with one-hot labels (float32)."""
    source, targets = tf.constant(inputs[rows]), tf.one_hot(data.train_labels[rows], len(data.class_names))
    return _untuned(tf.data.Dataset.from_tensor_slices((source, targets)).batch(size).prefetch(2))


def _untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Without tf.data's own tuning: its thread sleeps up to a minute, and the end of a fit waits until it wakes (24 s seen)."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _augmented(images, recipe: Recipe, mirrored, grey, number, steps: int, seed: int):
    """The images (n, h, w, c) of batch `number`, moved, those `mirrored` (n,) mirrored, erased and shrunk, as the recipe says."""
    chances = tf.random.stateless_uniform((4, images.shape[0]), (seed, number))
    if recipe.crop or recipe.flip:
        shifts = tf.floor(chances[:2] * (2 * recipe.crop + 1)) - recipe.crop
        images = _moved(images, shifts, mirrored * int(recipe.flip))
    if recipe.erase:
        images = _erased(images, recipe.erase, chances[2:], grey)
    if recipe.sizes:
        images = _shrink(images, recipe.sizes, number, steps)
    return images


def _moved(images, shifts, mirrored):
    """Images (n, h, w, c) moved by whole pixels and reflected at the border, then mirrored where `mirrored` (n,) is 1.

    `shifts` (2, n): how far down and right of its own place each image is taken. Padding, slicing and mirroring one after
    the other give the same in three times the time: this operation touches each pixel once.
    """
    (down, right), mirror = tf.unstack(shifts), tf.cast(mirrored, tf.float32)
    zero, one = tf.zeros_like(mirror), tf.ones_like(mirror)
    # The pixel at (x, y) comes from (a0 x + a1 y + a2, b0 x + b1 y + b2); the last two are for perspectives.
    columns = [one - 2 * mirror, zero, mirror * (images.shape[2] - 1) + right]
    rows = [zero, one, down]
    transform = tf.stack([*columns, *rows, zero, zero], axis=1)
    return keras.ops.image.affine_transform(images, transform, interpolation="nearest", fill_mode="reflect")


def _erased(images, side: int, chances, grey):
    """Images (n, h, w, c), each with a square of `side` pixels painted `grey` (c,), where `chances` (2, n) of 0 to 1 say."""
    within = []
    for length, chance in zip(images.shape[1:3], tf.unstack(chances), strict=True):
        places, first = tf.range(length)[None], tf.cast(tf.floor(chance * (length - side + 1)), tf.int32)[:, None]
        within.append((places >= first) & (places < first + side))
    square = within[0][:, :, None, None] & within[1][:, None, :, None]
    return tf.where(square, tf.cast(grey, images.dtype), images)


def _shrink(images, sizes, number, steps: int):
    """Images (n, h, w, c) as float32 of the height that batch `number` of `steps` is trained at, (n, h', w', c)."""
    full, wide, channels = images.shape[1:]
    size = tf.constant(full)
    for until, pixels in reversed(sizes):
        size = tf.where(number < round(until * steps), pixels, size)
    shrunk = tf.cond(
        size < full,
        lambda: tf.image.resize(images, (size, (size * wide + full // 2) // full), antialias=True),
        lambda: tf.cast(images, tf.float32),
    )
    return tf.ensure_shape(shrunk, (images.shape[0], None, None, channels))
