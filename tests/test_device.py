"""What depends on the device: the precision, where batches are made, what is said of it. No test has run on a GPU."""

import dataclasses
import json
import logging
import os

import keras
import mlflow
import numpy as np
import pytest
from conftest import TINY, asked, tiny_staged_recipe

from mlproject import tracking
from mlproject.errors import UserError
from mlproject.final.environment import describe_environment
from mlproject.layers import probabilities, raw_images, standardised, whitened
from mlproject.networks.cost import stage_network
from mlproject.recipe import Recipe, Stage
from mlproject.search import fingerprint
from mlproject.settings import PRECISIONS, Settings
from mlproject.training import device
from mlproject.training.checkpoint import Checkpoint
from mlproject.training.fit import compile_for, fit
from mlproject.training.monitor import FitHooks
from mlproject.training.network import TrainedNetwork, layers_of_16_bits
from mlproject.training.schedule import StageSchedule


@pytest.fixture
def precision():
    """Return the function that chooses the precision; float32 is restored after the test."""
    yield device.configure
    device.configure("float32")


@pytest.mark.parametrize(
    ("capability", "fastest"),
    [(None, "float32"), ((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16"),
     ((8, 9), "bfloat16"), ((9, 0), "bfloat16"), ((12, 0), "bfloat16")],
)  # fmt: skip
def test_auto_is_what_the_device_is_made_for_and_anything_else_is_what_was_asked_for(capability, fastest):
    assert device.resolve_precision("auto", capability) == fastest
    for chosen in PRECISIONS[1:]:
        assert device.resolve_precision(chosen, capability) == chosen


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="'double' is not one of 'auto', 'float32', 'bfloat16', 'float16'"):
        asked("--precision", "double")


def test_the_device_is_described_and_recorded(precision):
    precision("auto")
    assert device.describe() == f"{os.cpu_count()} CPU cores, float32"
    assert not {"gpu", "precision"} & describe_environment().keys()
    precision("bfloat16")
    assert device.describe().endswith("CPU cores, bfloat16")
    assert describe_environment()["precision"] == "bfloat16"


def test_a_cpu_without_newer_vector_instructions_is_described(monkeypatch):
    """NumPy then leaves them out of its description."""
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"baseline": ["X86_V2"]}})
    assert describe_environment()["vector instructions"] == ""


def test_one_line_names_the_extra_where_a_gpu_cannot_be_used(precision, monkeypatch, tmp_path, caplog):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(device, "NVIDIA_DEVICES", f"{tmp_path}/nvidia[0-9]*")
    monkeypatch.setattr(logging.getLogger("mlproject"), "propagate", True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    precision("auto")
    (message,) = caplog.messages
    assert "pip install -e '.[gpu]'" in message and "\n" not in message
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # the user does not want it
    precision("auto")
    assert len(caplog.messages) == 1


def dense_build(hp, spec):
    """A network without convolutions, which CPUs compute slowly with float16, and without scaled pixels."""
    images = keras.Input(spec.shape, dtype="uint8")
    x = keras.layers.Dense(16, activation="relu", name="low")(keras.layers.Flatten()(images))
    x = keras.layers.Dense(16, activation="relu", name="high")(x)
    return keras.Model(images, keras.layers.Dense(spec.classes, activation="softmax")(x))


DENSE = dataclasses.replace(TINY, build=dense_build)


def test_a_fit_with_16_bits_learns_and_leaves_a_network_of_32(precision, make_task, tmp_path):
    task = make_task()
    precision("bfloat16")
    model, recipe = task.network(TINY.best)
    result = fit(model, recipe, {"training": StageSchedule(2, 40)}, task.fit_data(task.train, task.validation))
    assert result.history["val_accuracy"].iloc[-1] > 0.5  # chance is 0.1
    of_fit = result.validation_probabilities
    assert of_fit.dtype == np.float32
    np.testing.assert_allclose(of_fit.sum(axis=1), 1, atol=1e-6)

    assert "bfloat16" not in json.dumps(model.get_config())
    images = task.data.train_images[task.validation]
    tracking.save_model(model, images[:2], tmp_path / "model")
    predicted = mlflow.keras.load_model(str(tmp_path / "model")).predict(images, verbose=0)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)
    assert 0 < np.abs(predicted - of_fit).max() < 0.1  # the fit did compute with 16 bits
    assert np.mean(predicted.argmax(axis=1) == of_fit.argmax(axis=1)) > 0.95


def test_pixels_are_prepared_and_probabilities_made_with_32_bits(make_task):
    spec = make_task().spec
    images = raw_images(spec)
    x = keras.layers.Conv2D(4, 3, name="low")(whitened(standardised(images, spec), spec))
    inner = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Conv2D(4, 3, name="inner")])
    x = keras.layers.Flatten(name="flat")(inner(x))
    model = keras.Model(images, probabilities(x, spec, scaled=True))
    assert [layer.name for layer in layers_of_16_bits(model)] == ["low", "inner", "flat", "scale"]
    head = stage_network(model, Stage("head", 0.1, "flat"))
    assert [layer.name for layer in layers_of_16_bits(head)] == []  # the layer with weights is the last one


def test_loss_scaling_survives_gradients_that_float16_cannot_hold(precision, make_task):
    """Pixels that are not scaled, times the first factor of the loss, are beyond the largest float16."""
    task = make_task(DENSE)
    precision("float16")
    model, recipe = task.network(TINY.best)
    before = model.get_weights()
    network = TrainedNetwork(model.input, model.output, "float16")
    compile_for(recipe.stages[0], network, recipe, StageSchedule(1, 30))
    labels = keras.utils.to_categorical(task.data.train_labels)
    history = network.fit(task.data.train_images[:1920], labels[:1920], batch_size=64, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert float(network.optimizer.dynamic_scale) < network.optimizer.initial_scale  # steps were skipped
    assert 0 < int(network.optimizer.iterations) < 30  # and not all of them
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all() and not np.array_equal(old, new)


def weights_after(task, hooks=None):
    """Train a network with the best-known values; returns its weights."""
    model, recipe = task.network(TINY.best)
    schedule = {stage.name: StageSchedule(2, 10) for stage in recipe.stages}
    fit(model, recipe, schedule, task.fit_data(task.train, task.validation), hooks)
    return model.get_weights()


class InterruptedFitError(Exception):
    """Ends a fit."""


def test_an_interrupted_fit_with_loss_scaling_goes_on_with_the_same_numbers(precision, make_task, tmp_path):
    task = make_task(DENSE)
    precision("float16")
    whole = weights_after(task)

    def interrupt(epoch, row):
        if epoch == 2:
            raise InterruptedFitError

    checkpoint = Checkpoint(tmp_path / "checkpoint.npz")
    with pytest.raises(InterruptedFitError):
        weights_after(task, FitHooks(checkpoint=checkpoint, on_epoch=interrupt))
    for one, other in zip(whole, weights_after(task, FitHooks(checkpoint=checkpoint)), strict=True):
        np.testing.assert_array_equal(one, other)


def shifting_recipe(hp):
    stage = Stage("training", 2e-3)
    return Recipe((stage,), 64, "adamw", random_translation=2, class_weights="balanced", steps_per_execution=2)


def test_another_precision_is_another_search(make_task):
    one, other = (
        fingerprint.take(make_task(DENSE), Settings(precision=bits).deciding, "store")
        for bits in ("float32", "bfloat16")
    )
    assert fingerprint.differences(one, other) == ["precision was float32, is bfloat16"]


@pytest.mark.parametrize("recipe", [shifting_recipe, tiny_staged_recipe])
def test_a_fit_whose_inputs_lie_on_the_device_is_the_same(recipe, monkeypatch, make_task):
    task = make_task(dataclasses.replace(DENSE, recipe=recipe))
    expected = weights_after(task)
    monkeypatch.setattr(device, "keeps_on_gpu", lambda inputs: True)
    for mine, theirs in zip(weights_after(task), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_xla_compiles_the_step_of_a_network_that_makes_its_batches(precision, monkeypatch, make_task):
    """Keras never chooses XLA on a CPU, so the test does."""
    task = make_task(dataclasses.replace(DENSE, recipe=shifting_recipe))
    precision("float16")
    expected = weights_after(task)
    monkeypatch.setattr(device, "keeps_on_gpu", lambda inputs: True)
    compiled = []
    monkeypatch.setattr(TrainedNetwork, "_resolve_auto_jit_compile", lambda network: compiled.append(network) or True)
    for mine, theirs in zip(weights_after(task), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=0.02)
    assert compiled and all(network.xla for network in compiled)
