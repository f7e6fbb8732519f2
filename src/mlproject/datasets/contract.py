"""The contract of a data set: what a loader may return, and the form in which everything else gets it.

What has one meaning is brought into that form: labels as a column, as one-hot rows, as names or as whole floats; grey
images without a channel; other integers; lists. Everything else is refused before anything is trained. Arrays that
already have the form are not copied.
"""

import contextlib
import inspect
import json
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlproject.datasets import mapped
from mlproject.datasets.declaration import Declaration
from mlproject.datasets.files import Arrays, Description
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError, first_line, truncate

if TYPE_CHECKING:
    from mlproject.datasets.loader import Loader

_FORM = f"files.Arrays({', '.join(Arrays._fields)})"


def read(declaration: Declaration, loader: "Loader", data_dir: Path | str | None) -> Arrays:
    """Call a loader.

    Args:
        declaration: what the loader declares.
        loader: the data set.
        data_dir: the folder that holds the files, or None.

    Returns:
        What the loader returned, not yet checked.

    Raises:
        UserError: the loader raised one or failed otherwise, or returned something else than `Arrays`.
    """
    try:
        arrays = loader.read(data_dir)
    except UserError:
        raise
    except Exception as error:  # a loader of a user's own can raise anything
        frames = traceback.extract_tb(error.__traceback__)
        # The last frame in the loader's own file, rather than in a library that it calls.
        line_numbers = [frame.lineno for frame in frames if frame.filename == _source_file(loader)]
        location = f" in line {line_numbers[-1]}" if line_numbers else ""
        raise UserError(
            f"data set {declaration.name}: {type(loader).__name__}.read failed{location} ({truncate(first_line(error))});"
            f" accepted: a method read(self, data_dir) that returns {_FORM}"
        ) from error
    # A plain tuple is refused because its order is not certain: scikit-learn's begins with both images, Keras' is nested.
    if not isinstance(arrays, Arrays):
        returned = f"a {type(arrays).__name__}" if arrays is not None else "nothing"
        raise UserError(
            f"data set {declaration.name}: {type(loader).__name__}.read returned {returned}; accepted: {_FORM}"
        )
    return arrays


def _source_file(loader: "Loader") -> str | None:
    """The file that defines a loader; None for one of a notebook."""
    try:
        return inspect.getsourcefile(type(loader))
    except (OSError, TypeError):  # Python takes a class without a file for a built-in one
        return None


def check(declaration: Declaration, arrays: Arrays) -> Arrays:
    """Check the arrays of a data set and bring them into the form that `Arrays` describes.

    Args:
        declaration: what the loader declares.
        arrays: what the loader returned.

    Returns:
        Images uint8 (n, height, width, channels) and labels int64 (n,), contiguous; `validation` int64, sorted, and `groups`
        int64 (n,), or None; `preparation` as a dict or None. What already had this form is not copied.

    Warns:
        UserWarning: a class has no test images, or all its training images are in `validation`.

    Raises:
        UserError: something has no meaning or more than one; the message names the data set and the array.
    """
    train = _check_part(declaration, "train", arrays.train_images, arrays.train_labels)
    test = _check_part(declaration, "test", arrays.test_images, arrays.test_labels)
    prefix = f"data set {declaration.name}:"
    absent_names = _absent_classes(declaration, train[1])
    if absent_names:
        raise UserError(f"{prefix} train_labels lacks the classes {absent_names}; accepted: images of every class")
    absent_names = _absent_classes(declaration, test[1])
    if absent_names:
        warnings.warn(
            f"{prefix} test_labels lacks the classes {absent_names}; they get no scores, and macro averages leave them out",
            stacklevel=3,
        )
    _check_notes(declaration, arrays)
    validation = None if arrays.validation is None else _check_validation(declaration, arrays.validation, train[1])
    groups = None if arrays.groups is None else _check_groups(declaration, arrays.groups, len(train[1]))
    return arrays._replace(
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        source=str(arrays.source),
        validation=validation,
        groups=groups,
        preparation=_check_preparation(declaration, arrays.preparation),
    )


def _check_notes(declaration: Declaration, arrays: Arrays) -> None:
    """Refuse a source or a description of another type, which would fail when the first model is logged."""
    prefix = f"data set {declaration.name}:"
    if not isinstance(arrays.source, str | Path):
        raise UserError(
            f"{prefix} source is {truncate(repr(arrays.source))};"
            " accepted: a text or path that says where the data were read from"
        )
    if not isinstance(arrays.description, Description | None):
        raise UserError(
            f"{prefix} description is {truncate(repr(arrays.description))}; accepted: None, or a files.Description"
        )


def _check_preparation(declaration: Declaration, value: object) -> dict[str, object] | None:
    """Check how images are prepared; of a `Preparation` its description is kept."""
    description = value.describe() if isinstance(value, Preparation) and value.shape == declaration.shape else value
    with contextlib.suppress(TypeError, ValueError):  # a type that JSON lacks, or a dict that holds itself
        json.dumps(description)
        if description is None or isinstance(description, dict):
            return description
    raise UserError(
        f"data set {declaration.name}: preparation is {truncate(value)}; accepted: None, a Preparation for images of shape"
        f" {declaration.shape}, or a dict of types that JSON has"
    )


def _check_validation(declaration: Declaration, value: object, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Check the rows of the user's own validation images; returns them sorted."""
    array_name = f"data set {declaration.name}: validation"
    accepted = f"rows of training images, 0 to {len(labels) - 1}, each once, and some of them left for training"
    array = _as_array(array_name, value)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(f"{array_name} is {array.dtype} of shape {array.shape}; accepted: {accepted}")
    rows, counts = np.unique(array, return_counts=True)
    if rows[0] < 0 or rows[-1] >= len(labels):
        raise UserError(f"{array_name} holds {rows[0] if rows[0] < 0 else rows[-1]}; accepted: {accepted}")
    if counts.max() > 1:
        raise UserError(f"{array_name} holds {rows[counts.argmax()]} {counts.max()} times; accepted: {accepted}")
    if len(rows) == len(labels):
        raise UserError(f"{array_name} holds all {len(rows)} training images; accepted: {accepted}")
    absent_names = _absent_classes(declaration, np.delete(labels, rows))
    if absent_names:
        warnings.warn(f"{array_name} holds all training images of {absent_names}; trials never see them", stacklevel=4)
    return np.asarray(rows, np.int64)


def _check_groups(declaration: Declaration, value: object, image_count: int) -> NDArray[np.int64]:
    """Check the groups of the training images; names of groups become numbers."""
    array_name = f"data set {declaration.name}: groups"
    array = _as_array(array_name, value)
    if array.shape != (image_count,) or array.dtype.kind not in "iuSUT":
        raise UserError(
            f"{array_name} is {array.dtype} of shape {array.shape};"
            f" accepted: a whole number or a name for each of {image_count} training images"
        )
    group_numbers = np.unique(array, return_inverse=True)[1] if array.dtype.kind in "SUT" else array
    if group_numbers.min() == group_numbers.max():
        raise UserError(f"{array_name} holds one group only; accepted: at least two groups, one of them for validation")
    return np.asarray(group_numbers, np.int64)


def _absent_classes(declaration: Declaration, labels: NDArray[np.int64]) -> str:
    """The names of the classes without a label, separated by commas."""
    counts = np.bincount(labels, minlength=len(declaration.classes))
    return truncate(", ".join(name for name, count in zip(declaration.classes, counts, strict=True) if not count))


def _check_part(
    declaration: Declaration, part: str, images: object, labels: object
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Check the images and labels of one part, "train" or "test"."""
    images = _check_images(f"data set {declaration.name}: {part}_images", images, declaration.shape)
    labels = _check_labels(f"data set {declaration.name}: {part}_labels", labels, declaration.classes)
    if len(images) != len(labels):
        raise UserError(
            f"data set {declaration.name}: {part}_images holds {len(images)} images, but {part}_labels {len(labels)}"
            " labels; accepted: a label for each image"
        )
    return images, labels


def _as_array(array_name: str, value: object) -> np.ndarray:
    """Turn a value into an array that is not empty; what NumPy could only wrap as Python objects is refused."""
    if np.ma.is_masked(value):
        raise UserError(f"{array_name} has masked or missing values; accepted: a value for every image")
    try:
        # `asarray` would hide that an array is memory-mapped, by which others know that it may not fit into memory.
        array = value if isinstance(value, np.memmap) else np.asarray(value)
        if array.dtype == object:  # which may hold arrays of one shape, or plain numbers or texts
            array = np.asarray(array.tolist())
    except Exception as error:  # objects of other libraries can raise anything when they become arrays
        shapes = _describe_shapes(value)
        problem = f"has entries of the shapes {shapes}" if shapes else f"is no array ({truncate(first_line(error))})"
        raise UserError(f"{array_name} {problem}; accepted: an array, whose entries all have one shape") from error
    if array.dtype == object:
        types = ", ".join(sorted({type(entry).__name__ for entry in array.flat}))
        raise UserError(f"{array_name} holds {truncate(types)}; accepted: an array of numbers, or names as labels")
    if array.size == 0:
        raise UserError(f"{array_name} is empty (shape {array.shape}); accepted: at least one image of each class")
    return array


def _describe_shapes(value: object) -> str:
    """The first two different shapes of the entries; empty if they cannot be told."""
    try:
        shapes = list(dict.fromkeys(np.shape(entry) for entry in value))  # type: ignore[attr-defined]
    except Exception:  # the entries have no shape either
        return ""
    return " and ".join(map(str, shapes[:2])) if len(shapes) > 1 else ""


def _check_images(array_name: str, value: object, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Check images and bring them into the form uint8 (n, height, width, channels)."""
    array = _as_array(array_name, value)
    if array.shape[1:] == shape[:2] and shape[2] == 1:
        array = array[..., None]
    if array.shape[1:] != shape:
        height, width, channels = shape
        hints = {
            (channels, height, width): ", with the channels first: use images.transpose(0, 2, 3, 1)",
            (height * width * channels,): ", with a row of pixels for each image: reshape it",
        }
        hint = hints.get(array.shape[1:], "")
        if array.shape[:-1] == shape:
            hint = ", with the images along the last axis: use numpy.moveaxis(images, -1, 0)"
        raise UserError(
            f"{array_name} has the shape {array.shape}{hint};"
            f" accepted: (n, {height}, {width}, {channels}), n images of the shape that is declared"
        )
    pixels = _check_pixels(array_name, array)
    return pixels if pixels.flags.c_contiguous else np.ascontiguousarray(pixels)


def _check_pixels(array_name: str, array: np.ndarray) -> NDArray[np.uint8]:
    """Check the values of images and make them uint8."""
    accepted = "integers from 0 to 255, best as uint8"
    kind = array.dtype.kind
    if kind not in "iuf":
        raise UserError(f"{array_name} is {array.dtype}; accepted: {accepted}")
    low, high = mapped.extremes(array)
    if kind == "f":
        raise UserError(
            f"{array_name} holds {_describe_floats(array.dtype, float(low), float(high))}; accepted: {accepted}"
        )
    if low < 0 or high > 255:
        raise UserError(f"{array_name} holds values from {low} to {high}; accepted: {accepted}")
    if high <= 1:
        raise UserError(
            f"{array_name} holds no value above {high}; accepted: {accepted}, for which pixels must not be divided by 255,"
            " and black and white are 0 and 255"
        )
    if low == high:
        raise UserError(f"{array_name} holds nothing but the value {low}; accepted: images that differ")
    return array.astype(np.uint8, copy=False)


def _describe_floats(dtype: np.dtype, low: float, high: float) -> str:
    """Say what floats look like, and how they become pixels."""
    if np.isnan(low):  # the minimum is NaN if any value is
        return f"NaN ({dtype})"
    value_range = f"{dtype} from {low:g} to {high:g}"
    if low < -1 or high > 255:
        return value_range
    if low < 0:
        return (
            f"{value_range}, which look like pixels / 127.5 - 1: add 1, multiply by 127.5, round and convert to uint8"
        )
    if high <= 1:
        return f"{value_range}, which look like pixels / 255: multiply by 255, round and convert to uint8"
    return f"{value_range}: round and convert to uint8"


def _check_labels(array_name: str, value: object, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Check labels and bring them into the form int64 (n,)."""
    array = _as_array(array_name, value)
    is_text = array.dtype.kind in "SUT"
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape[1:] == (len(classes),) and not is_text:
        array = _from_one_hot(array_name, array)
    if array.ndim != 1:
        raise UserError(
            f"{array_name} has the shape {array.shape}; accepted: (n,) or (n, 1), or one-hot (n, {len(classes)})"
        )
    return _from_names(array_name, array, classes) if is_text else _check_indices(array_name, array, classes)


def _from_one_hot(array_name: str, array: np.ndarray) -> NDArray[np.int64]:
    """The position of the 1 in each row."""
    ones = array == 1
    valid = (ones.sum(axis=1) == 1) & (ones | (array == 0)).all(axis=1)
    if not valid.all():
        row = int(np.argmin(valid))
        raise UserError(
            f"{array_name} holds the row {truncate(array[row].tolist())} for image {row};"
            " accepted: rows with exactly one 1, and 0 elsewhere"
        )
    return np.asarray(ones.argmax(axis=1), np.int64)


def _from_names(array_name: str, array: np.ndarray, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """The index of each name."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    names, positions = np.unique(array, return_inverse=True)
    unknown = [str(name) for name in names if name not in classes]
    if unknown:
        raise UserError(
            f"{array_name} holds '{truncate(unknown[0])}', which is not in its classes;"
            f" accepted: {truncate(', '.join(classes))}, or the indices 0 to {len(classes) - 1}"
        )
    return np.array([classes.index(name) for name in names], dtype=np.int64)[positions]


def _check_indices(array_name: str, array: np.ndarray, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Check labels that are numbers, and make them int64."""
    accepted = f"whole numbers from 0 to {len(classes) - 1}, indices into its classes"
    if array.dtype.kind not in "biuf":
        raise UserError(f"{array_name} is {array.dtype}; accepted: {accepted}, or names")
    if array.dtype.kind == "f":
        invalid = array[~np.isfinite(array) | (array != np.floor(array))]
        if invalid.size:
            raise UserError(f"{array_name} holds {invalid[0]:g}; accepted: {accepted}, or names")
    low, high = int(array.min()), int(array.max())
    if (low, high) == (1, len(classes)):
        raise UserError(f"{array_name} holds 1 to {high}, so its labels begin at 1: subtract 1; accepted: {accepted}")
    if low < 0 or high >= len(classes):
        raise UserError(f"{array_name} holds {low if low < 0 else high}; accepted: {accepted}, or names")
    return np.ascontiguousarray(array.astype(np.int64, copy=False))
