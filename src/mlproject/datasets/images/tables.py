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

NEEDED = COLUMNS[:2]
ACCEPTED = f"the columns {', '.join(NEEDED)} and, where wanted, {', '.join(COLUMNS[2:])}"
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
    header, rows = _rows(path, text)
    names = _columns(path, header)
    table = pd.DataFrame({name: [row[at] for _, row in rows] for name, at in names.items()}, dtype="str")
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
        names = _columns(path, stored.column_names)
        texts = {name: _as_text(path, name, stored.column(at)) for name, at in names.items()}
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


def _rows(path: Path, text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows with the numbers of their lines, split at the separator that makes sense of the header."""
    if not text.strip():
        raise UserError(f"{path} is empty; accepted: a table with {ACCEPTED}")
    best: list[str] = []
    try:
        for separator in (",", ";", "\t"):
            # The separator of a file is certain once the header has both columns that are needed.
            # It is sought without `strict`, to which quoted names are an error at any other separator.
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            header = next((row for row in reader if row), [])
            if {name.strip().lower() for name in header}.issuperset(NEEDED):
                reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
                rows = [(reader.line_num, row) for row in reader if row][1:]
                break
            best = max(best, header, key=len)
        else:
            raise UserError(f"{path} has the columns {classes.list_names(best)}; accepted: {ACCEPTED}")
    except csv.Error as error:
        raise UserError(
            f"{path} line {reader.line_num} cannot be read as CSV ({error}); accepted: {ACCEPTED}"
        ) from error
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path} line {line} has {len(row)} values; accepted: {len(header)}, as in the header")
    return header, rows


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """The position of each of our columns in a header."""
    plain = [name.strip().lower() for name in header]
    for name in COLUMNS:
        if plain.count(name) > 1:
            raise UserError(f"{path} has the column {name} more than once; accepted: {ACCEPTED}")
    if not set(plain).issuperset(NEEDED):
        raise UserError(f"{path} has the columns {classes.list_names(header)}; accepted: {ACCEPTED}")
    return {name: plain.index(name) for name in COLUMNS if name in plain}


def _as_text(path: Path, name: str, column: pa.ChunkedArray) -> list[str]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))
    if not (is_text or name != "path" and pa.types.is_integer(kind)):
        accepted = "text" if name == "path" else "text or whole numbers"
        raise UserError(f"{path}: the column {name} holds {truncate(kind)}; accepted: {accepted}")
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _entries(path: Path, table: pd.DataFrame, where: list[str], layout: str) -> Entries:
    """Check the rows of a manifest, and find their files."""
    if table.empty:
        raise UserError(f"{path} has no rows; accepted: a row for each image")
    for name in NEEDED:
        if (table[name] == "").any():
            row = int((table[name] == "").argmax())
            raise UserError(f"{path} {where[row]} has no {name}; accepted: a {name} in every row")
    if "split" in table:
        table["split"] = _splits(path, table["split"], where)
    if "group" in table:  # in one spelling: images of a group in two spellings could fall into two splits
        table["group"] = [classes.normal(name).strip() for name in table["group"]]
    files = [_locate(path.parent, name) for name in table["path"]]
    passed_over: dict[str, str] = {}
    kept: dict[str, int] = {}  # the first row of each file
    missing = []
    for row, (file, reason) in enumerate(files):
        if reason:
            missing.append(table["path"].iloc[row])
            passed_over[f"{where[row]}: {missing[-1]}"] = reason
        elif (first := kept.setdefault(file, row)) != row:
            _refuse_contradiction(path, table, (first, row), where)
            passed_over[f"{where[row]}: {table['path'].iloc[row]}"] = f"is named in {where[first]} already"
    if missing:
        _judge_missing(path, missing, len(table))
    table = table.iloc[list(kept.values())].reset_index(drop=True)
    return Entries(
        path,
        layout,
        classes.make_table(**{str(name): table[name] for name in table.columns}),
        functools.partial(read_file, list(kept)),
        passed_over,
    )


def _splits(path: Path, splits: "pd.Series[str]", where: list[str]) -> list[str]:
    known = [classes.split_of(split.strip()) for split in splits]
    for row, (given, split) in enumerate(zip(splits, known, strict=True)):
        if given.strip() and not split:
            raise UserError(
                f"{path} {where[row]} has the split '{truncate(given)}'; accepted: {classes.ACCEPTED_SPLITS}"
            )
    return known


def _locate(folder: Path, name: str) -> tuple[str, str]:
    """The file that a manifest names, and why it cannot be an image, or "".

    Manifests come from other systems, whose paths may have backslashes, or accents in another form of Unicode.
    """
    spellings = [
        spelling
        for path in (name, name.replace("\\", "/"))
        for spelling in (path, classes.normal(path), unicodedata.normalize("NFD", path))
    ]
    for spelling in dict.fromkeys(spellings):
        file = os.path.normpath(os.path.join(folder, spelling))
        try:
            if os.path.isfile(file):
                return file, "" if os.path.getsize(file) else "is empty"
        except (OSError, ValueError):
            continue
    return "", "does not exist or is no file"


def _refuse_contradiction(path: Path, table: pd.DataFrame, rows: tuple[int, int], where: list[str]) -> None:
    """Refuse two rows that say different things of one file."""
    for name in table.columns[1:]:
        first, second = (str(table[name].iloc[row]) for row in rows)
        if first != second:
            raise UserError(
                f"{path} gives {truncate(table['path'].iloc[rows[0]])} the {name} '{truncate(first)}' in {where[rows[0]]}"
                f" and '{truncate(second)}' in {where[rows[1]]}; accepted: one {name}"
            )


def _judge_missing(path: Path, missing: list[str], rows: int) -> None:
    """Warn of a few missing files, and refuse more."""
    found = f"{path}: {len(missing)} of {rows} files are missing or empty, among them {classes.list_names(missing, 3)}"
    if len(missing) > MISSING_LIMIT * rows:
        raise UserError(
            f"{found}; accepted: at most {MISSING_LIMIT:.0%}, with paths that are absolute or relative to {path.parent}"
        )
    warnings.warn(f"{found}; passed over", stacklevel=5)
