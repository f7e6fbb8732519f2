"""Final fits beside each other: workers train them, and all that follows from a trained network is done here."""

import logging
import math
import warnings
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlproject import disk, tracking
from mlproject.cluster.attempts import Attempts, Hung
from mlproject.cluster.pool import Lost, Pool
from mlproject.cluster.worker import FinalOrder
from mlproject.final.cross_validation import fold_checkpoint, kept_folds
from mlproject.final.refit import FinalFit, TrainedByWorker, plan_schedule, refit, run_of
from mlproject.search.journal import Journal
from mlproject.search.result import SearchResult
from mlproject.search.tuner import MOST_STARTS
from mlproject.task import Task
from mlproject.training.fit import FitResult
from mlproject.training.schedule import describe_schedule
from mlproject.training.watchdog import StalledError

logger = logging.getLogger(__name__)


def refit_beside(
    tasks: Sequence[Task], found: SearchResult, journal: Journal, seconds: float, params: Mapping[str, Any], pool: Pool
) -> list[FinalFit]:
    """Refit the winner with the seed of each task; the model of the first one is registered.

    Checkpoints come here, so a fit whose worker is lost goes on elsewhere, and so does one of a driver that was killed.

    Args:
        tasks: the experiment with each of the seeds.
        found: the search's result.
        journal: keeps the schedule, the checkpoints and what was finished.
        seconds: the time for each fit.
        params: the settings of the command, which are logged as parameters.
        pool: the workers.

    Returns:
        The fits, in the order of the tasks.
    """
    schedule = plan_schedule(tasks[0], found, journal, seconds)
    logger.info("  final fits train on training and validation images: %s", describe_schedule(schedule))
    first, by_seed, plan = tasks[0], {task.seed: task for task in tasks}, found.plan
    waiting = [seed for seed in by_seed if str(seed) not in journal.fits]
    orders = {seed: FinalOrder(seed, None, found.values, schedule, None) for seed in waiting}

    def say(what: str, folds: int = 0) -> None:
        """Tell the user what is done, and how many minutes so many folds and the seeds without a fit may still take."""
        undone = folds, len(tasks) - len(journal.fits)
        left = sum(math.ceil(fits / plan.final_workers) for fits in undone) * seconds
        logger.info("  %s%s; %s", first.place.prefix, what, first.place.left(left, plan.budget))

    if first.folds and first.seed in waiting:
        _cross_validate(first, orders[first.seed], journal, pool, say)
    say(f"{len(journal.fits)} of {len(tasks)} final fits done")

    def open_run(seed: int) -> str:
        return tracking.open_run(**run_of(by_seed[seed], journal, seed == first.seed))

    def finish(seed: int, trained: Any) -> None:
        refit(by_seed[seed], found, journal, seconds, params, seed == first.seed, TrainedByWorker(*trained))
        say(f"{len(journal.fits)} of {len(tasks)} final fits done")

    _train(first, orders, pool, journal.checkpoint, open_run, finish)
    return [refit(task, found, journal, seconds, params, task is first) for task in tasks]  # all are in the journal


def _cross_validate(
    task: Task, order: FinalOrder, journal: Journal, pool: Pool, say: Callable[[str, int], None]
) -> None:
    """Train the winner on each fold's other images, so that its cross-validation finds all of its fits done."""
    kept = kept_folds(journal)
    done: dict[int, FitResult] = {}
    orders = {fold: replace(order, fold=fold) for fold in range(len(kept.results) + 1, len(task.folds) + 1)}
    checkpoint, count = partial(fold_checkpoint, journal), len(task.folds)

    def say_how_many() -> None:
        finished = len(kept.results) + len(done)
        say(f"cross-validation of the winner: {finished} of {count} fits done", count - finished)

    def keep(fold: int, trained: Any) -> None:
        done[fold] = TrainedByWorker(*trained).result
        while (following := len(kept.results) + 1) in done:
            kept.add(done.pop(following))
            checkpoint(following).unlink(missing_ok=True)
        say_how_many()

    say_how_many()
    _train(task, orders, pool, checkpoint, lambda fold: "", keep)


def _train(
    task: Task,
    orders: Mapping[int, FinalOrder],
    pool: Pool,
    checkpoint: Callable[[int], Path],
    open_run: Callable[[int], str],
    finish: Callable[[int, Any], None],
) -> None:
    """Train the fits of the orders, each from its checkpoint; `finish` gets the key of each and what it returned."""
    attempts, waiting, starts, runs = Attempts(pool), deque(orders), Counter[int](), dict[int, str]()
    try:
        while waiting or attempts:
            while waiting and len(attempts) < pool.size:
                key = waiting.popleft()
                starts[key] += 1
                if starts[key] > MOST_STARTS:
                    raise MemoryError(f"the process died in a final fit {MOST_STARTS} times")
                order = replace(orders[key], state=_read(checkpoint(key)))
                runs[key] = open_run(key)
                attempts.begin(key, runs[key], "train_final", task, order)
            ended = attempts.collect()
            while attempts.states:
                key, state = attempts.states.popitem()
                _keep(checkpoint(key), state)
            for key, result in ended:
                if isinstance(result, Hung | Lost) and runs[key]:  # one that goes on elsewhere opens its run again
                    tracking.close_run(runs[key], "FAILED" if isinstance(result, Hung) else "KILLED", result.reason)
                if isinstance(result, Hung):
                    raise StalledError(result.reason)
                if isinstance(result, Lost):
                    logger.warning("a final fit goes on elsewhere, because its worker was lost: %s", result.reason)
                    waiting.appendleft(key)
                else:
                    finish(key, result)
    finally:
        attempts.give_up()


def _read(checkpoint: Path) -> bytes | None:
    return checkpoint.read_bytes() if checkpoint.exists() else None


def _keep(checkpoint: Path, state: bytes) -> None:
    """Keep a checkpoint that came from a worker. Without room for it the fit goes on, as it does here."""
    try:
        with disk.atomic_write(checkpoint) as part:
            part.write_bytes(state)
    except OSError as error:
        warnings.warn(f"{checkpoint} cannot be written ({error.strerror})", stacklevel=2)
