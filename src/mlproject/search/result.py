"""What a search hands on to the final fits."""

from dataclasses import dataclass

import pandas as pd

from mlproject import budget
from mlproject.budget import Plan
from mlproject.experiment import Value
from mlproject.networks.cost import Throughput
from mlproject.task import Task


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        values: the winner's hyperparameters.
        scores: those of the winner's trial on the validation images, by the names of `objectives.OBJECTIVES`.
        throughput: how fast the winner's network trains.
        trials: a row for each finished trial.
        plan: how the budget was planned.
        seconds: how long measuring and trials took.
        spent: the seconds of the budget that they took. A deterministic search spends what was planned.
        remeasuring: the seconds that measuring the winner's speed took, 0 where the first measurement serves.
    """

    values: dict[str, Value]
    scores: dict[str, float]
    throughput: Throughput
    trials: pd.DataFrame
    plan: Plan
    seconds: float
    spent: float
    remeasuring: float


def reserve(task: Task, throughput: Throughput, plan: Plan) -> float:
    """The part of each final fit that is not training, in seconds.

    Args:
        task: the experiment with its data.
        throughput: how fast the network to be refitted predicts, and its stages.
        plan: how many final fits there are.

    Returns:
        Seconds, as `budget.reserve_seconds` computes them from the images that all final fits predict.
    """
    predicted_images = plan.seeds * len(throughput.multiply_adds) * len(task.data.test_images) + task.held_out_count
    return budget.reserve_seconds(predicted_images, throughput.images_per_second["prediction"], plan.final_rounds)
