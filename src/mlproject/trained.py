"""A model that an experiment's file has trained, with its scores and figures."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlproject import evaluation, plots
from mlproject.datasets import Dataset
from mlproject.experiment import Experiment
from mlproject.training.prediction import predict

SHIFTS = (0, 2, 4)  # pixels


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and its predictions for the test images.

    Attributes:
        experiment: the experiment that the model belongs to.
        data: the data set.
        model: the trained network.
        history: a row for each epoch, as in `training.fit.FitResult`.
        probabilities: float32 (n, classes), in the order of the test images.
        title: the experiment's name, with a note when the data is synthetic.
        path: the exported file.
    """

    experiment: Experiment
    data: Dataset
    model: keras.Model
    history: pd.DataFrame
    probabilities: np.ndarray
    title: str
    path: Path

    @cached_property
    def predictions(self) -> np.ndarray:
        """The most probable class of each test image: int64 (n,)."""
        likeliest: np.ndarray = self.probabilities.argmax(axis=1)
        return likeliest

    @property
    def correct(self) -> np.ndarray:
        """Whether each test image is classified correctly: bool (n,)."""
        correct: np.ndarray = self.predictions == self.data.test_labels
        return correct

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Precision, recall, F1 and support of each class, as `evaluation.per_class` returns them."""
        data = self.data
        return evaluation.per_class(data.test_labels, self.predictions, data.class_names, data.superclasses)

    def score(self) -> dict[str, object]:
        """One row of a table of models: test accuracy with its 95 % interval, loss, size, epochs and minutes."""
        low, high = evaluation.accuracy_interval(self.correct)
        return (
            {"model": self.title}
            | evaluation.summary(self.data.test_labels, self.probabilities)
            | {"low": low, "high": high, "parameters": self.model.count_params(), "epochs": len(self.history)}
            | {"minutes": self.history["seconds"].sum() / 60}
        )

    def when_shifted(self, images: int = 2000) -> pd.DataFrame:
        """How the accuracy changes when test images are shifted to the right, with black pixels behind them.

        Args:
            images: the number of test images, counted from the first.

        Returns:
            A row for each shift: model, shift in pixels, accuracy (0 to 1).
        """
        test_images, labels = self.data.test_images[:images], self.data.test_labels[:images]
        rows = []
        for pixels in SHIFTS:
            shifted = np.pad(test_images, ((0, 0), (0, 0), (pixels, 0), (0, 0)))[:, :, : test_images.shape[2]]
            predictions = predict(self.model, shifted).argmax(axis=1)
            rows.append({"model": self.title, "shift in pixels": pixels, "accuracy": np.mean(predictions == labels)})
        return pd.DataFrame(rows)

    def learning_curves(self) -> Figure:
        """Accuracy and loss by epoch, on training and validation images."""
        return plots.learning_curves(self.history, self.title)

    def per_class_bars(self) -> Figure:
        """Precision, recall and F1 of each class."""
        return plots.per_class_bars(self.per_class, self.title)

    def confusion_matrix(self) -> Figure:
        """Which classes are confused with which."""
        data = self.data
        return plots.confusion_matrix(
            data.test_labels, self.predictions, data.class_names, data.superclasses, self.title
        )

    def examples(self) -> Figure:
        """The most confident correct predictions and the most confident mistakes."""
        data = self.data
        return plots.examples(data.test_images, data.test_labels, self.probabilities, data.class_names, self.title)
