"""Measure the throughput of `fit`, compared with a bare TensorFlow loop over the same network and the machine's peak.

    python bench/throughput.py --rounds 5          (synthetic images, the shapes of the real ones; 3 minutes on 2 cores)

The bare loop runs training steps and nothing else: no Keras `fit`, no callbacks, no augmentation, no metrics. It computes
TensorFlow's own convolutions, while `fit` has those with fewer multiplications where they are faster. Both run in turn, round by
round, so that changes in the machine's speed affect both. A row has the medians of the rounds, and the minimum and maximum of
the ratios. The peak is the rate at which two square matrices are multiplied. A training step counts as three forward passes of
TensorFlow's own convolutions.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mlproject import process
from mlproject.discovery import find
from mlproject.networks.cost import count_multiply_adds
from mlproject.task import Task, prepare
from mlproject.training.fit import fit
from mlproject.training.optimizers import make_optimizer
from mlproject.training.schedule import StageSchedule

import keras
import pandas as pd
import tensorflow as tf

SIDE, PRODUCTS = 3072, 8  # the size of the matrices that measure the peak rate, and the number of products
WARM_UP = 4  # steps before the measurement, in which TensorFlow traces the graph and oneDNN chooses its kernels


def peak() -> float:
    """Multiply-adds per second in products of square float32 matrices."""
    matrix = tf.random.uniform((SIDE, SIDE))
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    product()
    began = time.monotonic()
    for _ in range(PRODUCTS):
        product()
    return PRODUCTS * SIDE**3 / (time.monotonic() - began)


def batches(task: Task, executions: int) -> int:
    """The number of batches in the given number of executions of the compiled training step."""
    return executions * task.recipe(task.experiment.best).steps_per_execution


def ours(task: Task, count: int, **changes) -> float:
    """Images per second of `fit` over `count` batches, with augmentation, callbacks and metrics, as `fit` measures it.

    `changes` replaces fields of the recipe.
    """
    model, recipe = task.network(task.experiment.best)
    recipe = replace(recipe, progressive_resizing=(), **changes)  # the bare loop has full-size images
    schedule = {stage.name: StageSchedule(1, count) for stage in recipe.stages}
    done = fit(model, recipe, schedule, task.fit_data(task.train, None))
    return done.images_per_second[recipe.stages[-1].name]


def bare(task: Task, count: int, xla: bool = False) -> float:
    """Images per second of a hand-written loop with the same network, batch size and optimizer."""
    model, recipe = task.network(task.experiment.best)
    optimizer = make_optimizer(recipe.optimizer, 1e-4, recipe.weight_decay)
    loss = keras.losses.CategoricalCrossentropy()
    labels = tf.one_hot(task.data.train_labels, len(task.data.class_names))
    batches = tf.data.Dataset.from_tensor_slices((task.data.train_images, labels)).shuffle(3000).repeat()
    batches = iter(batches.batch(recipe.batch_size, drop_remainder=True).prefetch(2))

    @tf.function(jit_compile=xla)
    def step(images, targets):
        with tf.GradientTape() as tape:
            value = loss(targets, model(images, training=True))
        weights = model.trainable_variables
        optimizer.apply(tape.gradient(value, weights), weights)

    for _ in range(WARM_UP):
        step(*next(batches))
    began = time.monotonic()
    for _ in range(count):
        step(*next(batches))
    return count * recipe.batch_size / (time.monotonic() - began)


def row(task: Task, rounds: int, steps: int) -> dict[str, object]:
    """The row of one experiment."""
    count = batches(task, steps)
    pairs = [(ours(task, count), bare(task, count), peak()) for _ in range(rounds)]
    ratios = [mine / other for mine, other, _ in pairs]
    mine, other, most = map(statistics.median, zip(*pairs, strict=True))
    work = list(count_multiply_adds(*task.network(task.experiment.best)).values())[-1]
    return {
        "experiment": task.experiment.name,
        "fit, images/s": f"{mine:.0f}",
        "bare loop, images/s": f"{other:.0f}",
        "ratio": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "peak, GFLOP/s": f"{2 * most / 1e9:.0f}",
        "share of the peak": f"{3 * work * mine / most:.0%}",
    }


def main() -> None:
    """Print the table of the experiments that train from random weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="cifar100-fine-cnn,fashion-mnist-cnn,fashion-mnist-mlp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="executions of the compiled step in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tasks = prepare(find(options.experiment), "synthetic", cache=Path(folder))
        rows = [row(task, options.rounds, options.steps) for task in tasks]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
