"""Models tested on the same images, compared in pairs: the table of differences, and its findings. Pure."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report.content import Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, listed, p_equals, p_value, points, points_interval
from mlproject.report.models import ReportedModel, TestPredictions

MANY = 6  # with more pairs, sentences describe only those of the most accurate model
SIGNIFICANCE = 0.05  # of the Holm-adjusted p-value

COLUMNS = (
    text_column("model", "a"),
    text_column("compared with", "b"),
    Column("test images", "images", count),
    Column("difference, points", "difference", points),
    Column("95% interval, bootstrap", ("low", "high"), points_interval),
    Column("95% interval, Agresti-Min", ("score_low", "score_high"), points_interval),
    Column("McNemar p", "p", p_value),
    Column("p, Holm-adjusted", "p_adjusted", p_value),
)
NOTE = (
    "The difference in accuracy on the same images, compared image by image, in percentage points. The 95% intervals "
    "are the paired bootstrap (10,000 resamples of the images) and Agresti and Min's interval for matched pairs; "
    "neither covers the variation between training seeds. p: exact McNemar test; Holm's adjustment covers all pairs "
    "of this table."
)


def same_images(one: ReportedModel, other: ReportedModel) -> bool:
    """Whether both models were tested on the same images in the same order, by their tags `test.digest`."""
    return one.tag("test.digest") != "" and one.tag("test.digest") == other.tag("test.digest")


def section(context: ReportContext, models: Sequence[ReportedModel], predictions: Sequence[TestPredictions]) -> Section:
    """Compare every two of the models, including the earlier stages of their fits.

    Args:
        context: the comparison, or the numbered part of it that these models form.
        models: models tested on the same images with the same labels.
        predictions: their test predictions, in the same order.

    Returns:
        The section; its conclusions say which model is the most accurate.
    """
    labels = predictions[0].labels
    frame = compare([(stage.title, stage.predicted == labels) for one in predictions for stage in one.stages])
    table = Table(context.file_name("pairs"), "Paired differences in accuracy", frame, COLUMNS, NOTE)
    conclusions = _conclusions(frame, models, predictions)
    return Section("Pairwise comparisons", findings(frame), [], [table], conclusions)


def compare(classifiers: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """Compare every two classifiers on the same images.

    Args:
        classifiers: for each its title and whether it classifies each image correctly, bool (n,), in the same order of
            the images.

    Returns:
        A row for each pair, the more accurate one as `a`: a, b, images, the entries of
        `evaluation.paired_difference`, and p_adjusted (Holm's method over all pairs).
    """
    rows = []
    for (a, correct_a), (b, correct_b) in combinations(classifiers, 2):
        if correct_b.sum() > correct_a.sum():
            a, correct_a, b, correct_b = b, correct_b, a, correct_a
        rows.append({"a": a, "b": b, "images": len(correct_a), **evaluation.paired_difference(correct_a, correct_b)})
    frame = pd.DataFrame(rows)
    return frame.assign(p_adjusted=evaluation.holm(frame["p"])) if rows else frame


def is_significant(pair: pd.Series) -> bool:
    """Whether the difference of the pair is significant by both the interval and the adjusted exact test."""
    return bool(pair["low"] > 0 and pair["p_adjusted"] < SIGNIFICANCE)


def finding(pair: pd.Series) -> str:
    """The result of one pair in a sentence.

    Args:
        pair: a row of the frame that `compare` gives.

    Returns:
        Which of the two is more accurate, or that the difference is not significant, with the numbers.
    """
    test = (
        f"95% interval {points_interval(pair['low'], pair['high'])}, "
        f"Holm-adjusted McNemar p {p_equals(pair['p_adjusted'])}"
    )
    difference = f"{points(pair['difference'])} points"
    if is_significant(pair):
        return (
            f"{pair['a']} is more accurate than {pair['b']} on the same {pair['images']:,} test images "
            f"({difference}, {test})."
        )
    return (
        f"The difference between {pair['a']} and {pair['b']} on these {pair['images']:,} test images is not "
        f"significant ({difference} for {pair['a']}, {test})."
    )


def findings(frame: pd.DataFrame) -> list[str]:
    """The results of all pairs in sentences; if there are many pairs, only those of the most accurate model.

    Args:
        frame: as `compare` gives it.

    Returns:
        A sentence for each pair; with more than `MANY` pairs, at most two sentences.
    """
    pairs = [pair for _, pair in frame.iterrows()]
    if len(pairs) <= MANY:
        return [finding(pair) for pair in pairs]
    leader = _leader(frame)
    worse = [pair["b"] for pair in pairs if pair["a"] == leader and is_significant(pair)]
    level = [pair["b"] for pair in pairs if pair["a"] == leader and not is_significant(pair)]
    sentences = [f"{leader} is more accurate than {listed(worse)} on the same images."] if worse else []
    if level:
        sentences.append(f"{leader} is not significantly more accurate than {listed(level)}.")
    return sentences


def _leader(frame: pd.DataFrame) -> str:
    """The most accurate model: it is the less accurate one in no pair."""
    return next(str(title) for title in frame["a"] if title not in set(frame["b"]))


def _conclusions(
    frame: pd.DataFrame, models: Sequence[ReportedModel], predictions: Sequence[TestPredictions]
) -> list[str]:
    """The most accurate finished network, a smaller one that is not significantly worse, and the earlier stages."""
    metrics = {model.title: model.metrics for model in models}
    finished = frame[frame["a"].isin(metrics) & frame["b"].isin(metrics)]
    if finished.empty:
        return findings(frame)
    leader = _leader(finished)
    level = [pair["b"] for _, pair in finished.iterrows() if pair["a"] == leader and not is_significant(pair)]
    sizes = {title: metrics[title]["parameters"] for title in (leader, *level) if "parameters" in metrics[title]}
    smallest = min(sizes, key=lambda title: sizes[title], default=leader)
    sentences = findings(finished)
    if smallest != leader and sizes.get(leader, 0) > sizes[smallest]:
        sentences.append(
            f"Of the models that are not significantly less accurate than {leader}, {smallest} is the smallest, with "
            f"{count(sizes[smallest])} parameters compared with {count(sizes[leader])}."
        )
    own_stages = [pair for _, pair in frame.iterrows() if any(_same_fit(pair, one) for one in predictions)]
    return sentences + [finding(pair) for pair in own_stages]


def _same_fit(pair: pd.Series, predictions: TestPredictions) -> bool:
    """Whether the pair compares a finished network with an earlier stage of its own fit."""
    both = {pair["a"], pair["b"]}
    return predictions.title in both and both <= {stage.title for stage in predictions.stages}
