"""The building blocks: their effect on images before any training, and their built-in configuration."""

import keras
import numpy as np
import pytest

from mlproject.datasets import CIFAR100
from mlproject.layers import conv_unit, convolution, raw_images, standardised, whitened


@pytest.fixture(scope="module")
def cifar():
    """The synthetic stand-in for CIFAR-100."""

    return CIFAR100().load("coarse", "synthetic")


def test_whitened_patches_are_uncorrelated_with_variance_one(cifar):
    spec = cifar.spec()
    images = raw_images(spec)
    model = keras.Model(images, whitened(standardised(images, spec), spec))
    outputs = model.predict(cifar.train_images[:500], verbose=0)
    assert outputs.shape == (500, 31, 31, 24)
    half = outputs[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(outputs[..., 12:].reshape(-1, 12), -half, atol=1e-5)
    np.testing.assert_allclose(half.T @ half / len(half), np.eye(12), atol=0.1)
    assert not model.trainable_weights


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("filters", [3, 8])
def test_a_new_convolution_passes_its_first_channels_on(size, filters):
    x = keras.Input((6, 6, 5))
    model = keras.Model(x, convolution(x, filters, size, "conv"))
    images = np.random.default_rng(0).normal(size=(4, 6, 6, 5)).astype("float32")
    outputs = model.predict(images, verbose=0)
    same = min(5, filters)
    np.testing.assert_allclose(outputs[..., :same], images[..., :same], atol=1e-6)
    assert filters == 3 or np.abs(outputs[..., same:]).mean() > 0.1  # the others start at random
    assert model.get_layer("conv").get_config()["kernel_initializer"]["class_name"] == "HeNormal"


@pytest.mark.parametrize("pixels", [6, 7])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_gets_the_output_of_a_padded_convolution(pixels, size):
    x = keras.Input((pixels, pixels, 5))
    unit = keras.Model(x, conv_unit(x, 8, "linear", "unit", size, pool=True))
    kernel = unit.get_layer("unit_conv").kernel
    images = np.random.default_rng(0).normal(size=(4, pixels, pixels, 5)).astype("float32")
    padded = keras.ops.max_pool(keras.ops.conv(images, kernel, padding="same"), 2, padding="valid")
    fresh_norm = np.sqrt(1 + unit.get_layer("unit_norm").epsilon)
    np.testing.assert_allclose(unit.predict(images, verbose=0), padded / fresh_norm, atol=1e-5)
