"""What a data set declares: the names of its classes, the shape of its images, its superclasses."""

import operator
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError, truncate
from mlproject.names import NAME, NAME_RULE

if TYPE_CHECKING:
    from mlproject.datasets.loader import Loader


REQUIRED_ATTRIBUTES = ("name", "classes", "shape")  # attributes of every loader


@dataclass(frozen=True)
class Declaration:
    """The checked declaration of a data set.

    Attributes:
        name: the data set's name.
        classes: the names of the finest classes.
        shape: (height, width, channels) of an image.
        superclasses: the names of the superclasses; empty if the data set has none.
        superclass_of: int64 (classes,), indices into `superclasses`; without superclasses, every class is its own.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    superclasses: tuple[str, ...]
    superclass_of: NDArray[np.int64]


def check_declaration(loader: "Loader") -> Declaration:
    """Read and check what a loader declares.

    Args:
        loader: the data set.

    Returns:
        The declaration, its names as tuples.

    Raises:
        UserError: something is missing, or has no meaning.
    """
    missing = [attribute for attribute in REQUIRED_ATTRIBUTES if not hasattr(loader, attribute)]
    if missing:
        raise UserError(
            f"data set {getattr(loader, 'name', type(loader).__name__)}: it lacks {', '.join(missing)}; accepted: a Loader that"
            f" defines {', '.join(REQUIRED_ATTRIBUTES)} and read"
        )
    name = loader.name
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise UserError(f"name={truncate(repr(name))} of a data set is not accepted; accepted: {NAME_RULE}")
    if not callable(loader.read):
        raise UserError(f"data set {name}: read is {truncate(loader.read)}; accepted: a method read(self, data_dir)")
    classes, shape = _check_names(f"data set {name}: classes", loader.classes), _check_shape(name, loader.shape)
    preparation = loader.preparation
    if preparation is not None and not (isinstance(preparation, Preparation) and preparation.shape == shape):
        raise UserError(
            f"data set {name}: preparation is {truncate(preparation)};"
            f" accepted: None, or a Preparation for images of shape {shape}"
        )
    if not np.size(loader.superclasses):
        if np.size(loader.superclass_of):
            raise UserError(f"data set {name}: it has superclass_of without superclasses; accepted: both, or neither")
        return Declaration(name, classes, shape, (), np.arange(len(classes)))
    superclasses = _check_names(f"data set {name}: superclasses", loader.superclasses)
    return Declaration(
        name, classes, shape, superclasses, _check_superclass_of(name, loader.superclass_of, classes, superclasses)
    )


def _check_names(field_name: str, value: object) -> tuple[str, ...]:
    """Check the names of classes or superclasses."""
    names = value.tolist() if isinstance(value, np.ndarray) else value
    # Sets and the keys of dicts are refused: a label is a position, and they promise none.
    if not isinstance(names, list | tuple):
        raise UserError(f"{field_name} is a {type(value).__name__}; accepted: a tuple or list of names")
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"{field_name} holds {truncate(repr(name))}; accepted: names as text")
        if name != name.strip() or len(name.splitlines()) != 1 or "\ufeff" in name:  # as from a file with Windows lines
            raise UserError(
                f"{field_name} holds {truncate(ascii(name))}; accepted: names that are not empty, without line breaks and"
                " byte-order marks, and without spaces around them"
            )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UserError(f"{field_name} holds {truncate(repeated[0])!r} more than once; accepted: different names")
    if len(names) < 2:
        raise UserError(f"{field_name} holds {len(names)} names; accepted: at least 2")
    return tuple(map(str, names))


def _check_shape(name: str, value: Any) -> tuple[int, int, int]:
    """Check the shape of an image; (height, width) means one channel."""
    try:
        sizes = tuple(map(operator.index, value))
    except TypeError:  # no sequence, or not of integers
        sizes = ()
    height, width, channels = sizes if len(sizes) == 3 else (*sizes, 1) if len(sizes) == 2 else (0, 0, 0)
    channels_first = height == 3 and channels > 4
    if min(height, width) < 2 or channels < 1 or channels_first:
        hint = ", which begins with the channels" if channels_first else ""
        raise UserError(
            f"data set {name}: shape is {truncate(value)}{hint}; accepted: (height, width, channels) or"
            " (height, width), integers, height and width of 2 or more"
        )
    return height, width, channels


def _check_superclass_of(
    name: str, value: object, classes: tuple[str, ...], superclasses: tuple[str, ...]
) -> NDArray[np.int64]:
    """Check the superclass of each class."""
    field_name = f"data set {name}: superclass_of"
    accepted = f"for each of the {len(classes)} classes an index from 0 to {len(superclasses) - 1}"
    try:
        indices = np.asarray(value)
    except ValueError:  # lists of different lengths
        indices = np.array(None)
    if indices.dtype.kind not in "iu" or indices.shape != (len(classes),):
        raise UserError(f"{field_name} is {indices.dtype} of shape {indices.shape}; accepted: {accepted}")
    if indices.min() < 0 or indices.max() >= len(superclasses):
        raise UserError(f"{field_name} holds {indices.min()} to {indices.max()}; accepted: {accepted}")
    unused = np.setdiff1d(np.arange(len(superclasses)), indices)
    if unused.size:
        raise UserError(
            f"{field_name} gives the superclass {superclasses[unused[0]]!r} no class;"
            " accepted: at least one class in each superclass"
        )
    return indices.astype(np.int64, copy=False)
