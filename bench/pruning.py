"""Replay the pruning of hopeless trials, with trials that were let finish.

    python bench/pruning.py --experiment fashion-mnist-mlp --seeds 0,1,2          (twenty minutes on 2 cores)

For each seed, a random search of `--search-minutes` with prune=false trains trials as `tune` does. The rule of
`search/pruning.py` and others like it are then replayed on the learning curves of each search, in `--orders` random orders
of its trials after the first one. A row of the table is a rule (see `search/pruning.py`); the star marks the one in use, and
the last row lets all trials finish. The columns are means over searches and orders: the share of the trials that are pruned,
the share of the trials' time that is saved (as if it were spent in proportion to the steps, although the start of a pruned trial
is not saved), the share of the later top quarter that is pruned (of fewer than eight trials: of the best one), and the trials
that fit into a minute.

Trials and searches are runs in the comparison (MLflow's *experiment*) `pruning-NAME` of the store. An interrupted benchmark
continues, and finished searches of the same data, minutes and seed are not run again, whatever changed in the code since.
"""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlproject import process, tracking
from mlproject.discovery import find
from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.search.pruning import Rule, why_hopeless
from mlproject.task import Task, prepare

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from searching import finished, searched, settings_of

OBJECTIVE = OBJECTIVES[DEFAULT]
# The parameters by which a finished search is found. Its trials have no `tuner`.
ASKED = ("tuner", "prune", "budget_minutes", "data", "seed")
RULES = [
    Rule(worst, share, trials) for worst in (1 / 4, 1 / 3, 1 / 2) for share in (0.2, 0.3, 0.4, 0.5) for trials in (3, 4)
]


@dataclass(frozen=True)
class Finished:
    """A trial that was let finish: its minutes, and after each epoch the share of its steps and its score."""

    minutes: float
    curve: list[tuple[float, float]]


def gather(task: Task, minutes: float, stages: list[str]) -> list[Finished]:
    """The trials of a random search, which is run or continued if it is not finished yet."""
    settings = settings_of(task, "random", 60 * minutes, prune=False)
    asked = {name: settings.deciding[name] for name in ASKED}
    if not len(finished(asked)):
        searched(task, f"complete, seed {task.seed}", settings)
    parent = finished(asked)["run_id"].iloc[0]
    trials = f"tags.mlflow.parentRunId = '{parent}' AND tags.status = 'completed'"
    runs = mlflow.search_runs(filter_string=trials, order_by=["attributes.start_time"], output_format="list")
    return [let_finish(run, stages) for run in runs]


def let_finish(run: Run, stages: list[str]) -> Finished:
    """Read a trial off its run."""
    params = run.data.params
    epochs, steps = ([int(params[f"{stage}_{what}"]) for stage in stages] for what in ("epochs", "steps"))
    done = np.repeat(steps, epochs).cumsum()
    scores = {m.step: m.value for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, DEFAULT)}
    curve = [(float(share), scores[epoch]) for epoch, share in enumerate(done / done[-1], 1)]
    return Finished((run.info.end_time - run.info.start_time) / 60_000, curve)


def replayed(trials: list[Finished], rule: Rule) -> dict[str, float]:
    """Replay a search; returns the shares of its trials that it would have pruned, and its speed."""
    curves = [trials[0].curve]  # the first trial is never pruned
    for trial in trials[1:]:
        whole = len(trial.curve)
        ends = (end for end in range(1, whole) if why_hopeless(trial.curve[:end], curves, OBJECTIVE, rule))
        curves.append(trial.curve[: next(ends, whole)])
    minutes = np.array([trial.minutes for trial in trials])
    spent = minutes * [curve[-1][0] for curve in curves]
    pruned = np.array([len(curve) < len(trial.curve) for curve, trial in zip(curves, trials, strict=True)])
    best = np.argsort([-OBJECTIVE.goodness(trial.curve[-1][1]) for trial in trials], kind="stable")
    return {
        "pruned": pruned.mean(),
        "time saved": 1 - spent.sum() / minutes.sum(),
        "top quarter pruned": pruned[best[: max(len(trials) // 4, 1)]].mean(),
        "trials/minute": len(trials) / spent.sum(),
    }


def table(searches: list[list[Finished]], orders: int) -> pd.DataFrame:
    """The means over all searches and many orders of each, for each rule."""
    rng = np.random.default_rng(0)
    drawn = [
        [first, *(others[index] for index in rng.permutation(len(others)))]
        for first, *others in searches
        for _ in range(orders)
    ]
    rows = []
    for rule in [*RULES, Rule(min_share=1.0)]:
        means = pd.DataFrame([replayed(order, rule) for order in drawn]).mean()
        rows.append(asdict(rule) | {"": "*" if rule == Rule() else ""} | means.to_dict())
    return pd.DataFrame(rows)


def main() -> None:
    """Gather the trials, and print them and the table of the replays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-mlp")
    parser.add_argument("--search-minutes", type=float, default=6, help="the default budget has 6 minutes for a search")
    parser.add_argument("--seeds", default="0,1,2", help="numbers separated by commas")
    parser.add_argument("--orders", type=int, default=200, help="how often the trials of a search are replayed")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    (experiment,) = find(options.experiment)
    (prepared,) = prepare([experiment], options.data, options.data_dir, cache=Path(".cache").resolve())
    stages = [stage.name for stage in prepared.network(experiment.best)[1].stages]
    tracking.use_comparison(tracking.connect(), f"pruning-{experiment.name}")
    tasks = [replace(prepared, seed=int(seed)) for seed in options.seeds.split(",")]
    searches = [gather(task, options.search_minutes, stages) for task in tasks]
    for task, trials in zip(tasks, searches, strict=True):
        for trial in trials:
            shown = " ".join(f"{share:.2f}:{score:.4f}" for share, score in trial.curve)
            print(f"seed {task.seed}, {trial.minutes:.2f} minutes: {shown}")
    print(table(searches, options.orders).round(3).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
