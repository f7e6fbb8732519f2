"""Models tested on the same images, compared in pairs: the table of differences, and its findings. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import settling
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
    settling.COLUMN,
)
SEEDS_COLUMNS = (
    *COLUMNS[:3],
    Column("seeds", ("seeds_a", "seeds_b"), "{} and {}".format, number=False),
    COLUMNS[3],
    Column("95% interval", ("low", "high"), points_interval),
    text_column("covers"),
    Column("p", "p", p_value),
    *COLUMNS[7:],
)
HOLM_NOTE = " Holm's adjustment covers all pairs of this table."
ONE_SEED_NOTE = (
    "The difference in accuracy on the same images, compared image by image, in percentage points. The 95% intervals are the "
    "paired bootstrap (10,000 resamples of the images) and Agresti and Min's interval for matched pairs. p: exact McNemar test."
)
SEEDS_NOTE = (
    "The difference in mean accuracy on the same images, in percentage points. An interval that covers images and seeds, and its "
    "p, are those of a t test with images and seeds as crossed random effects and Hillis' degrees of freedom. One that covers "
    "images alone belongs to a pair with a model of one seed: the paired bootstrap with the exact McNemar test, or, beside a "
    "model of several seeds, the t test over the images."
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
    frame = compare([classifier for one in predictions for classifier in _classifiers(one)])
    sentences = findings(frame)
    finished = _between(frame, [model.title for model in models])
    if len(finished):
        leader = _leader(finished)
        next_best = finished[finished["a"] == leader].sort_values("difference", kind="stable").iloc[0]
        sentences += settling.sentences(next_best, is_significant(next_best))
    conclusions = _conclusions(frame, models, predictions)
    return Section("Pairwise comparisons", sentences, [], [table(context.file_name("pairs"), frame)], conclusions)


def _classifiers(predictions: TestPredictions) -> list[Classifier]:
    """The earlier stages of a fit, and its finished networks."""
    *earlier, _ = predictions.stages
    stages = [Classifier(one.title, (one.predicted == predictions.labels)[None], predictions.title) for one in earlier]
    return [*stages, Classifier(predictions.title, predictions.correct_by_seed, predictions.title)]


def table(name: str, frame: pd.DataFrame) -> Table:
    """The differences as a table.

    Args:
        name: the name of its CSV file, without suffix.
        frame: as `compare` gives it.

    Returns:
        The table, with a column for the seeds if a model has several.
    """
    several = len(frame) > 0 and bool((frame[["seeds_a", "seeds_b"]] > 1).to_numpy().any())
    columns, note = (SEEDS_COLUMNS, SEEDS_NOTE) if several else (COLUMNS, ONE_SEED_NOTE)
    return Table(name, "Paired differences in accuracy", frame, columns, note + HOLM_NOTE + settling.NOTE)


def compare(classifiers: Sequence[Classifier]) -> pd.DataFrame:
    """Compare every two classifiers on the same images.

    Args:
        classifiers: with the images in the same order.

    Returns:
        A row for each pair, the more accurate one as `a`: a, b, images, seeds_a, seeds_b, covers ("images" or "images and
        seeds"), difference, low, high, score_low and score_high (NaN with several seeds), p, p_adjusted (Holm's method over
        all pairs), seed_std (NaN where it was not measured), and what `settling.needs` adds.
    """
    rows = []
    for a, b in combinations(classifiers, 2):
        if b.correct.mean() > a.correct.mean():
            a, b = b, a
        rows.append({"a": a.title, "b": b.title, "images": a.correct.shape[1], **_difference(a, b)})
    frame = pd.DataFrame(rows)
    return frame.assign(p_adjusted=evaluation.holm(frame["p"])) if rows else frame


def _difference(a: Classifier, b: Classifier) -> dict[str, Any]:
    """The difference of two classifiers; of one fit, only the seeds that both have are compared."""
    same_fit = a.fit == b.fit
    seeds = min(len(a.correct), len(b.correct)) if same_fit else None
    correct_a, correct_b = a.correct[:seeds], b.correct[:seeds]
    found = evaluation.crossed_difference(correct_a, correct_b, same_networks=same_fit)
    row: dict[str, Any] = {
        "seeds_a": len(correct_a),
        "seeds_b": len(correct_b),
        "covers": "images and seeds" if found.seeds_covered else "images",
        **{name: getattr(found, name) for name in ("difference", "low", "high", "p", "seed_std")},
    }
    row |= {"score_low": np.nan, "score_high": np.nan}
    if len(correct_a) == len(correct_b) == 1:
        row |= evaluation.paired_difference(correct_a[0], correct_b[0])
    return row | settling.needs(found, correct_a.shape[1])


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
    over = " over images and seeds" if pair["covers"] == "images and seeds" else ""
    name = "McNemar p" if pair["seeds_a"] == pair["seeds_b"] == 1 else "p"
    test = (
        f"95% interval{over} {points_interval(pair['low'], pair['high'])}, "
        f"Holm-adjusted {name} {p_equals(pair['p_adjusted'])}"
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


def _between(frame: pd.DataFrame, titles: Collection[str]) -> pd.DataFrame:
    """The pairs of which both have one of these titles."""
    return frame[frame["a"].isin(titles) & frame["b"].isin(titles)] if len(frame) else frame


def _leader(frame: pd.DataFrame) -> str:
    """The most accurate model: it is the less accurate one in no pair."""
    return next(str(title) for title in frame["a"] if title not in set(frame["b"]))


def _conclusions(
    frame: pd.DataFrame, models: Sequence[ReportedModel], predictions: Sequence[TestPredictions]
) -> list[str]:
    """The most accurate finished network, a smaller one that is not significantly worse, and the earlier stages."""
    metrics = {model.title: model.metrics for model in models}
    finished = _between(frame, metrics)
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
