"""The data sets: uint8 images, labels, class names, where they came from, and one fixed split of the training part.

A data set is a module here that offers `CLASSES` (the names of its finest classes), where they form superclasses also
`SUPERCLASSES` and `SUPERCLASS_OF`, `SHAPE` (height, width, channels), and `read(data_dir) -> Arrays` (labels as indices
into `CLASSES`); plus a line in `_SETS` below.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import resample

from mlproject.datasets import cifar100, fashion_mnist, synthetic
from mlproject.datasets.files import Arrays
from mlproject.errors import UserError

_SETS = {
    "cifar100": (cifar100, ("coarse", "fine")),
    "fashion-mnist": (fashion_mnist, ("flat",)),
}
NAMES: tuple[str, ...] = tuple(_SETS)
LABELS: dict[str, tuple[str, ...]] = {name: labels for name, (_, labels) in _SETS.items()}
KINDS = ("real", "synthetic")
PATCH_IMAGES = 2000  # two million patches, for a matrix of 12 x 12


@dataclass(frozen=True)
class Spec:
    """What a network's `build` may know of the data.

    shape: (height, width, channels) of one image.
    classes: how many classes the network tells apart.
    mean, std: per channel, over all training pixels, on the 0..255 scale.
    patch_covariance: of the standardised pixels (mean 0, std 1) in patches of 2x2: (4 channels, 4 channels), in the order
        row, column, channel, over the first `PATCH_IMAGES` training images.
    weights: file of pretrained weights for a pretrained base; None means random initialisation.
    """

    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_covariance: tuple[tuple[float, ...], ...]
    weights: Path | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """One data set at one label granularity, in memory.

    name, labels: what `load` was asked for.
    train_images, test_images: uint8 (n, height, width, channels), as stored and in stored order.
    train_labels, test_labels: int64 (n,), indices into class_names.
    train_strata: int64 (n,), the finest labels known, whatever the granularity: `split` stratifies by these.
    superclass_of: int64 (classes,), indices into superclass_names; None, and superclass_names empty, unless "fine".
    source: the path it was read from, or "synthetic, seed N".
    digest: 32 hexadecimal digits over images, labels and class names, training and test.
    test_digest: 32 hexadecimal digits over the test images alone, so equal for the coarse and the fine view of one set.
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

    def spec(self, weights: Path | None = None) -> Spec:
        """What a network may know of this data set; `weights` is handed on as it is."""
        mean, std = self._moments
        return Spec(self.train_images.shape[1:], len(self.class_names), mean, std, self._patch_covariance, weights)

    @property
    def superclasses(self) -> list[str] | None:
        """The name of each class's superclass; None unless the labels are "fine"."""
        return None if self.superclass_of is None else [self.superclass_names[index] for index in self.superclass_of]

    def split(self, seed: int, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Indices (int64, sorted) of the training and of the validation images; `share` of all go to validation.

        Stratified by `train_strata`, so it depends on the seed and not on the label granularity: the coarse and the
        fine view of one data set are split alike. Raises UserError when the seed or the share cannot be used.
        """
        everything = np.arange(len(self.train_strata))
        try:
            parts = train_test_split(everything, test_size=share, random_state=seed, stratify=self.train_strata)
        except ValueError as error:
            raise UserError(
                f"cannot split {self.name} with seed {seed} and validation share {share}: {error}"
            ) from error
        return np.sort(parts[0]), np.sort(parts[1])

    def sample(self, rows: np.ndarray, share: float, seed: int) -> np.ndarray:
        """A `share` of the training images at `rows`, but at least one: sorted indices, stratified as in `split`."""
        count = max(1, round(share * len(rows)))
        return np.sort(
            resample(rows, replace=False, n_samples=count, random_state=seed, stratify=self.train_strata[rows])
        )

    @cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, summed up slice by slice: as floats, all pixels need gigabytes."""
        images = self.train_images.reshape(len(self.train_images), -1)
        total, squares = np.zeros(images.shape[1]), np.zeros(images.shape[1])
        for start in range(0, len(images), 500):
            values = images[start : start + 500].astype(np.float64)
            total += values.sum(axis=0)
            squares += np.einsum("ip,ip->p", values, values)
        channels = self.train_images.shape[-1]
        mean = total.reshape(-1, channels).sum(axis=0) / (self.train_images.size / channels)
        mean_square = squares.reshape(-1, channels).sum(axis=0) / (self.train_images.size / channels)
        return tuple(mean.tolist()), tuple(np.sqrt(mean_square - mean**2).tolist())

    @cached_property
    def _patch_covariance(self) -> tuple[tuple[float, ...], ...]:
        mean, std = self._moments
        # A channel that is the same everywhere, as the opacity of photographs, has no deviation.
        images = (self.train_images[:PATCH_IMAGES] - np.array(mean)) / np.where(std, std, 1)
        corners = [images[:, row : row - 1 or None, column : column - 1 or None] for row in (0, 1) for column in (0, 1)]
        patches = np.stack(corners, axis=3).reshape(-1, 4 * images.shape[-1])
        return tuple(map(tuple, (patches.T @ patches / len(patches)).tolist()))


def check(name: str, labels: str, kind: str = "real") -> None:
    """Raise a UserError that lists what is accepted when there is no such data set, label granularity or kind."""
    if name not in _SETS:
        raise UserError(f"unknown data set {name!r}; accepted: {', '.join(NAMES)}")
    if labels not in LABELS[name]:
        raise UserError(f"unknown labels {labels!r} of data set {name}; accepted: {', '.join(LABELS[name])}")
    if kind not in KINDS:
        raise UserError(f"unknown kind of data {kind!r}; accepted: {', '.join(KINDS)}")


def load(name: str, labels: str, kind: str = "real", data_dir: Path | str | None = None) -> Dataset:
    """Load a data set of `NAMES` with one of its `LABELS`.

    kind: "real", searched for as `mlproject.datasets.files` says and downloaded when found nowhere; or "synthetic", a
    small set of the same shapes and class names made from seed 0 (see `mlproject.datasets.synthetic`).
    data_dir: the folder that holds the real files; when given, they must be there.
    Raises UserError for unknown names, missing, damaged or unexpected files, and for a download that fails.
    """
    check(name, labels, kind)
    module, _ = _SETS[name]
    arrays = synthetic.make(name, module) if kind == "synthetic" else module.read(data_dir)
    view = _view(module, arrays, labels)
    return Dataset(
        name=name,
        labels=labels,
        train_images=arrays.train_images,
        train_strata=arrays.train_labels,
        test_images=arrays.test_images,
        source=arrays.source,
        synthetic=kind == "synthetic",
        digest=_digest(
            arrays.train_images, view["train_labels"], arrays.test_images, view["test_labels"], view["class_names"]
        ),
        test_digest=_digest(arrays.test_images),
        **view,
    )


def _view(module: ModuleType, arrays: Arrays, labels: str) -> dict:
    """The label fields of a Dataset: the finest classes, with their superclasses where known; or the superclasses."""
    view = dict(
        train_labels=arrays.train_labels,
        test_labels=arrays.test_labels,
        class_names=module.CLASSES,
        superclass_of=None,
        superclass_names=(),
    )
    if labels == "fine":
        view |= dict(superclass_of=module.SUPERCLASS_OF, superclass_names=module.SUPERCLASSES)
    elif labels == "coarse":
        view |= dict(
            train_labels=module.SUPERCLASS_OF[arrays.train_labels],
            test_labels=module.SUPERCLASS_OF[arrays.test_labels],
            class_names=module.SUPERCLASSES,
        )
    return view


def _digest(*parts: np.ndarray | tuple[str, ...]) -> str:
    """32 hexadecimal digits of the SHA-256 over arrays (shape, type, values) and names; MLflow takes up to 36."""
    digest = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part)
        digest.update(f"{array.shape} {array.dtype} ".encode())
        digest.update(array.view(np.uint8).data)
    return digest.hexdigest()[:32]
