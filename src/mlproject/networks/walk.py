"""Lists the layers of a network, including those of nested models, and says what they put out."""

from collections.abc import Iterator
from typing import Any

import keras


def iterate_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """List the layers of a model in the model's order. A nested model is replaced by its own layers.

    Args:
        model: the network.
        prefix: the beginning of every name.

    Yields:
        Each layer's name and the layer; a layer of a nested model has the name "model/layer".
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from iterate_layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def output_shape(layer: keras.Layer) -> tuple[Any, ...]:
    """The shape of what a layer puts out, without the batch axis; of several outputs, such as those with states, the first."""
    return tuple(keras.tree.flatten(layer.output)[0].shape[1:])


def output_of(model: keras.Model, name: str) -> Any:
    """What a layer of a model puts out there: a Keras tensor. A model within the model has an `output` of its own besides."""
    return keras.Operation.output.fget(model.get_layer(name))
