"""Asks a registered model about image files, and writes its answers as a table or as JSON lines."""

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlproject import disk
from mlproject.classifier import BATCH, Answer, Classifier, PreparedImage
from mlproject.datasets.images.decoding import UnreadableError
from mlproject.datasets.images.walk import walk
from mlproject.errors import UserError, truncate

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class ImageInput:
    """An image that a user asks about.

    Attributes:
        name: its path, or its place in the standard input.
        content: the bytes of the file; None if they can't be read.
        error: why they can't be read, or "".
    """

    name: str
    content: bytes | None
    error: str = ""


@dataclass(frozen=True)
class Prediction:
    """What became of an image.

    Attributes:
        name: as in `ImageInput`.
        answer: the most probable classes; empty if the image can't be read.
        inverted: whether black and white were exchanged.
        error: why the image can't be read, or "".
    """

    name: str
    answer: Answer
    inverted: bool = False
    error: str = ""

    def as_json(self) -> str:
        """One line of JSON: image and error, or image, predictions and inverted."""
        outcome = {"error": self.error} if self.error else {"predictions": self.answer, "inverted": self.inverted}
        text = json.dumps({"image": self.name} | outcome, ensure_ascii=False)
        # Python holds bytes of a path that are not UTF-8 as halves of characters. They can't be printed, but JSON has escapes.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_images(paths: Sequence[str], lines: Iterable[str]) -> Iterator[ImageInput]:
    """Read the images that a command names.

    Args:
        paths: files; folders, whose image files are read, those in their folders too; or "-" for `lines`.
        lines: JSON, in each line a path, {"path": path} or {"image": a file's bytes in base64}. Empty lines don't count.

    Yields:
        The images, in the order of the paths.

    Raises:
        UserError: a folder has no image files, or the lines are no text.
    """
    for path in paths:
        if path == STANDARD_INPUT:
            try:
                for number, line in enumerate(lines, 1):
                    _require_text(line)
                    if line.strip():
                        yield _read_line(number, line)
            except UnicodeError as error:
                raise UserError(
                    "- (the standard input) is no text in UTF-8; accepted: lines of JSON, each a path or an image in base64"
                ) from error
        elif os.path.isdir(path):
            image_paths = walk(Path(path)).images
            if not image_paths:
                raise UserError(
                    f"{truncate(path)} has no image files; accepted: a folder with JPEG, PNG or other images"
                )
            yield from (_read_file(real_path, os.path.join(path, *parts)) for parts, real_path in image_paths.items())
        else:
            yield _read_file(path, path)


def predict(
    classifier: Classifier, images: Iterable[ImageInput], top: int, invert: str = "auto", show: Path | None = None
) -> Iterator[Prediction]:
    """Predict images, and pass over those that can't be read.

    Args:
        classifier: the model.
        images: the images; no more than a batch of them is in memory.
        top: how many classes an answer has.
        invert: "auto", "yes" or "no", as `Classifier.prepare` describes.
        show: a folder for what the model saw, as PNG files with the size and colours of the model's inputs; it is created.

    Yields:
        A prediction for each image, in their order.

    Raises:
        UserError: the folder can't be written, or the model takes no image files.
    """
    if show:
        disk.require_writable("show", show)
    batch: list[tuple[ImageInput, PreparedImage | str]] = []
    for number, image in enumerate(images, 1):
        prepared = _prepare(classifier, image, invert)
        if show and isinstance(prepared, PreparedImage):
            _write_png(prepared, show / f"{number:04}-{_file_name(image.name)}.png")
        batch.append((image, prepared))
        if len(batch) == BATCH:
            yield from _predict_batch(classifier, batch, top)
            batch = []
    yield from _predict_batch(classifier, batch, top)


def format_table(predictions: Sequence[Prediction]) -> list[str]:
    """Lay predictions out for people.

    Args:
        predictions: of images that could be read.

    Returns:
        Lines: for each image a row for each class, the image's name in the first one.
    """
    rows = [
        (
            truncate(prediction.name) + " (inverted)" * prediction.inverted if not index else "",
            guess["label"],
            guess["probability"],
        )
        for prediction in predictions
        for index, guess in enumerate(prediction.answer)
    ]
    names = max((len(name) for name, _, _ in rows), default=0)
    labels = max((len(label) for _, label, _ in rows), default=0)
    return [f"{name:{names}}  {label:{labels}}  {probability:7.2%}" for name, label, probability in rows]


def _read_file(path: str, name: str) -> ImageInput:
    try:
        return ImageInput(name, Path(path).read_bytes())
    except OSError as error:
        return ImageInput(name, None, f"it can't be read ({error.strerror})")


def _require_text(line: str) -> None:
    """Raise UnicodeError for what is no text: NUL, and bytes that Python holds as halves of characters in a C locale."""
    if "\0" in line:
        raise UnicodeError("NUL")
    line.encode()


def _read_line(number: int, line: str) -> ImageInput:
    """The image that a line of JSON names or holds."""
    name = f"line {number}"
    try:
        parsed = json.loads(line)
        path = parsed.get("path") if isinstance(parsed, dict) else parsed
        if isinstance(path, str):
            return _read_file(path, path)
        return ImageInput(name, base64.b64decode(parsed["image"], validate=True))
    except (ValueError, LookupError, TypeError, RecursionError):  # the last one for lists in lists in lists
        return ImageInput(name, None, 'it is neither a path, {"path": PATH} nor {"image": BASE64} in JSON')


def _prepare(classifier: Classifier, image: ImageInput, invert: str) -> PreparedImage | str:
    """What the model sees of an image, or why it sees nothing."""
    if image.content is None:
        return image.error
    try:
        return classifier.prepare(image.content, invert)
    except UnreadableError as error:
        return str(error)


def _predict_batch(
    classifier: Classifier, images: Sequence[tuple[ImageInput, PreparedImage | str]], top: int
) -> Iterator[Prediction]:
    """Predict one batch of images."""
    prepared_images = [prepared for _, prepared in images if isinstance(prepared, PreparedImage)]
    answers = iter(
        classifier.classify(np.stack([prepared.pixels for prepared in prepared_images]), top) if prepared_images else []
    )
    for image, prepared in images:
        if isinstance(prepared, PreparedImage):
            yield Prediction(image.name, next(answers), prepared.inverted)
        else:
            yield Prediction(image.name, [], error=prepared)


def _file_name(name: str) -> str:
    """The last part of a path, as a name that every file system takes: some count bytes, of which a character has up to four."""
    return re.sub(r"[^\w.-]+", "-", Path(name).name)[:40]


def _write_png(image: PreparedImage, path: Path) -> None:
    """Write what the model saw as a PNG file."""
    grey = image.pixels.shape[2] == 1
    with disk.atomic_write(path) as part:
        Image.fromarray(image.pixels[:, :, 0] if grey else image.pixels).save(part, format="PNG")
