"""Parquet files that hold the images themselves, as Hugging Face's image sets do.

Only labels are read at first. An image is read with its row group, and the last row groups stay in memory, up to 256 MB.
"""

import functools
import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlproject.datasets.images import classes
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.reading import reading
from mlproject.errors import UserError, first_line, truncate

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label", "fine_labels", "class", "target")
SUPERCLASS_COLUMNS = ("coarse_label", "coarse_labels")
MEMORY = 2**28  # bytes of row groups that are kept, because threads read several at once; at least two are
_PART = re.compile(r"(?P<set>.*)-\d{5}-of-(?P<parts>\d{5})", re.DOTALL)


def has_images(path: Path) -> bool:
    """Whether a Parquet file holds images, rather than the paths of images.

    Raises:
        UserError: the file is no Parquet file.
    """
    return bool(_image_columns(_open(path).schema_arrow))


def read(source: Path, files: Sequence[Path], named_splits: bool) -> Entries:
    """Read the labels of one or several Parquet files that hold images.

    Args:
        source: the folder or file that the user named.
        files: the files, in the order in which their images count.
        named_splits: whether the files' names give the splits ("train-00000-of-00002.parquet"), if all of them do.

    Returns:
        The images, not yet checked by `classes.check`.

    Raises:
        UserError: a file is damaged or missing, or has no labels.
    """
    splits = [classes.split_of(re.split("[-_.]", file.stem)[0]) if named_splits else "" for file in files]
    if any(splits) and not all(splits):
        unnamed = files[splits.index("")].name
        raise UserError(
            f"{source}: the name of {unnamed} gives no split, as others do; accepted: train-, validation-, test-"
        )
    if named_splits:
        _require_all_parts(source, files)
    parts = [_Part(file) for file in files]
    tables = [part.table(split, with_name=len(files) > 1) for part, split in zip(parts, splits, strict=True)]
    description = f"{len(files)} Parquet files" if len(files) > 1 else "a Parquet file"
    return Entries(source, f"images in {description}", pd.concat(tables, ignore_index=True), _ImageReader(parts), {})


class _Part:
    """One file: where its images are, and its labels."""

    def __init__(self, path: Path):
        file = _open(path)
        self.path = path
        self.schema = file.schema_arrow
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        self.ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
        self.group_bytes = [group.total_byte_size for group in groups]
        self.rows = file.metadata.num_rows
        image_columns = _image_columns(self.schema)
        preferred = [name for name in IMAGE_COLUMNS if name in image_columns] or image_columns
        if len(preferred) != 1:
            raise UserError(
                f"{path} has {len(preferred)} columns of images, {classes.list_names(preferred)}; accepted: one,"
                " with the bytes of image files"
            )
        (self.image_column,) = preferred
        label_columns = [name for name in LABEL_COLUMNS if name in self.schema.names]
        if not label_columns:
            raise UserError(
                f"{path} has the columns {classes.list_names(self.schema.names)}; accepted: labels in one of"
                f" {', '.join(LABEL_COLUMNS)}"
            )
        self.label_column = label_columns[0]

    def table(self, split: str, with_name: bool) -> pd.DataFrame:
        """The part's rows of the table of `Entries`."""
        prefix = f"{self.path.name} " if with_name else ""
        columns = {"label": self._label_names(self.label_column), "split": [split] * self.rows}
        superclass_columns = [name for name in SUPERCLASS_COLUMNS if name in self.schema.names]
        if superclass_columns and self.label_column.startswith("fine"):
            columns["superclass"] = self._label_names(superclass_columns[0])
        return classes.make_table([f"{prefix}row {row}" for row in range(1, self.rows + 1)], **columns)

    def _label_names(self, column: str) -> list[str]:
        """The names that a column of labels stands for."""
        with reading(self.path, "a Parquet file"):
            values = pq.read_table(self.path, columns=[column]).column(0).to_pylist()
        names = self._class_names(column)
        for row, value in enumerate(values, start=1):
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise UserError(
                    f"{self.path} row {row} has the {column} {truncate(value)}; accepted: text or a whole number"
                )
            if names and isinstance(value, int) and not 0 <= value < len(names):
                raise UserError(
                    f"{self.path} row {row} has the {column} {value}; accepted: 0 to {len(names) - 1}, the classes named"
                )
        return [names[value] if names and isinstance(value, int) else str(value) for value in values]

    def _class_names(self, column: str) -> list[str]:
        """The names of the classes as Hugging Face's `datasets` keeps them; empty if there are none."""
        try:
            metadata: Any = json.loads((self.schema.metadata or {})[b"huggingface"])
            names = metadata["info"]["features"][column]["names"]
        except (KeyError, TypeError, ValueError):
            return []
        return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


class _ImageReader:
    """Reads the image at a position, by its file and row group."""

    def __init__(self, parts: Sequence[_Part]):
        self._parts = parts
        self._ends = np.cumsum([part.rows for part in parts])
        self._lock = threading.Lock()  # threads that want the same row group wait for the one that reads it
        largest = max((size for part in parts for size in part.group_bytes), default=1)
        self._cached_group = functools.lru_cache(max(2, MEMORY // max(1, largest)))(self._read_group)

    def __call__(self, position: int) -> bytes:
        part_number = int(np.searchsorted(self._ends, position, side="right"))
        part = self._parts[part_number]
        row = position - (int(self._ends[part_number - 1]) if part_number else 0)
        group = int(np.searchsorted(part.ends, row, side="right"))
        row -= int(part.ends[group - 1]) if group else 0
        with self._lock:
            content = self._cached_group(part_number, group)[row].as_py()
        return content or b""

    def _read_group(self, part_number: int, group: int) -> pa.ChunkedArray:
        part = self._parts[part_number]
        try:
            with pq.ParquetFile(part.path) as file:
                images = file.read_row_group(group, columns=[f"{part.image_column}.bytes"]).column(0)
        except Exception as error:  # Arrow raises exceptions of many types for damaged files
            raise OSError(f"{part.path.name} is damaged ({first_line(error)})") from error
        return pa.chunked_array([chunk.field("bytes") for chunk in images.chunks], type=images.type.field("bytes").type)


def _open(path: Path) -> pq.ParquetFile:
    with reading(path, "a Parquet file"):
        file = pq.ParquetFile(path)
        file.schema_arrow.names  # noqa: B018 - damaged names raise an exception here
        return file


def _image_columns(schema: pa.Schema) -> list[str]:
    """The columns of structs that have a field with bytes."""
    return [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and any(
            subfield.name == "bytes" and (pa.types.is_binary(subfield.type) or pa.types.is_large_binary(subfield.type))
            for subfield in field.type
        )
    ]


def _require_all_parts(source: Path, files: Sequence[Path]) -> None:
    """Refuse a set of which parts are missing, as their numbers tell."""
    matches = [match for file in files if (match := _PART.fullmatch(file.stem))]
    for (name, parts), count in Counter((match["set"], int(match["parts"])) for match in matches).items():
        if count != parts:
            raise UserError(f"{source} holds {count} of the {parts} files of '{truncate(name)}'; accepted: all of them")
