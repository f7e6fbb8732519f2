"""Convolutions with fewer multiplications: the answers and gradients of Keras', and nothing of them in what is saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mlproject.convolutions import Winograd, faster_layer
from mlproject.experiment import find
from mlproject.recipe import Length
from mlproject.tasks import prepare
from mlproject.training import fit

CHANNELS = 72  # enough for maps of up to 9 pixels a side


def in_a_network(height, width=None, **options):
    """A Conv2D that has been applied to maps of so many pixels."""
    layer = keras.layers.Conv2D(**{"filters": CHANNELS, "kernel_size": 3, "padding": "same"} | options)
    layer(keras.Input((height, width or height, CHANNELS)))
    return layer


def maps_of(height, width=None):
    return np.random.default_rng(0).normal(size=(5, height, width or height, CHANNELS)).astype("float32")


def gradients(layer, maps, weights):
    with tf.GradientTape() as tape:
        tape.watch(maps)
        answers = layer(maps)
        loss = tf.reduce_sum(answers**3)
    return answers, *tape.gradient(loss, [maps, *weights])


@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "silu", "bias_initializer": "random_normal"}])
@pytest.mark.parametrize("sides", [(side, side) for side in range(1, 10)] + [(7, 2), (1, 5)])
def test_the_answers_and_the_gradients_are_those_of_keras(sides, options):
    convolution = in_a_network(*sides, **options)
    winograd = faster_layer(convolution)
    assert isinstance(winograd, Winograd)
    maps, weights = tf.constant(maps_of(*sides)), convolution.trainable_weights
    assert [id(weight) for weight in winograd.trainable_weights] == [id(weight) for weight in weights]
    for expected, found in zip(gradients(convolution, maps, weights), gradients(winograd, maps, weights), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.std(expected))


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
def test_other_convolutions_and_maps_too_large_for_their_channels_stay_as_they_are(options):
    for layer in (in_a_network(3, **options), in_a_network(10), in_a_network(2, 10), keras.layers.ReLU()):
        assert faster_layer(layer) is layer


def test_a_size_that_is_not_known_beforehand_leaves_the_layer_as_it_is():
    layer = keras.layers.Conv2D(CHANNELS, 3, padding="same")
    layer(keras.Input((None, None, CHANNELS)))
    assert faster_layer(layer) is layer


def test_one_network_serves_maps_of_any_size_up_to_the_full_one():
    convolution = in_a_network(7)
    images = keras.Input((None, None, CHANNELS))
    model = keras.Model(images, faster_layer(convolution)(images))
    for height, width in ((1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (6, 2)):
        maps = maps_of(height, width)
        np.testing.assert_allclose(model.predict(maps, verbose=0), convolution(maps), rtol=0, atol=1e-4)


def test_what_was_trained_faster_is_a_plain_network_that_answers_the_same(tmp_path):
    (task,) = prepare(find("cifar100-fine-cnn"), "synthetic", cache=tmp_path)
    model, recipe = task.network(task.experiment.best)
    assert isinstance(faster_layer(model.get_layer("pair3_a_conv")), Winograd)
    plan = {"training": Length(1, 4)}
    done = fit(model, recipe, plan, task.data, task.train, task.validation, features=task.features, seed=0)
    assert {type(layer) for layer in model.layers if "conv" in layer.name} == {keras.layers.Conv2D}
    answers = model.predict(task.data.train_images[task.validation], verbose=0)
    labels = tf.one_hot(task.data.train_labels[task.validation], task.spec.classes)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)(labels, answers)
    assert float(loss) == pytest.approx(done.history["val_loss"].iloc[-1], rel=1e-4)
