"""What a command says of a final model that it registered."""

import math
from dataclasses import dataclass

from mlproject import tracking


@dataclass(frozen=True)
class RegisteredModel:
    """A registered final model, as the summary of a command shows it.

    Attributes:
        name: the registered name.
        version: the registered version.
        run_id: the MLflow run that made it.
        alias: "champion", "challenger" or "".
        val_accuracy: the accuracy of the winner's trial on the validation images.
        test_accuracy: the accuracy of the registered model on the test images.
        low, high: the 95 % interval of `mean`, over images and seeds, as `evaluation.crossed_accuracy` gives it.
        seeds: how many seeds the winner was refitted with.
        mean, std: mean and standard deviation of the seeds' test accuracies; the standard deviation is NaN for one seed.
        cross_validated: the cross-validated accuracy in words, "" without folds.
        minutes: how long search and final fits took, as far as this process knows.
    """

    name: str
    version: int
    run_id: str
    alias: str
    val_accuracy: float
    test_accuracy: float
    low: float
    high: float
    seeds: int
    mean: float
    std: float
    cross_validated: str = ""
    minutes: float = math.nan

    def __str__(self) -> str:
        alias = f" ({self.alias})" if self.alias else ""
        measure = f"mean test accuracy of {self.seeds} seeds" if self.seeds > 1 else "test accuracy"
        cross_validated = f"{self.cross_validated}, " if self.cross_validated else ""
        return (
            f"{self.name} v{self.version}{alias}: {measure} {self.mean:.4f} [{self.low:.4f}, {self.high:.4f}], "
            f"{cross_validated}validation accuracy of its trial {self.val_accuracy:.4f}"
        )

    @property
    def uri(self) -> str:
        """The address by which MLflow loads the model."""
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"

    @property
    def metrics(self) -> dict[str, float]:
        """Its scores, as metrics of the search's run."""
        scores = {f"{tracking.TRIAL_PREFIX}val_accuracy": self.val_accuracy, "test_accuracy": self.test_accuracy}
        seed_scores = {"test_accuracy_mean": self.mean, "test_accuracy_std": self.std}
        seed_scores |= {"test_accuracy_mean_low": self.low, "test_accuracy_mean_high": self.high}
        return scores | (seed_scores if self.seeds > 1 else {})
