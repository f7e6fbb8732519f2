"""The final model: the winner refitted on all training images, evaluated once on the test set, registered."""

import contextlib
import dataclasses
import os
import platform
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mlproject import evaluation, explain, plots, pretrained, tracking
from mlproject.batches import PREDICTED_AT_ONCE
from mlproject.datasets import Dataset
from mlproject.errors import first_line
from mlproject.journal import Journal
from mlproject.recipe import Length, Recipe, lengths
from mlproject.search import Found, log_epoch, plan_params
from mlproject.tasks import Task, hyperparameters, searched
from mlproject.training import Checkpoint, fit

LOGGING_SECONDS = 12  # plots, tables and the model itself
RIGHT_IMAGES = 3  # of each class, kept beside all the wrong ones
SAFETY = 0.95  # speeds are measured within some 5 %


@dataclass(frozen=True)
class Final:
    """A registered final model, as the summary of a command shows it."""

    name: str
    version: int
    run_id: str
    alias: str
    val_accuracy: float
    test_accuracy: float
    low: float
    high: float


def make(task: Task, found: Found, journal: Journal, seconds: float, settings: Mapping[str, object]) -> Final:
    """Refit the winner so as to be done in `seconds`, evaluate it, log all of it, register it.

    `settings` of the command are logged as parameters beside the winner's. After an interruption the same run goes on, the fit
    from its last checkpoint; everything else is done again, which changes nothing that was done already.
    """
    experiment, data = task.experiment, task.data
    name = task.model_name
    tags = {"role": "final", "experiment": experiment.name, "data": task.kind, "search": journal.search}
    with tracking.run("final", tags, nested=True, resume=tracking.find_run(journal.search, "final")) as run_id:
        tracking.log_params(settings)
        tracking.log_json("environment.json", _environment())
        model, recipe = task.network(found.values)
        history, speeds = _refit(task, model, recipe, found, journal, seconds)
        probabilities, features, speeds["prediction"] = _predict(model, data.test_images)
        metrics = evaluation.summary(data.test_labels, probabilities) | {
            "val_accuracy": found.val_accuracy,
            "search_seconds": found.seconds,
            "train_seconds": history["seconds"].sum(),
            "parameters": model.count_params(),
            "images_per_second": speeds[recipe.stages[-1].name],
            "prediction_images_per_second": speeds["prediction"],
        }
        tracking.log_metrics(metrics | _generalised(task, probabilities))
        _log_tables(task, found, history, probabilities)
        _log_features(features, data)
        _log_images(data, probabilities)
        _log_plots(task, history, probabilities)
        version = tracking.register(model, name, data.class_names, data.test_images[:2], _tags(task))
    alias = tracking.promote(name, version)
    low, high = evaluation.interval(probabilities.argmax(axis=1) == data.test_labels)
    return Final(name, version, run_id, alias, found.val_accuracy, metrics["test_accuracy"], low, high)


def weights_params(task: Task) -> dict[str, str]:
    """Which pretrained weights an experiment with a pretrained base starts from, as parameters."""
    if not task.experiment.pretrained:
        return {}
    path = task.spec.weights
    return {"weights": path.name, "weights_digest": pretrained.digest(path)} if path else {"weights": "none"}


def log_inputs(data: Dataset) -> None:
    """Log the training and the test set as inputs of the active run."""
    name = f"{data.name}-{data.labels}"
    tracking.log_dataset(f"{name}-train", data.digest, data.source, data.train_images, data.train_labels, "training")
    tracking.log_dataset(f"{name}-test", data.test_digest, data.source, data.test_images, data.test_labels, "testing")


def _refit(
    task: Task, model: keras.Model, recipe: Recipe, found: Found, journal: Journal, seconds: float
) -> tuple[pd.DataFrame, dict[str, float]]:
    rows = np.arange(len(task.data.train_images))
    if journal.plan is None:
        # The test images are predicted at the end of every stage.
        reserve = LOGGING_SECONDS + len(recipe.stages) * len(task.data.test_images) / found.speeds["prediction"]
        plan = lengths(recipe, found.speeds, SAFETY * (seconds - reserve), len(rows))
        journal.plan = {stage: dataclasses.asdict(length) for stage, length in plan.items()}
        journal.save()
    plan = {stage: Length(**length) for stage, length in journal.plan.items()}
    tracking.log_params(found.values | {"seed": task.seed} | plan_params(plan) | weights_params(task))
    log_inputs(task.data)
    planned = ", ".join(f"{stage} {length.epochs} epochs of {length.steps} batches" for stage, length in plan.items())
    print(f"  final fit on training and validation images: {planned}", flush=True)

    def keep_predictions(stage: str):
        if stage != recipe.stages[-1].name:
            _log_predictions(f"evaluation/stages/{stage}.npz", task.data, _predict(model, task.data.test_images)[0])

    result = fit(
        model,
        recipe,
        plan,
        task.data,
        rows,
        None,
        features=task.features,
        seed=task.seed,
        on_epoch=log_epoch,
        on_stage=keep_predictions,
        on_hang=tracking.ender(),
        checkpoint=Checkpoint(journal.checkpoint),
    )
    return result.history, result.speeds


def _predict(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Probabilities float16 (n, classes), the features (n, ...) that the last weights make them of, images per second."""
    last = [layer for layer in model.layers if layer.weights][-1]
    # A model within the model has an `input` of its own; this is what it is given here.
    both = keras.Model(model.input, [model.output, keras.Operation.input.fget(last)])
    # The first batch traces the graph.
    both.predict(images[:PREDICTED_AT_ONCE], batch_size=PREDICTED_AT_ONCE, verbose=0)
    began = time.monotonic()
    probabilities, features = both.predict(images, batch_size=PREDICTED_AT_ONCE, verbose=0)
    speed = len(images) / (time.monotonic() - began)
    # Rounded as they are stored, so that every figure drawn from the artifact later is the same to the last image.
    return probabilities.astype(np.float16), features, speed


def _log_predictions(path: str, data: Dataset, probabilities: np.ndarray) -> None:
    tracking.log_arrays(path, labels=data.test_labels, probabilities=probabilities)


def _log_features(features: np.ndarray, data: Dataset) -> None:
    centroids = evaluation.centroids(features, data.test_labels, len(data.class_names))
    tracking.log_arrays("evaluation/features.npz", centroids=centroids)


def _log_images(data: Dataset, probabilities: np.ndarray) -> None:
    """The images that a report can need: those the model got wrong, and the first few of each class that it got right."""
    right = probabilities.argmax(axis=1) == data.test_labels
    first = [
        np.flatnonzero(right & (data.test_labels == label))[:RIGHT_IMAGES] for label in np.unique(data.test_labels)
    ]
    rows = np.sort(np.concatenate([np.flatnonzero(~right), *first])).astype(np.int32)
    tracking.log_arrays("evaluation/images.npz", rows=rows, images=data.test_images[rows])


def _environment() -> dict[str, object]:
    """The versions and the machine that made the model."""
    packages = ("keras", "keras-tuner", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "tensorflow")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        # Two processors of one name can differ in speed by what they have of these.
        "vector instructions": ", ".join(np.show_config("dicts")["SIMD Extensions"]["found"]),
        "packages": {package: installed(package) for package in packages},
    }


def _cpu() -> str:
    """What the processor calls itself, which Python does not tell on Linux."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return platform.processor()


def _generalised(task: Task, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy on the superclasses, for a model of fine classes."""
    superclass_of = task.data.superclass_of
    if superclass_of is None:
        return {}
    truth = superclass_of[task.data.test_labels]
    return {
        "test_coarse_accuracy_argmax": np.mean(evaluation.generalise_argmax(probabilities, superclass_of) == truth),
        "test_coarse_accuracy_sum": np.mean(
            evaluation.generalise_sum(probabilities, superclass_of).argmax(axis=1) == truth
        ),
    }


def _log_tables(task: Task, found: Found, history: pd.DataFrame, probabilities: np.ndarray) -> None:
    data = task.data
    per_class = evaluation.per_class(
        data.test_labels, probabilities.argmax(axis=1), data.class_names, data.superclasses
    )
    try:
        ranges = searched(task)
    except Exception:  # the best-known network, built once more, is no reason to lose a fit
        ranges = {}
    values = [
        {"hyperparameter": name, "best_known": task.experiment.best.get(name, ""), "winner": value}
        | ranges.get(name, {"searched": "", "sampling": ""})
        for name, value in found.values.items()
    ]
    _log_predictions("evaluation/predictions.npz", data, probabilities)
    for path, table in {
        "evaluation/per_class.csv": per_class,
        "evaluation/history.csv": history,
        "search/trials.csv": found.trials,
        "search/values.csv": pd.DataFrame(values, dtype=object),  # 2 layers, not 2.0
    }.items():
        tracking.log_table(table, path)
    _log_layers(task, found)


def _log_layers(task: Task, found: Found) -> None:
    try:
        layers = explain.layer_table(lambda spec: task.experiment.build(hyperparameters(found.values), spec), task.spec)
    except Exception as error:  # a network for these colours or classes alone is no reason to lose its fit
        warnings.warn(f"its layers are not explained: {first_line(error)}", stacklevel=2)
    else:
        tracking.log_table(layers, "explain/layers.csv")


def _log_plots(task: Task, history: pd.DataFrame, probabilities: np.ndarray) -> None:
    data, predictions = task.data, probabilities.argmax(axis=1)
    superclasses = data.superclasses
    per_class = evaluation.per_class(data.test_labels, predictions, data.class_names, superclasses)
    for path, figure in {
        "plots/learning_curves.png": plots.learning_curves(history, task.title),
        "plots/per_class.png": plots.per_class_bars(per_class, task.title),
        "plots/confusion.png": plots.confusion_matrix(
            data.test_labels, predictions, data.class_names, superclasses, task.title
        ),
        "plots/examples.png": plots.examples(
            data.test_images, data.test_labels, probabilities, data.class_names, task.title
        ),
    }.items():
        tracking.log_figure(figure, path)


def _tags(task: Task) -> dict[str, str]:
    experiment, data = task.experiment, task.data
    return {
        "experiment": experiment.name,
        "comparison": experiment.comparison,
        "question": experiment.question,
        "dataset": experiment.dataset,
        "labels": experiment.labels,
        "data": task.kind,
        "dataset.digest": data.digest,
        "test.digest": data.test_digest,
        "git.commit": tracking.commit(),
        "seed": str(task.seed),
    }
