"""Where an experiment's minutes go: every share of the budget has its name here, and minutes become a plan.

The budget of an experiment pays, in this order, for

1. measuring how fast the network trains, with the activations of frozen layers,
2. the search: SEARCH_SHARE of the rest, cut into equal trials,
3. the final fit: what is left, of which a reserve is for predicting the test images and for logging.

With several seeds there is a final fit for each of them. With cross-validation a trial's seconds are divided among its fits, one
for each fold and repeat, and there are as many final fits more, which cross-validate the winner. All final fits are equally long.

Several workers train trials at the same time. The minutes of the search stay the same, and buy so many times as many trials.
"""

import math
from dataclasses import dataclass, replace

from mlproject.errors import counted

# The search's share of the budget after measuring. The final fit gets the rest: it decides the accuracy that is registered.
SEARCH_SHARE = 0.4
# The search is cut into as many trials as have time for one pass over the training images each, within these bounds. Trials
# with fewer steps rank hyperparameters badly, and fewer than three trials are no search. Above the lower bound, no trial is
# planned to take less than STARTING_SECONDS.
FEWEST_TRIALS, MOST_TRIALS = 3, 8
# The share of a trial's seconds that it trains. Building, tracing and validating take the rest.
TRIAL_TRAINING_SHARE = 0.8
# The last trial may end this share of a trial later than the search, because its learning rate must come down to 0. A trial
# that needs more is not begun.
LAST_TRIAL_OVERRUN = 0.2
# Plots, tables and the model take about this long to log, in seconds.
LOGGING_SECONDS = 12
# Each trial and each further final fit takes about this long before its first batch and between its epochs, in seconds: to build
# and trace its network.
STARTING_SECONDS = 5
# The share of the final fit's seconds that is planned, because speeds are measured to within some 5 %.
FINAL_FIT_SAFETY = 0.95
# The share of its minutes that an experiment file trains when it is run as a program. Tracing, validation and the error of the
# measured speed take the rest.
SCRIPT_TRAINING_SHARE = 0.85
# Eight executions of the training step measure its speed to within some 10 %. Short budgets get fewer, because on a slow
# machine eight take half a minute: one for every 30 seconds of the budget, but at least two.
FEWEST_EXECUTIONS, MOST_EXECUTIONS = 2, 8
SECONDS_PER_EXECUTION = 30
# Checkpoints may take this share of the time between two of them.
CHECKPOINT_SHARE = 0.05


@dataclass(frozen=True)
class Plan:
    """What the budget of one experiment buys. All times are in seconds.

    Attributes:
        budget: the whole budget.
        measuring: the time that measuring the speed took.
        search: the time for all trials.
        trials: how many trials are planned.
        trial_seconds: the planned length of a trial.
        final_fit: the time for one final fit, with its reserve.
        reserve: the part of `final_fit` for predicting the test images and for logging.
        fits: how many fits a trial consists of: one, or one for each fold and repeat of a cross-validation.
        seeds: how many final fits on all images there are.
        workers: how many trials are under way at the same time.
        final_workers: how many final fits are under way at the same time.
        final_speed: the speed of a final fit, as a share of the speed of a fit that has the machine for itself.
    """

    budget: float
    measuring: float
    search: float
    trials: int
    trial_seconds: float
    final_fit: float
    reserve: float
    fits: int = 1
    seeds: int = 1
    workers: int = 1
    final_workers: int = 1
    final_speed: float = 1.0

    def __str__(self) -> str:
        trials = f"about {counted(self.trials, 'trial')}"
        if self.fits == 1:
            trials += f" of {self.trial_seconds:.0f} s"
        else:
            trials += f" of {self.fits} fits, one for each fold, {self.trial_seconds / self.fits:.0f} s for each fit"
        if self.workers > 1:
            trials += f", {self.workers} at a time"
        return (
            f"{self.budget / 60:g} min: {self.measuring / 60:.1f} for measuring the speed, "
            f"{self.rounds * self.trial_seconds / 60:.1f} for {trials}, {self._final_fits_in_words}, of which "
            f"{min(self.reserve, self.final_fit) / 60:.1f} are reserved for predicting and logging"
        )

    @property
    def rounds(self) -> float:
        """How many trials each worker has time for."""
        return min(math.ceil(self.trials / self.workers), self.search / self.trial_seconds)

    @property
    def final_fits(self) -> int:
        """How many final fits there are, all equally long."""
        return self.seeds + (self.fits if self.fits > 1 else 0)

    @property
    def final_rounds(self) -> int:
        """How many times a final fit's seconds all of them take, when some are under way at the same time."""
        return sum(math.ceil(count / self.final_workers) for count in (self.seeds, self.final_fits - self.seeds))

    @property
    def _final_fits_in_words(self) -> str:
        minutes_each, details = f"{self.final_fit / 60:.1f}", ""
        if self.final_fits == 1:
            return f"{minutes_each} for the final fit"
        if self.fits > 1:
            details = f", {self.fits} on folds and {self.seeds} on all images,"
        if self.final_workers > 1:
            details += f"{'' if details else ','} {self.final_workers} at a time,"
        return f"{self.final_rounds * self.final_fit / 60:.1f} for {self.final_fits} final fits{details} of {minutes_each} each"

    @property
    def params(self) -> dict[str, float | int]:
        """The plan as parameters to log, in seconds, under names that begin with `plan_`."""
        return {f"plan_{name}": round(value, 1) for name, value in vars(self).items()}

    def granted_final_fit(self, spent: float, remeasuring: float, paired: bool) -> float:
        """How long the final fit may take, once the search is over.

        A final fit gets all that the search has left of the budget. Experiments that are `paired` differ in their labels
        alone and are compared with each other, so both get the planned time: otherwise the one whose trials happened to end
        early would train for longer and win for that reason.

        Args:
            spent: the seconds of the budget that measuring and trials took.
            remeasuring: the seconds that measuring the winner's speed took, if it was measured again.
            paired: whether another experiment of the same command differs in its labels alone.

        Returns:
            Seconds for each final fit, the reserve included.
        """
        if paired:
            return self.final_fit - remeasuring / self.final_rounds
        return (self.budget - spent) / self.final_rounds


@dataclass(frozen=True)
class Demand:
    """How many trials and fits a budget is asked for.

    Attributes:
        max_trials: the number of trials asked for; None for as many as the budget allows.
        given: the number of trials whose values are given, which is the least that is planned.
        fits: how many fits a trial consists of.
        seeds: the number of final fits on all images.
        workers: the number of trials that are under way at the same time.
        final_workers: the number of final fits that are under way at the same time.
        starting: the least seconds that the default number of trials leaves each of them. 0 for a deterministic search, which
            counts the seconds of a nominal machine: no trial has to start in them.
    """

    max_trials: int | None = None
    given: int = 1
    fits: int = 1
    seeds: int = 1
    workers: int = 1
    final_workers: int = 1
    starting: float = STARTING_SECONDS


def make_plan(
    budget: float, measuring: float, slowest: float, images: int, demand: Demand, reserve: float = 0.0
) -> Plan:
    """Plan how the seconds of a budget are spent.

    With `max_trials` below the default number of trials, trials are not longer: the final fit gets the time they leave. With
    more, trials are shorter.

    Args:
        budget: seconds for the experiment.
        measuring: seconds that measuring the speed took already. Search and final fit share the seconds after it, because
            both use the activations that were computed meanwhile.
        slowest: the training speed of the slowest stage in a trial, in images per second.
        images: the number of training images of a fit.
        demand: how many trials and fits are asked for.
        reserve: seconds of a final fit for predicting and logging.

    Returns:
        The plan.
    """
    remaining = max(budget - measuring, 1.0)
    search = SEARCH_SHARE * remaining
    default_trials = min(max(int(search * slowest / (demand.fits * images)), FEWEST_TRIALS), MOST_TRIALS)
    if demand.starting:
        default_trials = min(default_trials, max(int(search / demand.starting), FEWEST_TRIALS))
    trials = demand.max_trials or max(default_trials * demand.workers, demand.given)
    trial_seconds = search / max(trials / demand.workers, default_trials)
    counts = demand.fits, demand.seeds, demand.workers, demand.final_workers
    plan = Plan(budget, measuring, search, trials, trial_seconds, 0.0, reserve, *counts)
    return replace(plan, final_fit=(remaining - plan.rounds * trial_seconds) / plan.final_rounds)


def reserve_seconds(predicted_images: int, images_per_second: float, final_fits: int = 1) -> float:
    """The part of a final fit's seconds that is not training: logging, starting, and predicting images.

    Of several final fits only the first one logs plots and a model, and all of them share the time for it.

    Args:
        predicted_images: how many images all final fits predict: the test images after every stage, and those of the folds.
        images_per_second: the speed of prediction.
        final_fits: the number of final fits.

    Returns:
        Seconds for each final fit.
    """
    return (LOGGING_SECONDS + predicted_images / images_per_second + STARTING_SECONDS * (final_fits - 1)) / final_fits


def measured_executions(seconds: float) -> int:
    """How many executions of the training step measure the speed for a budget of so many seconds."""
    return min(max(FEWEST_EXECUTIONS, round(seconds / SECONDS_PER_EXECUTION)), MOST_EXECUTIONS)
