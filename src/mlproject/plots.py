"""Tables in, matplotlib figures out. Pure: nothing is computed anew but shares and orders, nothing is read or written.

Figures are made without pyplot, so that none lingers in its global list and no display is needed; save one with
`figure.savefig(path)`. Every function takes `title`, the subject's name ("fashion-mnist-cnn, synthetic data"), and puts
it before the words that say what is shown.
"""

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn import metrics

# Colours that colour-blind readers can tell apart: Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, VERMILION = "#0072B2", "#E69F00", "#D55E00"
INK, GREY = "#222222", "#8C8C8C"

STYLE = {
    "figure.dpi": 120,
    "text.parse_math": False,  # names are text: a class called "$x$" is no formula
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "text.color": INK,
    "legend.frameon": False,
}
MANY_CLASSES = 40  # from here on classes are shown in columns, or by their superclass
SCORES = {"precision": (BLUE, "Precision"), "recall": (ORANGE, "Recall"), "f1": (INK, "F1")}


@matplotlib.rc_context(STYLE)
def learning_curves(history: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy and loss by epoch, in two panels, on training and (where present) validation data.

    history: a row for each epoch, with `epoch` (running on through all stages), `loss`, `accuracy` and, if known,
    `val_loss`, `val_accuracy` and `stage` (name; where it changes, a border is drawn).
    """
    figure = new_figure((11, 4.4), "learning curves", title)
    for axes, measure in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        _curve(axes, history, measure, BLUE, "o", "training")
        if f"val_{measure}" in history and history[f"val_{measure}"].notna().any():
            _curve(axes, history, f"val_{measure}", VERMILION, "s", "validation")
        axes.set_xlabel("Epoch")
        axes.set_ylabel(measure.capitalize())
        axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True)
        if "stage" in history:
            _stage_borders(axes, history)
        axes.legend(loc="best")  # where neither a curve nor a border runs through it
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@matplotlib.rc_context(STYLE)
def per_class_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Precision and recall of every class as bars, with F1 as a mark across them.

    table: as from `evaluation.per_class`. Classes with a superclass stand together under its name.
    """
    blocks = _by_superclass(table)
    columns = 2 if len(table) > MANY_CLASSES and len(blocks) > 1 else 1
    columns_of_blocks = [list(part) for part in np.array_split(np.arange(len(blocks)), columns)]
    heights = [len(block) + bool(block["superclass"].iloc[0]) for block in blocks]
    rows = max(sum(heights[i] for i in part) for part in columns_of_blocks)
    size = (8.0 if columns == 1 else 11.5, 1.2 + 0.34 * rows)
    figure = new_figure(size, "precision, recall and F1 by class", title)
    for axes, part in zip(np.atleast_1d(figure.subplots(1, columns)), columns_of_blocks, strict=True):
        _score_bars(axes, [blocks[i] for i in part])
        axes.set_ylim(rows - 0.4, -0.7)
    bars_then_mark = sorted(
        zip(*figure.axes[0].get_legend_handles_labels(), strict=True), key=lambda pair: pair[1] == "F1"
    )
    figure.legend(*zip(*bars_then_mark, strict=True), loc="outside lower center", ncols=3)
    return figure


@matplotlib.rc_context(STYLE)
def confusion_matrix(
    labels: np.ndarray,
    predictions: np.ndarray,
    class_names: Sequence[str],
    superclasses: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Of the images of each class (row), the share predicted to be of each class (column).

    labels, predictions: int (n,). class_names: k names. superclasses: for each class its superclass's name, or None.
    With superclasses the classes stand in their order, with lines between and, where the classes are many, small names at
    the rows and the superclasses' names at the other sides. Up to 20 classes the percentages are written into the cells.
    """
    classes = len(class_names)
    order = np.arange(classes) if superclasses is None else np.argsort(np.asarray(superclasses), kind="stable")
    shares = _shares(labels, predictions, classes)[np.ix_(order, order)]
    side = float(np.clip(3 + 0.42 * classes, 6.5, 11.5))
    figure = new_figure((side + 0.9, side), "confusion matrix, in % of the true class", title)
    axes = figure.subplots()
    # The root brings out rare confusions, which a linear scale would leave white beside the diagonal.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, format=PercentFormatter(1))
    bar.set_label("Share of the true class")
    bar.outline.set_visible(False)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    axes.spines[:].set_visible(False)
    names = np.asarray(class_names)[order]
    if superclasses is None:
        _label_cells(axes, names, np.arange(classes))
    else:
        _label_blocks(axes, names, np.asarray(superclasses)[order])
    if classes <= 20:
        _write_percentages(axes, shares)
    return figure


@matplotlib.rc_context(STYLE)
def examples(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    count: int = 8,
) -> Figure:
    """The `count` surest correct predictions, above the `count` surest mistakes.

    images: uint8 (n, h, w, 1) or (n, h, w, 3). labels: int (n,). probabilities: float (n, k). class_names: k names.
    """
    predictions, sureness = probabilities.argmax(axis=1), probabilities.max(axis=1)
    hits, mistakes = _surest(labels, predictions, sureness)
    figure = new_figure((1.5 * count, 5.2), "the surest predictions", title)
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    rows = (upper, hits, "Surest correct predictions"), (lower, mistakes, "Surest mistakes: true → predicted")
    for part, chosen, heading in rows:
        part.suptitle(heading if len(chosen) else f"{heading}: none", fontsize=11, x=0.01, ha="left")
        for axes, index in zip(part.subplots(1, count), chosen[:count], strict=False):
            axes.imshow(images[index].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            names = dict.fromkeys((class_names[labels[index]], class_names[predictions[index]]))
            axes.set_anchor("N")
            axes.set_title(_prediction_text(list(names), sureness[index]), fontsize=8.5)
        for axes in part.axes:
            axes.set_axis_off()
    return figure


@matplotlib.rc_context(STYLE)
def samples(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    superclasses: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """What the classes look like: with superclasses the first image of each class, without the first ten of each class.

    images: uint8 (n, h, w, 1) or (n, h, w, 3). labels: int (n,). class_names: k names. superclasses: for each class its
    superclass's name, or None.
    """
    rows = _sample_rows(labels, class_names, superclasses)
    columns = 1 if superclasses is None else 2  # of rows: a hundred classes in one would be a tower
    height = -(-len(rows) // columns)
    width = max(len(chosen) for _, chosen in rows) + 3  # three places for the row's name
    size = (0.72 * width * columns, (1.0 if superclasses else 0.74) * height + 0.8)
    figure = new_figure(size, "samples", title)
    grid = figure.add_gridspec(height, width * columns, wspace=0.05, hspace=0.05)
    for number, (name, chosen) in enumerate(rows):
        row, start = number % height, width * (number // height)
        axes = figure.add_subplot(grid[row, start : start + 3])
        axes.text(1, 0.5, textwrap.fill(name.replace("_", " "), 18), ha="right", va="center", fontweight="bold")
        axes.set_axis_off()
        for place, (index, below) in enumerate(chosen):
            axes = figure.add_subplot(grid[row, start + 3 + place])
            axes.imshow(images[index].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(below, fontsize=7, pad=2)
            axes.set_axis_off()
    return figure


@matplotlib.rc_context(STYLE)
def accuracy_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """The accuracy of each of a comparison's models, with its interval, on an axis that ends where the intervals do.

    table: columns name, accuracy, low, high (0..1) and, if some may be, `synthetic` (bool; their marks are hollow).
    """
    figure = new_figure((9, 1.6 + 0.5 * len(table)), "test accuracy with 95 % intervals", title)
    axes = figure.subplots()
    synthetic = table["synthetic"].astype(bool) if "synthetic" in table else pd.Series(False, index=table.index)
    for row, (model, made_up) in enumerate(zip(table.itertuples(), synthetic, strict=True)):
        axes.plot([model.low, model.high], [row, row], color=BLUE, lw=5, alpha=0.45, solid_capstyle="butt")
        axes.plot(model.accuracy, row, "o", color=BLUE, ms=8, mfc="white" if made_up else BLUE)
        text = f"{model.accuracy:.2%}  [{model.low:.2%}, {model.high:.2%}]"
        axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    axes.set_yticks(range(len(table)), table["name"] + np.where(synthetic, "\n(synthetic data)", ""))
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.set_xlabel("Test accuracy (axis cut to the intervals)")
    axes.grid(True, axis="x")
    return figure


def new_figure(size: tuple[float, float], what: str, title: str) -> Figure:
    """An empty figure of this size, in inches, under the heading "title: what"."""
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    heading = f"{title}: {what}" if title else what[0].upper() + what[1:]
    figure.suptitle(textwrap.fill(heading, int(8.5 * size[0])), fontsize=13, fontweight="bold")
    return figure


def _shares(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    counts = metrics.confusion_matrix(labels, predictions, labels=range(classes))
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _surest(labels: np.ndarray, predictions: np.ndarray, sureness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    surest = np.argsort(-sureness, kind="stable")
    right = predictions[surest] == np.asarray(labels)[surest]
    return surest[right], surest[~right]


def _sample_rows(
    labels: np.ndarray, class_names: Sequence[str], superclasses: Sequence[str] | None
) -> list[tuple[str, list[tuple[int, str]]]]:
    """For each row of pictures its name, and (image, what to write over it)."""
    indices = [np.flatnonzero(labels == label) for label in range(len(class_names))]
    if superclasses is None:
        return [(name, [(i, "") for i in indices[label][:10]]) for label, name in enumerate(class_names)]
    rows = {name: [] for name in sorted(set(superclasses))}
    for label, (name, superclass) in enumerate(zip(class_names, superclasses, strict=True)):
        rows[superclass] += [(i, name.replace("_", " ")) for i in indices[label][:1]]
    return list(rows.items())


def _curve(axes: Axes, history: pd.DataFrame, column: str, colour: str, marker: str, label: str) -> None:
    axes.plot(history["epoch"], history[column], color=colour, marker=marker, ms=4, lw=1.8, label=label)


def _stage_borders(axes: Axes, history: pd.DataFrame) -> None:
    starts = history[history["stage"] != history["stage"].shift()]
    if len(starts) < 2:
        return
    for epoch, stage in zip(starts["epoch"], starts["stage"], strict=True):
        if epoch > history["epoch"].min():
            axes.axvline(epoch - 0.5, color=GREY, ls="--", lw=1)
        axes.annotate(f" {stage}", (epoch - 0.5, 1.01), xycoords=("data", "axes fraction"), fontsize=9, color=GREY)


def _by_superclass(table: pd.DataFrame) -> list[pd.DataFrame]:
    # A table read back from CSV has NaN for the empty superclass.
    table = table.assign(superclass=table["superclass"].astype(object).fillna(""))
    return [block for _, block in table.groupby("superclass", sort=True)]


def _score_bars(axes: Axes, blocks: list[pd.DataFrame]) -> None:
    names, rows, row = [], [], 0
    for block in blocks:
        superclass = block["superclass"].iloc[0]
        if superclass:
            axes.annotate(superclass, (0, row), xycoords="data", fontweight="bold", fontsize=9.5, va="center")
            row += 1
        names.extend(block["class"])
        rows.extend(range(row, row + len(block)))
        row += len(block)
    table, rows = pd.concat(blocks), np.array(rows)
    for offset, score in ((-0.2, "precision"), (0.2, "recall")):
        colour, label = SCORES[score]
        axes.barh(rows + offset, table[score], height=0.36, color=colour, label=label)
    colour, label = SCORES["f1"]
    axes.plot(table["f1"], rows, ls="", marker="|", ms=13, mew=2.2, color=colour, label=label)
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True, axis="x")


def _label_cells(axes: Axes, names: Sequence[str], positions: np.ndarray) -> None:
    axes.set_xticks(positions, names, rotation=90)
    axes.set_yticks(positions, names)
    axes.tick_params(length=0)


def _label_blocks(axes: Axes, names: np.ndarray, superclasses: np.ndarray) -> None:
    starts = np.flatnonzero(np.r_[True, superclasses[1:] != superclasses[:-1]])
    ends = np.r_[starts[1:], len(superclasses)]
    for border in starts[1:] - 0.5:
        axes.axhline(border, color=GREY, lw=0.6)
        axes.axvline(border, color=GREY, lw=0.6)
    _label_cells(axes, names, np.arange(len(names)))
    if len(names) > MANY_CLASSES:
        centres = (starts + ends - 1) / 2
        axes.set_xticks(centres, superclasses[starts])
        axes.tick_params(axis="y", labelsize=5)
        blocks = axes.secondary_yaxis("right")
        blocks.set_yticks(centres, superclasses[starts])
        blocks.tick_params(length=0)
        blocks.spines[:].set_visible(False)


def _write_percentages(axes: Axes, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if round(100 * share):
            colour = "white" if share > 0.35 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8.5)


def _prediction_text(names: list[str], probability: float) -> str:
    text = " → ".join(name.replace("_", " ") for name in names)
    return textwrap.fill(text, 21, break_on_hyphens=False) + f"\n{probability:.1%}"
