"""A network as its layer table tells it: each layer's role in words, and a drawing. Pure."""

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from mlproject.plots import BLUE, GREY, INK, STYLE, new_figure

ROLES = {
    "InputLayer": "takes the images as stored",
    "Normalization": "brings pixels to mean 0, deviation 1",
    "Rescaling": "scales and shifts numbers",
    "ZeroPadding2D": "adds a border",
    "Concatenate": "puts several inputs side by side",
    "Add": "adds a shortcut to what it skips",
    "Conv2D": "finds local patterns",
    "DepthwiseConv2D": "finds local patterns, channel by channel",
    "SeparableConv2D": "finds local patterns with few weights",
    "MaxPooling2D": "keeps the strongest answer nearby, at lower resolution",
    "AveragePooling2D": "averages nearby answers, at lower resolution",
    "GlobalMaxPooling2D": "is a pattern anywhere in the image?",
    "GlobalAveragePooling2D": "how much of a pattern is in the image?",
    "BatchNormalization": "keeps activations on one scale while training",
    "LayerNormalization": "keeps activations on one scale",
    "Activation": "bends: without it layers would collapse into one",
    "ReLU": "bends: without it layers would collapse into one",
    "Dropout": "drops activations while training, against learning by heart",
    "Flatten": "lays the picture out as a row of numbers",
    "Dense": "weighs all its inputs",
}
DRAWN_FROM = {"layer", "type", "output_shape", "parameters", "depends_on_colours", "depends_on_classes", "inputs"}
LONGEST = 24  # layers in one column of the drawing
WIDTH, STEP = 4.7, 0.42  # of a box and between two, in inches
TYPE, WEIGHTS = 1.75, 3.75  # where in a box its type begins and the number of its weights ends
NEITHER, COLOURS_ONLY, CLASSES_ONLY, BOTH = "#EEF1F3", "#FBE3B0", "#BFDDF0", "#D9C7E3"
CLASSES_OUT = "gives a probability to each class"


def with_roles(layers: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `role` after `type`, from the type of layer; "" for types not known here."""
    roles = layers["type"].map(ROLES).fillna("")
    if "trainable" in layers:
        fixed = (layers["trainable"] == "False") & (layers["parameters"].astype(float) > 0)
        roles[fixed] += ", fixed before training"
    dense_last = len(layers) > 0 and layers["type"].iloc[-1] == "Dense"
    if dense_last:
        roles.iloc[-1] = CLASSES_OUT
    table = layers.copy()
    table.insert(list(layers.columns).index("type") + 1, "role", roles)
    return table


def sentence(layers: pd.DataFrame) -> str:
    """Which layers depend on the colours and which on the classes, in words."""
    parts = []
    for column, what in (
        ("depends_on_colours", "the number of colours"),
        ("depends_on_classes", "the number of classes"),
    ):
        names = layers.loc[layers[column] == "True", "layer"].tolist()
        parts.append(f"{', '.join(names) if names else 'nothing'} on {what}")
    return f"Of {len(layers)} layers these depend on the data: {'; '.join(parts)}."


@matplotlib.rc_context(STYLE)
def draw(layers: pd.DataFrame, title: str = "") -> Figure:
    """The network from top to bottom, in as many columns as it needs: boxes for layers, lines for what feeds what.

    A box tells the layer's name, type, number of weights and output's shape.

    layers: text columns layer, type, output_shape, parameters, depends_on_colours, depends_on_classes ("True" or not) and
    inputs (names separated by a space). A box's colour says what it depends on.
    """
    names = layers["layer"].tolist()
    place = {name: row for row, name in enumerate(names)}
    edges = [(place[one], row) for row, inputs in enumerate(layers["inputs"]) for one in inputs.split() if one in place]
    starts = _column_starts(len(names), edges)
    column_of = [sum(start <= row for start in starts) - 1 for row in range(len(names))]
    spots = [(column * (WIDTH + 1.0), -(row - starts[column]) * STEP) for row, column in enumerate(column_of)]
    tallest = max(end - start for start, end in zip(starts, [*starts[1:], len(names)], strict=True))
    size = (len(starts) * (WIDTH + 1.0) + 0.3, tallest * STEP + 1.5)
    figure = new_figure((max(size[0], 5.5), size[1]), "the network", title)
    axes = figure.subplots()
    axes.set(xlim=(-0.4, size[0] - 0.7), ylim=(-tallest * STEP, STEP * 0.8), aspect="equal")
    axes.set_axis_off()
    for (x, y), layer in zip(spots, layers.itertuples(), strict=True):
        _box(axes, x, y, layer)
    for start in starts:
        _heading(axes, *spots[start])
    reach = _reach([(a, b) for a, b in edges if column_of[a] == column_of[b] and b > a + 1])
    for source, target in edges:
        _wire(axes, spots, source, target, column_of, reach)
    shades = [(COLOURS_ONLY, "colours"), (CLASSES_ONLY, "classes"), (BOTH, "both"), (NEITHER, "neither")]
    patches = [Patch(fc=shade, ec=GREY, label=label) for shade, label in shades]
    figure.legend(handles=patches, title="depends on the number of", loc="outside lower center", ncols=4)
    return figure


def _column_starts(layers: int, edges: list[tuple[int, int]]) -> list[int]:
    """The rows at which columns begin: about equally far apart, within reach where the fewest shortcuts are cut."""
    count = -(-layers // LONGEST)
    starts = [0]
    while layers - starts[-1] > LONGEST:
        even = starts[-1] + -(-(layers - starts[-1]) // max(count - len(starts) + 1, 2))
        longest = starts[-1] + LONGEST
        # Columns that ended early leave more than an equal share to the last ones: `even` can be out of reach.
        rows = range(min(max(even - 6, starts[-1] + 1), longest), longest + 1)
        cut = {row: sum(a < row <= b for a, b in edges) for row in rows}
        starts.append(min(rows, key=lambda row: (cut[row], abs(row - even))))
    return starts


def _box(axes: Axes, x: float, y: float, layer) -> None:
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


def _heading(axes: Axes, x: float, y: float) -> None:
    for place, text, side in (
        (0.05, "layer", "left"),
        (TYPE, "type", "left"),
        (WEIGHTS, "weights", "right"),
        (WIDTH - 0.05, "output", "right"),
    ):
        axes.text(x + place, y + 0.25, text, ha=side, va="center", fontsize=7.5, color="#555555", fontstyle="italic")


def _reach(shortcuts: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """For each shortcut how many inches out it runs, so that those beside the same layers stay apart; long ones outside."""
    lanes = {}
    for source, target in sorted(shortcuts, key=lambda edge: edge[1] - edge[0]):
        beside = {lane for (a, b), lane in lanes.items() if a < target and source < b}
        lanes[source, target] = next(lane for lane in range(len(lanes) + 1) if lane not in beside)
    apart = min(0.15, 0.45 / max([1, *lanes.values()]))  # the room beside a column is limited
    return {edge: 0.12 + apart * lane for edge, lane in lanes.items()}


def _wire(
    axes: Axes, spots: list[tuple[float, float]], source: int, target: int, column_of: list[int], reach: dict
) -> None:
    (x0, y0), (x1, y1) = spots[source], spots[target]
    style = dict(arrowstyle="-|>", mutation_scale=8, lw=1.1, shrinkA=0, shrinkB=0, color=INK)
    if column_of[source] != column_of[target]:  # to the next column's top: down, aside, up, in
        lane = x1 - 0.3
        points = [(x0 + WIDTH + 0.02, y0), (lane, y0), (lane, y1), (x1 - 0.02, y1)]
        axes.plot(*zip(*points[:3], strict=True), color=INK, lw=1.1, solid_joinstyle="round")
        axes.add_patch(FancyArrowPatch(points[2], points[3], **style))
    elif target == source + 1:
        axes.add_patch(FancyArrowPatch((x0 + WIDTH / 2, y0 - 0.15), (x1 + WIDTH / 2, y1 + 0.15), **style))
    else:  # a shortcut: an arc on the right
        start, end = (x0 + WIDTH + 0.02, y0), (x1 + WIDTH + 0.02, y1)
        bend = -2 * reach[source, target] / (y0 - y1)
        axes.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **style | {"color": BLUE}))
