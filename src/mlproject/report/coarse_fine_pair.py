"""Makes a coarse and a fine model comparable: the same test images, and the superclass of each fine class. Pure."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlproject import evaluation
from mlproject.report import pairs
from mlproject.report.formats import listed
from mlproject.report.models import ClassEvaluation, ReportedModel


@dataclass(frozen=True, eq=False)
class CoarseFinePair:
    """A coarse and a fine model that can be compared.

    Attributes:
        coarse: the model trained on coarse labels.
        fine: the model trained on fine labels.
        superclass_of: for each fine class the index of its superclass among the coarse classes, int64 (fine classes,).
        synthetic: whether both were tested on synthetic data.
    """

    coarse: ClassEvaluation
    fine: ClassEvaluation
    superclass_of: np.ndarray
    synthetic: bool

    @property
    def truth(self) -> np.ndarray:
        """The coarse labels of the test images, int64 (n,)."""
        return self.coarse.predictions.labels

    @cached_property
    def by_argmax_of_seeds(self) -> list[np.ndarray]:
        """For each seed of the fine model the superclass of its most probable class, int64 (n,)."""
        return [evaluation.aggregate_by_argmax(one, self.superclass_of) for one in self.fine.predictions.of_all_seeds]

    @cached_property
    def by_sum_of_seeds(self) -> list[np.ndarray]:
        """For each seed of the fine model the superclass with the largest sum of its probabilities, int64 (n,)."""
        seeds = self.fine.predictions.of_all_seeds
        return [evaluation.aggregate_by_sum(one, self.superclass_of).argmax(axis=1) for one in seeds]

    @property
    def argmax_title(self) -> str:
        """What the report calls the superclasses `by_argmax_of_seeds`."""
        return f"{self.fine.title} (most probable class)"

    @property
    def sum_title(self) -> str:
        """What the report calls the superclasses `by_sum_of_seeds`."""
        return f"{self.fine.title} (probabilities summed)"


def pair_up(coarse: ReportedModel, fine: ReportedModel) -> CoarseFinePair | str:
    """Make two models comparable.

    Args:
        coarse: a model trained on coarse labels.
        fine: a model trained on fine labels.

    Returns:
        The pair, or in words the reason why the two cannot be compared.
    """
    if not pairs.same_images(coarse, fine):
        return "they were not tested on the same images"
    one, other = coarse.class_evaluation, fine.class_evaluation
    if one is None or other is None:
        incomplete = listed([model.title for model in (coarse, fine) if model.class_evaluation is None])
        return f"the predictions or the class table of {incomplete} are missing"
    index = {name: number for number, name in enumerate(one.class_names)}
    unknown = sorted(set(other.table["superclass"]) - set(index))
    if unknown:
        return f"the coarse model has no class {unknown[0]!r}, which is a superclass of the fine model"
    superclass_of = other.table["superclass"].map(index).to_numpy()
    fits = len(superclass_of) == other.predictions.classes and len(index) == one.predictions.classes
    if not fits or not np.array_equal(superclass_of[other.predictions.labels], one.predictions.labels):
        return "the superclasses of the fine labels do not match the coarse labels"
    return CoarseFinePair(one, other, superclass_of, coarse.data == "synthetic")
