"""The networks of keras.applications on raw images: their outputs are Keras' own, and a fit can freeze and tune them."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import TINY
from keras import layers
from keras.src.utils import file_utils

from mlproject.datasets import CIFAR100, Spec
from mlproject.errors import UserError
from mlproject.layers import preprocessed, pretrained_base, pretrained_features, probabilities, raw_images
from mlproject.networks import applications
from mlproject.networks.cost import stage_network
from mlproject.recipe import Recipe, Stage
from mlproject.training.fit import fit
from mlproject.training.monitor import FitHooks
from mlproject.training.schedule import StageSchedule

# Two kinds of preprocessing, in the network and before it. All networks take half an hour.
FEW = ("MobileNetV3Small", "VGG16")
NETWORKS = [pytest.param(one, marks=[] if one in FEW else pytest.mark.slow) for one in applications.names()]


def spec_of(pixels, network, weights=None, channels=3):
    moments = (120.0,) * channels
    covariance = tuple(map(tuple, np.eye(4 * channels)))
    return Spec((pixels, pixels, channels), 10, moments, moments, covariance, weights, network)


def model_of(spec):
    images = raw_images(spec)
    return keras.Model(images, pretrained_features(images, spec))


def some_images(spec, n=2):
    return np.random.default_rng(0).integers(0, 256, (n, *spec.shape), dtype=np.uint8)


def smallest_size(network):
    """The smallest size in pixels, from the message that refuses a smaller one."""
    with pytest.raises(UserError, match=f"images of 8 x 8 pixels are too small for pretrained='{network}'") as error:
        model_of(spec_of(8, network))
    return int(re.search(r"accepted: at least (\d+) x \1,", str(error.value))[1])


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a file with a network's random weights."""

    def write(network):
        path = tmp_path / f"{network}.weights.h5"
        getattr(keras.applications, network)(include_top=False, weights=None).save_weights(path)
        return path

    yield write
    keras.backend.clear_session()


@pytest.mark.parametrize("network", NETWORKS)
def test_raw_images_give_what_keras_gives_for_preprocessed_ones(network, written, tmp_path, monkeypatch):
    spec = spec_of(smallest_size(network), network, written(network))
    model = model_of(spec)
    module = __import__(getattr(keras.applications, network).__module__, fromlist=["preprocess_input"])
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(spec.weights))  # in place of a download
    theirs = getattr(keras.applications, network)(include_top=False, input_shape=spec.shape)
    images = some_images(spec)
    expected = theirs.predict_on_batch(module.preprocess_input(images.astype("float32")))
    found = model.predict_on_batch(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))
    assert np.ptp(expected) > 0
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), found)
    assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}


@pytest.mark.parametrize(
    ("network", "pixels"),
    [
        ("VGG16", 96),
        pytest.param("ResNet50", 96, marks=pytest.mark.slow),
        ("MobileNetV3Small", 96),
        pytest.param("EfficientNetB0", 96, marks=pytest.mark.slow),
        ("VGG16", 48),
        ("MobileNetV3Small", 48),
    ],
)
def test_the_last_stage_begins_at_twice_the_final_height(network, pixels):
    spec = spec_of(pixels, network)
    keras.utils.set_random_seed(0)
    marked = model_of(spec)
    border, final = marked.get_layer("last_stage").output.shape[1], marked.output.shape[1]
    # 48 becomes 3, then 1 or 2.
    assert border == 2 * final if pixels == 96 else final in (border // 2, (border + 1) // 2)
    cut = [layer.name for layer in marked.layers].index("last_stage")
    assert any(layer.weights for layer in marked.layers[:cut]) and any(layer.weights for layer in marked.layers[cut:])
    stage_network(marked, Stage("tuning", 1e-3, "last_stage"))  # refuses a layer that another path leads around
    keras.utils.set_random_seed(0)
    images = raw_images(spec)
    plain = pretrained_base(preprocessed(images, spec), spec)
    assert "last_stage" not in [layer.name for layer in plain.layers]
    shown = some_images(spec)
    np.testing.assert_array_equal(marked.predict_on_batch(shown), plain.predict_on_batch(shown))
    keras.backend.clear_session()


@pytest.mark.parametrize("network", applications.names())
def test_preprocessing_is_found_for_every_network(network):
    module = __import__(getattr(keras.applications, network).__module__, fromlist=["preprocess_input"])
    spec = spec_of(8, network)
    images = raw_images(spec)
    found = keras.Model(images, preprocessed(images, spec)).predict_on_batch(some_images(spec))
    if applications.preprocessing(network).reversed:
        found = found[..., ::-1]
    expected = module.preprocess_input(some_images(spec).astype("float32"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_grey_image_is_one_whose_colours_are_equal(written):
    network = "VGG16"
    weights = written(network)
    grey, coloured = (spec_of(32, network, weights, channels) for channels in (1, 3))
    images = some_images(grey)
    expected = model_of(coloured).predict_on_batch(images.repeat(3, axis=-1))
    np.testing.assert_allclose(model_of(grey).predict_on_batch(images), expected, atol=1e-5)


def test_without_weights_the_network_is_random_and_depends_on_the_seed():
    spec = spec_of(32, "VGG16")
    outputs = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        outputs.append(model_of(spec).predict_on_batch(some_images(spec)))
    assert np.array_equal(outputs[0], outputs[1]) and not np.array_equal(outputs[0], outputs[2])


def test_two_or_four_channels_are_refused():
    with pytest.raises(UserError, match="images with 4 channels for pretrained='VGG16'; accepted: 1 or 3 channels"):
        model_of(spec_of(32, "VGG16", channels=4))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("vgg16", r"pretrained='vgg16' of an experiment; did you mean VGG16\? accepted: .*MobileNetV3Small.*VGG16"),
        ("EfficientNet-B0", r"; did you mean EfficientNetB0\? accepted: "),
        ("zzz", "pretrained='zzz' of an experiment; accepted: ConvNeXtBase, "),
        (True, "pretrained=True of an experiment; accepted: the name of a network .* such as pretrained='VGG16'"),
        (False, "pretrained=False of an experiment; accepted: .* or '' for none"),
    ],
)
def test_an_experiment_with_an_unknown_network_is_refused_in_one_line(given, message):
    with pytest.raises(UserError, match=message) as error:
        replace(TINY, pretrained=given)
    assert "\n" not in str(error.value)


def test_a_build_without_a_declared_network_is_told_which_exist(fashion):
    with pytest.raises(UserError, match="pretrained='' of an experiment; accepted: ConvNeXtBase, .*Xception"):
        pretrained_features(raw_images(fashion.spec()), fashion.spec())


# A fit on features of such a network

CUTS = {"MobileNetV3Small": "expanded_conv_2_add"}


def experiment_of(network, cut):
    def build(hp, spec):
        images = raw_images(spec)
        x = pretrained_features(images, spec)
        x = layers.GlobalAveragePooling2D(name="features")(x)
        return keras.Model(images, probabilities(x, spec))

    def recipe(hp):
        return Recipe((Stage("head", 1e-2, "features"), Stage("fine-tuning", 1e-3, cut)), 16, "adamw")

    return replace(TINY, dataset=CIFAR100(), labels="coarse", build=build, recipe=recipe, best={}, pretrained=network)


@pytest.fixture(scope="module")
def photographs():
    """Coloured synthetic images, in a number that trains in seconds."""
    data = CIFAR100().load("coarse", "synthetic")
    return replace(data, train_images=data.train_images[:200].repeat(2, axis=1).repeat(2, axis=2), digest="large")


@pytest.fixture
def fitted(make_task, photographs):
    """Return a function that fits both stages; it gives the task, the model, the result, and all variables after each stage."""

    def run(network, cut):
        task = make_task(experiment_of(network, cut), photographs)
        task = replace(
            task, spec=replace(task.spec, pretrained=network), train=np.arange(160), validation=np.arange(160, 200)
        )
        model, recipe = task.network({})
        states = [values_of(model)]
        hooks = FitHooks(on_stage=lambda stage: states.append(values_of(model)))
        schedule = {stage.name: StageSchedule(1, 4) for stage in recipe.stages}
        result = fit(model, recipe, schedule, task.fit_data(task.train, task.validation), hooks)
        return task, model, result, states

    return run


def values_of(model):
    return {layer.name: [np.array(value) for value in layer.get_weights()] for layer in model.layers}


def changed(before, after):
    """The names of the layers of which a weight or a moving statistic differs."""
    return {
        name
        for name in before
        if any(not np.array_equal(*pair) for pair in zip(before[name], after[name], strict=True))
    }


@pytest.mark.slow
@pytest.mark.parametrize("network", CUTS)
def test_frozen_layers_keep_weights_and_statistics_and_the_others_learn_both(fitted, network):
    task, model, result, (fresh, with_head, tuned) = fitted(network, CUTS[network])
    names = [layer.name for layer in model.layers]
    cut = names.index(CUTS[network])
    assert changed(fresh, with_head) == {"probabilities"}
    learnt = changed(with_head, tuned)
    assert learnt == {name for name in names[cut + 1 :] if fresh[name]}
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    statistics = {layer.name for layer in norms if not np.array_equal(with_head[layer.name][-1], tuned[layer.name][-1])}
    assert statistics == {layer.name for layer in norms if names.index(layer.name) > cut}
    # What was validated, on kept activations and with Winograd convolutions, is what the whole model predicts.
    labels = keras.utils.to_categorical(task.data.train_labels[task.validation], task.spec.classes)
    probabilities = model.predict(task.data.train_images[task.validation], verbose=0)
    loss = keras.losses.CategoricalCrossentropy()(labels, probabilities)
    assert float(loss) == pytest.approx(result.history["val_loss"].iloc[-1], rel=1e-2)  # kept as float16


def test_a_layer_within_a_residual_block_cannot_be_the_last_frozen_one():
    model = model_of(spec_of(32, "MobileNetV3Small"))
    with pytest.raises(
        UserError, match="frozen_through='expanded_conv_10_depthwise' .* another path leads around this layer"
    ):
        stage_network(model, Stage("tuning", 1e-3, "expanded_conv_10_depthwise"))
