"""Whether fine labels teach more than coarse labels: coarse and fine models with the same test images. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import fine_classes, hypotheses, pairs, recall, settling
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
            pairs.Classifier(pair.coarse.title, pair.coarse.predictions.correct_by_seed, pair.coarse.title),
            pairs.Classifier(pair.argmax_title, np.stack(pair.by_argmax_of_seeds) == pair.truth, pair.fine.title),
            pairs.Classifier(pair.sum_title, np.stack(pair.by_sum_of_seeds) == pair.truth, pair.fine.title),
        ]
    )
    both = [pair.coarse.title, pair.sum_title]
    (summed,) = [row for _, row in differences.iterrows() if {row["a"], row["b"]} == set(both)]
    tables = [
        _table(context, frame.drop(columns="by_seed")),
        pairs.table(context.file_name("generalised-pairs"), differences),
    ]
    scales = (
        f"Always predicting the most frequent class is correct for {percent(coarse_chance)} of the images with coarse "
        f"labels and for {percent(fine_chance)} with fine labels, so accuracies on the two kinds of labels are not on "
        "the same scale."
    )
    conclusions = [pairs.finding(row) for _, row in differences.iterrows() if pair.coarse.title in (row["a"], row["b"])]
    chart = _chart(context, pair, frame[frame["labels"] == "coarse"])
    title = "Coarse labels compared with fine labels aggregated to superclasses"
    sentences = [*pairs.findings(differences), *settling.sentences(summed, pairs.is_significant(summed)), scales]
    return Section(title, sentences, [chart], tables, conclusions)


def _table(context: ReportContext, frame: pd.DataFrame) -> Table:
    """The accuracies, with the numbers of seeds where one is larger than 1."""
    columns = COLUMNS if frame["seeds"].max() == 1 else (*COLUMNS[:3], Column("seeds", "seeds", count), *COLUMNS[3:])
    title = "Coarse and fine labels on the same test images"
    return Table(context.file_name("generalised"), title, frame, columns, NOTE)


def _accuracies(pair: CoarseFinePair) -> pd.DataFrame:
    """A row for each way to score the two models, those on coarse labels first."""
    coarse, fine = pair.coarse.predictions, pair.fine.predictions
    title, top1 = pair.fine.title, [one.argmax(axis=1) for one in fine.of_all_seeds]
    top5 = np.stack([evaluation.in_top_k(fine.labels, one, 5) for one in fine.of_all_seeds])
    by_coarse = [one.argmax(axis=1) for one in coarse.of_all_seeds]
    rows = [
        _scores(pair.coarse.title, "coarse", by_coarse, pair.truth, coarse.classes),
        _scores(pair.argmax_title, "coarse", pair.by_argmax_of_seeds, pair.truth, coarse.classes),
        _scores(pair.sum_title, "coarse", pair.by_sum_of_seeds, pair.truth, coarse.classes),
        _scores(f"{title} (top-1)", "fine", top1, fine.labels, fine.classes),
        _accuracy(f"{title} (top-5)", "fine", top5, fine.labels, guesses=5),
    ]
    return pd.DataFrame(rows)


def _scores(
    model: str, labels: str, predicted: Sequence[np.ndarray], truth: np.ndarray, classes: int
) -> dict[str, Any]:
    """The scores of the predictions of all seeds, in the mean."""
    averages = pd.DataFrame([evaluation.averages(truth, one, classes) for one in predicted]).mean()
    accuracy = _accuracy(model, labels, np.stack(predicted) == truth, truth, guesses=1)
    return accuracy | {str(name): mean for name, mean in averages.items()}


def _accuracy(model: str, labels: str, correct: np.ndarray, truth: np.ndarray, guesses: int) -> dict[str, Any]:
    found = evaluation.crossed_accuracy(correct)
    return {
        "model": model,
        "labels": labels,
        "images": len(truth),
        "seeds": len(correct),
        "by_seed": correct.mean(axis=1).tolist(),
        "accuracy": found.mean,
        "low": found.low,
        "high": found.high,
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
        "do not." + (" Small points are single seeds." if frame["seeds"].max() > 1 else ""),
    )
