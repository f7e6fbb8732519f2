"""Measure how batch size, batches in one call, threads and XLA change the throughput on this machine.

    python bench/settings.py --rounds 3          (synthetic images, the shapes of the real ones; 15 minutes on 2 cores)

The table has a row for each setting, changed alone: the throughput of `fit` with full-size images (images per second:
median, minimum and maximum of the rounds), and its ratio to the throughput of the shipped setting in the same round. XLA is
measured in the bare loop of bench/throughput.py, and its ratio is to that loop without XLA. The settings take turns. Each runs
in its own process, because the number of threads can be set only once. A different batch size also changes the accuracy, which
is not measured here.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mlproject import process
from mlproject.discovery import find
from mlproject.task import prepare

import pandas as pd
import tensorflow as tf
from throughput import bare, batches, ours

# Changes of the recipe or of the process (threads in an operation), and whether XLA compiles the training step.
SETTINGS = {
    "as shipped": {},
    "batch_size 128": {"batch_size": 128},
    "batch_size 512": {"batch_size": 512},
    "steps_per_execution 1": {"steps_per_execution": 1},
    "1 thread": {"threads": 1},
    "bare loop": {"xla": False},
    "bare loop, XLA": {"xla": True},
}


def speed(experiment: str, steps: int, change: Mapping[str, object]) -> float:
    """Images per second of one experiment with one setting; to be called in a new process."""
    change = dict(change)
    if "threads" in change:
        tf.config.threading.set_intra_op_parallelism_threads(change.pop("threads"))
    with tempfile.TemporaryDirectory() as folder:
        (task,) = prepare(find(experiment), "synthetic", cache=Path(folder))
        way = bare if "xla" in change else ours
        return way(task, batches(task, steps), **change)


def rows(experiment: str, rounds: int, steps: int) -> list[dict[str, object]]:
    """The rows of one experiment."""
    found = {name: [] for name in SETTINGS}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for _ in range(rounds):
            for name, change in SETTINGS.items():
                found[name].append(fresh.submit(speed, experiment, steps, change).result())
    table = []
    for name, speeds in found.items():
        usual = found["bare loop" if "xla" in SETTINGS[name] else "as shipped"]
        ratios = [changed / other for changed, other in zip(speeds, usual, strict=True)]
        shown = f"{statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f})"
        row = {"experiment": experiment, "setting": name, "images/s": shown}
        table.append(row | {"times as fast": round(statistics.median(ratios), 2)})
    return table


def main() -> None:
    """Print the table of the experiments that train from random weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="cifar100-fine-cnn,fashion-mnist-cnn,fashion-mnist-mlp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="executions of the compiled step in a round")
    options = parser.parse_args()
    table = [row for one in find(options.experiment) for row in rows(one.name, options.rounds, options.steps)]
    print(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
