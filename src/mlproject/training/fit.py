"""One fit of one network: the training step is in `fit`, stage by stage, with Keras' own `fit` inside."""

from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import pandas as pd

from mlproject.errors import UserError
from mlproject.networks.cost import stage_network
from mlproject.networks.walk import output_of
from mlproject.recipe import Recipe, Stage
from mlproject.training import batches, device, optimizers, winograd
from mlproject.training.checkpoint import Progress, restore_variables
from mlproject.training.fit_data import FitData
from mlproject.training.monitor import FitHooks, Monitor, Validation
from mlproject.training.network import TrainedNetwork
from mlproject.training.schedule import Schedule, StageSchedule
from mlproject.training.watchdog import Watchdog

STALL_SECONDS = 300  # without a finished batch; the slowest batch of the shipped experiments takes two seconds


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit returns besides the trained weights.

    Attributes:
        history: a row for each epoch: epoch (from 1, through all stages), stage, loss, accuracy, learning_rate, seconds and,
            with validation images, the scores of `evaluation.validation_scores`.
        images_per_second: the measured training speed of each stage, by its name.
        truncated: whether the deadline ended the fit before its last step.
        validation_probabilities: float32 (m, classes), the predictions for the validation images after the last epoch; None
            without validation images.
        stopped_early: whether `FitHooks.stop_early` ended the fit.
    """

    history: pd.DataFrame
    images_per_second: dict[str, float]
    truncated: bool
    validation_probabilities: np.ndarray | None = None
    stopped_early: bool = False


def fit(
    model: keras.Model, recipe: Recipe, schedule: Schedule, fit_data: FitData, hooks: FitHooks | None = None
) -> FitResult:
    """Train `model` in place, stage by stage. A fit that goes on from a checkpoint gets the batches of an uninterrupted one.

    Args:
        model: an uncompiled network, from uint8 images to probabilities.
        recipe: how to train it.
        schedule: the length of each stage, by its name.
        fit_data: the images, their split, the feature cache and the seed.
        hooks: what the caller follows and limits.

    Returns:
        The history, the speeds and the validation predictions.

    Raises:
        DivergedError: when the loss stops being finite.
        StalledError: when no batch is finished for STALL_SECONDS.
        UserError: when a stage freezes layers that an earlier one trains, or all that have weights.
    """
    hooks = hooks or FitHooks()
    if hooks.retraining:
        hooks.retraining.reset()
    activations = _activations(model, recipe, fit_data)
    progress, saved = hooks.checkpoint.load() if hooks.checkpoint else (Progress(), {})
    if saved:
        restore_variables(model.variables, saved, "model")
    monitor = Monitor(model, schedule, progress, hooks)
    for index, stage in enumerate(recipe.stages[progress.stage :], progress.stage):
        length = schedule[stage.name]
        inputs = activations[stage.frozen_through] if stage.frozen_through else fit_data.data.train_images
        make_network = partial(_compiled_network, model, recipe, stage, length, inputs, fit_data)
        network = hooks.retraining.stage(stage.name, make_network) if hooks.retraining else make_network()
        if saved:
            restore_variables(network.optimizer.variables, saved, "optimizer")
            saved = {}
        monitor.start_stage(stage, length, min(recipe.batch_size, len(fit_data.train)), _validation(inputs, fit_data))
        with monitor.bar, Watchdog(STALL_SECONDS, hooks.on_hang) as monitor.watchdog:
            _fit_stage(network, inputs, length, recipe, fit_data, monitor)
        hooks.on_stage(stage.name)
        if monitor.truncated or monitor.stopped_early:
            break
        progress.stage, progress.epoch = index + 1, 0
    return FitResult(
        pd.DataFrame(progress.rows),
        progress.images_per_second,
        monitor.truncated,
        monitor.validation_probabilities,
        monitor.stopped_early,
    )


def _activations(model: keras.Model, recipe: Recipe, fit_data: FitData) -> dict[str, np.ndarray]:
    """The activations of frozen layers, before the first stage. Those of layers that an earlier stage trains are refused."""
    trained_ids: set[int] = set()
    for stage in recipe.stages if len(recipe.stages) > 1 else ():
        if stage.frozen_through:
            frozen = keras.Model(model.input, output_of(model, stage.frozen_through))
            if trained_ids.intersection(map(id, frozen.trainable_variables)):
                raise UserError(
                    f"frozen_through='{stage.frozen_through}' of the stage '{stage.name}': an earlier stage trains layers up to "
                    "this one, whose activations are computed before the first stage; accepted: a stage that freezes no more "
                    "layers than the stages before it"
                )
        trained_ids.update(map(id, stage_network(model, stage).trainable_variables))
    return fit_data.features.get(model, recipe.frozen_layers)


def _fit_stage(
    network: TrainedNetwork,
    inputs: np.ndarray,
    length: StageSchedule,
    recipe: Recipe,
    fit_data: FitData,
    monitor: Monitor,
) -> None:
    """Run Keras' fit from the first epoch that is not done yet."""
    finished_epochs = monitor.progress.epoch
    augment = inputs is fit_data.data.train_images  # cached activations cannot be augmented
    skip, steps = finished_epochs * length.steps, length.total_steps
    network.fit(
        batches.drawn_dataset(fit_data, recipe, augment=augment, skip=skip)
        if network.make_inputs
        else batches.train_dataset(inputs, fit_data, recipe, augment=augment, steps=steps, skip=skip),
        steps_per_epoch=length.steps,
        initial_epoch=finished_epochs,
        epochs=length.epochs,
        callbacks=[monitor],
        class_weight=_class_weights(fit_data) if recipe.class_weights == "balanced" else None,
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )


def _class_weights(fit_data: FitData) -> dict[int, float]:
    """The weight of each class among the rows to train on; 1 for a class without such rows, which is never used."""
    counts = np.bincount(fit_data.data.train_labels[fit_data.train], minlength=len(fit_data.data.class_names))
    mean = len(fit_data.train) / np.count_nonzero(counts)
    return {label: mean / count if count else 1.0 for label, count in enumerate(counts.tolist())}


def _validation(inputs: np.ndarray, fit_data: FitData) -> Validation | None:
    if (rows := fit_data.validation) is None:
        return None
    return Validation(batches.eval_dataset(inputs, rows), fit_data.data.train_labels[rows])


def _compiled_network(
    model: keras.Model, recipe: Recipe, stage: Stage, length: StageSchedule, inputs: np.ndarray, fit_data: FitData
) -> TrainedNetwork:
    network = _trained_network(model, recipe, stage)
    if device.keeps_on_gpu(inputs):
        augment, steps = stage.frozen_through is None, length.total_steps
        network.make_inputs = batches.input_maker(inputs, fit_data, recipe, augment=augment, steps=steps, on_gpu=True)
    compile_for(stage, network, recipe, length)
    return network


def _trained_network(model: keras.Model, recipe: Recipe, stage: Stage) -> TrainedNetwork:
    """The network that a stage trains: the layers behind the frozen ones, convolutions by Winograd where that is faster.

    With progressive resizing it takes images of any size, so that one compiled step serves all sizes. It is a second Model
    even if nothing is frozen: the registered model stays uncompiled, and computes with 32 bits.
    """
    images = None
    if recipe.progressive_resizing and not stage.frozen_through:
        images = keras.Input((None, None, model.input.shape[-1]), dtype="float32")
    network = winograd.with_winograd(stage_network(model, stage), images)
    if not network.trainable_variables:
        raise UserError(
            f"frozen_through='{stage.frozen_through}' of the stage '{stage.name}' leaves no weights to train; accepted: a layer "
            "with trainable ones behind it"
        )
    return TrainedNetwork(network.input, network.output, device.precision())


def compile_for(stage: Stage, network: keras.Model, recipe: Recipe, length: StageSchedule) -> None:
    """Compile a network for one-hot labels, with a stage's learning rate and the recipe's optimizer and loss.

    Args:
        stage: gives the peak learning rate.
        network: what the stage trains.
        recipe: gives optimizer, weight decay, warm-up, label smoothing and steps per execution.
        length: the stage's length, over which the learning rate rises and falls.
    """
    rate = optimizers.WarmupLinearDecay(stage.learning_rate, length.total_steps, recipe.warmup)
    optimizer = optimizers.make_optimizer(recipe.optimizer, rate, recipe.weight_decay)
    if device.precision() == "float16":  # whose smallest numbers are larger than many gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # XLA compiles anew for each size of the images. On a CPU, where Keras' "auto" does not use it either, it is slower for
    # convolutions, and six times slower for a one-layer perceptron.
    sizes_vary = bool(recipe.progressive_resizing) and not stage.frozen_through
    network.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        steps_per_execution=recipe.steps_per_execution,
        jit_compile=False if sizes_vary else "auto",
    )
    network.optimizer.build(network.trainable_variables)
