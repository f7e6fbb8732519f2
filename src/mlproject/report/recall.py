"""On which fine classes the fine labels help: how often both models predict the right superclass. Pure."""

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.coarse_fine_pair import CoarseFinePair
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.fine_classes import SIGNIFICANCE
from mlproject.report.formats import brief_interval, count, join_words, p_value


def _whole_points(difference: float) -> str:
    """0.19 -> "+19", 0.0 -> "0": classes have so few images that decimals would mean nothing."""
    return f"{100 * difference:+.0f}".replace("-", "−") if round(100 * difference) else "0"


COLUMNS = (
    text_column("fine class", "class"),
    text_column("superclass"),
    Column("images", "images", count),
    Column("fine labels, probabilities summed", "fine_recall", "{:.0%}".format),
    Column("coarse labels", "coarse_recall", "{:.0%}".format),
    Column("difference, points", "difference", _whole_points),
    Column("95% interval, points", ("low", "high"), brief_interval),
    Column("p, BH-adjusted", "p_adjusted", p_value),
)
NOTE = (
    "Interval: Agresti and Min, for matched pairs. p: exact McNemar test, adjusted by Benjamini and Hochberg's method."
)
TITLE = "Recall of the superclass on the images of each fine class"


def section(context: ReportContext, pair: CoarseFinePair) -> Section:
    """On the images of each fine class, how often each model predicts the right superclass.

    Args:
        context: the comparison.
        pair: the coarse and the fine model; the fine model's probabilities are summed over each superclass.

    Returns:
        The section.
    """
    frame = _recalls(pair)
    gains, losses = frame[frame["difference"] > 0], frame[frame["difference"] < 0]
    overall = (
        f"With fine labels, the superclass is right more often on the images of {len(gains)} of {len(frame)} fine classes "
        f"({(gains['p_adjusted'] < SIGNIFICANCE).sum()} beyond chance) and less often on those of {len(losses)} "
        f"({(losses['p_adjusted'] < SIGNIFICANCE).sum()} beyond chance)."
    )
    directions = (("gain", gains), ("loss", losses))
    extremes = " ".join(
        f"The largest {direction} is on {_largest_in_words(rows)}." for direction, rows in directions if len(rows)
    )
    figure = figures.dumbbells(
        frame.assign(first=frame["fine_recall"], second=frame["coarse_recall"]),
        ("model trained on fine labels, probabilities summed", "model trained on coarse labels"),
        ("Correct more often with fine labels", "Correct less often with fine labels"),
        "recall of the superclass on the images of each fine class",
        context.title,
    )
    name = context.file_name("recall")
    chart = Chart(name, figure, f"{TITLE}: {extremes}", "The classes with the largest gains and losses.")
    findings = [text for text in (overall, extremes) if text]
    table = Table(name, TITLE, frame, COLUMNS, NOTE)
    return Section("Which images benefit from fine labels?", findings, [chart], [table])


def _recalls(pair: CoarseFinePair) -> pd.DataFrame:
    """A row for each fine class with test images, the largest gain first."""
    coarse_correct, fine_correct = pair.coarse.predictions.correct, pair.superclasses_by_sum[0] == pair.truth
    rows = []
    for index, (name, superclass) in enumerate(zip(pair.fine.class_names, pair.fine.table["superclass"], strict=True)):
        in_class = pair.fine.predictions.labels == index
        if in_class.any():
            fine, coarse = fine_correct[in_class], coarse_correct[in_class]
            recalls = {"images": int(in_class.sum()), "fine_recall": fine.mean(), "coarse_recall": coarse.mean()}
            difference = evaluation.paired_difference(fine, coarse)
            rows.append({"class": name, "superclass": superclass} | recalls | difference)
    frame = pd.DataFrame(rows).sort_values("difference", ascending=False, kind="stable", ignore_index=True)
    frame["p_adjusted"] = evaluation.benjamini_hochberg(frame["p"])
    return frame


def _largest_in_words(frame: pd.DataFrame) -> str:
    """The class with the largest difference and its recalls, or all classes that share this difference."""
    sizes = frame["difference"].abs()
    rows = frame[np.isclose(sizes, sizes.max())]
    if len(rows) > 1:
        return f"{join_words(rows['class'].tolist())}, {100 * sizes.max():.0f} points each"
    (row,) = rows.to_dict("records")
    return f"{row['class']} ({row['coarse_recall']:.0%} to {row['fine_recall']:.0%})"
