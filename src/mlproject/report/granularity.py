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
    coarse_fine_pairs = comparable_pairs(models, omissions)
    collected = [
        _accuracy_section(context.numbered(number, len(coarse_fine_pairs)), pair, question)
        for number, pair in enumerate(coarse_fine_pairs, start=1)
    ]
    if coarse_fine_pairs and by_class:
        first_pair, differences = coarse_fine_pairs[0], fine_classes.class_differences(coarse_fine_pairs[0])
        collected += [
            fine_classes.section(context, differences),
            hypotheses.section(context, first_pair, differences),
            recall.section(context, first_pair),
        ]
        if len(coarse_fine_pairs) > 1:
            omissions.append(
                f"To keep the page short, only {first_pair.coarse.title} and {first_pair.fine.title} are compared class by "
                "class"
            )
    return collected


def comparable_pairs(models: Sequence[ReportedModel], omissions: list[str]) -> list[CoarseFinePair]:
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
    candidates = [(coarse_model, fine_model) for coarse_model in coarse for fine_model in fine]
    candidates = [
        (coarse_model, fine_model) for coarse_model, fine_model in candidates if coarse_model.seed == fine_model.seed
    ] or candidates
    matches = []
    for coarse_model, fine_model in candidates:
        pair = pair_up(coarse_model, fine_model)
        if isinstance(pair, str):
            omissions.append(f"{coarse_model.title} and {fine_model.title} cannot be compared: {pair}")
        else:
            matches.append(pair)
    return matches


def summed_difference(pair: CoarseFinePair, differences: pd.DataFrame) -> pd.Series:
    """The difference between the coarse model and the fine model's summed probabilities.

    Args:
        pair: the coarse and the fine model.
        differences: as `compare_coarse_and_fine` gives it.

    Returns:
        Its row.
    """
    titles = {pair.coarse.title, pair.sum_title}
    (difference,) = [row for _, row in differences.iterrows() if {row["a"], row["b"]} == titles]
    return difference


def compare_coarse_and_fine(pair: CoarseFinePair) -> pd.DataFrame:
    """The coarse model and both ways to score the fine one, every two compared, as `pairs.compare` does it."""
    return pairs.compare(
        [
            pairs.Classifier(pair.coarse.title, pair.coarse.predictions.correct_by_seed, pair.coarse.title),
            pairs.Classifier(pair.argmax_title, np.stack(pair.superclasses_by_argmax) == pair.truth, pair.fine.title),
            pairs.Classifier(pair.sum_title, np.stack(pair.superclasses_by_sum) == pair.truth, pair.fine.title),
        ]
    )


def _accuracy_section(context: ReportContext, pair: CoarseFinePair, question: str) -> Section:
    frame, differences = accuracies(pair), compare_coarse_and_fine(pair)
    difference = summed_difference(pair, differences)
    tables = [
        _accuracy_table(context, frame.drop(columns="by_seed")),
        pairs.table(context.file_name("generalised-pairs"), differences),
    ]
    answers = [
        _answer(pair, frame, difference, question),
        *settling.sentences(difference, pairs.is_significant(difference)),
    ]
    picture = _chart(context, pair, frame[frame["labels"] == "coarse"])
    return Section("Two ways to the superclass", tables=tables, answers=answers, picture=picture)


def _answer(pair: CoarseFinePair, frame: pd.DataFrame, difference: pd.Series, question: str) -> str:
    """Whether the fine model predicts the superclass better, by its summed probabilities."""
    fine_leads, is_settled = difference["a"] == pair.sum_title, pairs.is_significant(difference)
    accuracy = frame.set_index("model")["accuracy"]
    answer = ("Yes: " if fine_leads else "No: ") if is_settled else "Not settled: "
    if not re.match("(Are|Can|Do|Does|Is) ", question):
        answer = ""
    lead = f"{'Fine' if fine_leads else 'Coarse'} labels lead by {brief_points(difference['difference'])} points"
    if difference["difference"] == 0:
        lead = "Fine and coarse labels are equally good here"
    elif not is_settled:
        lead += ", which may be chance"
    has_several_seeds = difference["seeds_a"] == difference["seeds_b"] > 1
    means_note = f" (means of {difference['seeds_a']} seeds)" if has_several_seeds else ""
    return (
        f"{answer}{pair.fine.title}, trained on the {pair.fine.predictions.classes} fine labels, predicts the superclass of "
        f"{brief_percent(accuracy[pair.sum_title])} of {difference['images']:,} test images correctly; {pair.coarse.title}, "
        f"trained on the {pair.coarse.predictions.classes} coarse labels, of {brief_percent(accuracy[pair.coarse.title])}"
        f"{means_note}. {lead} ({pairs.evidence(difference)})."
    )


def _accuracy_table(context: ReportContext, frame: pd.DataFrame) -> Table:
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
    title = pair.fine.title
    fine_predictions = [probabilities.argmax(axis=1) for probabilities in fine.probabilities_by_seed]
    in_top5 = np.stack(
        [evaluation.in_top_k(fine.labels, probabilities, 5) for probabilities in fine.probabilities_by_seed]
    )
    coarse_predictions = [probabilities.argmax(axis=1) for probabilities in coarse.probabilities_by_seed]
    rows = [
        _scores_row(pair.coarse.title, "coarse", coarse_predictions, pair.truth, coarse.classes),
        _scores_row(pair.argmax_title, "coarse", pair.superclasses_by_argmax, pair.truth, coarse.classes),
        _scores_row(pair.sum_title, "coarse", pair.superclasses_by_sum, pair.truth, coarse.classes),
        _scores_row(f"{title} (fine class)", "fine", fine_predictions, fine.labels, fine.classes),
        _accuracy_row(f"{title} (fine class, top 5)", "fine", in_top5, fine.labels, guesses=5),
    ]
    return pd.DataFrame(rows)


def _scores_row(
    model: str, labels: str, predictions_by_seed: Sequence[np.ndarray], truth: np.ndarray, classes: int
) -> dict[str, Any]:
    """The mean scores of the predictions of all seeds."""
    averages = pd.DataFrame(
        [evaluation.averages(truth, predictions, classes) for predictions in predictions_by_seed]
    ).mean()
    accuracy = _accuracy_row(model, labels, np.stack(predictions_by_seed) == truth, truth, guesses=1)
    return accuracy | {str(name): mean for name, mean in averages.items()}


def _accuracy_row(model: str, labels: str, correct: np.ndarray, truth: np.ndarray, guesses: int) -> dict[str, Any]:
    accuracy = evaluation.crossed_accuracy(correct)
    return {
        "model": model,
        "labels": labels,
        "images": len(truth),
        "seeds": len(correct),
        "by_seed": correct.mean(axis=1).tolist(),
        "accuracy": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "chance": np.sort(np.bincount(truth))[-guesses:].sum() / len(truth),
    }


def _chart(context: ReportContext, pair: CoarseFinePair, frame: pd.DataFrame) -> Chart:
    """The accuracies on superclasses, the one task that both kinds of labels share."""
    superclasses = pair.coarse.predictions.classes
    bars = frame.assign(name=frame["model"], synthetic=pair.synthetic)
    accuracies_in_words = "; ".join(f"{row['model']} {percent(row['accuracy'])}" for row in frame.to_dict("records"))
    return Chart(
        context.file_name("generalised"),
        plots.accuracy_bars(bars, f"{context.title}, {superclasses} superclasses"),
        f"Test accuracy on the superclasses: {accuracies_in_words}",
        "A network trained on fine labels predicts a superclass in two ways: that of the most probable class, or, as in the "
        "answer, the one whose classes have the largest sum of probabilities. Bars: 95% intervals; that two overlap does not "
        "mean that their difference is chance." + (" Small points: single seeds." if frame["seeds"].max() > 1 else ""),
    )
