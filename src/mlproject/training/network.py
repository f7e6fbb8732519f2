"""The network that a stage trains: it shares all weights with the registered one, and adds what only training needs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from mlproject.networks.walk import iterate_layers


class TrainedNetwork(keras.Model):
    """A network that may compute with 16 bits, and that may make its batches itself on the device.

    All weights are float32, and so is everything outside of this network: what is evaluated, saved and registered is the
    network that it was made of, which computes with 32 bits and loads on any machine.

    Args:
        inputs: a Keras tensor.
        outputs: a Keras tensor, the probabilities.
        precision: "float32", "bfloat16" or "float16".

    Attributes:
        make_inputs: makes a batch of inputs of what `batches.drawn_dataset` yields; None for batches that are made already.
        xla: whether XLA compiles the training step, known after `compile`.
    """

    make_inputs: Callable[..., tf.Tensor] | None = None
    xla = False
    jit_compile: bool

    def __init__(self, inputs: keras.KerasTensor, outputs: keras.KerasTensor, precision: str):
        super().__init__(inputs, outputs)
        self.precision = precision

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile as Keras does, except that XLA leaves out the making of batches, for which it has no operations."""
        super().compile(*args, **options)
        self.xla = bool(self.jit_compile)
        self.jit_compile = False

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Compute the probabilities, float32. TensorFlow traces this once, and keeps the precision of that moment."""
        layers = [] if self.precision == "float32" else layers_of_16_bits(self)
        with _temporary_policy(layers, f"mixed_{self.precision}"):
            return super().call(inputs, training=training, mask=mask)

    def train_step(self, data: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        """One training step; the first of `data` is a batch of inputs, or what `make_inputs` makes it of."""
        if self.make_inputs:
            draws, *rest = data
            data = (self.make_inputs(*draws), *rest)
        step: Callable[..., dict[str, tf.Tensor]] = super().train_step
        return (tf.function(step, jit_compile=True) if self.xla else step)(data)


def layers_of_16_bits(network: keras.Model) -> list[keras.Layer]:
    """The layers that compute with 16 bits where the others compute with 32.

    These are those from the first one that is trained up to the one before the last. The last one makes probabilities, which
    must add up to 1. The first ones prepare pixels: bfloat16 has eight significant bits, as many as a pixel, and what is
    standardised or whitened with so few is noisy.

    Args:
        network: a functional model.

    Returns:
        The layers, those of nested models included. A layer with another dtype than float32 was given it on purpose.
    """
    layers = [layer for _, layer in iterate_layers(network)]
    first_trained = next((index for index, layer in enumerate(layers) if layer.trainable_weights), len(layers))
    return [layer for layer in layers[first_trained:-1] if layer.dtype_policy.name == "float32"]


@contextmanager
def _temporary_policy(layers: Sequence[keras.Layer], name: str) -> Iterator[None]:
    """Give layers a policy of Keras' mixed precision for a moment: float32 variables, and computations with 16 bits."""
    original_policies = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = name
    try:
        yield
    finally:
        for layer, policy in zip(layers, original_policies, strict=True):
            layer.dtype_policy = policy
