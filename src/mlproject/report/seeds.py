"""How much the accuracy varies between seeds: of refits of one winner, and of whole searches. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.objectives import DEFAULT
from mlproject.report.content import Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, percent, unsigned_points
from mlproject.report.models import ReportedModel

# Only searches with the same settings are repetitions of each other.
SETTINGS = (
    "budget_minutes",
    "max_trials",
    "tuner",
    "objective",
    "values",
    "trials_digest",
    "limit",
    "deterministic",
    "weights",
    "weights_digest",
    "folds",
    "repeats",
)
# What searches had that did not record these settings yet.
DEFAULT_SETTINGS = {"objective": DEFAULT, "folds": "0", "repeats": "1"}
SPREAD_COLUMNS = (
    Column("mean accuracy", "mean", percent),
    Column("standard deviation, points", "std", unsigned_points),
    Column("lowest accuracy", "min", percent),
    Column("highest accuracy", "max", percent),
)
REFIT_COLUMNS = (
    text_column("model"),
    text_column("seeds"),
    *SPREAD_COLUMNS[1:],
    Column("standard deviation due to the seed alone, points", "seed_std", unsigned_points),
)
SEARCH_COLUMNS = (
    text_column("experiment"),
    Column("budget, minutes", "budget"),
    text_column("seeds"),
    Column("commits", "commits", count),
    *SPREAD_COLUMNS,
)
REFIT_NOTE = (
    "The last column is without the part of the standard deviation that comes from the limited number of test images. It is "
    "estimated from few seeds; 0.00 means that the test images alone explain the spread."
)
FIRST_SEED_NOTE = (
    "The sections about classes, single images, probabilities and training describe the network of each model's first seed, "
    "which is the registered one."
)
SEARCH_NOTE = (
    "The seed decides the split, the trials and the fit. Versions of several commits differ in their code, too."
)


def section(context: ReportContext, models: Sequence[ReportedModel]) -> Section | None:
    """Mean and spread over the seeds of each model, and of each experiment that was searched with several seeds.

    Args:
        context: the comparison.
        models: its models; of several versions with the same seed and otherwise the same settings, the newest counts.

    Returns:
        The section; None when there is nothing with two seeds.
    """
    refits = [_refits_row(model) for model in models if model.predictions and model.predictions.other_seeds]
    searches = [
        _searches_row(experiment, budget, by_seed)
        for (experiment, _, budget, *_), by_seed in _repetitions(models).items()
        if len(by_seed) > 1
    ]
    tables = []
    if refits:
        name, title = context.file_name("refits"), "One winner, fitted with several seeds"
        tables.append(Table(name, title, pd.DataFrame(refits), REFIT_COLUMNS, REFIT_NOTE, main=True))
    if searches:
        name, title = context.file_name("seeds"), "Searches with several seeds"
        tables.append(Table(name, title, pd.DataFrame(searches), SEARCH_COLUMNS, SEARCH_NOTE, main=True))
    return Section("How much the seed matters", [FIRST_SEED_NOTE] if refits else [], tables=tables) if tables else None


def _refits_row(model: ReportedModel) -> dict[str, Any]:
    assert model.predictions is not None
    correct = model.predictions.correct_by_seed
    seeds = ", ".join([model.fit_seed, *model.predictions.other_seeds])
    seed_std = evaluation.crossed_accuracy(correct).seed_std
    return {"model": model.title, "seeds": seeds, "seed_std": seed_std, **_spread(correct.mean(axis=1))}


def _spread(accuracies: np.ndarray | Sequence[float]) -> dict[str, float]:
    return {name: float(pd.Series(accuracies).agg(name)) for name in ("mean", "std", "min", "max")}


def _repetitions(models: Sequence[ReportedModel]) -> dict[tuple[str, ...], dict[str, ReportedModel]]:
    """For each experiment, data set and settings the models by their seed."""
    models_by_search: dict[tuple[str, ...], dict[str, ReportedModel]] = {}
    for model in sorted(models, key=lambda candidate: candidate.registered.version):
        if "test_accuracy" in model.metrics:
            settings = [model.params.get(name, DEFAULT_SETTINGS.get(name, "")) for name in SETTINGS]
            key = (model.tag("experiment"), model.tag("dataset.digest"), *settings)
            models_by_search.setdefault(key, {})[model.seed] = model
    return models_by_search


def _searches_row(experiment: str, budget: str, by_seed: dict[str, ReportedModel]) -> dict[str, Any]:
    # Where each search's winner was fitted with several seeds, the mean of these is the search's result.
    accuracies = [model.metrics.get("test_accuracy_mean", model.metrics["test_accuracy"]) for model in by_seed.values()]
    seeds = ", ".join(sorted(by_seed, key=lambda seed: (len(seed), seed)))
    commits = len({model.tag("git.commit") for model in by_seed.values()})
    return {"experiment": experiment, "budget": budget, "seeds": seeds, "commits": commits, **_spread(accuracies)}
