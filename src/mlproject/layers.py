"""Building blocks that experiments share, made of built-in Keras layers so that models load without this package."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from mlproject.datasets import Spec
from mlproject.networks.applications import preprocessed as preprocessed
from mlproject.networks.applications import pretrained_base as pretrained_base
from mlproject.networks.applications import pretrained_features as pretrained_features

# Keras' default of .99 needs some 500 steps to settle, more than a short trial has.
BATCH_NORM_MOMENTUM = 0.9
# As in NAVIER-STOKED (see `residual_groups`). It keeps the initial class scores near 0, and makes a step of the last
# layer change them less.
LOGIT_SCALE = 1.25 / 9
# Added to the variances before the division, which would amplify directions with hardly any variance to noise.
WHITENING_EPSILON = 5e-4


class ResidualGroup(NamedTuple):
    """One group of `residual_groups`; the numbers of channels are multiples of the network's width."""

    kernel_size: int
    channels: int
    pair_channels: int
    pair_kernel_sizes: tuple[int, int]


GROUPS = (ResidualGroup(3, 1, 1, (1, 1)), ResidualGroup(3, 4, 3, (3, 1)), ResidualGroup(2, 12, 8, (3, 3)))


def raw_images(spec: Spec) -> keras.KerasTensor:
    """Make the model's input: images as stored.

    Args:
        spec: the data that the network is for.

    Returns:
        A symbolic tensor, uint8 (n, height, width, channels).
    """
    return keras.Input(spec.shape, dtype="uint8", name="images")


def standardised(images: keras.KerasTensor, spec: Spec) -> keras.KerasTensor:
    """Scale images to mean 0 and standard deviation 1 in each channel, by the statistics of the training pixels.

    Args:
        images: (n, height, width, channels) of any dtype, on the 0..255 scale.
        spec: the data that the network is for.

    Returns:
        float32, of the same shape.
    """
    variance = [std**2 for std in spec.std]
    return layers.Normalization(mean=spec.mean, variance=variance, name="standardise")(images)


def batch_norm(x: keras.KerasTensor, name: str | None = None) -> keras.KerasTensor:
    """Normalise each channel over the batch, with running statistics that settle within tens of steps.

    Batch normalisation: Ioffe & Szegedy, arXiv 1502.03167.

    Args:
        x: features (n, ..., channels).
        name: the layer's name; None for an automatic one.

    Returns:
        Features of the same shape.
    """
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=name)(x)


def whitened(images: keras.KerasTensor, spec: Spec, name: str = "whiten") -> keras.KerasTensor:
    """Turn patches of 2x2 standardised pixels into uncorrelated numbers of variance 1.

    This is a frozen convolution with the eigenvectors of the patches' covariance, and with their negatives, so that an
    activation after it loses neither sign (Page, myrtle.ai, *How to train your ResNet*, 2018; Jordan's airbench,
    arXiv 2404.00498).

    Args:
        images: standardised images (n, height, width, channels).
        spec: the data that the network is for.
        name: the layer's name.

    Returns:
        Features (n, height - 1, width - 1, 8 channels).
    """
    variances, directions = np.linalg.eigh(np.array(spec.patch_covariance))
    kernel = (directions / np.sqrt(variances + WHITENING_EPSILON)).reshape(2, 2, spec.shape[-1], -1)
    kernel = np.concatenate([kernel, -kernel], axis=-1)
    layer = layers.Conv2D(kernel.shape[-1], 2, use_bias=False, trainable=False, name=name)
    return _apply_initialised(layer, images, lambda shape, dtype: keras.ops.convert_to_tensor(kernel, dtype))


def convolution(x: keras.KerasTensor, filters: int, size: int, name: str, padding: str = "same") -> keras.KerasTensor:
    """Apply a convolution that initially passes its first channels through unchanged.

    The first min(channels, filters) filters start as the identity (Dirac initialisation: Zagoruyko & Komodakis,
    arXiv 1706.00388; partial as in arXiv 2404.00498), the others at random (He et al., arXiv 1502.01852).

    Args:
        x: features (n, height, width, channels).
        filters: the number of output channels.
        size: the kernel's height and width.
        name: the layer's name.
        padding: "same" or "valid", as in Keras.

    Returns:
        Features (n, height, width, filters); with "valid" padding, height and width shrink by size - 1.
    """
    layer = layers.Conv2D(filters, size, padding=padding, use_bias=False, kernel_initializer="he_normal", name=name)
    random = layer.kernel_initializer

    def partial_identity(shape: Sequence[int], dtype: str) -> Any:
        same, middle = np.arange(min(shape[2:])), (shape[0] - 1) // 2
        mask, identity = np.ones(shape), np.zeros(shape)
        mask[..., same], identity[middle, middle, same, same] = 0, 1
        return random(shape, dtype) * mask.astype(dtype) + identity.astype(dtype)

    return _apply_initialised(layer, x, partial_identity)


def _apply_initialised(
    layer: keras.Layer, x: keras.KerasTensor, initializer: Callable[[Sequence[int], str], Any]
) -> keras.KerasTensor:
    """Apply a new layer whose kernel `initializer(shape, dtype)` makes.

    The layer's configuration keeps the built-in initializer: a saved model must not refer to functions of this package.
    """
    built_in, layer.kernel_initializer = layer.kernel_initializer, initializer
    try:
        return layer(x)
    finally:
        layer.kernel_initializer = built_in


def conv_unit(
    x: keras.KerasTensor, filters: int, activation: str, name: str, size: int = 3, pool: bool = False
) -> keras.KerasTensor:
    """Apply a convolution, a 2x2 max-pooling if asked for, batch normalisation and an activation.

    Pooling comes before batch normalisation and activation, which then process a quarter of the numbers (the order of
    Jordan's airbench, arXiv 2404.00498).

    Args:
        x: features (n, height, width, channels).
        filters: the number of output channels.
        activation: the activation's name in Keras.
        name: the beginning of the layers' names.
        size: the convolution kernel's height and width.
        pool: whether to pool.

    Returns:
        Features (n, height, width, filters), or (n, height // 2, width // 2, filters) with pooling.
    """
    # Pooling drops the last of an odd number of rows, the only one where a kernel of size 2 extends over the border.
    padding = "valid" if pool and size == 2 and x.shape[1] % 2 and x.shape[2] % 2 else "same"
    x = convolution(x, filters, size, f"{name}_conv", padding)
    if pool:
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)
    x = batch_norm(x, name=f"{name}_norm")
    return layers.Activation(activation, name=f"{name}_{activation}")(x)


def residual_pair(
    x: keras.KerasTensor, middle: int, activation: str, name: str, sizes: tuple[int, int] = (3, 3)
) -> keras.KerasTensor:
    """Apply two convolution units and add their output to the input (He et al., arXiv 1512.03385).

    Args:
        x: features (n, height, width, channels).
        middle: the number of channels between the two units.
        activation: the activation's name in Keras.
        name: the beginning of the layers' names.
        sizes: the kernel sizes of the two convolutions.

    Returns:
        Features of the same shape as `x`.
    """
    inner = conv_unit(x, middle, activation, f"{name}_a", sizes[0])
    inner = conv_unit(inner, x.shape[-1], activation, f"{name}_b", sizes[1])
    return layers.Add(name=f"{name}_add")([x, inner])


def residual_groups(x: keras.KerasTensor, width: int, activation: str) -> keras.KerasTensor:
    """Apply three groups, each of a convolution unit with pooling and a residual pair.

    The smaller the image becomes, the wider the network, as in NAVIER-STOKED
    (github.com/AIDDA-Institute/CIFAR-100-speedrun), which has 64, 256 and 768 channels, and 64, 192 and 512 within the
    pairs. Here these are multiples of one `width`.

    Args:
        x: features (n, height, width, channels).
        width: the number of channels of the first group.
        activation: the activation's name in Keras.

    Returns:
        Features (n, height // 8, width // 8, 12 * width).
    """
    for index, group in enumerate(GROUPS, start=1):
        x = conv_unit(x, group.channels * width, activation, f"down{index}", group.kernel_size, pool=True)
        x = residual_pair(x, group.pair_channels * width, activation, f"pair{index}", group.pair_kernel_sizes)
    return x


def max_and_mean(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Reduce each channel to its maximum and its mean over the image.

    Args:
        x: features (n, height, width, channels).
        name: the name of the last layer. The names of the others begin with it.

    Returns:
        Features (n, 2 channels): all maxima, then all means.
    """
    maximum = layers.GlobalMaxPooling2D(name=f"{name}_max")(x)
    mean = layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    return layers.Concatenate(name=name)([maximum, mean])


def probabilities(x: keras.KerasTensor, spec: Spec, scaled: bool = False) -> keras.KerasTensor:
    """Make the model's output: the probability of each class.

    Args:
        x: features (n, k).
        spec: the data that the network is for.
        scaled: whether to multiply the features by `LOGIT_SCALE` first.

    Returns:
        float32 (n, spec.classes), the softmax of a dense layer.
    """
    if scaled:
        x = layers.Rescaling(LOGIT_SCALE, name="scale")(x)
    return layers.Dense(spec.classes, activation="softmax", dtype="float32", name="probabilities")(x)
