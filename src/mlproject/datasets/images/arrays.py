"""Images in the arrays of one `.npz` file, as Keras keeps its data sets. They are in memory as a whole."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlproject.datasets.images import classes
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.reading import reading
from mlproject.errors import UserError

ARRAY_NAMES = ("x_train", "y_train", "x_test", "y_test")
ACCEPTED = f"the arrays {', '.join(ARRAY_NAMES)} and, where wanted, class_names"


def read(path: Path) -> Entries:
    """Read the arrays of images and labels. Pickled objects, which could run code, are refused.

    Args:
        path: the file, with `x_train` and `x_test`, uint8 (images, height, width) or (images, height, width, 1, 3 or 4);
            `y_train` and `y_test`, integers or text, (images,) or (images, 1); and, if wanted, `class_names`, text (classes,).

    Returns:
        The images, not yet checked by `classes.check`.

    Raises:
        UserError: the file is damaged, or its arrays are others.
    """
    arrays, other_names = _load(path)
    class_names = _class_names(path, arrays["class_names"]) if "class_names" in arrays else []
    images: list[NDArray[np.uint8]] = []
    tables = []
    for split in ("train", "test"):
        images.append(_check_images(f"{path}: x_{split}", arrays[f"x_{split}"]))
        labels = _label_names(f"{path}: y_{split}", arrays[f"y_{split}"], class_names)
        if len(labels) != len(images[-1]):
            raise UserError(
                f"{path}: x_{split} holds {len(images[-1])} images, but y_{split} {len(labels)} labels; accepted: a label"
                " for each image"
            )
        paths = [f"x_{split}[{row}]" for row in range(len(labels))]
        tables.append(classes.make_table(paths, labels, split=[split] * len(labels)))
    table = pd.concat(tables, ignore_index=True)
    passed_over = dict.fromkeys(other_names, "is none of the arrays that count")
    return Entries(path, "arrays in NPZ", table, functools.partial(_image_at, images), passed_over)


def _image_at(images: list[NDArray[np.uint8]], position: int) -> NDArray[np.uint8]:
    train, test = images
    image: NDArray[np.uint8] = train[position] if position < len(train) else test[position - len(train)]
    return image


def _load(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that count, and the names of the others."""
    with reading(path, f"NPZ without pickled objects, with {ACCEPTED}"), np.load(path, allow_pickle=False) as stored:
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise UserError(f"{path} holds a single array; accepted: {ACCEPTED}")
        missing = [name for name in ARRAY_NAMES if name not in stored.files]
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)}; accepted: {ACCEPTED}")
        names = [name for name in (*ARRAY_NAMES, "class_names") if name in stored.files]
        arrays = {name: np.asarray(stored[name]) for name in names}
        return arrays, [name for name in stored.files if name not in names]


def _check_images(array_name: str, array: np.ndarray) -> NDArray[np.uint8]:
    accepted = "uint8 from 0 to 255, (images, height, width) or (images, height, width, 1, 3 or 4)"
    has_accepted_shape = array.ndim == 3 or array.ndim == 4 and array.shape[-1] in (1, 3, 4)
    if array.dtype != np.uint8 or not has_accepted_shape or array.size == 0:
        raise UserError(f"{array_name} is {array.dtype} of shape {array.shape}; accepted: {accepted}")
    return array


def _label_names(array_name: str, array: np.ndarray, class_names: list[str]) -> list[str]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise UserError(
            f"{array_name} is {array.dtype} of shape {array.shape}; accepted: whole numbers or text, (images,) or (images, 1)"
        )
    if array.dtype.kind in "US":
        return _as_texts(array)
    if class_names and len(array) and not 0 <= array.min() <= array.max() < len(class_names):
        raise UserError(
            f"{array_name} holds {array.min()} to {array.max()}; accepted: 0 to {len(class_names) - 1}, positions in class_names"
        )
    return [class_names[label] if class_names else str(label) for label in array.tolist()]


def _class_names(path: Path, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US" or not len(array):
        raise UserError(f"{path}: class_names is {array.dtype} of shape {array.shape}; accepted: text, (classes,)")
    return _as_texts(array)


def _as_texts(array: np.ndarray) -> list[str]:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    return [str(text) for text in array]
