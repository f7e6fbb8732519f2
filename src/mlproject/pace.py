"""How fast networks train, measured on one of them: what trials and final fits are planned by."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from mlproject import training
from mlproject.errors import UserError, first_line
from mlproject.recipe import Recipe
from mlproject.tasks import Task
from mlproject.training import measure, multiply_adds

# The search's time is cut into equal trials: as many as have time for the steps of one pass over all training images, but at
# least and at most so many. Trials of fewer steps rank hyperparameters badly, fewer than three are no search.
FEWEST_TRIALS, MOST_TRIALS = 3, 8


@dataclass(frozen=True)
class Pace:
    """How fast a network trains in each stage (images per second), and the multiply-adds behind that.

    `seconds` went into finding out. A `nominal` pace is not measured: the same in every run.
    """

    speeds: dict[str, float]
    work: dict[str, int]
    nominal: bool
    seconds: float

    @classmethod
    def found(cls, task: Task, values: Mapping[str, object], nominal: bool, budget: float):
        """That of the network with these values; the shorter the `budget` in seconds, the shorter it is measured.

        Raises UserError when the network cannot be built, or takes no step.
        """
        began = time.monotonic()
        try:
            model, recipe = task.network(values)
            work = multiply_adds(model, recipe)
            if nominal:
                return cls(training.nominal(model, recipe), work, True, 0.0)
            speeds = measure(model, recipe, task.data, task.train, task.features, budget)
            return cls(speeds, work, False, time.monotonic() - began)
        except Exception as error:  # whatever an experiment's code raises; without a speed nothing can be planned
            raise UserError(
                f"experiment={task.experiment.name!r}: its hyperparameters {values} fail: {first_line(error)}"
            ) from error

    def trials(self, seconds: float, images: int) -> int:
        """How many trials to cut the seconds into."""
        passes = seconds * min(self.speeds[stage] for stage in self.work) / images
        return min(max(int(passes), FEWEST_TRIALS), MOST_TRIALS)

    def of(self, model: keras.Model, recipe: Recipe) -> dict[str, float]:
        """The speed another network should have: the final fit has minutes, so a bigger one must do with fewer steps."""
        if self.nominal:
            return training.nominal(model, recipe)
        return {
            stage: self.speeds[stage] * max(self.work[stage], 1) / max(work, 1)
            for stage, work in multiply_adds(model, recipe).items()
        }
