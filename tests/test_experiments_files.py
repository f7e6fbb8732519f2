"""The experiment files: their declarations are consistent, and their networks can be built, trained and loaded."""

import functools
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from conftest import rehearse_one

from mlproject import discovery
from mlproject.datasets import Loader, Spec, files
from mlproject.search.space import check_best_values
from mlproject.task import prepare
from mlproject.training.features import FeatureCache
from mlproject.training.fit import fit
from mlproject.training.fit_data import FitData
from mlproject.training.monitor import FitHooks
from mlproject.training.schedule import StageSchedule

FOLDER = Path(__file__).parents[1] / "experiments"
EXPERIMENTS = {found.name: found for found in discovery.find("*", FOLDER)}
COLOURED = Spec((32, 32, 3), 20, (129.0, 124.0, 112.0), (68.0, 65.0, 70.0), tuple(map(tuple, np.eye(12))))
GREY = Spec((28, 28, 1), 10, (73.0,), (90.0,), tuple(map(tuple, np.eye(4))))
SPECS = {"coarse": COLOURED, "fine": replace(COLOURED, classes=100), "flat": GREY}
# The coarse and the fine experiment share their network, so only one of them is built.
DISTINCT = [name for name in EXPERIMENTS if name != "cifar100-coarse-cnn"]


class Few(Loader):
    """A handful of images of a user's own, grey or coloured; four classes or more form two superclasses."""

    def __init__(self, pixels, channels, classes):
        self.name, self.shape = "few", (pixels, pixels, channels)
        self.classes = [f"class {number}" for number in range(classes)]
        if classes >= 4:
            self.superclasses, self.superclass_of = ("odd", "even"), [number % 2 for number in range(classes)]

    @property
    def identity(self):
        return self.name, self.shape, len(self.classes)

    def read(self, data_dir):
        labels = np.arange(3 * len(self.classes)) % len(self.classes)
        images = np.random.default_rng(0).integers(0, 256, (len(labels), *self.shape), dtype=np.uint8)
        return files.Arrays(images, labels, images, labels, source="few")


def on_few(name, pixels, channels, classes, base="MobileNetV3Small"):
    """An experiment that waits for images, on some, with its task; without pretrained weights."""
    (found,) = discovery.find(name, FOLDER, Few(pixels, channels, classes), base)
    (task,) = prepare([found], weights="none")
    return found, task


def spec_for(experiment):
    return replace(SPECS[experiment.labels], pretrained=experiment.pretrained)


@functools.cache
def declared(name):
    """The hyperparameters that an experiment declares, and its network, at their default values."""
    experiment, hp = EXPERIMENTS[name], keras_tuner.HyperParameters()
    experiment.recipe(hp)
    return hp, experiment.build(hp, spec_for(experiment))


def best(experiment):
    hp = keras_tuner.HyperParameters()
    hp.values = dict(experiment.best)
    return experiment.build(hp, spec_for(experiment)), experiment.recipe(hp)


def some_images(spec, n=3):
    return np.random.default_rng(0).integers(0, 256, (n, *spec.shape), dtype=np.uint8)


def accepts(parameter, value):
    """Whether a Keras Tuner hyperparameter can take this value, by its class's own attributes."""
    if isinstance(parameter, keras_tuner.engine.hyperparameters.Choice):
        return value in parameter.values
    if isinstance(parameter, keras_tuner.engine.hyperparameters.Boolean):
        return isinstance(value, bool)
    steps = (value - parameter.min_value) / parameter.step if parameter.step and parameter.sampling == "linear" else 0.0
    return parameter.min_value <= value <= parameter.max_value and abs(steps - round(steps)) < 1e-6


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_a_file_run_by_itself_asks_for_onednn_before_it_imports_keras(file):
    """TensorFlow reads the variable only once, when Keras imports it."""
    code = f"""
import os, runpy, sys

class FirstOfThem:
    def find_spec(name, *rest):
        if name.partition(".")[0] in ("keras", "tensorflow"):
            sys.exit("oneDNN " + os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not asked for"))

sys.meta_path.insert(0, FirstOfThem)
runpy.run_path({str(file)!r})
"""
    without = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    process = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True)
    assert process.stderr.strip() == "oneDNN 1"


@pytest.mark.parametrize("name", DISTINCT)
def test_best_values_are_points_of_the_declared_space(name):
    experiment = EXPERIMENTS[name]
    hp, _ = declared(name)
    space = {parameter.name: parameter for parameter in hp.space}
    assert sorted(space) == sorted(experiment.best)
    known = [*experiment.best.items(), *experiment.best_in_an_hour.items()]
    assert [(key, value) for key, value in known if not accepts(space[key], value)] == []


def check_probabilities(model, spec):
    """Check that a network gives probabilities for raw images; returns both."""
    assert (model.input.dtype, model.output.dtype) == ("uint8", "float32")
    images = some_images(spec)
    probabilities = model.predict_on_batch(images)
    assert probabilities.shape == (3, spec.classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    return images, probabilities


@pytest.mark.parametrize("name", DISTINCT)
def test_a_network_of_default_values_gives_probabilities_for_raw_images(name):
    _, model = declared(name)
    check_probabilities(model, SPECS[EXPERIMENTS[name].labels])


@pytest.mark.parametrize("name", DISTINCT)
def test_a_network_of_best_values_gives_probabilities_and_needs_nothing_of_ours_when_it_is_saved(name, tmp_path):
    model, _ = best(EXPERIMENTS[name])
    images, probabilities = check_probabilities(model, SPECS[EXPERIMENTS[name].labels])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict_on_batch(images), probabilities, atol=1e-5)
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}


def test_on_a_share_of_the_images_an_experiment_has_a_name_and_a_comparison_of_its_own():
    whole = EXPERIMENTS["cifar100-fine-cnn"]
    assert whole.with_train_share(1) is whole
    part = whole.with_train_share(0.2)
    assert (part.name, part.comparison) == ("cifar100-fine-cnn-share-0.2", "coarse-vs-fine-share-0.2")
    assert "20% of the training images" in part.topic.title and part.build is whole.build


def test_coarse_and_fine_are_a_fair_pair():
    coarse, fine = EXPERIMENTS["cifar100-coarse-cnn"], EXPERIMENTS["cifar100-fine-cnn"]
    assert (coarse.build, coarse.recipe, coarse.best) == (fine.build, fine.recipe, fine.best)
    assert coarse.best_in_an_hour == fine.best_in_an_hour
    assert coarse.comparison == fine.comparison


@pytest.mark.parametrize("name", DISTINCT)
def test_every_stage_trains_what_lies_behind_its_cut_and_nothing_else(name, tmp_path):
    experiment = EXPERIMENTS[name]
    data = experiment.dataset.load(experiment.labels, "synthetic")
    few = replace(data, train_images=data.train_images[:32], train_labels=data.train_labels[:32])
    model, recipe = best(experiment)
    names = [layer.name for layer in model.layers]

    def kernels():
        return {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}

    schedule = {stage.name: StageSchedule(1, recipe.steps_per_execution) for stage in recipe.stages}
    seen = [kernels()]
    fit_data = FitData(few, np.arange(32), None, FeatureCache(tmp_path, few), seed=1)
    done = fit(model, recipe, schedule, fit_data, FitHooks(on_stage=lambda stage: seen.append(kernels())))
    assert list(done.history["stage"]) == [stage.name for stage in recipe.stages]
    assert np.isfinite(done.history["loss"]).all()
    for stage, (before, after) in zip(recipe.stages, pairwise(seen), strict=True):
        cut = names.index(stage.frozen_through) if stage.frozen_through else -1
        learnt = {layer for layer in before if names.index(layer) > cut and model.get_layer(layer).trainable}
        assert {layer for layer in before if not np.array_equal(before[layer], after[layer])} == learnt


@pytest.mark.parametrize(("minutes", "last"), [(15, "block5_pool"), (60, "block5_conv3")])
def test_vgg16_uses_the_weights_it_is_given(minutes, last, tmp_path):
    source = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    source.save_weights(tmp_path / "vgg16.weights.h5")
    spec = replace(GREY, weights=tmp_path / "vgg16.weights.h5", pretrained="VGG16")
    experiment = EXPERIMENTS["fashion-mnist-vgg16"].for_budget(minutes)
    hp = keras_tuner.HyperParameters()
    hp.values = dict(experiment.best)
    model = experiment.build(hp, spec)
    images = some_images(spec)
    border = (2, 2) if minutes < 60 else (0, 0)
    padded = np.pad(images.astype("float32"), ((0, 0), border, border, (0, 0))).repeat(3, axis=-1)
    theirs = keras.Model(source.input, source.get_layer(last).output)
    expected = theirs.predict_on_batch(keras.applications.vgg16.preprocess_input(padded))
    ours = keras.Model(model.input, model.get_layer(last).output).predict_on_batch(images)
    np.testing.assert_allclose(ours, expected, atol=1e-3 * np.abs(expected).max())
    assert expected.shape[1:3] == (1, 1)  # nothing is left to pool


@pytest.mark.parametrize(
    ("name", "pixels", "channels"),
    [*product(("cnn",), (32, 64, 96, 128), (1, 3)), ("features", 32, 1), ("features", 96, 3)],
)
def test_experiments_for_own_images_take_images_of_many_sizes(name, pixels, channels):
    classes = 2 if pixels in (32, 128) else 30
    experiment, task = on_few(name, pixels, channels, classes)
    check_best_values(task)
    model, recipe = task.network(experiment.best)
    assert model.input_shape[1:] == (pixels, pixels, channels)
    assert model.predict_on_batch(task.data.test_images[:2]).shape == (2, classes)
    assert [height for _, height in recipe.heights(pixels)] == ([pixels * 3 // 4] if name == "cnn" else [])
    keras.backend.clear_session()


def test_the_coarse_experiment_for_own_images_has_the_same_network_for_other_labels():
    fine, coarse = prepare(discovery.find("cnn,cnn-coarse", FOLDER, Few(32, 3, 30)))
    assert (coarse.experiment.labels, fine.experiment.labels) == ("coarse", "fine")
    assert coarse.network_key == fine.network_key
    assert (coarse.spec.classes, fine.spec.classes) == (2, 30)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pixels"), [("cnn", 32), ("fine-tuned", 64)])
def test_experiments_for_own_images_go_the_whole_way(name, pixels, store, tmp_path):
    _, task = on_few(name, pixels, channels=1, classes=4)
    rehearse_one(task, tmp_path / "searches")
    assert list(tmp_path.rglob("rehearsed"))


def test_the_shipped_base_gives_features_of_own_images():
    experiment, task = on_few("fine-tuned", 32, 3, 2, base="")
    assert experiment.pretrained == task.spec.pretrained == "EfficientNetV2B0"
    model, recipe = task.network(experiment.best)
    assert [stage.frozen_through for stage in recipe.stages] == ["features", "last_stage"]
    names = [layer.name for layer in model.layers]
    assert names.index("last_stage") < names.index("features")
    keras.backend.clear_session()
