"""How fast does `fit` train? Images per second beside a bare TensorFlow loop over the same network, and the share of the peak.

    python bench/throughput.py --rounds 5          (synthetic images, the shapes of the real ones; 3 minutes on 2 cores)

The loop has no Keras `fit`, no callbacks, no augmentation, no averages: what a person would write who wants nothing but
steps. Both run in turn, round by round, so that a machine whose speed drifts does not favour one; a row has the medians of the
rounds and the least and the most of their ratios. The peak is the rate of multiplying two square matrices; a training step is
counted as three forward passes.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mlproject import optimizers, process
from mlproject.experiment import find
from mlproject.recipe import Length
from mlproject.tasks import Task, hyperparameters, prepare
from mlproject.training import fit, multiply_adds

import keras
import pandas as pd
import tensorflow as tf

SIDE, PRODUCTS = 3072, 8  # of the matrices whose product tells the peak rate, and how many are timed
WARM_UP = 4  # executions before the clock starts: tracing, oneDNN's choice of kernels


def peak() -> float:
    """Multiply-adds a second in products of square float32 matrices."""
    matrix = tf.random.uniform((SIDE, SIDE))
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    product()
    began = time.monotonic()
    for _ in range(PRODUCTS):
        product()
    return PRODUCTS * SIDE**3 / (time.monotonic() - began)


def batches(task: Task, executions: int) -> int:
    """How many batches so many calls of the compiled step take."""
    return executions * task.experiment.recipe(hyperparameters(task.experiment.best)).steps_per_execution


def ours(task: Task, count: int, **changes) -> float:
    """Images per second of `fit`, as it measures them itself: augmentation, callbacks and averages are in.

    `count` batches; `changes` are fields of the recipe.
    """
    model, recipe = task.network(task.experiment.best)
    recipe = replace(recipe, sizes=(), **changes)  # the loop knows no smaller images
    plan = {stage.name: Length(1, count) for stage in recipe.stages}
    done = fit(model, recipe, plan, task.data, task.train, None, features=task.features, seed=0)
    return done.speeds[recipe.stages[-1].name]


def bare(task: Task, count: int, xla: bool = False) -> float:
    """Images per second of a hand-written loop over the same network, batch size and optimizer."""
    model, recipe = task.network(task.experiment.best)
    optimizer = optimizers.make(recipe.optimizer, 1e-4, recipe.weight_decay)
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
    """One experiment's line of the table."""
    count = batches(task, steps)
    pairs = [(ours(task, count), bare(task, count), peak()) for _ in range(rounds)]
    ratios = [mine / other for mine, other, _ in pairs]
    mine, other, most = map(statistics.median, zip(*pairs, strict=True))
    work = list(multiply_adds(*task.network(task.experiment.best)).values())[-1]
    return {
        "experiment": task.experiment.name,
        "fit, images/s": f"{mine:.0f}",
        "bare loop, images/s": f"{other:.0f}",
        "ratio": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "peak, GFLOP/s": f"{2 * most / 1e9:.0f}",
        "share of the peak": f"{3 * work * mine / most:.0%}",
    }


def main() -> None:
    """Print the table of the experiments that train from nothing."""
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
    sys.excepthook = process.say_in_one_line
    main()
