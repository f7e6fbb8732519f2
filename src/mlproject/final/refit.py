"""The final model: the winner is refitted on all training images, predicts the test images, and is registered."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from mlproject import budget, evaluation, tracking
from mlproject.datasets import Dataset
from mlproject.experiment import hyperparameters
from mlproject.final.artifacts import log_artifacts, log_predictions, superclass_accuracy, version_tags
from mlproject.final.cross_validation import cross_validate, in_words
from mlproject.final.environment import describe_environment
from mlproject.networks import pretrained
from mlproject.recipe import Recipe
from mlproject.search.journal import Journal
from mlproject.search.search import SearchResult
from mlproject.search.trial_fit import log_epoch
from mlproject.task import Task
from mlproject.training.checkpoint import Checkpoint
from mlproject.training.fit import FitHooks, FitResult, fit
from mlproject.training.prediction import PREDICTION_BATCH, predict
from mlproject.training.schedule import StageSchedule, describe_schedule, plan_stages, schedule_params

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegisteredModel:
    """A registered final model, as the summary of a command shows it.

    Attributes:
        name: the registered name.
        version: the registered version.
        run_id: the MLflow run that made it.
        alias: "champion", "challenger" or "".
        val_accuracy: the accuracy of the winner's trial on the validation images.
        test_accuracy: the accuracy of the final model on the test images.
        low, high: the 95 % interval of the test accuracy.
        cross_validated: the cross-validated accuracy in words, "" without folds.
    """

    name: str
    version: int
    run_id: str
    alias: str
    val_accuracy: float
    test_accuracy: float
    low: float
    high: float
    cross_validated: str = ""

    def __str__(self) -> str:
        alias = f" ({self.alias})" if self.alias else ""
        also = f", {self.cross_validated}" if self.cross_validated else ""
        return (
            f"{self.name} v{self.version}{alias}: test accuracy {self.test_accuracy:.4f} "
            f"[{self.low:.4f}, {self.high:.4f}]{also}, validation accuracy of its trial {self.val_accuracy:.4f}"
        )

    @property
    def uri(self) -> str:
        """The address by which MLflow loads the model."""
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"


def make_final_model(
    task: Task, found: SearchResult, journal: Journal, seconds: float, params: Mapping[str, Any]
) -> RegisteredModel:
    """Refit the winner, evaluate it on the test images, log everything and register the model.

    With cross-validation, the winner is first trained and tested on each fold, by the schedule of the final fit. After an
    interruption the same run goes on, and the fit continues from its last checkpoint. Everything else is done again, which
    changes nothing that was done already.

    Args:
        task: the experiment with its data.
        found: the search's result.
        journal: keeps the schedule and the checkpoint.
        seconds: the time for all of it.
        params: the settings of the command, which are logged as parameters.

    Returns:
        The registered model.
    """
    data, name = task.data, task.model_name
    tags = {"role": "final", "experiment": task.experiment.name, "data": task.data_kind, "search": journal.search}
    with tracking.run("final", tags, nested=True, resume=tracking.find_run(journal.search, "final")) as run_id:
        tracking.log_params(params)
        tracking.log_json("environment.json", describe_environment())
        schedule = _schedule(task, found, journal, seconds)
        cross_validated = cross_validate(task, found.values, schedule, journal)
        model, recipe = task.network(found.values)
        result = _refit(task, model, recipe, found, schedule, journal)
        probabilities, features, prediction_speed = predict_with_features(model, data.test_images)
        metrics = evaluation.summary(data.test_labels, probabilities) | superclass_accuracy(data, probabilities)
        metrics |= (
            found.scores
            | cross_validated
            | {
                "search_seconds": found.seconds,
                "train_seconds": result.history["seconds"].sum(),
                "parameters": model.count_params(),
                "images_per_second": result.images_per_second[recipe.stages[-1].name],
                "prediction_images_per_second": prediction_speed,
            }
        )
        tracking.log_metrics(metrics)
        log_artifacts(task, found, result.history, probabilities, features)
        version = tracking.register(
            model, name, data.class_names, data.test_images[:2], version_tags(task), data.preparation
        )
    alias = tracking.promote(name, version)
    low, high = evaluation.accuracy_interval(probabilities.argmax(axis=1) == data.test_labels)
    accuracies = found.scores["val_accuracy"], metrics["test_accuracy"], low, high
    return RegisteredModel(name, version, run_id, alias, *accuracies, in_words(cross_validated))


def weights_params(task: Task) -> dict[str, str]:
    """The pretrained base and its weights, as parameters: "imagenet", "none" or a file's name. None without such a base."""
    if not task.experiment.pretrained:
        return {}
    network, path = task.experiment.pretrained, task.spec.weights
    if path is None:
        return {"pretrained": network, "weights": "none"}
    of_imagenet = path.name in pretrained.imagenet_file(network, task.spec.shape[0]).names
    name = "imagenet" if of_imagenet else path.name
    return {"pretrained": network, "weights": name, "weights_digest": pretrained.digest(path)}


def log_datasets(data: Dataset) -> None:
    """Log the training and the test images as inputs of the active run."""
    name = f"{data.name}-{data.labels}"
    tracking.log_dataset(f"{name}-train", data.digest, data.source, data.train_images, data.train_labels, "training")
    tracking.log_dataset(f"{name}-test", data.test_digest, data.source, data.test_images, data.test_labels, "testing")


def _schedule(task: Task, found: SearchResult, journal: Journal, seconds: float) -> dict[str, StageSchedule]:
    """The schedule of the final fit, planned once and kept in the journal."""
    if journal.schedule is None:
        recipe = task.experiment.recipe(hyperparameters(found.values))
        speeds = found.throughput.images_per_second
        reserve = budget.reserve_seconds(
            len(recipe.stages), len(task.data.test_images), speeds["prediction"], len(task.folds), task.held_out
        )
        training_seconds = budget.FINAL_FIT_SAFETY * (seconds - reserve) / found.plan.final_fits
        planned = plan_stages(recipe, speeds, training_seconds, len(task.data.train_images))
        journal.schedule = {stage: asdict(length) for stage, length in planned.items()}
        journal.save()
    return {stage: StageSchedule(**length) for stage, length in journal.schedule.items()}


def _refit(
    task: Task,
    model: keras.Model,
    recipe: Recipe,
    found: SearchResult,
    schedule: Mapping[str, StageSchedule],
    journal: Journal,
) -> FitResult:
    """Train on all training images, those of the validation included; logs the plan and each earlier stage's predictions."""
    tracking.log_params({**found.values, "seed": task.seed, **schedule_params(schedule), **weights_params(task)})
    log_datasets(task.data)
    logger.info("  final fit on training and validation images: %s", describe_schedule(schedule))

    def keep_predictions(stage: str) -> None:
        if stage != recipe.stages[-1].name:
            probabilities, _, _ = predict_with_features(model, task.data.test_images)
            log_predictions(f"evaluation/stages/{stage}.npz", task.data, probabilities)

    hooks = FitHooks(
        on_epoch=log_epoch,
        on_stage=keep_predictions,
        on_hang=tracking.failure_callback(),
        checkpoint=Checkpoint(journal.checkpoint),
    )
    return fit(model, recipe, schedule, task.fit_data(np.arange(len(task.data.train_images)), None), hooks)


def predict_with_features(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Predict images, and keep what the predictions are made of.

    Args:
        model: the network.
        images: uint8 (n, h, w, c).

    Returns:
        Probabilities, float16 (n, classes); the features, float (n, ...), which enter the last layer with weights; and the
        speed in images per second.
    """
    last = [layer for layer in model.layers if layer.weights][-1]
    # A model within the model has an `input` of its own; what is wanted here is the tensor it is called with.
    with_features = keras.Model(model.input, [model.output, keras.Operation.input.fget(last)])
    predict(with_features, images[:PREDICTION_BATCH])  # so that tracing the graph is not timed
    began = time.monotonic()
    probabilities, features = predict(with_features, images)
    speed = len(images) / (time.monotonic() - began)
    # Rounded as they are stored, so that figures drawn from the artifact later agree with those logged now.
    return probabilities.astype(np.float16), features, speed
