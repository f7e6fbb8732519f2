"""Convolutions over maps no larger than their kernel, faster than oneDNN's: for training, while what is saved stays a Conv2D."""

import keras
import tensorflow as tf
from keras import ops

KERNEL = 3


class ByPlaces(keras.layers.Layer):
    """What a convolution of 3 x 3 answers to maps (n, h, w, c), one product of matrices for each of the kernel's nine places.

    It has no weights but those of the Conv2D given. On a map of 3 x 3 only 49 of the 81 pairs of a place and a pixel lie within
    the map, on one of 2 x 2 16 of 36: here no others are multiplied. From 768 to 512 channels, batches of 256 on 2 cores of a
    Xeon, forward and back took 42 ms in place of oneDNN's 145 on maps of 2 x 2, 125 in place of 184 on 3 x 3; on 4 x 4 it is
    about even, on larger ones slower (`bench/convolutions.py`).
    """

    def __init__(self, convolution: keras.layers.Conv2D):
        super().__init__(name=convolution.name, dtype=convolution.dtype_policy)
        self.convolution = convolution

    def call(self, maps):
        """(n, h, w, c) to (n, h, w, filters)."""
        layer, answers = self.convolution, []
        # Unstacked, not sliced: the gradient of each slice would be a whole kernel.
        places = ops.unstack(ops.reshape(layer.kernel, (KERNEL**2, *layer.kernel.shape[2:])))
        for index, place in enumerate(places):
            down, right = index // KERNEL - 1, index % KERNEL - 1
            seen = maps[:, max(down, 0) : min(down, 0) or None, max(right, 0) : min(right, 0) or None]
            beyond = [(0, 0), (max(-down, 0), max(down, 0)), (max(-right, 0), max(right, 0)), (0, 0)]
            answers.append(ops.pad(ops.tensordot(seen, place, 1), beyond))
        total = tf.add_n(answers)
        return layer.activation(total + layer.bias if layer.use_bias else total)


def faster(layer: keras.Layer) -> keras.Layer:
    """The layer, or the same by places where that is faster."""
    by_places = _is_plain(layer) and _is_small(layer.input.shape) and not tf.config.list_physical_devices("GPU")
    return ByPlaces(layer) if by_places else layer


def _is_plain(layer: keras.Layer) -> bool:
    if type(layer) is not keras.layers.Conv2D or (layer.padding, layer.data_format) != ("same", "channels_last"):
        return False
    return (layer.kernel_size, layer.strides, layer.dilation_rate, layer.groups) == ((KERNEL,) * 2, (1, 1), (1, 1), 1)


def _is_small(shape: tuple[int | None, ...]) -> bool:
    return all(size is not None and size <= KERNEL for size in shape[1:3])
