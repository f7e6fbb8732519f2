"""Atomic writes: a file is complete or absent. However the process ends, a reader finds the old or the new content."""

import contextlib
import errno
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mlproject.errors import UserError

ABANDONED_SECONDS = 3600  # age of an abandoned temporary file; a running process writes to its own far more often
REPLACE_PAUSES = (0.1, 0.3, 0.9)  # seconds before the next attempt

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it at the end of a `with` block, unless the block raises.

    The content is on the disk before the rename (fsync), so that even a power cut leaves the old or the new content.
    The temporary files of killed processes are removed.

    Args:
        path: the file to write or replace.

    Yields:
        The temporary path, which the block must write to.
    """
    _remove_abandoned(path.parent, f"{path.name}.*.part")
    # The process id alone is not unique: two containers that share a folder can have the same.
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        _replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove temporary files of processes that were killed."""
    for part in folder.glob(pattern):
        # A running process may rename its file at this moment, and a file may belong to another user.
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()


def _replace(part: Path, path: Path) -> None:
    """Rename a file; try it again for a while if it is not permitted.

    Windows does not replace a file that a program has open, such as a virus scanner, which soon closes it.
    """
    for pause in REPLACE_PAUSES:
        try:
            os.replace(part, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(part, path)


def require_writable(setting: str, folder: Path) -> None:
    """Create a folder if it is missing, and check that files can be written into it.

    Args:
        setting: the name of the setting that the folder comes from, for the message.
        folder: the folder.

    Raises:
        UserError: no file can be written into the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{setting}={folder} cannot be written ({error.strerror}); accepted: a writable folder"
        ) from error


@contextlib.contextmanager
def room(folder: Path, bytes_needed: int, contents: str) -> Iterator[None]:
    """Let a `with` block write large files by `atomic_write`, if the disk has room for them.

    What killed processes left in the folder is removed first, whichever files it was to become.

    Args:
        folder: the folder of the files; it is created if it is missing.
        bytes_needed: the size of all files in bytes.
        contents: names their contents, in the plural, for the message.

    Raises:
        UserError: the folder cannot be written, or is on a disk without the space, before or within the block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder, "*.part")
        free = shutil.disk_usage(folder).free
        if free < bytes_needed:
            raise OSError(errno.ENOSPC, f"{free / 1e9:.1f} GB are free")
        yield
    except OSError as error:
        raise UserError(
            f"{contents} cannot be written into {folder} ({error.strerror}); accepted: a writable folder on a disk with "
            f"{bytes_needed / 1e9:.1f} GB ({bytes_needed} bytes)"
        ) from error


def atomic_copy(source: str, target: str) -> None:
    """Copy a file so that the target is complete at every moment; a `copy_function` for `shutil.copytree`.

    Args:
        source: path of the file to copy.
        target: path of the file to write or replace.
    """
    with atomic_write(Path(target)) as part:
        shutil.copy2(source, part)


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file and warn, so that a new one can take its place and the old one can be examined.

    Args:
        path: the damaged file.
        reason: what is wrong with it, for the message.
    """
    new_path = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    os.replace(path, new_path)
    logger.warning("%s is damaged (%s); it is kept as %s", path, reason, new_path.name)
