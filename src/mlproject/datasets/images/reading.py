"""Reading files that may hold anything."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlproject.errors import UserError, first_line, truncate


def read_file(paths: Sequence[str], position: int) -> bytes:
    """Read the file at one position of a list."""
    return Path(paths[position]).read_bytes()


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Refuse a file that is damaged, whatever the block raises: NumPy, zipfile and Arrow raise exceptions of many types.

    Args:
        path: the file.
        kind: what it should be, for the message.

    Raises:
        UserError: the block raised an exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} cannot be read ({truncate(first_line(error))}); accepted: {kind}, undamaged and permitted"
        ) from error
