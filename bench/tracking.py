"""What does tracking cost? The same trial through Keras Tuner and MLflow, and by `fit` alone.

    python bench/tracking.py --seconds 60 --rounds 3          (real data; 18 minutes on 2 slow cores)

A trial is planned to take so many seconds, or up to thrice as many, but fewer where `max_epochs` end the final fit early, as
with synthetic data. Its plan is then repeated without a tuner, a run, a callback or a journal. Both make the network anew. A
row for each round: seconds from the question for hyperparameters to the trial's end, those of the bare fit, and how many
percent the first take longer.
"""

import argparse
import sys
import time
from pathlib import Path

from mlproject import pace, process
from mlproject.experiment import find
from mlproject.recipe import Length, shortened
from mlproject.tasks import Task, prepare
from mlproject.training import fit

import mlflow
import numpy as np
import pandas as pd
from searching import searched, store


def tracked(task: Task, seconds: float, number: int) -> tuple[float, dict[str, Length], np.ndarray]:
    """The seconds that one trial takes in a search, the plan it had, and its training images' rows."""
    found, kept = searched(task, f"round{number}", "random", pace.MOST_TRIALS * seconds, max_trials=1)
    params = mlflow.get_run(kept.trials[0].run_id).data.params
    stages = task.network(task.experiment.best)[1].stages
    plan = {
        stage.name: Length(int(params[f"{stage.name}_epochs"]), int(params[f"{stage.name}_steps"])) for stage in stages
    }
    rows = task.data.sample(task.train, int(params["training_images"]) / len(task.train), task.seed)
    return float(found.trials["seconds"].iloc[0]), plan, rows


def alone(task: Task, plan: dict[str, Length], rows: np.ndarray) -> float:
    """The seconds of the same fit with nothing around it."""
    began = time.monotonic()
    model, recipe = task.network(task.experiment.best)
    recipe, _ = shortened(recipe, plan, 1.0, 1)  # a trial's batches
    fit(model, recipe, plan, task.data, rows, task.validation, features=task.features, seed=task.seed)
    return time.monotonic() - began


def main() -> None:
    """Print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-cnn")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    (experiment,) = find(options.experiment)
    data_dir = options.data_dir and Path(options.data_dir).resolve()  # the store is in another folder
    with store():
        (task,) = prepare([experiment], options.data, data_dir)
        rows = []
        for number in range(options.rounds):
            through, plan, images = tracked(task, options.seconds, number)
            bare = alone(task, plan, images)
            rows.append({"tracked, s": through, "fit alone, s": bare, "cost, %": 100 * (through / bare - 1)})
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.say_in_one_line
    main()
