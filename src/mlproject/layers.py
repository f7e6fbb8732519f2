"""Building blocks that experiments share: built-in Keras layers composed, so that models load without this package."""

import keras
import numpy as np
from keras import layers

from mlproject.datasets import Spec

# Keras' .99 needs some 500 steps to settle, more than a short trial has.
BATCH_NORM_MOMENTUM = 0.9
# Of each residual group: the first convolution's size, its channels and those inside the pair (in widths), the pair's sizes.
GROUPS = ((3, 1, 1, (1, 1)), (3, 4, 3, (3, 1)), (2, 12, 8, (3, 3)))
# NAVIER-STOKED's. With it the first class scores are near 0, and a step of the last layer moves them by less.
LOGIT_SCALE = 1.25 / 9
WHITENING_EPSILON = 5e-4  # added to the variances: directions with next to none would be amplified to noise


def raw_images(spec: Spec) -> keras.KerasTensor:
    """The model's input: uint8 images (n, *spec.shape) as stored."""
    return keras.Input(spec.shape, dtype="uint8", name="images")


def standardised(images, spec: Spec):
    """Images (n, h, w, c) of any dtype to float32, mean 0 and deviation 1 per channel by the training pixels."""
    variance = [std**2 for std in spec.std]
    return layers.Normalization(mean=spec.mean, variance=variance, name="standardise")(images)


def batch_norm(x, name: str | None = None):
    """Batch normalisation (Ioffe & Szegedy, arXiv 1502.03167) with statistics that follow within tens of steps."""
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=name)(x)


def whitened(images, spec: Spec, name: str = "whiten"):
    """Patches of 2x2 standardised pixels to uncorrelated numbers of variance 1: (n, h, w, c) to (n, h-1, w-1, 8c).

    A frozen convolution with the eigenvectors of the patches' covariance, and their negatives, so that an activation behind it
    loses neither sign (Page, myrtle.ai, *How to train your ResNet*, 2018; Jordan's airbench, arXiv 2404.00498).
    """
    variances, directions = np.linalg.eigh(np.array(spec.patch_covariance))
    kernel = (directions / np.sqrt(variances + WHITENING_EPSILON)).reshape(2, 2, spec.shape[-1], -1)
    kernel = np.concatenate([kernel, -kernel], axis=-1)
    layer = layers.Conv2D(kernel.shape[-1], 2, use_bias=False, trainable=False, name=name)
    return _applied(layer, images, lambda shape, dtype: keras.ops.convert_to_tensor(kernel, dtype))


def convolution(x, filters: int, size: int, name: str, padding: str = "same"):
    """Convolution of size x size that hands its first channels on unchanged: (n, h, w, c) to (n, h, w, filters).

    The first min(c, filters) filters start as the identity (Dirac initialisation, Zagoruyko & Komodakis, arXiv 1706.00388;
    partial as in arXiv 2404.00498), the others at random (He et al., arXiv 1502.01852).
    """
    layer = layers.Conv2D(filters, size, padding=padding, use_bias=False, kernel_initializer="he_normal", name=name)
    random = layer.kernel_initializer

    def partial_identity(shape, dtype):
        same, middle = np.arange(min(shape[2:])), (shape[0] - 1) // 2
        mask, identity = np.ones(shape), np.zeros(shape)
        mask[..., same], identity[middle, middle, same, same] = 0, 1
        return random(shape, dtype) * mask.astype(dtype) + identity.astype(dtype)

    return _applied(layer, x, partial_identity)


def _applied(layer: keras.Layer, x, initializer):
    """The new layer's answer to `x`, its kernel made by `initializer(shape, dtype)`, of which what is saved knows nothing."""
    built_in, layer.kernel_initializer = layer.kernel_initializer, initializer
    try:
        return layer(x)
    finally:
        layer.kernel_initializer = built_in


def conv_unit(x, filters: int, activation: str, name: str, size: int = 3, pool: bool = False):
    """Convolution -> 2x2 max-pool if asked -> batch norm -> activation: (n, h, w, c) to (n, h or h/2, ..., filters).

    Pooling comes before the two elementwise layers, which then touch a quarter of the numbers (the order of Jordan's
    airbench, arXiv 2404.00498).
    """
    # Of an odd number of rows pooling leaves the last one out, the only one where a kernel of two looks beyond the border.
    padding = "valid" if pool and size == 2 and x.shape[1] % 2 and x.shape[2] % 2 else "same"
    x = convolution(x, filters, size, f"{name}_conv", padding)
    if pool:
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)
    x = batch_norm(x, name=f"{name}_norm")
    return layers.Activation(activation, name=f"{name}_{activation}")(x)


def residual_pair(x, middle: int, activation: str, name: str, sizes: tuple[int, int] = (3, 3)):
    """Two convolution units beside an identity path (He et al., arXiv 1512.03385), `middle` channels between them."""
    inner = conv_unit(x, middle, activation, f"{name}_a", sizes[0])
    inner = conv_unit(inner, x.shape[-1], activation, f"{name}_b", sizes[1])
    return layers.Add(name=f"{name}_add")([x, inner])


def residual_groups(x, width: int, activation: str):
    """Three groups of a convolution unit that pools and a residual pair: (n, h, w, c) to (n, h/8, w/8, 12 * width).

    The smaller the image, the wider the network, as in NAVIER-STOKED (github.com/AIDDA-Institute/CIFAR-100-speedrun). Its 64, 256
    and 768 channels with 64, 192 and 512 inside the pairs are multiples of one `width` here.
    """
    for index, (size, times, middle, pair_sizes) in enumerate(GROUPS, start=1):
        x = conv_unit(x, times * width, activation, f"down{index}", size, pool=True)
        x = residual_pair(x, middle * width, activation, f"pair{index}", pair_sizes)
    return x


def max_and_mean(x, name: str):
    """Each channel's maximum and mean over the image: (n, h, w, c) to (n, 2c)."""
    maximum = layers.GlobalMaxPooling2D(name=f"{name}_max")(x)
    mean = layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    return layers.Concatenate(name=name)([maximum, mean])


def probabilities(x, spec: Spec, scaled: bool = False):
    """The output: softmax probabilities (n, spec.classes), float32, of features (n, k), times LOGIT_SCALE if `scaled`."""
    if scaled:
        x = layers.Rescaling(LOGIT_SCALE, name="scale")(x)
    return layers.Dense(spec.classes, activation="softmax", dtype="float32", name="probabilities")(x)
