"""The winner, cross-validated: it is trained like the final model once for each fold, and predicts the images held out."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np

from mlproject import evaluation, tracking
from mlproject.datasets.folds import fold_numbers, out_of_fold
from mlproject.recipe import Recipe
from mlproject.search.fold_metrics import log_fold_epoch, log_kept_epochs
from mlproject.search.journal import Journal
from mlproject.search.result import SearchResult
from mlproject.task import Task
from mlproject.training.checkpoint import Checkpoint
from mlproject.training.fit import FitResult, fit
from mlproject.training.kept_fits import KeptFits
from mlproject.training.monitor import FitHooks
from mlproject.training.prediction import predict
from mlproject.training.retraining import Retraining
from mlproject.training.schedule import Schedule

logger = logging.getLogger(__name__)


def cross_validate(
    task: Task, search: SearchResult, schedule: Schedule, journal: Journal, seconds: float
) -> dict[str, float]:
    """Train the winner on each fold's other images for as long as the final model, and log what it predicts.

    The active run gets the artifact `evaluation/out_of_fold.npz`: for each training image its label, the probabilities
    (float16, the mean over repeats), and for each repeat the predicted class and the fold that held the image out, from 1;
    `rows` are the rows of the training images. After an interruption, finished fits are not repeated, and the one under way
    goes on from its checkpoint.

    Args:
        task: the experiment with its data.
        search: the search's result.
        schedule: the length of each stage of the final fit.
        journal: gives the folder that keeps finished fits.
        seconds: the time for each fit, by which the user is told how many minutes are left.

    Returns:
        The metrics `cv_accuracy`, `cv_accuracy_low` and `cv_accuracy_high` (see `evaluation.cross_validated_interval`),
        `cv_balanced_accuracy` (both are means over repeats), `cv_images`, `cv_seconds` of training, and
        `fold_1_cv_accuracy` and so on for each fit; nothing without folds.
    """
    if not task.folds:
        return {}
    kept_fits = kept_folds(journal)
    log_kept_epochs(kept_fits.results)
    model, recipe = task.network(search.values)
    retraining = Retraining(model)
    for number in range(len(kept_fits.results) + 1, len(task.folds) + 1):
        place, seconds_left = task.place, (search.plan.final_fits - number + 1) * seconds
        progress = f"cross-validation of the winner: fit {number} of {len(task.folds)}"
        logger.info("  %s%s; %s", place.prefix, progress, place.time_left(seconds_left, search.plan.budget))
        checkpoint = Checkpoint(fold_checkpoint(journal, number))
        hooks = FitHooks(
            on_hang=tracking.failure_callback(),
            checkpoint=checkpoint,
            title=f"{place.prefix}cross-validation {number}/{len(task.folds)}, {place.time_left(seconds_left)}",
            retraining=retraining,
        )
        kept_fits.add(train_fold(task, number, (model, recipe), schedule, hooks))
        checkpoint.path.unlink(missing_ok=True)
    metrics = _evaluate(task, kept_fits)
    logger.info("  %s", accuracy_in_words(metrics))
    return metrics


def kept_folds(journal: Journal) -> KeptFits:
    """The finished fits of the winner's cross-validation, in the order of the folds."""
    journal.folds.mkdir(exist_ok=True)
    return KeptFits(journal.folds / "final.npz")


def fold_checkpoint(journal: Journal, number: int) -> Path:
    """The file with the state of the fit for the fold of this number, from 1."""
    return journal.folds / f"final-{number}.npz"


def train_fold(
    task: Task, number: int, network: tuple[keras.Model, Recipe], schedule: Schedule, hooks: FitHooks
) -> FitResult:
    """Train on the images outside of one fold, and predict those in it; logs each epoch.

    Args:
        task: the experiment with its data.
        number: of the fold, from 1 through all repeats.
        network: the network, which is trained in place, and its recipe.
        schedule: the length of each stage.
        hooks: what else happens on the way.

    Returns:
        The fit's result, with the predictions for the images in the fold.
    """
    model, recipe = network
    fold, hooks = task.folds[number - 1], replace(hooks, on_epoch=partial(log_fold_epoch, number))
    # Without validation, like the final fit, which would take time after every epoch.
    result = fit(model, recipe, schedule, task.fit_data(fold.train, None), hooks)
    return replace(result, validation_probabilities=predict(model, task.data.train_images[fold.validation]))


def accuracy_in_words(metrics: Mapping[str, float]) -> str:
    """The cross-validated accuracy in words; "" where the metrics have none."""
    if not metrics:
        return ""
    low, high = metrics["cv_accuracy_low"], metrics["cv_accuracy_high"]
    return f"cross-validated accuracy {metrics['cv_accuracy']:.4f} [{low:.4f}, {high:.4f}] on {metrics['cv_images']:.0f} images"


def _evaluate(task: Task, kept_fits: KeptFits) -> dict[str, float]:
    """Log the predictions for the images held out, and give the metrics."""
    labels, image_count = task.data.train_labels, len(task.data.train_labels)
    probabilities = [
        result.validation_probabilities for result in kept_fits.results if result.validation_probabilities is not None
    ]
    folds = fold_numbers(task.folds, image_count)
    predictions = np.zeros_like(folds)
    for index, (fold, fold_probabilities) in enumerate(zip(task.folds, probabilities, strict=True)):
        predictions[index * len(folds) // len(task.folds), fold.validation] = fold_probabilities.argmax(axis=1)
    tracking.log_arrays(
        "evaluation/out_of_fold.npz",
        rows=np.arange(image_count),
        labels=labels,
        probabilities=out_of_fold(task.folds, probabilities, image_count).astype(np.float16),
        predictions=predictions,
        folds=folds,
    )
    correct = predictions == labels
    low, high = evaluation.cross_validated_interval(correct, folds)
    return {
        "cv_accuracy": float(correct.mean()),
        "cv_accuracy_low": low,
        "cv_accuracy_high": high,
        "cv_balanced_accuracy": float(
            np.mean([evaluation.balanced_accuracy(labels, repeat) for repeat in predictions])
        ),
        "cv_images": image_count,
        "cv_seconds": kept_fits.seconds,
    } | {
        f"fold_{number}_cv_accuracy": float(np.mean(fold_probabilities.argmax(axis=1) == labels[fold.validation]))
        for number, (fold, fold_probabilities) in enumerate(zip(task.folds, probabilities, strict=True), 1)
    }
