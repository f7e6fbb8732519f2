"""Files that are whole or not there: whatever kills the process, a reader finds the old file or the new one."""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mlproject.errors import UserError

ABANDONED_SECONDS = 3600  # a living process writes to its part far more often


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to; the file takes the name `path` when the block has ended well.

    It is on the disk by then (fsync), so that even a power cut leaves the old content or the new. Parts that killed processes
    left behind are removed.
    """
    for part in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # a living process may give its part its name just now
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()
    # Not by the process' number alone: two containers on one folder can have the same.
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def demand_writable(setting: str, folder: Path) -> None:
    """Make the folder where it is missing; UserError, which names the `setting`, when no file can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{setting}={folder} cannot be written ({error.strerror}); accepted: a writable folder"
        ) from error


def copy(source: str, target: str) -> None:
    """Copy a file so that the target is whole at every moment; for `shutil.copytree`."""
    with whole(Path(target)) as part:
        shutil.copy2(source, part)


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file, so that it is not in the way and can still be looked at; says so on stderr."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    os.replace(path, aside)
    print(f"warning: {path} is damaged ({reason}); it is kept as {aside.name}", file=sys.stderr, flush=True)
