"""One trial after another: Keras Tuner's loop with our own trial, which is a nested MLflow run made in `_run_tracked`."""

import contextlib
import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from mlproject import budget, process, tracking
from mlproject.budget import Plan
from mlproject.errors import UserError, counted, first_line
from mlproject.experiment import hyperparameters
from mlproject.limits import OVER_LIMIT
from mlproject.networks.cost import Throughput
from mlproject.objectives import OBJECTIVES
from mlproject.search.journal import Journal, Trial
from mlproject.search.oracles import HYPERBAND_EPOCHS, make_oracle
from mlproject.search.pruning import Curve
from mlproject.search.trial_fit import fit_trial, log_epoch, pruning_hook
from mlproject.search.trial_run import end_tags, run_name, run_tags
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.kept_fits import KeptFits
from mlproject.training.monitor import FitHooks

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 10  # end a search, because trials that fail at once would fill the budget with failed runs
# The same for trials beyond a limit, which cost seconds: with so many, not even one network in twenty is within the limit
# (0.95 ** 100 is below 1 %).
OVER_LIMIT_IN_A_ROW = 100
MOST_STARTS = 3  # of a trial in which the process dies, for instance for lack of memory


class SearchEndedError(Exception):
    """Ends Keras Tuner's loop between two trials, where nothing is lost."""


class Tuner(keras_tuner.Tuner):
    """Keras Tuner with its `run_trial` replaced as a whole: a nested run, our fit, the budget, the journal.

    Args:
        task: the experiment with its data.
        journal: the trials.
        settings: the tuner, the number of trials, whether the search is deterministic.
        plan: how the budget is spent.
        throughput: how fast the best-known network trains.
        folder: for Keras Tuner's own files, which are not needed afterwards.
    """

    def __init__(
        self, task: Task, journal: Journal, settings: Settings, plan: Plan, throughput: Throughput, folder: str
    ):
        self.task, self.journal, self.settings, self.plan = task, journal, settings, plan
        self.throughput = throughput
        # When Keras Tuner asked for the values of the current trial, which is when its time begins.
        self.trial_began_at = 0.0
        self.out_of_time = False  # whether the search ended because no time was left for another trial
        super().__init__(
            oracle=make_oracle(
                settings.tuner, settings.objective, task.experiment, task.seed, task.given_trials, journal
            ),
            hypermodel=self._declare,
            directory=folder,
            project_name=task.experiment.name,
        )
        if not self.oracle.get_space().space:
            raise UserError(
                f"experiment={task.experiment.name!r} declares no hyperparameters; accepted: at least one hp.* in build or recipe"
            )

    def _declare(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        self.task.experiment.recipe(hp)
        return self.task.experiment.network(hp, self.task.spec)

    def search(self) -> None:
        """Run trials until the budget is spent, all trials asked for are done, or too many came to nothing."""
        finished = self.journal.finished
        if self.journal.trials:
            run_statuses = {trial.run_id: "FAILED" if trial.status == "failed" else "FINISHED" for trial in finished}
            tracking.reconcile_trials(self.journal.search, run_statuses)
            logger.info("  goes on after %s", counted(len(finished), "trial"))
        with contextlib.suppress(SearchEndedError), warnings.catch_warnings():
            # Keras Tuner looks for the best of no scores.
            warnings.filterwarnings("ignore", "All-NaN axis", RuntimeWarning)
            self._run_trials()

    def _run_trials(self) -> None:
        """Keras Tuner's loop."""
        failure: BaseException | None = None
        try:
            super().search()
        except keras_tuner.errors.FatalError as error:
            failure = error.__cause__ or error
        if failure:
            raise failure

    def cost(self, trial: Trial) -> float:
        """The seconds of the budget that a trial takes."""
        return trial.planned_seconds * trial.share_done if self.throughput.nominal else trial.seconds

    @property
    def spent(self) -> float:
        """The seconds of the budget that the trials took so far."""
        return sum(map(self.cost, self.journal.finished))

    @property
    def seconds_left(self) -> float:
        """The seconds of the search that are left."""
        return self.plan.search - self.spent

    def pre_create_trial(self) -> None:
        """Keras Tuner calls this before every trial; it ends the search when there is no reason or no time for another."""
        self.trial_began_at = time.monotonic()
        trials = self.journal.trials
        if len(self.oracle.trials) < len(trials):
            return  # a trial of an earlier process, which is repeated from the journal and costs nothing
        within_limits = [trial for trial in trials if trial.status != OVER_LIMIT]
        finished = self.journal.finished
        trained = [trial for trial in finished if trial.status != OVER_LIMIT]
        hopeless = _last_have_status(trained, "failed", FAILURES_IN_A_ROW) or _last_have_status(
            finished, OVER_LIMIT, OVER_LIMIT_IN_A_ROW
        )
        enough = bool(self.settings.max_trials) and len(within_limits) >= (self.settings.max_trials or 0)
        late = (1 - budget.LAST_TRIAL_OVERRUN) * self._expected_cost() > self.seconds_left
        refitted = self.journal.schedule is not None  # the final fits have begun, so nothing else may win any more
        self.out_of_time = late and not (hopeless or enough or refitted)
        if late or hopeless or enough or refitted:
            raise SearchEndedError

    def _expected_cost(self) -> float:
        """The seconds of the budget that the next trial will take if it is neither pruned nor fails; 0 before the first one."""
        costs = [self.cost(trial) for trial in self.journal.trials if trial.may_win]
        return statistics.median(costs) if costs else 0.0

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Train one set of hyperparameters.

        Args:
            trial: Keras Tuner's trial.

        Returns:
            The objective; NaN for a trial that failed or was not trained, which the Oracle then counts as failed.

        Raises:
            FatalError: when the store or the journal fails. Keras Tuner takes any other error for a failure of the trial alone,
                and would go on with the next one without end.
        """
        try:
            record = self._trial_record(trial)
            if not record.finished:
                self._run_tracked(record)
        except Exception as error:
            raise keras_tuner.errors.FatalError from error
        return {self.settings.objective: record.scores[self.settings.objective]}

    def _trial_record(self, oracle_trial: Any) -> Trial:
        """The journal's record of a trial of Keras Tuner's; a new one if it is new. It knows how long the trial is to take."""
        index, proposed_values = int(oracle_trial.trial_id), oracle_trial.hyperparameters.values
        if index == len(self.journal.trials):
            values = {name: value for name, value in proposed_values.items() if not name.startswith("tuner/")}
            record = Trial(f"trial-{index + 1:02d}", values, given=index <= len(self.task.given_trials))
            record.knew = len(self.journal.finished)
            self.journal.trials.append(record)
        record = self.journal.trials[index]
        self._add_to_space(record)
        if not record.finished:
            rung = proposed_values.get("tuner/epochs", HYPERBAND_EPOCHS) / HYPERBAND_EPOCHS
            # Given values get a whole trial. Hyperband might not promote a short one, and then nothing would tell whether the
            # search found better values.
            record.planned_seconds = (1.0 if record.given else rung) * self.plan.trial_seconds
        return record

    def _add_to_space(self, record: Trial) -> None:
        """Add hyperparameters that only these values declare, such as those of a third layer, to the space and the trial."""
        hp = hyperparameters(record.values)
        # What fails here fails again when the trial begins, and ends it.
        with contextlib.suppress(Exception), keras.StatelessScope(initialize_variables=False):
            record.parameters = self._declare(hp).count_params()
        keras.backend.clear_session(free_memory=False)  # Keras would make the declared weights later
        self.oracle.update_space(hp)
        record.values |= {name: value for name, value in hp.values.items() if not name.startswith("tuner/")}

    def _run_tracked(self, record: Trial) -> None:
        """Run one trial as a nested MLflow run.

        The journal has the result before the run ends, so a finished trial is never run twice. A failed trial ends its run as
        FAILED, and the search goes on. Only an interruption and a failure of the tracking itself leave this function.

        Args:
            record: the trial, which is filled.
        """
        try:
            with tracking.run(*self._run_name_and_tags(record), nested=True) as record.run_id:
                record.starts += 1
                self.journal.save()
                try:
                    self._train(record)
                except Exception as error:
                    process.stop_if_requested()  # a library can turn an interruption into an exception of its own
                    record.status, record.reason = "failed", first_line(error)
                    raise
                finally:
                    self._record_end(record)
                tracking.set_tags(end_tags(record))
        except Exception:
            if not record.finished:  # not the trial's own failure
                raise
        self._log_outcome(record)

    def _run_name_and_tags(self, record: Trial) -> tuple[str, dict[str, str]]:
        name = run_name(record, self.journal.trials[0], self.task.model_name)
        return name, run_tags(record, self.task.experiment.name, self.journal.search)

    def _log_outcome(self, record: Trial) -> None:
        """Tell the user how a trial ended, which one is the best so far, and how many minutes are left."""
        place, objective, best_trial = self.task.place, self.settings.objective, self._best_trial
        separator = " " if record.status == "pruned" else ": "
        score = f"{OBJECTIVES[objective].words} {record.scores[objective]:.4f}"
        outcome = f"{record.status}{separator}{record.reason}" if record.reason else score
        progress = f"{place.prefix}{record.name} of {self._trial_count}  {outcome}  ({record.seconds:.0f} s)"
        best_so_far = f"best so far {best_trial.scores[objective]:.4f} ({best_trial.name}), " if best_trial else ""
        logger.info("  %s; %s%s", progress, best_so_far, place.time_left(self._budget_left, self.plan.budget))

    def _bar_title(self, activity: str) -> str:
        """What a bar says: as little as possible, because the bar stands on the same line."""
        best_trial = self._best_trial
        best_so_far = f"best {best_trial.scores[self.settings.objective]:.3f}, " if best_trial else ""
        return f"{self.task.place.prefix}{activity}, {best_so_far}{self.task.place.time_left(self._budget_left)}"

    @property
    def _trial_count(self) -> str:
        planned = self.settings.max_trials or max(self.plan.trials, len(self.journal.trials))
        return f"{planned}" if self.settings.max_trials else f"~{planned}"

    @property
    def _best_trial(self) -> Trial | None:
        """The best trial so far; None as long as none came to a good end."""
        measure = OBJECTIVES[self.settings.objective]
        candidates = [trial for trial in self.journal.finished if trial.may_win]
        return max(candidates, key=lambda trial: measure.goodness(trial.scores[self.settings.objective]), default=None)

    @property
    def _budget_left(self) -> float:
        """The seconds of the whole budget that are left, those of the final fits included."""
        return self.plan.budget - self.plan.measuring - self.spent

    def _train(self, record: Trial) -> None:
        """Train one trial in the active run, as far as the search has time for it."""
        if record.starts > MOST_STARTS:
            raise MemoryError(f"the process died in this trial {MOST_STARTS} times")
        kept_fits = KeptFits(self._kept_fits(record))
        self.trial_began_at -= kept_fits.seconds  # an earlier process spent them on this trial
        kept_share = len(kept_fits.results) / self.plan.fits  # what else an earlier process trained begins anew
        record.curve = [[share, score] for share, score in record.curve if share <= kept_share]
        record.reason = ""
        comparable_curves = [
            curve for planned_seconds, curve in self._finished_curves() if planned_seconds == record.planned_seconds
        ]
        hooks = FitHooks(
            on_epoch=log_epoch,
            on_hang=self._hang_callback(record),
            title=self._bar_title(f"{record.name}/{self._trial_count}"),
            stop_early=pruning_hook(
                record, self.settings.objective, lambda: comparable_curves, self._is_prunable(record)
            ),
            deadline=self.trial_began_at + self._trial_time_limit(),
        )
        fit_trial(self.task, self.plan, self.throughput, self.settings, record, hooks, kept_fits)

    def _trial_time_limit(self) -> float:
        """After how many seconds a trial that begins now ends, whether it is done or not."""
        if self.throughput.nominal:
            return math.inf
        return self.seconds_left + budget.LAST_TRIAL_OVERRUN * self.plan.trial_seconds

    def _kept_fits(self, record: Trial) -> Path | None:
        """The file of the finished fits of a cross-validated trial."""
        return self.journal.folds / f"{record.name}.npz" if self.task.folds else None

    def _is_prunable(self, record: Trial) -> bool:
        """Whether a trial may end early: not if a user gave its values, which others are compared with or which are wanted."""
        return self.settings.prune and not record.given

    def _finished_curves(self) -> list[tuple[float, Curve]]:
        """The curves of finished trials that tell which other trial is hopeless, each with the seconds that were planned."""
        finished = [trial for trial in self.journal.finished if trial.curve and trial.status != "failed"]
        return [(trial.planned_seconds, trial.curve) for trial in finished]

    def _hang_callback(self, record: Trial) -> Callable[[str], None]:
        """What to do when a trial hangs so that only the end of the process helps: it must not be run again."""
        end_run = tracking.failure_callback()

        def end_hanging_trial(reason: str) -> None:
            record.status, record.reason = "failed", reason
            self._set_times(record)
            self.journal.save()
            end_run(reason)

        return end_hanging_trial

    def _record_end(self, record: Trial) -> None:
        if record.finished:
            self._set_times(record)
        else:
            record.starts -= 1  # the process was told to stop, which is no fault of the trial
        if self._save_end(record) and record.finished and (path := self._kept_fits(record)):
            path.unlink(missing_ok=True)

    def _set_times(self, record: Trial) -> None:
        """Set how long a trial that has just come to its end took, and its place among those that ended."""
        record.seconds = time.monotonic() - self.trial_began_at
        record.ended = len(self.journal.finished)
        record.minutes = sum(trial.seconds for trial in self.journal.finished) / 60

    def _save_end(self, record: Trial) -> bool:
        """Save the journal at the end of a trial, and say whether that worked.

        A full disk must neither fail the trial nor hide why it was stopped. The next save has all of it.
        """
        try:
            self.journal.save()
        except OSError as error:
            warnings.warn(
                f"{self.journal.path} cannot be written ({error.strerror}); an interruption now loses {record.name}",
                stacklevel=2,
            )
            return False
        return True


def _last_have_status(trials: Sequence[Trial], status: str, count: int) -> bool:
    """Whether the last so many trials have this status."""
    return [trial.status for trial in trials[-count:]] == [status] * count
