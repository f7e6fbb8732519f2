"""Checks of the arguments that the functions of this package share; each raises a UserError of one line."""

from collections.abc import Sized

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlproject.errors import UserError, truncate


def normalise_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Check the probabilities and scale each row so that its sum is 1.

    Args:
        probabilities: float of any width, (images, classes).

    Returns:
        float64, (images, classes).

    Raises:
        UserError: if there are no images or no classes, or if a row holds a negative value, NaN or infinity, or is
            all zero.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.size == 0:
        raise UserError(f"probabilities: shape {probabilities.shape}; accepted: (images, classes), at least 1 of each")
    totals = probabilities.sum(axis=1, keepdims=True)
    valid = np.isfinite(totals[:, 0]) & (probabilities >= 0).all(axis=1) & (totals[:, 0] > 0)
    if not valid.all():
        raise UserError(
            f"probabilities: row {int(np.argmin(valid))} holds a negative value, NaN or infinity, or is all zero; "
            "accepted: finite values of 0 or more, not all of them 0"
        )
    return np.asarray(probabilities / totals, dtype=np.float64)


def check_labels(name: str, labels: ArrayLike, classes: int) -> NDArray[np.integer]:
    """Check that the argument called `name` holds a class index for each image.

    Args:
        name: the argument's name, for the message.
        labels: int, (images,).
        classes: the number of classes.

    Returns:
        The labels as an array, (images,), of the integer type they had.

    Raises:
        UserError: if there are no images, the values are not integers, or one is outside 0..classes-1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{name}: {labels.dtype} of shape {labels.shape}; accepted: one integer for each image")
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise UserError(f"{name}: {outside[0]}; accepted: class indices 0 to {classes - 1}")
    return labels


def check_superclass_of(superclass_of: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Check that `superclass_of` holds the index of a superclass for each class.

    Args:
        superclass_of: int, (classes,).
        classes: the number of classes.

    Returns:
        int64, (classes,).

    Raises:
        UserError: if there is not one index for each class or an index is negative.
    """
    superclass_of = np.asarray(superclass_of, dtype=np.int64)
    if superclass_of.shape != (classes,) or superclass_of.min() < 0:
        raise UserError(
            f"superclass_of: {truncate(superclass_of.tolist())}; accepted: one index from 0 for each of {classes} classes"
        )
    return superclass_of


def check_correct(name: str, correct: ArrayLike, by_seed: bool = False) -> NDArray[np.bool_]:
    """Check that the argument called `name` says for each image whether its prediction is correct.

    Args:
        name: the argument's name, for the message.
        correct: bool, (images,), or with `by_seed` (seeds, images).
        by_seed: whether the argument says so for the network of each seed.

    Returns:
        bool, of the same shape.

    Raises:
        UserError: if there are no seeds or no images, or the values are not of type bool.
    """
    correct = np.asarray(correct)
    if correct.dtype != bool or correct.ndim != 1 + by_seed or correct.size == 0:
        accepted = "(seeds, images), one bool for each of both" if by_seed else "one bool for each image"
        raise UserError(f"{name}: {correct.dtype} of shape {correct.shape}; accepted: {accepted}")
    return correct


def check_same_length(name_a: str, a: Sized, name_b: str, b: Sized) -> None:
    """Check that two arguments have equally many entries.

    Args:
        name_a: the first argument's name, for the message.
        a: the first argument.
        name_b: the second argument's name, for the message.
        b: the second argument.

    Raises:
        UserError: if the lengths differ.
    """
    if len(a) != len(b):
        raise UserError(f"{name_a}: {len(a)} entries, but {name_b} has {len(b)}; accepted: equally many in both")
