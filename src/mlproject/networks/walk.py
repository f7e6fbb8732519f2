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


def node_of(model: keras.Model, layer: keras.Layer) -> Any:
    """Find where a layer is called in a model.

    `layer.input` and `layer.output` do not always tell: they are those of the layer's first call, but a Sequential calls its
    layers again for each one that is added, and a model within the model has an `input` and an `output` within itself.

    Args:
        model: a functional model.
        layer: one of its layers.

    Returns:
        Keras' record of the call, with the lists `input_tensors` and `output_tensors`; the first call in the model if there are
        several.
    """
    # Keras has no public way to ask for this. tests/test_private_hooks.py notices when this one is gone.
    node_ids = {id(node) for nodes in model._nodes_by_depth.values() for node in nodes}
    return next(node for node in layer._inbound_nodes if id(node) in node_ids)


def output_of(model: keras.Model, name: str) -> Any:
    """What the layer of this name puts out in a model, as a Keras tensor."""
    return node_of(model, model.get_layer(name)).output_tensors[0]
