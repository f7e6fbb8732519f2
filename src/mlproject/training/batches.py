"""Batches of training and validation images, with augmentation as operations on whole batches.

`train_dataset` shuffles, mirrors, shifts, cuts out and resizes; `eval_dataset` only batches. Where the images lie in a GPU's
memory, `drawn_dataset` says what each batch consists of, and the function of `input_maker` makes it there: the same batches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mlproject.datasets import mapped
from mlproject.errors import UserError
from mlproject.recipe import Recipe
from mlproject.training.fit_data import FitData

HOST = "/CPU:0"  # where tf.data works: what it captures must not lie in a GPU's memory
EVAL_BATCH = 500  # inputs


def train_dataset(
    inputs: np.ndarray, fit_data: FitData, recipe: Recipe, *, augment: bool, steps: int, skip: int = 0
) -> tf.data.Dataset:
    """Make endless, shuffled batches of the training rows.

    The content of a batch depends only on the seed and on the number of the batch. It does not depend on threads, nor
    on the batch with which an interrupted fit continues.

    Args:
        inputs: (n, ...), one input for each training image of the data set: the images themselves, uint8 (n, h, w, c),
            or activations of a frozen layer. A `numpy.memmap` is read from disk batch by batch.
        fit_data: the data set, the rows to train on, and the seed.
        recipe: decides the batch size and the augmentation.
        augment: whether to change the images as the recipe says. Activations cannot be changed.
        steps: number of batches in the whole stage. The shares in `recipe.progressive_resizing` refer to it.
        skip: number of batches to leave out at the beginning.

    Returns:
        Pairs of inputs (b, ...) and one-hot labels (b, classes), float32. Images keep their dtype unless they are
        resized, which makes them float32.

    Raises:
        UserError: the squares that `recipe.cutout` asks for are as large as the images.
    """
    with tf.device(HOST):
        make = input_maker(inputs, fit_data, recipe, augment=augment, steps=steps)
        return _draw_batches(fit_data, recipe, augment, skip, make)


def drawn_dataset(fit_data: FitData, recipe: Recipe, *, augment: bool, skip: int = 0) -> tf.data.Dataset:
    """Draw what the batches of `train_dataset` consist of, and leave it to the function of `input_maker` to make them.

    Args:
        fit_data: the data set, the rows to train on, and the seed.
        recipe: decides the batch size.
        augment: whether the images are changed as the recipe says.
        skip: number of batches to leave out at the beginning.

    Returns:
        Pairs of the arguments for that function, some bytes for each image, and one-hot labels (b, classes), float32.
    """
    with tf.device(HOST):
        return _draw_batches(fit_data, recipe, augment, skip, lambda *draws: draws)


def input_maker(
    inputs: np.ndarray, fit_data: FitData, recipe: Recipe, *, augment: bool, steps: int, on_gpu: bool = False
) -> Callable[..., tf.Tensor]:
    """Return the function that makes the inputs of a batch.

    Args:
        inputs: as for `train_dataset`.
        fit_data: the data set. Its rows and its seed decide nothing here, so fits of one network on several folds share it.
        recipe: decides the augmentation.
        augment: whether to change the images as the recipe says.
        steps: number of batches in the whole stage.
        on_gpu: keep all inputs in a GPU's memory, and make batches by operations that TensorFlow has for GPUs: it cannot take
            rows of uint8 there, nor resize with antialiasing. float16 holds the 256 values of a pixel exactly.

    Returns:
        A function of the number of the batch, the rows (b,) and, with `augment`, the images to mirror (b,) and random numbers
        (4, b), which gives the inputs (b, ...).

    Raises:
        UserError: the squares that `recipe.cutout` asks for are as large as the images.
    """
    if augment and recipe.cutout >= min(inputs.shape[1:3]):
        raise UserError(
            f"cutout={recipe.cutout} of a recipe; accepted: fewer than the {min(inputs.shape[1:3])} pixels of an image's side"
        )
    read_rows = _row_reader(np.asarray(inputs, np.float16) if on_gpu else inputs)
    shrink = _shrink_by_products if on_gpu else _shrink
    mean_color = tf.constant(np.round(fit_data.data.spec().mean), tf.uint8)

    def make_inputs(batch_number: tf.Tensor, batch_rows: tf.Tensor, *draws: tf.Tensor) -> tf.Tensor:
        batch = read_rows(batch_rows)
        if augment:
            mirrored, random = draws
            batch = _augment(batch, recipe, mirrored, random, mean_color)
            if recipe.progressive_resizing:
                batch = shrink(batch, recipe.heights(batch.shape[1]), batch_number, steps)
        return batch

    return make_inputs


def eval_dataset(inputs: np.ndarray, rows: np.ndarray) -> tf.data.Dataset:
    """Make batches of the given rows, once and in their order.

    Args:
        inputs: (n, ...), one input for each training image of the data set.
        rows: int64 (m,), rows of the training images.

    Returns:
        Inputs (EVAL_BATCH, ...), without labels; the last batch may be smaller.
    """
    with tf.device(HOST):
        source = tf.constant(inputs[rows])
        return _without_autotuning(tf.data.Dataset.from_tensor_slices(source).batch(EVAL_BATCH).prefetch(2))


def _draw_batches(
    fit_data: FitData, recipe: Recipe, augment: bool, skip: int, make_inputs: Callable[..., Any]
) -> tf.data.Dataset:
    """Endless pairs of what `make_inputs` makes of a batch's number, rows and random numbers, and its one-hot labels."""
    data, rows, seed = fit_data.data, fit_data.train, fit_data.seed
    targets = tf.one_hot(data.train_labels, len(data.class_names))
    batch_size = min(recipe.batch_size, len(rows))
    mirrored_first = tf.constant(np.random.default_rng(seed).integers(2, size=len(data.train_labels)))

    def make_batch(batch_number: tf.Tensor, batch_rows: tf.Tensor) -> tuple[Any, tf.Tensor]:
        draws = [batch_number, batch_rows]
        if augment:
            draws.append((tf.gather(mirrored_first, batch_rows) + batch_number * batch_size // len(rows)) % 2)
            draws.append(tf.random.stateless_uniform((4, batch_size), (seed, batch_number)))
        return make_inputs(*draws), tf.gather(targets, batch_rows)

    row_batches = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows), seed=seed).repeat()
    row_batches = row_batches.batch(batch_size, drop_remainder=True).enumerate().skip(skip)
    return _without_autotuning(row_batches.map(make_batch, num_parallel_calls=2).prefetch(4))


def _row_reader(inputs: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that returns the rows `index` (b,) of `inputs` as a tensor."""
    if not isinstance(inputs, np.memmap):
        # Reading images one by one in Python keeps a core busy. TensorFlow's threads do this faster.
        source = tf.constant(inputs)
        return lambda index: tf.gather(source, index)

    # Activations and images can take gigabytes. They stay on disk, and the system caches what fits into memory.
    def read_from_disk(index: np.ndarray) -> np.ndarray:
        rows = np.asarray(inputs[index])
        mapped.release(inputs)
        return rows

    def read_rows(index: tf.Tensor) -> tf.Tensor:
        values = tf.numpy_function(read_from_disk, [index], inputs.dtype)
        return tf.ensure_shape(values, (*index.shape, *inputs.shape[1:]))

    return read_rows


def _without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same data set without tf.data's autotuning.

    The thread of the autotuning sleeps for up to a minute, and the end of a fit waits until the thread wakes.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _augment(
    images: tf.Tensor, recipe: Recipe, mirrored: tf.Tensor, random: tf.Tensor, mean_color: tf.Tensor
) -> tf.Tensor:
    """Shift, mirror and cut out images (b, h, w, c) as the recipe says.

    `mirrored` (b,) is 1 for the images to mirror, `random` (4, b) holds uniform numbers from 0 to 1, and `mean_color`
    (c,) fills the squares.
    """
    if recipe.random_translation or recipe.flip:
        shifts = tf.floor(random[:2] * (2 * recipe.random_translation + 1)) - recipe.random_translation
        images = _translate_and_mirror(images, shifts, mirrored * int(recipe.flip))
    if recipe.cutout:
        images = _cut_out(images, recipe.cutout, random[2:], mean_color)
    return images


def _translate_and_mirror(images: tf.Tensor, shifts: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Shift images (b, h, w, c) by whole pixels with reflected borders, then mirror those where `mirrored` (b,) is 1.

    `shifts` (2, b) holds the pixels by which the visible section moves down and to the right. One affine transform
    touches each pixel once; padding, slicing and mirroring one after the other give the same result in three times the
    time.
    """
    (down, right), mirror = tf.unstack(shifts), tf.cast(mirrored, tf.float32)
    zeros, ones = tf.zeros_like(mirror), tf.ones_like(mirror)
    # The pixel at (x, y) comes from (a0 x + a1 y + a2, b0 x + b1 y + b2). The last two numbers are for perspectives.
    columns = [ones - 2 * mirror, zeros, mirror * (images.shape[2] - 1) + right]
    rows = [zeros, ones, down]
    transform = tf.stack([*columns, *rows, zeros, zeros], axis=1)
    return keras.ops.image.affine_transform(images, transform, interpolation="nearest", fill_mode="reflect")


def _cut_out(images: tf.Tensor, side: int, random: tf.Tensor, color: tf.Tensor) -> tf.Tensor:
    """Paint a square of `side` pixels with `color` (c,) into each image (b, h, w, c), where `random` (2, b) places it."""
    is_inside = []
    for length, position in zip(images.shape[1:3], tf.unstack(random), strict=True):
        pixels, first_pixel = (
            tf.range(length)[None],
            tf.cast(tf.floor(position * (length - side + 1)), tf.int32)[:, None],
        )
        is_inside.append((pixels >= first_pixel) & (pixels < first_pixel + side))
    square = is_inside[0][:, :, None, None] & is_inside[1][:, None, :, None]
    return tf.where(square, tf.cast(color, images.dtype), images)


def _shrink(images: tf.Tensor, heights: Sequence[tuple[float, int]], batch_number: tf.Tensor, steps: int) -> tf.Tensor:
    """Resize images (b, h, w, c) to the size for batch `batch_number` of `steps`: float32 (b, h', w', c)."""
    full_height, full_width, channels = images.shape[1:]
    height = tf.constant(full_height)
    for share, pixels in reversed(heights):
        height = tf.where(batch_number < round(share * steps), pixels, height)
    resized = tf.cond(
        height < full_height,
        lambda: tf.image.resize(images, (height, _proportional(height, full_height, full_width)), antialias=True),
        lambda: tf.cast(images, tf.float32),
    )
    return tf.ensure_shape(resized, (images.shape[0], None, None, channels))


def _shrink_by_products(
    images: tf.Tensor, heights: Sequence[tuple[float, int]], batch_number: tf.Tensor, steps: int
) -> tf.Tensor:
    """What `_shrink` does, as products with a matrix for each side; rounding errors differ."""
    full_height, full_width, channels = images.shape[1:]

    def shrink_to_height(height: int) -> tf.Tensor:
        rows, columns = (
            _resizing_matrix(full, new)
            for full, new in ((full_height, height), (full_width, _proportional(height, full_height, full_width)))
        )
        return tf.einsum("hy,nyxc,wx->nhwc", rows, tf.cast(images, tf.float32), columns)

    ends = tf.constant([round(share * steps) for share, _ in heights], batch_number.dtype)
    sizes = [lambda height=height: shrink_to_height(height) for _, height in heights] + [
        lambda: tf.cast(images, tf.float32)
    ]
    resized = tf.switch_case(tf.reduce_sum(tf.cast(batch_number >= ends, tf.int32)), sizes)
    return tf.ensure_shape(resized, (images.shape[0], None, None, channels))


def _resizing_matrix(pixels: int, new: int) -> tf.Tensor:
    """The matrix (new, pixels) that resizes a line of pixels: what resizing makes of lines with one pixel of 1."""
    return tf.image.resize(tf.eye(pixels)[..., None], (new, pixels), antialias=True)[..., 0]


def _proportional(height: int | tf.Tensor, full_height: int, full_width: int) -> int | tf.Tensor:
    """The width that goes with a height, rounded."""
    return (height * full_width + full_height // 2) // full_height
