"""Replay the pruning of hopeless trials, with trials that were let finish.

    python bench/pruning.py --experiment fashion-mnist-mlp --seeds 0,1,2,3          (half an hour on 2 cores)

For each seed, a random search of `--search-minutes` with prune=false trains trials as `tune` does. It is planned for the
nominal machine, so that all trials have the same plan whatever else the machine does meanwhile. The rule of
`search/pruning.py` and others like it are then replayed on their learning curves, in `--orders` random orders: each begins
with best-known values, as a search does, and goes on with trials drawn from all seeds. A row of the table is a length of the
search (trials) and a rule (see `search/pruning.py`); the star marks the one in use, and the last row of each length lets all
trials finish. The columns are means over the orders: the share of the trials that are pruned, the share of the trials' time
that is saved, the share of the trials of the later top quarter that are pruned, how often the later best trial is, and the
trials that fit into a minute.

With `--searches`, a search of the same minutes with prune=true is run for each seed, too, and both are counted. Trials and
searches are runs in the comparison (MLflow's *experiment*) `pruning-NAME` of the store. An interrupted benchmark continues,
and finished searches are not run again.
"""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlproject import process, tracking
from mlproject.experiment import find
from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.search.pruning import Rule, why_hopeless
from mlproject.task import Task, prepare

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from searching import finished, searched

OBJECTIVE = OBJECTIVES[DEFAULT]
RULES = [
    Rule(worst, share, trials)
    for worst in (1 / 4, 1 / 3, 1 / 2)
    for share in (0, 0.2, 0.3, 0.4, 0.5)
    for trials in (3, 4)
]
LENGTHS = (8, 24)  # trials of a search


@dataclass(frozen=True)
class Finished:
    """A trial that was let finish: whether it had the best-known values, its minutes and its curve."""

    known: bool
    minutes: float
    curve: list[tuple[float, float]]

    @property
    def score(self) -> float:
        """The score after its last epoch."""
        return self.curve[-1][1]


def gather(task: Task, minutes: float, prune: bool) -> list[Run]:
    """The runs of the trials of a random search, which is run or continued if it is not finished yet."""
    name = f"{'pruned' if prune else 'complete'}, seed {task.seed}"

    def parents() -> pd.DataFrame:
        runs = finished({"seed": task.seed, "tuner": "random"})
        return runs[runs["tags.mlflow.runName"] == name] if len(runs) else runs

    if not len(parents()):
        searched(task, name, "random", 60 * minutes, prune=prune, deterministic=True)
    return mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{parents()['run_id'].iloc[0]}' AND attributes.status = 'FINISHED'",
        output_format="list",
    )


def let_finish(run: Run, stages: list[str]) -> Finished:
    """Read a trial off its run."""
    params = run.data.params
    epochs, steps = ([int(params[f"{stage}_{what}"]) for stage in stages] for what in ("epochs", "steps"))
    done = np.repeat(steps, epochs).cumsum()
    scores = {m.step: m.value for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, DEFAULT)}
    curve = [(float(share), scores[epoch]) for epoch, share in enumerate(done / done[-1], 1)]
    minutes = (run.info.end_time - run.info.start_time) / 60_000
    return Finished(run.info.run_name == "trial-01", minutes, curve)


def replayed(trials: list[Finished], rule: Rule) -> dict[str, float]:
    """Replay a search; returns the shares of its trials that it would have pruned, and its speed."""
    curves: list[list[tuple[float, float]]] = []
    for trial in trials:
        whole = range(1, len(trial.curve) + 1)
        ends = (end for end in whole if why_hopeless(trial.curve[:end], curves, OBJECTIVE, rule))
        curves.append(trial.curve[: next(ends, len(trial.curve)) if curves else len(trial.curve)])
    minutes = np.array([trial.minutes for trial in trials])
    spent = minutes * [curve[-1][0] for curve in curves]
    pruned = np.array([len(curve) < len(trial.curve) for curve, trial in zip(curves, trials, strict=True)])
    best = np.argsort([-OBJECTIVE.goodness(trial.score) for trial in trials], kind="stable")
    return {
        "pruned": pruned.mean(),
        "time saved": 1 - spent.sum() / minutes.sum(),
        "top quarter pruned": pruned[best[: len(trials) // 4]].mean(),
        "best pruned": pruned[best[0]],
        "trials/minute": len(trials) / spent.sum(),
    }


def table(trials: list[Finished], orders: int) -> pd.DataFrame:
    """The means over many orders, for each length of the search and each rule."""
    known, others = [one for one in trials if one.known], [one for one in trials if not one.known]
    rows = []
    for length in LENGTHS:
        rng = np.random.default_rng(0)
        length = min(length, len(others) + 1)
        drawn = [[rng.choice(known), *rng.choice(others, length - 1, replace=False)] for _ in range(orders)]
        for rule in [*RULES, Rule(min_share=1.0)]:
            means = pd.DataFrame([replayed(order, rule) for order in drawn]).mean()
            rows.append({"trials": length, **asdict(rule), "": "*" if rule == Rule() else "", **means})
    return pd.DataFrame(rows)


def main() -> None:
    """Gather the trials, and print them and the table of the replays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-mlp")
    parser.add_argument("--search-minutes", type=float, default=6, help="the default budget has 6 minutes for a search")
    parser.add_argument("--seeds", default="0,1,2,3", help="numbers separated by commas")
    parser.add_argument("--orders", type=int, default=200, help="how often the trials are replayed")
    parser.add_argument("--searches", action="store_true", help="run searches with prune=true, too")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    (experiment,) = find(options.experiment)
    (prepared,) = prepare([experiment], options.data, options.data_dir, cache=Path(".cache").resolve())
    stages = [stage.name for stage in prepared.network(experiment.best)[1].stages]
    tracking.use_comparison(tracking.connect(), f"pruning-{experiment.name}")
    tasks = [replace(prepared, seed=int(seed)) for seed in options.seeds.split(",")]
    complete = [run for task in tasks for run in gather(task, options.search_minutes, prune=False)]
    trials = [let_finish(run, stages) for run in complete if run.data.tags["status"] == "completed"]
    for trial in sorted(trials, key=lambda trial: -trial.score):
        print(f"{trial.minutes:.2f} min", *(f"{share:.2f}:{score:.4f}" for share, score in trial.curve))
    print(table(trials, options.orders).round(3).to_string(index=False))
    if options.searches:
        pruned = [run for task in tasks for run in gather(task, options.search_minutes, prune=True)]
        print(f"{len(tasks)} searches: {len(complete)} trials with prune=false, {len(pruned)} with prune=true")


if __name__ == "__main__":
    sys.excepthook = process.say_in_one_line
    main()
