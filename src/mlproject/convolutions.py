"""Convolutions with fewer multiplications than oneDNN's: for training and activations, while what is saved stays a Conv2D."""

import functools
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

KERNEL = 3
# With fewer for each pixel of a map's side, moving the numbers costs more than is saved (`bench/convolutions.py`).
CHANNELS_FOR_A_PIXEL = 8
POINTS = (0, 1, -1, 2, -2)  # where polynomials are evaluated, besides infinity; more of them would lose digits


class Winograd(keras.layers.Layer):
    """What a convolution of 3 x 3 answers to maps (n, h, w, c), by minimal filtering (Lavin & Gray, arXiv 1509.09308).

    It has no weights but those of the Conv2D given; maps may be smaller than that one's, not larger. Constant matrices make
    factors of maps and kernel, and answers of their products: for each pair of channels 144 on a map of 7 x 7 in place of 441, 25
    on 3 x 3 in place of 81, 9 on 2 x 2 in place of 36. All of this is products of matrices, and so are the gradients. Rounding
    is off by up to 1e-4 of the answers' deviation, some five times as much as a plain convolution's.
    """

    def __init__(self, convolution: keras.layers.Conv2D):
        super().__init__(name=convolution.name, dtype=convolution.dtype_policy)
        self.convolution = convolution

    def call(self, maps):
        """(n, h, w, c) to (n, h, w, filters)."""
        layer, (n, height, width, channels) = self.convolution, ops.shape(maps)
        rows, columns = (_algorithm(*sizes) for sizes in zip((height, width), layer.input.shape[1:3], strict=True))
        seen = _both_ways(rows.pixels, columns.pixels, ops.transpose(maps, (1, 2, 0, 3)))
        kernel = _both_ways(rows.taps, columns.taps, layer.kernel)
        # Each of a tile's products is one of matrices, with the tiles of a row of them below each other.
        (down, right), (below, beside) = ops.shape(kernel)[:2], ops.shape(seen)[:2]
        seen = ops.reshape(seen, (down, below // down, right, -1, channels))
        products = seen @ ops.reshape(kernel, (down, 1, right, channels, layer.filters))
        products = ops.reshape(products, (below, beside, n, layer.filters))
        answers = ops.transpose(_both_ways(rows.answers, columns.answers, products), (2, 0, 1, 3))
        return layer.activation(answers + layer.bias if layer.use_bias else answers)


def _both_ways(down, right, x):
    """Matrices (p, h) and (q, w) applied to rows and columns of x (h, w, ...): (p, q, ...)."""
    height, width, *rest = ops.shape(x)
    x = ops.matmul(down, ops.reshape(x, (height, -1)))
    x = ops.matmul(right, ops.reshape(x, (-1, width, math.prod(rest))))
    return ops.reshape(x, (ops.shape(down)[0], ops.shape(right)[0], *rest))


class _Algorithm(NamedTuple):
    """How rows (or columns) of so many pixels, with a border of zeros, are convolved in t tiles with p products each.

    What `pixels` (p·t, size) makes of the pixels, times what `taps` (p, 3) makes of the kernel, in all tiles the same: of these
    products `answers` (size, p·t) makes the convolution. All float32.
    """

    pixels: tf.Tensor
    taps: tf.Tensor
    answers: tf.Tensor


def _algorithm(size, largest: int) -> _Algorithm:
    """That of a size up to `largest`, which may be known only when the network runs."""
    if isinstance(size, int):
        return _algorithm_of(size)
    return tf.switch_case(size - 1, [functools.partial(_algorithm_of, known) for known in range(1, largest + 1)])


def _algorithm_of(size: int) -> _Algorithm:
    tile, answers, taps = _products(size)
    tiles, count = math.ceil(size / tile), len(taps)
    # Answer i of a tile is to be the sum over r of tap r times pixel i + r.
    made = np.einsum("ip,pr->irp", answers, taps).reshape(-1, count)
    wanted = [np.eye(tile + KERNEL - 1)[i + r] for i in range(tile) for r in range(KERNEL)]
    pixels = np.linalg.lstsq(made, np.array(wanted), rcond=None)[0]
    inwards = np.zeros((count, tiles, tiles * tile + KERNEL - 1))
    outwards = np.zeros((tiles, tile, count, tiles))
    for index in range(tiles):
        inwards[:, index, index * tile : (index + 1) * tile + KERNEL - 1] = pixels
        outwards[index, :, :, index] = answers
    inwards = inwards.reshape(count * tiles, -1)[:, 1 : size + 1]  # the border is zeros
    outwards = outwards.reshape(-1, count * tiles)[:size]
    return _Algorithm(*(tf.constant(matrix, tf.float32) for matrix in (inwards, taps, outwards)))


def _products(size: int) -> tuple[int, np.ndarray, np.ndarray]:
    """The side of a tile, which sums of its products are its answers (side, p), and which sums of taps its factors (p, 3)."""
    if size == 1:
        return 1, np.eye(1), np.array([[0, 1, 0]])
    if size == 2:  # the border leaves four of six pairs of pixel and tap, for which three products do (Karatsuba)
        return 2, np.array([[1, 1, 0], [1, 0, 1]]), np.array([[0, 1, 0], [0, -1, 1], [1, -1, 0]])
    # Toom and Cook: as polynomials, pixels and taps are multiplied at points; infinity gives the highest coefficient.
    tile = min((3, 4), key=lambda tile: math.ceil(size / tile) * (tile + KERNEL - 1))
    points = np.array(POINTS[: tile + KERNEL - 2], float)[:, None]
    answers, taps = (np.append(points ** range(n), [np.eye(n)[-1]], axis=0) for n in (tile, KERNEL))
    return tile, answers.T, taps


def faster(model: keras.Model, images=None) -> keras.Model:
    """The model with the same weights, some of its layers computed faster; with `images`, for this input in place of its own."""
    return keras.models.clone_model(model, input_tensors=images, clone_function=faster_layer)


def faster_layer(layer: keras.Layer) -> keras.Layer:
    """The layer, or the same with fewer multiplications where that is faster."""
    winograd = _is_plain(layer) and _is_deep(layer) and not tf.config.list_physical_devices("GPU")
    return Winograd(layer) if winograd else layer


def _is_plain(layer: keras.Layer) -> bool:
    if type(layer) is not keras.layers.Conv2D or (layer.padding, layer.data_format) != ("same", "channels_last"):
        return False
    return (layer.kernel_size, layer.strides, layer.dilation_rate, layer.groups) == ((KERNEL,) * 2, (1, 1), (1, 1), 1)


def _is_deep(layer: keras.layers.Conv2D) -> bool:
    *sides, channels = layer.input.shape[1:]
    return all(side and min(channels, layer.filters) >= CHANNELS_FOR_A_PIXEL * side for side in sides)
