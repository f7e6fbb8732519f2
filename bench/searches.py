"""Which of Keras Tuner's searches finds most in the same minutes? And do short trials rank hyperparameters as long ones would?

    python bench/searches.py --experiment fashion-mnist-mlp --search-minutes 6 --seeds 0,1,2          (an hour on 2 cores)
    python bench/searches.py --experiment fashion-mnist-mlp --tuners "" --ranked 8 --search-minutes 4 --seeds 0        (an hour)

The first table has a row for each tuner and seed: the trials that fitted into the minutes, the best validation accuracy of the
shipped best-known values, with which every search begins, that of the values which the tuner itself proposed, and the trial that
would be refitted. The second has each tuner's means. The seed decides the points tried and the initial weights; the split is the
same. The third table has the points of each seed's random search of `--search-minutes` four times: as its trials, half-way
between the final fit in miniature and fewer passes over all images; in either of these two ways, in the same time; and after
fits as long as the final fit of that budget. Below it stands Spearman's rank correlation of each short way with the long one,
seed by seed. The test images are not touched.

Searches, their trials and the fits beside them are runs in the MLflow experiment `searches-NAME` of the store, and an interrupted
bench goes on.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlproject import pace, process, search, tracking
from mlproject.experiment import find
from mlproject.journal import Trial
from mlproject.oracles import TUNERS
from mlproject.recipe import Length, lengths, shortened
from mlproject.tasks import Task, prepare
from mlproject.training import fit, measure

import pandas as pd
from scipy import stats
from searching import finished, searched


def compared(task: Task, tuner: str, minutes: float) -> dict[str, object]:
    """One search's line of the first table."""
    found, _ = searched(task, f"{tuner}, seed {task.seed}", tuner, 60 * minutes)
    known = (found.trials[list(task.experiment.best)] == list(task.experiment.best.values())).all(axis="columns")
    accuracy = found.trials["val_accuracy"]
    return {
        "tuner": tuner,
        "seed": task.seed,
        "trials": len(found.trials),
        "best-known": accuracy[known].max(),
        "best other": accuracy[~known].max(),
        "refitted": found.trials.loc[found.trials["refitted"] == "yes", "trial"].item(),
        "minutes": found.seconds / 60,
    }


def ranked(task: Task, trials: int, minutes: float) -> pd.DataFrame:
    """Validation accuracies of a random search's points: after three kinds of short fits, and after long ones.

    The short ones pass a share of the images of `long`, the final fit: `half-way`, as trials do, drawn from the square root of
    that share of them; `miniature` from the same share; `fewer passes` from all. All have a trial's batches and rate, and one
    plan, by the network's own measured speed.
    """
    found, kept = searched(task, f"ranked, seed {task.seed}", "random", 60 * minutes, trials)
    long = 60 * minutes * (1 / search.SEARCH_SHARE - 1)
    rows = []
    for trial in (one for one in kept.finished if one.status == "completed"):
        share = search.TRAINING_SHARE * trial.planned_seconds / long
        model, recipe = task.network(trial.values)
        speeds = measure(model, recipe, task.data, task.train, task.features, long)
        plan = lengths(recipe, speeds, long, len(task.train))
        fits = {
            "miniature": (share, share),
            "half-way": (share, share**0.5),
            "fewer passes": (share, 1.0),
            "long": (1.0, 1.0),
        }
        others = {way: logged(kept.search, way, task, trial, plan, *shares) for way, shares in fits.items()}
        rows.append({"seed": task.seed, "trial": trial.trial, **others})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows).merge(found.trials[["trial", *task.experiment.best]])


def logged(
    search_id: str, way: str, task: Task, trial: Trial, plan: Mapping[str, Length], share: float, images: float
) -> float:
    """What `fitted` gives, in a run of its own; that of an earlier start where there is one."""
    made_by = {"search": search_id, "trial": trial.trial, "way": way}
    if len(runs := finished(made_by)):
        return float(runs["metrics.val_accuracy"].iloc[0])
    with tracking.run(f"{way}, trial {trial.trial}", {"role": "ranked"}):
        tracking.log_params(made_by)
        accuracy = fitted(task, trial, plan, share, images)
        tracking.log_metrics({"val_accuracy": accuracy})
    return accuracy


def fitted(task: Task, trial: Trial, plan: Mapping[str, Length], share: float, images: float) -> float:
    """Validation accuracy of a trial's values after a share of a plan, on a share of the images."""
    model, recipe = task.network(trial.values)
    if share < 1:
        recipe, plan = shortened(recipe, plan, share, search.MIN_EPOCHS)
    rows = task.data.sample(task.train, images, task.seed)
    result = fit(model, recipe, plan, task.data, rows, task.validation, features=task.features, seed=task.seed)
    return float(result.history["val_accuracy"].iloc[-1])


def main() -> None:
    """Print both tables, the first line by line as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-mlp")
    parser.add_argument("--tuners", default=",".join(TUNERS), help="names with commas between; empty for none")
    parser.add_argument("--search-minutes", type=float, default=6, help="the default budget gives a search 6")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    parser.add_argument(
        "--ranked", type=int, default=0, help=f"random points to rank, {pace.MOST_TRIALS} or more; 0 for none"
    )
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    if 0 < options.ranked < pace.MOST_TRIALS:
        parser.error(f"argument --ranked: {options.ranked}; accepted: 0, or {pace.MOST_TRIALS} and more")
    (experiment,) = find(options.experiment)
    (prepared,) = prepare([experiment], options.data, options.data_dir, cache=Path(".cache").resolve())
    tasks = [replace(prepared, seed=int(seed)) for seed in options.seeds.split(",")]
    tracking.choose_experiment(tracking.connect(), f"searches-{experiment.name}")
    rows = []
    for task in tasks:
        for tuner in filter(None, options.tuners.split(",")):
            rows.append(compared(task, tuner, options.search_minutes))
            print(rows[-1], flush=True)
    if rows:
        table = pd.DataFrame(rows)
        print(table.round(4).to_string(index=False))
        print(
            table.groupby("tuner")[["trials", "best-known", "best other"]]
            .agg(["mean", "min", "max"])
            .round(4)
            .to_string()
        )
    if options.ranked:
        table = pd.concat(ranked(task, options.ranked, options.search_minutes) for task in tasks)
        print(table.round(4).to_string(index=False))
        for short in ("miniature", "half-way", "fewer passes"):
            for seed, points in table.groupby("seed"):
                rank = stats.spearmanr(points[short], points["long"])
                agreed = f"{rank.statistic:.2f} (p {rank.pvalue:.3f}, {len(points)} points)"
                print(f"seed {seed}: rank correlation of {short} with long {agreed}")


if __name__ == "__main__":
    sys.excepthook = process.say_in_one_line
    main()
