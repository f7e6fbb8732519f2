"""Manifests: tables that name image files and say what they show."""

import csv
import functools
import io
import os
import unicodedata
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlproject.datasets.images import classes
from mlproject.datasets.images.entries import COLUMNS, Entries
from mlproject.datasets.images.reading import read_file, reading
from mlproject.errors import UserError, truncate

REQUIRED_COLUMNS = COLUMNS[:2]
ACCEPTED = f"the columns {', '.join(REQUIRED_COLUMNS)} and, where wanted, {', '.join(COLUMNS[2:])}"
MISSING_LIMIT = 0.05  # share of missing files above which a manifest is refused: its paths are then wrong as such


def read_csv(path: Path) -> Entries:
    """Read a manifest of text, separated by commas, semicolons or tabs.

    Args:
        path: the file. Text that is not UTF-8 (or UTF-16 with a byte-order mark) is read as Windows' code page 1252.

    Returns:
        The images, not yet checked by `classes.check`.

    Warns:
        UserWarning: the file is not UTF-8, or names missing files.

    Raises:
        UserError: the table cannot be read, or contradicts itself.
    """
    text = _decode(path)
    header, rows = _parse_rows(path, text)
    names = _column_positions(path, header)
    table = pd.DataFrame({name: [row[position] for _, row in rows] for name, position in names.items()}, dtype="str")
    return _entries(path, table, [f"line {line}" for line, _ in rows], "a manifest in CSV")


def read_parquet(path: Path) -> Entries:
    """Read a manifest in Parquet, whose columns hold text or, for labels, whole numbers.

    Args:
        path: the file.

    Returns:
        The images, not yet checked by `classes.check`.

    Raises:
        UserError: the table cannot be read, or contradicts itself.
    """
    with reading(path, "a manifest in Parquet"):
        stored = pq.read_table(path)
        names = _column_positions(path, stored.column_names)
        texts = {name: _as_texts(path, name, stored.column(position)) for name, position in names.items()}
    table = pd.DataFrame(texts, dtype="str")
    return _entries(path, table, [f"row {row}" for row in range(1, len(table) + 1)], "a manifest in Parquet")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    is_utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    encodings = ["utf-16"] if is_utf_16 else ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if encoding in ("cp1252", "latin-1"):
            warnings.warn(f"{path} is not UTF-8; it is read as {encoding}", stacklevel=5)
        return text
    raise UserError(f"{path} is no text; accepted: a table in CSV, best in UTF-8")


def _parse_rows(path: Path, text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows with the numbers of their lines, split at the separator that makes sense of the header."""
    if not text.strip():
        raise UserError(f"{path} is empty; accepted: a table with {ACCEPTED}")
    longest_header: list[str] = []
    try:
        for separator in (",", ";", "\t"):
            # The separator of a file is certain once the header has both columns that are needed.
            # It is sought without `strict`, to which quoted names are an error at any other separator.
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            header = next((row for row in reader if row), [])
            if {name.strip().lower() for name in header}.issuperset(REQUIRED_COLUMNS):
                reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
                rows = [(reader.line_num, row) for row in reader if row][1:]
                break
            longest_header = max(longest_header, header, key=len)
        else:
            raise UserError(f"{path} has the columns {classes.list_names(longest_header)}; accepted: {ACCEPTED}")
    except csv.Error as error:
        raise UserError(
            f"{path} line {reader.line_num} cannot be read as CSV ({error}); accepted: {ACCEPTED}"
        ) from error
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path} line {line} has {len(row)} values; accepted: {len(header)}, as in the header")
    return header, rows


def _column_positions(path: Path, header: list[str]) -> dict[str, int]:
    """The position of each of our columns in a header."""
    lower_names = [name.strip().lower() for name in header]
    for name in COLUMNS:
        if lower_names.count(name) > 1:
            raise UserError(f"{path} has the column {name} more than once; accepted: {ACCEPTED}")
    if not set(lower_names).issuperset(REQUIRED_COLUMNS):
        raise UserError(f"{path} has the columns {classes.list_names(header)}; accepted: {ACCEPTED}")
    return {name: lower_names.index(name) for name in COLUMNS if name in lower_names}


def _as_texts(path: Path, name: str, column: pa.ChunkedArray) -> list[str]:
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = any(test(value_type) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    if not (is_text or name != "path" and pa.types.is_integer(value_type)):
        accepted = "text" if name == "path" else "text or whole numbers"
        raise UserError(f"{path}: the column {name} holds {truncate(value_type)}; accepted: {accepted}")
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _entries(path: Path, table: pd.DataFrame, locations: list[str], layout: str) -> Entries:
    """Check the rows of a manifest, and find their files."""
    if table.empty:
        raise UserError(f"{path} has no rows; accepted: a row for each image")
    for name in REQUIRED_COLUMNS:
        if (table[name] == "").any():
            row = int((table[name] == "").argmax())
            raise UserError(f"{path} {locations[row]} has no {name}; accepted: a {name} in every row")
    if "split" in table:
        table["split"] = _accepted_splits(path, table["split"], locations)
    if "group" in table:  # in one spelling: images of a group in two spellings could fall into two splits
        table["group"] = [classes.normalise(name).strip() for name in table["group"]]
    files = [_locate(path.parent, name) for name in table["path"]]
    passed_over: dict[str, str] = {}
    first_rows: dict[str, int] = {}  # the first row of each file
    missing = []
    for row, (file, reason) in enumerate(files):
        if reason:
            missing.append(table["path"].iloc[row])
            passed_over[f"{locations[row]}: {missing[-1]}"] = reason
        elif (first_row := first_rows.setdefault(file, row)) != row:
            _refuse_contradiction(path, table, (first_row, row), locations)
            passed_over[f"{locations[row]}: {table['path'].iloc[row]}"] = f"is named in {locations[first_row]} already"
    if missing:
        _judge_missing(path, missing, len(table))
    table = table.iloc[list(first_rows.values())].reset_index(drop=True)
    return Entries(
        path,
        layout,
        classes.make_table(**{str(name): table[name] for name in table.columns}),
        functools.partial(read_file, list(first_rows)),
        passed_over,
    )


def _accepted_splits(path: Path, splits: "pd.Series[str]", locations: list[str]) -> list[str]:
    accepted = [classes.split_of(split.strip()) for split in splits]
    for row, (split_text, split) in enumerate(zip(splits, accepted, strict=True)):
        if split_text.strip() and not split:
            raise UserError(
                f"{path} {locations[row]} has the split '{truncate(split_text)}'; accepted: {classes.ACCEPTED_SPLITS}"
            )
    return accepted


def _locate(folder: Path, name: str) -> tuple[str, str]:
    """The file that a manifest names, and why it cannot be an image, or "".

    Manifests come from other systems, whose paths may have backslashes, or accents in another form of Unicode.
    """
    spellings = [
        spelling
        for path in (name, name.replace("\\", "/"))
        for spelling in (path, classes.normalise(path), unicodedata.normalize("NFD", path))
    ]
    for spelling in dict.fromkeys(spellings):
        file = os.path.normpath(os.path.join(folder, spelling))
        try:
            if os.path.isfile(file):
                return file, "" if os.path.getsize(file) else "is empty"
        except (OSError, ValueError):
            continue
    return "", "does not exist or is no file"


def _refuse_contradiction(path: Path, table: pd.DataFrame, rows: tuple[int, int], locations: list[str]) -> None:
    """Refuse two rows that say different things of one file."""
    for column in table.columns[1:]:
        first, second = (str(table[column].iloc[row]) for row in rows)
        if first != second:
            raise UserError(
                f"{path} gives {truncate(table['path'].iloc[rows[0]])} the {column} '{truncate(first)}' in {locations[rows[0]]}"
                f" and '{truncate(second)}' in {locations[rows[1]]}; accepted: one {column}"
            )


def _judge_missing(path: Path, missing: list[str], rows: int) -> None:
    """Warn of a few missing files, and refuse more."""
    summary = (
        f"{path}: {len(missing)} of {rows} files are missing or empty, among them {classes.list_names(missing, 3)}"
    )
    if len(missing) > MISSING_LIMIT * rows:
        raise UserError(
            f"{summary}; accepted: at most {MISSING_LIMIT:.0%}, with paths that are absolute or relative to {path.parent}"
        )
    warnings.warn(f"{summary}; passed over", stacklevel=5)
