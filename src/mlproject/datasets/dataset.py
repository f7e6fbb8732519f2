"""A data set in memory: its labels at one granularity, its split into training and validation, its statistics.

Everything that computes numbers from the arrays is in this module. Loaders only deliver arrays, and the digest of
a data set covers these arrays.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.utils import resample

from mlproject.datasets import mapped, splitting
from mlproject.datasets.declaration import Declaration
from mlproject.datasets.files import Arrays, Description
from mlproject.errors import UserError

# At 32 x 32 pixels, 2,000 images give two million patches, more than enough to estimate a matrix of 12 x 12.
PATCH_IMAGES, PATCH_PIXELS = 2000, 2000 * 32 * 32
SLICE_IMAGES = 500  # All pixels as float64 at once would need gigabytes.


@dataclass(frozen=True)
class Spec:
    """What an experiment's `build` is told about the data.

    Attributes:
        shape: (height, width, channels) of one image.
        classes: the number of classes that the network distinguishes.
        mean: the mean of each channel over all training pixels, on the 0..255 scale.
        std: the standard deviation of each channel over all training pixels, on the 0..255 scale.
        patch_covariance: the covariance of the pixels in patches of 2x2 after standardisation (mean 0, standard
            deviation 1), shape (4 channels, 4 channels), in the order row, column, channel; computed from the first
            `PATCH_IMAGES` training images, or from fewer if they are large.
        weights: the file with pretrained weights for a pretrained base; None means random initialisation.
        pretrained: the name of that base in `keras.applications`; empty if the experiment has none.
    """

    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_covariance: tuple[tuple[float, ...], ...]
    weights: Path | None = None
    pretrained: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """One data set at one label granularity, in memory.

    Attributes:
        name: the data set's name.
        labels: the label granularity: "coarse", "fine" or "flat".
        train_images: uint8 (n, height, width, channels), as stored and in stored order.
        train_labels: int64 (n,), indices into `class_names`.
        train_strata: int64 (n,), the finest labels, independent of `labels`; `split` stratifies by them.
        test_images: uint8 (m, height, width, channels), as stored and in stored order.
        test_labels: int64 (m,), indices into `class_names`.
        class_names: the names of the classes at this granularity.
        superclass_of: int64 (classes,), indices into `superclass_names`; None unless `labels` is "fine".
        superclass_names: the names of the superclasses; empty unless `labels` is "fine".
        source: the path that the data were read from, or "synthetic, seed N".
        synthetic: whether the images were generated.
        digest: 32 hexadecimal digits over images, labels and class names, training and test.
        test_digest: 32 hexadecimal digits over the test images alone, so the coarse and the fine view of a data set
            share it.
        validation: int64 (v,), the rows of the training images that the user's own validation split holds; None to split
            at random.
        groups: int64 (n,), the group of each training image, such as a patient; `split` never divides a group. None
            without groups.
        description: what the loader found out about the images, for people; None for nothing.
        preparation: how images of other sizes become such images, in types that JSON has; None if only the loader knows.
        whole_digest: the digest of the data set of which this one is a share, whatever the seed; "" if it is whole.
    """

    name: str
    labels: str
    train_images: np.ndarray
    train_labels: np.ndarray
    train_strata: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    superclass_of: np.ndarray | None
    superclass_names: tuple[str, ...]
    source: str
    synthetic: bool
    digest: str
    test_digest: str
    validation: np.ndarray | None = None
    groups: np.ndarray | None = None
    description: Description | None = None
    preparation: Mapping[str, object] | None = None
    whole_digest: str = ""

    def spec(self, weights: Path | None = None, pretrained: str = "") -> Spec:
        """Describe this data set for a network's `build`.

        Args:
            weights: the file with pretrained weights; it is passed on unchanged.
            pretrained: the name of the pretrained base; it is passed on unchanged.

        Returns:
            Image shape, number of classes and statistics of the training images.
        """
        height, width, channels = self.train_images.shape[1:]
        mean, std = self._channel_moments
        classes = len(self.class_names)
        return Spec((height, width, channels), classes, mean, std, self._patch_covariance, weights, pretrained)

    def is_intact(self) -> bool:
        """Whether images, labels and class names are those of which the digest was computed."""
        return self.digest == self._content_digest()

    def _content_digest(self) -> str:
        arrays = self.train_images, self.train_labels, self.test_images, self.test_labels
        return _digest(*arrays, self.class_names)

    @property
    def superclasses(self) -> list[str] | None:
        """The name of each class's superclass; None unless `labels` is "fine"."""
        return None if self.superclass_of is None else [self.superclass_names[index] for index in self.superclass_of]

    def split(self, seed: int, validation_fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Split the training images into those to train on and those to validate on.

        A validation split of the user's own is returned as it is. Otherwise the split is stratified by the finest labels. It
        therefore depends on the seed but not on the label granularity: the coarse and the fine view of a data set are split
        alike. Every class keeps a training image, and groups stay whole (see `splitting`).

        Args:
            seed: the seed of the random split.
            validation_fraction: the fraction of the images that is set aside for validation, in (0, 1).

        Returns:
            The indices of the training images and those of the validation images, both int64 and sorted.

        Raises:
            UserError: the seed or the fraction is out of its range, or the validation would be empty, because no class has two
                images or no group can be spared.
        """
        if not (0 <= seed < 2**32 and 0 < validation_fraction < 1):
            raise UserError(
                f"cannot split {self.name} with seed {seed} and validation fraction {validation_fraction}; accepted: a seed"
                " from 0 to 4294967295 and a fraction between 0 and 1"
            )
        if self.validation is not None:
            validation_rows = self.validation
        elif self.groups is not None:
            validation_rows = splitting.draw_groups(self.train_strata, self.groups, validation_fraction, seed)
        else:
            validation_rows = splitting.draw_stratified(self.train_strata, validation_fraction, seed)
        if not len(validation_rows):
            reason = "no class has two images" if self.groups is None else "every group holds all images of a class"
            raise UserError(
                f"cannot split {self.name} with seed {seed} and validation fraction {validation_fraction}: {reason};"
                " accepted: images for training and for validation of at least one class"
            )
        is_validation = np.zeros(len(self.train_strata), dtype=bool)
        is_validation[validation_rows] = True
        return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)

    def sample(self, rows: np.ndarray, fraction: float, seed: int) -> np.ndarray:
        """Draw a fraction of the given training images, stratified by the finest labels, without replacement.

        Args:
            rows: int64 (n,), indices of training images.
            fraction: the fraction of `rows` to draw, in (0, 1]; at least one image is drawn.
            seed: the seed of the random draw.

        Returns:
            The indices that were drawn, int64 and sorted.
        """
        count = max(1, round(fraction * len(rows)))
        return np.sort(
            resample(rows, replace=False, n_samples=count, random_state=seed, stratify=self.train_strata[rows])
        )

    def with_train_share(self, share: float, seed: int) -> "Dataset":
        """The same data set with a share of its training images, stratified by the finest labels; groups stay whole.

        With the same seed, a smaller share is part of a larger one. The images of a user's own validation split all stay, and
        so do the test images.

        Args:
            share: the share of the images, in (0, 1].
            seed: the seed of the draw.

        Returns:
            The data set; itself for the share 1.

        Raises:
            UserError: no image of a class is left.
        """
        if share == 1:
            return self
        held_out = np.zeros(len(self.train_strata), dtype=bool)
        held_out[self.validation if self.validation is not None else []] = True
        free_rows = np.flatnonzero(~held_out)
        groups = None if self.groups is None else self.groups[free_rows]
        drawn_rows = free_rows[splitting.draw_share(self.train_strata[free_rows], groups, share, seed)]
        if missing := set(self.train_labels[free_rows]) - set(self.train_labels[drawn_rows]):
            name = self.class_names[min(missing)]
            raise UserError(f"train_share={share:g} leaves {self.name} no image of {name}; accepted: a larger share")
        rows = np.sort(np.concatenate([drawn_rows, np.flatnonzero(held_out)]))
        subset = replace(
            self,
            train_images=self.train_images[rows],
            train_labels=self.train_labels[rows],
            train_strata=self.train_strata[rows],
            groups=None if self.groups is None else self.groups[rows],
            validation=None if self.validation is None else np.flatnonzero(held_out[rows]),
        )
        return replace(subset, digest=subset._content_digest(), whole_digest=self.digest)

    @cached_property
    def _channel_moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over all training pixels."""
        images = self.train_images.reshape(len(self.train_images), -1)
        total, squares = np.zeros(images.shape[1]), np.zeros(images.shape[1])
        for part in mapped.parts(images, SLICE_IMAGES):
            values = part.astype(np.float64)
            total += values.sum(axis=0)
            squares += np.einsum("ip,ip->p", values, values)
        channels = self.train_images.shape[-1]
        mean = total.reshape(-1, channels).sum(axis=0) / (self.train_images.size / channels)
        mean_square = squares.reshape(-1, channels).sum(axis=0) / (self.train_images.size / channels)
        return tuple(mean.tolist()), tuple(np.sqrt(mean_square - mean**2).tolist())

    @cached_property
    def _patch_covariance(self) -> tuple[tuple[float, ...], ...]:
        """The covariance of standardised pixels in patches of 2x2, as described in `Spec`."""
        mean, std = self._channel_moments
        # A channel that is constant over all images, such as the opacity of photographs, has the deviation 0.
        height, width = self.train_images.shape[1:3]
        count = min(PATCH_IMAGES, max(PATCH_PIXELS // (height * width), 1))
        images = (self.train_images[:count] - np.array(mean)) / np.where(std, std, 1)
        corners = [images[:, row : row - 1 or None, column : column - 1 or None] for row in (0, 1) for column in (0, 1)]
        patches = np.stack(corners, axis=3).reshape(-1, 4 * images.shape[-1])
        return tuple(map(tuple, (patches.T @ patches / len(patches)).tolist()))


def from_arrays(declaration: Declaration, labels: str, arrays: Arrays, synthetic: bool) -> Dataset:
    """Make a `Dataset` from the arrays of a loader, with labels at the given granularity.

    Args:
        declaration: the data set's name, classes and superclasses.
        labels: "coarse" for the superclasses as classes, "fine" for the classes with their superclasses, anything else
            for the classes alone.
        arrays: images and finest labels, checked.
        synthetic: whether the images were generated.

    Returns:
        The data set with its digests.
    """
    train_labels, test_labels, class_names = arrays.train_labels, arrays.test_labels, declaration.classes
    superclass_of: np.ndarray | None = None
    superclass_names: tuple[str, ...] = ()
    if labels == "coarse":
        train_labels, test_labels = declaration.superclass_of[train_labels], declaration.superclass_of[test_labels]
        class_names = declaration.superclasses
    elif labels == "fine":
        superclass_of, superclass_names = declaration.superclass_of, declaration.superclasses
    return Dataset(
        name=declaration.name,
        labels=labels,
        train_images=arrays.train_images,
        train_labels=train_labels,
        train_strata=arrays.train_labels,
        test_images=arrays.test_images,
        test_labels=test_labels,
        class_names=class_names,
        superclass_of=superclass_of,
        superclass_names=superclass_names,
        source=arrays.source,
        synthetic=synthetic,
        digest=_digest(arrays.train_images, train_labels, arrays.test_images, test_labels, class_names),
        test_digest=_digest(arrays.test_images),
        validation=arrays.validation,
        groups=arrays.groups,
        description=arrays.description,
        preparation=arrays.preparation,
    )


def _digest(*contents: np.ndarray | tuple[str, ...]) -> str:
    """32 hexadecimal digits of the SHA-256 over arrays (shape, type, values) and names; MLflow accepts at most 36."""
    digest = hashlib.sha256()
    for content in contents:
        array = np.ascontiguousarray(content)
        digest.update(f"{array.shape} {array.dtype} ".encode())
        for part in mapped.parts(array):
            digest.update(part.view(np.uint8).data)
    return digest.hexdigest()[:32]
