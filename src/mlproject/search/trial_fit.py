"""The fit of one trial: a final fit, shortened, with the scores of its validation images in the trial's record."""

from typing import Any

import keras
import numpy as np

from mlproject import budget, evaluation, tracking
from mlproject.budget import Plan
from mlproject.networks.cost import Throughput
from mlproject.objectives import OBJECTIVES
from mlproject.recipe import Recipe
from mlproject.search.journal import LOSSES, PREDICTIONS, Trial, pack
from mlproject.search.over_limit import mark_over_limit
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.fit import FitHooks, FitResult, fit
from mlproject.training.prediction import milliseconds_per_image
from mlproject.training.schedule import StageSchedule, plan_stages, schedule_params, shorten

MIN_EPOCHS = 2  # of all stages together, so that a trial has a learning curve


def fit_trial(
    task: Task, plan: Plan, throughput: Throughput, settings: Settings, record: Trial, hooks: FitHooks
) -> None:
    """Train and log one trial into the active run, from fresh weights, so that its learning rate always comes down to 0.

    A trial whose network is beyond a limit is not trained.

    Args:
        task: the experiment with its data.
        plan: how the budget is spent.
        throughput: how fast the best-known network trains.
        settings: what the search optimises, and the limits.
        record: gives the values and the planned seconds, and takes status, cost, scores and predictions.
        hooks: what the search follows and limits.
    """
    rung = round(record.planned_seconds / plan.trial_seconds, 4)
    tracking.log_params(record.values | {"seed": task.seed, "rung": rung})
    if mark_over_limit(record, settings.limits):  # before a network is built that may not even fit into memory
        tracking.log_metrics({"parameters": record.parameters})
        return
    model, recipe = task.network(record.values)
    record.parameters = model.count_params()
    record.ms_per_image = milliseconds_per_image(model, task.data.train_images)
    tracking.log_metrics({"parameters": record.parameters, "ms_per_image": record.ms_per_image})
    if mark_over_limit(record, settings.limits):
        return
    recipe, schedule, rows = _shorten(task, plan, throughput, model, recipe, record.planned_seconds)
    peaks = {f"{stage.name}_peak_rate": stage.learning_rate for stage in recipe.stages}
    tracking.log_params(schedule_params(schedule) | peaks | {"training_images": len(rows)})
    result = fit(model, recipe, schedule, task.fit_data(rows, task.validation), hooks)
    _log_result(task, result)
    _score(task, settings.objective, record, result)
    if result.stopped_early:
        epochs = sum(length.epochs for length in schedule.values())
        record.status = "pruned"
        place = f"epoch {len(result.history)} of {epochs} ({100 * record.share_done:.0f} % of its steps)"
        record.reason = f"after {place}: {record.reason}"
        tracking.set_tags({"pruned": record.reason})


def _shorten(
    task: Task, plan: Plan, throughput: Throughput, model: keras.Model, recipe: Recipe, planned_seconds: float
) -> tuple[Recipe, dict[str, StageSchedule], np.ndarray]:
    """Recipe, schedule and training images of a trial, which sees a share of the images that the final fit sees.

    They are drawn from the square root of that share of all images. This is half-way between the final fit in miniature,
    with as many passes over few images (Klein et al., arXiv 1605.07079), and few passes over all images; it ranks
    hyperparameters best (measured in bench/README.md, "How short trials rank"). All networks get the same share, also
    those whose `max_epochs` end the final fit early: more images would favour them.
    """
    rows = len(task.train)
    speeds = throughput.speeds_of(model, recipe)
    final = plan_stages(recipe, speeds, plan.final_fit, rows)
    share = budget.TRIAL_TRAINING_SHARE * planned_seconds / plan.final_fit
    recipe, schedule = shorten(recipe, final, share, MIN_EPOCHS)
    images = max(share**0.5, min(recipe.batch_size / rows, 1.0))  # one batch at least
    return recipe, schedule, task.data.sample(task.train, images, task.seed)


def _score(task: Task, objective: str, record: Trial, result: FitResult) -> None:
    """Fill the record with what the trained network predicts for the validation images."""
    labels = task.data.train_labels[task.validation]
    probabilities = result.validation_probabilities
    assert probabilities is not None
    record.predictions = pack(probabilities.argmax(axis=1), PREDICTIONS)
    if objective == "val_loss":
        record.losses = pack(evaluation.image_losses(labels, probabilities), LOSSES)
    for name in OBJECTIVES:
        setattr(record, name, float(result.history[name].iloc[-1]))
    record.status = "truncated" if result.truncated else "completed"


def _log_result(task: Task, result: FitResult) -> None:
    history = result.history
    metrics = {
        "best_val_accuracy": history["val_accuracy"].max(),
        "train_seconds": history["seconds"].sum(),
    }
    for stage, rows in history.groupby("stage", sort=False):
        metrics[f"{stage}_val_accuracy"] = rows["val_accuracy"].iloc[-1]
        metrics[f"{stage}_images_per_second"] = result.images_per_second[str(stage)]
    tracking.log_metrics(metrics)
    assert result.validation_probabilities is not None
    tracking.log_arrays(
        "evaluation/validation.npz",
        rows=task.validation,
        labels=task.data.train_labels[task.validation],
        predictions=result.validation_probabilities.argmax(axis=1),
    )


def log_epoch(epoch: int, row: dict[str, Any]) -> None:
    """Log a row of a fit's history as metrics of the active run, at the step `epoch`."""
    tracking.log_metrics({name: value for name, value in row.items() if name not in ("epoch", "stage")}, step=epoch)
