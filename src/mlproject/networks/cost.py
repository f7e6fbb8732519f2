"""The cost of a network: multiply-adds, memory, and its training speed on this machine or on a nominal one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from mlproject.errors import UserError
from mlproject.networks.walk import iterate_layers, output_of, output_shape
from mlproject.recipe import Recipe, Stage

# The nominal machine has 2 CPU cores. With these two constants the final fits of the five shipped experiments took within 15 %
# of the measured time on a Xeon with AVX-512, before Winograd's convolutions.
NOMINAL_MULTIPLY_ADDS_PER_SECOND = 31e9  # of the forward pass, while training
NOMINAL_SECONDS_PER_IMAGE = 20e-6  # overhead for each image, the same for all networks


@dataclass(frozen=True)
class Throughput:
    """How fast a network trains and predicts.

    Attributes:
        images_per_second: the training speed of each stage, by its name, and the speed of `prediction`.
        multiply_adds: those of one image's forward pass in each stage, by the stage's name.
        nominal: whether the speeds are a nominal machine's, which are the same in every run, rather than measured.
        seconds: the time that the measurement took.
        worker: the speed of a worker that trains trials, as a share of these speeds: below 1 where workers share a machine.
    """

    images_per_second: dict[str, float]
    multiply_adds: dict[str, int]
    nominal: bool
    seconds: float
    worker: float = 1.0

    @classmethod
    def of_nominal_machine(cls, model: keras.Model, recipe: Recipe) -> "Throughput":
        """The throughput of this network on the nominal machine, computed from its multiply-adds."""
        return cls(nominal_speeds(model, recipe), count_multiply_adds(model, recipe), True, 0.0)

    def speeds_of(self, model: keras.Model, recipe: Recipe) -> dict[str, float]:
        """Estimate the speeds of another network, in images per second for each stage, from its multiply-adds.

        Trials are planned with these speeds: a network that is twice as large trains for half as many steps.
        """
        if self.nominal:
            return nominal_speeds(model, recipe)
        speeds = {}
        for stage, work in count_multiply_adds(model, recipe).items():
            measured_stage = stage if stage in self.multiply_adds else self._most_similar(work)
            speeds[stage] = (
                self.images_per_second[measured_stage] * max(self.multiply_adds[measured_stage], 1) / max(work, 1)
            )
        return speeds

    def _most_similar(self, work: int) -> str:
        """The measured stage with the most similar work, for a stage that only some hyperparameters have."""
        return min(
            self.multiply_adds, key=lambda stage: abs(math.log(max(self.multiply_adds[stage], 1) / max(work, 1)))
        )

    @property
    def slowest(self) -> float:
        """The training speed of the slowest stage, in images per second."""
        return min(self.images_per_second[stage] for stage in self.multiply_adds)


def stage_network(model: keras.Model, stage: Stage) -> keras.Model:
    """The part of the network behind the stage's last frozen layer. It shares its weights with `model`.

    Batch normalisation, dropout and stochastic depth of this part work as in training while it trains. Those of the frozen part
    work as in prediction, because its activations are computed by `predict`.

    Args:
        model: the whole network.
        stage: names the last frozen layer.

    Returns:
        The part, from the activations of that layer, or from the images if none is frozen.

    Raises:
        UserError: when a shortcut leads around the last frozen layer, so that its activations do not determine the output.
    """
    start = output_of(model, stage.frozen_through) if stage.frozen_through else model.input
    try:
        return keras.Model(start, model.output)
    except ValueError as error:
        raise UserError(
            f"frozen_through='{stage.frozen_through}' of the stage '{stage.name}': another path leads around this layer; "
            "accepted: a layer that all paths pass, such as the last one of a residual block"
        ) from error


def count_multiply_adds(model: keras.Model, recipe: Recipe) -> dict[str, int]:
    """Count the multiply-adds of one image's forward pass, in the part of the network that each stage trains.

    Args:
        model: the whole network.
        recipe: its recipe, for the stages.

    Returns:
        The number of multiplications by kernels (weights with two or more dimensions), by the stage's name.
    """
    return {stage.name: _multiply_adds(stage_network(model, stage)) for stage in recipe.stages}


def nominal_speeds(model: keras.Model, recipe: Recipe) -> dict[str, float]:
    """Compute the speeds of a network on the nominal machine.

    Args:
        model: the whole network.
        recipe: its recipe, for the stages and the sizes of the training images.

    Returns:
        Images per second of each stage, by its name, and of `prediction`.
    """
    work, speeds = count_multiply_adds(model, recipe), {}
    for stage in recipe.stages:
        area = 1.0 if stage.frozen_through else recipe.mean_area(model.input.shape[1])
        training_seconds = area * work[stage.name] / NOMINAL_MULTIPLY_ADDS_PER_SECOND
        speeds[stage.name] = 1 / (NOMINAL_SECONDS_PER_IMAGE + training_seconds)
    # The forward pass is a third of a training step.
    prediction_seconds = _multiply_adds(model) / (3 * NOMINAL_MULTIPLY_ADDS_PER_SECOND)
    return speeds | {"prediction": 1 / (NOMINAL_SECONDS_PER_IMAGE + prediction_seconds)}


def estimate_memory(model: keras.Model, recipe: Recipe) -> int:
    """Estimate the least memory that training needs.

    It counts weights, gradients, the optimizer's slots and the outputs of layers with kernels. Only shapes are read, so the
    model's weights need not exist yet.

    Args:
        model: the whole network.
        recipe: its recipe, for the optimizer, the batch size and the stages.

    Returns:
        Bytes, for float32 numbers.
    """
    slots = 2 if recipe.optimizer == "adamw" else 1
    largest = 0
    for stage in recipe.stages:
        part = stage_network(model, stage)
        trained_count = _total_size(part.trainable_variables)
        outputs = sum(math.prod(output_shape(layer)) for layer, _ in _layers_with_kernels(part))
        largest = max(largest, trained_count * (1 + slots) + outputs * recipe.batch_size)
    return 4 * (_total_size(model.variables) + largest)


def _multiply_adds(model: keras.Model) -> int:
    return sum(
        math.prod(kernel.shape) * math.prod(output_shape(layer)[:-1])
        for layer, kernels in _layers_with_kernels(model)
        for kernel in kernels
    )


def _layers_with_kernels(model: keras.Model) -> Iterator[tuple[keras.Layer, list[keras.Variable]]]:
    for _, layer in iterate_layers(model):
        if kernels := [weight for weight in layer.weights if len(weight.shape) > 1]:
            yield layer, kernels


def _total_size(variables: list[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
