"""The fit of one trial: a final fit, shortened, with the scores of its validation images in the trial's record."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from mlproject import budget, evaluation, tracking
from mlproject.budget import Plan
from mlproject.datasets.folds import out_of_fold
from mlproject.networks.cost import Throughput
from mlproject.objectives import OBJECTIVES
from mlproject.recipe import Recipe
from mlproject.search.fold_metrics import log_fold_epoch, log_kept_epochs, mean_history
from mlproject.search.journal import LOSSES, PREDICTIONS, Trial, pack
from mlproject.search.over_limit import mark_over_limit
from mlproject.search.pruning import Curve, why_hopeless
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.fit import FitResult, fit
from mlproject.training.kept_fits import KeptFits
from mlproject.training.monitor import FitHooks
from mlproject.training.prediction import milliseconds_per_image
from mlproject.training.retraining import Retraining
from mlproject.training.schedule import Schedule, StageSchedule, plan_stages, schedule_params, shorten

MIN_EPOCHS = 2  # of all stages together, so that a trial has a learning curve


def fit_trial(
    task: Task,
    plan: Plan,
    throughput: Throughput,
    settings: Settings,
    record: Trial,
    hooks: FitHooks,
    kept: KeptFits,
) -> None:
    """Train and log one trial into the active run, from fresh weights, so that its learning rate always comes down to 0.

    With cross-validation this is one fit after another, each on the other folds. The run's metrics then are the means over the
    folds, by epoch, and those of each fold as `fold_1_val_accuracy` and so on. A trial whose network is beyond a limit is not
    trained.

    Args:
        task: the experiment with its data.
        plan: how the budget is spent.
        throughput: how fast the best-known network trains.
        settings: what the search optimises, and the limits.
        record: gives the values and the planned seconds, and takes status, cost, scores and predictions.
        hooks: what the search follows and limits.
        kept: the fits that an interrupted process finished; takes the others.
    """
    rung = round(record.planned_seconds / plan.trial_seconds, 4)
    tracking.log_params(record.values | {"seed": task.seed, "rung": rung})
    network = _network_within_limits(task, settings, record)
    if network is None:
        return
    model, recipe = network
    recipe, schedule, share = _shorten_fit(task, plan, throughput, model, recipe, record.planned_seconds)
    peak_rates = {f"{stage.name}_peak_rate": stage.learning_rate for stage in recipe.stages}
    image_count = len(task.data.sample(task.train, share, task.seed))
    tracking.log_params(schedule_params(schedule) | peak_rates | {"training_images": image_count})
    if task.folds:
        log_kept_epochs(kept.results)
        hooks = replace(hooks, retraining=Retraining(model))
    planned_seconds = record.planned_seconds / plan.fits
    for number, fold in enumerate(task.fits[len(kept.results) :], len(kept.results) + 1):
        data = task.fit_data(task.data.sample(fold.train, share, task.seed), fold.validation)
        result = fit(model, recipe, schedule, data, _fold_hooks(task, hooks, number, planned_seconds))
        if result.stopped_early:
            kept.results.append(result)  # not for another process, to which it would look like a whole fit
            break
        kept.add(result)
    _log_result(task, kept.results)
    _score(task, settings.objective, record, kept.results)
    _mark_end(record, kept.results, schedule)


def _network_within_limits(task: Task, settings: Settings, record: Trial) -> tuple[keras.Model, Recipe] | None:
    """The network and its recipe, with its cost in the record; None if it is beyond a limit."""
    if mark_over_limit(record, settings.limits):  # before a network is built that may not even fit into memory
        tracking.log_metrics({"parameters": record.parameters})
        return None
    model, recipe = task.network(record.values)
    record.parameters = model.count_params()
    record.ms_per_image = milliseconds_per_image(model, task.data.train_images)
    tracking.log_metrics({"parameters": record.parameters, "ms_per_image": record.ms_per_image})
    return None if mark_over_limit(record, settings.limits) else (model, recipe)


def _fold_hooks(task: Task, hooks: FitHooks, fit_number: int, planned_seconds: float) -> FitHooks:
    """The hooks for one of a trial's fits, which leaves the later ones as many seconds as are planned for them.

    The first fit takes longest, because TensorFlow traces the network in it. Where not even the planned seconds are left, the
    fits share what is left equally.
    """
    if not task.folds:
        return hooks
    now, later_fits = time.monotonic(), len(task.folds) - fit_number
    deadline = max(hooks.deadline - later_fits * planned_seconds, now + (hooks.deadline - now) / (later_fits + 1))

    def stop_early(share: float, row: dict[str, Any]) -> bool:
        return hooks.stop_early((fit_number - 1 + share) / len(task.folds), row)

    title = f"{hooks.title}, fit {fit_number}/{len(task.folds)}"
    return replace(
        hooks, on_epoch=partial(log_fold_epoch, fit_number), stop_early=stop_early, deadline=deadline, title=title
    )


def _mark_end(record: Trial, results: Sequence[FitResult], schedule: Schedule) -> None:
    """Set the trial's status, when all else is logged and recorded: a trial with a status is not trained again."""
    if not results[-1].stopped_early:
        record.status = "truncated" if any(result.truncated for result in results) else "completed"
        return
    epoch, epochs = len(results[-1].history), sum(length.epochs for length in schedule.values())
    share = f"{100 * record.curve[-1][0]:.0f} % of its steps"
    record.reason = f"after epoch {epoch} of {epochs} ({share}): {record.reason}"
    record.status = "pruned"


def _shorten_fit(
    task: Task, plan: Plan, throughput: Throughput, model: keras.Model, recipe: Recipe, planned_seconds: float
) -> tuple[Recipe, dict[str, StageSchedule], float]:
    """Recipe, schedule and share of the training images of a trial's fit, which sees a share of the final fit's images.

    They are drawn from the square root of that share of all images. This is half-way between the final fit in miniature,
    with as many passes over few images (Klein et al., arXiv 1605.07079), and few passes over all images; it ranks
    hyperparameters best (measured in bench/README.md, "How short trials rank"). All networks get the same share, also
    those whose `max_epochs` end the final fit early: more images would favour them.
    """
    row_count = len(task.train)
    speeds = throughput.speeds_of(model, recipe)
    final_fit = plan.final_speed * plan.final_fit
    final_schedule = plan_stages(recipe, speeds, final_fit, row_count)
    training_seconds = budget.TRIAL_TRAINING_SHARE * throughput.worker * planned_seconds / plan.fits
    share = min(training_seconds / final_fit, 1.0)  # many seeds make final fits shorter than trials
    final_recipe = replace(recipe, batch_size=min(recipe.batch_size, row_count))  # few images make smaller batches
    recipe, schedule = shorten(final_recipe, final_schedule, share, MIN_EPOCHS)
    return recipe, schedule, min(max(share**0.5, recipe.batch_size / row_count), 1.0)  # one batch of images at least


def _score(task: Task, objective: str, record: Trial, results: Sequence[FitResult]) -> None:
    """Fill the record with the mean scores of the fits, and with what they predict for the images that they held out."""
    for name in OBJECTIVES:
        setattr(record, name, float(np.mean(_last(results, name))))
    if results[-1].stopped_early and task.folds:
        return  # most images were not predicted
    labels, probabilities = task.data.train_labels[task.validated_rows], _predictions(task, results)
    record.predictions = pack(probabilities.argmax(axis=1), PREDICTIONS)
    if objective == "val_loss":
        record.losses = pack(evaluation.image_losses(labels, probabilities), LOSSES)
    if task.folds:
        ratio = len(task.validation) / len(task.train)
        record.fold_error = evaluation.nadeau_bengio_error(_last(results, objective), ratio)


def _last(results: Sequence[FitResult], name: str) -> list[float]:
    """A score of each fit after its last epoch."""
    return [float(result.history[name].iloc[-1]) for result in results]


def _predictions(task: Task, results: Sequence[FitResult]) -> np.ndarray:
    """The probabilities for the rows `task.validated_rows`, (rows, classes); the mean over repeats of a cross-validation."""
    fold_probabilities = [
        result.validation_probabilities for result in results if result.validation_probabilities is not None
    ]
    probabilities: np.ndarray = out_of_fold(task.fits, fold_probabilities, len(task.data.train_labels))[
        task.validated_rows
    ]
    return probabilities


def _log_result(task: Task, results: Sequence[FitResult]) -> None:
    """Log what is known after the last epoch, and with folds the mean over them of each epoch."""
    history = mean_history(results)
    metrics = {
        "best_val_accuracy": history["val_accuracy"].max(),
        "train_seconds": sum(result.history["seconds"].sum() for result in results),
    }
    for stage, rows in history.groupby("stage", sort=False):
        metrics[f"{stage}_val_accuracy"] = rows["val_accuracy"].iloc[-1]
        # A fit that was pruned or met the deadline has no speed of the stages that it did not reach.
        speeds = [result.images_per_second[str(stage)] for result in results if stage in result.images_per_second]
        metrics[f"{stage}_images_per_second"] = np.mean(speeds)
    tracking.log_metrics(metrics)
    if task.folds:
        for row in history.to_dict("records"):
            log_epoch(row["epoch"], {str(name): value for name, value in row.items()})
    if len(results) < len(task.fits):
        return  # pruned
    tracking.log_arrays(
        "evaluation/validation.npz",
        rows=task.validated_rows,
        labels=task.data.train_labels[task.validated_rows],
        predictions=_predictions(task, results).argmax(axis=1),
    )


def pruning_hook(
    record: Trial, objective: str, other_curves: Callable[[], Sequence[Curve]], is_prunable: bool
) -> Callable[[float, dict[str, Any]], bool]:
    """What to do after each epoch of a trial: keep its curve, and say whether it is hopeless.

    Args:
        record: the trial, which takes the curve and the reason.
        objective: what the search optimises.
        other_curves: gives the curves of finished trials that were planned to take as long. It is called after every epoch.
        is_prunable: whether the trial ends early when it is hopeless.

    Returns:
        A function for `FitHooks.stop_early`.
    """

    def stop_early(share: float, row: dict[str, Any]) -> bool:
        record.curve.append([share, row[objective]])
        curves = other_curves()
        record.reason = why_hopeless(record.curve, curves, OBJECTIVES[objective]) if is_prunable else ""
        return bool(record.reason)

    return stop_early


def log_epoch(epoch: int, row: dict[str, Any]) -> None:
    """Log a row of a fit's history as metrics of the active run, at the step `epoch`."""
    tracking.log_metrics({name: value for name, value in row.items() if name not in ("epoch", "stage")}, step=epoch)
