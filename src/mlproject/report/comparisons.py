"""Members -> comparisons: who is compared with whom, the tables, and sentences chosen by rules from the numbers. Pure."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import granularity, pairs
from mlproject.report.content import Chart, Column, Comparison, Section, Table, count, decimals, interval, percent
from mlproject.report.members import Member, data_mark, slugs


def compare(members: Sequence[Member]) -> list[Comparison]:
    """One comparison for each pair of (comparison tag, kind of data) among the members, real data first.

    Real and synthetic members thus never meet. Members without a comparison tag are in none.
    """
    groups: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        if member.tag("comparison"):
            groups.setdefault((member.tag("comparison"), member.data), []).append(member)
    ordered = sorted(groups, key=lambda group: (group[1] != "real", group))
    keys = slugs([f"{name} {data if data != 'real' else ''}" for name, data in ordered])
    return [_comparison(*group, key, groups[group]) for group, key in zip(ordered, keys, strict=True)]


def _comparison(name: str, data: str, key: str, members: list[Member]) -> Comparison:
    mark, gaps = data_mark(data), [gap for member in members for gap in member.gaps]
    if len(members) == 1:
        gaps.append(f"{members[0].title} is the only member found: there is nothing to compare it with")
    sections = [_accuracy_section(key, name, mark, members), _pairs_section(key, mark, members, gaps)]
    sections += granularity.sections(key, name, mark, members, gaps)
    return Comparison(name, key, mark, members, [section for section in sections if section], gaps)


def _accuracy_section(key: str, name: str, mark: str, members: list[Member]) -> Section:
    frame = pd.DataFrame([_row(member) for member in members])
    frame = frame.sort_values(["labels", "accuracy"], ascending=[True, False], kind="stable", ignore_index=True)
    measured, charts = frame.dropna(subset=["low"]), []
    if len(measured):
        bars = measured.assign(name=measured["model"] + _labelled(measured), synthetic=members[0].data == "synthetic")
        alt = "; ".join(f"{row.name} {percent(row.accuracy)}" for row in bars.itertuples(index=False))
        caption = f"Accuracy on the test images with 95% intervals{mark}."
        if measured["labels"].nunique() > 1:
            caption += (
                " Models with different labels answer different questions: compare only within one kind of labels."
            )
        figure = plots.accuracy_bars(bars, f"{name}{mark}")
        charts.append(Chart(f"{key}.accuracy", figure, f"Test accuracy{mark}: {alt}", caption))
    tables = [
        Table(f"{key}.accuracy", f"Accuracy{mark}", frame.drop(columns=_COST), _ACCURACY_COLUMNS, _ACCURACY_NOTE),
        Table(f"{key}.cost", f"Cost{mark}", frame[["model", *_COST]], _COST_COLUMNS, _COST_NOTE),
    ]
    return Section(f"Accuracy and cost{mark}", _findings(frame), charts, tables)


def _labelled(frame: pd.DataFrame) -> pd.Series:
    """What to add to the models' names in a figure: their labels, where these differ."""
    return " (" + frame["labels"] + " labels)" if frame["labels"].nunique() > 1 else pd.Series("", frame.index)


def _row(member: Member) -> dict:
    metrics = member.model.metrics
    row = {"model": member.title, "version": member.model.version, "labels": member.tag("labels")}
    row |= dict.fromkeys(("classes", "images", "accuracy", "low", "high", "top5_accuracy", "chance"), np.nan)
    row |= {name: metrics.get(name, np.nan) for name in ("test_loss", "val_accuracy", *_COST)}
    row["trials"] = np.nan if member.trials is None else len(member.trials)
    if member.correct is None:
        row["accuracy"] = metrics.get("test_accuracy", np.nan)
        row["top5_accuracy"] = metrics.get("test_top5_accuracy", np.nan)
        return row
    row["classes"], row["images"] = member.probabilities.shape[1], len(member.labels)
    row["accuracy"] = member.summary["test_accuracy"]
    row["low"], row["high"] = evaluation.interval(member.correct)
    row["top5_accuracy"] = member.summary.get("test_top5_accuracy", np.nan)
    row["chance"] = np.bincount(member.labels).max() / len(member.labels)
    return row


_COST = [
    "parameters",
    "train_seconds",
    "search_seconds",
    "trials",
    "images_per_second",
    "prediction_images_per_second",
]
_ACCURACY_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("labels", lambda r: r["labels"], number=False),
    Column("classes", lambda r: count(r["classes"])),
    Column("test images", lambda r: count(r["images"])),
    Column("accuracy", lambda r: percent(r["accuracy"])),
    Column("95% interval", lambda r: interval(r["low"], r["high"])),
    Column("chance", lambda r: percent(r["chance"])),
    Column("top-5 accuracy", lambda r: percent(r["top5_accuracy"])),
    Column("loss", lambda r: decimals(r["test_loss"])),
    Column("validation accuracy", lambda r: percent(r["val_accuracy"])),
)
_ACCURACY_NOTE = (
    "Intervals: Wilson, 95%; they cover the luck of the test images, not that of the seed, as each model was trained once. "
    "Chance is the accuracy of always naming the most frequent class. Validation accuracy is the winning trial's."
)
_COST_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("parameters", lambda r: count(r["parameters"])),
    Column("training, minutes", lambda r: decimals(r["train_seconds"] / 60, 1)),
    Column("search, minutes", lambda r: decimals(r["search_seconds"] / 60, 1)),
    Column("trials", lambda r: count(r["trials"])),
    Column("images/s, training", lambda r: count(r["images_per_second"])),
    Column("images/s, prediction", lambda r: count(r["prediction_images_per_second"])),
)
_COST_NOTE = "Minutes and images per second are those of the machine that ran the search, whatever else it was doing."


def _findings(frame: pd.DataFrame) -> list[str]:
    findings = []
    for row in frame.dropna(subset=["low"]).itertuples():
        says = f"{row.model} classifies {percent(row.accuracy)} of {row.images:,.0f} test images correctly "
        says += f"(95% interval {interval(row.low, row.high)}); chance is {percent(row.chance)}"
        findings.append(says + (": it cannot be told from chance." if row.low <= row.chance else "."))
    cost = frame.dropna(subset=["parameters", "train_seconds"]).sort_values("parameters")
    if len(cost) > 1 and cost["parameters"].nunique() > 1:
        small, large = cost.iloc[0], cost.iloc[-1]
        findings.append(
            f"{small['model']} is the smallest with {count(small['parameters'])} parameters and "
            f"{decimals(small['train_seconds'] / 60, 1)} minutes of training; {large['model']} the largest with "
            f"{count(large['parameters'])} and {decimals(large['train_seconds'] / 60, 1)} minutes."
        )
    return findings


def _pairs_section(key: str, mark: str, members: list[Member], gaps: list[str]) -> Section | None:
    """Every two members that answered the same question on the same images."""
    rows = []
    for one, other in combinations([member for member in members if member.correct is not None], 2):
        if one.tag("labels") != other.tag("labels"):
            continue
        if pairs.same_images(one, other) and np.array_equal(one.labels, other.labels):
            rows.append(pairs.row(one.title, one.correct, other.title, other.correct))
        else:
            gaps.append(f"{one.title} and {other.title} were not tested on the same images: no paired comparison")
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    table = Table(f"{key}.pairs", f"Paired differences in accuracy{mark}", frame, pairs.COLUMNS, pairs.NOTE)
    return Section(f"Pair by pair{mark}", [pairs.finding(row) for row in rows], [], [table])
