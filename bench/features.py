"""What does the feature cache save? Trials of VGG16's head on cached activations, and by `fit` through the frozen base.

    python bench/features.py --images 3000 --trials 10 --epochs 3          (10 minutes on 2 cores)

Both train the same head with the same plan, rates and loss, on the first so many training images of Fashion-MNIST, and without
XLA. The cache is empty when it begins, so that the first of its trials pays for the activations. The validation accuracies (1,000
other images) are means over the trials, which differ by the order of the batches and the activations' float16, beside one
trial's standard deviation.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mlproject import process
from mlproject.experiment import find
from mlproject.features import FeatureCache
from mlproject.recipe import Length, Recipe
from mlproject.tasks import Task, prepare
from mlproject.training import compile_for, fit

import keras
import numpy as np
import pandas as pd

VALIDATION = 1000


def head_only(task: Task, seed: int) -> tuple[keras.Model, Recipe]:
    """The network of a trial and the first stage of its recipe, feature extraction."""
    model, recipe = replace(task, seed=seed).network(task.experiment.best)
    return model, replace(recipe, stages=recipe.stages[:1])


def cached(task: Task, plan: dict[str, Length], seed: int) -> float:
    """Our fit, on activations from the cache; gives the validation accuracy."""
    model, recipe = head_only(task, seed)
    done = fit(model, recipe, plan, task.data, task.train, task.validation, features=task.features, seed=seed)
    return done.history["val_accuracy"].iloc[-1]


def frozen(task: Task, plan: dict[str, Length], seed: int) -> float:
    """Keras' `fit` of the whole network, its base frozen: the way of the tutorials; gives the validation accuracy."""
    model, recipe = head_only(task, seed)
    (stage,), (length,) = recipe.stages, plan.values()
    names = [layer.name for layer in model.layers]
    for layer in model.layers[: names.index(stage.frozen_through) + 1]:
        layer.trainable = False
    compile_for(stage, model, recipe, length)
    data, targets = task.data, keras.utils.to_categorical(task.data.train_labels)
    rows = task.train[: length.steps * recipe.batch_size]  # whole batches, as many as the other way has
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
    """Print the two ways' minutes and accuracies, and the ratio of the minutes."""
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
        plan = {recipe.stages[0].name: Length(options.epochs, options.images // recipe.batch_size)}
        for name, way in (("feature cache", cached), ("frozen base", frozen)):
            began = time.monotonic()
            accuracies = pd.Series([way(task, plan, seed) for seed in range(options.trials)])
            minutes = (time.monotonic() - began) / 60
            row = {"way": name, "trials": options.trials, "minutes": minutes}
            rows.append(row | {"validation accuracy": accuracies.mean(), "deviation": accuracies.std()})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    print(f"ratio: {rows[1]['minutes'] / rows[0]['minutes']:.1f}")


if __name__ == "__main__":
    sys.excepthook = process.say_in_one_line
    main()
