"""Accuracy against prediction time and size: which models are worth their cost. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.errors import UserError
from mlproject.limits import MILLISECONDS, PARAMETERS, TIMED_BATCH, Limit, describe_cost, parse_limits
from mlproject.report import trade_off_figure
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, decimals, interval, listed, percent
from mlproject.report.models import ReportedModel

WORDS = {MILLISECONDS: "prediction time", PARAMETERS: "size"}
COLUMNS = (
    text_column("model"),
    text_column("labels"),
    Column("accuracy", "accuracy", percent),
    Column("95% interval", ("low", "high"), interval),
    Column("prediction, ms/image", MILLISECONDS, decimals),
    Column("parameters", PARAMETERS, count),
    text_column("front by prediction time", f"front_{MILLISECONDS}"),
    text_column("front by size", f"front_{PARAMETERS}"),
)
NOTE = (
    "A model is on the Pareto front if no other model with the same labels and test images is at least as good in both, "
    "accuracy and cost, and better in one. The front takes the accuracies as they were measured, so a small lead on it may "
    "be chance. The prediction time is that of the whole network on the machine that ran the search, in batches of "
    f"{TIMED_BATCH} images; times of different machines do not compare."
)


def section(context: ReportContext, models: Sequence[ReportedModel]) -> Section | None:
    """Accuracy against cost of all final models, and of the trials of their searches.

    Args:
        context: the comparison.
        models: its models; one without predictions is left out.

    Returns:
        The section; None when no model has predictions and a cost.
    """
    measured = [model for model in models if model.predictions is not None]
    finals = pd.DataFrame([_row(model) for model in measured])
    if finals.empty or finals[list(WORDS)].isna().all(axis=None):
        return None
    finals["group"] = _headings(finals)
    for cost in WORDS:
        finals[f"front_{cost}"] = False
        for _, group in finals.groupby("group", sort=False):
            finals.loc[group.index, f"front_{cost}"] = pareto_front(group[cost], group["accuracy"])
    trials = pd.concat([_trials(*each) for each in zip(measured, finals["group"], strict=True)], ignore_index=True)
    fronts = _fronts_in_words(finals)
    limits = {limit.text: limit for model in measured for limit in _limits(model)}
    figure = trade_off_figure.draw(finals, trials, list(limits.values()), context.title)
    caption = _explanation(finals, trials)
    alt = "Accuracy against prediction time and against the number of parameters: " + "; ".join(
        f"{row['model']} {percent(row['accuracy'])}, {decimals(row[MILLISECONDS])} ms, {count(row[PARAMETERS])} parameters"
        for row in finals.to_dict("records")
    )
    shown = finals.drop(columns=["digest", "group"])
    for cost in WORDS:
        shown[f"front_{cost}"] = np.where(shown[cost].isna(), "–", np.where(shown[f"front_{cost}"], "yes", "no"))
    chart = Chart(context.file_name("trade-off"), figure, alt, caption)
    table = Table(context.file_name("trade-off"), "Accuracy and cost of prediction", shown, COLUMNS, NOTE)
    findings = [*fronts, *(text for model in measured for text in _beyond_limits(model))]
    return Section("Accuracy against cost", findings, [chart], [table])


def pareto_front(costs: pd.Series, scores: pd.Series) -> np.ndarray:
    """Which points no other point dominates: none is at least as cheap and as good, and better in one of the two.

    Args:
        costs: the cost of each point, NaN for an unknown one.
        scores: its score, of which more is better.

    Returns:
        bool, (n,); False for a point of unknown cost.
    """
    points = list(zip(costs, scores, strict=True))
    return np.array(
        [
            cost == cost
            and not any(
                other <= cost and better >= score and (other < cost or better > score) for other, better in points
            )
            for cost, score in points
        ]
    )


def milliseconds(metrics: Mapping[str, float]) -> float:
    """The prediction time of a final model in milliseconds per image; of older runs in larger batches, NaN if unknown."""
    return metrics.get(MILLISECONDS, 1000 / metrics.get("prediction_images_per_second", np.nan))


def _row(model: ReportedModel) -> dict[str, Any]:
    assert model.predictions is not None
    accuracy = evaluation.crossed_accuracy(model.predictions.correct_by_seed)
    return {
        "model": model.title,
        "labels": model.tag("labels"),
        "digest": model.tag("test.digest"),
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        MILLISECONDS: milliseconds(model.metrics),
        PARAMETERS: model.metrics.get(PARAMETERS, np.nan),
    }


def _headings(finals: pd.DataFrame) -> list[str]:
    """A heading for each model, the same for models that can be compared: by their labels, numbered by test images."""
    kinds = list(dict.fromkeys(zip(finals["labels"], finals["digest"], strict=True)))
    names: dict[tuple[str, str], str] = {}
    for labels, digest in kinds:
        alike = [kind for kind in kinds if kind[0] == labels]
        which = f", test images {alike.index((labels, digest)) + 1}" if len(alike) > 1 else ""
        names[labels, digest] = f"{labels} labels{which}"
    return [names[kind] for kind in zip(finals["labels"], finals["digest"], strict=True)]


def _trials(model: ReportedModel, group: str) -> pd.DataFrame:
    """The trials of a model's search; older searches did not record what a trial costs."""
    columns = {"accuracy": "val_accuracy", **{cost: cost for cost in WORDS}}
    table = pd.DataFrame() if model.search is None else model.search.ranked_trials
    frame = pd.DataFrame(index=table.index, columns=list(columns), dtype=float)
    for name, recorded in columns.items():
        if recorded in table:
            frame[name] = pd.to_numeric(table[recorded], errors="coerce")
    return frame.assign(model=model.title, group=group)


def _limits(model: ReportedModel) -> tuple[Limit, ...]:
    """The limits of a model's search."""
    try:
        return parse_limits(model.params.get("limit", ""))
    except UserError:  # written by another version
        return ()


def _beyond_limits(model: ReportedModel) -> list[str]:
    """Sentences for the limits that a final model exceeds: a clock does not give the same milliseconds twice."""
    return [
        f"{model.title} is beyond the limit of its search, {limit.text}: {describe_cost(limit.quantity, cost)}."
        for limit in _limits(model)
        if limit.is_exceeded_by(cost := model.metrics.get(limit.quantity, np.nan))
    ]


def _fronts_in_words(finals: pd.DataFrame) -> list[str]:
    """Which models are on the front, for each group of models that can be compared."""
    findings = []
    several = finals["group"].nunique() > 1
    for heading, group in finals.groupby("group", sort=False):
        known = {cost: group.dropna(subset=[cost]) for cost in WORDS}
        fronts: dict[tuple[str, ...], list[str]] = {}
        for cost, some in known.items():
            if len(some) > 1:
                fronts.setdefault(tuple(some.loc[some[f"front_{cost}"], "model"]), []).append(f"by {WORDS[cost]}")
        if fronts:
            where = f" ({heading})" if several else ""
            best = "; ".join(
                f"{listed(front)} {'is' if len(front) == 1 else 'are'} on the Pareto front{where} {' and '.join(costs)}"
                for front, costs in fronts.items()
            )
            findings.append(f"{best}. No other model is at least as accurate there and costs no more.")
    return findings


def _explanation(finals: pd.DataFrame, trials: pd.DataFrame) -> str:
    text = "Large markers are final models with their test accuracies and 95% intervals; the cost axes are logarithmic."
    drawn = trials.dropna(subset=["accuracy"]).dropna(subset=list(WORDS), how="all")
    if drawn.empty:
        return text
    text += " Small markers are trials of the searches with their validation accuracies, after less training."
    below = 0
    for heading, ours in finals.groupby("group", sort=False):
        theirs = drawn[drawn["group"] == heading]
        below += int((theirs["accuracy"] < trade_off_figure.visible_accuracies(ours, theirs)[0]).sum())
    return text + (f" Trials that are less accurate, {below} in all, are below the axis." if below else "")
