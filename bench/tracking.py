"""Measure the overhead of tracking: the same trial with Keras Tuner and MLflow, and by `fit` alone.

    python bench/tracking.py --seconds 60 --rounds 3          (real data; 18 minutes on 2 slow cores)

A trial is planned to take `--seconds`, or up to three times as long. It takes less where `max_epochs` ends the final
fit early, as with synthetic data. The same schedule is then trained without a tuner, a run, callbacks or a journal.
Both build a new network. The table has a row for each round, in which the tracked trial comes first: the seconds from the
request for hyperparameters to the end of the trial (in which the time of a prediction is measured, too), the seconds of the
fit alone, and the overhead in percent.
"""

import argparse
import sys
import time
from pathlib import Path

from mlproject import budget, process
from mlproject.discovery import find
from mlproject.task import Task, prepare
from mlproject.training.fit import fit
from mlproject.training.schedule import StageSchedule, shorten

import mlflow
import numpy as np
import pandas as pd
from searching import searched, settings_of, store


def tracked(task: Task, seconds: float, number: int) -> tuple[float, dict[str, StageSchedule], np.ndarray]:
    """The seconds that one trial takes in a search, its schedule, and the rows of its training images."""
    settings = settings_of(task, "random", budget.MOST_TRIALS * seconds, max_trials=1)
    found, kept = searched(task, f"round{number}", settings)
    params = mlflow.get_run(kept.trials[0].run_id).data.params
    stages = task.network(task.experiment.best)[1].stages
    schedule = {
        stage.name: StageSchedule(int(params[f"{stage.name}_epochs"]), int(params[f"{stage.name}_steps"]))
        for stage in stages
    }
    rows = task.data.sample(task.train, int(params["training_images"]) / len(task.train), task.seed)
    return float(found.trials["seconds"].iloc[0]), schedule, rows


def alone(task: Task, schedule: dict[str, StageSchedule], rows: np.ndarray) -> float:
    """The seconds of the same fit alone."""
    began = time.monotonic()
    model, recipe = task.network(task.experiment.best)
    recipe, _ = shorten(recipe, schedule, 1.0, 1)  # a trial's batches
    fit(model, recipe, schedule, task.fit_data(rows, task.validation))
    return time.monotonic() - began


def main() -> None:
    """Print a row for each round."""
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
            through, schedule, images = tracked(task, options.seconds, number)
            bare = alone(task, schedule, images)
            rows.append({"tracked, s": through, "fit alone, s": bare, "cost, %": 100 * (through / bare - 1)})
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
