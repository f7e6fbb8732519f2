"""What happens between a fit's batches and epochs: validation, history, speed, progress bar, and what ends the fit early."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mlproject import evaluation, process
from mlproject.recipe import Stage
from mlproject.training.checkpoint import Checkpoint, Progress
from mlproject.training.retraining import Retraining
from mlproject.training.schedule import Schedule, StageSchedule, share_done
from mlproject.training.watchdog import Watchdog

# A bar without counts and speed, which has room behind a long title on a terminal of 100 columns.
BAR = "{desc} |{bar}| {elapsed}<{remaining}{postfix}"


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass(eq=False)
class Validation:
    """The validation images of a stage: batches of inputs, their labels (int64 (m,)), and the last predictions.

    Keras' own validation gives an accuracy and no predictions, which the search needs to compare trials image by image.
    """

    batches: tf.data.Dataset
    labels: np.ndarray
    probabilities: np.ndarray | None = field(default=None, init=False)

    def run(self, network: keras.Model, on_batch: keras.callbacks.Callback) -> dict[str, float]:
        """Predict the images and return `evaluation.validation_scores`; `on_batch` is a callback of the prediction."""
        self.probabilities = network.predict(self.batches, callbacks=[on_batch], verbose=0)
        return evaluation.validation_scores(self.labels, self.probabilities)


@dataclass(frozen=True)
class FitHooks:
    """What the caller of a fit may follow and limit.

    Attributes:
        on_epoch: called with the number of the epoch (from 1) and its row of the history.
        on_stage: called with a stage's name after the stage.
        stop_early: called after each epoch with the share of the planned steps of all stages that are done (0 to 1) and the
            epoch's row of the history; the fit ends here if it returns True. It is not asked after the deadline.
        on_hang: called with a reason before the process ends, when an operation hangs (see `Watchdog`).
        deadline: `time.monotonic()` seconds; the fit ends with the batch under way at that time.
        checkpoint: keeps the state after epochs; a fit of the same model, recipe and schedule goes on from it.
        title: what the progress bar says, in few words; "" for the stage's name.
        retraining: of the model, for several fits of the same model, recipe and schedule. The model gets its first weights back.
    """

    on_epoch: Callable[[int, dict[str, Any]], None] = lambda epoch, row: None
    on_stage: Callable[[str], None] = lambda stage: None
    stop_early: Callable[[float, dict[str, Any]], bool] = lambda share, row: False
    on_hang: Callable[[str], None] = lambda reason: None
    deadline: float = math.inf
    checkpoint: Checkpoint | None = None
    title: str = ""
    retraining: Retraining | None = None


class Monitor(keras.callbacks.Callback):
    """Follows a fit through all of its stages.

    Args:
        whole_model: the model with all of its layers, which checkpoints keep.
        schedule: the length of each stage.
        progress: how far the fit has come; updated after every epoch.
        hooks: what the caller follows and limits.
    """

    watchdog: Watchdog

    def __init__(self, whole_model: keras.Model, schedule: Schedule, progress: Progress, hooks: FitHooks):
        super().__init__()
        self.whole_model, self.schedule, self.progress, self.hooks = whole_model, schedule, progress, hooks
        self.truncated = self.stopped_early = False
        self.validation: Validation | None = None

    @property
    def validation_probabilities(self) -> np.ndarray | None:
        """The predictions of the last validation: float32 (m, classes), None without validation images."""
        return self.validation.probabilities if self.validation else None

    def start_stage(self, stage: Stage, length: StageSchedule, batch_size: int, validation: Validation | None) -> None:
        """Get ready for the next stage."""
        self.stage, self.length, self.batch_size, self.validation = stage, length, batch_size, validation
        self.measured_images, self.measured_seconds, self.finished_batches = 0, 0.0, self.progress.epoch * length.steps
        title = self.hooks.title or stage.name
        if self.hooks.title and len(self.schedule) > 1:
            title += f", stage {list(self.schedule).index(stage.name) + 1}/{len(self.schedule)}"
        # disable=None: a bar on a terminal, nothing in a log file
        self.bar = tqdm(
            total=length.total_steps,
            initial=self.finished_batches,
            desc=title,
            bar_format=BAR,
            leave=False,
            disable=None,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clocks of the epoch."""
        self.began, self.last_batch = time.monotonic(), -1
        self.first_step_end = self.last_step_end = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the speed, move the bar, and end the fit at the deadline or when the loss is no number."""
        process.stop_if_requested()
        self.watchdog.alive()
        self.last_step_end = time.monotonic()
        self.bar.update(batch - self.last_batch)
        self.finished_batches += batch - self.last_batch
        # The first step of an epoch is not measured: it traces the graph, or waits for the input pipeline.
        if self.last_batch < 0:
            self.first_step_end = self.last_step_end
        else:
            self.measured_images += (batch - self.last_batch) * self.batch_size
        self.last_batch = batch
        if not math.isfinite((logs or {})["loss"]):
            self.model.stop_training = True  # `on_epoch_end` then raises DivergedError
        if self.last_step_end > self.hooks.deadline and self.finished_batches < self.length.total_steps:
            self.truncated = self.model.stop_training = True

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the watchdog that the validation moves."""
        self.watchdog.alive()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate, add a row to the history, save a checkpoint, and ask whether the fit ends here.

        Raises:
            DivergedError: for numbers that are not finite.
        """
        scores = {name: float(value) for name, value in (logs or {}).items()}
        if self.validation:
            scores |= self.validation.run(self.model, self)
        epoch_number = len(self.progress.rows) + 1
        for name, value in scores.items():
            if not math.isfinite(value):
                raise DivergedError(f"the {name} became {value} in epoch {epoch_number} ({self.stage.name})")
        row = {"epoch": epoch_number, "stage": self.stage.name, **scores}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = time.monotonic() - self.began
        self.measured_seconds += self.last_step_end - self.first_step_end
        self.progress.rows.append(row)
        self.progress.epoch = epoch + 1
        label, score_name = ("val acc", "val_accuracy") if self.validation else ("train acc", "accuracy")
        self.bar.set_postfix_str(f"{label} {scores[score_name]:.3f}")
        self.hooks.on_epoch(epoch_number, row)
        if self.hooks.checkpoint:
            self.hooks.checkpoint.save(self.whole_model, self.model.optimizer, self.progress)
        if not self.truncated and self.hooks.stop_early(
            share_done(self.schedule, self.stage.name, self.finished_batches), row
        ):
            self.stopped_early = self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Work out the stage's speed."""
        epoch_seconds = sum(row["seconds"] for row in self.progress.rows if row["stage"] == self.stage.name)
        if self.measured_images:
            self.progress.images_per_second[self.stage.name] = self.measured_images / max(self.measured_seconds, 1e-9)
        elif epoch_seconds:
            self.progress.images_per_second[self.stage.name] = self.finished_batches * self.batch_size / epoch_seconds
