"""What the models cost, and which are worth it. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlproject.errors import UserError
from mlproject.limits import MILLISECONDS, PARAMETERS, TIMED_BATCH, Limit, describe_cost, parse_limits
from mlproject.report import cost_figure, provenance
from mlproject.report.accuracy import COST_FIELDS
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import MISSING, count, decimals, join_words, megabytes, minutes, percent, two_decimals
from mlproject.report.models import ReportedModel

COST_NAMES = {MILLISECONDS: "prediction time", PARAMETERS: "size"}
COLUMNS = (
    text_column("model"),
    Column("parameters", PARAMETERS, count),
    Column("on disk, MB", "model_bytes", megabytes),
    Column("prediction, ms/image", "milliseconds", two_decimals),
    Column("training, minutes", "train_seconds", minutes),
    Column("search, minutes", "search_seconds", minutes),
)
NOTE = (
    "Measured on the machine that ran the search, possibly beside other work. Training: of one seed. Prediction: in batches of "
    f"{TIMED_BATCH} images (older runs: 250). The CSV file also has the number of trials, and the images "
    "per second of the training."
)
MACHINES_NOTE = "These models were trained on different machines, so compare neither their times nor their speeds."


def section(context: ReportContext, models: Sequence[ReportedModel], frame: pd.DataFrame) -> Section:
    """What the models cost, and their accuracy against it.

    Args:
        context: the comparison.
        models: its models.
        frame: as `accuracy.measure` gives it.

    Returns:
        The section. Its figure is left out when there are neither two models with the same labels and test images nor two
        trials of one model whose costs are known.
    """
    frame = frame.assign(ms_per_image=frame["milliseconds"])
    tested_models = [model for model in models if model.predictions is not None]
    finals = (
        frame.set_index("model", drop=False).reindex([model.title for model in tested_models]).reset_index(drop=True)
    )
    findings = [text for model in tested_models for text in _exceeded_limits_in_words(model)]
    charts = []
    finals["group"] = _group_headings(finals)
    frame[[f"front_{cost}" for cost in COST_NAMES]] = MISSING
    trials = [_drawable_trials(model, group) for model, group in zip(tested_models, finals["group"], strict=True)]
    compared = finals["group"].duplicated().any() or any(len(of_model) > 1 for of_model in trials)
    if compared and finals[list(COST_NAMES)].notna().any(axis=None):
        for cost in COST_NAMES:
            finals[f"front_{cost}"] = False
            for _, group in finals.groupby("group", sort=False):
                finals.loc[group.index, f"front_{cost}"] = pareto_front(group[cost], group["accuracy"])
            known = finals.dropna(subset=[cost])
            fronts = dict(zip(known["model"], known[f"front_{cost}"].map({True: "yes", False: "no"}), strict=True))
            frame[f"front_{cost}"] = [fronts.get(title, MISSING) for title in frame["model"]]
        findings = [*_fronts_in_words(finals), *findings]
        charts = [_chart(context, finals, pd.concat(trials, ignore_index=True), tested_models)]
    shown = frame[["model", *COST_FIELDS, *(f"front_{cost}" for cost in COST_NAMES)]]
    note = f"{NOTE} {MACHINES_NOTE}" if provenance.machines_differ(models) else NOTE
    table = Table(context.file_name("cost"), "Cost", shown, COLUMNS, note, main=True)
    return Section("What the models cost", findings, charts, [table])


def _chart(
    context: ReportContext, finals: pd.DataFrame, trials: pd.DataFrame, tested_models: Sequence[ReportedModel]
) -> Chart:
    limits = {limit.text: limit for model in tested_models for limit in _limits(model)}
    figure = cost_figure.draw(finals, trials, list(limits.values()), context.title)
    alt = "Accuracy against prediction time and against the number of parameters: " + "; ".join(
        f"{row['model']} {percent(row['accuracy'])}, {decimals(row[MILLISECONDS])} ms, {count(row[PARAMETERS])} parameters"
        for row in finals.to_dict("records")
    )
    return Chart(context.file_name("trade-off"), figure, alt, _caption(finals, trials))


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
                other_cost <= cost and other_score >= score and (other_cost < cost or other_score > score)
                for other_cost, other_score in points
            )
            for cost, score in points
        ]
    )


def _group_headings(finals: pd.DataFrame) -> list[str]:
    """A heading for each model, the same for models that can be compared: by their labels, numbered by test images."""
    kinds = list(dict.fromkeys(zip(finals["labels"], finals["digest"], strict=True)))
    names: dict[tuple[str, str], str] = {}
    for labels, digest in kinds:
        same_labels = [kind for kind in kinds if kind[0] == labels]
        suffix = f", test images {same_labels.index((labels, digest)) + 1}" if len(same_labels) > 1 else ""
        names[labels, digest] = f"{labels} labels{suffix}"
    return [names[kind] for kind in zip(finals["labels"], finals["digest"], strict=True)]


def _drawable_trials(model: ReportedModel, group: str) -> pd.DataFrame:
    """The trials of a model's search that can be drawn; older searches did not record what a trial costs."""
    columns = {"accuracy": "val_accuracy", **{cost: cost for cost in COST_NAMES}}
    table = pd.DataFrame() if model.search is None else model.search.ranked_trials
    frame = pd.DataFrame(index=table.index, columns=list(columns), dtype=float)
    for name, recorded in columns.items():
        if recorded in table:
            frame[name] = pd.to_numeric(table[recorded], errors="coerce")
    drawn = frame.dropna(subset=["accuracy"]).dropna(subset=list(COST_NAMES), how="all")
    return drawn.assign(model=model.title, group=group)


def _limits(model: ReportedModel) -> tuple[Limit, ...]:
    """The limits of a model's search."""
    try:
        return parse_limits(model.params.get("limit", ""))
    except UserError:  # written by another version
        return ()


def _exceeded_limits_in_words(model: ReportedModel) -> list[str]:
    """Sentences for the limits that a final model exceeds: a clock does not give the same milliseconds twice."""
    return [
        f"{model.title} is beyond the limit of its search, {limit.text}: {describe_cost(limit.quantity, cost)}."
        for limit in _limits(model)
        if limit.is_exceeded_by(cost := model.metrics.get(limit.quantity, np.nan))
    ]


def _fronts_in_words(finals: pd.DataFrame) -> list[str]:
    """Which models are on the front, for each group of models that can be compared."""
    findings = []
    has_several_groups = finals["group"].nunique() > 1
    for heading, group in finals.groupby("group", sort=False):
        known = {cost: group.dropna(subset=[cost]) for cost in COST_NAMES}
        fronts: dict[tuple[str, ...], list[str]] = {}
        for cost, rows in known.items():
            if len(rows) > 1:
                fronts.setdefault(tuple(rows.loc[rows[f"front_{cost}"], "model"]), []).append(f"by {COST_NAMES[cost]}")
        if fronts:
            group_note = f" ({heading})" if has_several_groups else ""
            best = "; ".join(
                f"{join_words(front)} {'is' if len(front) == 1 else 'are'} on the Pareto front{group_note} "
                f"{' and '.join(costs)}"
                for front, costs in fronts.items()
            )
            findings.append(
                f"{best}: no other model is at least as accurate and costs no more. Small differences along it may be chance."
            )
    return findings


def _caption(finals: pd.DataFrame, trials: pd.DataFrame) -> str:
    text = "Large markers: final models with 95% intervals. The cost axes are logarithmic."
    if finals["by_seed"].map(len).max() > 1:
        text += " Short lines: single seeds."
    if trials.empty:
        return text
    text += " Small markers: trials, after less training, with their validation accuracies."
    below_axis = 0
    for heading, group_finals in finals.groupby("group", sort=False):
        group_trials = trials[trials["group"] == heading]
        below_axis += int(
            (group_trials["accuracy"] < cost_figure.visible_accuracies(group_finals, group_trials)[0]).sum()
        )
    return text + (f" Trials that are less accurate, {below_axis} in all, are below the axis." if below_axis else "")
