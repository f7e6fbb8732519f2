"""Models tested on the same images, compared in pairs: the table of differences, and its findings. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import settling
from mlproject.report.content import Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import (
    brief_interval,
    brief_percent,
    brief_points,
    count,
    join_words,
    p_equals,
    p_value,
    points,
    points_interval,
)
from mlproject.report.models import ReportedModel, TestPredictions

SIGNIFICANCE = 0.05  # of the Holm-adjusted p-value
FIRST_SEED_NOTE = " Both are of the first seed."  # of a comparison of two stages of one fit

COLUMNS = (
    text_column("model", "a"),
    text_column("compared with", "b"),
    Column("test images", "images", count),
    Column("difference, points", "difference", points),
    Column("95% interval", ("low", "high"), points_interval),
    Column("p, Holm-adjusted", "p_adjusted", p_value),
    settling.COLUMN,
)
SEEDS_COLUMNS = (
    *COLUMNS[:3],
    Column("seeds", ("seeds_a", "seeds_b"), "{} and {}".format, number=False),
    *COLUMNS[3:5],
    text_column("interval and p cover", "covers"),
    *COLUMNS[5:],
)
ONE_SEED_NOTE = (
    "Interval: Agresti and Min, for matched pairs. p: exact McNemar test, in the CSV file also before the adjustment."
)
SEEDS_NOTE = (
    "Interval and p: t test with images and seeds as crossed random effects; where a model has one seed, Agresti and Min's "
    "interval for matched pairs with the exact McNemar test, or a t test over the images. The CSV file also has p before the "
    "adjustment."
)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Predictions that are compared with others.

    Attributes:
        title: what the report calls them.
        correct: whether the network of each seed is correct on each image, bool (seeds, n).
        fit: the fit that they come from. Two classifiers of one fit have the same networks, or an earlier stage of them.
    """

    title: str
    correct: np.ndarray
    fit: str


def have_same_images(model: ReportedModel, other: ReportedModel) -> bool:
    """Whether both models were tested on the same images in the same order, by their tags `test.digest`."""
    return model.tag("test.digest") != "" and model.tag("test.digest") == other.tag("test.digest")


def section(context: ReportContext, models: Sequence[ReportedModel], predictions: Sequence[TestPredictions]) -> Section:
    """Compare every two of the models, including the earlier stages of their fits.

    Args:
        context: the comparison, or the numbered part of it that these models form.
        models: models tested on the same images with the same labels: at least two, or one whose fit had earlier stages.
        predictions: their test predictions, in the same order.

    Returns:
        The section; its answers say which model is the most accurate, which of those as good is the smallest, and what the
        intervals do not cover.
    """
    frame = compare([classifier for model_predictions in predictions for classifier in _classifiers(model_predictions)])
    titles = [model.title for model in models]
    finished = frame[frame["a"].isin(titles) & frame["b"].isin(titles)]
    stage_findings = [
        finding(pair) + (FIRST_SEED_NOTE if pair["seeds_a"] < len(model_predictions.correct_by_seed) else "")
        for _, pair in frame.iterrows()
        for model_predictions in predictions
        if _is_stage_of_fit(pair, model_predictions)
    ]
    tables = [table(context.file_name("pairs"), frame)]
    answers = [] if finished.empty else _answers(finished, models, predictions)
    return Section("Every two models compared", stage_findings, tables=tables, answers=answers)


def _classifiers(predictions: TestPredictions) -> list[Classifier]:
    """The earlier stages of a fit, and its finished networks."""
    return [
        Classifier(stage.title, predictions.correct_after(stage), predictions.title) for stage in predictions.stages
    ]


def table(name: str, frame: pd.DataFrame) -> Table:
    """The differences as a table.

    Args:
        name: the name of its CSV file, without suffix.
        frame: as `compare` gives it.

    Returns:
        The table, with a column for the seeds if a model has several.
    """
    has_several_seeds = bool((frame[["seeds_a", "seeds_b"]] > 1).to_numpy().any())
    columns, note = (SEEDS_COLUMNS, SEEDS_NOTE) if has_several_seeds else (COLUMNS, ONE_SEED_NOTE)
    return Table(name, "Paired differences in accuracy", frame, columns, f"{note} {settling.NOTE}", main=len(frame) > 1)


def compare(classifiers: Sequence[Classifier]) -> pd.DataFrame:
    """Compare every two classifiers on the same images.

    Args:
        classifiers: at least two, with the images in the same order.

    Returns:
        A row for each pair, the more accurate one as `a`: a, b, images, seeds_a, seeds_b, covers ("images" or "images and
        seeds"), difference, low, high, p, p_adjusted (Holm's method over all pairs), seed_std (NaN where it was not
        measured), and what `settling.requirements` adds.
    """
    rows = []
    for pair in combinations(classifiers, 2):
        a, b = sorted(_with_common_seeds(*pair), key=lambda classifier: float(classifier.correct.mean()), reverse=True)
        rows.append({"a": a.title, "b": b.title, "images": a.correct.shape[1], **_difference_row(a, b)})
    frame = pd.DataFrame(rows)
    return frame.assign(p_adjusted=evaluation.holm(frame["p"]))


def _with_common_seeds(a: Classifier, b: Classifier) -> tuple[Classifier, Classifier]:
    """Two classifiers as they are compared: of one fit, such as a stage and its finished network, the seeds that both have."""
    if a.fit != b.fit:
        return a, b
    seeds = min(len(a.correct), len(b.correct))
    return replace(a, correct=a.correct[:seeds]), replace(b, correct=b.correct[:seeds])


def _difference_row(a: Classifier, b: Classifier) -> dict[str, Any]:
    difference = evaluation.crossed_difference(a.correct, b.correct, same_networks=a.fit == b.fit)
    row: dict[str, Any] = {
        "seeds_a": len(a.correct),
        "seeds_b": len(b.correct),
        "covers": "images and seeds" if difference.seeds_covered else "images",
        **{name: getattr(difference, name) for name in ("difference", "low", "high", "p", "seed_std")},
    }
    if len(a.correct) == len(b.correct) == 1:
        row |= evaluation.paired_difference(a.correct[0], b.correct[0])
    return row | settling.requirements(difference, a.correct.shape[1])


def is_significant(pair: pd.Series) -> bool:
    """Whether the difference of the pair is significant by both its interval and its adjusted p-value."""
    return bool(pair["low"] > 0 and pair["p_adjusted"] < SIGNIFICANCE)


def finding(pair: pd.Series) -> str:
    """The result of one pair in a sentence.

    Args:
        pair: a row of the frame that `compare` gives.

    Returns:
        Which of the two is more accurate and whether that may be chance, or that they are equally accurate, with the numbers.
    """
    images = f"of the same {pair['images']:,} test images correctly"
    if pair["difference"] == 0:
        return f"{pair['a']} classifies as many {images} as {pair['b']} ({evidence(pair)})."
    chance_note = "" if is_significant(pair) else ", which may be chance"
    return (
        f"{pair['a']} classifies {brief_points(pair['difference'])} points more {images} than {pair['b']}{chance_note} "
        f"({evidence(pair)})."
    )


def evidence(pair: pd.Series) -> str:
    """The interval and the p-value of a pair in words."""
    coverage = " over images and seeds" if pair["covers"] == "images and seeds" else ""
    return f"95% interval {brief_interval(pair['low'], pair['high'])}{coverage}, p {p_equals(pair['p_adjusted'])}"


def _leader(frame: pd.DataFrame) -> str:
    """The most accurate model: it is the less accurate one in no pair."""
    return next(str(title) for title in frame["a"] if title not in set(frame["b"]))


def _answers(
    finished: pd.DataFrame, models: Sequence[ReportedModel], predictions: Sequence[TestPredictions]
) -> list[str]:
    """The most accurate model beside its rivals, the smallest that is as good, and what would settle the closest race."""
    leader = _leader(finished)
    rivals = finished[finished["a"] == leader].sort_values("difference", kind="stable")
    tied = [pair["b"] for _, pair in rivals.iterrows() if not is_significant(pair)]
    (correct,) = (
        model_predictions.correct_by_seed for model_predictions in predictions if model_predictions.title == leader
    )
    mean = f" (mean of {len(correct)} seeds)" if len(correct) > 1 else ""
    prefix = f"Not settled between {join_words([leader, *tied])}: " if tied else ""
    sentence = (
        f"{prefix}{leader} classifies {brief_percent(correct.mean())} of {rivals['images'].iloc[0]:,} test images correctly"
        f"{mean}, {join_words([_lead_in_words(pair) for _, pair in rivals.iterrows()])}."
    )
    sizes = {model.title: model.metrics.get("parameters", np.nan) for model in models}
    measured = [title for title in tied if not np.isnan(sizes[title])]
    smallest = min(measured, key=lambda title: sizes[title], default=leader)
    answers = [sentence]
    if sizes[smallest] < sizes[leader]:
        rank = "smaller one" if len(measured) == 1 else "smallest"
        answers.append(
            f"Of {join_words([leader, *measured])}, {smallest} is the {rank}, with {count(sizes[smallest])} parameters against "
            f"{count(sizes[leader])}."
        )
    return answers + settling.sentences(rivals.iloc[0], is_significant(rivals.iloc[0]))


def _lead_in_words(pair: pd.Series) -> str:
    if pair["difference"] == 0:
        return f"as many as {pair['b']} ({evidence(pair)})"
    chance_note = "" if is_significant(pair) else "which may be chance: "
    return f"{brief_points(pair['difference'])} points more than {pair['b']} ({chance_note}{evidence(pair)})"


def _is_stage_of_fit(pair: pd.Series, predictions: TestPredictions) -> bool:
    """Whether the pair compares a finished network with an earlier stage of its own fit."""
    titles = {pair["a"], pair["b"]}
    return predictions.title in titles and titles <= {stage.title for stage in predictions.stages}
