"""What a search may optimise: one of four scores on the validation images. Pure."""

from typing import NamedTuple


class Objective(NamedTuple):
    """One of the scores of a trial.

    Attributes:
        words: its name in sentences and figures.
        higher_is_better: whether a search maximises it.
        is_share: whether it lies between 0 and 1, so that it may be written in per cent.
    """

    words: str
    higher_is_better: bool = True
    is_share: bool = True

    def goodness(self, score: float) -> float:
        """A number that is higher for a better score."""
        return score if self.higher_is_better else -score


DEFAULT = "val_accuracy"
OBJECTIVES = {
    "val_accuracy": Objective("validation accuracy"),
    "val_balanced_accuracy": Objective("balanced validation accuracy"),
    "val_macro_f1": Objective("validation macro F1"),
    "val_loss": Objective("validation loss", higher_is_better=False, is_share=False),
}
