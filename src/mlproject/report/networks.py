"""A network described from its table of layers: what each layer does, and a drawing. Pure."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from mlproject.style import BLUE, GREY, INK, new_figure, styled

ROLES = {
    "InputLayer": "takes the images as they are stored",
    "Normalization": "scales pixels to mean 0 and standard deviation 1",
    "Rescaling": "scales and shifts numbers",
    "ZeroPadding2D": "adds a border of zeros",
    "Concatenate": "joins several inputs",
    "Add": "adds a shortcut to the output of the layers it skips",
    "Conv2D": "finds local patterns",
    "DepthwiseConv2D": "finds local patterns in each channel separately",
    "SeparableConv2D": "finds local patterns with few weights",
    "MaxPooling2D": "keeps the strongest activation of each neighbourhood, at lower resolution",
    "AveragePooling2D": "averages the activations of each neighbourhood, at lower resolution",
    "GlobalMaxPooling2D": "tells whether a pattern is anywhere in the image",
    "GlobalAveragePooling2D": "tells how much of a pattern is in the image",
    "BatchNormalization": "keeps activations on one scale during training",
    "LayerNormalization": "keeps activations on one scale",
    "Activation": "makes the network non-linear",
    "ReLU": "makes the network non-linear",
    "Dropout": "drops random activations during training, against overfitting",
    "Flatten": "turns feature maps into one row of numbers",
    "Dense": "computes weighted sums of all its inputs",
}
DRAWN_COLUMNS = {"layer", "type", "output_shape", "parameters", "depends_on_colours", "depends_on_classes", "inputs"}
MOST_LAYERS = 24  # layers in one column of the drawing
WIDTH, STEP = 4.7, 0.42  # inches: the width of a box, and from one box down to the next
TYPE, WEIGHTS = 1.75, 3.75  # inches from the left of a box: where its type begins and its number of weights ends
ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
NEITHER, COLOURS_ONLY, CLASSES_ONLY, BOTH = "#EEF1F3", "#FBE3B0", "#BFDDF0", "#D9C7E3"  # `svg.COLOURS` has them, too
CLASS_PROBABILITIES = "gives a probability to each class"

Position = tuple[float, float]  # the left end of a box's middle line, in inches


def with_roles(layers: pd.DataFrame) -> pd.DataFrame:
    """Describe what each layer does.

    Args:
        layers: text columns type and parameters, and perhaps trainable; one row for each layer.

    Returns:
        The table with a column `role` after `type`; "" for types of layers that are not known here.
    """
    roles = layers["type"].map(ROLES).fillna("")
    if "trainable" in layers:
        is_fixed = (layers["trainable"] == "False") & (layers["parameters"].astype(float) > 0)
        roles[is_fixed] = (roles[is_fixed] + ", fixed before training").str.removeprefix(", ")
    if len(layers) and layers["type"].iloc[-1] == "Dense":
        roles.iloc[-1] = CLASS_PROBABILITIES
    table = layers.copy()
    table.insert(list(layers.columns).index("type") + 1, "role", roles)
    return table


def dependencies_in_words(layers: pd.DataFrame) -> str:
    """Say which layers depend on the data.

    Args:
        layers: text columns layer, depends_on_colours and depends_on_classes ("True" or not).

    Returns:
        Sentences: how many layers there are, which depend on the number of colours, and which on the number of classes.
    """
    colours, classes = (
        ", ".join(layers.loc[layers[column] == "True", "layer"]) or "none"
        for column in ("depends_on_colours", "depends_on_classes")
    )
    return (
        f"The network has {len(layers)} layers. Layers that depend on the number of colours: {colours}. Layers that "
        f"depend on the number of classes: {classes}."
    )


@styled
def draw(layers: pd.DataFrame, title: str = "") -> Figure:
    """Draw the network from top to bottom, in as many columns as it needs: boxes for layers and arrows between them.

    Args:
        layers: text columns layer, type, output_shape, parameters, depends_on_colours, depends_on_classes ("True" or
            not) and inputs (names of layers, separated by spaces); one row for each layer.
        title: the name of the model, printed above.

    Returns:
        The figure. A box shows the name, the type, the number of weights and the output shape of a layer, and its
        colour what the layer depends on.
    """
    names = layers["layer"].tolist()
    row_of = {name: row for row, name in enumerate(names)}
    edges = [
        (row_of[source], row)
        for row, inputs in enumerate(layers["inputs"])
        for source in inputs.split()
        if source in row_of
    ]
    starts = _column_starts(len(names), edges)
    column_of = [sum(start <= row for start in starts) - 1 for row in range(len(names))]
    positions = [(column * (WIDTH + 1.0), -(row - starts[column]) * STEP) for row, column in enumerate(column_of)]
    tallest = max(end - start for start, end in zip(starts, [*starts[1:], len(names)], strict=True))
    width, height = len(starts) * (WIDTH + 1.0) + 0.3, tallest * STEP + 1.5
    figure = new_figure((max(width, 5.5), height), "the network", title)
    axes = figure.subplots()
    axes.set(xlim=(-0.4, width - 0.7), ylim=(-tallest * STEP, STEP * 0.8), aspect="equal")
    axes.set_axis_off()
    for (x, y), layer in zip(positions, layers.itertuples(), strict=True):
        _draw_box(axes, x, y, layer)
    for start in starts:
        _draw_heading(axes, *positions[start])
    _draw_arrows(axes, edges, positions, column_of)
    shades = [(COLOURS_ONLY, "colours"), (CLASSES_ONLY, "classes"), (BOTH, "both"), (NEITHER, "neither")]
    patches = [Patch(fc=shade, ec=GREY, label=label) for shade, label in shades]
    figure.legend(handles=patches, title="depends on the number of", loc="outside lower center", ncols=4)
    return figure


def _column_starts(layers: int, edges: list[tuple[int, int]]) -> list[int]:
    """The rows at which columns begin: about evenly spaced, but moved to nearby rows that cut the fewest shortcuts."""
    columns = math.ceil(layers / MOST_LAYERS)
    starts = [0]
    while layers - starts[-1] > MOST_LAYERS:
        even_row = starts[-1] + math.ceil((layers - starts[-1]) / max(columns - len(starts) + 1, 2))
        latest_row = starts[-1] + MOST_LAYERS
        # Columns that ended early leave more than an equal share to the last ones: `even_row` can be out of reach.
        rows = range(min(max(even_row - 6, starts[-1] + 1), latest_row), latest_row + 1)
        cut_edges = {row: sum(a < row <= b for a, b in edges) for row in rows}
        starts.append(min(rows, key=lambda row: (cut_edges[row], abs(row - even_row))))
    return starts


def _draw_box(axes: Axes, x: float, y: float, layer: Any) -> None:
    """One layer, which is a row of the table."""
    colours, classes = layer.depends_on_colours == "True", layer.depends_on_classes == "True"
    shade = BOTH if colours and classes else COLOURS_ONLY if colours else CLASSES_ONLY if classes else NEITHER
    box = FancyBboxPatch(
        (x, y - 0.13), WIDTH, 0.26, boxstyle="round,pad=0.02,rounding_size=0.06", fc=shade, ec=GREY, lw=0.8
    )
    axes.add_patch(box)
    weights = f"{int(float(layer.parameters)):,}" if float(layer.parameters) else ""
    axes.text(x + 0.05, y, layer.layer[:22], va="center", fontsize=8, fontweight="bold")
    axes.text(x + TYPE, y, layer.type[:24], va="center", fontsize=7.5, color="#555555")
    axes.text(x + WEIGHTS, y, weights, va="center", ha="right", fontsize=7.5)
    axes.text(x + WIDTH - 0.05, y, layer.output_shape, va="center", ha="right", fontsize=7.5)


def _draw_heading(axes: Axes, x: float, y: float) -> None:
    """The headings above a column of boxes."""
    for offset, text, alignment in (
        (0.05, "layer", "left"),
        (TYPE, "type", "left"),
        (WEIGHTS, "weights", "right"),
        (WIDTH - 0.05, "output", "right"),
    ):
        axes.text(
            x + offset, y + 0.25, text, ha=alignment, va="center", fontsize=7.5, color="#555555", fontstyle="italic"
        )


def _draw_arrows(axes: Axes, edges: list[tuple[int, int]], positions: list[Position], column_of: list[int]) -> None:
    """An arrow for each edge, which is a pair of rows: from a layer to a layer that it feeds."""
    widths = _shortcut_widths([(a, b) for a, b in edges if column_of[a] == column_of[b] and b > a + 1])
    for source, target in edges:
        if column_of[source] != column_of[target]:
            _draw_arrow_to_next_column(axes, positions[source], positions[target])
        elif target == source + 1:
            _draw_arrow_down(axes, positions[source], positions[target])
        else:
            _draw_shortcut(axes, positions[source], positions[target], widths[source, target])


def _shortcut_widths(shortcuts: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """How many inches to the right each shortcut runs. Those beside the same layers do not touch; the longest is outermost."""
    lanes: dict[tuple[int, int], int] = {}
    for source, target in sorted(shortcuts, key=lambda edge: edge[1] - edge[0]):
        taken_lanes = {lane for (a, b), lane in lanes.items() if a < target and source < b}
        lanes[source, target] = next(lane for lane in range(len(lanes) + 1) if lane not in taken_lanes)
    lane_width = min(0.15, 0.45 / max([1, *lanes.values()]))  # the room beside a column is limited
    return {edge: 0.12 + lane_width * lane for edge, lane in lanes.items()}


def _draw_arrow_down(axes: Axes, source: Position, target: Position) -> None:
    """An arrow from one box to the box below it."""
    (x0, y0), (x1, y1) = source, target
    axes.add_patch(FancyArrowPatch((x0 + WIDTH / 2, y0 - 0.15), (x1 + WIDTH / 2, y1 + 0.15), **ARROW, color=INK))


def _draw_arrow_to_next_column(axes: Axes, source: Position, target: Position) -> None:
    """A line from the right side of a box, through the space between two columns, to the left side of another box."""
    (x0, y0), (x1, y1) = source, target
    lane = x1 - 0.3
    axes.plot([x0 + WIDTH + 0.02, lane, lane], [y0, y0, y1], color=INK, lw=1.1, solid_joinstyle="round")
    axes.add_patch(FancyArrowPatch((lane, y1), (x1 - 0.02, y1), **ARROW, color=INK))


def _draw_shortcut(axes: Axes, source: Position, target: Position, width: float) -> None:
    """An arc to the right of the boxes that it skips."""
    (x0, y0), (x1, y1) = source, target
    bend = f"arc3,rad={-2 * width / (y0 - y1)}"
    start, end = (x0 + WIDTH + 0.02, y0), (x1 + WIDTH + 0.02, y1)
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle=bend, **ARROW, color=BLUE))
