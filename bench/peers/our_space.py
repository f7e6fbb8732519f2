"""Train in our search space without our search: one long fit, or Optuna's TPE with its MedianPruner and then a fit.

    python our_space.py no-search OPTIONS
    python our_space.py optuna OPTIONS          (Optuna must be on the PYTHONPATH)

The options are those of `tune`. `no-search` measures the speed and trains the values of `--values` on all training images
for the rest of the minutes. `optuna` measures the speed, gives trials the share of the minutes that `tune` gives them,
and trains the best trial's values on all training images for the rest. Its trials are those of `tune`: as long, on the same
images, with the same shortened schedule. The first one has the values of `--values`, as in `tune`. The pruner sees the
validation accuracy of each epoch. Sampler and pruner have Optuna's defaults, except for the seed and RANDOM_TRIALS. Optuna has
no significance test, so the trial with the highest validation accuracy wins.

Trials and the final fit are runs in the store, with the roles `trial` and `final`. The test images are predicted once.
"""

import sys
import time
from dataclasses import replace
from typing import Any

from mlproject import arguments, budget, evaluation, process, settings, tracking
from mlproject.budget import Plan
from mlproject.networks.cost import Throughput
from mlproject.search.journal import Trial
from mlproject.search.space import declared_space
from mlproject.search.trial_fit import fit_trial, log_epoch
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.fit import fit
from mlproject.training.monitor import FitHooks
from mlproject.training.kept_fits import KeptFits
from mlproject.training.prediction import predict
from mlproject.training.schedule import plan_stages, schedule_params
from mlproject.training.throughput import measure_throughput
from mlproject.tune import prepare_tasks

import click
import numpy as np

# TPE proposes at random before so many trials are finished, as many as our Bayesian search. With Optuna's default of ten, it
# would hardly begin, because a budget of minutes has eight trials at most.
RANDOM_TRIALS = 4


def measured(task: Task, seconds: float) -> Throughput:
    """The speed of the network with the task's best-known values, measured as for a budget of so many seconds."""
    return measure_throughput(*task.network(task.experiment.best), task.fit_data(task.train, None), seconds)


def reserve(task: Task, throughput: Throughput) -> float:
    """The seconds of the final fit for predicting and logging, as in `tune`."""
    predicted = len(throughput.multiply_adds) * len(task.data.test_images)
    return budget.reserve_seconds(predicted, throughput.images_per_second["prediction"])


def distributions(task: Task) -> dict:
    """The declared search space as Optuna's distributions, without the hyperparameters that are not searched."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space = {}
    for one in declared_space(task, task.experiment.best).values():
        if not hasattr(one, "min_value"):
            space[one.name] = CategoricalDistribution(tuple(one.values))
        else:
            log = one.sampling == "log"  # Optuna has no steps there, and no other kind of sampling
            kind, step = (IntDistribution, 1) if isinstance(one.min_value, int) else (FloatDistribution, None)
            space[one.name] = kind(one.min_value, one.max_value, log=log, step=step if log else one.step)
    return {name: one for name, one in space.items() if name not in task.experiment.fixed}


def optuna_search(task: Task, throughput: Throughput, plan: Plan) -> Task:
    """Run trials for the search's share of the minutes; returns the task with the best trial's values."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=task.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner())
    space = distributions(task)
    study.enqueue_trial({name: task.experiment.best[name] for name in space})
    overrun = budget.LAST_TRIAL_OVERRUN * plan.trial_seconds
    end = time.monotonic() + plan.search
    while time.monotonic() + plan.trial_seconds < end + overrun:
        trial = study.ask(space)
        record = Trial(f"trial-{trial.number + 1:02d}", {**task.experiment.best, **trial.params})
        record.planned_seconds = plan.trial_seconds

        def report(epoch: int, row: dict, trial: optuna.Trial = trial) -> None:
            log_epoch(epoch, row)
            trial.report(row["val_accuracy"], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        hooks = FitHooks(on_epoch=report, deadline=end + overrun)
        with tracking.run(record.name, {"role": "trial"}):
            try:
                fit_trial(task, plan, throughput, Settings(), record, hooks, KeptFits(None))
                study.tell(trial, record.val_accuracy)
            except optuna.TrialPruned:
                record.status = "pruned"
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            except Exception as error:  # such as a loss that is not finite; the search goes on
                record.status = "failed"
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                print(f"{record.name} failed: {error}", file=sys.stderr)
            tracking.set_tags({"status": record.status})
    return replace(task, experiment=replace(task.experiment, best={**task.experiment.best, **study.best_params}))


def final_fit(task: Task, throughput: Throughput, seconds: float) -> None:
    """Train the task's best-known values on all training images, and score the predictions of the test images."""
    images, (model, recipe) = len(task.data.train_images), task.network(task.experiment.best)
    training_seconds = budget.FINAL_FIT_SAFETY * (seconds - reserve(task, throughput))
    schedule = plan_stages(recipe, throughput.images_per_second, training_seconds, images)
    with tracking.run("final", {"role": "final"}):
        tracking.log_params({**task.experiment.best, "seed": task.seed, **schedule_params(schedule)})
        fit(model, recipe, schedule, task.fit_data(np.arange(images), None), FitHooks(on_epoch=log_epoch))
        tracking.log_metrics(evaluation.summary(task.data.test_labels, predict(model, task.data.test_images)))


@click.command(help=__doc__.replace("\n\n", "\n\n\b\n"))  # \b: the paragraph keeps its line breaks
@click.argument("tool", type=click.Choice(("no-search", "optuna")))
@settings.options()
def read_options(tool: str, **given: Any) -> tuple[str, Settings]:
    """Read the command line."""
    return tool, Settings(**given)


def main(tool: str, asked: Settings) -> None:
    """Search or not, train, and log the accuracy on the test images."""
    seconds = asked.budget_seconds
    (task,) = prepare_tasks(asked)
    tracking.use_comparison(tracking.connect(), "bench")
    began = time.monotonic()
    throughput = measured(task, seconds)
    if tool == "optuna":
        kept = reserve(task, throughput)
        plan = budget.make_plan(seconds, throughput.seconds, throughput.slowest, len(task.train), budget.Demand(), kept)
        found = optuna_search(task, throughput, plan)
        if found.experiment.best != task.experiment.best:  # another network has another speed
            throughput = measured(found, plan.final_fit)
        task = found
    final_fit(task, throughput, seconds - (time.monotonic() - began))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main(*arguments.run(read_options, sys.argv[1:], "our_space.py"))
