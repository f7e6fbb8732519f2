"""Where files come from (the folder the user names, known places on the machine, a download); reading with bounds.

The order of search is: the `data_dir` parameter, else the environment variable MLPROJECT_DATA; Keras' own cache; where
a Debian package puts them; a download into Keras' cache. A folder that the user named must hold the data: nothing else
is tried then.
"""

import gzip
import os
import socket
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from mlproject import disk
from mlproject.errors import UserError, shown


class Arrays(NamedTuple):
    """A data set with its finest labels.

    Images: uint8 (n, height, width, channels). Labels: int64 (n,). source: where they were read from, for people.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str


def keras_cache() -> Path:
    """Keras' cache folder, found as Keras finds it: KERAS_HOME, else ~/.keras. (Importing it takes seconds.)"""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def named_folder(data_dir: Path | str | None) -> Path | None:
    """The folder given as `data_dir` or by MLPROJECT_DATA; None when neither is. UserError when it is missing."""
    for setting, value in (("data_dir", data_dir), ("MLPROJECT_DATA", os.environ.get("MLPROJECT_DATA"))):
        if value:
            folder = user_path(value)
            if folder is None or not os.path.isdir(folder):
                raise UserError(f"{setting}={shown(value)} is not a folder; accepted: a folder that holds the data")
            return folder
    return None


def user_path(text: Path | str) -> Path | None:
    """A path as a user writes it, with ~ for the home folder; None for ~NAME without such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return None


def first(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of `names` (paths relative to a folder) that exists, folder by folder; None when there is none."""
    return next((folder / name for folder in folders for name in names if os.path.exists(folder / name)), None)


def locate(data_dir: Path | str | None, names: Sequence[str], fallbacks: Sequence[Path]) -> Path | None:
    """Where one of `names` is: in the named folder, else in one of `fallbacks`; None means it has to be downloaded.

    Raises UserError when a named folder is missing or holds none of the names.
    """
    folder = named_folder(data_dir)
    if folder is None:
        return first(fallbacks, names)
    found = first([folder], names)
    if found is None:
        raise UserError(f"data folder {folder} lacks {names[0]}; accepted there: {' or '.join(names)}")
    return found


def download(url: str, checksum: str, folder: Path) -> Path:
    """Download `url` into `folder`, with Keras' progress bar, and give back the file's path.

    checksum: SHA-256 or MD5 of the whole file, in hexadecimal. The file gets its name only when it is whole and
    verified: until then it is called `<name>.<number>.part`, so a killed download leaves nothing that looks complete.
    Raises UserError when the folder cannot be written, the server cannot be reached or is silent for 30 seconds, or the
    checksum is another.
    """
    import keras  # imported here because it takes seconds, and most loads download nothing

    name = url.rpartition("/")[2]
    target = folder / name
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # get_file would quietly take a temporary folder instead
            raise PermissionError(f"{folder} is not writable")
        socket.setdefaulttimeout(30)
        with disk.whole(target) as part:
            keras.utils.get_file(
                part.name, url, file_hash=checksum, cache_dir=str(folder), cache_subdir=".", force_download=True
            )
    except Exception as error:  # get_file raises bare Exception
        reason = " ".join(str(error).rpartition(" -- ")[2].split())
        raise UserError(f"cannot download {url} ({reason}); accepted: the file put by hand into {folder}") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return target


class Bounded:
    """A binary stream that is never read beyond `limit` bytes: an archive of kilobytes can unpack to terabytes.

    Reading on raises UserError, which calls the stream by the name `where`.
    """

    def __init__(self, stream: BinaryIO, where: str, limit: int):
        self.stream, self.where, self.limit, self.left = stream, where, limit, limit

    def read(self, size: int) -> bytes:
        """The next bytes, `size` of them or fewer."""
        content = self.stream.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise UserError(f"{self.where} holds more than {self.limit} bytes unpacked; accepted: at most so many")
        return content


def read_gzip(path: Path, size: int) -> bytes:
    """The content of a gzip file that must hold exactly `size` bytes; never unpacks more than one byte beyond.

    Raises UserError when the file is damaged or truncated, or holds fewer or more bytes.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); accepted: a whole gzip file") from error
    if len(content) != size:
        found = f"only {len(content)}" if len(content) < size else f"more than {size}"
        raise UserError(f"{path} holds {found} bytes unpacked; accepted: {size}")
    return content


def check_labels(where: str, labels: np.ndarray, names: Sequence[str]) -> None:
    """Raise a UserError unless all labels are indices into `names` and every class has equally many records."""
    worst = int(labels.max())
    if worst >= len(names):
        raise UserError(f"{where} holds label {worst}; accepted: 0 to {len(names) - 1}")
    counts = np.bincount(labels, minlength=len(names))
    expected = len(labels) // len(names)
    if (counts != expected).any():
        odd = int(np.flatnonzero(counts != expected)[0])
        raise UserError(
            f"{where} holds {counts[odd]} records of class {odd} ({names[odd]}); accepted: {expected} of each class"
        )
