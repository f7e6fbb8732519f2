"""Winograd convolutions: fewer multiplications than oneDNN's for 3 x 3 kernels on small feature maps.

Training and the computation of frozen activations use them. Every saved model keeps its Conv2D layers, whose weights
the Winograd layers share. `set_enabled(False)` turns them off, to debug numerics.
"""

import functools
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mlproject.training import device

KERNEL_SIZE = 3
# A convolution needs this many channels for each pixel of the feature map's height and width. With fewer channels,
# moving the data costs more than the saved multiplications (measured in bench/README.md, "Fewer multiplications").
CHANNELS_PER_PIXEL = 8
# Polynomials are evaluated at these points and at infinity. More points would increase the rounding errors.
POINTS = (0, 1, -1, 2, -2)

_enabled = True


def set_enabled(enabled: bool) -> None:
    """Turn Winograd convolutions on (the default) or off for all models that this process makes from now on.

    Args:
        enabled: False makes `with_winograd` keep every Conv2D, so that TensorFlow's own convolutions compute
            everything.
    """
    global _enabled
    _enabled = enabled


def with_winograd(model: keras.Model, images: Any = None) -> keras.Model:
    """Make a model that shares all weights with `model` and computes suitable convolutions by Winograd's algorithm.

    Args:
        model: a functional model. It does not change.
        images: a Keras tensor to use as the new model's input, for instance one of unknown height and width. None keeps
            the input of `model`.

    Returns:
        The new model. It contains no Winograd layer where a GPU trains, which has faster convolutions of its own, where fits
        compute with 16 bits, which would multiply the rounding errors, or after `set_enabled(False)`.
    """
    return keras.models.clone_model(model, input_tensors=images, clone_function=replace_convolution)


def replace_convolution(layer: keras.Layer) -> keras.Layer:
    """Wrap a convolution in a `Winograd` layer where that is faster; return any other layer itself.

    Args:
        layer: a layer that has been called, so that the shape of its input is known.

    Returns:
        A `Winograd` layer that shares the weights of `layer`, or `layer`.
    """
    if not _enabled or device.on_gpu() or device.precision() != "float32":
        return layer
    return Winograd(layer) if _is_plain_convolution(layer) and _has_enough_channels(layer) else layer


class Winograd(keras.layers.Layer):
    """The output of a 3 x 3 convolution, computed by minimal filtering (Lavin & Gray, arXiv 1509.09308).

    The layer has no weights of its own. Constant matrices transform feature maps and kernel into factors, and the
    products of the factors into the output. For each pair of channels this takes 144 multiplications on a map of 7 x 7
    pixels instead of 441, 25 on 3 x 3 instead of 81, and 9 on 2 x 2 instead of 36. All steps are matrix products, and
    so are their gradients. Rounding errors reach 1e-4 of the output's standard deviation, about five times those of a
    plain convolution.

    Args:
        convolution: a Conv2D with "same" padding that has been called. Feature maps may be smaller than those that it
            was called with, but not larger.
    """

    def __init__(self, convolution: keras.layers.Conv2D) -> None:
        super().__init__(name=convolution.name, dtype=convolution.dtype_policy)
        self.convolution = convolution

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Convolve feature maps (n, h, w, c), float32; gives (n, h, w, filters)."""
        layer, (n, height, width, channels) = self.convolution, ops.shape(maps)
        rows, columns = (
            _transforms(size, largest_size)
            for size, largest_size in zip((height, width), layer.input.shape[1:3], strict=True)
        )
        data = _transform_both_axes(rows.data, columns.data, ops.transpose(maps, (1, 2, 0, 3)))
        kernel = _transform_both_axes(rows.kernel, columns.kernel, layer.kernel)
        # All tiles in one row of tiles share a matrix product for each factor of the kernel.
        (kernel_rows, kernel_columns), (data_rows, data_columns) = ops.shape(kernel)[:2], ops.shape(data)[:2]
        data = ops.reshape(data, (kernel_rows, data_rows // kernel_rows, kernel_columns, -1, channels))
        products = data @ ops.reshape(kernel, (kernel_rows, 1, kernel_columns, channels, layer.filters))
        products = ops.reshape(products, (data_rows, data_columns, n, layer.filters))
        output = ops.transpose(_transform_both_axes(rows.output, columns.output, products), (2, 0, 1, 3))
        return layer.activation(output + layer.bias if layer.use_bias else output)


def _transform_both_axes(row_matrix: tf.Tensor, column_matrix: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Apply matrices (p, h) and (q, w) to the first two axes of x (h, w, ...); gives (p, q, ...)."""
    height, width, *rest = ops.shape(x)
    x = ops.matmul(row_matrix, ops.reshape(x, (height, -1)))
    x = ops.matmul(column_matrix, ops.reshape(x, (-1, width, math.prod(rest))))
    return ops.reshape(x, (ops.shape(row_matrix)[0], ops.shape(column_matrix)[0], *rest))


class _Transforms(NamedTuple):
    """The matrices, float32, that convolve one axis of `size` pixels with zero padding, in t tiles of p products each.

    Attributes:
        data: (p·t, size), from pixels to the first factors of the products.
        kernel: (p, 3), from kernel weights to the second factors, which are the same in all tiles.
        output: (size, p·t), from products to output pixels.
    """

    data: tf.Tensor
    kernel: tf.Tensor
    output: tf.Tensor


def _transforms(size: int | tf.Tensor, largest_size: int) -> _Transforms:
    """The matrices for a size from 1 to `largest_size`, which may be known only when the network runs."""
    if isinstance(size, int):
        return _make_transforms(size)
    known_sizes = [functools.partial(_make_transforms, known_size) for known_size in range(1, largest_size + 1)]
    transforms: _Transforms = tf.switch_case(size - 1, known_sizes)
    return transforms


def _make_transforms(size: int) -> _Transforms:
    tile, tile_output, kernel = _tile_algorithm(size)
    tiles, products = math.ceil(size / tile), len(kernel)
    tile_input = tile + KERNEL_SIZE - 1
    # Output i of a tile must be the sum over r of kernel weight r times pixel i + r. This determines the data
    # transform.
    coefficients = np.einsum("ip,pr->irp", tile_output, kernel).reshape(-1, products)
    targets = [np.eye(tile_input)[i + r] for i in range(tile) for r in range(KERNEL_SIZE)]
    tile_data = np.linalg.lstsq(coefficients, np.array(targets), rcond=None)[0]
    data = np.zeros((products, tiles, tiles * tile + KERNEL_SIZE - 1))
    output = np.zeros((tiles, tile, products, tiles))
    for index in range(tiles):
        data[:, index, index * tile : index * tile + tile_input] = tile_data
        output[index, :, :, index] = tile_output
    data = data.reshape(products * tiles, -1)[:, 1 : size + 1]  # without the columns of the zero padding
    output = output.reshape(-1, products * tiles)[:size]
    return _Transforms(*(tf.constant(matrix, tf.float32) for matrix in (data, kernel, output)))


def _tile_algorithm(size: int) -> tuple[int, np.ndarray, np.ndarray]:
    """The size of a tile, its output transform (size, p), and its kernel transform (p, 3)."""
    if size == 1:
        return 1, np.eye(1), np.array([[0, 1, 0]])
    if size == 2:
        # Zero padding leaves four of six pairs of pixel and kernel weight. Three products suffice for them (Karatsuba).
        return 2, np.array([[1, 1, 0], [1, 0, 1]]), np.array([[0, 1, 0], [0, -1, 1], [1, -1, 0]])
    # Toom-Cook: pixels and kernel are polynomials, which are multiplied at points. Infinity gives the highest
    # coefficient.
    tile = min((3, 4), key=lambda tile: math.ceil(size / tile) * (tile + KERNEL_SIZE - 1))
    points = np.array(POINTS[: tile + KERNEL_SIZE - 2], float)[:, None]
    output, kernel = (np.append(points ** range(n), [np.eye(n)[-1]], axis=0) for n in (tile, KERNEL_SIZE))
    return tile, output.T, kernel


def _is_plain_convolution(layer: keras.Layer) -> bool:
    """Whether the layer is a 3 x 3 convolution with "same" padding and without strides, dilation or groups."""
    if type(layer) is not keras.layers.Conv2D or (layer.padding, layer.data_format) != ("same", "channels_last"):
        return False
    configuration = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.groups)
    return configuration == ((KERNEL_SIZE, KERNEL_SIZE), (1, 1), (1, 1), 1)


def _has_enough_channels(layer: keras.layers.Conv2D) -> bool:
    """Whether the layer has CHANNELS_PER_PIXEL for each pixel of its input's height and width, which must be known."""
    *sides, channels = layer.input.shape[1:]
    return all(side and min(channels, layer.filters) >= CHANNELS_PER_PIXEL * side for side in sides)
