"""Measure how much time the feature cache saves: trials of VGG16's head on cached activations and with the frozen base.

    python bench/features.py --images 3000 --trials 10 --epochs 3          (10 minutes on 2 cores)

Both train the same head with the same schedule, learning rates and loss, on the first `--images` training images of
Fashion-MNIST, and without XLA. The cache is empty at the start, so the time of the first trial includes the computation
of the activations. The validation accuracies (on 1,000 other images) are means over the trials; the deviation is the
standard deviation of one trial. The two ways differ in the order of the batches, and cached activations are stored as float16.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mlproject import process
from mlproject.discovery import find
from mlproject.recipe import Recipe
from mlproject.task import Task, prepare
from mlproject.training.features import FeatureCache
from mlproject.training.fit import compile_for, fit
from mlproject.training.schedule import StageSchedule

import keras
import numpy as np
import pandas as pd

VALIDATION = 1000


def head_only(task: Task, seed: int) -> tuple[keras.Model, Recipe]:
    """The network of a trial, and its recipe with only the first stage, feature extraction."""
    model, recipe = replace(task, seed=seed).network(task.experiment.best)
    return model, replace(recipe, stages=recipe.stages[:1])


def cached(task: Task, schedule: dict[str, StageSchedule], seed: int) -> float:
    """Train by our fit on activations from the cache; returns the validation accuracy."""
    model, recipe = head_only(task, seed)
    done = fit(model, recipe, schedule, replace(task, seed=seed).fit_data(task.train, task.validation))
    return done.history["val_accuracy"].iloc[-1]


def frozen(task: Task, schedule: dict[str, StageSchedule], seed: int) -> float:
    """Train the whole network with a frozen base by Keras' `fit`, as in tutorials; returns the validation accuracy."""
    model, recipe = head_only(task, seed)
    (stage,), (length,) = recipe.stages, schedule.values()
    names = [layer.name for layer in model.layers]
    for layer in model.layers[: names.index(stage.frozen_through) + 1]:
        layer.trainable = False
    compile_for(stage, model, recipe, length)
    data, targets = task.data, keras.utils.to_categorical(task.data.train_labels)
    rows = task.train[: length.steps * recipe.batch_size]  # whole batches, as many as for `cached`
    history = model.fit(
        data.train_images[rows],
        targets[rows],
        batch_size=recipe.batch_size,
        epochs=length.epochs,
        validation_data=(data.train_images[task.validation], targets[task.validation]),
        verbose=0,
    )
    return history.history["val_accuracy"][-1]


def main() -> None:
    """Print the minutes and accuracies of both ways, and the ratio of the minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (task,) = prepare(find("fashion-mnist-vgg16"), options.data, options.data_dir, cache=Path(folder))
        used = np.arange(options.images + VALIDATION)
        data = replace(task.data, train_images=task.data.train_images[used], train_labels=task.data.train_labels[used])
        task = replace(task, data=data, features=FeatureCache(Path(folder), data))
        task = replace(task, train=used[: options.images], validation=used[options.images :])
        recipe = head_only(task, 0)[1]
        schedule = {recipe.stages[0].name: StageSchedule(options.epochs, options.images // recipe.batch_size)}
        for name, way in (("feature cache", cached), ("frozen base", frozen)):
            began = time.monotonic()
            accuracies = pd.Series([way(task, schedule, seed) for seed in range(options.trials)])
            minutes = (time.monotonic() - began) / 60
            row = {"way": name, "trials": options.trials, "minutes": minutes}
            rows.append(row | {"validation accuracy": accuracies.mean(), "deviation": accuracies.std()})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    print(f"ratio: {rows[1]['minutes'] / rows[0]['minutes']:.1f}")


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
