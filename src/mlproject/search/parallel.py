"""Trials beside each other: the Oracle, the journal and the store stay here, and workers train the trials.

The Oracle is asked for a trial whenever a worker is free, and told the trials' ends as they come. Which trials it knows when it
proposes the next one therefore depends on the workers' speed, and so do its proposals, except those of random search. The journal
keeps the order, in which the Oracle is asked and told again when the search goes on.
"""

import contextlib
import logging
import time
from dataclasses import fields
from typing import Any

from keras_tuner.engine.trial import TrialStatus
from tqdm import tqdm

from mlproject import tracking
from mlproject.budget import Plan
from mlproject.cluster.attempts import Attempts, Hung
from mlproject.cluster.pool import Lost, Pool
from mlproject.cluster.worker import TrialOrder
from mlproject.networks.cost import Throughput
from mlproject.search.journal import Journal, Trial
from mlproject.search.trial_run import end_tags
from mlproject.search.tuner import MOST_STARTS, SearchEndedError, Tuner
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.monitor import BAR

logger = logging.getLogger(__name__)

FIELDS_UNKNOWN_TO_WORKERS = ("run_id", "starts", "knew", "ended", "minutes")  # of a trial; they are kept here


class ParallelTuner(Tuner):
    """A Tuner whose trials are trained by workers, as many at a time as there is room for.

    Args:
        task, journal, settings, plan, throughput, folder: as for Tuner.
        pool: the workers.
    """

    def __init__(
        self,
        task: Task,
        journal: Journal,
        settings: Settings,
        plan: Plan,
        throughput: Throughput,
        folder: str,
        pool: Pool,
    ):
        super().__init__(task, journal, settings, plan, throughput, folder)
        self.attempts = Attempts(pool)
        self.reported_count = 0  # how many ends of trials the Oracle knows
        for trial in journal.finished:
            trial.ended = trial.ended or len([other for other in journal.trials if other.ended]) + 1
        # Minutes go on where the last finished trial ended: what an interruption lost does not count.
        self.earlier_seconds = journal.trial_seconds
        self.began = time.monotonic()

    @property
    def spent(self) -> float:
        """The seconds of the budget that the search took so far: those of the clock, or the planned ones of its trials."""
        if not self.throughput.nominal:
            return self._seconds
        return sum(self.cost(trial) if trial.finished else trial.planned_seconds for trial in self.journal.trials)

    @property
    def _seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.began

    def _expected_cost(self) -> float:
        """The seconds of the longest whole trial: on a slow node, too, the last trials must come to their end."""
        costs = [self.cost(trial) for trial in self.journal.trials if trial.may_win]
        return max(costs, default=0.0)

    def _run_trials(self) -> None:
        """Keep the workers busy until there is no reason for another trial and the last one has ended."""
        self.attempts.pool.show(self._finished_curves())  # in place of those of the search before
        try:
            with tqdm(total=round(self.plan.search), bar_format=BAR, leave=False, disable=None) as bar:
                while self._begin_trials() or self.attempts:
                    for index, result in self.attempts.collect():
                        with tqdm.external_write_mode():  # the bar makes room for messages
                            self._take_result(self.journal.trials[index], result)
                    bar.n = min(round(self.spent), round(self.plan.search))
                    bar.set_description_str(
                        self._bar_title(f"{len(self.attempts)} of {self._trial_count} trials under way")
                    )
        finally:
            for index in self.attempts.give_up():
                self.journal.trials[index].starts -= 1  # the process was told to stop, which is no fault of the trial

    def _begin_trials(self) -> bool:
        """Begin trials while workers are free; returns False when the Oracle has none now, or there is no reason for another."""
        while len(self.attempts) < self.attempts.pool.size:
            index = len(self.oracle.trials)
            journaled = self.journal.trials[index] if index < len(self.journal.trials) else None
            self._report_ends(journaled.knew if journaled else len(self.journal.finished))
            with contextlib.suppress(SearchEndedError):
                self.pre_create_trial()
                oracle_trial = self.oracle.create_trial(str(index))
                if oracle_trial.status == TrialStatus.RUNNING:
                    record = self._trial_record(oracle_trial)
                    if not record.finished:
                        self._begin_trial(record)
                    continue
            return False
        return True

    def _report_ends(self, count: int) -> None:
        """Tell the Oracle how trials ended, in the order in which they did, until it knows so many."""
        ended_trials = sorted((trial for trial in self.journal.trials if trial.ended), key=lambda trial: trial.ended)
        oracle_trials = dict(
            zip((trial.name for trial in self.journal.trials), self.oracle.trials.values(), strict=False)
        )
        for trial in ended_trials[self.reported_count : count]:
            oracle_trial = oracle_trials[trial.name]
            objective = self.settings.objective
            self.oracle.update_trial(oracle_trial.trial_id, {objective: trial.scores[objective]})
            oracle_trial.status = TrialStatus.COMPLETED  # the Oracle makes a failure of it if its score is NaN
            self.oracle.end_trial(oracle_trial)
            self.reported_count += 1

    def _begin_trial(self, record: Trial) -> None:
        """Hand a trial to a worker. Its run begins here, and goes to the store from here alone."""
        record.run_id = tracking.open_run(*self._run_name_and_tags(record))
        record.starts += 1
        record.curve, record.reason = [], ""
        self.journal.save()
        if record.starts > MOST_STARTS:
            record.status = "failed"
            record.reason = f"MemoryError: the process died in this trial {MOST_STARTS} times"
            self._end_trial(record)
            return
        seconds, prunable = self._trial_time_limit(), self._is_prunable(record)
        order = TrialOrder(record, self.plan, self.throughput, self.settings, seconds, prunable)
        self.attempts.begin(self.journal.trials.index(record), record.run_id, "train_trial", self.task, order)

    def _take_result(self, record: Trial, result: Any) -> None:
        """Take the result of an attempt. A lost one is repeated: what it logged stays in a run of its own."""
        if isinstance(result, Lost):
            logger.warning("%s begins again, because its worker was lost: %s", record.name, result.reason)
            tracking.close_run(record.run_id, "KILLED", f"the worker was lost: {result.reason}")
            self._begin_trial(record)
            return
        if isinstance(result, Hung):
            record.status, record.reason, record.seconds = "failed", result.reason, result.seconds
        else:
            for field in fields(Trial):
                if field.name not in FIELDS_UNKNOWN_TO_WORKERS:
                    setattr(record, field.name, getattr(result, field.name))
        self._end_trial(record)

    def _end_trial(self, record: Trial) -> None:
        """Keep a finished trial, and end its run. The journal has it before the run ends, so it is never run twice."""
        record.ended = len(self.journal.finished)
        record.minutes = self._seconds / 60
        self._save_end(record)
        tracking.log_values(record.run_id, tags=end_tags(record))
        failed = record.status == "failed"
        tracking.close_run(record.run_id, "FAILED" if failed else "FINISHED", record.reason if failed else "")
        self.attempts.pool.show(self._finished_curves())
        self._log_outcome(record)
