"""Cross-validation: the training images are divided into folds, and each fold is held out once."""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from mlproject.datasets.dataset import Dataset
from mlproject.errors import UserError, truncate


class Fold(NamedTuple):
    """The rows of one fit: those to train on and those that are held out, both int64 and sorted."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def draw_folds(data: Dataset, folds: int, repeats: int, seed: int) -> tuple[Fold, ...]:
    """Divide the training images of a data set into folds, stratified by the finest labels; groups stay whole.

    Args:
        data: the data set.
        folds: how many folds a repeat has, at least 2.
        repeats: how many different partitions are drawn, at least 1.
        seed: the seed of the partitions.

    Returns:
        A Fold for each fold of each repeat, `folds` times `repeats`; in each repeat, every image is held out once.

    Warns:
        UserWarning: some folds hold no image of a class, or one holds all of them.

    Raises:
        UserError: the data set has a validation split of its own, or too few images or groups for so many folds.
    """
    if data.validation is not None:
        raise UserError(
            f"folds={folds}, but {data.name} has a validation split of its own; accepted: folds=0, or images without this split"
        )
    limit, reason = _most_folds(data)
    if folds > limit:
        raise UserError(f"folds={folds} for {data.name}; accepted: 0, or from 2 to {limit}, because {reason}")
    drawn_folds = tuple(fold for repeat in range(repeats) for fold in _draw_partition(data, folds, (seed, repeat)))
    _warn_of_small_classes(data, drawn_folds[:folds])
    return drawn_folds


def out_of_fold(
    folds: Sequence[Fold], predictions: Sequence[NDArray[np.float32]], image_count: int
) -> NDArray[np.float32]:
    """Put the predictions for held-out rows together.

    Args:
        folds: what each fit trained on and held out.
        predictions: for each fit the probabilities of the rows that it held out, float32 (rows, classes).
        image_count: the number of training images.

    Returns:
        float32 (images, classes): for each image the mean over the fits that held it out; 0 where none did.
    """
    total, counts = np.zeros((image_count, predictions[0].shape[1]), np.float32), np.zeros((image_count, 1), np.float32)
    for fold, predicted in zip(folds, predictions, strict=True):
        total[fold.validation] += predicted
        counts[fold.validation] += 1
    return np.asarray(total / np.maximum(counts, 1), np.float32)


def fold_numbers(folds: Sequence[Fold], image_count: int) -> NDArray[np.int64]:
    """Which fold holds each image out.

    Args:
        folds: of a cross-validation, as from `draw_folds`.
        image_count: the number of training images.

    Returns:
        int64 (repeats, images), the number of the fold in each repeat, from 1.
    """
    repeats = sum(len(fold.validation) for fold in folds) // image_count
    numbers = np.zeros((repeats, image_count), np.int64)
    for index, fold in enumerate(folds):
        repeat, number = divmod(index, len(folds) // repeats)
        numbers[repeat, fold.validation] = number + 1
    return numbers


def _most_folds(data: Dataset) -> tuple[int, str]:
    """The largest number of folds that scikit-learn accepts, and what limits it."""
    largest = int(np.bincount(data.train_strata).max())
    groups = largest if data.groups is None else len(np.unique(data.groups))
    if groups < largest:
        return groups, f"there are {groups} groups"
    return largest, f"the largest class has {largest} training images"


def _draw_partition(data: Dataset, folds: int, seed: tuple[int, int]) -> Iterator[Fold]:
    """One partition of the training images. Each repeat has a random state of its own, which no other seed has."""
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    splitter_class = StratifiedKFold if data.groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of small classes, which `draw_folds` describes by their names
        rows = np.zeros(len(data.train_strata))
        for train, validation in splitter_class(folds, shuffle=True, random_state=state).split(
            rows, data.train_strata, data.groups
        ):
            yield Fold(np.asarray(train, np.int64), np.asarray(validation, np.int64))


def _warn_of_small_classes(data: Dataset, partition: tuple[Fold, ...]) -> None:
    """Say which classes are in few folds of the first partition, by their names at the data set's granularity."""
    counts = np.array(
        [np.bincount(data.train_labels[fold.validation], minlength=len(data.class_names)) for fold in partition]
    )
    fold_counts = np.count_nonzero(counts, axis=0)
    for affected, message in (
        (fold_counts == 1, "one fold holds all images of {}, so the fit that predicts them never saw them"),
        (
            (fold_counts > 1) & (fold_counts < len(partition)),
            "some folds hold no image of {}, of which there are too few",
        ),
    ):
        if affected.any():
            names = ", ".join(name for name, is_affected in zip(data.class_names, affected, strict=True) if is_affected)
            warnings.warn(f"folds={len(partition)} for {data.name}: {message.format(truncate(names))}", stacklevel=3)
