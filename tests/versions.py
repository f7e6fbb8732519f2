"""Versions in the registry: of a network that was never trained, or without any files, where a test looks at scores alone."""

from contextlib import contextmanager

import keras
import mlflow
import numpy as np

from mlproject import tracking

CLASSES = ["<b>left</b>", "right"]
EXAMPLE = np.zeros((2, 4, 4, 1), np.uint8)
PARAMS = ("budget_minutes", "max_trials", "folds", "repeats", "objective")


def network(classes=2):
    """A network that is as good as chance."""
    images = keras.Input(EXAMPLE.shape[1:], dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, keras.layers.Dense(classes, activation="softmax")(x))


@contextmanager
def final_run(given):
    """A final run with these parameters and metrics, as a search with the default options logs them."""
    params = {name: value for name, value in given.items() if name in PARAMS}
    metrics = {name: value for name, value in given.items() if name not in PARAMS}
    with tracking.run("final", {"role": "final"}) as run_id:
        tracking.log_params({"budget_minutes": 15.0, "max_trials": None} | params)
        tracking.log_metrics({"val_accuracy": 0.5, "train_seconds": 60.0} | metrics)
        yield run_id


def register(name="m", digest="d", **given):
    """Register a version of the network; returns its number and the alias that the rule gives it."""
    with final_run(given):
        version = tracking.register(network(), name, CLASSES, EXAMPLE, {"experiment": name, "dataset.digest": digest})
    return version, tracking.promote(name, version)


def add_version(name="m", digest="d", **given):
    """As `register`, but nothing is saved, which takes most of the time of registering."""
    client = mlflow.MlflowClient()
    with final_run(given) as run_id:
        pass
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {"experiment": name, "dataset.digest": digest}
    version = int(client.create_model_version(name, f"runs:/{run_id}/model", run_id, tags=tags).version)
    return version, tracking.promote(name, version)
