"""What others found on the same question, beside our own accuracies. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlproject.report import granularity
from mlproject.report.content import Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import MISSING
from mlproject.report.models import ReportedModel
from mlproject.topic import Topic

TRAINING_NOTE = "Networks and training differ from ours, so compare the differences within a row, not the accuracies."


def section(context: ReportContext, topic: Topic, models: Sequence[ReportedModel]) -> Section | None:
    """Show the figures of others that the comparison declares, and ours below in columns of coarse and fine labels.

    Args:
        context: the comparison, on real data.
        topic: what the comparison declares.
        models: its models.

    Returns:
        The section; None where there are no such figures.
    """
    if not topic.published:
        return None
    first, *others = topic.published
    frame = pd.DataFrame({name: list(column) for name, column in topic.published.items()})
    own = _own_accuracies(models) if {"coarse", "fine"} & set(others) else {}
    own_rows = pd.DataFrame([{first: name, **row} for name, row in own.items()])
    frame = pd.concat([frame, own_rows], ignore_index=True)[list(topic.published)]
    columns = (text_column(first), *(Column(f"{name}, %", name, _format_accuracy) for name in others))
    table = Table(
        context.file_name("published"),
        "Accuracies of others, and ours below" if own else "Accuracies of others",
        frame,
        columns,
        f"{topic.source}. {TRAINING_NOTE}",
        main=True,
    )
    return Section("What others found", tables=[table])


def _format_accuracy(figure: object) -> str:
    """A number with two decimals, a text as it is, and a dash for what is missing."""
    if isinstance(figure, str):
        return figure
    return f"{figure:.2f}" if isinstance(figure, int | float) and not np.isnan(figure) else MISSING


def _own_accuracies(models: Sequence[ReportedModel]) -> dict[str, dict[str, float]]:
    """Accuracies in percent by kind of labels; of coarse and fine models on the superclasses, which both predict."""
    accuracies = {}
    for pair in granularity.comparable_pairs(models, []):
        coarse, _, fine = 100 * granularity.accuracies(pair)["accuracy"].iloc[:3]
        accuracies[f"ours: {pair.coarse.title} and {pair.fine.title}"] = {"coarse": coarse, "fine": fine}
    return accuracies
