"""The report's own figures: tables in, matplotlib figures out, in the style of `mlproject.plots`. Pure."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from mlproject.plots import BLUE, GREY, INK, ORANGE, STYLE, VERMILION, new_figure

# Okabe and Ito's colours, the yellow left out: it is too light for lines on white. Beyond seven the marker tells.
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE, "#56B4E9", INK)
MARKERS = "osD^vPX"


@matplotlib.rc_context(STYLE)
def learning_curves(histories: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Training accuracy against the minutes trained, all models on one axis.

    histories: for each model's name a row for each epoch, with `accuracy`, `seconds` (of that epoch) and `stage`; where
    the stage changes, a ring is drawn.
    """
    figure = new_figure((10, 4.8), "training accuracy by minutes of training", title)
    axes = figure.subplots()
    for index, (name, history) in enumerate(histories.items()):
        minutes = history["seconds"].cumsum() / 60
        every = -(-len(history) // 20)  # a mark at each of a hundred epochs would bury the other curves
        axes.plot(minutes, history["accuracy"], ms=5, lw=1.8, markevery=every, label=name, **_look(index))
        last = history["stage"] != history["stage"].shift(-1)
        ends = minutes[last][:-1], history["accuracy"][last][:-1]
        axes.plot(*ends, ls="", marker="o", ms=12, mfc="none", mec=INK, zorder=3)
    axes.set_xlabel("Minutes of training (final fit)")
    axes.set_ylabel("Accuracy on training images")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@matplotlib.rc_context(STYLE)
def reliability(curves: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """For each model a panel: how often it is right when it says it is so sure. On the diagonal, as often as it says.

    curves: for each name the table of `evaluation.calibration`; the area of a mark grows with the bin's number of images.
    """
    columns = min(len(curves), 4)
    rows = -(-len(curves) // columns)
    figure = new_figure((3.2 * columns + 0.4, 3.1 * rows + 0.6), "reliability", title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (name, curve) in zip(panels, curves.items(), strict=False):
        axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
        axes.plot(curve["confidence"], curve["accuracy"], color=BLUE, lw=1.5)
        sizes = 5 + 150 * curve["images"] / curve["images"].max()
        axes.scatter(curve["confidence"], curve["accuracy"], s=sizes, color=BLUE, alpha=0.7, lw=0)
        axes.set_title(_wrapped(name, 30), fontsize=10)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), aspect="equal")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(True)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("Confidence (probability of the likeliest class)", fontsize=10)
    figure.supylabel("Accuracy", fontsize=10)
    return figure


@matplotlib.rc_context(STYLE)
def scores_by_class(table: pd.DataFrame, measure: str, title: str = "") -> Figure:
    """One score of each class (row of the index) by each model (column), 0..1: a mark for each on the class's line."""
    legend_rows = -(-len(table.columns) // 3)
    figure = new_figure((9.5, 1.6 + 0.36 * len(table) + 0.24 * legend_rows), f"{measure} of each class", title)
    axes = figure.subplots()
    rows = np.arange(len(table))
    axes.hlines(rows, table.min(axis=1), table.max(axis=1), color="#C8C8C8", lw=2, zorder=1)
    for index, name in enumerate(table.columns):
        look = _look(index)
        axes.plot(table[name], rows, ls="", ms=7, marker=look["marker"], color=look["color"], label=name, alpha=0.85)
    axes.set_yticks(rows, table.index)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel(measure)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=min(len(table.columns), 3))
    return figure


@matplotlib.rc_context(STYLE)
def dumbbells(
    table: pd.DataFrame, names: tuple[str, str], headings: tuple[str, str], what: str, title: str = "", top: int = 15
) -> Figure:
    """The classes in which two scores differ most, in both directions.

    table: class, superclass, first, second (scores 0..1). names: what `first` (round, blue) and `second` (diamond, orange)
    are. Left the `top` classes with `first` furthest above `second`, right the `top` furthest below, under `headings`.
    """
    table = table.assign(gap=table["first"] - table["second"]).sort_values("gap", kind="stable")
    sides = table[table["gap"] > 0].iloc[::-1].head(top), table[table["gap"] < 0].head(top)
    rows = max(*map(len, sides), 1)
    figure = new_figure((13, 1.7 + 0.34 * rows), what, title)
    for axes, side, heading in zip(figure.subplots(1, 2, sharex=True), sides, headings, strict=True):
        lines = np.arange(len(side))
        axes.hlines(lines, side["first"], side["second"], color=GREY, lw=2)
        axes.plot(side["second"], lines, "D", color=ORANGE, ms=7)
        axes.plot(side["first"], lines, "o", color=BLUE, ms=8)
        axes.set_yticks(lines, side["class"] + "  (" + side["superclass"] + ")")
        axes.tick_params(axis="y", length=0)
        axes.set_title(heading if len(side) else f"{heading}: none")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(True)
        axes.set_ylim(rows - 0.4, -0.6)
    marks = [Line2D([], [], color=BLUE, marker="o", ls=""), Line2D([], [], color=ORANGE, marker="D", ls="")]
    figure.legend(marks, names, loc="outside lower center", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def superclass_panels(table: pd.DataFrame, title: str = "") -> Figure:
    """A small plot for each superclass: F1 of its classes, by a model of fine labels, against its own by one of coarse labels.

    table: class, superclass, f1, superclass_f1, f1_difference, f1_low, f1_high (interval of the difference). The line is the
    superclass; a bar is the class's interval, drawn about the line's place plus the difference.
    """
    groups = sorted(table.groupby("superclass"), key=lambda group: group[1]["f1_difference"].min())
    columns = min(len(groups), 4)
    rows, tallest = -(-len(groups) // columns), max(len(group) for _, group in groups)
    size = (3.6 * columns + 0.3, (0.75 + 0.25 * tallest) * rows + 1.0)
    figure = new_figure(size, "F1 of the classes of each superclass", title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (superclass, group) in zip(panels, groups, strict=False):
        group = group.sort_values("f1", ascending=False, kind="stable")
        lines, line = np.arange(len(group)), group["superclass_f1"].iloc[0]
        axes.axvline(line, color=ORANGE, lw=2.5)
        axes.hlines(lines, line + group["f1_low"], line + group["f1_high"], color=BLUE, alpha=0.4, lw=4)
        axes.plot(group["f1"], lines, "o", color=BLUE, ms=6)
        axes.set_yticks(lines, group["class"], fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.set_title(_wrapped(superclass, 34), fontsize=9.5)
        axes.grid(True, axis="x")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    marks = [Line2D([], [], color=BLUE, marker="o", lw=4, alpha=0.7), Line2D([], [], color=ORANGE, lw=2.5)]
    names = ["fine class, with the interval of its difference from the superclass", "the superclass itself"]
    figure.legend(marks, names, loc="outside lower center", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def gallery(rows: Sequence[tuple[str, Sequence[tuple[np.ndarray, str]]]], what: str, title: str = "") -> Figure:
    """Rows of images under a heading each; an image, uint8 (h, w, 1 or 3), has a short text below it."""
    across = max(len(images) for _, images in rows)
    figure = new_figure((max(1.25 * across, 6), 2.05 * len(rows) + 0.5), what, title)
    parts = figure.subfigures(len(rows), 1, squeeze=False).ravel()
    for part, (heading, images) in zip(parts, rows, strict=True):
        part.suptitle(heading, fontsize=10, x=0.01, ha="left")
        panels = part.subplots(1, across, squeeze=False).ravel()
        for axes, (image, text) in zip(panels, images, strict=False):
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_anchor("N")
            below = {"xycoords": "axes fraction", "xytext": (0, -3), "textcoords": "offset points"}
            axes.annotate(_wrapped(text.replace("_", " "), 15), (0.5, 0), va="top", ha="center", fontsize=8, **below)
        for axes in panels:
            axes.set_axis_off()
    return figure


@matplotlib.rc_context(STYLE)
def search(trials: pd.DataFrame, hyperparameters: Mapping[str, Sequence[str] | tuple], title: str = "") -> Figure:
    """Left the best validation accuracy so far against minutes, right the trials as lines across their hyperparameters.

    trials: those that did not fail, in their order: minutes (since the search's start, at the trial's end), accuracy, refitted
    (bool), a column for each of `hyperparameters`, numbers or words, and perhaps the accuracy's standard_error.
    hyperparameters: for each name what was searched: a list of words, or (least, most, "linear" or "log"); an empty one where
    that is not known, and the axis has the room that the trials take.
    """
    figure = new_figure((13.5, 4.2), "the search", title)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    best = trials["accuracy"].cummax()
    left.step(trials["minutes"], best, where="post", color=BLUE, lw=2, label="best so far")
    errors = trials.get("standard_error")
    left.errorbar(trials["minutes"], trials["accuracy"], errors, fmt="o", color=ORANGE, ms=6, label="a trial")
    left.set_xlabel("Minutes of search")
    left.set_ylabel("Validation accuracy")
    left.set_xlim(left=0)
    left.yaxis.set_major_formatter(PercentFormatter(1))
    left.grid(True)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # above: trials may lie anywhere
    _parallel(right, trials, hyperparameters)
    return figure


def _parallel(axes: Axes, trials: pd.DataFrame, hyperparameters: Mapping[str, Sequence[str] | tuple]) -> None:
    """Parallel coordinates: an axis for each hyperparameter and, last, one for the accuracy; what was refitted is drawn thick."""
    accuracy = trials["accuracy"]
    # With room for luck: trials that only luck parts are drawn close.
    luck = trials.get("standard_error", 0 * accuracy).fillna(0)
    columns = hyperparameters | {"accuracy": ((accuracy - luck).min(), (accuracy + luck).max(), "linear")}
    heights = np.column_stack(
        [_heights(axes, place, trials[name], searched) for place, (name, searched) in enumerate(columns.items())]
    )
    colours = colormaps["cividis_r"](0.1 + 0.9 * heights[:, -1])
    for line, colour, thick in zip(heights, colours, trials["refitted"], strict=True):
        axes.plot(line, color=VERMILION if thick else colour, lw=3 if thick else 1.3, zorder=3 if thick else 2)
    for place in range(len(columns)):
        axes.plot([place, place], [0, 1], color=GREY, lw=1, zorder=1)
    names = [_wrapped(name.replace("_", " "), 11) for name in [*hyperparameters, "validation accuracy"]]
    axes.set_xticks(range(len(columns)), names)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=14)
    axes.set_ylim(-0.04, 1.06)
    axes.spines[:].set_visible(False)
    axes.set_title("Every trial across its hyperparameters; thick: what was refitted", pad=16)


def _heights(axes: Axes, place: int, column: pd.Series, searched: Sequence[str] | tuple) -> np.ndarray:
    """Where each trial crosses this axis, 0..1, with what the ends stand for written there; a missing value is left out."""
    numbers = pd.to_numeric(column, errors="coerce")
    given = column.astype(str) != ""
    if isinstance(searched, tuple) if searched else numbers[given].notna().all() and given.any():
        # Without a known range a wide one was searched on a log scale, or as good as.
        low, high, scale = searched or (math.inf, -math.inf, "linear")
        low, high = min(low, numbers.min()), max(high, numbers.max())
        log = scale == "log" or (not searched and low > 0 and high / low > 20)
        bottom, top, scaled = (np.log(one) if log else one for one in (low, high, numbers))
        ends = {0.0: _short(low), 1.0: _short(high)} if high > low else {0.5: _short(low)}
        heights = (scaled - bottom) / (top - bottom) if high > low else scaled * 0 + 0.5
    else:
        words = searched or sorted(column[given].astype(str).unique())
        places = {word: (index / (len(words) - 1) if len(words) > 1 else 0.5) for index, word in enumerate(words)}
        ends = {height: word for word, height in places.items()}
        # Beside an empty cell a table has 128 as 128.0.
        heights = (
            column.astype(str).str.removesuffix(".0").map({word.removesuffix(".0"): places[word] for word in places})
        )
    for height, text in ends.items():
        below = height == 0
        offset = (0, -3) if below else (0, 3) if height == 1 else (3, 0)
        align = {
            "va": "top" if below else "bottom" if height == 1 else "center",
            "ha": "left" if offset[0] else "center",
        }
        axes.annotate(text, (place, height), offset, textcoords="offset points", fontsize=8.5, zorder=4, **align)
    return heights.to_numpy(dtype=np.float64)


def _short(number: float) -> str:
    """Three digits of it, and all of those before the point."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _look(index: int) -> dict[str, str]:
    """Colour and marker of the n-th model: both differ for the first seven, together they do for 49."""
    return {"color": COLOURS[index % 7], "marker": MARKERS[(index + index // 7) % 7]}


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=True)
