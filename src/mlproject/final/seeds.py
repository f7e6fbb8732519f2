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
from mlproject.final.beside import refit_beside
from mlproject.final.refit import FinalFit, refit, test_set
from mlproject.final.registered import RegisteredModel
from mlproject.search.journal import Journal, unpack
from mlproject.search.result import SearchResult
from mlproject.task import Task


def make_final_model(
    task: Task,
    found: SearchResult,
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
        found: the search's result.
        journal: keeps what is finished, so that an interrupted command goes on.
        seconds: the time for each fit.
        params: what the user asked for, which is logged as parameters.
        seeds: of the fits, at least one.
        pool: the workers; None for none.

    Returns:
        The registered model.
    """
    tasks = [replace(task, seed=seed) for seed in seeds]
    if pool and pool.trains_final_fits(found.plan.final_fits):
        fits = refit_beside(tasks, found, journal, seconds, params, pool)
    else:
        fits = [refit(task, found, journal, seconds, params, registers=task is tasks[0]) for task in tasks]
    first, name = fits[0], task.model_name
    assert first.version is not None
    accuracy = evaluation.crossed_accuracy(np.stack([unpack(fit.correct, np.bool_) for fit in fits]))
    if len(fits) > 1:
        _log_spread(tasks, first.version, fits, accuracy)
    registered = _registered(name, fits, accuracy, found.scores["val_accuracy"])
    of_version = card.of_version(tasks[0], registered, first.weakest, params.get("budget_minutes"))
    tracking.describe(name, first.version, card.of_model(task), of_version)
    return registered


def _registered(
    name: str, fits: Sequence[FinalFit], accuracy: evaluation.CrossedAccuracy, val_accuracy: float
) -> RegisteredModel:
    """The model of the first fit, with the alias that it now gets."""
    first, accuracies = fits[0], [fit.metrics["test_accuracy"] for fit in fits]
    assert first.version is not None
    return RegisteredModel(
        name=name,
        version=first.version,
        run_id=first.run_id,
        alias=tracking.promote(name, first.version),
        val_accuracy=val_accuracy,
        test_accuracy=accuracies[0],
        low=accuracy.low,
        high=accuracy.high,
        seeds=len(fits),
        mean=accuracy.mean,
        std=statistics.stdev(accuracies) if len(fits) > 1 else math.nan,
        cross_validated=first.cross_validated,
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
