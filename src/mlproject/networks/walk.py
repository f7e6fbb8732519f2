"""How the layers of a network are listed, those of nested models included."""

from collections.abc import Iterator

import keras


def iterate_layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """List the layers of a model in the model's order, and in place of a nested model the layers of that.

    Args:
        model: the network.
        prefix: what every name begins with.

    Yields:
        Each layer's name and the layer; a layer of a nested model has the name "model/layer".
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from iterate_layers(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer
