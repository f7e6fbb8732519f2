"""Winograd convolutions have the output and the gradients of Keras' convolutions, and saved models contain none."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY

from mlproject.discovery import find
from mlproject.task import prepare
from mlproject.training import winograd
from mlproject.training.fit import fit
from mlproject.training.schedule import StageSchedule
from mlproject.training.winograd import Winograd, replace_convolution, with_winograd

CHANNELS = 72  # enough for feature maps of up to 9 x 9 pixels


def called_convolution(height, width=None, **options):
    """A Conv2D that has been called with feature maps of this size."""
    layer = keras.layers.Conv2D(**{"filters": CHANNELS, "kernel_size": 3, "padding": "same"} | options)
    layer(keras.Input((height, width or height, CHANNELS)))
    return layer


def random_maps(height, width=None):
    return np.random.default_rng(0).normal(size=(5, height, width or height, CHANNELS)).astype("float32")


def output_and_gradients(layer, maps, weights):
    with tf.GradientTape() as tape:
        tape.watch(maps)
        output = layer(maps)
        loss = tf.reduce_sum(output**3)
    return output, *tape.gradient(loss, [maps, *weights])


@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "silu", "bias_initializer": "random_normal"}])
@pytest.mark.parametrize("sides", [(side, side) for side in range(1, 10)] + [(7, 2), (1, 5)])
def test_the_output_and_the_gradients_are_those_of_keras(sides, options):
    convolution = called_convolution(*sides, **options)
    replaced = replace_convolution(convolution)
    assert isinstance(replaced, Winograd)
    maps, weights = tf.constant(random_maps(*sides)), convolution.trainable_weights
    assert [id(weight) for weight in replaced.trainable_weights] == [id(weight) for weight in weights]
    expected, found = (output_and_gradients(layer, maps, weights) for layer in (convolution, replaced))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-4 * np.std(one))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 5},
        {"padding": "valid"},
        {"strides": 2},
        {"dilation_rate": 2},
        {"groups": 2},
        {"filters": 8},
    ],
)
def test_other_layers_and_maps_too_large_for_their_channels_are_not_replaced(options):
    layers = (
        called_convolution(3, **options),
        called_convolution(10),
        called_convolution(2, 10),
        keras.layers.ReLU(),
    )
    for layer in layers:
        assert replace_convolution(layer) is layer


def test_a_convolution_of_maps_of_unknown_size_is_not_replaced():
    layer = keras.layers.Conv2D(CHANNELS, 3, padding="same")
    layer(keras.Input((None, None, CHANNELS)))
    assert replace_convolution(layer) is layer


def test_one_network_takes_maps_of_any_size_up_to_the_full_one():
    convolution = called_convolution(7)
    images = keras.Input((None, None, CHANNELS))
    model = keras.Model(images, replace_convolution(convolution)(images))
    for height, width in ((1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (6, 2)):
        maps = random_maps(height, width)
        np.testing.assert_allclose(model.predict(maps, verbose=0), convolution(maps), rtol=0, atol=1e-4)


def test_turned_off_a_model_has_plain_convolutions_only(process_kept):
    images = keras.Input((7, 7, CHANNELS))
    model = keras.Model(images, keras.layers.Conv2D(CHANNELS, 3, padding="same")(images))
    assert [type(layer) for layer in with_winograd(model).layers[1:]] == [Winograd]
    winograd.set_enabled(False)
    plain = with_winograd(model)
    assert [type(layer) for layer in plain.layers[1:]] == [keras.layers.Conv2D]
    np.testing.assert_array_equal(plain(random_maps(7)), model(random_maps(7)))
    winograd.set_enabled(True)
    assert [type(layer) for layer in with_winograd(model).layers[1:]] == [Winograd]


def test_a_gpu_turns_them_off(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    layer = called_convolution(7)
    assert replace_convolution(layer) is layer


def small_maps(hp, spec):
    """A network with a convolution that Winograd's algorithm computes, of maps of 7 x 7 pixels."""
    images = keras.Input(spec.shape, dtype="uint8")
    x = keras.layers.AveragePooling2D(4)(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.Conv2D(CHANNELS, 1, name="first_conv")(x)
    x = keras.layers.Conv2D(CHANNELS, 3, padding="same", name="conv")(x)
    return keras.Model(images, keras.layers.Dense(spec.classes, "softmax")(keras.layers.GlobalMaxPooling2D()(x)))


@pytest.mark.slow
def test_the_shipped_network_is_trained_with_winograd_and_has_plain_convolutions(tmp_path):
    (task,) = prepare(find("cifar100-fine-cnn"), "synthetic", cache=tmp_path)
    check_training(task, "pair3_a_conv")


def test_a_network_trained_with_winograd_has_plain_convolutions_that_predict_the_same(make_task):
    check_training(make_task(dataclasses.replace(TINY, build=small_maps)), "conv")


def check_training(task, name):
    """Train a network whose convolution `name` Winograd's algorithm computes, and compare what it predicts afterwards."""
    model, recipe = task.network(task.experiment.best)
    assert isinstance(replace_convolution(model.get_layer(name)), Winograd)
    result = fit(model, recipe, {"training": StageSchedule(1, 4)}, task.fit_data(task.train, task.validation))
    assert {type(layer) for layer in model.layers if "conv" in layer.name} == {keras.layers.Conv2D}
    predictions = model.predict(task.data.train_images[task.validation], verbose=0)
    labels = tf.one_hot(task.data.train_labels[task.validation], task.spec.classes)
    loss = keras.losses.CategoricalCrossentropy()(labels, predictions)
    assert float(loss) == pytest.approx(result.history["val_loss"].iloc[-1], rel=1e-4)
