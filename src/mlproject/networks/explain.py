"""Which layers of a network depend on the number of colours and of classes: found by building other networks."""

import dataclasses
from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Any

import keras
import numpy as np
import pandas as pd

from mlproject.datasets import Spec
from mlproject.networks.walk import iterate_layers, output_shape


def layer_table(build: Callable[[Spec], keras.Model], spec: Spec) -> pd.DataFrame:
    """List the layers of a network, and which of them would differ for other data.

    Three networks are built: the one for `spec`; one for images with another number of colour channels (1 in place of
    3, or 3 in place of 1); and one for twice as many classes. The list of layers of the first is aligned with each of
    the other two. A layer depends on the colours (or the classes) if the other network has, in its place, no layer of
    the same type with the same weight shapes and the same configuration. Layers without weights count too: for instance
    a normalisation with a fixed mean for each colour, or a conversion from grey to RGB that only grey images need. A
    layer does not count if only the shape of its output changes.

    Args:
        build: builds the network for a data set. Its exceptions are passed on.
        spec: the data that the network is for.

    Returns:
        A row for each layer, those of nested models included, in the network's order, with the columns
        layer: its name, "outer/inner" in a nested model;
        type: the name of its class;
        inputs: the names of the layers before it, separated by spaces;
        output_shape: as text, without the batch axis;
        parameters: their number;
        trainable: as `build` leaves it;
        depends_on_colours, depends_on_classes: as described above.
    """
    model = build(spec)
    layers = list(iterate_layers(model))
    return pd.DataFrame(
        {
            "layer": [name for name, _ in layers],
            "type": [type(layer).__name__ for _, layer in layers],
            "inputs": [_input_names(name, layer) for name, layer in layers],
            "output_shape": [_shape_text(layer) for _, layer in layers],
            "parameters": [layer.count_params() for _, layer in layers],
            "trainable": [bool(layer.trainable) for _, layer in layers],
            "depends_on_colours": _differs(model, build(_with_other_colours(spec))),
            "depends_on_classes": _differs(model, build(dataclasses.replace(spec, classes=2 * spec.classes))),
        }
    )


def _with_other_colours(spec: Spec) -> Spec:
    """The same data in grey if they are coloured, in colour if they are grey."""
    height, width, channels = spec.shape
    other = 3 if channels == 1 else 1
    return dataclasses.replace(
        spec,
        shape=(height, width, other),
        mean=(float(np.mean(spec.mean)),) * other,
        std=(float(np.mean(spec.std)),) * other,
        patch_covariance=tuple(map(tuple, _equal_channels_covariance(spec, other).tolist())),
    )


def _equal_channels_covariance(spec: Spec, channels: int) -> np.ndarray:
    """The patch covariance if all `channels` were equal: the mean over the pairs of channels."""
    pixel_pairs = np.reshape(spec.patch_covariance, (4, spec.shape[-1], 4, spec.shape[-1])).mean(axis=(1, 3))
    return np.kron(pixel_pairs, np.ones((channels, channels)))


def _differs(model: keras.Model, other: keras.Model) -> list[bool]:
    """For each layer of `model` whether `other` has no equal layer in its place."""
    # Positions shift if one network has an extra layer, and automatic names differ, so the contents are compared.
    ours = [_content(layer) for _, layer in iterate_layers(model)]
    theirs = [_content(layer) for _, layer in iterate_layers(other)]
    differs = np.ones(len(ours), dtype=bool)
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        differs[block.a : block.a + block.size] = False
    return differs.tolist()


def _content(layer: keras.Layer) -> str:
    """A text that is equal for layers of the same type, weight shapes and configuration."""
    shapes = [tuple(weight.shape) for weight in layer.weights]
    return f"{type(layer).__name__} {shapes} {_reproducible(layer.get_config())}"


def _reproducible(value: Any) -> Any:
    """A configuration without what differs in each build: automatic names, random seeds, the last digits of floats."""
    if isinstance(value, dict):
        return {key: _reproducible(item) for key, item in value.items() if key not in ("name", "seed")}
    if isinstance(value, np.ndarray):
        return _reproducible(value.tolist())
    if isinstance(value, list | tuple):
        return [_reproducible(item) for item in value]
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return value


def _input_names(name: str, layer: keras.Layer) -> str:
    """The names of the layers before `layer`, separated by spaces; `name` is the layer's own name with its prefix."""
    if isinstance(layer, keras.layers.InputLayer):
        return ""
    prefix = name.removesuffix(layer.name)
    # Keras has no public way to ask for them. tests/test_private_hooks.py notices when this one is gone.
    names = [tensor._keras_history.operation.name for tensor in keras.tree.flatten(layer.input)]
    return " ".join(prefix + input_name for input_name in names)


def _shape_text(layer: keras.Layer) -> str:
    """The output's shape without the batch axis, as "28 × 28 × 1"."""
    return " × ".join("any" if size is None else str(size) for size in output_shape(layer))
