"""Keeps all images of a set as bytes of one shape in a memory-mapped file, which is written once.

Neither the files nor their pixels are ever in memory all at once.
"""

import hashlib
import itertools
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import pandas as pd
import PIL
from numpy.typing import NDArray
from tqdm import tqdm

from mlproject import disk
from mlproject.datasets.images.decoding import Content, UnreadableError, decode, header
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.preparation import DECODER_VERSION, Preparation
from mlproject.errors import UserError, truncate

CHUNK = 16  # images that a thread takes at once
CHUNKS_AHEAD = 3  # for each thread: chunks that are being decoded or wait to be written
CHECKED_ROWS = 8  # rows of an existing file that are decoded again, to check its content
KEY_DIGITS = 24

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Pixels:
    """The images of a set that could be decoded.

    Attributes:
        images: uint8 (m, size, size, channels), memory-mapped and read-only.
        positions: int64 (m,), the positions of these images in the table of the entries.
        errors: for the positions of all other images that were asked for, why they could not be decoded.
    """

    images: np.memmap
    positions: NDArray[np.int64]
    errors: dict[int, str]


def scan(entries: Entries) -> pd.DataFrame:
    """Read the content of each image once, for its digest and header.

    Args:
        entries: the images.

    Returns:
        A row for each row of `entries.table`, with its index. The columns: digest, the SHA-256 of the content in hexadecimal
        digits, "" if it can't be read; format, mode, width and height as in `decoding.Header`, "" and 0 if the header can't
        be read; error, why the content or the header can't be read, or "".
    """
    rows = _map_in_threads(len(entries.table), lambda position: _scan_image(entries, position), "reading images")
    columns = ["digest", "format", "mode", "width", "height", "error"]
    table = pd.DataFrame(list(rows), columns=columns, index=entries.table.index)
    return table.astype({"width": np.int64, "height": np.int64})


def load(
    entries: Entries,
    positions: Sequence[int] | NDArray[np.int64],
    digests: pd.Series,
    preparation: Preparation,
    folder: Path,
) -> Pixels:
    """Decode images, or find them decoded by an earlier call.

    The file in `folder` has the key of its contents, their order, the preparation and the decoder in its name. It is written
    under a temporary name, so that a killed process leaves nothing that looks complete.

    Args:
        entries: the images.
        positions: which images, in the order wanted, as positions in `entries.table`. `scan` could read each of them.
        digests: the column of `scan`.
        preparation: how the images are brought into one shape.
        folder: the folder of the files, which is created when needed.

    Returns:
        The images that could be decoded, in the order of `positions`.

    Raises:
        UserError: no image could be decoded; a content has changed since it was scanned; the folder can't be written, or is on
            a disk without the space.
    """
    positions = np.asarray(positions, np.int64)
    selection = _Selection(entries, positions, digests.to_numpy()[positions], preparation)
    path = folder / f"images-{selection.key()}.npy"
    stored = _open_existing(selection, path)
    if stored is None:
        _write(selection, path)
        stored = _open(selection, path)
    images, errors = stored
    decoded_positions = np.delete(positions, list(errors))
    return Pixels(images, decoded_positions, {int(positions[place]): reason for place, reason in errors.items()})


@dataclass(frozen=True, eq=False)
class _Selection:
    """The images that a file has to contain. A *place* is an index into `positions`."""

    entries: Entries
    positions: NDArray[np.int64]
    digests: NDArray[np.object_]
    preparation: Preparation

    @property
    def bytes_needed(self) -> int:
        """The size of the file if every image can be decoded."""
        return len(self.positions) * int(np.prod(self.preparation.shape))

    def key(self) -> str:
        """Hexadecimal digits that differ when the pixels could."""
        description = json.dumps([self.preparation.describe(), DECODER_VERSION, PIL.__version__])
        hasher = hashlib.sha256(description.encode())
        for image_digest in self.digests:
            hasher.update(f"\n{image_digest}".encode())
        return hasher.hexdigest()[:KEY_DIGITS]

    def decode(self, place: int) -> NDArray[np.uint8] | str:
        """The pixels of an image, or the reason why there are none."""
        position = int(self.positions[place])
        name = truncate(self.entries.table["path"].iloc[position])
        try:
            content = self.entries.read(position)
        except OSError as error:
            reason = error.strerror or truncate(error)  # a damaged Parquet file has no code of the system
            raise UserError(f"{name} can't be read any more ({reason}); accepted: files that stay the same") from error
        if _digest(content) != self.digests[place]:
            raise UserError(f"{name} has changed since it was read first; accepted: files that stay the same")
        try:
            return decode(content, self.preparation)
        except UnreadableError as error:
            return str(error)


def _scan_image(entries: Entries, position: int) -> tuple[str, str, str, int, int, str]:
    """A row of `scan`."""
    digest = ""
    try:
        content = entries.read(position)
        digest = _digest(content)
        return digest, *header(content), ""
    except OSError as error:
        return digest, "", "", 0, 0, f"it can't be read ({error.strerror or truncate(error)})"
    except UnreadableError as error:
        return digest, "", "", 0, 0, str(error)


def _digest(content: Content) -> str:
    """The SHA-256 of a file's bytes, or of an array's type, shape and values."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(f"{content.dtype} {content.shape} ".encode())
    digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def _map_in_threads(count: int, function: Callable[[int], Result], title: str) -> Iterator[Result]:
    """Call a function for 0, 1, ... in threads; yields the results in order. Threads are only a few chunks ahead."""

    def run(start: int) -> list[Result]:
        return [function(place) for place in range(start, min(start + CHUNK, count))]

    threads = os.cpu_count() or 1
    chunks = iter(range(0, count, CHUNK))
    pool = ThreadPoolExecutor(threads)
    # disable=None shows a progress bar on a terminal and nothing in a log file.
    with tqdm(total=count, desc=title, leave=False, disable=None) as bar:
        try:
            waiting = deque(pool.submit(run, start) for start in itertools.islice(chunks, threads * CHUNKS_AHEAD))
            while waiting:
                results = waiting.popleft().result()
                waiting.extend(pool.submit(run, start) for start in itertools.islice(chunks, 1))
                yield from results
                bar.update(len(results))
        finally:
            pool.shutdown(cancel_futures=True)


def _open_existing(selection: _Selection, path: Path) -> tuple[np.memmap, dict[int, str]] | None:
    """Open an existing file, unless it is damaged."""
    if not path.exists():
        return None
    try:
        images, errors = _open(selection, path)
        # The right size says nothing about the values, so a few rows are decoded again.
        decoded_places = np.delete(np.arange(len(selection.positions)), list(errors))
        for row in np.unique(np.linspace(0, len(decoded_places) - 1, CHECKED_ROWS).astype(int)):
            if not np.array_equal(images[row], selection.decode(int(decoded_places[row]))):
                raise ValueError("it holds other values")
    except (ValueError, LookupError, AttributeError, OSError, EOFError) as error:
        logger.warning("%s is damaged (%s); the images are decoded again", path, truncate(error))
        return None
    return images, errors


def _open(selection: _Selection, path: Path) -> tuple[np.memmap, dict[int, str]]:
    """Open a file, and the list of images that it lacks; raises an exception if its shape is wrong."""
    stored = json.loads(_errors_path(path).read_text(encoding="utf-8"))
    errors = {int(place): str(reason) for place, reason in stored.items()}
    images = np.load(path, mmap_mode="r")  # NumPy refuses pickled objects here, which could execute code
    expected = (len(selection.positions) - len(errors), *selection.preparation.shape)
    if not isinstance(images, np.memmap) or (images.shape, images.dtype) != (expected, np.uint8):
        raise ValueError(f"it holds {images.dtype} {images.shape} in place of uint8 {expected}")
    return images, errors


def _errors_path(path: Path) -> Path:
    """The file that says for which places there are no images, and why."""
    return path.with_suffix(".json")


def _write(selection: _Selection, path: Path) -> None:
    """Decode all images and write them in their order. Written, not mapped, pages don't count as memory of the process."""
    errors = {}
    with disk.room(path.parent, selection.bytes_needed, "the decoded images"), disk.atomic_write(path) as part:
        with part.open("wb") as stream:
            _write_header(stream, len(selection.positions), selection.preparation.shape)
            results = _map_in_threads(len(selection.positions), selection.decode, "decoding images")
            for place, result in enumerate(results):
                if isinstance(result, str):
                    errors[place] = result
                else:
                    stream.write(result.data)
            count = len(selection.positions) - len(errors)
            if not count:
                reason = f"; the first: {errors[0]}" if errors else ""
                raise UserError(f"none of {len(errors)} images could be decoded{reason}")
            stream.seek(0)
            _write_header(stream, count, selection.preparation.shape)
        # The list is complete before the images are.
        with disk.atomic_write(_errors_path(path)) as list_part:
            list_part.write_text(json.dumps(errors), encoding="utf-8")


def _write_header(stream: BinaryIO, count: int, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file. NumPy leaves room in it, so that its length is the same for all counts."""
    description = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(stream, description)
