"""A coarse and a fine model made comparable: the same test images, and which fine class belongs to which coarse one. Pure."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlproject import evaluation
from mlproject.report import pairs
from mlproject.report.members import Member


@dataclass(frozen=True, eq=False)
class Question:
    """A coarse and a fine member that can be compared. `superclass_of`: int64 (fine classes,), indices of coarse ones."""

    coarse: Member
    fine: Member
    superclass_of: np.ndarray

    @cached_property
    def truth(self) -> np.ndarray:
        """The coarse labels of the test images, int64 (n,)."""
        return self.coarse.labels

    @cached_property
    def by_argmax(self) -> np.ndarray:
        """The superclass of the fine model's likeliest class: int64 (n,)."""
        return evaluation.generalise_argmax(self.fine.probabilities, self.superclass_of)

    @cached_property
    def by_sum(self) -> np.ndarray:
        """The superclass with the largest sum of the fine model's probabilities: int64 (n,)."""
        return evaluation.generalise_sum(self.fine.probabilities, self.superclass_of).argmax(axis=1)


def ask(coarse: Member, fine: Member) -> tuple[str, Question | None]:
    """The pair made comparable, or in words why it is not."""
    if not pairs.same_images(coarse, fine):
        return "they were not tested on the same images", None
    lacking = [m.title for m in (coarse, fine) if m.labels is None or m.per_class is None]
    if lacking:
        return f"predictions or class table of {' and '.join(lacking)} missing", None
    index = {name: number for number, name in enumerate(coarse.per_class["class"])}
    unknown = sorted(set(fine.per_class["superclass"]) - set(index))
    if unknown:
        return f"the coarse model knows no class {unknown[0]!r}, a superclass of the fine one", None
    superclass_of = fine.per_class["superclass"].map(index).to_numpy()
    fits = len(superclass_of) == fine.probabilities.shape[1] and len(index) == coarse.probabilities.shape[1]
    if not fits or not np.array_equal(superclass_of[fine.labels], coarse.labels):
        return "the fine labels' superclasses are not the coarse labels", None
    return "", Question(coarse, fine, superclass_of)
