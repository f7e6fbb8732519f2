"""Two classifiers on the same images: the table of their paired differences, and what may be said of one."""

from typing import Any

import numpy as np

from mlproject import evaluation
from mlproject.report.content import Column, count, p_value, points
from mlproject.report.members import Member

COLUMNS = (
    Column("more accurate", lambda r: r["a"], number=False),
    Column("than", lambda r: r["b"], number=False),
    Column("test images", lambda r: count(r["images"])),
    Column("difference, points", lambda r: points(r["difference"])),
    Column("95% interval, points", lambda r: between(r)),
    Column("McNemar p", lambda r: p_value(r["p"])),
)
NOTE = (
    "Difference in accuracy on the same images, image by image; 95% interval of matched pairs (Agresti and Min) and the "
    "exact McNemar test's p. Neither is adjusted for the number of pairs, nor covers the luck of the training seed."
)


def same_images(one: Member, other: Member) -> bool:
    """Whether both were tested on the same images in the same order: the tag `test.digest` says so."""
    return one.tag("test.digest") != "" and one.tag("test.digest") == other.tag("test.digest")


def row(a: str, correct_a: np.ndarray, b: str, correct_b: np.ndarray) -> dict[str, Any]:
    """A row of the table of paired differences; the more accurate of the two comes first.

    `correct_a`, `correct_b`: bool (n,), for the same images in the same order.
    """
    if correct_b.sum() > correct_a.sum():
        a, correct_a, b, correct_b = b, correct_b, a, correct_a
    return {"a": a, "b": b, "images": len(correct_a), **evaluation.paired_difference(correct_a, correct_b)}


def between(row: Any) -> str:
    """The interval of a row, in points: "−0.10 to +0.52"."""
    return f"{points(row['low'])} to {points(row['high'])}"


def finding(row: Any) -> str:
    """What the row allows to be said: a difference only when its interval excludes 0 and the exact test agrees."""
    numbers = f"{points(row['difference'])} points, 95% interval {between(row)}, McNemar p {_equals(row['p'])}"
    if row["low"] > 0 and row["p"] < 0.05:
        return f"{row['a']} is more accurate than {row['b']} on the same {row['images']:,} test images ({numbers})."
    undecided = f"{row['a']} and {row['b']} cannot be told apart on these {row['images']:,} test images"
    return f"{undecided} ({numbers} for {row['a']})."


def _equals(p: float) -> str:
    return p_value(p) if p < 0.0001 else f"= {p_value(p)}"
