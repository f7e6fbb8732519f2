"""The final model: the winner is refitted once for each seed, and the first seed's model is registered."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlproject import tracking
from mlproject.cluster.pool import Pool
from mlproject.final import card
from mlproject.final.beside import refit_beside
from mlproject.final.refit import FinalFit, refit
from mlproject.final.registered import RegisteredModel
from mlproject.search.journal import Journal
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
    if len(fits) > 1:
        _log_spread(name, first.version, seeds, fits)
    registered = _registered(name, fits, found.scores["val_accuracy"])
    of_version = card.of_version(replace(task, seed=seeds[0]), registered, first.weakest, params.get("budget_minutes"))
    tracking.describe(name, first.version, card.of_model(task), of_version)
    return registered


def _registered(name: str, fits: Sequence[FinalFit], val_accuracy: float) -> RegisteredModel:
    """The model of the first fit, with the alias that it now gets."""
    first, accuracies = fits[0], [fit.metrics["test_accuracy"] for fit in fits]
    assert first.version is not None
    low, high = first.interval
    return RegisteredModel(
        name=name,
        version=first.version,
        run_id=first.run_id,
        alias=tracking.promote(name, first.version),
        val_accuracy=val_accuracy,
        test_accuracy=accuracies[0],
        low=low,
        high=high,
        seeds=len(fits),
        mean=statistics.mean(accuracies),
        std=statistics.stdev(accuracies) if len(fits) > 1 else math.nan,
        cross_validated=first.cross_validated,
    )


def _log_spread(name: str, version: int, seeds: Sequence[int], fits: Sequence[FinalFit]) -> None:
    """Log mean and standard deviation (n - 1) of each score over the seeds, and tag the version with the runs."""
    spread: dict[str, float] = {"seeds": len(fits)}
    for metric in fits[0].metrics:
        scores = [fit.metrics[metric] for fit in fits]
        spread |= {f"{metric}_mean": statistics.mean(scores), f"{metric}_std": statistics.stdev(scores)}
    tracking.log_values(fits[0].run_id, metrics=spread)
    tags = {"seeds": ",".join(map(str, seeds)), "seed_runs": ",".join(fit.run_id for fit in fits)}
    tracking.set_version_tags(name, version, tags)
