"""Measure what each trial costs the driver and the server, and simulate a search of 1,000 trials on many machines.

    python bench/scaling.py --workers 1,8,32 --trials 16,64,1000          (a quarter of an hour on 2 cores)
    python bench/scaling.py --tuner bayesian --workers 8 --trials 64          (more trials take far longer, see bench/README.md)

Toy workers take the place of Ray's. A trial of theirs takes `--seconds` by the clock; meanwhile it posts what a real trial of
the experiment has logged, and then it ends with that trial's result. Everything else is what `tune` runs: the Oracle, the
journal, and a real MLflow server on an SQLite file, without its jobs, as in deploy/. The first table has a row for each number
of workers: the seconds that each trial keeps the driver busy (its work and its waiting for the server), also for the first and
for the last tenth of the trials, the CPU seconds of the server, the requests, and the kilobytes sent.

The second table simulates `--simulated` trials of `--minutes` on 1, 10 and 100 machines with these costs, which grow with the
number of finished trials as measured in the last search. Trials differ in length by a tenth (standard deviation), and the driver
serves one trial after the other. Images reach the machines in rounds: each that has them sends them to another one.
"""

import argparse
import contextlib
import heapq
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mlproject import process, tracking
from mlproject.cluster.board import Post
from mlproject.cluster.worker import TrialOrder, train_trial
from mlproject.discovery import find
from mlproject.networks.cost import Throughput
from mlproject.search import fingerprint
from mlproject.search.journal import Trial, open_journal
from mlproject.search.parallel import FIELDS_UNKNOWN_TO_WORKERS
from mlproject.search.search import search
from mlproject.settings import TUNERS, Settings
from mlproject.task import Task, prepare
from mlproject.training.throughput import measure_throughput

import numpy as np
import pandas as pd
import psutil
from servers import started
from traffic import Traffic

IMPORT_SECONDS = 15.0  # until a fresh worker has imported TensorFlow
BYTES_PER_SECOND = 125e6  # of a network of 1 Gbit/s


class Silent:
    """What a worker posts to while the model trial is trained: nobody."""

    def post(self, *given: object, **more: object) -> list:
        return []

    def post_hang(self, reason: str) -> None:
        raise RuntimeError(reason)


@dataclass(eq=False)
class Fit:
    """A toy trial under way."""

    attempt: str
    order: TrialOrder
    began: float
    posted: int = 0


class ToyPool:
    """Workers that wait in place of training; a `cluster.pool.Pool` for the search."""

    local, share, nodes = False, None, {"toy": {}}

    def __init__(self, size: int, seconds: float, server: psutil.Process):
        self.size, self.seconds, self.server = size, seconds, server
        self.model: tuple[Trial, list[dict[str, Any]]] | None = None
        self.under_way: list[Fit] = []
        self.began = self.returned = 0.0
        self.busy: list[float] = []  # the driver's seconds between two waits
        self.ended: list[int] = []  # how many trials had ended at each of these
        self.done = 0

    def __str__(self) -> str:
        return f"{self.size} toy workers"

    def get_ready(self, task: Task) -> None:
        """Toys are always ready."""

    def measure(self, task: Task, values: Any, seconds: float) -> Throughput:
        return measure_throughput(*task.network(values), task.fit_data(task.train, None), seconds)

    def trains_final_fits(self, count: int) -> bool:
        return False

    def submit(self, function: str, task: Task, attempt: str, order: TrialOrder) -> Fit:
        if self.model is None:
            short = replace(order.plan, trial_seconds=self.seconds)
            record = replace(order.record, planned_seconds=self.seconds)
            with tracking.record() as items:
                self.model = train_trial(task, Silent(), replace(order, record=record, plan=short)), items
            self.began = self.returned = time.monotonic()
            self.server_began = cpu_seconds(self.server)
        self.under_way.append(Fit(attempt, order, time.monotonic()))
        return self.under_way[-1]

    def wait(self, handles: Sequence[Fit], seconds: float) -> list[tuple[Fit, Any]]:
        now = time.monotonic()
        self.busy.append(now - self.returned)
        self.ended.append(self.done)
        time.sleep(max(min(seconds, min(one.began for one in handles) + self.seconds - now), 0))
        now = time.monotonic()
        done = [one for one in handles if now >= one.began + self.seconds]
        self.under_way = [one for one in self.under_way if one not in done]
        self.done += len(done)
        self.returned = now
        return [(one, (self._result(one), self.model[1])) for one in done]

    def _result(self, fit: Fit) -> Trial:
        """The trial's own record, with what the model trial found and a score of its own."""
        record = deepcopy(fit.order.record)
        for one in fields(Trial):
            if one.name not in (*FIELDS_UNKNOWN_TO_WORKERS, "name", "values", "planned_seconds", "given"):
                setattr(record, one.name, getattr(self.model[0], one.name))
        record.val_accuracy = random.Random(record.name).uniform(0.5, 0.8)
        return record

    def take_posts(self) -> list[Post]:
        """What each trial has logged by now, spread over its seconds."""
        items, found = self.model[1], []
        for fit in self.under_way:
            due = int(len(items) * (time.monotonic() - fit.began) / self.seconds)
            new = {number: items[number] for number in range(fit.posted, min(due, len(items)))}
            fit.posted = max(due, fit.posted)
            if new:
                found.append(Post(fit.attempt, "toy", new))
        return found

    def show(self, curves: list) -> None:
        """Toys prune nothing."""

    def cancel(self, handles: Sequence[Fit]) -> None:
        """Toys end by themselves."""


def cpu_seconds(main: psutil.Process) -> float:
    """The CPU seconds of a process and its children."""
    return sum(sum(one.cpu_times()[:2]) for one in [main, *main.children(recursive=True)])


def measured(
    task: Task, tuner: str, workers: int, trials: int, seconds: float, main: psutil.Process, traffic: Traffic
) -> dict:
    """Search with toy workers; returns a row of the first table."""
    pool = ToyPool(workers, seconds, main)
    settings = Settings(tuner=tuner, budget_minutes=600, max_trials=trials, data=task.data_kind, prune=False)
    name = f"{workers} workers"
    with (
        open_journal(Path("journals"), name, fingerprint.take(task, {}, tracking.address())) as journal,
        tracking.run(name, {"role": "search", "search": journal.search}),
    ):
        traffic.clear()
        search(task, journal, settings, pool)  # type: ignore[arg-type]
    wall = pool.returned - pool.began
    busy, ended = np.array(pool.busy), np.array(pool.ended)
    whole = trials - workers  # after so many ends, no trial begins any more
    tenth = max(whole // 10, 1)
    return {
        "workers": workers,
        "trials": trials,
        "minutes": wall / 60,
        "without a driver": math.ceil(trials / workers) * seconds / 60,
        "driver, s/trial": busy.sum() / trials,
        "first tenth": busy[(ended > 0) & (ended <= tenth)].sum() / tenth,
        "last tenth": busy[(ended > whole - tenth) & (ended <= whole)].sum() / tenth,
        "server, CPU s/trial": (cpu_seconds(main) - pool.server_began) / trials,
        "requests/trial": traffic.requests / trials,
        "KB/trial": traffic.sent / 1000 / trials,
    }


def simulated(trials: int, machines: int, seconds: float, costs: tuple[float, float], megabytes: float) -> dict:
    """Simulate a search; `costs` are the driver's seconds for the first trial, and how many more for each trial after it."""
    rng = np.random.default_rng(0)
    start = IMPORT_SECONDS + math.ceil(math.log2(machines + 1)) * megabytes * 1e6 / BYTES_PER_SECOND
    free = [start] * machines
    driver = busy = 0.0
    for number in range(trials):
        asked = heapq.heappop(free)
        cost = costs[0] + costs[1] * number
        driver = max(driver, asked) + cost
        busy += cost
        heapq.heappush(free, driver + seconds * max(rng.normal(1, 0.1), 0.1))
    end = max(free)
    return {
        "machines": machines,
        "minutes of a trial": seconds / 60,
        "hours": end / 3600,
        "speed-up": trials * seconds / end,
        "driver busy, %": 100 * busy / end,
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="cifar100-fine-cnn")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--tuner", default="random", choices=TUNERS)
    parser.add_argument("--workers", default="1,8,32")
    parser.add_argument("--trials", default="16,64,1000", help="of each search")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--simulated", type=int, default=1000)
    parser.add_argument("--minutes", default="1.2,10", help="of a simulated trial")
    parser.add_argument("--megabytes", type=float, default=184, help="of the images; the default is CIFAR-100")
    options = parser.parse_args()
    (experiment,) = find(options.experiment)
    numbers = [tuple(map(int, text.split(","))) for text in (options.workers, options.trials)]
    if len(numbers[0]) != len(numbers[1]) or any(trials <= workers for workers, trials in zip(*numbers, strict=True)):
        parser.error("arguments --workers, --trials: accepted: as many of both, and more trials than workers each time")
    (task,) = prepare([experiment], options.data, options.data_dir)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # its processes would count as the server's
        command = ["mlflow", "server", "--workers", "2", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        command += ["--artifacts-destination", f"{folder}/artifacts"]
        address, server = stack.enter_context(started(folder, "/health", *command))
        stack.enter_context(contextlib.chdir(folder))
        os.environ["MLFLOW_TRACKING_URI"] = address
        main_process = psutil.Process(server.pid)
        tracking.use_comparison(tracking.connect(), "scaling")
        traffic = Traffic()
        rows = [
            measured(task, options.tuner, *pair, options.seconds, main_process, traffic)
            for pair in zip(*numbers, strict=True)
        ]
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    last = rows[-1]
    growth = (last["last tenth"] - last["first tenth"]) / (0.9 * (last["trials"] - last["workers"]))
    costs = last["first tenth"], max(growth, 0.0)
    simulations = [
        simulated(options.simulated, machines, 60 * float(minutes), costs, options.megabytes)
        for minutes in options.minutes.split(",")
        for machines in (1, 10, 100)
    ]
    print(pd.DataFrame(simulations).round(2).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
