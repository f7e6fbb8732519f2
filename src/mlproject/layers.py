"""Building blocks that experiments share: built-in Keras layers composed, so that models load without this package."""

import keras
from keras import layers

from mlproject.datasets import Spec

# Keras' .99 needs some 500 steps to settle, more than a short trial has.
BATCH_NORM_MOMENTUM = 0.9


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


def conv_unit(x, filters: int, activation: str, name: str, pool: bool = False):
    """3x3 convolution -> 2x2 max-pool if asked -> batch norm -> activation: (n, h, w, c) to (n, h or h/2, ..., filters).

    Pooling comes before the two elementwise layers, which then touch a quarter of the numbers (the order of Jordan's
    airbench, arXiv 2404.00498).
    """
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")(
        x
    )
    if pool:
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)
    x = batch_norm(x, name=f"{name}_norm")
    return layers.Activation(activation, name=f"{name}_{activation}")(x)


def residual_pair(x, middle: int, activation: str, name: str):
    """Two convolution units beside an identity path (He et al., arXiv 1512.03385), `middle` channels between them."""
    inner = conv_unit(x, middle, activation, f"{name}_a")
    inner = conv_unit(inner, x.shape[-1], activation, f"{name}_b")
    return layers.Add(name=f"{name}_add")([x, inner])


def max_and_mean(x, name: str):
    """Each channel's maximum and mean over the image: (n, h, w, c) to (n, 2c)."""
    maximum = layers.GlobalMaxPooling2D(name=f"{name}_max")(x)
    mean = layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    return layers.Concatenate(name=name)([maximum, mean])


def probabilities(x, spec: Spec):
    """The output: softmax probabilities (n, spec.classes), float32."""
    return layers.Dense(spec.classes, activation="softmax", dtype="float32", name="probabilities")(x)
