"""The data of one fit: images, split, cached activations and seed."""

from dataclasses import dataclass

import numpy as np

from mlproject.datasets import Dataset
from mlproject.training.features import FeatureCache


@dataclass(frozen=True, eq=False)
class FitData:
    """The data that one fit trains and validates on.

    Attributes:
        data: the data set.
        train: int64 (n,), the rows of `data.train_images` to train on.
        validation: int64 (m,), the rows to validate on after every epoch; None for no validation.
        features: the cache of the activations of frozen layers.
        seed: decides the order of the images and the augmentation.
    """

    data: Dataset
    train: np.ndarray
    validation: np.ndarray | None
    features: FeatureCache
    seed: int
