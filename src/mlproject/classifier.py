"""Uses a trained network: from image files, base64 or arrays to labels with probabilities.

The command `predict` and what `mlflow models serve` answers are both this module. Registered models take it along and import
it without the package (`tracking/pyfunc.py`), so its imports are relative.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .datasets.images.decoding import UnreadableError, decode, header, target_size
from .datasets.images.preparation import LARGEST_SIZE, Preparation
from .errors import UserError, truncate

TOP = 5  # classes of an answer
INVERT = ("auto", "yes", "no")
BATCH = 64  # images that the network computes at once, so that a large request needs no more memory
MIDDLE_GREY = 127.5
PIXELS = "whole numbers from 0 to 255, not divided by 255"

Answer = list[dict[str, Any]]  # the most probable class first: {"label": text, "probability": number from 0 to 1}


class PreparedImage(NamedTuple):
    """What the network sees of an image.

    Attributes:
        pixels: uint8 (height, width, channels).
        inverted: whether black and white were exchanged.
    """

    pixels: NDArray[np.uint8]
    inverted: bool


@dataclass(frozen=True)
class Classifier:
    """A network with what is needed to ask it about any image.

    Attributes:
        model: the Keras model, from uint8 (n, height, width, channels) to probabilities (n, classes).
        class_names: the names of its classes, in the order of its outputs.
        preparation: how images become its inputs; None if its inputs are of a shape that images can't be brought into.
    """

    model: Any
    class_names: Sequence[str]
    preparation: Preparation | None

    @classmethod
    def from_registered(
        cls, model: Any, class_names: Sequence[str], description: Mapping[str, Any] | None
    ) -> "Classifier":
        """Make a classifier of what is registered.

        Args:
            model: the Keras model.
            class_names: the names of its classes.
            description: what `Preparation.describe` said. If nothing was recorded, or something else by the author of a data set,
                the shape of the model's inputs decides, and the middle of the image is cut out.
        """
        height, width, channels = model.input_shape[1:]
        if description and description.keys() >= {"size", "channels", "fit", "background"}:
            return cls(model, class_names, Preparation.from_description(description))
        fits = height == width and height <= LARGEST_SIZE and channels in (1, 3)
        return cls(model, class_names, Preparation(height, channels) if fits else None)

    def prepare(self, content: bytes, invert: str = "auto") -> PreparedImage:
        """Prepare an image as the training images were prepared.

        Args:
            content: the bytes of an image file.
            invert: "yes" exchanges black and white and "no" does not; "auto" does if the training images show light things on a
                dark background, and this image's border is lighter than middle grey.

        Returns:
            The pixels. A padding, and what is behind transparent pixels, has the colour that it has in the training images.

        Raises:
            UnreadableError: the content is no image that is accepted, or it is damaged.
            UserError: images can't be brought into the shape of the model's inputs.
        """
        preparation = self.preparation
        if preparation is None:
            shape = self.model.input_shape[1:]
            raise UserError(f"this model takes no image files; accepted: arrays of shape {shape}, {PIXELS}")
        inverted = invert == "yes" or (
            invert == "auto" and preparation.light_on_dark and _has_light_border(content, preparation)
        )
        if not inverted:
            return PreparedImage(decode(content, preparation), False)
        red, green, blue = preparation.background
        pixels = decode(content, replace(preparation, background=(255 - red, 255 - green, 255 - blue)))
        return PreparedImage(255 - pixels, True)

    def read(self, inputs: Any, invert: str = "auto") -> NDArray[np.uint8]:
        """Read the images of a request.

        Args:
            inputs: encoded images, as bytes or base64, in a list, an array or a table's column "image"; or pixels of the
                shape of the model's inputs, which are taken as they are unless `invert` is "yes".
            invert: as for `prepare`.

        Returns:
            The images, uint8 (n, height, width, channels).

        Raises:
            UserError: an input is no image, or none that this model takes. The message names its place.
        """
        if hasattr(inputs, "columns") or isinstance(inputs, dict):  # a table, or what MLflow's server makes of one
            if list(inputs) != ["image"]:
                raise UserError(
                    f"the table has the columns {truncate(', '.join(map(str, inputs)), 60)}; accepted: one column, image"
                )
            inputs = inputs["image"]
            inputs = inputs.tolist() if hasattr(inputs, "tolist") else inputs
        if isinstance(inputs, np.ndarray) and (inputs.dtype.kind in "USO" or not inputs.ndim):
            inputs = inputs.tolist()
        if not isinstance(inputs, list | tuple | np.ndarray):
            raise UserError(f"inputs is {truncate(inputs, 40)}; accepted: a list of one or more images")
        if not len(inputs):
            raise UserError("inputs is empty; accepted: a list of one or more images")
        if isinstance(inputs[0], str | bytes):
            return np.stack([self._decode(position, image, invert) for position, image in enumerate(inputs)])
        pixels = self._pixels(inputs)
        return 255 - pixels if invert == "yes" else pixels

    def classify(self, pixels: NDArray[np.uint8], top: int = TOP) -> list[Answer]:
        """Classify images.

        Args:
            pixels: uint8 (n, height, width, channels).
            top: how many classes an answer has, or all if there are fewer.

        Returns:
            An answer for each image.
        """
        parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        probabilities = np.concatenate([np.asarray(self.model.predict_on_batch(part)) for part in parts])
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [{"label": self.class_names[index], "probability": float(row[index])} for index in top_indices]
            for row, top_indices in zip(probabilities, order, strict=True)
        ]

    def _decode(self, position: int, image: object, invert: str) -> NDArray[np.uint8]:
        """The pixels of one encoded image of a request."""
        if not isinstance(image, str | bytes):
            raise UserError(
                f"inputs[{position}] is of type {type(image).__name__} among texts; accepted: base64 of an image"
            )
        try:
            return self.prepare(image if isinstance(image, bytes) else _from_base64(image), invert).pixels
        except UnreadableError as error:
            raise UserError(
                f"inputs[{position}]: {error}; accepted: an image file's bytes, in base64 within JSON"
            ) from None
        except ValueError:  # binascii.Error, or a plain one for characters beyond ASCII
            raise UserError(
                f"inputs[{position}] is {truncate(image, 40)!r}, which is no base64; accepted: an image file's bytes in base64"
            ) from None

    def _pixels(self, inputs: Sequence[Any] | NDArray[Any]) -> NDArray[np.uint8]:
        """The images of a request that consists of numbers."""
        shape = self.model.input_shape[1:]
        accepted = f"pixels of shape (n, {', '.join(map(str, shape))}), {PIXELS}, or image files in base64"
        try:
            values = np.asarray(inputs)
        except ValueError:
            raise UserError(f"inputs holds images of different shapes; accepted: {accepted}") from None
        if values.dtype.kind not in "uif":
            raise UserError(f"inputs holds something else than numbers ({values.dtype}); accepted: {accepted}")
        if values.shape[1:] == shape[:2] and shape[2] == 1:
            values = values[..., None]
        if values.shape[1:] != shape:
            raise UserError(f"inputs has the shape {values.shape}; accepted: {accepted}")
        for position, image in enumerate(values if values.dtype != np.uint8 else ()):
            invalid = image[~((image >= 0) & (image <= 255) & (image == np.rint(image)))]  # NaN is among them
            if invalid.size:
                raise UserError(f"inputs[{position}] holds {invalid[0]:g}; accepted: {accepted}")
            if values.dtype.kind == "f" and image.max() == 1:  # a picture in black and white that was divided by 255
                raise UserError(f"inputs[{position}] holds decimals, and none above 1.0; accepted: {accepted}")
        return values.astype(np.uint8)


def check_request(invert: str, top: int) -> None:
    """Refuse settings of a request that have no meaning.

    Args:
        invert: one of `INVERT`.
        top: a number of classes.

    Raises:
        UserError: a setting is not accepted.
    """
    if invert not in INVERT:
        raise UserError(f"invert={truncate(invert, 40)!r}; accepted: {', '.join(INVERT)}")
    if top < 1:
        raise UserError(f"top={top}; accepted: a number of classes, 1 or more")


def _has_light_border(content: bytes, preparation: Preparation) -> bool:
    """Whether the outermost pixels of an image, without a padding, are on average lighter than middle grey.

    By this rule all 70,000 images of Fashion-MNIST have dark borders, and light ones when they are inverted. The median instead
    of the mean gets two of them wrong.
    """
    _, _, width, height = header(content)
    width, height = target_size(width, height, preparation)
    left, top = (preparation.size - width) // 2, (preparation.size - height) // 2
    # Programs show transparent pixels as white.
    canvas = decode(content, replace(preparation, channels=1, background=(255, 255, 255)))[..., 0]
    visible = canvas[top : top + height, left : left + width]
    border = np.concatenate([visible[0], visible[-1], visible[1:-1, 0], visible[1:-1, -1]])
    return float(border.mean()) > MIDDLE_GREY


def _from_base64(text: str) -> bytes:
    """The bytes; a prefix such as "data:image/png;base64," is passed over."""
    return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
