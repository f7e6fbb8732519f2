"""The report's own figures: from tables to matplotlib figures, in the style of `mlproject.plots`. Pure."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from mlproject.style import BLUE, GREY, INK, ORANGE, VERMILION, new_figure, set_tip, show_image, styled

# The colours of Okabe and Ito without yellow, which is too light for lines on white.
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE, "#56B4E9", INK)
MARKERS = "osD^vPX"
FEWEST_IN_BIN = 20  # images: of fewer, the 95% interval of a share can reach more than 20 points to a side
MOST_ROWS = 15  # of each panel of `dumbbells`

GalleryRow = tuple[str, list[tuple[np.ndarray, str]]]  # a heading, and images with the text below each


@styled
def learning_curves(
    histories: Mapping[str, pd.DataFrame], validations: Mapping[str, pd.DataFrame], title: str = ""
) -> Figure:
    """Accuracy against the minutes trained, with all models on one axis.

    Args:
        histories: for each model's name a row for each epoch, with accuracy, seconds (of that epoch) and stage.
        validations: for some of these names accuracy on validation images and minutes; a row for each epoch.
        title: the subject of the figure, printed above.

    Returns:
        The figure; lines show the training, dashed ones the validation, and a ring marks where the stage changes.
    """
    figure = new_figure((8, 4.5), "accuracy by minutes of training", title)
    axes = figure.subplots()
    for index, (name, history) in enumerate(histories.items()):
        minutes = history["seconds"].cumsum() / 60
        # A marker at each of a hundred epochs would hide the other curves.
        marker_spacing = math.ceil(len(history) / 20)
        axes.plot(
            minutes, history["accuracy"], ms=5, lw=1.8, markevery=marker_spacing, label=name, **marker_style(index)
        )
        _add_tips(axes, minutes, history["accuracy"], f"{name}: training")
        if name in validations:
            curve = validations[name]
            dashed = {"ls": "--", "lw": 1.5, "ms": 5, "mfc": "none", **marker_style(index)}
            axes.plot(curve["minutes"], curve["accuracy"], label=f"{name}: validation", **dashed)
            _add_tips(axes, curve["minutes"], curve["accuracy"], f"{name}: validation")
        is_last_of_stage = history["stage"] != history["stage"].shift(-1)
        stage_ends = minutes[is_last_of_stage][:-1], history["accuracy"][is_last_of_stage][:-1]
        axes.plot(*stage_ends, ls="", marker="o", ms=12, mfc="none", mec=INK, zorder=3)
    axes.set_xlabel("Minutes of training")
    axes.set_ylabel("Accuracy")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def reliability(curves: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """How often each model is correct at a given confidence, one panel for each model; ideally it lies on the diagonal.

    Args:
        curves: for each model's name the table that `evaluation.calibration` gives.
        title: the subject of the figure, printed above.

    Returns:
        The figure; the area of a marker grows with the number of images in its bin. Bins of few images are left out.
    """
    columns = min(len(curves), 4)
    rows = math.ceil(len(curves) / columns)
    figure = new_figure((3.2 * columns + 0.4, 3.1 * rows + 0.6), "reliability", title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (name, bins) in zip(panels, curves.items(), strict=False):
        curve = bins[bins["images"] >= FEWEST_IN_BIN]
        axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
        axes.plot(curve["confidence"], curve["accuracy"], color=BLUE, lw=1.5)
        for confidence, accuracy, images in curve[["confidence", "accuracy", "images"]].to_numpy():
            size = 5 + 150 * images / curve["images"].max()
            mark = axes.scatter(confidence, accuracy, s=size, color=BLUE, alpha=0.7, lw=0)
            set_tip(mark, f"{accuracy:.1%} right at {confidence:.1%} confidence ({images:,.0f} images)")
        axes.set_title(textwrap.fill(name, 30), fontsize=10)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(True)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("Confidence (probability of the most probable class)", fontsize=10)
    figure.supylabel("Accuracy", fontsize=10)
    return figure


@styled
def f1_by_class(table: pd.DataFrame, title: str = "") -> Figure:
    """The F1 of each class by each model: a line for each class, and on it a marker for each model.

    Args:
        table: F1 from 0 to 1, with a row (of the index) for each class and a column for each model.
        title: the subject of the figure, printed above.

    Returns:
        The figure.
    """
    legend_rows = math.ceil(len(table.columns) / 3)
    figure = new_figure((9.5, 1.6 + 0.36 * len(table) + 0.24 * legend_rows), "F1 of each class", title)
    axes = figure.subplots()
    rows = np.arange(len(table))
    axes.hlines(rows, table.min(axis=1), table.max(axis=1), color="#C8C8C8", lw=2, zorder=1)
    for index, name in enumerate(table.columns):
        style = marker_style(index)
        for row, score in zip(rows, table[name], strict=True):
            (mark,) = axes.plot(score, row, ls="", ms=7, alpha=0.85, label="" if row else name, **style)
            set_tip(mark, f"{name}: {score:.3f}")
    axes.set_yticks(rows, table.index)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("F1")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=min(len(table.columns), 3))
    return figure


@styled
def dumbbells(
    table: pd.DataFrame, names: tuple[str, str], headings: tuple[str, str], kind: str, title: str = ""
) -> Figure:
    """The classes in which two scores differ most, at most 15 in each direction.

    Args:
        table: class, superclass, first and second, two scores from 0 to 1; a row for each class.
        names: what `first` (blue circles) and `second` (orange diamonds) are.
        headings: of the left panel, which shows classes with a higher `first`, and of the right panel with the others.
        kind: what is shown, for the heading of the figure.
        title: the subject of the figure, printed before `kind`.

    Returns:
        The figure.
    """
    table = table.assign(gap=table["first"] - table["second"]).sort_values("gap", kind="stable")
    sides = table[table["gap"] > 0].iloc[::-1].head(MOST_ROWS), table[table["gap"] < 0].head(MOST_ROWS)
    rows = max(*map(len, sides), 1)
    figure = new_figure((13, 1.7 + 0.34 * rows), kind, title)
    for axes, side, heading in zip(figure.subplots(1, 2, sharex=True), sides, headings, strict=True):
        positions = np.arange(len(side))
        axes.hlines(positions, side["first"], side["second"], color=GREY, lw=2)
        for position, row in zip(positions, side.itertuples(), strict=True):
            for score, marker, colour in ((row.second, "D", ORANGE), (row.first, "o", BLUE)):
                (mark,) = axes.plot(score, position, marker, color=colour, ms=7)
                set_tip(mark, f"{score:.3f}")
        axes.set_yticks(positions, side["class"] + "  (" + side["superclass"] + ")")
        axes.tick_params(axis="y", length=0)
        axes.set_title(heading if len(side) else f"{heading}: none")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(True)
        axes.set_ylim(rows - 0.4, -0.6)
    marks = [Line2D([], [], color=BLUE, marker="o", ls=""), Line2D([], [], color=ORANGE, marker="D", ls="")]
    figure.legend(marks, names, loc="outside lower center", ncols=2)
    return figure


@styled
def superclass_panels(table: pd.DataFrame, title: str = "") -> Figure:
    """The F1 of fine classes beside the F1 of their superclass, in a small panel for each superclass.

    Args:
        table: class, superclass, f1, superclass_f1, f1_difference, and f1_low and f1_high, which are the interval of
            the difference; a row for each class.
        title: the subject of the figure, printed above.

    Returns:
        The figure. The line is the F1 of the superclass; a bar is the interval of a class's difference, added to it.
    """
    groups = sorted(table.groupby("superclass"), key=lambda group: group[1]["f1_difference"].min())
    columns = min(len(groups), 4)
    rows, tallest = math.ceil(len(groups) / columns), max(len(group) for _, group in groups)
    size = (3.6 * columns + 0.3, (0.75 + 0.25 * tallest) * rows + 1.0)
    figure = new_figure(size, "F1 of the classes of each superclass", title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (superclass, group) in zip(panels, groups, strict=False):
        group = group.sort_values("f1", ascending=False, kind="stable")
        positions, superclass_f1 = np.arange(len(group)), group["superclass_f1"].iloc[0]
        axes.axvline(superclass_f1, color=ORANGE, lw=2.5)
        axes.hlines(
            positions, superclass_f1 + group["f1_low"], superclass_f1 + group["f1_high"], color=BLUE, alpha=0.4, lw=4
        )
        axes.plot(group["f1"], positions, "o", color=BLUE, ms=6)
        axes.set_yticks(positions, group["class"], fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.set_title(textwrap.fill(str(superclass), 34), fontsize=9.5)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    marks = [Line2D([], [], color=BLUE, marker="o", lw=4, alpha=0.7), Line2D([], [], color=ORANGE, lw=2.5)]
    names = ["fine class, with the interval of its difference from the superclass", "its superclass"]
    figure.legend(marks, names, loc="outside lower center", ncols=2)
    return figure


@styled
def gallery(rows: Sequence[GalleryRow], kind: str, title: str = "") -> Figure:
    """Rows of images with a heading for each row and a short text below each image.

    Args:
        rows: for each row its heading and its images, uint8 (h, w, c), each with its text.
        kind: what is shown, for the heading of the figure.
        title: the subject of the figure, printed before `kind`.

    Returns:
        The figure.
    """
    columns = max(len(images) for _, images in rows)
    figure = new_figure((max(1.25 * columns, 6), 2.05 * len(rows) + 0.5), kind, title)
    subfigures = figure.subfigures(len(rows), 1, squeeze=False).ravel()
    for subfigure, (heading, images) in zip(subfigures, rows, strict=True):
        subfigure.suptitle(heading, fontsize=10, x=0.01, ha="left")
        panels = subfigure.subplots(1, columns, squeeze=False).ravel()
        for axes, (image, text) in zip(panels, images, strict=False):
            show_image(axes, image)
            axes.set_anchor("N")
            placement = {"xycoords": "axes fraction", "xytext": (0, -3), "textcoords": "offset points"}
            wrapped = textwrap.fill(text.replace("_", " "), 15)
            axes.annotate(wrapped, (0.5, 0), va="top", ha="center", fontsize=8, **placement)
        for axes in panels:
            axes.set_axis_off()
    return figure


def _add_tips(axes: Axes, minutes: pd.Series, accuracies: pd.Series, label: str) -> None:
    """Invisible marks on a curve, with a text for the pointer."""
    for minute, accuracy in zip(minutes, accuracies, strict=True):
        (mark,) = axes.plot(minute, accuracy, "o", ms=8, alpha=0)
        set_tip(mark, f"{label} {accuracy:.1%} after {minute:.1f} minutes")


def marker_style(index: int) -> dict[str, Any]:
    """Colour and marker of a model: both differ for the first seven models, and together for 49."""
    return {"color": COLOURS[index % 7], "marker": MARKERS[(index + index // 7) % 7]}
