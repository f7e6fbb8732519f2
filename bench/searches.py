"""Which of Keras Tuner's searches finds most in the same minutes? And do short trials rank hyperparameters as long ones would?

    python bench/searches.py --experiment fashion-mnist-mlp --search-minutes 6 --seeds 3          (an hour on 2 cores)
    python bench/searches.py --experiment fashion-mnist-mlp --tuners "" --ranked 8 --long-minutes 4        (35 minutes)

The first table has a row for each tuner and seed: the trials that fitted into the minutes, the validation accuracy of the first
trial, which has the shipped best-known values, and that of the winner. The seed decides the points tried and the initial
weights; the split is the same. The second table has the same random points twice, as trials of `--short-minutes` and of
`--long-minutes`, and below it Spearman's rank correlation of their validation accuracies. The test images are not touched.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
from scipy import stats
from searching import searched, store

from mlproject.experiment import find
from mlproject.oracles import TUNERS
from mlproject.search import MOST_TRIALS
from mlproject.tasks import Task, prepare


def compared(task: Task, tuner: str, seed: int, minutes: float) -> dict[str, object]:
    """One search's line of the first table."""
    found, _ = searched(replace(task, seed=seed), f"{tuner}{seed}", tuner, 60 * minutes)
    return {
        "tuner": tuner,
        "seed": seed,
        "trials": len(found.trials),
        "best-known": found.trials["val_accuracy"].iloc[0],
        "winner": found.val_accuracy,
        "winning trial": found.trials.loc[found.trials["val_accuracy"].idxmax(), "trial"],
        "minutes": found.seconds / 60,
    }


def ranked(task: Task, points: int, short: float, long: float) -> pd.DataFrame:
    """Validation accuracies of the same random points, the best-known first, after trials of two lengths in minutes."""
    both = [searched(task, name, "random", 60 * each * points, points)[0] for name, each in (("a", short), ("b", long))]
    # A search whose trials took longer than planned leaves the last ones out.
    count, columns = min(len(each.trials) for each in both), list(task.experiment.best)
    short_trials, long_trials = (each.trials.head(count) for each in both)
    if not short_trials[columns].equals(long_trials[columns]):
        raise SystemExit("the two searches did not try the same points")
    accuracies = {"short": short_trials["val_accuracy"], "long": long_trials["val_accuracy"]}
    return pd.DataFrame(accuracies).join(short_trials[columns])


def main() -> None:
    """Print both tables, the first line by line as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-mlp")
    parser.add_argument("--tuners", default=",".join(TUNERS), help="names with commas between; empty for none")
    parser.add_argument("--search-minutes", type=float, default=6, help="the default budget gives a search 6")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--ranked", type=int, default=0, help=f"random points to rank, {MOST_TRIALS} or more; 0 for none"
    )
    parser.add_argument(
        "--short-minutes", type=float, default=1, help="of a trial; the default budget gives it about 1"
    )
    parser.add_argument("--long-minutes", type=float, default=8, help="the default budget gives the final fit about 8")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    if 0 < options.ranked < MOST_TRIALS:
        parser.error(f"argument --ranked: {options.ranked}; accepted: 0, or {MOST_TRIALS} and more")
    (experiment,) = find(options.experiment)
    (task,) = prepare([experiment], options.data, options.data_dir, cache=Path(".cache").resolve())
    rows = []
    with store():
        for seed in range(options.seeds):
            for tuner in filter(None, options.tuners.split(",")):
                rows.append(compared(task, tuner, seed, options.search_minutes))
                print(rows[-1], flush=True)
        if options.ranked:
            table = ranked(task, options.ranked, options.short_minutes, options.long_minutes)
    if rows:
        print(pd.DataFrame(rows).round(4).to_string(index=False))
    if options.ranked:
        print(table.round(4).to_string(index=False))
        rank = stats.spearmanr(table["short"], table["long"])
        print(f"rank correlation {rank.statistic:.2f} (p {rank.pvalue:.3f}, {len(table)} points)")


if __name__ == "__main__":
    main()
