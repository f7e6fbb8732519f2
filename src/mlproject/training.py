"""One fit: its stages, frozen features that are computed once, its state on disk, and how fast it is."""

import json
import math
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from mlproject import batches, convolutions, disk, explain, optimizers, process
from mlproject.datasets import Dataset
from mlproject.features import FeatureCache
from mlproject.recipe import Length, Recipe, Stage
from mlproject.watchdog import Watchdog

CHECKPOINT_SHARE = 0.05  # of the time between two of them
# Eight are enough for a rate within some 10 %. The first one, which traces the graph, is left out. On a slow machine they take
# half a minute of CIFAR-100's network, so a budget under four minutes has fewer.
MEASURED_EXECUTIONS = (2, 8)
SECONDS_FOR_EACH = 30
PREDICTED_BATCH = 64
STALL_SECONDS = 300  # without a finished batch; the slowest batch of the shipped experiments takes two
# A nominal machine of 2 CPU cores. With these the five final fits of README's Xeon took within 15 % of the time measured, before
# small maps were computed with fewer multiplications.
TRAINING_RATE = 31e9  # multiply-adds of the forward pass per second of training
IMAGE_SECONDS = 20e-6  # for each image, whatever the network


@dataclass(frozen=True)
class Fit:
    """What a fit leaves behind.

    `history` has a row per epoch (epoch, stage, loss, accuracy, learning_rate, seconds and, where there was validation data,
    val_loss, val_accuracy); `speeds` has images per second for each stage; `truncated` says that the deadline cut it short.
    """

    history: pd.DataFrame
    speeds: dict[str, float]
    truncated: bool


@dataclass
class _Progress:
    """How far a fit has come: whole stages, epochs of the next one, the history and the speeds up to there."""

    stage: int = 0
    epoch: int = 0
    rows: list[dict] = field(default_factory=list)
    speeds: dict[str, float] = field(default_factory=dict)


class Checkpoint:
    """The state of a fit after an epoch, in one file: weights, the optimizer's variables, the history.

    Written after every epoch, or after as many as keep the time for it under `CHECKPOINT_SHARE` of the training. Where it cannot
    be written the fit goes on.
    """

    def __init__(self, path: Path):
        self.path, self._next = path, 0.0

    def save(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, progress: _Progress) -> None:
        """Replace the file by the present state, unless the last one was written too short a while ago."""
        began = time.monotonic()
        if began < self._next:
            return
        state = {f"model{index}": variable.numpy() for index, variable in enumerate(model.variables)}
        state |= {f"optimizer{index}": variable.numpy() for index, variable in enumerate(optimizer.variables)}
        try:
            with disk.whole(self.path) as part, part.open("wb") as stream:
                np.savez(stream, progress=np.array(json.dumps(vars(progress))), **state)
        except OSError as error:  # a full disk, most likely
            warnings.warn(
                f"{self.path} cannot be written ({error.strerror}): an interruption costs what was trained since the last one",
                stacklevel=2,
            )
        self._next = time.monotonic() + (time.monotonic() - began) / CHECKPOINT_SHARE

    def load(self) -> tuple[_Progress, dict[str, np.ndarray]]:
        """The progress and the variables kept, or no progress and none; a damaged file is set aside."""
        try:
            with np.load(self.path) as kept:  # never a pickle: NumPy refuses objects
                state = dict(kept)
            return _Progress(**json.loads(str(state.pop("progress")))), state
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            disk.set_aside(self.path, error)
        return _Progress(), {}


def _restore(variables: list[keras.Variable], kept: Mapping[str, np.ndarray], prefix: str) -> None:
    for index, variable in enumerate(variables):
        variable.assign(kept[f"{prefix}{index}"])


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


def measure(
    model: keras.Model, recipe: Recipe, data: Dataset, rows: np.ndarray, features: FeatureCache, seconds: float
) -> dict[str, float]:
    """Images per second of each stage and of `prediction`, measured by a few steps: the fewer, the shorter the `seconds` are for
    which is planned. The model is used up by it.
    """
    fewest, most = MEASURED_EXECUTIONS
    executions = min(max(fewest, round(seconds / SECONDS_FOR_EACH)), most)
    steps = executions * recipe.steps_per_execution * (1 + len(recipe.sizes))
    few = {stage.name: Length(1, steps) for stage in recipe.stages}
    speeds = fit(model, recipe, few, data, rows, None, features=features, seed=1).speeds
    images = data.train_images[: PREDICTED_BATCH * executions]
    model.predict(images[:PREDICTED_BATCH], batch_size=PREDICTED_BATCH, verbose=0)
    start = time.monotonic()
    model.predict(images, batch_size=PREDICTED_BATCH, verbose=0)
    return speeds | {"prediction": len(images) / (time.monotonic() - start)}


def nominal(model: keras.Model, recipe: Recipe) -> dict[str, float]:
    """What `measure` would find on a nominal machine: the same in every run, so that plans made of it are too."""
    work, speeds = multiply_adds(model, recipe), {}
    for stage in recipe.stages:
        area = 1.0 if stage.frozen_through else recipe.mean_area(model.input.shape[1])
        speeds[stage.name] = 1 / (IMAGE_SECONDS + area * work[stage.name] / TRAINING_RATE)
    # The forward pass is a third of a training step.
    return speeds | {"prediction": 1 / (IMAGE_SECONDS + _multiply_adds(model) / (3 * TRAINING_RATE))}


def multiply_adds(model: keras.Model, recipe: Recipe) -> dict[str, int]:
    """Multiply-adds for one image in the kernels of the part of the network that each stage trains, forward only."""
    return {stage.name: _multiply_adds(_tail(model, stage)) for stage in recipe.stages}


def _multiply_adds(model: keras.Model) -> int:
    return sum(
        math.prod(kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer, kernels in _with_kernels(model)
        for kernel in kernels
    )


def _with_kernels(model: keras.Model) -> Iterator[tuple[keras.Layer, list[keras.Variable]]]:
    """The layers that multiply by matrices, those of models within the model too, each with its matrices."""
    for _, layer in explain.flattened(model):
        if kernels := [weight for weight in layer.weights if len(weight.shape) > 1]:
            yield layer, kernels


def memory_needed(model: keras.Model, recipe: Recipe) -> int:
    """The bytes that training takes at the very least: weights, gradients, the optimizer's slots, what layers with kernels give.

    Only shapes are looked at, so the model's weights need not exist yet.
    """
    slots = 2 if recipe.optimizer == "adamw" else 1
    most = 0
    for stage in recipe.stages:
        tail = _tail(model, stage)
        trained = sum(math.prod(weight.shape) for weight in tail.trainable_variables)
        outputs = sum(math.prod(layer.output.shape[1:]) for layer, _ in _with_kernels(tail))
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
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train `model` in place, stage by stage.

    `train` and `validation` are rows of the data's training images; `on_epoch(epoch, row)` is called with the running epoch
    (from 1) and its row of the history, `on_stage(name)` after each stage.
    The fit ends with the batch under way at `deadline` (`time.monotonic()` seconds).
    With a `checkpoint` the state is kept after every epoch, and a fit of the same model, recipe and plan goes on from it; the
    batches that follow are those that would have come.
    Raises DivergedError when the loss stops being finite, StalledError when no batch is finished for STALL_SECONDS; where it
    cannot, `on_hang(reason)` is called and the process ends (see `Watchdog`).
    """
    cached = features.get(model, recipe.cuts)
    progress, kept = checkpoint.load() if checkpoint else (_Progress(), {})
    watch = _Watch(model, progress, on_epoch, deadline, "val_accuracy" if validation is not None else "accuracy")
    watch.checkpoint = checkpoint
    if kept:
        _restore(model.variables, kept, "model")
    for index, stage in enumerate(recipe.stages[progress.stage :], progress.stage):
        inputs = cached[stage.frozen_through] if stage.frozen_through else data.train_images
        tail, length = _trained_part(model, recipe, stage), plan[stage.name]
        compile_for(stage, tail, recipe, length)
        if kept:
            _restore(tail.optimizer.variables, kept, "optimizer")
        kept = {}
        steps, done = length.total, progress.epoch
        shown = batches.training(
            inputs, data, train, recipe, seed, augment=not stage.frozen_through, steps=steps, skip=done * length.steps
        )
        held_out = None if validation is None else batches.plain(inputs, data, validation)
        watch.start(stage, length, recipe.batch_size)
        with Watchdog(STALL_SECONDS, on_hang) as watch.dog:
            _run(tail, shown, held_out, length, done, watch)
        on_stage(stage.name)
        if watch.truncated:
            break
        progress.stage, progress.epoch = index + 1, 0
    return Fit(pd.DataFrame(progress.rows), progress.speeds, watch.truncated)


def _run(tail: keras.Model, shown, held_out, length: Length, done: int, watch: "_Watch") -> None:
    """Keras' fit, from the epoch after those `done`."""
    tail.fit(
        shown,
        validation_data=held_out,
        steps_per_epoch=length.steps,
        initial_epoch=done,
        epochs=length.epochs,
        callbacks=[watch],
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )


def _trained_part(model: keras.Model, recipe: Recipe, stage: Stage) -> keras.Model:
    """What a stage fits: the same layers behind its cut, some of them computed faster; for images of any size where they grow.

    Without a cut this is a second Model too: the registered one stays uncompiled, free of our schedule.
    """
    grow = recipe.sizes and not stage.frozen_through
    # One compiled step serves all sizes of a fit.
    images = keras.Input((None, None, model.input.shape[-1]), dtype="float32") if grow else None
    return convolutions.faster(_tail(model, stage), images)


def _tail(model: keras.Model, stage: Stage) -> keras.Model:
    """The part of the model behind the stage's cut. Its weights are the model's own; those before the cut stay as they are."""
    start = model.get_layer(stage.frozen_through).output if stage.frozen_through else model.input
    return keras.Model(start, model.output)


def compile_for(stage: Stage, model: keras.Model, recipe: Recipe, length: Length) -> None:
    """Compile a model with the stage's optimizer and rates, the recipe's loss, and accuracy, for one-hot labels."""
    rate = optimizers.WarmupLinearDecay(stage.learning_rate, length.total, recipe.warmup)
    model.compile(
        optimizer=optimizers.make(recipe.optimizer, rate, recipe.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        steps_per_execution=recipe.steps_per_execution,
        jit_compile=False,  # on a CPU XLA is slower for convolutions, and six times slower for a perceptron of one layer
    )
    model.optimizer.build(model.trainable_variables)


class _Watch(keras.callbacks.Callback):
    """Follows a fit through its stages: the history on one epoch axis, speed, progress bar, divergence, deadline."""

    def __init__(self, whole: keras.Model, progress: _Progress, on_epoch, deadline: float, shown: str):
        super().__init__()
        self.whole, self.progress, self.checkpoint = whole, progress, None
        self.on_epoch, self.deadline, self.shown, self.truncated = on_epoch, deadline, shown, False

    def start(self, stage: Stage, length: Length, batch_size: int):
        self.stage, self.length, self.batch_size = stage, length, batch_size
        self.images, self.seconds, self.batches = 0, 0.0, self.progress.epoch * length.steps
        # disable=None: a bar on a terminal, nothing in a log file
        self.bar = tqdm(
            total=length.total,
            initial=self.batches,
            desc=stage.name,
            unit="batch",
            leave=False,
            disable=None,
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.began, self.first_step_end, self.last_step_end, self.step = time.monotonic(), None, None, -1

    def on_train_batch_end(self, batch, logs=None):
        process.stop_if_told()
        self.dog.alive()
        self.last_step_end = time.monotonic()
        self.bar.update(batch - self.step)
        self.batches += batch - self.step
        # The first step of all traces the graph, and that of each epoch waits for the pipeline.
        if self.first_step_end is None:
            self.first_step_end = self.last_step_end
        else:
            self.images += (batch - self.step) * self.batch_size
        self.step = batch
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True
        if self.last_step_end > self.deadline and self.batches < self.length.total:
            self.truncated = self.model.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        self.dog.alive()

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in logs.items()}
        if not all(math.isfinite(value) for value in logs.values()):
            raise DivergedError(
                f"the loss became {logs['loss']} in epoch {len(self.progress.rows) + 1} ({self.stage.name})"
            )
        rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": len(self.progress.rows) + 1, "stage": self.stage.name, **logs}
        row |= {"learning_rate": rate, "seconds": time.monotonic() - self.began}
        self.seconds += self.last_step_end - self.first_step_end
        self.progress.rows.append(row)
        self.progress.epoch = epoch + 1
        self.bar.set_postfix({self.shown: f"{logs[self.shown]:.3f}"})
        self.on_epoch(row["epoch"], row)
        if self.checkpoint:
            self.checkpoint.save(self.whole, self.model.optimizer, self.progress)

    def on_train_end(self, logs=None):
        self.bar.close()
        whole = sum(row["seconds"] for row in self.progress.rows if row["stage"] == self.stage.name)
        if self.images:
            self.progress.speeds[self.stage.name] = self.images / max(self.seconds, 1e-9)
        elif whole:
            self.progress.speeds[self.stage.name] = self.batches * self.batch_size / whole
