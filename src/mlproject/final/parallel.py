"""Final fits at the same time: workers train them, and all that follows from a trained network is done here."""

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
from mlproject.final.refit import FinalFit, TrainedByWorker, plan_schedule, refit, run_options
from mlproject.search.journal import Journal
from mlproject.search.result import SearchResult
from mlproject.search.tuner import MOST_STARTS
from mlproject.task import Task
from mlproject.training.fit import FitResult
from mlproject.training.schedule import describe_schedule
from mlproject.training.watchdog import StalledError

logger = logging.getLogger(__name__)


def refit_in_parallel(
    tasks: Sequence[Task], search: SearchResult, journal: Journal, seconds: float, params: Mapping[str, Any], pool: Pool
) -> list[FinalFit]:
    """Refit the winner with the seed of each task; the model of the first one is registered.

    Checkpoints come here, so a fit whose worker is lost goes on elsewhere, and so does one of a driver that was killed.

    Args:
        tasks: the experiment with each of the seeds.
        search: the search's result.
        journal: keeps the schedule, the checkpoints and what was finished.
        seconds: the time for each fit.
        params: the settings of the command, which are logged as parameters.
        pool: the workers.

    Returns:
        The fits, in the order of the tasks.
    """
    schedule = plan_schedule(tasks[0], search, journal, seconds)
    batch_size, images = tasks[0].recipe(search.values).batch_size, len(tasks[0].data.train_images)
    description = describe_schedule(schedule, batch_size, images)
    logger.info("  final fits train on training and validation images: %s", description)
    first_task, tasks_by_seed, plan = tasks[0], {task.seed: task for task in tasks}, search.plan
    seeds = [seed for seed in tasks_by_seed if str(seed) not in journal.fits]
    orders = {seed: FinalOrder(seed, None, search.values, schedule, None) for seed in seeds}

    def log_progress(message: str, folds: int = 0) -> None:
        """Tell the user what is done, and how many minutes so many folds and the seeds without a fit may still take."""
        fit_counts = folds, len(tasks) - len(journal.fits)
        seconds_left = sum(math.ceil(fits / plan.final_workers) for fits in fit_counts) * seconds
        logger.info(
            "  %s%s; %s", first_task.place.prefix, message, first_task.place.time_left(seconds_left, plan.budget)
        )

    if first_task.folds and first_task.seed in seeds:
        _cross_validate(first_task, orders[first_task.seed], journal, pool, log_progress)
    log_progress(f"{len(journal.fits)} of {len(tasks)} final fits done")

    def open_run(seed: int) -> str:
        return tracking.open_run(**run_options(tasks_by_seed[seed], journal, seed == first_task.seed))

    def finish(seed: int, trained: Any) -> None:
        refit(tasks_by_seed[seed], search, journal, seconds, params, seed == first_task.seed, TrainedByWorker(*trained))
        log_progress(f"{len(journal.fits)} of {len(tasks)} final fits done")

    _train_all(first_task, orders, pool, journal.checkpoint, open_run, finish)
    # All are in the journal.
    return [refit(task, search, journal, seconds, params, task is first_task) for task in tasks]


def _cross_validate(
    task: Task, order: FinalOrder, journal: Journal, pool: Pool, log_progress: Callable[[str, int], None]
) -> None:
    """Train the winner on each fold's other images, so that its cross-validation finds all of its fits done."""
    kept_fits = kept_folds(journal)
    results: dict[int, FitResult] = {}
    orders = {fold: replace(order, fold=fold) for fold in range(len(kept_fits.results) + 1, len(task.folds) + 1)}
    checkpoint, count = partial(fold_checkpoint, journal), len(task.folds)

    def log_fits_done() -> None:
        finished = len(kept_fits.results) + len(results)
        log_progress(f"cross-validation of the winner: {finished} of {count} fits done", count - finished)

    def add_result(fold: int, trained: Any) -> None:
        results[fold] = TrainedByWorker(*trained).result
        while (next_fold := len(kept_fits.results) + 1) in results:
            kept_fits.add(results.pop(next_fold))
            checkpoint(next_fold).unlink(missing_ok=True)
        log_fits_done()

    log_fits_done()
    _train_all(task, orders, pool, checkpoint, lambda fold: "", add_result)


def _train_all(
    task: Task,
    orders: Mapping[int, FinalOrder],
    pool: Pool,
    checkpoint: Callable[[int], Path],
    open_run: Callable[[int], str],
    finish: Callable[[int, Any], None],
) -> None:
    """Train the fits of the orders, each from its checkpoint; `finish` gets the key of each and what it returned."""
    attempts, waiting_keys, start_counts, run_ids = Attempts(pool), deque(orders), Counter[int](), dict[int, str]()
    try:
        while waiting_keys or attempts:
            while waiting_keys and len(attempts) < pool.size:
                key = waiting_keys.popleft()
                start_counts[key] += 1
                if start_counts[key] > MOST_STARTS:
                    raise MemoryError(f"the process died in a final fit {MOST_STARTS} times")
                order = replace(orders[key], state=_read_checkpoint(checkpoint(key)))
                run_ids[key] = open_run(key)
                attempts.begin(key, run_ids[key], "train_final", task, order)
            finished_fits = attempts.collect()
            while attempts.states:
                key, state = attempts.states.popitem()
                _save_checkpoint(checkpoint(key), state)
            for key, result in finished_fits:
                if isinstance(result, Hung | Lost) and run_ids[key]:  # one that goes on elsewhere opens its run again
                    tracking.close_run(run_ids[key], "FAILED" if isinstance(result, Hung) else "KILLED", result.reason)
                if isinstance(result, Hung):
                    raise StalledError(result.reason)
                if isinstance(result, Lost):
                    logger.warning("a final fit goes on elsewhere, because its worker was lost: %s", result.reason)
                    waiting_keys.appendleft(key)
                else:
                    finish(key, result)
    finally:
        attempts.give_up()


def _read_checkpoint(checkpoint: Path) -> bytes | None:
    return checkpoint.read_bytes() if checkpoint.exists() else None


def _save_checkpoint(checkpoint: Path, state: bytes) -> None:
    """Keep a checkpoint that came from a worker. Without room for it the fit goes on, as it does here."""
    try:
        with disk.atomic_write(checkpoint) as part:
            part.write_bytes(state)
    except OSError as error:
        warnings.warn(f"{checkpoint} cannot be written ({error.strerror})", stacklevel=2)
