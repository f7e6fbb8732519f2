"""Figures of a model's history and predictions, drawn with matplotlib from tables and arrays.

The functions are pure: they read and write no files. They do without pyplot, so figures need no display and none stays
in pyplot's global list; save one with `figure.savefig(path)`. Every function takes `title`, the name of the model or data
set, for instance "fashion-mnist-cnn, synthetic data". The heading of the figure consists of it and the kind of the figure.
"""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mlproject.class_plots import MANY_CLASSES, confusion_matrix, per_class_bars, shorten, sibling_confusions
from mlproject.style import BLUE, GREY, ORANGE, VERMILION, new_figure, set_tip, show_image, styled

__all__ = [
    "MANY_CLASSES",
    "accuracy_bars",
    "confusion_matrix",
    "examples",
    "learning_curves",
    "per_class_bars",
    "samples",
    "sibling_confusions",
]

EXAMPLES = 8  # correct predictions, and as many mistakes
TITLE_WIDTH = 18  # characters above an image of `examples`; a line of more could reach into the next image's title


@styled
def learning_curves(history: pd.DataFrame, title: str = "") -> Figure:
    """Draw accuracy and loss by epoch, in two panels, on the training data and, if known, on the validation data.

    Args:
        history: one row for each epoch, with the columns epoch (counted through all stages), loss, accuracy and, if
            known, val_loss, val_accuracy and stage (its name; a line is drawn where it changes).
        title: the name of the model, printed above.
    """
    figure = new_figure((11, 4.4), "learning curves", title)
    for axes, measure in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        _draw_curve(axes, history, measure, BLUE, "o", "training")
        if f"val_{measure}" in history and history[f"val_{measure}"].notna().any():
            _draw_curve(axes, history, f"val_{measure}", VERMILION, "s", "validation")
        axes.set_xlabel("Epoch")
        axes.set_ylabel(measure.capitalize())
        axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True)
        if "stage" in history:
            _draw_stage_borders(axes, history)
        axes.legend(loc="best")
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def examples(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    class_names: Sequence[str],
    title: str = "",
) -> Figure:
    """Show the eight correct predictions of the highest confidence and, below, the eight mistakes of the highest confidence.

    Args:
        images: uint8, (images, height, width, channels).
        labels: int, (images,), the true classes.
        probabilities: float, (images, classes); the confidence is the highest of an image's probabilities.
        class_names: one name for each class.
        title: the name of the model, printed above.
    """
    predictions, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    hits, mistakes = _most_confident(labels, predictions, confidence)
    figure = new_figure((1.5 * EXAMPLES, 5.2), "the most confident predictions", title)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.15))[:, 0]
    rows = (upper, hits, "Correct predictions"), (lower, mistakes, "Mistakes: true → predicted")
    for subfigure, indices, heading in rows:
        subfigure.suptitle(heading if len(indices) else f"{heading}: none", fontsize=11, x=0.01, ha="left")
        for axes, index in zip(subfigure.subplots(1, EXAMPLES), indices[:EXAMPLES], strict=False):
            show_image(axes, images[index])
            names = dict.fromkeys((class_names[labels[index]], class_names[predictions[index]]))
            axes.set_anchor("N")
            axes.set_title(_prediction_text(list(names), confidence[index]), fontsize=8.5)
        for axes in subfigure.axes:
            axes.set_axis_off()
    return figure


@styled
def samples(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    class_names: Sequence[str],
    superclasses: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Show what the classes look like: the first image of each class, or the first ten if there are no superclasses.

    Args:
        images: uint8, (images, height, width, channels).
        labels: int, (images,), the true classes.
        class_names: one name for each class.
        superclasses: for each class the name of its superclass, which gets a row of its own, or None.
        title: the name of the data set, printed above.
    """
    rows = _sample_rows(labels, class_names, superclasses)
    columns = 1 if superclasses is None else 2  # of rows; a hundred classes in one column would be too tall
    height = math.ceil(len(rows) / columns)
    width = max(len(entries) for _, entries in rows) + 3  # the row's name takes as much room as three images
    size = (0.72 * width * columns, (1.0 if superclasses else 0.74) * height + 0.8)
    figure = new_figure(size, "samples", title)
    grid = figure.add_gridspec(height, width * columns, wspace=0.05, hspace=0.05)
    for number, (name, entries) in enumerate(rows):
        row, start = number % height, width * (number // height)
        axes = figure.add_subplot(grid[row, start : start + 3])
        axes.text(1, 0.5, textwrap.fill(name.replace("_", " "), 18), ha="right", va="center", fontweight="bold")
        axes.set_axis_off()
        for position, (index, text) in enumerate(entries):
            axes = figure.add_subplot(grid[row, start + 3 + position])
            show_image(axes, images[index])
            axes.set_title(text, fontsize=7, pad=2)
            axes.set_axis_off()
    return figure


@styled
def accuracy_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the accuracy of each model of a comparison, with its interval.

    Args:
        table: one row for each model, with the columns name, accuracy, low, high (0..1) and, optionally, synthetic (bool; a
            model trained on synthetic data is drawn as a hollow circle) and by_seed (lists of the accuracies of single
            seeds, which are drawn as small points; with fewer than two there is nothing to draw). With the columns
            cv_accuracy, cv_low and cv_high, a diamond below a model shows its cross-validated accuracy; NaN stands for none.
        title: the name of the comparison, printed above.
    """
    figure = new_figure((7.5, 1.5 + 0.5 * len(table)), "test accuracy, 95% intervals", title)
    axes = figure.subplots()
    synthetic = table["synthetic"].astype(bool) if "synthetic" in table else pd.Series(False, index=table.index)
    by_seed = table["by_seed"] if "by_seed" in table else [()] * len(table)
    models = zip(table["accuracy"], table["low"], table["high"], synthetic, by_seed, strict=True)
    for row, (accuracy, low, high, on_synthetic, seed_accuracies) in enumerate(models):
        if len(seed_accuracies) > 1:  # below the bar, where neither the bar nor the mean hides them
            axes.plot(seed_accuracies, [row + 0.2] * len(seed_accuracies), "o", color=BLUE, ms=4, mew=0, alpha=0.6)
        axes.plot([low, high], [row, row], color=BLUE, lw=5, alpha=0.45, solid_capstyle="butt")
        (mark,) = axes.plot(accuracy, row, "o", color=BLUE, ms=8, mfc="white" if on_synthetic else BLUE)
        set_tip(mark, f"{table['name'].iloc[row]}: {accuracy:.2%}, 95% interval {low:.2%} to {high:.2%}")
        text = f"{accuracy:.2%}  [{low:.2%}, {high:.2%}]"
        axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    label = "Test accuracy"
    if "cv_accuracy" in table and table["cv_accuracy"].notna().any():
        _draw_cross_validated(axes, table["cv_accuracy"], table["cv_low"], table["cv_high"])
        label += "; diamonds: cross-validated accuracy"
    names = [textwrap.fill(name, 36, break_long_words=False, break_on_hyphens=False) for name in table["name"]]
    axes.set_yticks(range(len(table)), pd.Series(names) + np.where(synthetic, "\n(synthetic data)", ""))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.set_xlabel(f"{label} (axis cut to the intervals)")
    axes.grid(True, axis="x")
    return figure


def _draw_cross_validated(axes: Axes, accuracies: pd.Series, lows: pd.Series, highs: pd.Series) -> None:
    """Draw a diamond with an interval below each row whose accuracy is not NaN."""
    for row, (accuracy, low, high) in enumerate(zip(accuracies, lows, highs, strict=True)):
        if not np.isnan(accuracy):
            y = row + 0.25
            axes.plot([low, high], [y, y], color=ORANGE, lw=3, alpha=0.6, solid_capstyle="butt")
            axes.plot(accuracy, y, "D", color=ORANGE, ms=6)


def _most_confident(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], confidence: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """List the indices of the correct predictions and of the mistakes, each by falling confidence."""
    order = np.argsort(-confidence, kind="stable")
    correct = predictions[order] == np.asarray(labels)[order]
    return order[correct], order[~correct]


def _sample_rows(
    labels: NDArray[np.integer], class_names: Sequence[str], superclasses: Sequence[str] | None
) -> list[tuple[str, list[tuple[int, str]]]]:
    """List for each row of images its name, and for each of its images the index and the text above it."""
    indices = [np.flatnonzero(labels == label) for label in range(len(class_names))]
    if superclasses is None:
        return [(name, [(i, "") for i in indices[label][:10]]) for label, name in enumerate(class_names)]
    rows: dict[str, list[tuple[int, str]]] = {name: [] for name in sorted(set(superclasses))}
    for label, (name, superclass) in enumerate(zip(class_names, superclasses, strict=True)):
        rows[superclass] += [(i, name.replace("_", " ")) for i in indices[label][:1]]
    return list(rows.items())


def _draw_curve(axes: Axes, history: pd.DataFrame, column: str, colour: str, marker: str, label: str) -> None:
    axes.plot(history["epoch"], history[column], color=colour, marker=marker, ms=4, lw=1.8, label=label)


def _draw_stage_borders(axes: Axes, history: pd.DataFrame) -> None:
    starts = history[history["stage"] != history["stage"].shift()]
    if len(starts) < 2:
        return
    for epoch, stage in zip(starts["epoch"], starts["stage"], strict=True):
        if epoch > history["epoch"].min():
            axes.axvline(epoch - 0.5, color=GREY, ls="--", lw=1)
        axes.annotate(f" {stage}", (epoch - 0.5, 1.01), xycoords=("data", "axes fraction"), fontsize=9, color=GREY)


def _prediction_text(names: list[str], probability: float) -> str:
    text = " → ".join(shorten(name.replace("_", " ")) for name in names)
    return textwrap.fill(text, TITLE_WIDTH, break_on_hyphens=False) + f"\n{probability:.1%}"
