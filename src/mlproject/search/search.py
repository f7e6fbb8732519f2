"""The search: measure the speed, plan the budget, run trials until it is spent, and select the winner."""

import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pandas as pd

from mlproject import budget, tracking
from mlproject.budget import Plan
from mlproject.cluster.pool import Pool
from mlproject.errors import UserError, counted, first_line, truncate
from mlproject.experiment import Value
from mlproject.limits import OVER_LIMIT
from mlproject.networks.cost import Throughput
from mlproject.objectives import OBJECTIVES
from mlproject.search.journal import Journal, Trial
from mlproject.search.over_limit import no_trial_within_limits
from mlproject.search.parallel import ParallelTuner
from mlproject.search.result import SearchResult, reserve
from mlproject.search.selection import select_winner, standard_error
from mlproject.search.tuner import Tuner
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.throughput import measure_throughput

logger = logging.getLogger(__name__)


def search(task: Task, journal: Journal, settings: Settings, pool: Pool | None = None) -> SearchResult:
    """Run trials until the search's share of the budget is spent; trials in the journal count.

    The first trial has the best-known values, the next ones those that a user gives. Trials are planned to take equally long,
    by the speed measured on the best-known network and the multiply-adds of each network. A deterministic search is planned by
    the speed of a nominal machine, and no clock ends a trial. Time lost to an interruption does not count.

    Args:
        task: the experiment with its data.
        journal: what is finished already.
        settings: the tuner, the budget, the number of trials.
        pool: the workers that train the trials; None trains them one after another in this process.

    Returns:
        The winner and all trials.

    Raises:
        UserError: when the best-known network does not train, and when no trial is completed, with the most frequent reason.
    """
    throughput = _journaled_throughput(task, journal, settings, pool)
    plan = _make_plan(task, throughput, settings, pool)
    first_plan = Plan(**journal.keep_plan(asdict(plan)))
    plan = replace(plan, trial_seconds=first_plan.trial_seconds)
    logger.info("  plan: %s", plan)
    tracking.log_params(first_plan.params)
    # Trials stay as they were planned at first, so that they can be compared, even if there are other workers now.
    trials_plan = replace(plan, final_fit=first_plan.final_fit, final_speed=first_plan.final_speed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = task, journal, settings, trials_plan, throughput, folder
        tuner = ParallelTuner(*arguments, pool) if pool else Tuner(*arguments)
        tuner.search()
    if tuner.out_of_time:
        _log_missing_trials(journal, plan, settings)
        _warn_of_untried_rows(task, journal, settings)
    return _make_result(task, journal, plan, tuner, settings, pool)


def _journaled_throughput(task: Task, journal: Journal, settings: Settings, pool: Pool | None) -> Throughput:
    """The throughput of the best-known network, measured once for each search: here, and in all workers at the same time."""
    if pool:
        pool.get_ready(task)
    if journal.throughput is None:
        values = task.experiment.best
        throughput = _network_throughput(task, values, settings.deterministic, settings.budget_seconds, pool)
        if pool and pool.local and not throughput.nominal:
            began = time.monotonic()
            worker_throughput = pool.measure(task, values, settings.budget_seconds)
            throughput = replace(throughput, worker=worker_throughput.slowest / throughput.slowest)
            throughput = replace(throughput, seconds=throughput.seconds + time.monotonic() - began)
            logger.info(
                "  %d workers train %.2f times as fast as one process alone", pool.size, pool.size * throughput.worker
            )
        journal.throughput = asdict(throughput)
        journal.save()
    return Throughput(**journal.throughput)


def _network_throughput(
    task: Task, values: Mapping[str, Value], nominal: bool, seconds: float, pool: Pool | None
) -> Throughput:
    """Measure the network with these values where final fits are trained, or compute its speed on the nominal machine."""
    try:
        if pool and not pool.local and not nominal:
            return pool.measure(task, values, seconds)
        model, recipe = task.network(values)
        if nominal:
            return Throughput.of_nominal_machine(model, recipe)
        return measure_throughput(model, recipe, task.fit_data(task.train, None), seconds)
    except Exception as error:  # whatever an experiment's code raises; without a speed nothing can be planned
        raise UserError(
            f"experiment={task.experiment.name!r}: training the network with {dict(values)} fails: {first_line(error)}"
        ) from error


def _make_plan(task: Task, throughput: Throughput, settings: Settings, pool: Pool | None) -> Plan:
    """Plan the budget, and warn of a plan by which something gets little time."""
    seeds = len(settings.final_seeds)
    demand = budget.Demand(settings.max_trials, 1 + len(task.given_trials), len(task.fits), seeds)
    if settings.deterministic:
        demand = replace(demand, starting=0.0)
    elif pool:  # a deterministic search must not depend on workers
        final_workers = pool.size if pool.trains_final_fits(seeds + len(task.folds)) else 1
        demand = replace(demand, workers=pool.size, final_workers=final_workers)
    make_plan = partial(
        budget.make_plan,
        settings.budget_seconds,
        throughput.seconds,
        throughput.worker * throughput.slowest,
        len(task.train),
    )
    plan, plan_without_given = make_plan(demand), make_plan(replace(demand, given=1))
    plan = replace(plan, final_speed=throughput.worker if plan.final_workers > 1 else 1.0)
    plan = replace(plan, reserve=reserve(task, throughput, plan))
    if plan.trial_seconds < plan_without_given.trial_seconds:
        warnings.warn(
            f"trials={truncate(settings.trials)!r} gives {plan.trials} trials, the best-known values included, so each has "
            f"{plan.trial_seconds:.1f} s, where {plan_without_given.trials} trials would have "
            f"{plan_without_given.trial_seconds:.1f} s each; fewer rows or a larger budget_minutes make them longer",
            stacklevel=2,
        )
    _warn_of_little_training(task, settings, plan)
    return plan


def _warn_of_little_training(task: Task, settings: Settings, plan: Plan) -> None:
    """Warn of final fits shorter than a trial's, and of a measurement that took most of the budget."""
    training_seconds, trial_fit_seconds = plan.final_fit - plan.reserve, plan.trial_seconds / plan.fits
    if training_seconds < trial_fit_seconds:
        fits_in_words = "the final fit" if plan.final_fits == 1 else f"each of {plan.final_fits} final fits"
        warnings.warn(
            f"budget_minutes={settings.budget_minutes:g} leaves {max(training_seconds, 0):.1f} s of training to {fits_in_words}, "
            f"less than a trial has ({trial_fit_seconds:.1f} s); a larger budget, or fewer seeds or folds, make it longer",
            stacklevel=2,
        )
    if plan.measuring > plan.budget / 2:
        warnings.warn(
            f"experiment={task.experiment.name!r}: measuring the speed took {plan.measuring / 60:.1f} of "
            f"budget_minutes={settings.budget_minutes:g}, so little time is left for training; accepted: a larger budget, or "
            "fresh=true if activations of frozen layers were computed, as they are cached now",
            stacklevel=2,
        )


def _log_missing_trials(journal: Journal, plan: Plan, settings: Settings) -> None:
    """Say that the time sufficed for fewer trials than were planned, and which one took most of it."""
    trained = [trial for trial in journal.finished if trial.status != OVER_LIMIT]
    if not 0 < len(trained) < plan.trials:
        return
    about = "" if settings.max_trials else "about "
    slowest = max(trained, key=lambda trial: trial.seconds - trial.planned_seconds)
    reason = f": {slowest.name} took {slowest.seconds:.0f} s, where {slowest.planned_seconds:.0f} s were planned"
    took_longer = slowest.seconds > slowest.planned_seconds and not settings.deterministic
    planned = f"{about}{counted(plan.trials, 'trial')}"
    logger.info("  the search had time for %d of %s%s", len(trained), planned, reason if took_longer else "")


def _warn_of_untried_rows(task: Task, journal: Journal, settings: Settings) -> None:
    """Warn of rows of the user's file that the search had no time for."""
    given_count = len(task.given_trials)
    tried_count = sum(trial.given for trial in journal.finished) - 1  # the best-known values are given, too
    if tried_count < given_count:
        warnings.warn(
            f"trials={truncate(settings.trials)!r}: the search had time for {max(tried_count, 0)} of {given_count} rows; "
            "a larger budget_minutes tries them all",
            stacklevel=2,
        )


def _make_result(
    task: Task, journal: Journal, plan: Plan, tuner: Tuner, settings: Settings, pool: Pool | None
) -> SearchResult:
    """Select the winner among the completed trials and measure its speed; raises UserError when no trial is completed."""
    trials, objective = journal.finished, settings.objective
    completed = [trial for trial in trials if trial.may_win]
    if not completed:
        journal.restart()  # there is nothing to go on from
        if any(trial.status == OVER_LIMIT for trial in trials):
            raise no_trial_within_limits(task.experiment.name, trials, settings.limits)
        raise _no_trial_completed(task, trials)
    best_known = trials[0].values  # the Oracle proposes the best-known values first
    labels, measure = task.data.train_labels[task.validated_rows], OBJECTIVES[objective]
    winner = select_winner(completed, best_known, labels, objective)
    best_goodness = max(measure.goodness(trial.scores[objective]) for trial in completed)
    keeps_best_known = winner.values == best_known and best_goodness > measure.goodness(winner.scores[objective])
    reason = f", because no other trial has a significantly better {measure.words}" if keeps_best_known else ""
    logger.info("  the final fit has the values of %s%s", winner.name, reason)
    spent, throughputs = tuner.spent, [tuner.throughput]  # spent before the next measurement: a clock may count it
    if winner.values != best_known:
        # The speed of its trial cannot be used, because the final fit has larger batches.
        throughputs.append(_network_throughput(task, winner.values, tuner.throughput.nominal, plan.final_fit, pool))
    measuring_seconds = sum(throughput.seconds for throughput in throughputs)
    return SearchResult(
        values=winner.values,
        scores=winner.scores,
        throughput=throughputs[-1],
        trials=_trials_table(trials, winner, labels, objective),
        plan=plan,
        seconds=measuring_seconds + journal.trial_seconds,
        spent=measuring_seconds + spent,
        remeasuring=sum(throughput.seconds for throughput in throughputs[1:]),
    )


def _no_trial_completed(task: Task, trials: list[Trial]) -> UserError:
    reasons = Counter(trial.reason for trial in trials).most_common(1)
    explanation = f"the most frequent reason: {reasons[0][0]}" if reasons else "the budget ended before the first one"
    return UserError(f"experiment={task.experiment.name!r}: none of {len(trials)} trials was completed; {explanation}")


def _trials_table(trials: list[Trial], winner: Trial, labels: np.ndarray, objective: str) -> pd.DataFrame:
    """A row for each finished trial, with its values."""
    rows = [
        {"trial": trial.name, "status": trial.status}
        | trial.scores
        | {
            "standard_error": standard_error(trial, labels, objective),
            "seconds": round(trial.seconds, 1),
            "minutes": round(trial.minutes, 2),
            "parameters": trial.parameters,
            "ms_per_image": round(trial.ms_per_image, 5),
            "given": "yes" if trial.given else "",
            "reason": trial.reason,
            "refitted": "yes" if trial is winner else "",
            "curve": " ".join(f"{share:.4g}:{score:.4g}" for share, score in trial.curve),
        }
        | trial.values
        for trial in trials
    ]
    return pd.DataFrame(rows)
