"""The final model: its training images and the length of its fit; and whole commands with a user's own file."""

import dataclasses
import json
import math
import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from searches import arrays_of
from versions import register

from mlproject import evaluation
from mlproject.budget import Demand, make_plan
from mlproject.datasets import FashionMNIST
from mlproject.final import card, refit
from mlproject.final.registered import RegisteredModel
from mlproject.final.seeds import make_final_model
from mlproject.networks.cost import Throughput
from mlproject.recipe import Recipe, Stage
from mlproject.search.journal import Journal, pack
from mlproject.search.result import SearchResult
from mlproject.training import checkpoint as checkpoints


def found():
    """What a search of 113 seconds hands on, whose final fit has 100 images per second."""
    throughput = Throughput({"training": 100.0, "prediction": 500.0}, {"training": 1}, False, 0.0)
    plan = make_plan(113.0, 0.0, 100.0, 1350, Demand())
    return SearchResult(dict(TINY.best), {"val_accuracy": 0.5}, throughput, pd.DataFrame(), plan, 0.0, 0.0, 0.0)


def test_the_final_fit_has_all_training_images_and_the_seconds_that_are_left(make_task, store, monkeypatch, tmp_path):
    seen = {}

    def fit(model, recipe, schedule, fit_data, hooks):
        seen.update(schedule=schedule, fit_data=fit_data)
        raise KeyboardInterrupt

    monkeypatch.setattr(refit, "fit", fit)
    long = Recipe((Stage("training", 2e-3, max_epochs=1000),), 64, "adamw")
    task = make_task(dataclasses.replace(TINY, recipe=lambda hp: long))
    with pytest.raises(KeyboardInterrupt):
        refit.refit(task, found(), Journal(tmp_path / "journal.json", {}), 113.0, {}, registers=True)
    np.testing.assert_array_equal(seen["fit_data"].train, np.arange(1500))
    assert seen["fit_data"].validation is None
    # .95 of the 100 seconds that are left after 12 seconds for logging and 1 for predictions, at 100 images per second.
    assert 85 < seen["schedule"]["training"].total_steps * 64 / 100 <= 95


def test_a_fit_that_is_stopped_after_its_model_was_registered_is_not_trained_again(
    make_task, store, monkeypatch, tmp_path
):
    """Epochs that are trained again end in slightly other weights, which would then be evaluated as those registered."""
    task, journal = make_task(), Journal(tmp_path / "journal.json", {})
    given = task, found(), journal, 113.0, {}, True

    def stop(*scores):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 1e-9)  # so that only the first epoch is kept on the way
    with monkeypatch.context() as first, pytest.raises(KeyboardInterrupt):
        first.setattr(refit, "_log_scores", stop)
        refit.refit(*given)
    assert journal.checkpoint(0).exists() and not journal.fits
    made = refit.refit(*given)
    steps = sorted(point.step for point in mlflow.MlflowClient().get_metric_history(made.run_id, "loss"))
    assert len(steps) >= 2 and steps == list(range(1, len(steps) + 1))
    assert made.version == 1 and not journal.checkpoint(0).exists()
    registered = mlflow.keras.load_model("models:/tiny-synthetic/1")
    kept = arrays_of(made.run_id, "evaluation/predictions.npz")["probabilities"]
    np.testing.assert_allclose(registered.predict(task.data.test_images, verbose=0), kept, atol=1e-3)


class Undeclared(FashionMNIST):
    """The same images, of which nobody knows the licence."""

    licence = ""


def test_a_model_card_says_how_accurate_the_model_is_on_which_images_and_under_what_licence(make_task):
    made = RegisteredModel("tiny-synthetic", 1, "run", "champion", 0.8, 0.75, 0.7, 0.8, 1, 0.75, math.nan)
    text = card.describe_version(make_task(), made, "Bag (50 %)", 15.0, 0.5)
    images = len(make_task().data.train_labels)
    assert f"trained on {images:,} images (0.5 passes over them), tested on" in text
    assert "`mlproject predict tiny-synthetic/1 photo.jpg`" in text
    assert "`mlproject predict tiny-synthetic@champion photo.jpg`" in card.describe_model(make_task())
    assert (
        "75.00 % of the test images (95 % interval 70.00 to 80.00 %), seed 0. It was fitted with this seed alone"
        in text
    )
    assert "recalled least often on the test images: Bag (50 %)." in text and "had a budget of 15 min." in text
    assert "Images: MIT (Zalando Research" in text and "These are generated images" in text
    undeclared = make_task(dataclasses.replace(TINY, dataset=Undeclared()))
    assert "Images: not declared; whoever owns the images decides." in card.describe_version(
        undeclared, made, "", None, None
    )


def test_of_several_seeds_all_say_the_mean_with_the_interval_over_images_and_seeds(make_task, store, tmp_path, rng):
    """The command goes on after its last fit: what is known of the fits is read from the journal."""
    task, client, name = make_task(), mlflow.MlflowClient(), "tiny-synthetic"
    correct = rng.random((3, 300)) < np.array([[0.7], [0.8], [0.9]])
    version, _ = register(name)
    runs = [client.get_model_version(name, str(version)).run_id, "b" * 32, "c" * 32]
    journal = Journal(tmp_path / "journal.json", {})
    for seed, (run_id, one) in enumerate(zip(runs, correct, strict=True)):
        scores, of_seed = {"test_accuracy": float(one.mean())}, None if seed else version
        journal.fits[str(seed)] = dataclasses.asdict(refit.FinalFit(run_id, scores, pack(one, np.bool_), of_seed))
    journal.save()
    said = str(make_final_model(task, found(), Journal.read(journal.path), 113.0, {}, (0, 1, 2)))

    expected = evaluation.crossed_accuracy(correct)
    metrics = client.get_run(runs[0]).data.metrics
    logged = [metrics[f"test_accuracy_mean{end}"] for end in ("", "_low", "_high")]
    assert logged == pytest.approx(expected[:3]) and metrics["seeds"] == 3
    (model,) = mlflow.search_logged_models(filter_string=f"source_run_id = '{runs[0]}'", output_format="list")
    of_data = {metric.key: metric.dataset_name for metric in model.metrics}
    assert of_data["test_accuracy_mean_low"] == refit.test_set(task.data)[0]
    assert f": mean test accuracy of 3 seeds {expected.mean:.4f} [{expected.low:.4f}, {expected.high:.4f}], " in said
    mean, low, high, own = (f"{100 * share:.2f}" for share in (*expected[:3], correct[0].mean()))
    registered = client.get_model_version(name, str(version))
    text, tags = registered.description, registered.tags
    assert f"{mean} % of the test images (95 % interval {low} to {high} %), the mean of 3 seeds." in text
    assert f"This version is the network of seed 0, with {own} %." in text
    assert tags["seeds"] == "0,1,2" and tags["seed_runs"] == ",".join(runs)


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


@pytest.fixture
def grey(tmp_path, new_store, monkeypatch):
    """A project with this experiment alone: the address of its store. The working folder is its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "grey.py").write_text(GREY)
    return new_store(tmp_path)


@pytest.mark.slow
def test_a_network_for_grey_images_alone_is_registered_and_later_told_by_its_present_alias(run_here, tmp_path, grey):
    client = mlflow.MlflowClient(grey)

    def tune(*more):
        done = run_here(
            "tune", "--data", "synthetic", "--budget-minutes", 0.02, "--max-trials", 1, *more,
            cwd=tmp_path, MLFLOW_TRACKING_URI=grey,
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

    run_id = client.get_model_version("grey-synthetic", "2").run_id
    shutil.rmtree(client.get_run(run_id).info.artifact_uri)
    again = tune()
    assert "already complete: grey-synthetic v2 (challenger)" in again.stdout
    assert again.stderr.count("grey-synthetic v2 has lost its files") == 1 and "fresh=true trains it" in again.stderr

    done = run_here("explain", cwd=tmp_path)
    assert done.returncode == 2 and "error: experiment='grey': its layers are not explained" in done.stderr


@pytest.mark.slow
def test_the_command_the_list_and_the_report_show_the_same_accuracy_of_several_seeds(run_here, tmp_path, grey):
    words = ("tune", "--data", "synthetic", "--budget-minutes", 0.05, "--max-trials", 1, "--seeds", 2)
    first, again, listed = (
        run_here(*each, cwd=tmp_path, MLFLOW_TRACKING_URI=grey) for each in (words, words, ("list",))
    )
    assert first.returncode == again.returncode == listed.returncode == 0, first.stderr + again.stderr + listed.stderr
    (model,) = json.loads((tmp_path / "reports" / "results.json").read_text())["models"]
    accuracy = model["metrics"]["test_accuracy"]
    shown = "{mean:.4f} [{low:.4f}, {high:.4f}]".format(**accuracy)
    assert accuracy["n"] == 2 and "already complete" in again.stdout and shown in listed.stdout
    for said in (first.stdout, again.stdout):
        assert f"mean test accuracy of 2 seeds {shown}" in said and f"{shown}  2 seeds" in said
