"""Files that an interrupted fit or cross-validation goes on from: arrays with a description, in one .npz file."""

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mlproject import disk

T = TypeVar("T")


def write(path: Path, description: object, arrays: Mapping[str, np.ndarray], lost_work: str) -> None:
    """Replace the file. One that cannot be written, most likely for a full disk, causes a warning, and the fit goes on.

    Args:
        path: the file.
        description: what is kept beside the arrays, in types that JSON has.
        arrays: by name.
        lost_work: what an interruption loses without the file, for the warning.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        with disk.atomic_write(path) as part, part.open("wb") as stream:
            np.savez(stream, about=np.array(json.dumps(description)), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(
            f"{path} cannot be written ({error.strerror}); an interruption now loses {lost_work}",
            stacklevel=3,
        )


def read(path: Path, make: Callable[[Any, dict[str, np.ndarray]], T]) -> T | None:
    """Read a file that `write` wrote.

    Args:
        path: the file.
        make: makes the result from what was kept beside the arrays, and the arrays by name.

    Returns:
        The result; None where there is no file, or a damaged one, which is set aside.
    """
    try:
        with np.load(path) as file:  # NumPy refuses pickled objects by default
            arrays = dict(file)
        return make(json.loads(str(arrays.pop("about"))), arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        disk.set_aside(path, error)
        return None
