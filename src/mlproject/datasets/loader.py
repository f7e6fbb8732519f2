"""A data set as experiments name it: an object that says what its classes are and reads its images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mlproject.datasets import contract, synthetic
from mlproject.datasets.dataset import Dataset, from_arrays
from mlproject.datasets.declaration import check_declaration
from mlproject.datasets.files import Arrays
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError

KINDS = ("real", "synthetic")


class Loader(ABC):
    """Base class of all data sets, such as `CIFAR100`, `FashionMNIST` and `ImageFolder`.

    A data set of your own is a subclass, in your experiment's file or in a module beside it, that defines the attributes
    below, of the class or of the object, and `read`. Two loaders of one class with the same name are the same data set.

    Attributes:
        name: names the data set in files, in MLflow and in messages.
        classes: the names of the finest classes.
        shape: (height, width, channels) of an image, or (height, width) if it is grey.
        superclasses: the names of the superclasses; empty if the classes form none.
        superclass_of: for each class the index of its superclass.
        preparation: how people's images become images such as these; None for the middle of the image, made square.
        licence: under what licence the images are, as a phrase for the descriptions of models; empty if it is not known.
    """

    name: str
    classes: Sequence[str]
    shape: Sequence[int]
    superclasses: Sequence[str] = ()
    superclass_of: ArrayLike = ()
    preparation: Preparation | None = None
    licence: str = ""

    @abstractmethod
    def read(self, data_dir: Path | str | None) -> Arrays:
        """Read the images and their finest labels.

        Args:
            data_dir: the value of the option `data_dir`, the folder that holds the files; None if it was not given.

        Returns:
            The arrays. `mlproject.datasets.contract` says in which forms they may be.
        """

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two loaders of one class the same data set: the name, unless a subclass has more to say."""
        return (self.name,)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Loader) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash((type(self), self.identity))

    @property
    def labels(self) -> tuple[str, ...]:
        """The granularities of its labels: "coarse" and "fine" if its classes form superclasses, else "flat"."""
        return ("coarse", "fine") if np.size(self.superclasses) else ("flat",)

    def load(self, labels: str, kind: str = "real", data_dir: Path | str | None = None) -> Dataset:
        """Load the data set at one label granularity.

        Args:
            labels: one of `labels`.
            kind: "real"; or "synthetic" for a small set with the same image shape and class names, made from seed 0 (see
                `mlproject.datasets.synthetic`).
            data_dir: the folder that holds the real files. If given, the files must be there.

        Returns:
            The data set.

        Raises:
            UserError: unknown labels or kind; files that are missing, damaged or not as published; a failed download; a
                loader that breaks the contract (see `mlproject.datasets.contract`).
        """
        declaration = check_declaration(self)
        if labels not in self.labels:
            raise UserError(f"unknown labels {labels!r} of data set {self.name}; accepted: {', '.join(self.labels)}")
        if kind not in KINDS:
            raise UserError(f"unknown kind of data {kind!r}; accepted: {', '.join(KINDS)}")
        arrays = synthetic.make(declaration) if kind == "synthetic" else contract.read(declaration, self, data_dir)
        checked = contract.check(declaration, arrays)
        if checked.preparation is None and self.preparation:
            checked = checked._replace(preparation=self.preparation.describe())
        return from_arrays(declaration, labels, checked, synthetic=kind == "synthetic")
