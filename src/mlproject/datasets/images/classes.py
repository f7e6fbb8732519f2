"""What every layout must satisfy: names of classes that mean one thing each, and splits that can be trained on."""

import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mlproject.datasets.images.entries import COLUMNS, Entries
from mlproject.errors import UserError, truncate

NAME_LIMIT = 255  # characters of a name; a folder's name has at most 255 bytes on common file systems
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
ACCEPTED_SPLITS = ", ".join(_SPLITS)


def split_of(name: str) -> str:
    """The split that a name stands for in any letter case: "train", "validation" or "test"; "" if it stands for none."""
    return _SPLITS.get(name.lower(), "")


def normalise(name: str) -> str:
    """A name in Unicode's form NFC. File systems and programs write the same name in different forms."""
    return unicodedata.normalize("NFC", name)


def make_table(path: Iterable[str], label: Iterable[str], **others: Iterable[str]) -> pd.DataFrame:
    """Make the table of `Entries`.

    Args:
        path: for each image its path.
        label: for each image its label.
        others: values of the other columns; a column that is not given is empty.
    """
    table = pd.DataFrame({"path": list(path), "label": list(label)}, dtype="str")
    for column in COLUMNS[2:]:
        table[column] = pd.Series(list(others[column]), dtype="str") if column in others else ""
    return table.astype("str")


def list_names(names: Iterable[str], limit: int = 5) -> str:
    """Quote the first names of a list, and count the others."""
    names = list(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(f"'{truncate(name)}'" for name in names[:limit]) + rest


def check(entries: Entries) -> Entries:
    """Check what holds for every layout, and bring the names of classes into one form.

    Args:
        entries: the images as a layout gives them.

    Returns:
        The same with names of classes and superclasses in the form NFC and without blanks around them.

    Warns:
        UserWarning: a class has only one image.

    Raises:
        UserError: there are no images; names are empty, too long, not printable, or differ only in letter case or blanks; there
            are fewer than two classes or superclasses; images lack a superclass or split that others have; a class lacks
            training images.
    """
    source, table = entries.source, entries.table.copy()
    if table.empty:
        raise UserError(f"{source} holds no images; accepted: images of at least two classes")
    for column in ("label", "superclass"):
        table[column] = table[column].map(_accepted_names(source, column, table))
    _check_superclasses(source, table)
    counts = table["label"].value_counts()
    if len(counts) < 2:
        raise UserError(f"{source} holds one class only, {list_names(counts.index)}; accepted: at least two classes")
    _check_splits(source, table)
    single_image_classes = sorted(counts.index[counts == 1])
    if single_image_classes:
        warnings.warn(
            f"{source} has classes with one image, which can be in one split only: {list_names(single_image_classes)}",
            stacklevel=3,
        )
    return replace(entries, table=table)


def _accepted_names(source: Path, column: str, table: pd.DataFrame) -> dict[str, str]:
    """The accepted form of each name in a column."""
    names: dict[str, str] = {}
    first_spellings: dict[str, str] = {}  # the first name of those that are equal but for case and blanks
    for name in table[column].unique():
        names[name] = normalise(name).strip()
        if column == "superclass" and name == "":
            continue
        reason = _objection(names[name])
        if reason:
            path = truncate(table["path"][table[column] == name].iloc[0])
            raise UserError(
                f"{source}: the {column} '{truncate(name)}' of {path} {reason}; accepted: names of 1 to {NAME_LIMIT}"
                " printable characters other than '.' and '..'"
            )
        earlier = first_spellings.setdefault(names[name].lower(), name)
        if normalise(earlier) != normalise(name):
            raise UserError(
                f"{source}: the {column}s '{truncate(earlier)}' and '{truncate(name)}' differ only in letter case or in"
                " blanks around them; accepted: one spelling for each class"
            )
    return names


def _objection(name: str) -> str:
    """Why a name is not accepted; "" if it is."""
    if not name:
        return "is empty"
    if name in (".", ".."):
        return "is a folder of the file system"
    if len(name) > NAME_LIMIT:
        return f"has {len(name)} characters"
    # Control characters, line and paragraph separators, and halves of characters. Emoji need some of the other ones.
    refused = [
        character
        for character in name
        if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or character == "\ufeff"
    ]
    return f"holds the character U+{ord(refused[0]):04X}" if refused else ""


def _is_given(source: Path, table: pd.DataFrame, column: str) -> bool:
    """Whether the images have a superclass or split. It is refused if only some have one."""
    is_empty = table[column] == ""
    if is_empty.any() and not is_empty.all():
        path = truncate(table["path"][is_empty].iloc[0])
        raise UserError(f"{source}: {path} has no {column}; accepted: a {column} for every image, or for none")
    return not is_empty.all()


def _check_superclasses(source: Path, table: pd.DataFrame) -> None:
    if not _is_given(source, table, "superclass"):
        return
    pairs = table[["label", "superclass"]].drop_duplicates()
    ambiguous = pairs[pairs["label"].duplicated(keep=False)]
    if len(ambiguous):
        label = ambiguous["label"].iloc[0]
        names = list_names(ambiguous["superclass"][ambiguous["label"] == label])
        raise UserError(
            f"{source}: the label '{truncate(label)}' has the superclasses {names}; accepted: one superclass for each label"
        )
    if table["superclass"].nunique() < 2:
        names = list_names(table["superclass"].unique())
        raise UserError(f"{source} holds one superclass only, {names}; accepted: at least two superclasses, or none")


def _check_splits(source: Path, table: pd.DataFrame) -> None:
    if not _is_given(source, table, "split"):
        return
    train_classes = table["label"][table["split"] == "train"].unique()
    if not len(train_classes):
        names = list_names(table["split"].unique())
        raise UserError(f"{source} holds only the split {names}; accepted: training images beside them, in 'train'")
    missing = sorted(set(table["label"]).difference(train_classes))
    if missing:
        raise UserError(
            f"{source}: the split 'train' lacks the classes {list_names(missing)}; accepted: training images of every class"
        )
