"""What in a network depends on the images' colours and on the number of classes: found by building it, not by hand."""

import dataclasses
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher

import keras
import numpy as np
import pandas as pd

from mlproject.datasets import Spec


def layer_table(build: Callable[[Spec], keras.Model], spec: Spec) -> pd.DataFrame:
    """The layers of the network that `build` makes for `spec`, and which of them would differ for other data.

    The network is built again for grey images where these are coloured (1 channel for 3), or coloured where they are
    grey, and again for twice as many classes; each time the two lists of layers are aligned. A layer depends on the
    colours (or classes) if the other network has, in its place, no layer of the same type with the same weight shapes
    and the same configuration. So it counts too if it has no weights, like a normalisation by fixed means for each
    colour, or if it is there for one number of colours only, like a step from grey to RGB. A layer whose output alone
    changes shape doesn't count.

    Gives a row for each layer, those of nested models included ("outer/inner"), in the network's order: layer (name),
    type, inputs (names of the layers before it, a space between them), output_shape (text, without the batch's axis),
    parameters (count), trainable (as `build` leaves it), depends_on_colours, depends_on_classes (bool). Raises whatever
    `build` raises.
    """
    model = build(spec)
    layers = list(flattened(model))
    return pd.DataFrame(
        {
            "layer": [name for name, _ in layers],
            "type": [type(layer).__name__ for _, layer in layers],
            "inputs": [_inputs(name, layer) for name, layer in layers],
            "output_shape": [_shape_text(layer) for _, layer in layers],
            "parameters": [layer.count_params() for _, layer in layers],
            "trainable": [bool(layer.trainable) for _, layer in layers],
            "depends_on_colours": _changed(model, build(_with_other_colours(spec))),
            "depends_on_classes": _changed(model, build(dataclasses.replace(spec, classes=2 * spec.classes))),
        }
    )


def _with_other_colours(spec: Spec) -> Spec:
    height, width, channels = spec.shape
    other = 3 if channels == 1 else 1
    return dataclasses.replace(
        spec,
        shape=(height, width, other),
        mean=(float(np.mean(spec.mean)),) * other,
        std=(float(np.mean(spec.std)),) * other,
        patch_covariance=tuple(map(tuple, _covariance(spec, other).tolist())),
    )


def _covariance(spec: Spec, channels: int) -> np.ndarray:
    """The patches' covariance if all `channels` were alike, with what is now the mean over all pairs of channels."""
    places = np.reshape(spec.patch_covariance, (4, spec.shape[-1], 4, spec.shape[-1])).mean(axis=(1, 3))
    return np.kron(places, np.ones((channels, channels)))


def flattened(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers with their names; those of models within the model as `model/layer`."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flattened(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def _changed(model: keras.Model, other: keras.Model) -> list[bool]:
    # By content: positions shift where one network has a layer more, and automatic names count on from build to build.
    ours = [_content(layer) for _, layer in flattened(model)]
    theirs = [_content(layer) for _, layer in flattened(other)]
    changed = np.ones(len(ours), dtype=bool)
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        changed[block.a : block.a + block.size] = False
    return changed.tolist()


def _content(layer: keras.Layer) -> str:
    shapes = [tuple(weight.shape) for weight in layer.weights]
    return f"{type(layer).__name__} {shapes} {_plain(layer.get_config())}"


def _plain(value):
    """A configuration without what differs from build to build: automatic names, random seeds, the last digits."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in ("name", "seed")}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return value


def _inputs(name: str, layer: keras.Layer) -> str:
    if isinstance(layer, keras.layers.InputLayer):
        return ""
    prefix = name.removesuffix(layer.name)
    before = [tensor._keras_history.operation.name for tensor in keras.tree.flatten(layer.input)]
    return " ".join(prefix + one for one in before)


def _shape_text(layer: keras.Layer) -> str:
    return " × ".join("any" if size is None else str(size) for size in layer.output.shape[1:])
