"""Figures of the classes: their scores as bars, and which of them are confused. Pure; callers find them in `plots`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from sklearn import metrics

from mlproject.style import BLUE, GREY, INK, ORANGE, new_figure, styled

MANY_CLASSES = 40  # with more classes, bars are in two columns and a confusion matrix names superclasses
MOST_BARS, MOST_CELLS = 100, 60  # With more classes, only END_CLASSES or MOST_CONFUSED of them can be read.
END_CLASSES, MOST_CONFUSED = 30, 30
LONGEST_NAME = 36  # characters of a class in a figure
SCORES = {"precision": (BLUE, "Precision"), "recall": (ORANGE, "Recall"), "f1": (INK, "F1")}


def shorten(name: str) -> str:
    """A class's name as figures show it: of a long one without its middle, because long names often differ at their end."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 11]}…{name[-10:]}"


@styled
def per_class_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw precision and recall of every class as bars, and F1 as a vertical line across them.

    Of more than 100 classes, the 30 with the lowest and the 30 with the highest F1 are drawn, by falling F1.

    Args:
        table: as `evaluation.per_class` returns it. Classes of the same superclass are grouped under its name. A class
            without images has no bars.
        title: the name of the model, printed above.
    """
    kind = "precision, recall and F1 by class"
    if len(table) > MOST_BARS:
        ranked = table.dropna(subset=["f1"]).sort_values("f1", ascending=False, kind="stable")
        ends = ranked.head(END_CLASSES), ranked.iloc[END_CLASSES:].tail(END_CLASSES)
        blocks = [end.assign(superclass=name) for end, name in zip(ends, ("Highest F1", "Lowest F1"), strict=True)]
        kind += f", {sum(map(len, blocks))} of {len(table)} classes"
        blocks = [block for block in blocks if len(block)]
    else:
        blocks = _split_by_superclass(table)
        if len(blocks) == 1 and len(table) > MANY_CLASSES:
            half = -(-len(table) // 2)
            blocks = [table[:half].assign(superclass=""), table[half:].assign(superclass="")]
    columns = 2 if sum(map(len, blocks)) > MANY_CLASSES and len(blocks) > 1 else 1
    columns_of_blocks = [list(block_indices) for block_indices in np.array_split(np.arange(len(blocks)), columns)]
    heights = [len(block) + bool(block["superclass"].iloc[0]) for block in blocks]
    rows = max(sum(heights[i] for i in block_indices) for block_indices in columns_of_blocks)
    size = (8.0 if columns == 1 else 11.5, 1.2 + 0.34 * rows)
    figure = new_figure(size, kind, title)
    for axes, block_indices in zip(np.atleast_1d(figure.subplots(1, columns)), columns_of_blocks, strict=True):
        _draw_score_bars(axes, [blocks[i] for i in block_indices])
        axes.set_ylim(rows - 0.4, -0.7)
    handles, names = figure.axes[0].get_legend_handles_labels()
    bars_first = sorted(zip(handles, names, strict=True), key=lambda entry: entry[1] == "F1")
    figure.legend(*zip(*bars_first, strict=True), loc="outside lower center", ncols=3)
    return figure


@styled
def confusion_matrix(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    class_names: Sequence[str],
    superclasses: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw the confusion matrix: of the images of each true class (row), the share predicted as each class (column).

    With superclasses the classes are ordered by superclass, with lines between the superclasses; if there are more than
    40 classes, the columns are labelled with superclasses only. With up to 20 classes, each cell shows its percentage.
    Without superclasses, of more than 60 classes the 30 are drawn that take part in the most mistakes, and all others as one
    (the cell where these meet also holds mistakes among them). The row of a class without images is grey.

    Args:
        labels: int, (images,), the true classes.
        predictions: int, (images,), the predicted classes.
        class_names: one name for each class.
        superclasses: for each class the name of its superclass, or None if the classes have none.
        title: the name of the model, printed above.
    """
    kind = "confusion matrix, in % of the true class"
    counts = metrics.confusion_matrix(labels, predictions, labels=range(len(class_names)))
    names = np.asarray([shorten(name) for name in class_names])
    if superclasses is None and len(class_names) > MOST_CELLS:
        kind += f"; the {MOST_CONFUSED} of {len(names)} classes with the most mistakes"
        counts, names = _reduce_to_most_confused(counts, names)
    classes = len(names)
    order = np.arange(classes) if superclasses is None else np.argsort(np.asarray(superclasses), kind="stable")
    shares = _shares(counts)[np.ix_(order, order)]
    side = float(np.clip(3 + 0.42 * classes, 5.5, 11.5))
    figure = new_figure((side + 0.9, side), kind, title)
    axes = figure.subplots()
    axes.set_facecolor("#DDDDDD")  # shows where there are no images
    # The square root makes rare confusions visible, which a linear scale would draw almost white.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    colorbar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, format=PercentFormatter(1))
    colorbar.set_label("Share of the true class")
    colorbar.outline.set_visible(False)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    axes.spines[:].set_visible(False)
    names = names[order]
    if superclasses is None:
        _label_cells(axes, names, np.arange(classes))
    else:
        _label_blocks(axes, names, np.asarray(superclasses)[order])
    if classes <= 20:
        _write_percentages(axes, shares)
    return figure


@styled
def sibling_confusions(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    class_names: Sequence[str],
    superclasses: Sequence[str],
    title: str = "",
) -> Figure:
    """Draw what is confused inside each superclass: a small matrix for each, whose last column is all other classes.

    Args:
        labels, predictions, class_names: as for `confusion_matrix`.
        superclasses: for each class the name of its superclass.
        title: the name of the model, printed above.
    """
    counts = metrics.confusion_matrix(labels, predictions, labels=range(len(class_names)))
    groups = [np.flatnonzero(np.asarray(superclasses) == name) for name in sorted(set(superclasses))]
    columns = min(len(groups), 4)
    rows, tallest = -(-len(groups) // columns), max(map(len, groups))
    size = (3.2 * columns, (0.75 + 0.28 * tallest) * rows + 0.6)
    figure = new_figure(size, "confusions inside each superclass, in % of the true class", title)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, members, superclass in zip(panels, groups, sorted(set(superclasses)), strict=False):
        sibling_counts = counts[np.ix_(members, members)]
        shares = _shares(np.column_stack([sibling_counts, counts[members].sum(axis=1) - sibling_counts.sum(axis=1)]))
        axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), aspect="auto")
        _write_percentages(axes, shares)
        numbers = range(1, len(members) + 1)
        names = [
            f"{class_names[int(member)]} {number}".replace("_", " ")
            for number, member in zip(numbers, members, strict=True)
        ]
        axes.set_title(superclass.replace("_", " "), fontsize=10)
        axes.set_yticks(range(len(members)), names, fontsize=8)
        axes.set_xticks(range(len(members) + 1), [*map(str, numbers), "other"], fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    return figure


def _shares(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """A confusion matrix, (classes, columns), as shares of the true class; NaN for a class without images."""
    images = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, images, out=np.full(counts.shape, np.nan), where=images > 0)
    return np.asarray(shares, dtype=np.float64)


def _reduce_to_most_confused(
    counts: NDArray[np.integer], names: NDArray[np.str_]
) -> tuple[NDArray[np.integer], NDArray[np.str_]]:
    """A confusion matrix of the classes that take part in the most mistakes, in their order, and of all others as one."""
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    shown_classes = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CONFUSED])
    position = np.full(len(names), len(shown_classes))
    position[shown_classes] = np.arange(len(shown_classes))
    membership = np.eye(len(shown_classes) + 1, dtype=np.int64)[position]
    return membership.T @ counts @ membership, np.append(names[shown_classes], "all others")


def _split_by_superclass(table: pd.DataFrame) -> list[pd.DataFrame]:
    # In a table read back from CSV the empty superclass is NaN.
    table = table.assign(superclass=table["superclass"].astype(object).fillna(""))
    return [block for _, block in table.groupby("superclass", sort=True)]


def _draw_score_bars(axes: Axes, blocks: list[pd.DataFrame]) -> None:
    rows_of_classes: list[int] = []
    row = 0
    for block in blocks:
        superclass = block["superclass"].iloc[0]
        if superclass:
            axes.annotate(superclass, (0, row), xycoords="data", fontweight="bold", fontsize=9.5, va="center")
            row += 1
        rows_of_classes.extend(range(row, row + len(block)))
        row += len(block)
    table, rows = pd.concat(blocks), np.array(rows_of_classes)
    for offset, score in ((-0.2, "precision"), (0.2, "recall")):
        colour, label = SCORES[score]
        axes.barh(rows + offset, table[score], height=0.36, color=colour, label=label)
    colour, label = SCORES["f1"]
    axes.plot(table["f1"], rows, ls="", marker="|", ms=13, mew=2.2, color=colour, label=label)
    for row in rows[table["f1"].isna().to_numpy()]:
        axes.text(0.01, row, "no images", va="center", fontsize=8.5, color=GREY)
    axes.set_yticks(rows, [shorten(str(name)) for name in table["class"]])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True, axis="x")


def _label_cells(axes: Axes, names: NDArray[np.str_], positions: NDArray[np.integer]) -> None:
    axes.set_xticks(positions, names, rotation=90)
    axes.set_yticks(positions, names)
    axes.tick_params(length=0)


def _label_blocks(axes: Axes, names: NDArray[np.str_], superclasses: NDArray[np.str_]) -> None:
    starts = np.flatnonzero(np.r_[True, superclasses[1:] != superclasses[:-1]])
    ends = np.r_[starts[1:], len(superclasses)]
    for border in starts[1:] - 0.5:
        axes.axhline(border, color=GREY, lw=0.6)
        axes.axvline(border, color=GREY, lw=0.6)
    _label_cells(axes, names, np.arange(len(names)))
    if len(names) > MANY_CLASSES:
        centres = (starts + ends - 1) / 2
        axes.set_xticks(centres, superclasses[starts])
        if len(names) > MOST_BARS:  # more names than can be read
            axes.set_yticks(centres, superclasses[starts])
            return
        axes.tick_params(axis="y", labelsize=5)
        blocks = axes.secondary_yaxis("right")
        blocks.set_yticks(centres, superclasses[starts])
        blocks.tick_params(length=0)
        blocks.spines[:].set_visible(False)


def _write_percentages(axes: Axes, shares: NDArray[np.float64]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if not np.isnan(share) and round(100 * share):
            colour = "white" if share > 0.35 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8.5)
