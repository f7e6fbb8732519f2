"""Whether fine labels teach more than coarse labels: coarse and fine models with the same test images. Pure."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import fine_classes, hypotheses, pairs, recall, settling
from mlproject.report.coarse_fine_pair import CoarseFinePair, pair_up
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import brief_percent, brief_points, count, interval, join_words, percent
from mlproject.report.models import ReportedModel

COLUMNS = (
    text_column("model"),
    Column("scored on", "labels", "{} labels".format, number=False),
    Column("test images", "images", count),
    Column("accuracy", "accuracy", percent),
    Column("95% interval", ("low", "high"), interval),
    Column("chance", "chance", percent),
)
NOTE = (
    "Summing makes the fewest errors if the probabilities are right. Compare only accuracies on the same labels: on coarse ones, "
    "chance is higher. Top 5: the class is among the five most probable ones. The CSV file also has precision, recall and F1."
)


def sections(
    context: ReportContext, models: Sequence[ReportedModel], question: str, omissions: list[str], by_class: bool
) -> list[Section]:
    """Compare every coarse model with every fine model, and perhaps the first such pair class by class, too.

    If there are models with the same seed, only these are compared.

    Args:
        context: the comparison.
        models: its models.
        question: what the comparison asks.
        omissions: gets a sentence for each coarse or fine model that cannot be compared, and why.
        by_class: whether the first pair is compared class by class.

    Returns:
        The sections; none when there are no coarse and fine models.
    """
    couples = comparable(models, omissions)
    made = [
        _accuracy_section(context.numbered(number, len(couples)), pair, question)
        for number, pair in enumerate(couples, start=1)
    ]
    if couples and by_class:
        first, differences = couples[0], fine_classes.class_differences(couples[0])
        made += [
            fine_classes.section(context, differences),
            hypotheses.section(context, first, differences),
            recall.section(context, first),
        ]
        if len(couples) > 1:
            omissions.append(
                f"To keep the page short, only {first.coarse.title} and {first.fine.title} are compared class by class"
            )
    return made


def comparable(models: Sequence[ReportedModel], omissions: list[str]) -> list[CoarseFinePair]:
    """The coarse and the fine models that can be compared.

    Args:
        models: the models of a comparison.
        omissions: gets a sentence for each coarse or fine model that cannot be compared, and why.

    Returns:
        The pairs; those of the same seed, if there are any.
    """
    coarse = [model for model in models if model.tag("labels") == "coarse"]
    fine = [model for model in models if model.tag("labels") == "fine"]
    for present, absent, label in ((coarse, fine, "fine"), (fine, coarse, "coarse")):
        if present and not absent:
            titles = join_words([model.title for model in present])
            omissions.append(f"No model with {label} labels was found to compare with {titles}")
    couples = [(c, f) for c in coarse for f in fine]
    couples = [(c, f) for c, f in couples if c.seed == f.seed] or couples
    found = []
    for c, f in couples:
        pair = pair_up(c, f)
        if isinstance(pair, str):
            omissions.append(f"{c.title} and {f.title} cannot be compared: {pair}")
        else:
            found.append(pair)
    return found


def summed_difference(pair: CoarseFinePair, compared: pd.DataFrame) -> pd.Series:
    """The difference between the coarse model and the fine model's summed probabilities.

    Args:
        pair: the coarse and the fine model.
        compared: as `compare_ways` gives it.

    Returns:
        Its row.
    """
    both = {pair.coarse.title, pair.sum_title}
    (summed,) = [row for _, row in compared.iterrows() if {row["a"], row["b"]} == both]
    return summed


def compare_ways(pair: CoarseFinePair) -> pd.DataFrame:
    """The coarse model and both ways to score the fine one, every two compared, as `pairs.compare` does it."""
    return pairs.compare(
        [
            pairs.Classifier(pair.coarse.title, pair.coarse.predictions.correct_by_seed, pair.coarse.title),
            pairs.Classifier(pair.argmax_title, np.stack(pair.superclasses_by_argmax) == pair.truth, pair.fine.title),
            pairs.Classifier(pair.sum_title, np.stack(pair.superclasses_by_sum) == pair.truth, pair.fine.title),
        ]
    )


def _accuracy_section(context: ReportContext, pair: CoarseFinePair, question: str) -> Section:
    frame, compared = accuracies(pair), compare_ways(pair)
    summed = summed_difference(pair, compared)
    tables = [
        _table(context, frame.drop(columns="by_seed")),
        pairs.table(context.file_name("generalised-pairs"), compared),
    ]
    answers = [_answer(pair, frame, summed, question), *settling.sentences(summed, pairs.is_significant(summed))]
    picture = _chart(context, pair, frame[frame["labels"] == "coarse"])
    return Section("Two ways to the superclass", tables=tables, answers=answers, picture=picture)


def _answer(pair: CoarseFinePair, frame: pd.DataFrame, summed: pd.Series, question: str) -> str:
    """Whether the fine model predicts the superclass better, by its summed probabilities."""
    better, settled = summed["a"] == pair.sum_title, pairs.is_significant(summed)
    accuracy = frame.set_index("model")["accuracy"]
    answer = ("Yes: " if better else "No: ") if settled else "Not settled: "
    if not re.match("(Are|Can|Do|Does|Is) ", question):
        answer = ""
    several = summed["seeds_a"] == summed["seeds_b"] > 1
    means = f" (means of {summed['seeds_a']} seeds)" if several else ""
    return (
        f"{answer}{pair.fine.title}, trained on the {pair.fine.predictions.classes} fine labels, predicts the superclass of "
        f"{brief_percent(accuracy[pair.sum_title])} of {summed['images']:,} test images correctly; {pair.coarse.title}, trained "
        f"on the {pair.coarse.predictions.classes} coarse labels, of {brief_percent(accuracy[pair.coarse.title])}"
        f"{means}. {'Fine' if better else 'Coarse'} labels lead by {brief_points(summed['difference'])} points"
        f"{'' if settled else ', which may be chance'} ({pairs.evidence(summed)})."
    )


def _table(context: ReportContext, frame: pd.DataFrame) -> Table:
    """The accuracies, with the numbers of seeds where one is larger than 1."""
    columns = COLUMNS if frame["seeds"].max() == 1 else (*COLUMNS[:3], Column("seeds", "seeds", count), *COLUMNS[3:])
    title = "Coarse and fine labels on the same test images"
    return Table(context.file_name("generalised"), title, frame, columns, NOTE)


def accuracies(pair: CoarseFinePair) -> pd.DataFrame:
    """The accuracy of each way to score two models.

    Args:
        pair: the coarse and the fine model.

    Returns:
        A row for each way, those on coarse labels first: the coarse model, and the fine model's superclass by argmax and by sum.
    """
    coarse, fine = pair.coarse.predictions, pair.fine.predictions
    title, top1 = pair.fine.title, [one.argmax(axis=1) for one in fine.probabilities_by_seed]
    top5 = np.stack([evaluation.in_top_k(fine.labels, one, 5) for one in fine.probabilities_by_seed])
    by_coarse = [one.argmax(axis=1) for one in coarse.probabilities_by_seed]
    rows = [
        _scores(pair.coarse.title, "coarse", by_coarse, pair.truth, coarse.classes),
        _scores(pair.argmax_title, "coarse", pair.superclasses_by_argmax, pair.truth, coarse.classes),
        _scores(pair.sum_title, "coarse", pair.superclasses_by_sum, pair.truth, coarse.classes),
        _scores(f"{title} (fine class)", "fine", top1, fine.labels, fine.classes),
        _accuracy(f"{title} (fine class, top 5)", "fine", top5, fine.labels, guesses=5),
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
    bars = frame.assign(name=frame["model"], synthetic=pair.synthetic)
    accuracies = "; ".join(f"{row['model']} {percent(row['accuracy'])}" for row in frame.to_dict("records"))
    return Chart(
        context.file_name("generalised"),
        plots.accuracy_bars(bars, f"{context.title}, {superclasses} superclasses"),
        f"Test accuracy on the superclasses: {accuracies}",
        "A network trained on fine labels predicts a superclass in two ways: that of the most probable class, or, as in the "
        "answer, the one whose classes have the largest sum of probabilities. Bars: 95% intervals; that two overlap does not "
        "mean that their difference is chance." + (" Small points: single seeds." if frame["seeds"].max() > 1 else ""),
    )
