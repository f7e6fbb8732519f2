"""How much the accuracy of an experiment varies between seeds. Pure."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

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
    "deterministic",
    "weights",
    "weights_digest",
    "folds",
    "repeats",
)
# What searches had that did not record these settings yet.
BEFORE = {"objective": DEFAULT, "folds": "0", "repeats": "1"}
COLUMNS = (
    text_column("experiment"),
    Column("budget, minutes", "budget"),
    text_column("seeds"),
    Column("commits", "commits", count),
    Column("mean accuracy", "mean", percent),
    Column("standard deviation, points", "std", unsigned_points),
    Column("lowest accuracy", "min", percent),
    Column("highest accuracy", "max", percent),
)
NOTE = (
    "The seed decides the split, the trials and the initial weights, so the spread covers the variation of the search "
    "and of the final fit together. Where the versions come from more than one commit, it also covers the changes to "
    "the code."
)


def section(context: ReportContext, models: Sequence[ReportedModel]) -> Section | None:
    """Mean and spread of each experiment that was searched with several seeds and otherwise the same settings.

    Args:
        context: the comparison.
        models: its models; of several versions with the same seed, the newest counts.

    Returns:
        The section; None when no experiment has two seeds on the same data.
    """
    rows = [
        _spread(experiment, budget, by_seed)
        for (experiment, _, budget, *_), by_seed in _repetitions(models).items()
        if len(by_seed) > 1
    ]
    if not rows:
        return None
    findings = [
        f"{row['experiment']}: {len(row['seeds'].split(', '))} seeds reach {percent(row['mean'])} on average, with a "
        f"standard deviation of {unsigned_points(row['std'])} points ({percent(row['min'])} to {percent(row['max'])})."
        for row in rows
    ]
    table = Table(context.file_name("seeds"), "Seeds", pd.DataFrame(rows), COLUMNS, NOTE)
    return Section("How much the seed matters", findings, [], [table])


def _repetitions(models: Sequence[ReportedModel]) -> dict[tuple[str, ...], dict[str, ReportedModel]]:
    """For each experiment, data set and settings the models by their seed."""
    alike: dict[tuple[str, ...], dict[str, ReportedModel]] = {}
    for model in sorted(models, key=lambda one: one.registered.version):
        if "test_accuracy" in model.metrics:
            settings = [model.params.get(name, BEFORE.get(name, "")) for name in SETTINGS]
            search = (model.tag("experiment"), model.tag("dataset.digest"), *settings)
            alike.setdefault(search, {})[model.seed] = model
    return alike


def _spread(experiment: str, budget: str, by_seed: dict[str, ReportedModel]) -> dict[str, Any]:
    accuracies = pd.Series([model.metrics["test_accuracy"] for model in by_seed.values()])
    seeds = ", ".join(sorted(by_seed, key=lambda seed: (len(seed), seed)))
    commits = len({model.tag("git.commit") for model in by_seed.values()})
    spread = {name: float(accuracies.agg(name)) for name in ("mean", "std", "min", "max")}
    return {"experiment": experiment, "budget": budget, "seeds": seeds, "commits": commits, **spread}
