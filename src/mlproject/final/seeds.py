"""The final model: the winner is refitted once for each seed, and the first seed's model is registered."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlproject import evaluation, tracking
from mlproject.cluster.pool import Pool
from mlproject.final import card
from mlproject.final.parallel import refit_in_parallel
from mlproject.final.refit import FinalFit, refit, test_set
from mlproject.final.registered import RegisteredModel
from mlproject.search.journal import Journal, unpack
from mlproject.search.result import SearchResult
from mlproject.task import Task
from mlproject.training.schedule import StageSchedule, passes


def make_final_model(
    task: Task,
    search: SearchResult,
    journal: Journal,
    seconds: float,
    params: Mapping[str, Any],
    seeds: Sequence[int],
    pool: Pool | None = None,
) -> RegisteredModel:
    """Refit the winner with every seed, log everything, and register the model of the first seed.

    A seed decides the initial weights, the order of the images and the augmentation; the split and the search had their own.
    The model of the first seed is registered whatever the others reach: the most accurate one would owe a part of its accuracy
    to luck.

    Args:
        task: the experiment with its data.
        search: the search's result.
        journal: keeps what is finished, so that an interrupted command goes on.
        seconds: the time for each fit.
        params: what the user asked for, which is logged as parameters.
        seeds: of the fits, at least one.
        pool: the workers; None for none.

    Returns:
        The registered model.
    """
    tasks = [replace(task, seed=seed) for seed in seeds]
    if pool and pool.trains_final_fits(search.plan.final_fits):
        fits = refit_in_parallel(tasks, search, journal, seconds, params, pool)
    else:
        fits = [refit(task, search, journal, seconds, params, registers=task is tasks[0]) for task in tasks]
    first_fit, name = fits[0], task.model_name
    assert first_fit.version is not None
    accuracy = evaluation.crossed_accuracy(np.stack([unpack(fit.correct, np.bool_) for fit in fits]))
    if len(fits) > 1:
        _log_spread(tasks, first_fit.version, fits, accuracy)
    registered = _make_registered_model(name, fits, accuracy, search.scores["val_accuracy"])
    minutes, fit_passes = params.get("budget_minutes"), _passes(task, search, journal)
    version_description = card.describe_version(tasks[0], registered, first_fit.weakest, minutes, fit_passes)
    tracking.describe(name, first_fit.version, card.describe_model(task), version_description)
    return registered


def _passes(task: Task, search: SearchResult, journal: Journal) -> float | None:
    """How many passes over the training images each fit made; None for a journal without their schedule."""
    if journal.schedule is None:
        return None
    schedule = {stage: StageSchedule(**length) for stage, length in journal.schedule.items()}
    return passes(schedule, task.recipe(search.values).batch_size, len(task.data.train_images))


def _make_registered_model(
    name: str, fits: Sequence[FinalFit], accuracy: evaluation.CrossedAccuracy, val_accuracy: float
) -> RegisteredModel:
    """The model of the first fit, with the alias that it now gets."""
    first_fit, accuracies = fits[0], [fit.metrics["test_accuracy"] for fit in fits]
    assert first_fit.version is not None
    return RegisteredModel(
        name=name,
        version=first_fit.version,
        run_id=first_fit.run_id,
        alias=tracking.promote(name, first_fit.version),
        val_accuracy=val_accuracy,
        test_accuracy=accuracies[0],
        low=accuracy.low,
        high=accuracy.high,
        seeds=len(fits),
        mean=accuracy.mean,
        std=statistics.stdev(accuracies) if len(fits) > 1 else math.nan,
        cross_validated=first_fit.cross_validated,
    )


def _log_spread(
    tasks: Sequence[Task], version: int, fits: Sequence[FinalFit], accuracy: evaluation.CrossedAccuracy
) -> None:
    """Log each score's mean and standard deviation (n - 1) over the seeds and the accuracy's interval; tag the version."""
    name, data, run_id = tasks[0].model_name, tasks[0].data, fits[0].run_id
    spread: dict[str, float] = {"seeds": len(fits)}
    for metric in fits[0].metrics:
        scores = [fit.metrics[metric] for fit in fits]
        spread |= {f"{metric}_mean": statistics.mean(scores), f"{metric}_std": statistics.stdev(scores)}
    spread |= {
        "test_accuracy_mean": accuracy.mean,
        "test_accuracy_mean_low": accuracy.low,
        "test_accuracy_mean_high": accuracy.high,
    }
    tracking.log_values(run_id, spread, dataset=test_set(data), model_id=tracking.logged_model_id(name, version))
    seeds, runs = [str(task.seed) for task in tasks], [fit.run_id for fit in fits]
    tracking.set_version_tags(name, version, {"seeds": ",".join(seeds), "seed_runs": ",".join(runs)})
