"""Which layers depend on the number of colours and of classes, on small networks where the answer is known."""

import keras
import numpy as np
import pytest
from keras import layers

from mlproject.datasets import Spec
from mlproject.layers import conv_unit, max_and_mean, probabilities, raw_images, standardised, whitened
from mlproject.networks.explain import layer_table

COLOURED = Spec((8, 8, 3), 20, (120.0, 110.0, 101.3), (60.0, 61.0, 62.7), tuple(map(tuple, np.eye(12) + 0.5)))
GREY = Spec((8, 8, 1), 10, (90.1,), (72.9,), tuple(map(tuple, np.eye(4) + 0.5)))


def convolutional(spec: Spec) -> keras.Model:
    inputs = keras.Input(spec.shape, dtype="uint8")
    x = layers.Normalization(mean=spec.mean, variance=[deviation**2 for deviation in spec.std])(inputs)
    x = layers.RandomFlip("horizontal")(x)
    for name in ("first", "second"):
        x = layers.Conv2D(4, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(spec.classes, activation="softmax", name="classes")(x))


def pretrained_like(spec: Spec) -> keras.Model:
    """A nested frozen base that wants RGB: grey images get a layer that repeats them."""
    base = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv_1"), layers.Conv2D(4, 3, name="conv_2")], name="base"
    )
    base.trainable = False
    inputs = keras.Input(spec.shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    if spec.shape[-1] == 1:
        x = layers.Concatenate(name="grey_to_rgb")([x, x, x])
    x = layers.Flatten()(base(x))
    return keras.Model(inputs, layers.Dense(spec.classes, activation="softmax", name="classes")(x))


def marked(table, column: str) -> list[str]:
    return table.loc[table[f"depends_on_{column}"], "type"].tolist()


@pytest.mark.parametrize("spec", [COLOURED, GREY])
def test_only_the_stem_and_the_fixed_means_depend_on_colours_only_the_head_on_classes(spec):
    table = layer_table(convolutional, spec)
    assert marked(table, "colours") == ["InputLayer", "Normalization", "Conv2D"]
    assert table.loc[table["depends_on_colours"], "layer"].tolist()[-1] == "first"
    assert marked(table, "classes") == ["Dense"]


def test_the_first_dense_layer_of_a_perceptron_depends_on_colours():
    def perceptron(spec: Spec) -> keras.Model:
        inputs = keras.Input(spec.shape, dtype="uint8")
        # One offset for all colours. It depends on their number only by rounding.
        x = layers.Rescaling(1.0, offset=-sum(spec.mean) / len(spec.mean), name="centre")(inputs)
        x = layers.Dense(16, name="first")(layers.Flatten()(x))
        x = layers.Dense(16, name="second")(x)
        return keras.Model(inputs, layers.Dense(spec.classes, activation="softmax", name="classes")(x))

    table = layer_table(perceptron, GREY).set_index("layer")
    rows = ["centre", "first", "second", "classes"]
    assert table.loc[rows, "depends_on_colours"].tolist() == [False, True, False, False]
    assert table.loc[rows, "depends_on_classes"].tolist() == [False, False, False, True]


def test_a_layer_for_grey_images_alone_depends_on_colours_and_shifts_no_other():
    table = layer_table(pretrained_like, GREY).set_index("layer")
    assert table.index[table["depends_on_colours"]].tolist()[1:] == ["grey_to_rgb"]
    assert marked(layer_table(pretrained_like, COLOURED), "colours") == ["InputLayer"]


def test_nested_layers_have_rows_of_their_own():
    table = layer_table(pretrained_like, GREY).set_index("layer")
    row = table.loc["base/conv_2"]
    assert row["type"] == "Conv2D"
    assert row["output_shape"] == "4 × 4 × 4"
    assert row["parameters"] == 4 * 4 * 3 * 3 + 4
    assert not row["trainable"]
    assert table.loc["classes", "trainable"]


@pytest.mark.parametrize("build", [convolutional, pretrained_like])
def test_parameters_add_up_to_the_models(build):
    table = layer_table(build, COLOURED)
    assert table["parameters"].sum() == build(COLOURED).count_params()
    assert table["output_shape"].iloc[0] == "8 × 8 × 3"
    assert table["output_shape"].iloc[-1] == "20"


def test_every_layer_names_the_layers_before_it():
    def branching(spec: Spec) -> keras.Model:
        inputs = keras.Input(spec.shape, dtype="uint8", name="images")
        flat = layers.Flatten(name="flat")(inputs)
        both = layers.Concatenate(name="both")(
            [layers.Dense(4, name="left")(flat), layers.Dense(4, name="right")(flat)]
        )
        return keras.Model(inputs, layers.Dense(spec.classes, activation="softmax", name="classes")(both))

    before = layer_table(branching, GREY).set_index("layer")["inputs"].to_dict()
    assert before == {
        "images": "",
        "flat": "images",
        "left": "flat",
        "right": "flat",
        "both": "left right",
        "classes": "both",
    }


@pytest.mark.parametrize("spec", [COLOURED, GREY])
def test_a_whitening_stem_depends_on_colours_and_ends_there(spec):
    def stemmed(spec: Spec) -> keras.Model:
        images = raw_images(spec)
        # As many channels as for three colours. Otherwise the next layer would also depend on the colours.
        x = conv_unit(whitened(standardised(images, spec), spec), 24, "silu", "first")
        return keras.Model(images, probabilities(max_and_mean(conv_unit(x, 8, "silu", "second"), "head"), spec))

    table = layer_table(stemmed, spec)
    marks = table.loc[table["depends_on_colours"], "layer"].tolist()
    assert marks == ["images", "standardise", "whiten", "first_conv"]
    assert table.set_index("layer")["trainable"].to_dict()["whiten"] is False
