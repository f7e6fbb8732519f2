"""The accuracy and the cost of a comparison's models. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.limits import MILLISECONDS
from mlproject.report import cross_validated
from mlproject.report.content import Chart, Column, Section, Table, text_column, ui_link
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, interval, percent
from mlproject.report.models import ReportedModel

COST_FIELDS = [
    "parameters",
    "train_seconds",
    "search_seconds",
    "trials",
    "images_per_second",
    "milliseconds",
    "model_bytes",
]
AVERAGES = tuple(f"{average}_{score}" for average in ("macro", "weighted") for score in evaluation.SCORES)
ACCURACY_COLUMNS = (
    text_column("model"),
    text_column("labels"),
    Column("classes", "classes", count),
    Column("test images", "images", count),
    Column("accuracy", "accuracy", percent),
    Column("95% interval", ("low", "high"), interval),
    Column("chance", "chance", percent),
    Column("top-5 accuracy", "top5_accuracy", percent),
)
# With a ratio of 1.5, always predicting the larger of two classes is right for 60 %. Below it, accuracy and balanced
# accuracy can hardly tell different stories.
UNEQUAL_RATIO = 1.5  # the largest class with test images, relative to the smallest
BALANCED_COLUMNS = (
    Column("balanced accuracy", "balanced_accuracy", percent),
    Column("macro F1", "macro_f1", percent),
)
BALANCED_NOTE = (
    " The classes differ in size; in the balanced accuracy (the mean recall of the classes) each has the same weight."
)
IMAGES_NOTE = "The 95% intervals (Wilson's) cover the choice of test images, and not that of the training seed."
IMAGES_AND_SEEDS_NOTE = (
    "Scores of several seeds are means; the intervals cover images and seeds (crossed random effects, Wilson's scale)."
)
STAGES_NOTE = " A row named after a stage of a fit has the accuracy of the network at the end of that stage."
TOP5_NOTE = " Top 5: the true class is among the five most probable ones."
ACCURACY_NOTE = (
    " Chance: always predicting the most frequent class. The CSV file also has the loss, and precision, recall and F1, averaged "
    "over the classes."
)
SEEDS_COLUMN = Column("seeds", "seeds", count)


def measure(models: Sequence[ReportedModel]) -> pd.DataFrame:
    """The accuracy and the cost of models, and of the earlier stages of their fits.

    Args:
        models: the models of a comparison; one without predictions gets the accuracy that its run logged.

    Returns:
        A row for each model and stage, for each kind of labels the most accurate first. The columns `COST_FIELDS` are costs,
        and NaN stands for what is not known.
    """
    frame = pd.DataFrame([row for model in models for row in _model_rows(model)])
    return frame.sort_values(["labels", "accuracy"], ascending=[True, False], kind="stable", ignore_index=True)


def section(context: ReportContext, models: Sequence[ReportedModel], frame: pd.DataFrame) -> Section:
    """Accuracy of the models and of the earlier stages of their fits.

    Args:
        context: the comparison.
        models: its models.
        frame: as `measure` gives it.

    Returns:
        The section. It has no figure of one accuracy alone, nor where models have different labels, because accuracies on
        different labels are not on one scale.
    """
    measured = frame.dropna(subset=["low"])
    accuracies = frame.drop(columns=[*COST_FIELDS, "digest", "by_seed"])
    picture = None
    if len(measured) > 1 and measured["labels"].nunique() == 1:
        picture = _chart(context, measured, models[0].data == "synthetic")
    findings = [*_accuracy_findings(measured), *cross_validated.findings(frame)]
    tables = [_accuracy_table(context, accuracies, stages=len(accuracies) > len(models))]
    link = ui_link("Compare the final runs", models[0].registered.finals_url)
    return Section("How accurate each model is", findings, tables=tables, picture=picture, link=link)


def _accuracy_table(context: ReportContext, accuracies: pd.DataFrame, stages: bool) -> Table:
    """The accuracies, with scores in which all classes have the same weight where the classes differ in size."""
    unequal = (accuracies["imbalance"] >= UNEQUAL_RATIO).any()
    chance_position = [column.heading for column in ACCURACY_COLUMNS].index("chance")
    balanced_columns, note = (BALANCED_COLUMNS, BALANCED_NOTE) if unequal else ((), "")
    hidden = {"labels"} if accuracies["labels"].nunique() == 1 else set()
    if accuracies["top5_accuracy"].isna().all():  # of five classes or fewer, the true one is always among them
        hidden.add("top5_accuracy")
    else:
        note += TOP5_NOTE
    if stages:
        note += STAGES_NOTE
    columns = (*ACCURACY_COLUMNS[:chance_position], *balanced_columns, *ACCURACY_COLUMNS[chance_position:])
    columns = tuple(column for column in columns if column.fields not in hidden)
    has_several_seeds = accuracies["seeds"].max() > 1
    coverage_note = IMAGES_AND_SEEDS_NOTE + _few_seeds_note(accuracies["seeds"]) if has_several_seeds else IMAGES_NOTE
    if has_several_seeds:
        columns = (columns[0], SEEDS_COLUMN, *columns[1:])
    if accuracies["cv_accuracy"].notna().any():
        columns, note = (*columns, *cross_validated.COLUMNS), note + cross_validated.NOTE
    else:
        accuracies = accuracies.drop(columns=list(cross_validated.FIELDS))
    note = coverage_note + ACCURACY_NOTE + note
    return Table(context.file_name("accuracy"), "Accuracy", accuracies, columns, note, main=True)


def _few_seeds_note(seeds: pd.Series) -> str:
    """What the intervals of models with one or two seeds do not cover, beside those of models with more."""
    sentences = ""
    if (seeds == 2).any():
        sentences += " With two seeds they are approximate: they may contain the true accuracy in only 91% of cases."
    if (seeds == 1).any():
        sentences += " With one seed the interval (Wilson's) covers the test images alone."
    return sentences


def _model_rows(model: ReportedModel) -> list[dict[str, Any]]:
    """A row for the model, and before it one for each earlier stage of its fit."""
    metrics = model.metrics
    row = {"model": model.title, "version": model.registered.version, "labels": model.tag("labels")}
    row["digest"] = model.tag("test.digest")
    unknown = ("classes", "images", "accuracy", "low", "high", "top5_accuracy", "chance", "tested_classes", "imbalance")
    row |= cross_validated.fields(model)
    row |= dict.fromkeys((*unknown, "balanced_accuracy", *AVERAGES, "seed_std"), np.nan)
    row |= {"seeds": np.nan, "by_seed": []}
    row |= {name: metrics.get(name, np.nan) for name in ("test_loss", "val_accuracy", *COST_FIELDS)}
    # Older runs measured larger batches, and recorded their speed.
    speed = metrics.get("prediction_images_per_second", 0.0)
    row["milliseconds"] = metrics.get(MILLISECONDS, 1000 / speed if speed else np.nan)
    row["trials"] = np.nan if model.search is None else len(model.search.trials)
    if model.predictions is None:
        row["accuracy"] = metrics.get("test_accuracy_mean", metrics.get("test_accuracy", np.nan))
        row["top5_accuracy"] = metrics.get("test_top5_accuracy", np.nan)
        return [row]
    labels, (*earlier_stages, last_stage) = model.predictions.labels, model.predictions.stages
    # These were measured at the end of the fit only.
    unmeasured = dict.fromkeys(("val_accuracy", "images_per_second", *cross_validated.FIELDS), np.nan)
    rows = [
        row
        | _mean_scores(labels, stage.title, stage.probabilities_by_seed)
        | unmeasured
        | {"train_seconds": stage.seconds}
        for stage in earlier_stages
    ]
    return [*rows, row | _mean_scores(labels, last_stage.title, model.predictions.probabilities_by_seed)]


def _mean_scores(labels: np.ndarray, title: str, probabilities_by_seed: Sequence[np.ndarray]) -> dict[str, Any]:
    """The mean scores of the networks of all seeds, from their probabilities."""
    correct = np.stack([probabilities.argmax(axis=1) == labels for probabilities in probabilities_by_seed])
    accuracy = evaluation.crossed_accuracy(correct)
    summary = pd.DataFrame(
        [
            evaluation.summary(labels, probabilities) | _averages(labels, probabilities)
            for probabilities in probabilities_by_seed
        ]
    ).mean()
    sizes = np.unique(labels, return_counts=True)[1]
    return {
        "model": title,
        "classes": probabilities_by_seed[0].shape[1],
        "images": len(labels),
        "seeds": len(probabilities_by_seed),
        "by_seed": correct.mean(axis=1).tolist(),
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "seed_std": accuracy.seed_std,
        "top5_accuracy": summary.get("test_top5_accuracy", np.nan),
        "balanced_accuracy": summary["test_balanced_accuracy"],
        **{name: summary[name] for name in AVERAGES},
        "chance": sizes.max() / len(labels),
        "tested_classes": len(sizes),
        "imbalance": sizes.max() / sizes.min(),
        "test_loss": summary["test_loss"],
    }


def _averages(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    return evaluation.averages(labels, probabilities.argmax(axis=1), probabilities.shape[1])


def _chart(context: ReportContext, measured: pd.DataFrame, synthetic: bool) -> Chart:
    bars = measured.assign(name=measured["model"], synthetic=synthetic)
    accuracies = "; ".join(f"{row['model']} {percent(row['accuracy'])}" for row in bars.to_dict("records"))
    caption = "Bars: 95% intervals."
    if measured["seeds"].max() > 1:
        caption += " Small points: single seeds; the large point is their mean."
    if measured["cv_accuracy"].notna().any():
        caption += " Diamonds: cross-validated accuracy on the training images."
    figure = plots.accuracy_bars(bars, context.title)
    return Chart(context.file_name("accuracy"), figure, f"Test accuracy: {accuracies}", caption)


def _accuracy_findings(measured: pd.DataFrame) -> list[str]:
    """What the table does not say by itself: accuracies that chance could give, and those of classes of unequal size."""
    findings = []
    for row in measured.to_dict("records"):
        low, high, chance = row["low"], row["high"], row["chance"]
        start = f"{row['model']}: {percent(row['accuracy'])} of {count(row['images'])} test images"
        if high < chance:
            findings.append(f"{start} is below chance ({percent(chance)}).")
        elif low <= chance:
            findings.append(f"{start} cannot be distinguished from chance ({percent(chance)}).")
    for _, rivals in measured[measured["imbalance"] >= UNEQUAL_RATIO].groupby(["labels", "digest"]):
        fairest = rivals.sort_values("balanced_accuracy", ascending=False, kind="stable").iloc[0]
        findings.append(
            f"On these images, {fairest['model']} has the highest balanced accuracy (mean recall of the classes), "
            f"{percent(fairest['balanced_accuracy'])}; always predicting one class gives "
            f"{percent(1 / fairest['tested_classes'])}."
        )
    return findings
