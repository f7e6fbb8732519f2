"""How fast a network trains and predicts on this machine, measured by a few steps."""

import time
from dataclasses import replace

import keras

from mlproject import budget
from mlproject.networks.cost import Throughput, count_multiply_adds
from mlproject.recipe import Recipe
from mlproject.training.fit import fit
from mlproject.training.fit_data import FitData
from mlproject.training.schedule import StageSchedule

PREDICTED_BATCH = 64  # images


def measure_throughput(model: keras.Model, recipe: Recipe, fit_data: FitData, seconds: float) -> Throughput:
    """Train and predict for a few steps.

    Activations of frozen layers are computed on the way, if they are not cached. The model's weights change.

    Args:
        model: a network with fresh weights.
        recipe: its recipe.
        fit_data: the images to train on; the validation images are not used.
        seconds: the budget that is planned by the measurement. Short budgets get a shorter measurement.

    Returns:
        The throughput, with the seconds that measuring took.
    """
    began = time.monotonic()
    executions = budget.measured_executions(seconds)
    steps = executions * recipe.steps_per_execution * (1 + len(recipe.progressive_resizing))
    schedule = {stage.name: StageSchedule(1, steps) for stage in recipe.stages}
    multiply_adds = count_multiply_adds(model, recipe)
    speeds = fit(model, recipe, schedule, replace(fit_data, validation=None, seed=1)).images_per_second
    speeds = speeds | {"prediction": _measure_prediction(model, fit_data, executions)}
    return Throughput(speeds, multiply_adds, False, time.monotonic() - began)


def _measure_prediction(model: keras.Model, fit_data: FitData, batch_count: int) -> float:
    images = fit_data.data.train_images[: PREDICTED_BATCH * batch_count]
    last_batch_size = len(images) % PREDICTED_BATCH  # of a smaller last batch, for which the graph is traced, too
    model.predict(images[: PREDICTED_BATCH + last_batch_size], batch_size=PREDICTED_BATCH, verbose=0)
    began = time.monotonic()
    model.predict(images, batch_size=PREDICTED_BATCH, verbose=0)
    return len(images) / (time.monotonic() - began)
