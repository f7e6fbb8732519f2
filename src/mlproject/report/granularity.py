"""Whether fine labels teach more than coarse labels: coarse and fine models with the same test images. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import fine_classes, hypotheses, pairs, recall
from mlproject.report.coarse_fine_pair import CoarseFinePair, pair_up
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, decimals, interval, listed, percent
from mlproject.report.models import ReportedModel

COLUMNS = (
    text_column("model"),
    Column("scored on", "labels", "{} labels".format, number=False),
    Column("test images", "images", count),
    Column("accuracy", "accuracy", percent),
    Column("95% interval", ("low", "high"), interval),
    Column("chance", "chance", percent),
    Column("macro precision", "macro_precision", decimals),
    Column("macro recall", "macro_recall", decimals),
    Column("macro F1", "macro_f1", decimals),
    Column("weighted F1", "weighted_f1", decimals),
)
NOTE = (
    "By argmax: the superclass of the most probable fine class. By summed probabilities: the superclass whose fine "
    "classes have the largest sum of probabilities, which makes the fewest errors if the probabilities are right "
    "(Bayes' rule for 0-1 loss on coarse labels). Top-5 predictions are five classes each, so they have no precision."
)


def sections(context: ReportContext, models: Sequence[ReportedModel], omissions: list[str]) -> list[Section]:
    """Compare every coarse model with every fine model, and the first such pair also class by class.

    If there are models with the same seed, only these are compared.

    Args:
        context: the comparison.
        models: its models.
        omissions: gets a sentence for each coarse or fine model that cannot be compared, and why.

    Returns:
        The sections; none when there are no coarse and fine models.
    """
    comparable = _pairs(models, omissions)
    made = [
        _accuracy_section(context.numbered(number, len(comparable)), pair)
        for number, pair in enumerate(comparable, start=1)
    ]
    if comparable:
        first, differences = comparable[0], fine_classes.class_differences(comparable[0])
        made += [
            fine_classes.section(context, differences),
            hypotheses.section(context, first, differences),
            recall.section(context, first),
        ]
    if len(comparable) > 1:
        omissions.append(
            f"To keep the page short, only {first.coarse.title} and {first.fine.title} are compared class by class"
        )
    return made


def _pairs(models: Sequence[ReportedModel], omissions: list[str]) -> list[CoarseFinePair]:
    coarse = [model for model in models if model.tag("labels") == "coarse"]
    fine = [model for model in models if model.tag("labels") == "fine"]
    for present, absent, label in ((coarse, fine, "fine"), (fine, coarse, "coarse")):
        if present and not absent:
            titles = listed([model.title for model in present])
            omissions.append(f"No model with {label} labels was found to compare with {titles}")
    couples = [(c, f) for c in coarse for f in fine]
    couples = [(c, f) for c, f in couples if c.seed == f.seed] or couples
    comparable = []
    for c, f in couples:
        pair = pair_up(c, f)
        if isinstance(pair, str):
            omissions.append(f"{c.title} and {f.title} cannot be compared: {pair}")
        else:
            comparable.append(pair)
    return comparable


def _accuracy_section(context: ReportContext, pair: CoarseFinePair) -> Section:
    frame = _accuracies(pair)
    coarse_chance, fine_chance = frame["chance"].iloc[0], frame["chance"].iloc[3]
    differences = pairs.compare(
        [
            (pair.coarse.title, pair.coarse.predictions.correct),
            (pair.argmax_title, pair.by_argmax == pair.truth),
            (pair.sum_title, pair.by_sum == pair.truth),
        ]
    )
    tables = [
        Table(context.file_name("generalised"), "Coarse and fine labels on the same test images", frame, COLUMNS, NOTE),
        Table(context.file_name("generalised-pairs"), "Paired differences", differences, pairs.COLUMNS, pairs.NOTE),
    ]
    scales = (
        f"Always predicting the most frequent class is correct for {percent(coarse_chance)} of the images with coarse "
        f"labels and for {percent(fine_chance)} with fine labels, so accuracies on the two kinds of labels are not on "
        "the same scale."
    )
    conclusions = [pairs.finding(row) for _, row in differences.iterrows() if pair.coarse.title in (row["a"], row["b"])]
    chart = _chart(context, pair, frame[frame["labels"] == "coarse"])
    title = "Coarse labels compared with fine labels aggregated to superclasses"
    return Section(title, [*pairs.findings(differences), scales], [chart], tables, conclusions)


def _accuracies(pair: CoarseFinePair) -> pd.DataFrame:
    """A row for each way to score the two models, those on coarse labels first."""
    coarse, fine = pair.coarse.predictions, pair.fine.predictions
    title, top5 = pair.fine.title, evaluation.in_top_k(fine.labels, fine.probabilities, 5)
    rows = [
        _scores(pair.coarse.title, "coarse", coarse.predicted, pair.truth, coarse.classes),
        _scores(pair.argmax_title, "coarse", pair.by_argmax, pair.truth, coarse.classes),
        _scores(pair.sum_title, "coarse", pair.by_sum, pair.truth, coarse.classes),
        _scores(f"{title} (top-1)", "fine", fine.predicted, fine.labels, fine.classes),
        _accuracy(f"{title} (top-5)", "fine", top5, fine.labels, guesses=5),
    ]
    return pd.DataFrame(rows)


def _scores(model: str, labels: str, predicted: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, Any]:
    averages = evaluation.averages(truth, predicted, classes)
    return _accuracy(model, labels, predicted == truth, truth, guesses=1) | averages


def _accuracy(model: str, labels: str, correct: np.ndarray, truth: np.ndarray, guesses: int) -> dict[str, Any]:
    low, high = evaluation.accuracy_interval(correct)
    return {
        "model": model,
        "labels": labels,
        "images": len(truth),
        "accuracy": correct.mean(),
        "low": low,
        "high": high,
        "chance": np.sort(np.bincount(truth))[-guesses:].sum() / len(truth),
    }


def _chart(context: ReportContext, pair: CoarseFinePair, frame: pd.DataFrame) -> Chart:
    """The accuracies on superclasses, the one task that both kinds of labels share."""
    superclasses = pair.coarse.predictions.classes
    bars = frame.assign(name=frame["model"].str.replace(" (", "\n(", regex=False), synthetic=pair.synthetic)
    accuracies = "; ".join(f"{row['model']} {percent(row['accuracy'])}" for row in frame.to_dict("records"))
    return Chart(
        context.file_name("generalised"),
        plots.accuracy_bars(bars, f"{context.title}, {superclasses} superclasses"),
        f"Test accuracy on the superclasses: {accuracies}",
        f"How often the correct one of {superclasses} superclasses is predicted, with 95% intervals. All predictions "
        "are for the same images, so the paired differences below show whether they differ, and overlapping intervals "
        "do not.",
    )
