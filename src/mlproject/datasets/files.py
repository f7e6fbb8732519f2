"""Finds the files of data sets and weights, and reads them without trusting the sizes that they claim.

A file is searched for in this order: the folder `data_dir`, or else the folder named by the environment variable
MLPROJECT_DATA; Keras' cache; the folder of a Debian package. If no copy is found, the file is downloaded into Keras'
cache. If the user named a folder, it must contain the data, and no other place is searched.
"""

import gzip
import io
import os
import socket
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlproject import disk, environment
from mlproject.errors import UserError, truncate

DOWNLOAD_TIMEOUT_SECONDS = 30


class Description(NamedTuple):
    """What a user should know of a set of images.

    Attributes:
        table: the facts, with the text columns what and value.
        lists: for some of the facts the first files or classes that they count, by the text in `what`.
    """

    table: pd.DataFrame
    lists: dict[str, list[str]]


class Arrays(NamedTuple):
    """A data set as a loader delivers it, with its finest labels.

    `mlproject.datasets.contract` says what a loader may deliver besides, and brings it into this form.

    Attributes:
        train_images: uint8 (n, height, width, channels).
        train_labels: int64 (n,), indices into the loader's `classes`.
        test_images: uint8 (m, height, width, channels).
        test_labels: int64 (m,), indices into the loader's `classes`.
        source: a text that says where the data were read from.
        validation: int64 (v,), the rows of the training images that the user's own validation split holds; None to split
            at random.
        groups: int64 (n,), the group of each training image, such as a patient; images of one group are either all trained
            on or all validated on. None without groups.
        description: what the loader found out about the images, for people; None for nothing.
        preparation: how images of other sizes become such images, in types that JSON has; None if only the loader knows.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    validation: np.ndarray | None = None
    groups: np.ndarray | None = None
    description: Description | None = None
    preparation: Mapping[str, object] | None = None


def keras_cache() -> Path:
    """Find Keras' cache folder by Keras' own rule, without importing Keras, which takes seconds.

    Returns:
        The folder named by the environment variable KERAS_HOME, or else ~/.keras, or /tmp/.keras if home is read-only.
    """
    return Path(environment.keras_home())


def named_folder(data_dir: Path | str | None) -> Path | None:
    """Find the data folder that the user named.

    Args:
        data_dir: the value of the option `data_dir`; None or empty if it was not given.

    Returns:
        The folder given by `data_dir`, or else by MLPROJECT_DATA; None if neither is set.

    Raises:
        UserError: the folder does not exist.
    """
    for setting, value in (("data_dir", data_dir), ("MLPROJECT_DATA", os.environ.get("MLPROJECT_DATA"))):
        if value:
            folder = Path(os.path.expanduser(value))
            if not os.path.isdir(folder):
                raise UserError(f"{setting}={truncate(value)} is not a folder; accepted: a folder that holds the data")
            return folder
    return None


def first_existing(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Find the first path that exists, folder by folder.

    Args:
        folders: the folders to look in.
        names: paths relative to a folder.

    Returns:
        The path that was found; None if there is none.
    """
    return next((folder / name for folder in folders for name in names if os.path.exists(folder / name)), None)


def locate(data_dir: Path | str | None, names: Sequence[str], fallbacks: Sequence[Path]) -> Path | None:
    """Find a file in the folder that the user named, or else in one of the fallback folders.

    Args:
        data_dir: the value of the option `data_dir`; None if it was not given.
        names: the names that the file may have, as paths relative to a folder.
        fallbacks: the folders to look in if the user named none.

    Returns:
        The path that was found; None means that the file has to be downloaded.

    Raises:
        UserError: the folder that the user named does not exist or holds none of the names.
    """
    folder = named_folder(data_dir)
    if folder is None:
        return first_existing(fallbacks, names)
    path = first_existing([folder], names)
    if path is None:
        raise UserError(f"data folder {folder} lacks {names[0]}; accepted there: {' or '.join(names)}")
    return path


def download(url: str, checksum: str | None, folder: Path) -> Path:
    """Download a file and show Keras' progress bar.

    The file gets its name only after its checksum has been verified. Until then it is called `<name>.<number>.part`, so
    an interrupted download leaves nothing that looks complete.

    Args:
        url: the file's address; the last part of its path becomes the file's name.
        checksum: SHA-256 or MD5 of the file, in hexadecimal; None checks nothing.
        folder: the folder to download into; it is created if it is missing.

    Returns:
        The path of the downloaded file.

    Raises:
        UserError: the folder is not writable, the server is not reachable or sends nothing for 30 seconds, or the
            checksum differs.
    """
    import keras  # imported here because it takes seconds, and most loads download nothing

    name = url.rpartition("/")[2]
    target = folder / name
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # get_file would silently use a temporary folder instead
            raise PermissionError(f"{folder} is not writable")
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
        with disk.atomic_write(target) as part:
            keras.utils.get_file(
                part.name, url, file_hash=checksum, cache_dir=str(folder), cache_subdir=".", force_download=True
            )
    except Exception as error:  # get_file raises bare Exception
        reason = " ".join(str(error).rpartition(" -- ")[2].split())
        raise UserError(f"cannot download {url} ({reason}); accepted: {name}, put by hand into {folder}") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return target


class BoundedReader:
    """A binary stream that delivers at most `limit` bytes: an archive of kilobytes can unpack to terabytes."""

    def __init__(self, stream: io.BufferedIOBase, stream_name: str, limit: int) -> None:
        """Wrap a stream.

        Args:
            stream: the stream to read from.
            stream_name: the name of the stream in error messages.
            limit: the number of bytes that may be read in all.
        """
        self.stream, self.stream_name, self.limit, self.bytes_left = stream, stream_name, limit, limit

    def read(self, size: int) -> bytes:
        """Read the next bytes.

        Args:
            size: the number of bytes to read at most.

        Returns:
            `size` bytes, or fewer; none at the end of the stream.

        Raises:
            UserError: the stream holds more than `limit` bytes.
        """
        content = self.stream.read(min(size, self.bytes_left + 1))
        self.bytes_left -= len(content)
        if self.bytes_left < 0:
            raise UserError(
                f"{self.stream_name} holds more than {self.limit} bytes unpacked; accepted: at most {self.limit} bytes"
            )
        return content


def read_gzip(path: Path, size: int) -> bytes:
    """Read a gzip file whose unpacked size is known; never more than one byte beyond that is unpacked.

    Args:
        path: the file.
        size: the number of bytes that it must hold, unpacked.

    Returns:
        The unpacked bytes.

    Raises:
        UserError: the file is damaged or truncated, or holds fewer or more bytes.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); accepted: a whole gzip file") from error
    if len(content) != size:
        actual_size = f"only {len(content)}" if len(content) < size else f"more than {size}"
        raise UserError(f"{path} holds {actual_size} bytes unpacked; accepted: {size}")
    return content


def check_labels(file_name: str, labels: np.ndarray, names: Sequence[str]) -> None:
    """Check that every label is an index into the class names and that all classes have equally many records.

    Args:
        file_name: the name of the labels' file in error messages.
        labels: integers (n,), not negative.
        names: the class names.

    Raises:
        UserError: a label is out of range, or the classes differ in their number of records.
    """
    largest = int(labels.max())
    if largest >= len(names):
        raise UserError(f"{file_name} holds label {largest}; accepted: 0 to {len(names) - 1}")
    counts = np.bincount(labels, minlength=len(names))
    expected = len(labels) // len(names)
    if (counts != expected).any():
        index = int(np.flatnonzero(counts != expected)[0])
        raise UserError(
            f"{file_name} holds {counts[index]} records of class {index} ({names[index]});"
            f" accepted: {expected} records of each class"
        )
