"""Final models as the report sees them: what their tags say, and the artifacts of their runs that could be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlproject.limits import OVER_LIMIT
from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.report.context import ReportContext, data_label_of

if TYPE_CHECKING:
    from mlproject.tracking import FinalModel


# What an environment says beside the versions of packages. Older runs did not record the CPU; "gpu" and "precision" stand for a
# GPU, and for 16 bits.
REQUIRED_FACTS, OPTIONAL_FACTS = ("python", "platform", "cpus"), ("gpu", "precision", "cpu", "vector instructions")


@dataclass(frozen=True, eq=False)
class StagePredictions:
    """The predictions of a network as it was after one stage of its fit.

    Attributes:
        title: the model's title; for an earlier stage "<title> after <stage>".
        probabilities: float32 (n, classes), in the stored order of the test images.
        seconds: of training up to the end of this stage; NaN when it was not recorded.
        other_seeds: where the fit was repeated with other seeds, by their names the probabilities of their networks after the
            same stage, float32 (n, classes). All other attributes describe the registered model.
    """

    title: str
    probabilities: np.ndarray
    seconds: float = np.nan
    other_seeds: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def probabilities_by_seed(self) -> tuple[np.ndarray, ...]:
        """The probabilities of the networks of all seeds, the registered model's first."""
        return (self.probabilities, *self.other_seeds.values())

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, int64 (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """The labels of the test images and what a model predicted for them.

    Attributes:
        labels: int64 (n,), in the stored order of the test images.
        stages: the predictions after each stage of the fit; the last entry is the finished network.
    """

    labels: np.ndarray
    stages: tuple[StagePredictions, ...]

    @property
    def title(self) -> str:
        """The title of the model."""
        return self.stages[-1].title

    @property
    def probabilities(self) -> np.ndarray:
        """The probabilities of the finished network, float32 (n, classes)."""
        return self.stages[-1].probabilities

    @property
    def predicted(self) -> np.ndarray:
        """The class that the finished network predicts for each image, int64 (n,)."""
        return self.stages[-1].predicted

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.probabilities.shape[1])

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether the finished network classifies each image correctly, bool (n,)."""
        return np.asarray(self.predicted == self.labels)

    @property
    def other_seeds(self) -> Mapping[str, np.ndarray]:
        """The probabilities of the finished networks of the other seeds, by their names."""
        return self.stages[-1].other_seeds

    @property
    def probabilities_by_seed(self) -> tuple[np.ndarray, ...]:
        """The probabilities of the finished networks of all seeds, the registered model's first."""
        return self.stages[-1].probabilities_by_seed

    @cached_property
    def correct_by_seed(self) -> np.ndarray:
        """Whether the finished network of each seed classifies each image correctly, bool (seeds, n)."""
        return self.correct_after(self.stages[-1])

    def correct_after(self, stage: StagePredictions) -> np.ndarray:
        """Whether the network of each seed, as it was after the stage, classifies each image correctly, bool (seeds, n)."""
        return np.stack([probabilities.argmax(axis=1) == self.labels for probabilities in stage.probabilities_by_seed])


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """The predictions of a model together with what is known of each class.

    Attributes:
        predictions: the test predictions.
        table: a row for each class with class, superclass, precision, recall, f1 and support.
        centroids: mean features of each class, float32 (classes, d), or None when they could not be read.
        images: some test images, uint8 (h, w, c), by their index, or None when they could not be read.
    """

    predictions: TestPredictions
    table: pd.DataFrame
    centroids: np.ndarray | None
    images: dict[int, np.ndarray] | None

    @property
    def title(self) -> str:
        """The title of the model."""
        return self.predictions.title

    @property
    def class_names(self) -> list[str]:
        """The names of the classes in the order of their indices."""
        return self.table["class"].tolist()


@dataclass(frozen=True, eq=False)
class SearchRecord:
    """What a search recorded, as text.

    Attributes:
        trials: a row for each trial with trial, status, val_accuracy, seconds and a column for each hyperparameter.
        values: a row for each hyperparameter with the values of the first trial and of the winner, or None.
        objective: what the search optimised, a key of `objectives.OBJECTIVES` and a column of `trials`.
    """

    trials: pd.DataFrame
    values: pd.DataFrame | None
    objective: str = DEFAULT

    @property
    def pruned_trials(self) -> pd.DataFrame:
        """The trials that were ended early because others were better by then; their scores are of that moment."""
        return self.trials[self.trials["status"] == "pruned"]

    @cached_property
    def ranked_trials(self) -> pd.DataFrame:
        """The trials that ran to their end, the best by the objective first; of two equal trials, the earlier comes first."""
        completed = self.trials[~self.trials["status"].str.lower().isin(("failed", "pruned", OVER_LIMIT))]
        scores = pd.to_numeric(completed[self.objective], errors="coerce")
        higher_is_better = OBJECTIVES[self.objective].higher_is_better
        return completed.loc[scores.sort_values(ascending=not higher_is_better, kind="stable").index]

    @property
    def winner_curve(self) -> pd.DataFrame:
        """The validation accuracy of the refitted trial: minutes and accuracy after each epoch; no rows if it is not known."""
        points: list[list[str]] = []
        if self.objective == DEFAULT and "curve" in self.trials and len(self.ranked_trials):
            points = [point.split(":") for point in self.refitted_trial["curve"].split()]
        curve = pd.DataFrame(points, columns=["share", "accuracy"]).astype(float)
        one_after_another = not curve["share"].is_monotonic_increasing  # the folds of a cross-validation
        if curve.empty or one_after_another:
            return pd.DataFrame(columns=["minutes", "accuracy"])
        return curve.assign(minutes=curve["share"] * (float(self.refitted_trial["seconds"]) / 60))

    @property
    def refitted_trial(self) -> pd.Series:
        """The trial whose values were refitted; the best one if the run did not record which it was."""
        ranked = self.ranked_trials
        refitted = ranked[ranked["refitted"] == "yes"] if "refitted" in ranked else ranked
        return (refitted if len(refitted) else ranked).iloc[0]


@dataclass(frozen=True, eq=False)
class ReportedModel:
    """One final model with those of its artifacts that could be read; what could not be read is None.

    Attributes:
        registered: the version's record in the registry.
        title: the name that tells the model apart from the other models of the report.
        key: the same for file names and page anchors (a-z, 0-9 and hyphens only).
        predictions: the test predictions.
        class_evaluation: the same with the scores of each class; None if there are no predictions.
        history: a row for each epoch of the final fit with epoch, loss, accuracy, stage and perhaps seconds.
        search: what the search recorded.
        layers: a row for each layer of the network, as text.
        environment: versions of Python and packages, and the machine; by name.
        examples_of_predictions: a PNG file with the most confident predictions.
        facts: what is known of the images, with the text columns what and value; None for older runs.
        examples: a PNG file with images of each class; None for older runs.
        omissions: sentences that say which artifacts are missing or cannot be read.
    """

    registered: "FinalModel"
    title: str
    key: str
    predictions: TestPredictions | None
    class_evaluation: ClassEvaluation | None
    history: pd.DataFrame | None
    search: SearchRecord | None
    layers: pd.DataFrame | None
    environment: dict[str, object] | None
    examples_of_predictions: Path | None
    facts: pd.DataFrame | None
    examples: Path | None
    omissions: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the final run."""
        return self.registered.metrics

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the final run."""
        return self.registered.params

    def tag(self, name: str) -> str:
        """The version's tag of that name, "" when it has none."""
        return self.registered.tags.get(name, "")

    @property
    def data(self) -> str:
        """The kind of data: "real", "synthetic", or "" when the version does not say."""
        return self.tag("data")

    @property
    def seed(self) -> str:
        """The seed of search and fit, "" when it was not recorded."""
        return self.tag("seed") or self.params.get("seed", "")

    @property
    def fit_seed(self) -> str:
        """The seed of the registered model's fit; that of the search where it was not recorded."""
        return self.params.get("fit_seed", self.seed)

    @property
    def fit_seeds(self) -> list[str]:
        """The seeds of all final fits, the registered model's first."""
        return (self.tag("seeds") or self.fit_seed).split(",")

    @property
    def context(self) -> ReportContext:
        """The model as the subject of sections of its own."""
        return ReportContext(self.key, self.title, data_label_of(self.data))
