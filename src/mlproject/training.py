"""One fit: augmentation, schedule, frozen features that are computed once, and how many steps fit into the minutes."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from mlproject.datasets import Dataset
from mlproject.features import FeatureCache
from mlproject.watchdog import Watchdog

MEASURED_EXECUTIONS = 8  # enough for a rate within some 10 %; the first one, which traces the graph, is left out

STALL_SECONDS = 300  # without a finished batch; the slowest batch of the shipped experiments takes two


@dataclass(frozen=True)
class Stage:
    """One stretch of a fit.

    `learning_rate` is the peak of the schedule. `frozen_through` names the last frozen layer: it and all layers before it
    keep their weights, and its activations are computed once and cached. `share` is the part of the fit's seconds,
    `max_epochs` the number past which more epochs no longer pay.
    """

    name: str
    learning_rate: float
    frozen_through: str | None = None
    share: float = 1.0
    max_epochs: int = 60


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, whatever the network.

    `weight_decay` is decoupled (Loshchilov & Hutter, arXiv 1711.05101); `warmup` is the share of a stage's steps in which
    the rate rises, after which it falls linearly to 0; `flip` and `crop` (pixels of reflected padding) augment the images
    in stages with nothing frozen; `ema` is the momentum of Keras' average of the weights; `steps_per_execution` batches go
    through one call of the compiled step, which pays where a step takes under a few milliseconds.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    warmup: float = 0.2
    flip: bool = False
    crop: int = 0
    ema: float | None = None
    steps_per_execution: int = 1

    @property
    def cuts(self) -> list[str]:
        """The layers after which some stage is cut, each once."""
        return list(dict.fromkeys(stage.frozen_through for stage in self.stages if stage.frozen_through))


@dataclass(frozen=True)
class Length:
    """How long a stage lasts: `epochs` of `steps` batches. An epoch is a pass over the images, or near it."""

    epochs: int
    steps: int


@dataclass(frozen=True)
class Fit:
    """What a fit leaves behind.

    `history` has a row per epoch (epoch, stage, loss, accuracy, learning_rate, seconds and, where there was validation data,
    val_loss, val_accuracy); `speeds` has images per second for each stage; `truncated` says that the deadline cut it short.
    """

    history: pd.DataFrame
    speeds: dict[str, float]
    truncated: bool


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """From 0 linearly to `peak` in `warmup` of the `steps`, then linearly back to 0 (warm-up: Goyal et al., arXiv 1706.02677)."""

    def __init__(self, peak: float, steps: int, warmup: float):
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step):
        """The rate at `step`, a scalar float32 tensor."""
        progress = (keras.ops.cast(step, "float32") + 0.5) / self.steps
        rising = progress / max(self.warmup, 1e-6)
        falling = (1.0 - progress) / max(1.0 - self.warmup, 1e-6)
        return self.peak * keras.ops.clip(keras.ops.minimum(rising, falling), 0.0, 1.0)


def lengths(
    recipe: Recipe, speeds: Mapping[str, float], seconds: float, images: int, min_epochs: int = 1
) -> dict[str, Length]:
    """Plan how long each stage lasts so that all together take `seconds`, at `speeds` (images per second).

    What a stage leaves over, because its `max_epochs` is reached, goes to the stages after it.
    """
    plan = {}
    shares = [stage.share for stage in recipe.stages]
    for index, stage in enumerate(recipe.stages):
        mine = max(seconds, 0.0) * stage.share / sum(shares[index:])
        seen = min(mine * speeds[stage.name], stage.max_epochs * images)
        steps = max(round(seen / recipe.batch_size), min_epochs)
        epochs = max(min_epochs, round(seen / images))
        plan[stage.name] = Length(epochs, max(1, steps // epochs))
        seconds -= epochs * plan[stage.name].steps * recipe.batch_size / speeds[stage.name]
    return plan


def measure(
    model: keras.Model, recipe: Recipe, data: Dataset, rows: np.ndarray, features: FeatureCache
) -> dict[str, float]:
    """Images per second of each stage and of `prediction`, measured by a few steps. The model is used up by it."""
    steps = MEASURED_EXECUTIONS * recipe.steps_per_execution
    few = {stage.name: Length(1, steps) for stage in recipe.stages}
    speeds = fit(model, recipe, few, data, rows, None, features=features, seed=1).speeds
    model.predict(data.train_images[:256], verbose=0)
    start = time.monotonic()
    model.predict(data.train_images[:512], batch_size=256, verbose=0)
    return speeds | {"prediction": 512 / (time.monotonic() - start)}


def multiply_adds(model: keras.Model, recipe: Recipe) -> dict[str, int]:
    """Multiply-adds for one image in the kernels of the part of the network that each stage trains, forward only."""
    return {
        stage.name: sum(
            math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
            for layer in _tail(model, stage).layers
            if hasattr(layer, "kernel")
        )
        for stage in recipe.stages
    }


def memory_needed(model: keras.Model, recipe: Recipe) -> int:
    """The bytes that training takes at the very least: weights, gradients, the optimizer's slots, what layers with kernels give.

    Only shapes are looked at, so the model's weights need not exist yet.
    """
    slots = (2 if recipe.optimizer == "adamw" else 1) + (recipe.ema is not None)
    most = 0
    for stage in recipe.stages:
        tail = _tail(model, stage)
        trained = sum(math.prod(weight.shape) for weight in tail.trainable_variables)
        outputs = sum(math.prod(layer.output.shape[1:]) for layer in tail.layers if hasattr(layer, "kernel"))
        most = max(most, trained * (1 + slots) + outputs * recipe.batch_size)
    return 4 * (sum(math.prod(weight.shape) for weight in model.variables) + most)


def fit(
    model: keras.Model,
    recipe: Recipe,
    plan: Mapping[str, Length],
    data: Dataset,
    train: np.ndarray,
    validation: np.ndarray | None,
    *,
    features: FeatureCache,
    seed: int,
    on_epoch: Callable[[int, dict], None] = lambda epoch, row: None,
    on_stage: Callable[[str], None] = lambda stage: None,
    deadline: float = math.inf,
    on_hang: Callable[[str], None] = lambda reason: None,
) -> Fit:
    """Train `model` in place, stage by stage.

    `train` and `validation` are rows of the data's training images; `on_epoch(epoch, row)` is called with the running epoch
    (from 1) and its row of the history, `on_stage(name)` after each stage.
    The fit ends with the batch under way at `deadline` (`time.monotonic()` seconds).
    Raises DivergedError when the loss stops being finite, StalledError when no batch is finished for STALL_SECONDS; where it
    cannot, `on_hang(reason)` is called and the process ends (see `Watchdog`).
    """
    cached = features.get(model, recipe.cuts)
    watch = _Watch(on_epoch, deadline, "val_accuracy" if validation is not None else "accuracy")
    for stage in recipe.stages:
        tail = _tail(model, stage)
        inputs = cached[stage.frozen_through] if stage.frozen_through else data.train_images
        length = plan[stage.name]
        tail.compile(
            optimizer=_optimizer(recipe, stage, length),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            steps_per_execution=recipe.steps_per_execution,
            jit_compile=False,  # XLA is slower than oneDNN's kernels for convolutions on a CPU
        )
        watch.start(stage, length, recipe.batch_size)
        with Watchdog(STALL_SECONDS, on_hang) as watch.dog:
            tail.fit(
                _training_batches(inputs, data, train, recipe, augment=stage.frozen_through is None, seed=seed),
                validation_data=None if validation is None else _plain_batches(inputs, data, validation),
                steps_per_epoch=length.steps,
                epochs=length.epochs,
                callbacks=[watch],
                shuffle=False,  # the batches come shuffled
                verbose=0,
            )
        on_stage(stage.name)
        if watch.truncated:
            break
    return Fit(pd.DataFrame(watch.rows), watch.speeds, watch.truncated)


def _tail(model: keras.Model, stage: Stage) -> keras.Model:
    """The part of the model behind the stage's cut. Its weights are the model's own; those before the cut stay as they are."""
    # Without a cut this is a second Model over the same layers: the registered one stays uncompiled, free of our schedule.
    start = model.get_layer(stage.frozen_through).output if stage.frozen_through else model.input
    return keras.Model(start, model.output)


def _optimizer(recipe: Recipe, stage: Stage, length: Length) -> keras.optimizers.Optimizer:
    rate = WarmupLinearDecay(stage.learning_rate, length.epochs * length.steps, recipe.warmup)
    average = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    if recipe.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **average)
    # Keras decays by rate x weight_decay, as AdamW does: the peak rate scales it.
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay or None, **average)


def _training_batches(inputs, data: Dataset, rows, recipe: Recipe, augment: bool, seed: int) -> tf.data.Dataset:
    """Endless shuffled batches: the images stay one tensor in memory, and a batch is gathered from it in one operation."""
    # Gathering images one by one in Python kept a core busy; whole-batch operations run in TensorFlow's threads.
    source, targets = tf.constant(inputs), tf.one_hot(data.train_labels, len(data.class_names))

    def batch(index):
        images = tf.gather(source, index)
        if augment and recipe.crop:
            images = _random_crop(images, recipe.crop)
        if augment and recipe.flip:
            images = tf.where(tf.random.uniform((tf.shape(images)[0], 1, 1, 1)) < 0.5, images, images[:, :, ::-1])
        return images, tf.gather(targets, index)

    size = min(recipe.batch_size, len(rows))
    order = (
        tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows), seed=seed).repeat().batch(size, drop_remainder=True)
    )
    return _untuned(order.map(batch, num_parallel_calls=2).prefetch(4))


def _plain_batches(inputs, data: Dataset, rows, size: int = 500) -> tf.data.Dataset:
    source, targets = tf.constant(inputs[rows]), tf.one_hot(data.train_labels[rows], len(data.class_names))
    return _untuned(tf.data.Dataset.from_tensor_slices((source, targets)).batch(size).prefetch(2))


def _untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Without tf.data's own tuning: its thread sleeps up to a minute, and the end of a fit waits until it wakes (24 s seen)."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def _random_crop(images, pixels: int):
    """Crop every image (n, h, w, c) at its own random place after reflecting `pixels` at the borders; two gathers, no loop."""
    shape = tf.shape(images)
    padded = tf.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="REFLECT")
    down, right = (tf.random.uniform((shape[0], 1), 0, 2 * pixels + 1, tf.int32) for _ in range(2))
    images_down = tf.gather(padded, down + tf.range(shape[1]), axis=1, batch_dims=1)
    return tf.gather(images_down, right + tf.range(shape[2]), axis=2, batch_dims=1)


class _Watch(keras.callbacks.Callback):
    """Follows a fit through its stages: the history on one epoch axis, speed, progress bar, divergence, deadline."""

    def __init__(self, on_epoch, deadline: float, shown: str):
        super().__init__()
        self.on_epoch, self.deadline, self.shown = on_epoch, deadline, shown
        self.rows, self.speeds, self.truncated = [], {}, False

    def start(self, stage: Stage, length: Length, batch_size: int):
        self.stage, self.length, self.batch_size = stage, length, batch_size
        self.images, self.seconds, self.batches = 0, 0.0, 0
        # disable=None: a bar on a terminal, nothing in a log file
        self.bar = tqdm(total=length.epochs * length.steps, desc=stage.name, unit="batch", leave=False, disable=None)

    def on_epoch_begin(self, epoch, logs=None):
        self.began, self.first_step_end, self.last_step_end, self.step = time.monotonic(), None, None, -1

    def on_train_batch_end(self, batch, logs=None):
        self.dog.alive()
        self.last_step_end = time.monotonic()
        self.bar.update(batch - self.step)
        self.batches += batch - self.step
        if (
            self.first_step_end is None
        ):  # the first step of all traces the graph, and that of each epoch waits for the pipeline
            self.first_step_end = self.last_step_end
        else:
            self.images += (batch - self.step) * self.batch_size
        self.step = batch
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True
        if self.last_step_end > self.deadline and self.batches < self.length.epochs * self.length.steps:
            self.truncated = self.model.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        self.dog.alive()

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in logs.items()}
        if not all(math.isfinite(value) for value in logs.values()):
            raise DivergedError(f"the loss became {logs['loss']} in epoch {len(self.rows) + 1} ({self.stage.name})")
        rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": len(self.rows) + 1, "stage": self.stage.name, **logs}
        row |= {"learning_rate": rate, "seconds": time.monotonic() - self.began}
        self.seconds += self.last_step_end - self.first_step_end
        self.rows.append(row)
        self.bar.set_postfix({self.shown: f"{logs[self.shown]:.3f}"})
        self.on_epoch(row["epoch"], row)

    def on_train_end(self, logs=None):
        self.bar.close()
        whole = sum(row["seconds"] for row in self.rows if row["stage"] == self.stage.name)
        if self.images:
            self.speeds[self.stage.name] = self.images / max(self.seconds, 1e-9)
        elif whole:
            self.speeds[self.stage.name] = self.batches * self.batch_size / whole
