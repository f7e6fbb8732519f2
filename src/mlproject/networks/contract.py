"""What a network of an experiment has to keep to: one uint8 input with the images' shape, one output of probabilities."""

import keras
import numpy as np

from mlproject.datasets import Spec
from mlproject.errors import UserError

SUM_TOLERANCE = 1e-2  # of a row of probabilities, which may be computed with 16 bits


def as_functional(model: object, spec: Spec) -> keras.Model:
    """Turn what `build` returns into a functional model from one tensor to one tensor, if it can be.

    Args:
        model: what `build` returned.
        spec: the shape of the images.

    Returns:
        A functional model. A Sequential gets uint8 images as its input, whatever input it declares. A list or dict of one tensor,
        as in `keras.Model([images], [x])`, becomes this tensor.

    Raises:
        UserError: when `build` returned no Keras model, or one that was never given an input.
    """
    if isinstance(model, keras.Sequential):
        return _with_image_input(model, spec)
    if not isinstance(model, keras.Model):
        raise UserError(f"build returns {type(model).__name__}; accepted: a keras.Model")
    if not hasattr(model, "inputs") or not model.inputs:
        raise UserError(
            f"build returns a {type(model).__name__} without a symbolic input; accepted: a functional model, "
            "keras.Model(inputs, outputs), or a keras.Sequential"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return model  # which `check_network` refuses
    images, probabilities = model.inputs[0], model.outputs[0]
    if model.input is images and model.output is probabilities:
        return model
    return keras.Model(images, probabilities, name=model.name)


def _with_image_input(model: keras.Sequential, spec: Spec) -> keras.Model:
    network = model
    if not model.built:
        network = keras.Sequential([keras.Input(spec.shape, dtype="uint8", name="images"), *model.layers])
    elif model.inputs[0].dtype != "uint8":
        images = keras.Input(spec.shape, dtype="uint8", name="images")
        network = keras.models.clone_model(model, input_tensors=images)
        network.set_weights(model.get_weights())
    return keras.Model(network.inputs[0], network.outputs[0], name=model.name)


def check_network(model: keras.Model, spec: Spec) -> None:
    """Check the input and the output of a functional model.

    Args:
        model: the network.
        spec: the shape of the images and the number of classes.

    Raises:
        UserError: for another number, shape or dtype of inputs or outputs, in one line.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"its network has {len(model.inputs)} inputs and {len(model.outputs)} outputs; accepted: one of each"
        )
    images, probabilities = model.inputs[0], model.outputs[0]
    if not model.trainable_variables:
        raise UserError("its network has no weights to train; accepted: at least one trainable layer")
    if images.dtype != "uint8":
        raise UserError(
            f"the input of its network is {images.dtype}; accepted: uint8, as by keras.Input(spec.shape, dtype='uint8'), "
            "followed by a layer that scales the pixels"
        )
    shape = tuple(images.shape[1:])
    if shape != tuple(spec.shape):
        raise UserError(f"the input of its network has the shape {shape}; accepted: {spec.shape}, which is spec.shape")
    if tuple(probabilities.shape[1:]) != (spec.classes,):
        actual = tuple(probabilities.shape[1:])
        raise UserError(
            f"the output of its network has the shape {actual}; accepted: ({spec.classes},), a probability for each class"
        )
    if probabilities.dtype != "float32":
        raise UserError(
            f"the output of its network is {probabilities.dtype}; accepted: float32, as by dtype='float32' in the last layer"
        )


def check_image_height(model: keras.Model, height: int) -> None:
    """Check that the network can be trained on smaller images, as progressive resizing does.

    Training does not notice it: a pooling layer puts out an image without pixels, whose maximum makes the loss NaN.

    Args:
        model: a network that `check_network` accepted.
        height: of the images, in pixels; the width follows.

    Raises:
        UserError: when a layer would have no pixels left, in one line.
    """
    full_height, full_width, channels = model.input.shape[1:]
    width = max(round(height * full_width / full_height), 1)
    try:
        keras.models.clone_model(model, input_tensors=keras.Input((height, width, channels), dtype="uint8"))
    except ValueError as error:
        raise UserError(
            f"progressive_resizing makes training images of {height}x{width} pixels, too small for a layer of its network; "
            "accepted: larger images, as by image-size, or less pooling"
        ) from error


def check_probabilities(predicted: np.ndarray) -> None:
    """Check that predictions are probabilities.

    Args:
        predicted: float (n, classes).

    Raises:
        UserError: for numbers that are not finite, negative numbers, and rows that do not add up to 1.
    """
    accepted = "accepted: probabilities that add up to 1, as by activation='softmax' in the last layer"
    if not np.isfinite(predicted).all():
        raise UserError(
            f"the output of its network is {predicted[~np.isfinite(predicted)][0]} for some images; {accepted}"
        )
    if (predicted < 0).any():
        raise UserError(f"the output of its network is negative ({predicted.min():.3g}), such as logits; {accepted}")
    sums = predicted.sum(axis=1)
    worst = sums[np.abs(sums - 1).argmax()]
    if abs(worst - 1) > SUM_TOLERANCE:
        raise UserError(f"the output of its network adds up to {worst:.3g}; {accepted}")
