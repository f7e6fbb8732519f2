"""Reads arrays that may be memory-mapped and larger than the memory, a part at a time."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

ROWS_AT_ONCE = 5000


def release(images: np.ndarray) -> None:
    """Give the memory of a memory-mapped array back to the system, which reads the file again when it is needed.

    Otherwise all that was once read counts as memory of the process, which limits of containers and people go by. Writable
    arrays, arrays in memory, and systems without `madvise` are left alone.

    Args:
        images: a read-only memory-mapped array or a view of one. The pages of the whole file are given back.
    """
    base: object = images
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def parts(array: np.ndarray, rows: int = ROWS_AT_ONCE) -> Iterator[np.ndarray]:
    """Go through an array, and release the memory of each part before the next one.

    Args:
        array: (n, ...), in memory or memory-mapped.
        rows: the rows of a part; the last part may have fewer.

    Yields:
        Consecutive parts, as views.
    """
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        release(array)


def extremes(array: np.ndarray) -> tuple[Any, Any]:
    """Find the smallest and the largest value of an array.

    Args:
        array: (n, ...), n at least 1.

    Returns:
        Both, of the array's type; NaN if any value is.
    """
    part_extremes = [(part.min(), part.max()) for part in parts(array)]
    return np.min([low for low, _ in part_extremes]), np.max([high for _, high in part_extremes])
