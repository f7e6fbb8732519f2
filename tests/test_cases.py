"""What people met in public reports, tried on this project: tests/cases.md has the links and what else was tried."""

import contextlib
import dataclasses
import io
import os
import re
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from conftest import TINY, rehearse_one
from keras import layers
from searches import fit_result

from mlproject import evaluation, plots, tracking
from mlproject.discovery import find
from mlproject.errors import UserError
from mlproject.recipe import Recipe, Stage
from mlproject.search import fingerprint, trial_fit
from mlproject.search.journal import open_journal
from mlproject.search.search import search
from mlproject.search.space import replace_best_values
from mlproject.settings import Settings


def network(images, behind, spec, name=None):
    """A model of uint8 images whose layers behind the scaled pixels `behind` gives."""
    features = layers.Flatten()(behind(layers.Rescaling(1 / 255)(images)))
    return keras.Model(images, layers.Dense(spec.classes, activation="softmax")(features), name=name)


def build_of(behind):
    """A `build` with one hyperparameter, `width`, whose layers `behind(x, hp, spec)` gives."""

    def build(hp, spec):
        images = keras.Input(spec.shape, dtype="uint8")
        return network(images, lambda x: layers.Conv2D(hp.Int("width", 4, 16), 3)(behind(x, hp, spec)), spec)

    return build


def recipe_of(rate=lambda hp: hp.Float("learning_rate", 1e-4, 1e-2), stage=None, **fields):
    """A `recipe` whose learning rate, stage and other fields are those given."""
    return lambda hp: Recipe((Stage("training", rate(hp), **stage or {}),), **{"batch_size": 64} | fields)


def three_poolings(x, hp, spec):
    for _ in range(3):
        x = layers.MaxPooling2D()(layers.Conv2D(4, 3)(x))
    return x


def same_name_twice(x, hp, spec):
    return layers.Conv2D(4, 3, name="same")(layers.Conv2D(4, 3, name="same")(x))


def nested_scopes(x, hp, spec):
    depth = hp.Int("depth", 0, 2)
    with hp.conditional_scope("depth", [1, 2]):
        hp.Choice("pool", [2, 3])
        with hp.conditional_scope("depth", [2]):
            hp.Int("units", 4, 16)
    return x if depth else layers.Dropout(0.1)(x)


def vgg16(shape, weights=None):
    return lambda x, hp, spec: keras.applications.VGG16(include_top=False, weights=weights, input_shape=shape)(x)


class Subclassed(keras.Model):
    """A model without symbolic tensors."""

    def __init__(self, classes):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(classes, activation="softmax")

    def call(self, images):
        return self.dense(self.flatten(keras.ops.cast(images, "float32")))


def two_outputs(hp, spec):
    model = build_of(lambda x, hp, spec: x)(hp, spec)
    return keras.Model(model.input, [model.output, model.output])


def one_probability(hp, spec):
    return build_of(lambda x, hp, spec: x)(hp, dataclasses.replace(spec, classes=1))


def one_class_too_many(hp, spec):
    return build_of(lambda x, hp, spec: x)(hp, dataclasses.replace(spec, classes=spec.classes + 1))


SHARED = layers.Conv2D(1, 3, padding="same", name="shared")


def frozen(hp, spec):
    model = build_of(lambda x, hp, spec: x)(hp, spec)
    model.trainable = False
    return model


def logs_by_itself(hp, spec):
    mlflow.log_param("width", 8)
    return build_of(lambda x, hp, spec: x)(hp, spec)


def one_more(name):
    """A `build` with one more hyperparameter of this name, and best values for it."""
    return {"build": build_of(lambda x, hp, spec: (hp.Int(name, 1, 3), x)[1]), "best": TINY.best | {name: 1}}


REFUSED = {
    # a network
    "keras-team/keras-hub#143": ({"build": build_of(lambda x, hp, spec: SHARED(x))}, "build uses shared/kernel again"),
    "keras-team/keras#4471": ({"build": frozen}, "no weights to train"),
    "mlflow/mlflow#7680": ({"build": logs_by_itself}, "starts an MLflow run"),
    "keras-team/keras#3945": ({"build": build_of(three_poolings)}, "output size would be zero or negative"),
    "keras-team/keras#12187": ({"build": build_of(same_name_twice)}, 'The name "same" is used 2 times'),
    "keras-team/keras#6849": ({"build": build_of(vgg16((32, 32, 1), "imagenet"))}, "must have 3 channels"),
    "benchopt/benchmark_resnet_classif#3": ({"build": build_of(vgg16((28, 28, 3)))}, "at least 32x32"),
    "mlflow/mlflow#2159": (
        {"build": lambda hp, spec: Subclassed(spec.classes + 0 * hp.Int("width", 4, 16))},
        "without a symbolic input; accepted: a functional model",
    ),
    "keras-team/keras-tuner#464": ({"build": two_outputs}, "1 inputs and 2 outputs; accepted: one of each"),
    "keras-team/keras#11786": ({"build": one_probability}, r"shape \(1,\); accepted: \(10,\)"),
    "rstudio/keras3#465": ({"build": one_class_too_many}, r"shape \(11,\); accepted: \(10,\)"),
    # a search space
    "keras-team/keras-tuner#128": (
        {"build": build_of(lambda x, hp, spec: layers.Activation(hp.Choice("activation", [None, "relu"]))(x))},
        "can contain only one type of value",
    ),
    "keras-team/keras-tuner#738": ({"build": build_of(nested_scopes)}, "`HyperParameter` named: depth not defined"),
    "keras-team/keras-tuner#716": (
        {"recipe": recipe_of(lambda hp: hp.Float("learning_rate", 0, 1e-2, sampling="log"))},
        "sampling='log' does not support",
    ),
    "mlflow/mlflow#1164": (one_more(name="units[0]"), r"name 'units\[0\]'; accepted: up to 250 letters"),
    "mlflow/mlflow#7152": (one_more(name="data"), "name 'data' is taken by a parameter of every run"),
    "ours: a stage's steps": (one_more(name="training_steps"), "'training_steps' is taken"),
    "ours: a fit's seed": (one_more(name="fit_seed"), "'fit_seed' is taken"),
    "ours: a pretrained network": (one_more(name="pretrained"), "'pretrained' is taken"),
    # a recipe
    "verl-project/verl#119": (
        {"recipe": lambda hp: Recipe((Stage("fine (1)", 1e-3),), 64)},
        "name='fine .1.' of a stage",
    ),
    "ours: resizing with Flatten": ({"recipe": recipe_of(progressive_resizing=((0.5, 14),))}, "Matrix size|size|shape"),
    "He-Jian/NTS-Net-keras#1": ({"recipe": recipe_of(stage={"frozen_through": "block5_pool"})}, "block5_pool"),
    "keras-team/keras-tuner#122": ({"recipe": recipe_of(batch_size=-32)}, "batch_size=-32 of a recipe"),
    "keras-team/keras-tuner#395": ({"recipe": recipe_of(batch_size=10**8)}, "GB of memory"),
}


@pytest.mark.parametrize("report", REFUSED)
def test_what_failed_elsewhere_after_minutes_is_refused_before_the_first(report, make_task, store, tmp_path):
    change, said = REFUSED[report]
    with pytest.raises(UserError, match=said) as refused:
        task = make_task(dataclasses.replace(TINY, **change))
        rehearse_one(task, tmp_path / "searches")
    assert "\n" not in str(refused.value)


def everything_at_once(hp, spec):
    """Conditional hyperparameters, a nested base, random layers that are saved, and a session cleared as advised."""
    keras.backend.clear_session()  # keras-team/keras-tuner#395
    images = keras.Input(spec.shape, dtype="uint8")
    base = keras.Sequential(
        [keras.Input(spec.shape), layers.Conv2D(hp.Int("width", 4, 16), 3, 2), layers.MaxPooling2D()], name="base"
    )

    def behind(x):
        x = base(layers.RandomFlip()(x))  # keras-team/keras#16085, keras-team/keras-io#2385
        if hp.Boolean("normalised"):
            x = layers.BatchNormalization()(x)
        for number in range(hp.Int("depth", 1, 2)):
            with hp.conditional_scope("depth", list(range(number + 1, 3))):  # keras-team/keras-tuner#614
                x = layers.Dense(hp.Int(f"units_{number}", 4, 8))(x)
        return layers.Dropout(0.5)(x, training=True)  # keras-team/keras#9412

    return network(images, behind, spec, name="my-model.v1")


def test_what_failed_elsewhere_and_has_a_meaning_works(make_task, store, tmp_path):
    stage = {"frozen_through": "base"}  # keras-team/keras-io#2385
    rate = {"min_value": 1e-4, "max_value": 1e-1, "step": 10, "sampling": "log"}  # keras-team/keras-tuner#716
    best = {"width": 8, "normalised": True, "depth": 1, "units_0": 4, "learning_rate": 1e-3}
    experiment = dataclasses.replace(
        TINY,
        build=everything_at_once,
        recipe=recipe_of(lambda hp: hp.Float("learning_rate", **rate), stage, steps_per_execution=100),
        best=best,
    )
    task = replace_best_values(make_task(experiment), ["normalised=false", "learning_rate=0.01"])
    assert task.experiment.best == best | {"normalised": False, "learning_rate": 0.01}
    rehearse_one(task, tmp_path)
    assert list(tmp_path.rglob("rehearsed"))


def compiled_as_in_tutorials(hp, spec):
    model = keras.Sequential(
        [keras.Input(spec.shape, dtype="uint8"), layers.Flatten(), layers.Dense(spec.classes, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])  # keras-team/keras-tuner#202
    return model


def test_a_small_space_with_a_point_that_diverges_is_searched_once(make_task, store):
    """Reports keras-tuner#237 (an exhausted space), #227 (points repeated), #356 and #509 (NaN among the best)."""
    recipe = recipe_of(lambda hp: hp.Choice("learning_rate", [1e-4, 1e30, 2e-4]), {"max_epochs": 1})
    small = dataclasses.replace(TINY, build=compiled_as_in_tutorials, recipe=recipe, best={"learning_rate": 1e-4})
    task, settings = make_task(small), Settings(max_trials=9, tuner="bayesian")
    identity = fingerprint.take(task, settings.deciding, tracking.address())
    with open_journal(Path("searches"), "tiny", identity) as journal, tracking.run("search", {"role": "search"}):
        found = search(task, journal, settings)
    statuses = dict(zip(found.trials["learning_rate"], found.trials["status"], strict=True))
    assert statuses == {1e-4: "completed", 1e30: "failed", 2e-4: "completed"} and len(found.trials) == 3
    assert found.values["learning_rate"] < 1


def as_deep_as_asked(hp, spec):
    """Keras Tuner's own guide: each layer has a hyperparameter, which only networks of that depth declare."""
    images = keras.Input(spec.shape, dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(images))
    for number in range(hp.Int("depth", 1, 3)):
        x = layers.Dense(hp.Int(f"units_{number}", 4, 16), activation="relu")(x)
    return keras.Model(images, layers.Dense(spec.classes, activation="softmax")(x))


def test_hyperparameters_that_only_deeper_networks_declare_are_searched_and_recorded(make_task, store, monkeypatch):
    """Report keras-io#1116."""
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    best = {"depth": 1, "units_0": 8, "learning_rate": 1e-3}
    task = make_task(
        dataclasses.replace(TINY, build=as_deep_as_asked, recipe=recipe_of(stage={"max_epochs": 1}), best=best)
    )
    settings = Settings(max_trials=7, tuner="random", deterministic=True)
    identity = fingerprint.take(task, settings.deciding, tracking.address())
    with open_journal(Path("searches"), "tiny", identity) as journal, tracking.run("search", {"role": "search"}):
        trials = search(task, journal, settings).trials
    deep = trials[trials["depth"] == 3]
    assert len(deep) and deep[["units_0", "units_1", "units_2"]].notna().all(axis=None)
    assert len(set(trials["units_1"].dropna())) > 1


@pytest.mark.parametrize("end", ["EXPERIMENTS = [TINY]", "raise OSError"])
def test_mlflow_settings_in_an_experiments_file_do_not_move_the_store(end, tmp_path, monkeypatch, process_kept):
    (tmp_path / "own.py").write_text(
        f"import mlflow\nmlflow.set_tracking_uri('sqlite:///elsewhere.db')\nfrom conftest import TINY\n{end}\n"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    said = "MLflow's settings are ignored; MLFLOW_TRACKING_URI names the store"
    with pytest.warns(UserWarning, match=said), contextlib.suppress(UserError):
        find("*", tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///here.db"


@pytest.mark.parametrize("names", [("Tiny", "tiny"), ("tiny-synthetic",)])
def test_names_that_share_a_folder_or_a_model_are_refused(names, tmp_path):
    listed = ", ".join(f"dataclasses.replace(TINY, name={name!r})" for name in names)
    (tmp_path / "own.py").write_text(f"import dataclasses\nfrom conftest import TINY\nEXPERIMENTS = [{listed}]\n")
    with pytest.raises(UserError, match="is taken; choose another one|a name that does not end in -synthetic"):
        find("*", tmp_path)


def test_numpy_numbers_among_best_values_are_plain_numbers():
    best = dataclasses.replace(TINY, best={"width": np.int64(8), "learning_rate": np.float32(0.5)}).best
    assert best == {"width": 8, "learning_rate": 0.5} and type(best["width"]) is int


@pytest.mark.parametrize(
    "names",
    [
        ["Ba$$in", "US$ 5", "$\\foo$", "{a}^2_b%"],  # matplotlib/matplotlib#20266, telperion/nine-or-null#14
        ["", "two\nlines", "_hidden", "عربي"],  # mlflow/mlflow#17164, matplotlib/matplotlib#14269
        ["a class with a very long name " * 9, "x"],  # reiinakano/scikit-plot#37
        ["only"],
    ],
    ids=["signs of formulas", "odd characters", "long", "a single class"],
)
def test_class_names_that_broke_plots_elsewhere_are_drawn(names, rng):
    labels = rng.integers(len(names), size=40)
    probabilities = rng.dirichlet(np.ones(len(names)), 40).astype(np.float16)
    images, predictions = rng.integers(255, size=(40, 8, 8, 1), dtype=np.uint8), probabilities.argmax(axis=1)
    table = evaluation.per_class(labels, predictions, names, None)
    assert list(table["class"]) == names
    for figure in (
        plots.per_class_bars(table, "title"),
        plots.confusion_matrix(labels, predictions, names, None, "title"),
        plots.examples(images, labels, probabilities, names, "title"),
    ):
        file = io.BytesIO()
        figure.savefig(file, dpi=20)
        assert file.getvalue().startswith(b"\x89PNG")


def test_the_table_of_cases_names_tests_that_exist():
    tests = Path(__file__).parent
    named = re.findall(
        r"`(test_\w+\.py)(?:::(test_\w+))?`|`(test_\w+)`", (tests / "cases.md").read_text(encoding="utf-8")
    )
    assert len(named) > 100
    for file, of_file, here in named:
        code = (tests / (file or "test_cases.py")).read_text(encoding="utf-8")
        assert not (of_file or here) or f"def {of_file or here}(" in code, file + of_file + here
