"""Classifiers on the same images, two by two: the table of their paired differences, and what may be said of it."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report.content import Column, count, equals, listed, p_value, points
from mlproject.report.members import Member

MANY = 6  # pairs beyond which only the leader's are put into words

COLUMNS = (
    Column("model", lambda r: r["a"], number=False),
    Column("set against", lambda r: r["b"], number=False),
    Column("test images", lambda r: count(r["images"])),
    Column("difference, points", lambda r: points(r["difference"])),
    Column("95% interval, bootstrap", lambda r: between(r["low"], r["high"])),
    Column("95% interval, Agresti-Min", lambda r: between(r["score_low"], r["score_high"])),
    Column("McNemar p", lambda r: p_value(r["p"])),
    Column("p, Holm-adjusted", lambda r: p_value(r["p_adjusted"])),
)
NOTE = (
    "Difference in accuracy on the same images, image by image, in percentage points. Intervals, 95%: the paired bootstrap "
    "(10,000 resamples of the images) and Agresti and Min's for matched pairs; neither covers the luck of the training "
    "seed. p: McNemar's exact test; Holm's adjustment is over the pairs of this table."
)


def same_images(one: Member, other: Member) -> bool:
    """Whether both were tested on the same images in the same order: the tag `test.digest` says so."""
    return one.tag("test.digest") != "" and one.tag("test.digest") == other.tag("test.digest")


def compare(answers: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """A row for every two of the answers, the more accurate first in its row; p adjusted by Holm over all of them.

    answers: title and correctness, bool (n,), on the same images in the same order.
    """
    rows = []
    for (a, correct_a), (b, correct_b) in combinations(answers, 2):
        if correct_b.sum() > correct_a.sum():
            a, correct_a, b, correct_b = b, correct_b, a, correct_a
        rows.append({"a": a, "b": b, "images": len(correct_a), **evaluation.paired_difference(correct_a, correct_b)})
    frame = pd.DataFrame(rows)
    return frame.assign(p_adjusted=evaluation.holm(frame["p"])) if rows else frame


def decided(row: Any) -> bool:
    """Whether the row carries a claim: its interval excludes 0 and the adjusted exact test agrees."""
    return bool(row["low"] > 0 and row["p_adjusted"] < 0.05)


def between(low: float, high: float) -> str:
    """An interval in points: "−0.10 to +0.52"."""
    return f"{points(low)} to {points(high)}"


def finding(row: Any) -> str:
    """What the row allows to be said."""
    numbers = (
        f"{points(row['difference'])} points, 95% interval {between(row['low'], row['high'])}, "
        f"Holm-adjusted McNemar p {equals(row['p_adjusted'])}"
    )
    if decided(row):
        return f"{row['a']} is more accurate than {row['b']} on the same {row['images']:,} test images ({numbers})."
    undecided = f"{row['a']} and {row['b']} cannot be told apart on these {row['images']:,} test images"
    return f"{undecided} ({numbers} for {row['a']})."


def findings(frame: pd.DataFrame) -> list[str]:
    """A sentence for each row; of many rows only for those of the most accurate one, its near equals in one sentence."""
    rows = [row for _, row in frame.iterrows()]
    if len(rows) <= MANY:
        return [finding(row) for row in rows]
    leader = next(a for a in frame["a"] if a not in set(frame["b"]))
    ahead = [row["b"] for row in rows if row["a"] == leader and decided(row)]
    level = [row["b"] for row in rows if row["a"] == leader and not decided(row)]
    said = [f"{leader} is more accurate than {listed(ahead)} on the same images."] if ahead else []
    return said + ([f"{listed([leader, *level])} cannot be told apart."] if level else [])
