"""The accuracy and the cost of a comparison's models. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.limits import TIMED_BATCH
from mlproject.report import cross_validated, trade_off
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, decimals, interval, listed, megabytes, minutes, percent, two_decimals
from mlproject.report.models import ReportedModel

COST = ["parameters", "train_seconds", "search_seconds", "trials", "images_per_second", "milliseconds", "model_bytes"]
ACCURACY_COLUMNS = (
    text_column("model"),
    text_column("labels"),
    Column("classes", "classes", count),
    Column("test images", "images", count),
    Column("accuracy", "accuracy", percent),
    Column("95% interval", ("low", "high"), interval),
    Column("chance", "chance", percent),
    Column("top-5 accuracy", "top5_accuracy", percent),
    Column("loss", "test_loss", decimals),
    Column("validation accuracy", "val_accuracy", percent),
)
# With a ratio of 1.5, always predicting the larger of two classes is right for 60 %. Below it, accuracy and balanced
# accuracy can hardly tell different stories.
UNEQUAL = 1.5  # the largest class with test images, relative to the smallest
BALANCED_COLUMNS = (
    Column("balanced accuracy", "balanced_accuracy", percent),
    Column("macro F1", "macro_f1", percent),
)
BALANCED_NOTE = (
    " The classes differ in their number of test images. The balanced accuracy is the mean recall of the classes, so each "
    "of them has the same weight; always predicting one of k classes gives 1 / k."
)
IMAGES_ALONE = (
    "The intervals are 95% Wilson intervals: they cover the sampling error of the test images, but not the variation "
    "between training seeds."
)
IMAGES_AND_SEEDS = (
    "The scores of a model with several seeds are means. The 95% interval of its accuracy covers the test images and the "
    "seeds (crossed random effects, with Hillis' degrees of freedom, on Wilson's scale)."
)
ACCURACY_NOTE = (
    " Chance is the accuracy of always predicting the most frequent class. The validation accuracy was measured in the "
    "winning trial, which trained for less time and on fewer images."
)
SEEDS_COLUMN = Column("seeds", "seeds", count)
COST_COLUMNS = (
    text_column("model"),
    Column("parameters", "parameters", count),
    Column("on disk, MB", "model_bytes", megabytes),
    Column("training, minutes", "train_seconds", minutes),
    Column("search, minutes", "search_seconds", minutes),
    Column("trials", "trials", count),
    Column("images/s, training", "images_per_second", count),
    Column("prediction, ms/image", "milliseconds", two_decimals),
)
COST_NOTE = (
    "Minutes, images per second and milliseconds were measured on the machine that ran the search, possibly beside other work; "
    f"those of training are of one seed. Predictions were made in batches of {TIMED_BATCH} images (for older runs: of 250)."
)
AVERAGE_COLUMNS = (
    text_column("model"),
    text_column("labels"),
    *(
        Column(f"{average} {score.replace('f1', 'F1')}", f"{average}_{score}", decimals)
        for average in ("macro", "weighted")
        for score in evaluation.SCORES
    ),
)
AVERAGE_NOTE = (
    "In the macro average every class has the same weight; in the weighted average a class is weighted by its number "
    "of test images. The two agree when these numbers are equal."
)


def section(context: ReportContext, models: Sequence[ReportedModel]) -> Section:
    """Accuracy, averages over the classes, and cost of the models and of the earlier stages of their fits.

    Args:
        context: the comparison.
        models: its models; one without predictions is shown with the accuracy that its run logged.

    Returns:
        The section. Its figure is left out when no model has predictions.
    """
    frame = pd.DataFrame([row for model in models for row in _rows(model)])
    frame = frame.sort_values(["labels", "accuracy"], ascending=[True, False], kind="stable", ignore_index=True)
    measured = frame.dropna(subset=["low"])
    charts = [_chart(context, measured, models[0].data == "synthetic")] if len(measured) else []
    accuracies = frame.drop(columns=[*COST, "digest", "by_seed"])
    tables = [
        _accuracy_table(context, accuracies),
        Table(
            context.file_name("averages"), "Averages over the classes", _averages(models), AVERAGE_COLUMNS, AVERAGE_NOTE
        ),
        Table(context.file_name("cost"), "Cost", frame[["model", *COST]], COST_COLUMNS, COST_NOTE),
    ]
    findings = [*_accuracy_findings(measured), *cross_validated.findings(frame), *_cost_findings(frame)]
    return Section("Accuracy and cost", findings, charts, [table for table in tables if len(table.frame)])


def _accuracy_table(context: ReportContext, accuracies: pd.DataFrame) -> Table:
    """The accuracies, with scores in which all classes have the same weight where the classes differ in size."""
    unequal = (accuracies["imbalance"] >= UNEQUAL).any()
    place = [column.heading for column in ACCURACY_COLUMNS].index("chance")
    added, note = (BALANCED_COLUMNS, BALANCED_NOTE) if unequal else ((), "")
    columns = (*ACCURACY_COLUMNS[:place], *added, *ACCURACY_COLUMNS[place:])
    several = accuracies["seeds"].max() > 1
    covered = IMAGES_AND_SEEDS + _weakness(accuracies["seeds"]) if several else IMAGES_ALONE
    if several:
        columns = (columns[0], SEEDS_COLUMN, *columns[1:])
    if accuracies["cv_accuracy"].notna().any():
        columns, note = (*columns, *cross_validated.COLUMNS), note + cross_validated.NOTE
    else:
        accuracies = accuracies.drop(columns=list(cross_validated.FIELDS))
    return Table(context.file_name("accuracy"), "Accuracy", accuracies, columns, covered + ACCURACY_NOTE + note)


def _weakness(seeds: pd.Series) -> str:
    """What the intervals of models with one or two seeds do not cover, beside those of models with more."""
    sentences = ""
    if (seeds == 2).any():
        sentences += (
            " With two seeds it is approximate: where seeds vary much, it holds the truth in 91% of cases only."
        )
    if (seeds == 1).any():
        sentences += " With one seed the interval (Wilson's) covers the test images alone."
    return sentences


def _rows(model: ReportedModel) -> list[dict[str, Any]]:
    """A row for the model, and before it one for each earlier stage of its fit."""
    metrics = model.metrics
    row = {"model": model.title, "version": model.registered.version, "labels": model.tag("labels")}
    row["digest"] = model.tag("test.digest")
    unknown = ("classes", "images", "accuracy", "low", "high", "top5_accuracy", "chance", "tested_classes", "imbalance")
    row |= cross_validated.fields(model)
    row |= dict.fromkeys((*unknown, "balanced_accuracy", "macro_f1", "seed_std"), np.nan)
    row |= {"seeds": np.nan, "by_seed": []}
    row |= {name: metrics.get(name, np.nan) for name in ("test_loss", "val_accuracy", *COST)}
    row["milliseconds"] = trade_off.milliseconds(metrics)
    row["trials"] = np.nan if model.search is None else len(model.search.trials)
    if model.predictions is None:
        row["accuracy"] = metrics.get("test_accuracy_mean", metrics.get("test_accuracy", np.nan))
        row["top5_accuracy"] = metrics.get("test_top5_accuracy", np.nan)
        return [row]
    labels, (*earlier, finished) = model.predictions.labels, model.predictions.stages
    # These were measured at the end of the fit only.
    unmeasured = dict.fromkeys(("val_accuracy", "images_per_second", *cross_validated.FIELDS), np.nan)
    rows = [
        row | _measured(labels, stage.title, [stage.probabilities]) | unmeasured | {"train_seconds": stage.seconds}
        for stage in earlier
    ]
    return [*rows, row | _measured(labels, finished.title, model.predictions.of_all_seeds)]


def _measured(labels: np.ndarray, title: str, by_seed: Sequence[np.ndarray]) -> dict[str, Any]:
    """The mean scores of the networks of all seeds, from their probabilities."""
    correct = np.stack([probabilities.argmax(axis=1) == labels for probabilities in by_seed])
    accuracy = evaluation.crossed_accuracy(correct)
    summary = pd.DataFrame([evaluation.summary(labels, probabilities) for probabilities in by_seed]).mean()
    sizes = np.unique(labels, return_counts=True)[1]
    return {
        "model": title,
        "classes": by_seed[0].shape[1],
        "images": len(labels),
        "seeds": len(by_seed),
        "by_seed": correct.mean(axis=1).tolist(),
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "seed_std": accuracy.seed_std,
        "top5_accuracy": summary.get("test_top5_accuracy", np.nan),
        "balanced_accuracy": summary["test_balanced_accuracy"],
        "macro_f1": summary["test_macro_f1"],
        "chance": sizes.max() / len(labels),
        "tested_classes": len(sizes),
        "imbalance": sizes.max() / sizes.min(),
        "test_loss": summary["test_loss"],
    }


def _averages(models: Sequence[ReportedModel]) -> pd.DataFrame:
    rows = []
    for model in models:
        if model.predictions is not None:
            *earlier, finished = model.predictions.stages
            networks = [(stage.title, [stage.probabilities]) for stage in earlier]
            networks.append((finished.title, list(model.predictions.of_all_seeds)))
            for title, by_seed in networks:
                scores = [_class_averages(model.predictions.labels, one) for one in by_seed]
                rows.append({"model": title, "labels": model.tag("labels"), **pd.DataFrame(scores).mean()})
    return pd.DataFrame(rows)


def _class_averages(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return evaluation.averages(labels, probabilities.argmax(axis=1), probabilities.shape[1])


def _chart(context: ReportContext, measured: pd.DataFrame, synthetic: bool) -> Chart:
    several_labels = measured["labels"].nunique() > 1
    names = measured["model"] + (" (" + measured["labels"] + " labels)" if several_labels else "")
    bars = measured.assign(name=names, synthetic=synthetic)
    accuracies = "; ".join(f"{row['name']} {percent(row['accuracy'])}" for row in bars.to_dict("records"))
    caption = " ".join(
        [*_leaders(measured), "The points show the accuracy on the test images, the bars its 95% intervals."]
    )
    if measured["seeds"].max() > 1:
        caption += (
            " Where a model has several seeds, the point is their mean, and the small points are the single seeds."
        )
    if measured["cv_accuracy"].notna().any():
        caption += (
            " The diamonds below them show the cross-validated accuracy on the training images, with its interval."
        )
    if several_labels:
        caption += " Models with different labels solve different tasks, so compare only models with the same labels."
    figure = plots.accuracy_bars(bars, context.title)
    return Chart(context.file_name("accuracy"), figure, f"Test accuracy: {accuracies}", caption)


def _leaders(measured: pd.DataFrame) -> list[str]:
    """Which model is the most accurate, for each kind of labels and test images that more than one model has."""
    sentences = []
    for (labels, _), rivals in measured.groupby(["labels", "digest"]):
        if len(rivals) > 1:
            best = rivals[rivals["accuracy"] == rivals["accuracy"].max()]
            verb = "has" if len(best) == 1 else "share"
            where = f" on {labels} labels" if measured["labels"].nunique() > 1 else ""
            if measured.loc[measured["labels"] == labels, "digest"].nunique() > 1:
                where += " among the models tested on the same images"
            accuracy = percent(best["accuracy"].max())
            sentences.append(f"{listed(best['model'])} {verb} the highest accuracy{where}, {accuracy}.")
            if rivals["imbalance"].max() >= UNEQUAL:
                fairest = rivals.sort_values("balanced_accuracy", ascending=False, kind="stable").iloc[0]
                balanced = percent(fairest["balanced_accuracy"])
                sentences.append(f"{fairest['model']} has the highest balanced accuracy{where}, {balanced}.")
    return sentences


def _accuracy_findings(measured: pd.DataFrame) -> list[str]:
    findings = []
    for row in measured.to_dict("records"):
        low, high, chance = row["low"], row["high"], row["chance"]
        mean = f", in the mean of {row['seeds']} seeds," if row["seeds"] > 1 else ""
        over = " over images and seeds" if row["seeds"] > 1 else ""
        sentence = f"{row['model']} classifies{mean} {percent(row['accuracy'])} of {count(row['images'])} test images correctly "
        sentence += f"(95% interval{over} {interval(low, high)}); chance is {percent(chance)}"
        if row["imbalance"] >= UNEQUAL:
            sentence += " (always predicting the most frequent class)"
        if high < chance:
            sentence += ", so the accuracy is below chance"
        elif low <= chance:
            sentence += ", so the accuracy cannot be distinguished from chance"
        if row["imbalance"] >= UNEQUAL:
            sentence += (
                f". Its balanced accuracy, the mean recall of the classes, is {percent(row['balanced_accuracy'])}; always "
                f"predicting one class gives {percent(1 / row['tested_classes'])}"
            )
        findings.append(f"{sentence}.")
    return findings


def _cost_findings(frame: pd.DataFrame) -> list[str]:
    findings = []
    finished = frame.dropna(subset=["parameters", "train_seconds", "val_accuracy"]).sort_values("parameters")
    if len(finished) > 1 and finished["parameters"].nunique() > 1:
        small, large = finished.iloc[0], finished.iloc[-1]
        findings.append(
            f"{small['model']} is the smallest network, with {count(small['parameters'])} parameters and "
            f"{minutes(small['train_seconds'])} minutes of training; {large['model']} is the largest, with "
            f"{count(large['parameters'])} parameters and {minutes(large['train_seconds'])} minutes."
        )
    timed = finished.dropna(subset=["milliseconds"]).sort_values("milliseconds")
    if len(timed) > 1:
        fast, slow = timed.iloc[0], timed.iloc[-1]
        findings.append(
            f"{fast['model']} predicts fastest, with {two_decimals(fast['milliseconds'])} ms per image; "
            f"{slow['model']} is the slowest, with {two_decimals(slow['milliseconds'])} ms."
        )
    return findings
