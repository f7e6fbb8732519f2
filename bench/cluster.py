"""Measure what Ray itself costs: its start, each of its tasks, and the data that the driver and its workers exchange.

    python bench/cluster.py --rounds 5 --repeats 20          (a few minutes on 2 cores)

Each round starts Ray with two workers, as `tune` does, and stops it. What a command does once is measured once in each round:
it puts the images of a data set into the object store, from which each worker fetches them. The rest is measured `--repeats`
times in each round, one after the other, so that nothing else runs meanwhile.

The table has the mean and the standard deviation of the times. MB/s is the size divided by the mean time, in which weights
travel twice: to a worker and back, or to the board and to the driver. All workers are on this machine, where the object store
is memory that processes share: a worker that fetches images copies nothing, and reading them for the first time maps their
pages. Between machines, the network's time comes on top.
"""

import argparse
import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from mlproject import process
from mlproject.cluster.board import Post
from mlproject.cluster.pool import Pool, open_pool, require_ray
from mlproject.discovery import find
from mlproject.settings import Settings
from mlproject.task import Task, prepare

import numpy as np
import pandas as pd

SETTINGS = Settings(workers=2, data="synthetic")
IMAGES = 50_000, 32, 32, 3  # of uint8, as the training images of CIFAR-100
WEIGHTS = 4, 750, 750  # of float32: four arrays, 9 MB together
MEGABYTES = {"images": np.prod(IMAGES) / 1e6, "weights": 4 * np.prod(WEIGHTS) / 1e6}

Seconds = dict[str, list[float]]  # by what was measured


def timed(found: list[float], call: Callable[[], Any]) -> Any:
    """Call something, and add the seconds that it took to a list."""
    began = time.perf_counter()
    result = call()
    found.append(time.perf_counter() - began)
    return result


def do_nothing() -> None:
    """The smallest task."""


def give_back(weights: list[np.ndarray]) -> list[np.ndarray]:
    """A task that takes and returns weights."""
    return weights


def fetch(references: list[Any]) -> tuple[float, float]:
    """Fetch images and read all of them; returns the seconds until each was done.

    Ray fetches an argument that is a reference before it calls a function, but not one in a list.
    """
    import ray

    began = time.perf_counter()
    images = ray.get(references[0])
    fetched = time.perf_counter() - began
    images.reshape(-1).view(np.uint64).sum()
    return fetched, time.perf_counter() - began


def wait_for_task(pool: Pool, task: Task) -> None:
    """Send a task of this project with its parcel; the worker posts where it is, and has nothing else to do."""
    handle = pool.submit("get_ready", task, "")
    while not pool.wait([handle], 10):
        pass


def post_and_take(pool: Pool, state: bytes) -> None:
    """Post a checkpoint, as a worker does, and take it from the board, as the driver does."""
    import ray

    ray.get(pool.board.post.remote(Post("fit", state=state)))
    assert any(post.state for post in pool.take_posts())


def send_data(seconds: Seconds, images: np.ndarray) -> None:
    """Measure what a command does once."""
    import ray

    reference = timed(seconds["images: put into the object store"], lambda: ray.put(images))
    fetched, read = ray.get(ray.remote(num_cpus=1)(fetch).remote([reference]))
    seconds["images: fetched by a worker"].append(fetched)
    seconds["images: fetched and read once"].append(read)


def measure_round(seconds: Seconds, task: Task, images: np.ndarray, weights: list[np.ndarray], repeats: int) -> None:
    """Start Ray, measure everything, and stop Ray."""
    import ray

    state = b"".join(one.tobytes() for one in weights)
    with contextlib.ExitStack() as stack:
        pool = timed(seconds["Ray starts"], lambda: stack.enter_context(open_pool(SETTINGS)))
        timed(seconds["two workers start, import TensorFlow and unpack a task"], lambda: pool.get_ready(task))
        send_data(seconds, images)
        nothing, back = (ray.remote(num_cpus=1, max_retries=0)(function) for function in (do_nothing, give_back))
        for number in range(repeats + 1):
            found = seconds if number else defaultdict(list)  # the first time, Ray also sends the functions
            timed(found["a task that does nothing"], lambda: ray.get(nothing.remote()))
            timed(found["a task of this project that does nothing"], lambda: wait_for_task(pool, task))
            timed(found["weights: sent to a task and returned"], lambda: ray.get(back.remote(weights)))
            timed(found["weights: posted on the board and taken"], lambda: post_and_take(pool, state))


def main() -> None:
    """Print a row for each thing that was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="cifar100-fine-cnn", help="of the task; its data are synthetic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    if options.rounds < 2 or options.repeats < 1:
        parser.error("arguments --rounds, --repeats: accepted: 2 rounds or more, and 1 repeat or more")
    require_ray(SETTINGS)
    (task,) = prepare(find(options.experiment), SETTINGS.data)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, IMAGES, np.uint8)
    weights = list(rng.random(WEIGHTS, np.float32))
    seconds: Seconds = defaultdict(list)
    for _ in range(options.rounds):
        measure_round(seconds, task, images, weights, options.repeats)
    rows = []
    for what, found in seconds.items():
        row = {"what": what, "n": len(found), "mean, ms": 1000 * np.mean(found), "sd, ms": 1000 * np.std(found, ddof=1)}
        if megabytes := MEGABYTES.get(what.partition(":")[0]):
            row |= {"MB": megabytes, "MB/s": megabytes / np.mean(found)}
        rows.append(row)
    print(pd.DataFrame(rows).round(2).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
