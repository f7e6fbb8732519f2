"""A sheet of examples of each class, to see whether images show what their labels say."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlproject.datasets.dataset import Dataset
from mlproject.datasets.images.decoding import UnreadableError, decode
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError
from mlproject.style import new_figure, styled

MAX_CLASSES, IMAGES_PER_CLASS, IMAGE_PIXELS = 40, 8, 64
MAX_SIDE = 256  # pixels a side of an image of a data set; more would not be seen, and take gigabytes on the whole sheet
MAX_ROWS = 20  # with more classes there are two columns
INCHES = 0.6  # for an image with its gap, so that a figure of 120 dots an inch shows the pixels as they are

Examples = dict[str, list[NDArray[np.uint8]]]


def contact_sheet(entries: Entries, scan: pd.DataFrame, title: str) -> Figure:
    """Draw images of each class.

    Args:
        entries: the images.
        scan: what `pixels.scan` found in them.
        title: the name of the set.

    Returns:
        Up to `IMAGES_PER_CLASS` images of each class, from all over it, padded to squares. Of many classes the first
        `MAX_CLASSES` are shown, in the order of their names.

    Raises:
        UserError: none of the images can be decoded.
    """
    labels = entries.table["label"]
    readable = (scan["error"] == "").to_numpy()
    names = sorted(labels[readable].unique())
    examples = {
        name: _decode_some(entries, np.flatnonzero(readable & (labels == name).to_numpy()))
        for name in names[:MAX_CLASSES]
    }
    if not any(examples.values()):
        raise UserError(f"{entries.source}: none of the images tried can be decoded; accepted: undamaged images")
    return _draw_sheet(examples, len(names), title)


def data_sheet(data: Dataset, title: str) -> Figure:
    """Draw training images of each class of a data set, as networks see them.

    Args:
        data: the data set.
        title: its name.

    Returns:
        Up to `IMAGES_PER_CLASS` images of each class, as `contact_sheet` shows them. Of images above `MAX_SIDE` pixels, every
        second pixel or fewer are shown.
    """
    examples, step = {}, math.ceil(max(data.train_images.shape[1:3]) / MAX_SIDE)
    for label, name in list(enumerate(data.class_names))[:MAX_CLASSES]:
        rows = _evenly_spaced(np.flatnonzero(data.train_labels == label))
        examples[name] = [_in_colour(data.train_images[row, ::step, ::step]) for row in rows]
    return _draw_sheet(examples, len(data.class_names), title)


def _evenly_spaced(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Up to `IMAGES_PER_CLASS` rows that are not neighbours, since these may show the same thing."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, IMAGES_PER_CLASS).astype(int))] if len(rows) else rows


def _in_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Red, green and blue of an image without its opacity; of any other number of channels the first one is shown in grey."""
    return image[..., :3] if image.shape[-1] in (3, 4) else np.repeat(image[..., :1], 3, axis=-1)


def _decode_some(entries: Entries, positions: NDArray[np.intp]) -> list[NDArray[np.uint8]]:
    """Decode some of the images of a class."""
    images = []
    for position in _evenly_spaced(positions):
        try:
            content = entries.read(int(position))
            images.append(decode(content, Preparation(IMAGE_PIXELS, 3, fit="pad")))
        except (UnreadableError, OSError):  # the file is damaged behind its header
            continue
    return images


@styled
def _draw_sheet(examples: Examples, class_count: int, title: str) -> Figure:
    names = list(examples)
    subtitle = (
        f"examples of {len(names)} of {class_count:,} classes" if len(names) < class_count else "examples of each class"
    )
    columns = 1 if len(names) <= MAX_ROWS else 2
    rows = -(-len(names) // columns)
    figure = new_figure((columns * (IMAGES_PER_CLASS * INCHES + 2.5), rows * INCHES + 1), subtitle, title)
    for column, axes in enumerate(np.atleast_1d(figure.subplots(1, columns))):
        _draw_column(axes, examples, names[column * rows : (column + 1) * rows], rows)
    return figure


def _draw_column(axes: Axes, examples: Examples, names: Sequence[str], rows: int) -> None:
    """Draw all images of a column as one, because an axes for each of them would take seconds."""
    height, width = next(image.shape[:2] for images in examples.values() for image in images)
    gap = max(height // 8, 1)
    row_step, column_step = height + gap, width + gap
    canvas = np.full((rows * row_step, IMAGES_PER_CLASS * column_step, 3), 255, np.uint8)
    for row, name in enumerate(names):
        for index, image in enumerate(examples[name]):
            top, left = row * row_step + gap // 2, index * column_step + gap // 2
            canvas[top : top + height, left : left + width] = image
    axes.imshow(canvas)
    axes.set_anchor("W")  # the layout reserves the names' width from the left edge of the room for the axes
    lines = ["\n".join(textwrap.wrap(name.replace("_", " "), 18, max_lines=3, placeholder="…")) for name in names]
    axes.set_yticks([row * row_step + row_step // 2 for row in range(len(names))], lines, fontweight="bold")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
