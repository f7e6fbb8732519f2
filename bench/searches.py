"""Compare Keras Tuner's searches with equal minutes, and the rankings of hyperparameters by short and by long fits.

    python bench/searches.py --experiment fashion-mnist-mlp --search-minutes 6 --seeds 0,1,2          (an hour on 2 cores)
    python bench/searches.py --experiment fashion-mnist-mlp --tuners "" --ranked 8 --search-minutes 4 --seeds 0  (an hour)
    python bench/searches.py --cold --help          (test accuracy without best-known values, beside other tools: bench/cold.py)

The first table has a row for each tuner and seed: the number of trials that fitted into the minutes, the best
validation accuracy of the shipped best-known values (with which every search starts), the best validation accuracy of
the values that the tuner proposed, and the trial that would be refitted. The second table has the means of each tuner.
The seed decides the proposed values and the initial weights; the split is always the same.

With `--ranked`, a random search of `--search-minutes` proposes values for each seed. The third table shows their
validation accuracies after four kinds of fits. Three are short and take the same time: *miniature* is a scaled-down
final fit, which passes over a small share of the images as often as the final fit passes over all; *fewer passes* uses
all images; *half-way* is between them, as the trials of a search are. The fourth kind is as long as the final fit of
that budget. Below the table is Spearman's rank correlation of each short kind with the long one, for each seed. The
test images are not used.

Searches, their trials and the additional fits are runs in the comparison (MLflow's *experiment*) `searches-NAME` of the
store. An interrupted benchmark continues.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mlproject import budget, process, tracking
from mlproject.discovery import find
from mlproject.search.journal import Trial
from mlproject.search.oracles import TUNERS
from mlproject.search.trial_fit import MIN_EPOCHS
from mlproject.task import Task, prepare
from mlproject.training.fit import fit
from mlproject.training.schedule import Schedule, plan_stages, shorten
from mlproject.training.throughput import measure_throughput

import pandas as pd
import cold
from scipy import stats
from searching import finished, searched, settings_of


def compared(task: Task, tuner: str, minutes: float) -> dict[str, object]:
    """Run one search; returns its row of the first table."""
    found, _ = searched(task, f"{tuner}, seed {task.seed}", settings_of(task, tuner, 60 * minutes))
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
    """Validation accuracies of the values that a random search proposes, after short and after long fits.

    The short fits see a share of the images that the long fit sees. `half-way` draws them from the square root of that
    share of the training images, as trials do; `miniature` from the same share; `fewer passes` from all. All short fits
    have the batch size and learning rate of a trial, and a schedule by the network's own measured speed.
    """
    settings = settings_of(task, "random", 60 * minutes, max_trials=trials, prune=False)
    found, kept = searched(task, f"ranked, seed {task.seed}", settings)
    long = 60 * minutes * (1 / budget.SEARCH_SHARE - 1)
    rows = []
    for trial in (one for one in kept.finished if one.status == "completed"):
        share = budget.TRIAL_TRAINING_SHARE * trial.planned_seconds / long
        model, recipe = task.network(trial.values)
        measured = measure_throughput(model, recipe, task.fit_data(task.train, None), long)
        schedule = plan_stages(recipe, measured.images_per_second, long, len(task.train))
        fits = {
            "miniature": (share, share),
            "half-way": (share, share**0.5),
            "fewer passes": (share, 1.0),
            "long": (1.0, 1.0),
        }
        others = {way: logged(kept.search, way, task, trial, schedule, *shares) for way, shares in fits.items()}
        rows.append({"seed": task.seed, "trial": trial.name, **others})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows).merge(found.trials[["trial", *task.experiment.best]])


def logged(
    search_id: str, way: str, task: Task, trial: Trial, schedule: Schedule, share: float, images: float
) -> float:
    """The result of `fitted`, logged as a run of its own, or read from a run that the benchmark logged earlier."""
    made_by = {"search": search_id, "trial": trial.name, "way": way}
    if len(runs := finished(made_by)):
        return float(runs["metrics.val_accuracy"].iloc[0])
    with tracking.run(f"{way}, trial {trial.name}", {"role": "ranked"}):
        tracking.log_params(made_by)
        accuracy = fitted(task, trial, schedule, share, images)
        tracking.log_metrics({"val_accuracy": accuracy})
    return accuracy


def fitted(task: Task, trial: Trial, schedule: Schedule, share: float, images: float) -> float:
    """The validation accuracy of a trial's values after a share of the planned steps, on a share of the images."""
    model, recipe = task.network(trial.values)
    if share < 1:
        recipe, schedule = shorten(recipe, schedule, share, MIN_EPOCHS)
    rows = task.data.sample(task.train, images, task.seed)
    result = fit(model, recipe, schedule, task.fit_data(rows, task.validation))
    return float(result.history["val_accuracy"].iloc[-1])


def main() -> None:
    """Print all tables, and each row of the first and the third one as soon as it is there."""
    if "--cold" in sys.argv:  # another benchmark with its own options
        cold.main([word for word in sys.argv[1:] if word != "--cold"])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-mlp")
    parser.add_argument("--tuners", default=",".join(TUNERS), help="names separated by commas; empty for none")
    parser.add_argument("--search-minutes", type=float, default=6, help="the default budget has 6 minutes for a search")
    parser.add_argument("--seeds", default="0,1,2", help="numbers separated by commas")
    parser.add_argument(
        "--ranked", type=int, default=0, help=f"random points to rank, {budget.MOST_TRIALS} or more; 0 for none"
    )
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    if 0 < options.ranked < budget.MOST_TRIALS:
        parser.error(f"argument --ranked: {options.ranked}; accepted: 0, or {budget.MOST_TRIALS} and more")
    (experiment,) = find(options.experiment)
    (prepared,) = prepare([experiment], options.data, options.data_dir, cache=Path(".cache").resolve())
    tasks = [replace(prepared, seed=int(seed)) for seed in options.seeds.split(",")]
    tracking.use_comparison(tracking.connect(), f"searches-{experiment.name}")
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
    sys.excepthook = process.report_in_one_line
    main()
