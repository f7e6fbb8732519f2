"""Makes a coarse and a fine model comparable: the same test images, and the superclass of each fine class. Pure."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlproject import evaluation
from mlproject.report import pairs
from mlproject.report.formats import join_words
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
    def superclasses_by_argmax(self) -> list[np.ndarray]:
        """For each seed of the fine model the superclass of its most probable class, int64 (n,)."""
        return [
            evaluation.aggregate_by_argmax(probabilities, self.superclass_of)
            for probabilities in self.fine.predictions.probabilities_by_seed
        ]

    @cached_property
    def superclasses_by_sum(self) -> list[np.ndarray]:
        """For each seed of the fine model the superclass with the largest sum of its probabilities, int64 (n,)."""
        probabilities_by_seed = self.fine.predictions.probabilities_by_seed
        return [
            evaluation.aggregate_by_sum(probabilities, self.superclass_of).argmax(axis=1)
            for probabilities in probabilities_by_seed
        ]

    @property
    def argmax_title(self) -> str:
        """What the report calls the superclasses `superclasses_by_argmax`."""
        return f"{self.fine.title} (most probable class)"

    @property
    def sum_title(self) -> str:
        """What the report calls the superclasses `superclasses_by_sum`."""
        return f"{self.fine.title} (probabilities summed)"


def pair_up(coarse: ReportedModel, fine: ReportedModel) -> CoarseFinePair | str:
    """Make two models comparable.

    Args:
        coarse: a model trained on coarse labels.
        fine: a model trained on fine labels.

    Returns:
        The pair, or in words the reason why the two cannot be compared.
    """
    if not pairs.have_same_images(coarse, fine):
        return "they were not tested on the same images"
    coarse_evaluation, fine_evaluation = coarse.class_evaluation, fine.class_evaluation
    if coarse_evaluation is None or fine_evaluation is None:
        incomplete = join_words([model.title for model in (coarse, fine) if model.class_evaluation is None])
        return f"the predictions or the class table of {incomplete} are missing"
    coarse_index = {name: number for number, name in enumerate(coarse_evaluation.class_names)}
    unknown = sorted(set(fine_evaluation.table["superclass"]) - set(coarse_index))
    if unknown:
        return f"the coarse model has no class {unknown[0]!r}, which is a superclass of the fine model"
    superclass_of = fine_evaluation.table["superclass"].map(coarse_index).to_numpy()
    sizes_match = (
        len(superclass_of) == fine_evaluation.predictions.classes
        and len(coarse_index) == coarse_evaluation.predictions.classes
    )
    if not sizes_match or not np.array_equal(
        superclass_of[fine_evaluation.predictions.labels], coarse_evaluation.predictions.labels
    ):
        return "the superclasses of the fine labels do not match the coarse labels"
    return CoarseFinePair(coarse_evaluation, fine_evaluation, superclass_of, coarse.data == "synthetic")
