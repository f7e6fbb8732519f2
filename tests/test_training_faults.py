"""Faults of training that end the process, or that make all trials fail, tested with real commands."""

import subprocess
import sys

import mlflow
import pytest
from conftest import PROJECT, all_runs

HANG = """
import sys, time
sys.path.insert(0, sys.argv[1])
import keras, tensorflow as tf
from conftest import TINY
from mlproject import datasets, tracking
from mlproject.datasets import FashionMNIST
from mlproject.recipe import Recipe, Stage
from mlproject.training import fit as fits
from mlproject.training.features import FeatureCache
from mlproject.training.fit_data import FitData
from mlproject.training.schedule import StageSchedule

fits.STALL_SECONDS = 8
data = FashionMNIST().load("flat", "synthetic")
train, validation = data.split(0)
images = keras.Input((28, 28, 1), dtype="uint8")

def hang(x):
    return tf.ensure_shape(tf.py_function(lambda x: time.sleep(999) or x, [x], tf.float32), (None, 784))

x = keras.layers.Lambda(hang)(keras.layers.Flatten()(keras.layers.Rescaling(1.0)(images)))
model = keras.Model(images, keras.layers.Dense(10, activation="softmax")(x))
tracking.use_comparison(tracking.connect(), "tests")
with tracking.run("trial-01", {}):
    recipe = Recipe((Stage("training", 0.1),), 64)
    fit_data = FitData(data, train, None, FeatureCache("features", data), 0)
    hooks = fits.FitHooks(on_hang=tracking.failure_callback())
    fits.fit(model, recipe, {"training": StageSchedule(2, 2)}, fit_data, hooks)
"""


@pytest.mark.slow
def test_an_operation_that_hangs_ends_the_process_and_its_run(tmp_path, new_store, monkeypatch):
    uri = new_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    arguments = [sys.executable, "-c", HANG, str(PROJECT / "tests")]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1, done.stderr
    assert "error: no batch was finished for 8 seconds" in done.stderr and "the same command goes on" in done.stderr
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert run.info.status == "FAILED" and run.data.tags["failure"] == "no batch was finished for 8 seconds"


def test_an_experiment_whose_trials_all_fail_is_told_with_the_reason_and_the_next_one_is_registered(
    run_here, tmp_path, new_store
):
    uri = new_store(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(
        f"""
import dataclasses, sys
import mlflow
sys.path.insert(0, {str(PROJECT / "tests")!r})
from conftest import TINY, tiny_build

def build(hp, spec):
    run = mlflow.active_run()
    if run and run.data.tags.get("role") == "trial":
        raise ValueError("no such network")
    return tiny_build(hp, spec)

EXPERIMENTS = [dataclasses.replace(TINY, build=build), dataclasses.replace(TINY, name="well")]
"""
    )
    done = run_here(
        "tune", "--data=synthetic", "--budget-minutes=0.03", "--max-trials=2", cwd=tmp_path, MLFLOW_TRACKING_URI=uri
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ValueError: no such network" in done.stderr and "tiny FAILED" in done.stdout
    client = mlflow.MlflowClient(uri)
    assert [model.name for model in client.search_registered_models()] == ["well-synthetic"]
    runs = all_runs(client)
    failed = [run for run in runs if run.data.tags.get("experiment") == "tiny"]
    assert sorted(run.data.tags["role"] for run in failed) == ["search", "trial", "trial"]
    assert {run.info.status for run in failed} == {"FAILED"}
    assert {run.info.status for run in runs if run not in failed} == {"FINISHED"}
