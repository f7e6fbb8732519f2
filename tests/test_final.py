"""The final model: its training images and the length of its fit; and whole commands with a user's own file."""

import dataclasses
import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import TINY

from mlproject.budget import Demand, make_plan
from mlproject.final import refit
from mlproject.networks.cost import Throughput
from mlproject.recipe import Recipe, Stage
from mlproject.search.journal import Journal
from mlproject.search.result import SearchResult


def test_the_final_fit_has_all_training_images_and_the_seconds_that_are_left(make_task, store, monkeypatch, tmp_path):
    seen = {}

    def fit(model, recipe, schedule, fit_data, hooks):
        seen.update(schedule=schedule, fit_data=fit_data)
        raise KeyboardInterrupt

    monkeypatch.setattr(refit, "fit", fit)
    long = Recipe((Stage("training", 2e-3, max_epochs=1000),), 64, "adamw")
    task = make_task(dataclasses.replace(TINY, recipe=lambda hp: long))
    throughput = Throughput({"training": 100.0, "prediction": 500.0}, {"training": 1}, False, 0.0)
    plan = make_plan(113.0, 0.0, 100.0, 1350, Demand())
    found = SearchResult(dict(TINY.best), {"val_accuracy": 0.5}, throughput, pd.DataFrame(), plan, 0.0, 0.0, 0.0)
    with pytest.raises(KeyboardInterrupt):
        refit.refit(task, found, Journal(tmp_path / "journal.json", {}), 113.0, {}, registers=True)
    np.testing.assert_array_equal(seen["fit_data"].train, np.arange(1500))
    assert seen["fit_data"].validation is None
    # .95 of the 100 seconds that are left after 12 seconds for logging and 1 for predictions, at 100 images per second.
    assert 85 < seen["schedule"]["training"].total_steps * 64 / 100 <= 95


GREY = """
import keras
from keras import layers

from mlproject.datasets import FashionMNIST
from mlproject.experiment import Experiment
from mlproject.recipe import Recipe, Stage


def build(hp, spec):
    assert spec.shape[-1] == 1, "grey images alone"
    images, inner = keras.Input(spec.shape, dtype="uint8"), keras.Input(spec.shape)
    dense = layers.Dense(spec.classes, activation="softmax")
    whole = keras.Model(inner, dense(layers.Flatten()(inner)), name="whole")  # all weights are in a model within the model
    return keras.Model(images, whole(layers.Rescaling(1 / 255)(images)))


def recipe(hp):
    return Recipe((Stage("training", hp.Float("rate", 1e-3, 1e-2), max_epochs=2),), 64, "adamw")


EXPERIMENTS = [
    Experiment("grey", "Does grey do?", "tests", FashionMNIST(), "flat", build, recipe, {"rate": 2e-3}),
]
"""


@pytest.mark.slow
def test_a_network_for_grey_images_alone_is_registered_and_later_told_by_its_present_alias(
    run_here, tmp_path, empty_database, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "grey.py").write_text(GREY)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)

    def tune(*more):
        done = run_here(
            "tune", "--data", "synthetic", "--budget-minutes", 0.02, "--max-trials", 1, *more,
            cwd=tmp_path, MLFLOW_TRACKING_URI=uri,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def of_the_search():
        experiment = client.get_experiment_by_name("tests")
        return {run.info.run_id: run.info.status for run in client.search_runs([experiment.experiment_id])}

    first = tune()
    assert "its layers are not explained: AssertionError: grey images alone" in first.stderr
    assert "models:/grey-synthetic@champion" in first.stdout
    tune("--fresh", "true")
    accuracies = {
        int(version.version): client.get_run(version.run_id).data.metrics["trial_val_accuracy"]
        for version in client.search_model_versions("name = 'grey-synthetic'")
    }
    champion = int(client.get_registered_model("grey-synthetic").aliases["champion"])
    assert sorted(accuracies) == [1, 2] and champion == (2 if accuracies[2] > accuracies[1] else 1)

    for alias, version in (("champion", "1"), ("challenger", "2")):
        client.set_registered_model_alias("grey-synthetic", alias, version)
    before = of_the_search()
    again = tune("--precision", "float32")  # which is what "auto" stands for on a CPU
    assert "already complete: grey-synthetic v2 (challenger)" in again.stdout
    assert "models:/grey-synthetic@challenger" in again.stdout
    assert of_the_search() == before and set(before.values()) == {"FINISHED"}

    done = run_here("explain", cwd=tmp_path)
    assert done.returncode == 2 and "error: experiment='grey': its layers are not explained" in done.stderr
