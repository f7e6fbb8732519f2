"""The networks of `keras.applications` without their tops: on raw images, flat, and with the weights of a file.

Nothing here is a table of networks. Names, smallest sizes, preprocessing and weights are asked of Keras itself.
"""

import importlib
import inspect
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from mlproject.datasets import Spec
from mlproject.errors import UserError, did_you_mean, truncate

LAST_STAGE = "last_stage"  # the name of the layer before the last stage of a pretrained network


class Preprocessing(NamedTuple):
    """What a network's `preprocess_input` does to a pixel (red, green, blue), 0 to 255: scale · pixel + offset.

    Attributes:
        scale: a factor for each colour.
        offset: is added to each colour.
        reversed: whether the network gets blue, green, red.
    """

    scale: list[float]
    offset: list[float]
    reversed: bool


def names() -> list[str]:
    """The names of all networks of `keras.applications` that can be made without their tops."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, function in functions if "include_top" in inspect.signature(function).parameters]


def check_name(name: object, option: str = "") -> None:
    """Check that this is a network's name.

    Args:
        name: as an experiment's file gives it, or an option.
        option: the option's name, for the message; empty for a name in an experiment's file.

    Raises:
        UserError: for anything else, in one line with the accepted names, and the nearest of them if one is near.
    """
    known = names()
    if not isinstance(name, str):
        raise UserError(
            f"pretrained={truncate(name)} of an experiment; accepted: the name of a network of keras.applications, such as "
            "pretrained='VGG16', or '' for none"
        )
    if name not in known:
        setting = f"{option}='{truncate(name)}'" if option else f"pretrained='{truncate(name)}' of an experiment"
        raise UserError(f"{setting}; {did_you_mean([name], known)}accepted: {', '.join(known)}")


def make_base(name: str, get_file: Callable[..., str] | None = None, **options: object) -> keras.Model:
    """Call a network's constructor, without its top.

    Some networks differ with ImageNet weights: EfficientNet has a further layer then. So Keras loads the weights itself, and
    only its download is replaced, which is a private hook of Keras (tests/test_private_hooks.py).

    Args:
        name: the network's name.
        get_file: gives the path of the ImageNet weights in place of `keras.utils.get_file`, with its arguments. None stands
            for random weights.
        options: for the constructor.

    Returns:
        The network, whose output is feature maps (n, h, w, c).
    """
    constructor = getattr(keras.applications, name)
    if get_file is None:
        return constructor(include_top=False, weights=None, **options)
    helpers: Any = importlib.import_module("keras.src.utils.file_utils")
    original, helpers.get_file = helpers.get_file, get_file
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # MobileNet says at length which size its weights were trained for
            return constructor(include_top=False, weights="imagenet", **options)
    finally:
        helpers.get_file = original


def preprocessing(name: str) -> Preprocessing:
    """Find out what a network's `preprocess_input` does, from what it makes of black, red, green and blue.

    Args:
        name: the network's name.

    Returns:
        The scales, offsets and order of the colours. For networks that preprocess by themselves these change nothing.
    """
    pixels = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)])
    module = importlib.import_module(getattr(keras.applications, name).__module__)
    black, *colours = module.preprocess_input(pixels.reshape(4, 1, 1, 3)).reshape(4, 3)
    effects = (np.array(colours) - black) / 255  # of each given colour on each channel
    is_reversed = not effects[0, 0]
    offset = black[::-1] if is_reversed else black
    return Preprocessing(effects.sum(axis=1).tolist(), offset.tolist(), is_reversed)


def preprocessed(images: keras.KerasTensor, spec: Spec, name: str = "preprocess") -> keras.KerasTensor:
    """Preprocess images as the network `spec.pretrained` expects them, except for the order of the colours.

    Args:
        images: (n, height, width, 1 or 3) on the 0..255 scale, of any dtype.
        spec: names the network.
        name: the layer's name.

    Returns:
        float32 (n, height, width, 3): red, green, blue, which are equal in grey images.

    Raises:
        UserError: for another number of channels, or an unknown network.
    """
    check_name(spec.pretrained)
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise UserError(
            f"images with {channels} channels for pretrained='{spec.pretrained}'; accepted: 1 or 3 channels"
        )
    x = images if channels == 3 else layers.Concatenate(name="grey_to_rgb")([images] * 3)
    scale, offset, _ = preprocessing(spec.pretrained)
    return layers.Rescaling(scale, offset, name=name)(x)


def pretrained_base(x: keras.KerasTensor, spec: Spec) -> keras.Model:
    """Apply the network `spec.pretrained` without its top to preprocessed images, with the weights of `spec.weights`.

    Args:
        x: what `preprocessed` gives, or an input for it. No layer before it may have weights.
        spec: names the network and the file of its weights; None stands for random ones.

    Returns:
        The model from the input of `x` to the feature maps. Its layers have the network's own names and are not nested
        (ConvNeXt has models within it). If the published filters expect blue, green, red, those of the first convolution are
        reversed, which is equivalent to reversing the colours of every image.

    Raises:
        UserError: for an unknown network, and for images that are smaller than it accepts.
    """
    check_name(spec.pretrained)
    get_file = None if spec.weights is None else lambda *_, **__: str(spec.weights)
    try:
        base = make_base(spec.pretrained, get_file, input_tensor=x, input_shape=tuple(x.shape[1:]))
    except ValueError as error:
        match = re.search(r"at least (\d+)", str(error))
        if match is None:
            raise
        actual, accepted = " x ".join(map(str, x.shape[1:3])), f"{match[1]} x {match[1]}"
        raise UserError(
            f"images of {actual} pixels are too small for pretrained='{spec.pretrained}'; accepted: at least {accepted}, for "
            "instance after keras.layers.Resizing or ZeroPadding2D"
        ) from error
    if spec.weights is not None and preprocessing(spec.pretrained).reversed:
        kernel = base.weights[0]
        kernel.assign(keras.ops.flip(kernel, axis=2))
    return base


def pretrained_features(images: keras.KerasTensor, spec: Spec) -> keras.KerasTensor:
    """Compute the feature maps of the network `spec.pretrained` without its top, preprocessing included.

    The layer `LAST_STAGE` marks where the network's last part begins, at the height before the final one, about twice as much. A
    stage that is frozen through it trains this part alone, on activations that are computed once. NASNet has no such place: there
    it marks the whole network.

    Args:
        images: the raw images (n, height, width, 1 or 3), uint8 or on the 0..255 scale, such as `layers.raw_images` or a
            layer without weights after it. A grey value is given three times.
        spec: names the network and the file of its weights, as the suite does from `Experiment.pretrained` and the option
            `weights`.

    Returns:
        float32 (n, h, w, c). All layers in between are layers of the model that is made from the result; a stage can be
        frozen through any of them.

    Raises:
        UserError: for an unknown network, images that it finds too small, and other than 1 or 3 channels.
    """
    base = pretrained_base(preprocessed(images, spec), spec)
    border_name = _last_stage(base).name

    def mark(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        return layers.Identity(name=LAST_STAGE)(output) if layer.name == border_name else output

    marked_model = keras.models.clone_model(base, input_tensors=base.inputs, call_function=mark)
    marked_model.set_weights(base.get_weights())
    return marked_model.output


def _last_stage(base: keras.Model) -> keras.Layer:
    """The first layer at the height before the final one that all later layers depend on by its output alone; else the first.

    The height is the next larger one rather than exactly twice the final one, because odd heights are rounded in halves.
    """
    larger = [layer for layer in _bottlenecks(base) if layer.output.shape[1] > base.output.shape[1]]
    return min(larger, key=lambda layer: int(layer.output.shape[1]), default=base.get_layer("preprocess"))


def _bottlenecks(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers whose output is all that the layers after them depend on."""
    inputs = {layer.name: [id(tensor) for tensor in keras.tree.flatten(layer.input)] for layer in model.layers}
    uses = Counter(tensor for tensors in inputs.values() for tensor in tensors)
    pending_uses: Counter[int] = Counter()  # how often each tensor is still needed
    for layer in model.layers:  # in an order in which each comes after those it depends on
        if not isinstance(layer, keras.layers.InputLayer):
            pending_uses.subtract(inputs[layer.name])
        output = id(layer.output)
        pending_uses[output] = uses[output] - (isinstance(layer, keras.layers.InputLayer))
        pending_uses = +pending_uses
        if list(pending_uses) == [output]:
            yield layer
