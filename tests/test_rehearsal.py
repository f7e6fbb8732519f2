"""The rehearsal: what would fail at the end is found before anything is trained, in one line."""

import dataclasses
import json

import keras
import mlflow
import pytest
from conftest import TINY, all_runs, rehearse_one, tiny_build, tiny_staged_recipe
from keras import layers

from mlproject.discovery import find
from mlproject.errors import UserError
from mlproject.final.refit import predict_with_features
from mlproject.networks.contract import as_functional
from mlproject.recipe import Recipe, Stage

HEAD = """
import keras
from keras import layers
from mlproject.datasets import FashionMNIST
from mlproject.experiment import Experiment
from mlproject.recipe import Recipe, Stage

def recipe(hp):
    return Recipe((Stage("training", hp.Float("rate", 1e-3, 1e-2), max_epochs=2),), 64, "adamw")
"""
EXPERIMENTS = """
EXPERIMENTS = [Experiment("own", "Does it work?", "tests", FashionMNIST(), "flat", build, recipe, {"rate": 2e-3})]
"""


class Doubled(layers.Layer):
    """A layer that no other process knows."""

    def call(self, x):
        return 2 * x


def build_of(make, **input_options):
    """A `build` whose layers behind the uint8 input `make(x, hp, spec)` gives."""

    def build(hp, spec):
        images = keras.Input(spec.shape, **{"dtype": "uint8"} | input_options)
        x = layers.Flatten()(layers.Rescaling(1 / 255)(images))
        hp.Int("width", 4, 16)
        return keras.Model(images, make(x, spec))

    return build


def of_any_size(width, spec):
    images = keras.Input((None, None, 1), dtype="uint8")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(width, 3)(layers.Rescaling(1 / 255)(images)))
    return keras.Model(images, softmax(x, spec))


def four_poolings(hp, spec):
    """A network for images of at least 16 pixels a side."""
    images = keras.Input(spec.shape, dtype="uint8")
    x = layers.Conv2D(hp.Int("width", 4, 16), 1)(layers.Rescaling(1 / 255)(images))
    for _ in range(4):
        x = layers.MaxPooling2D()(x)
    return keras.Model(images, softmax(layers.GlobalMaxPooling2D()(x), spec))


def softmax(x, spec):
    return layers.Dense(spec.classes, activation="softmax")(x)


REFUSED = {
    "logits": (build_of(lambda x, spec: layers.Dense(spec.classes)(x)), "the output of its network.*softmax"),
    "sigmoid": (build_of(lambda x, spec: layers.Dense(spec.classes, "sigmoid")(x)), "adds up to .*softmax"),
    "float input": (build_of(softmax, dtype="float32"), "the input of its network is float32; accepted: uint8"),
    "any size": (
        lambda hp, spec: of_any_size(hp.Int("width", 4, 16), spec),
        r"the input of its network has the shape \(None, None, 1\); accepted: \(28, 28, 1\), which is spec.shape",
    ),
    "half output": (
        build_of(lambda x, spec: layers.Activation("softmax", dtype="float16")(layers.Dense(spec.classes)(x))),
        "the output of its network is float16; accepted: float32",
    ),
    "custom code": (
        build_of(lambda x, spec: softmax(layers.Lambda(lambda x: 2 * x)(Doubled()(x)), spec)),
        "another process cannot load the model, because of Doubled, (Lambda|__lambda__).*built-in layers",
    ),
    "nothing": (lambda hp, spec: hp.Int("width", 4, 16) and None, "build returns NoneType; accepted: a keras.Model"),
    "exception": (
        lambda hp, spec: hp.Int("width", 4, 16) / 0,
        "build or recipe with the best-known values fails: ZeroDivision",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_would_fail_later_is_refused_with_its_part(case, make_task, store, tmp_path):
    build, said = REFUSED[case]
    task = make_task(dataclasses.replace(TINY, build=build))
    with pytest.raises(UserError, match=f"experiment='tiny': .*{said}") as refused:
        rehearse_one(task, tmp_path / "searches")
    assert "hyperparameters" not in str(refused.value) and "\n" not in str(refused.value)
    assert not list((tmp_path / "searches").rglob("*rehearsed*"))


def recipe_of(**fields):
    rate = {"learning_rate": 1e-3}
    return lambda hp: hp.Float("learning_rate", 1e-4, 1e-2) and Recipe((Stage("training", **rate),), 64, **fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"best": {"width": 8}}, "best lacks the hyperparameter learning_rate; accepted: learning_rate=0.0001..0.01"),
        ({"best": TINY.best | {"depth": 3}}, "best has depth=3, which neither build nor recipe declares"),
        ({"best": TINY.best | {"width": 17}}, "best has width=17; accepted: width=4..16"),
        ({"best": TINY.best | {"width": "8"}}, "best has width='8'; accepted: width=4..16"),
        ({"best_in_an_hour": {"width": 99}}, "best_in_an_hour has width=99"),
        ({"recipe": recipe_of(cutout=28)}, "cutout=28 of a recipe; accepted: fewer than the 28 pixels"),
        (
            {"build": four_poolings, "recipe": recipe_of(progressive_resizing=((0.5, 14),))},
            "progressive_resizing makes training images of 14x14 pixels, too small for a layer of its network",
        ),
        ({"recipe": lambda hp: hp.Float("learning_rate", 1e-4, 1e-2)}, "fails: AttributeError"),
    ],
)
def test_values_and_recipes_that_would_fail_later_are_refused(change, said, make_task, store, tmp_path):
    with pytest.raises(UserError, match=said):
        rehearse_one(make_task(dataclasses.replace(TINY, **change)), tmp_path / "searches")


def test_a_rehearsal_is_kept_with_the_search_and_not_repeated(make_task, store, tmp_path):
    seen = []

    def build(hp, spec):
        seen.append(1)
        return tiny_build(hp, spec)

    task = make_task(dataclasses.replace(TINY, build=build, recipe=tiny_staged_recipe))
    rehearse_one(task, tmp_path)
    (marker,) = tmp_path.rglob("rehearsed")
    assert json.loads(marker.read_text())["seconds"] > 0
    before = len(seen)
    rehearse_one(task, tmp_path)
    assert len(seen) - before <= 2  # only the fingerprint builds it, for the search space
    rehearse_one(task, tmp_path, seed=1)
    assert len(seen) - before > 3


@pytest.mark.parametrize(
    "given",
    [[], [keras.Input((28, 28, 1), dtype="uint8")], [keras.Input((28, 28, 1))]],
    ids=["without an input", "with uint8 images", "with float images"],
)
def test_a_sequential_works(given, fashion):
    keras.utils.set_random_seed(0)
    stack = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(10, activation="softmax")]
    model = as_functional(keras.Sequential([*given, *stack]), fashion.spec())
    assert model.input.dtype == "uint8" and model.layers[-1].output.shape == (None, 10)
    predicted = model.predict(fashion.test_images[:4], verbose=0)
    assert predicted.sum(axis=1) == pytest.approx([1] * 4, abs=1e-5)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {x.name: x}], ids=["tensor", "list", "dict"])
def test_a_list_or_a_dict_of_one_tensor_is_this_tensor(wrap, fashion):
    images = keras.Input((28, 28, 1), dtype="uint8", name="images")
    x = layers.Dense(10, activation="softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(images)))
    model = as_functional(keras.Model(wrap(images), wrap(x)), fashion.spec())
    assert model.input is images and model.output is x
    probabilities, features, _ = predict_with_features(model, fashion.test_images[:4])
    assert probabilities.shape == (4, 10) and features.shape == (4, 784)


SEQUENTIAL = """
def build(hp, spec):
    return keras.Sequential([
        keras.Input(spec.shape),
        layers.Rescaling(1 / 255),
        layers.Flatten(),
        layers.Dense(spec.classes, activation="softmax"),
    ])
"""


def tune(run_here, folder, uri, code):
    (folder / "experiments").mkdir(exist_ok=True)
    (folder / "experiments" / "own.py").write_text(HEAD + code + EXPERIMENTS)
    given = ["--data", "synthetic", "--budget-minutes", 0.02, "--max-trials", 1]
    return run_here("tune", *given, cwd=folder, MLFLOW_TRACKING_URI=uri), mlflow.MlflowClient(uri)


@pytest.mark.slow
def test_a_sequential_with_autologging_is_tuned_and_registered(run_here, tmp_path, new_store):
    done, client = tune(run_here, tmp_path, new_store(tmp_path), "import mlflow\nmlflow.autolog()\n" + SEQUENTIAL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlflow.autolog() is turned off" in done.stderr and "own: the rehearsal took" in done.stdout
    assert [model.name for model in client.search_registered_models()] == ["own-synthetic"]
    assert len(client.search_logged_models([one.experiment_id for one in client.search_experiments()])) == 1


def test_what_the_rehearsal_refuses_ends_the_command_before_anything_is_trained(run_here, tmp_path, new_store):
    done, client = tune(run_here, tmp_path, new_store(tmp_path), SEQUENTIAL.replace(', activation="softmax"', ""))
    assert done.returncode == 2 and "trial-01" not in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: experiment='own': the output of its network is negative") and "softmax" in line
    assert not client.search_registered_models()
    assert not all_runs(client)


def test_a_helper_module_beside_the_experiments_is_no_experiment(tmp_path):
    (tmp_path / "blocks.py").write_text("WIDTH = 12\n")
    (tmp_path / "own.py").write_text(
        "import dataclasses\nfrom blocks import WIDTH\nfrom conftest import TINY\n"
        "EXPERIMENTS = [dataclasses.replace(TINY, best=TINY.best | {'width': WIDTH})]\n"
    )
    (experiment,) = find("*", tmp_path)
    assert experiment.best["width"] == 12
