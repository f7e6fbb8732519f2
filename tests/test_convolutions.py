"""Convolutions by places: the same answers and gradients as Keras', and nothing of them in what is saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mlproject.convolutions import ByPlaces, faster
from mlproject.experiment import find
from mlproject.recipe import Length
from mlproject.tasks import prepare
from mlproject.training import fit


def in_a_network(pixels, **options):
    """A Conv2D that has been applied to maps of so many pixels."""
    layer = keras.layers.Conv2D(**{"filters": 6, "kernel_size": 3, "padding": "same"} | options)
    layer(keras.Input((pixels, pixels, 4)))
    return layer


def gradients(layer, maps, weights):
    with tf.GradientTape() as tape:
        tape.watch(maps)
        answers = layer(maps)
        loss = tf.reduce_sum(answers**3)
    return answers, *tape.gradient(loss, [maps, *weights])


@pytest.mark.parametrize("pixels", [1, 2, 3])
@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "silu", "bias_initializer": "random_normal"}])
def test_the_answers_and_the_gradients_are_those_of_keras(pixels, options):
    convolution = in_a_network(pixels, **options)
    by_places = faster(convolution)
    assert isinstance(by_places, ByPlaces)
    maps = tf.constant(np.random.default_rng(0).normal(size=(5, pixels, pixels, 4)), tf.float32)
    weights = convolution.trainable_weights
    assert [id(weight) for weight in by_places.trainable_weights] == [id(weight) for weight in weights]
    for expected, found in zip(gradients(convolution, maps, weights), gradients(by_places, maps, weights), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 1}, {"kernel_size": 5}, {"padding": "valid"}, {"strides": 2}, {"dilation_rate": 2}, {"groups": 2}],
)
def test_other_convolutions_and_larger_maps_stay_as_they_are(options):
    for layer in (in_a_network(3, **options), in_a_network(4), in_a_network(None), keras.layers.ReLU()):
        assert faster(layer) is layer


def test_one_network_serves_maps_of_any_size():
    convolution = in_a_network(3)
    images = keras.Input((None, None, 4))
    model = keras.Model(images, faster(convolution)(images))
    for pixels in (1, 2, 3, 4, 7):
        maps = np.random.default_rng(0).normal(size=(5, pixels, pixels, 4)).astype("float32")
        np.testing.assert_allclose(model.predict(maps, verbose=0), convolution(maps), rtol=1e-4, atol=1e-5)


def test_what_was_trained_by_places_is_a_plain_network_that_answers_the_same(tmp_path):
    (task,) = prepare(find("cifar100-fine-cnn"), "synthetic", cache=tmp_path)
    model, recipe = task.network(task.experiment.best)
    assert isinstance(faster(model.get_layer("pair3_a_conv")), ByPlaces)
    plan = {"training": Length(1, 4)}
    done = fit(model, recipe, plan, task.data, task.train, task.validation, features=task.features, seed=0)
    assert {type(layer) for layer in model.layers if "conv" in layer.name} == {keras.layers.Conv2D}
    answers = model.predict(task.data.train_images[task.validation], verbose=0)
    labels = tf.one_hot(task.data.train_labels[task.validation], task.spec.classes)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)(labels, answers)
    assert float(loss) == pytest.approx(done.history["val_loss"].iloc[-1], rel=1e-4)
