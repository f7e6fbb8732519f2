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
from mlproject.search.tuner import MOST_STARTS, SearchEndedError, Tuner
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training.monitor import BAR

logger = logging.getLogger(__name__)

KEPT_HERE = ("run_id", "starts", "knew", "ended", "minutes")  # what a worker does not know of a trial


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
        self.told = 0  # how many ends of trials the Oracle knows
        for trial in journal.finished:
            trial.ended = trial.ended or len([one for one in journal.trials if one.ended]) + 1
        # Minutes go on where the last finished trial ended: what an interruption lost does not count.
        self.before = journal.trial_seconds
        self.began = time.monotonic()

    @property
    def spent(self) -> float:
        """The seconds of the budget that the search took so far: those of the clock, or the planned ones of its trials."""
        if not self.throughput.nominal:
            return self._seconds
        return sum(self.cost(trial) if trial.finished else trial.planned_seconds for trial in self.journal.trials)

    @property
    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.began

    def _expected_cost(self) -> float:
        """The seconds of the longest whole trial: on a slow node, too, the last trials must come to their end."""
        whole = [self.cost(trial) for trial in self.journal.trials if trial.may_win]
        return max(whole, default=0.0)

    def _run_trials(self) -> None:
        """Keep the workers busy until there is no reason for another trial and the last one has ended."""
        self.attempts.pool.show(self._curves())  # in place of those of the search before
        try:
            with tqdm(total=round(self.plan.search), bar_format=BAR, leave=False, disable=None) as bar:
                while self._begin_trials() or self.attempts:
                    for index, result in self.attempts.collect():
                        with tqdm.external_write_mode():  # the bar makes room for messages
                            self._take(self.journal.trials[index], result)
                    bar.n = min(round(self.spent), round(self.plan.search))
                    bar.set_description_str(self._title(f"{len(self.attempts)} of {self._trials} trials under way"))
        finally:
            for index in self.attempts.give_up():
                self.journal.trials[index].starts -= 1  # the process was told to stop, which is no fault of the trial

    def _begin_trials(self) -> bool:
        """Begin trials while workers are free; returns False when the Oracle has none now, or there is no reason for another."""
        while len(self.attempts) < self.attempts.pool.size:
            number = len(self.oracle.trials)
            earlier = self.journal.trials[number] if number < len(self.journal.trials) else None
            self._tell(earlier.knew if earlier else len(self.journal.finished))
            with contextlib.suppress(SearchEndedError):
                self.pre_create_trial()
                asked = self.oracle.create_trial(str(number))
                if asked.status == TrialStatus.RUNNING:
                    record = self._record(asked)
                    if not record.finished:
                        self._begin(record)
                    continue
            return False
        return True

    def _tell(self, count: int) -> None:
        """Tell the Oracle how trials ended, in the order in which they did, until it knows so many."""
        ended = sorted((trial for trial in self.journal.trials if trial.ended), key=lambda trial: trial.ended)
        by_record = dict(zip((trial.name for trial in self.journal.trials), self.oracle.trials.values(), strict=False))
        for record in ended[self.told : count]:
            asked = by_record[record.name]
            objective = self.settings.objective
            self.oracle.update_trial(asked.trial_id, {objective: record.scores[objective]})
            asked.status = TrialStatus.COMPLETED  # the Oracle makes a failure of it if its score is NaN
            self.oracle.end_trial(asked)
            self.told += 1

    def _begin(self, record: Trial) -> None:
        """Hand a trial to a worker. Its run begins here, and goes to the store from here alone."""
        record.run_id = tracking.open_run(self._run_name(record), self._run_tags(record))
        record.starts += 1
        record.curve, record.reason = [], ""
        self.journal.save()
        if record.starts > MOST_STARTS:
            record.status = "failed"
            record.reason = f"MemoryError: the process died in this trial {MOST_STARTS} times"
            self._end(record)
            return
        seconds, prunable = self._seconds_for_a_trial(), self._is_prunable(record)
        order = TrialOrder(record, self.plan, self.throughput, self.settings, seconds, prunable)
        self.attempts.begin(self.journal.trials.index(record), record.run_id, "train_trial", self.task, order)

    def _take(self, record: Trial, result: Any) -> None:
        """Take the result of an attempt. A lost one is repeated: what it logged stays in a run of its own."""
        if isinstance(result, Lost):
            logger.warning("%s begins again, because its worker was lost: %s", record.name, result.reason)
            tracking.close_run(record.run_id, "KILLED", f"the worker was lost: {result.reason}")
            self._begin(record)
            return
        if isinstance(result, Hung):
            record.status, record.reason = "failed", result.reason
        else:
            for one in fields(Trial):
                if one.name not in KEPT_HERE:
                    setattr(record, one.name, getattr(result, one.name))
        self._end(record)

    def _end(self, record: Trial) -> None:
        """Keep a finished trial, and end its run. The journal has it before the run ends, so it is never run twice."""
        record.ended = len(self.journal.finished)
        record.minutes = self._seconds / 60
        self.journal.save()
        tracking.log_values(record.run_id, tags=self._end_tags(record))
        failed = record.status == "failed"
        tracking.close_run(record.run_id, "FAILED" if failed else "FINISHED", record.reason if failed else "")
        self.attempts.pool.show(self._curves())
        self._say(record)
