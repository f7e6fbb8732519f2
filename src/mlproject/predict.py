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
from mlproject.classifier import BATCH, Answer, Classifier, Seen
from mlproject.datasets.images.decoding import UnreadableError
from mlproject.datasets.images.walk import walk
from mlproject.errors import UserError, truncate

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Given:
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
        name: as in `Given`.
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
        said = {"error": self.error} if self.error else {"predictions": self.answer, "inverted": self.inverted}
        return json.dumps({"image": self.name} | said, ensure_ascii=False)


def find(paths: Sequence[str], lines: Iterable[str]) -> Iterator[Given]:
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
                yield from (_of_line(number, line) for number, line in enumerate(lines, 1) if line.strip())
            except UnicodeDecodeError as error:
                raise UserError(
                    "- (the standard input) is no text in UTF-8; accepted: lines of JSON, each a path or an image in base64"
                ) from error
        elif os.path.isdir(path):
            found = walk(Path(path)).images
            if not found:
                raise UserError(
                    f"{truncate(path)} has no image files; accepted: a folder with JPEG, PNG or other images"
                )
            yield from (_of_file(real, os.path.join(path, *parts)) for parts, real in found.items())
        else:
            yield _of_file(path, path)


def predict(
    classifier: Classifier, images: Iterable[Given], top: int, invert: str = "auto", show: Path | None = None
) -> Iterator[Prediction]:
    """Predict images, and pass over those that can't be read.

    Args:
        classifier: the model.
        images: the images; no more than a batch of them is in memory.
        top: how many classes an answer has.
        invert: "auto", "yes" or "no", as `Classifier.see` describes.
        show: a folder for what the model saw, as PNG files with the size and colours of the model's inputs; it is created.

    Yields:
        A prediction for each image, in their order.

    Raises:
        UserError: the folder can't be written, or the model takes no image files.
    """
    if show:
        disk.require_writable("show", show)
    waiting: list[tuple[Given, Seen | str]] = []
    for number, image in enumerate(images, 1):
        seen = _see(classifier, image, invert)
        if show and isinstance(seen, Seen):
            _write(seen, show / f"{number:04}-{_file_name(image.name)}.png")
        waiting.append((image, seen))
        if len(waiting) == BATCH:
            yield from _answers(classifier, waiting, top)
            waiting = []
    yield from _answers(classifier, waiting, top)


def table(predictions: Sequence[Prediction]) -> list[str]:
    """Lay predictions out for people.

    Args:
        predictions: of images that could be read.

    Returns:
        Lines: for each image a row for each class, the image's name in the first one.
    """
    rows = [
        (truncate(one.name) + " (inverted)" * one.inverted if not place else "", guess["label"], guess["probability"])
        for one in predictions
        for place, guess in enumerate(one.answer)
    ]
    names = max((len(name) for name, _, _ in rows), default=0)
    labels = max((len(label) for _, label, _ in rows), default=0)
    return [f"{name:{names}}  {label:{labels}}  {probability:7.2%}" for name, label, probability in rows]


def _of_file(path: str, name: str) -> Given:
    try:
        return Given(name, Path(path).read_bytes())
    except OSError as error:
        return Given(name, None, f"it can't be read ({error.strerror})")


def _of_line(number: int, line: str) -> Given:
    """The image that a line of JSON names or holds."""
    name = f"line {number}"
    try:
        found = json.loads(line)
        path = found.get("path") if isinstance(found, dict) else found
        if isinstance(path, str):
            return _of_file(path, path)
        return Given(name, base64.b64decode(found["image"], validate=True))
    except (ValueError, LookupError, TypeError):
        return Given(name, None, 'it is neither a path, {"path": PATH} nor {"image": BASE64} in JSON')


def _see(classifier: Classifier, image: Given, invert: str) -> Seen | str:
    """What the model sees of an image, or why it sees nothing."""
    if image.content is None:
        return image.error
    try:
        return classifier.see(image.content, invert)
    except UnreadableError as error:
        return str(error)


def _answers(classifier: Classifier, images: Sequence[tuple[Given, Seen | str]], top: int) -> Iterator[Prediction]:
    """Predict one batch of images."""
    seen = [one for _, one in images if isinstance(one, Seen)]
    answers = iter(classifier.classify(np.stack([one.pixels for one in seen]), top) if seen else [])
    for image, one in images:
        if isinstance(one, Seen):
            yield Prediction(image.name, next(answers), one.inverted)
        else:
            yield Prediction(image.name, [], error=one)


def _file_name(name: str) -> str:
    """The last part of a path, as a name that every file system takes: some count bytes, of which a character has up to four."""
    return re.sub(r"[^\w.-]+", "-", Path(name).name)[:40]


def _write(seen: Seen, path: Path) -> None:
    """Write what the model saw as a PNG file."""
    grey = seen.pixels.shape[2] == 1
    with disk.atomic_write(path) as part:
        Image.fromarray(seen.pixels[:, :, 0] if grey else seen.pixels).save(part, format="PNG")
