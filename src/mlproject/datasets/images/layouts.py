"""Finds out how a user's images are arranged.

| path | what it holds |
|---|---|
| a folder | `CLASS/image` or `SUPERCLASS/CLASS/image`, both also below `train`, `validation` (`val`, `valid`) and `test` |
| a `.csv` | a manifest: the columns `path`, `label` and, where wanted, `superclass`, `split`, `group` |
| a `.parquet` | such a manifest, or the images themselves, as Hugging Face's sets have them |
| a folder of `.parquet` | images in parts; `train-00000-of-00002.parquet` belongs to the split `train` |
| a `.npz` | the arrays `x_train`, `y_train`, `x_test`, `y_test` and, where wanted, `class_names` |

| what is odd | answer |
|---|---|
| hidden files and folders, `__MACOSX`, `Thumbs.db`, `desktop.ini` | passed over |
| files without the suffix of an image | passed over, with a warning if there are more than one for twenty images |
| empty files, pipes and sockets | passed over |
| images beside the folders of classes, folders without images or without permission to read them | passed over, with a warning |
| links to something below the folder that is not found otherwise | followed; so loops end |
| links that leave the folder | passed over, with a warning |
| other links | passed over |
| some images in CLASS, some in SUPERCLASS/CLASS; images in more folders; one folder around all classes | refused |
| splits beside other folders, two folders for one split, no training images, or none of some class | refused |
| a folder called `train` that holds images, beside other folders | a class |
| fewer than two classes or superclasses | refused |
| a class of one image | a warning |
| names in any script, with blanks or emoji, up to 255 characters | accepted; equal names in other Unicode forms are one class |
| names that differ only in letter case or in blanks around them | refused |
| groups whose names differ only in blanks around them or in their Unicode form | one group |
| names with line breaks or other control characters, `.` and `..`, folders' names that are not UTF-8 | refused |
| a class's name in several superclasses | folders: "SUPERCLASS/CLASS" becomes its name; tables: refused |
| labels like `007` | text; leading zeros stay |
| a manifest whose paths are absolute or have `..` or backslashes | accepted: it is the user's word |
| a manifest that names missing or empty files | passed over, with a warning; above 5 % refused |
| a manifest that names a file twice | once, if both rows say the same; else refused |
| a manifest with values in some rows of `split` or `superclass` only | refused |
| a manifest in UTF-8 or UTF-16; separated by commas, semicolons or tabs; columns in any letter case | accepted |
| a manifest in another encoding | read as Windows' code page 1252, with a warning |
| a Parquet file without bytes for an image | the image is empty, and cannot be read |
| pickled objects in a `.npz` | refused |
"""

import os
from pathlib import Path

from mlproject.datasets.images import arrays, classes, shards, tables, trees, walk
from mlproject.datasets.images.entries import Entries
from mlproject.errors import UserError, truncate

ACCEPTED = "a folder with images, a manifest (.csv or .parquet), Parquet files with images, or an .npz file"


def find(path: Path | str) -> Entries:
    """Find the images of a set, and what they show, without decoding any.

    Args:
        path: a folder or file, as the tables above describe.

    Returns:
        The images. Files are read when they are asked for; so are Parquet's row groups. An `.npz` is read as a whole.

    Warns:
        UserWarning: something was left out that may be a mistake.

    Raises:
        UserError: nothing can be trained with what was found, or it has more than one meaning.
    """
    path = existing_path(path)
    try:
        return classes.check(_from_folder(path) if path.is_dir() else _from_file(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); accepted: {ACCEPTED}") from error


def existing_path(path: Path | str) -> Path:
    """The path of a set, in which `~` stands for the home folder.

    Args:
        path: a folder or file.

    Returns:
        The path.

    Raises:
        UserError: it does not exist.
    """
    if not str(path):
        raise UserError(f"the path of the images is empty; accepted: {ACCEPTED}")
    expanded = Path(os.path.expanduser(path))
    # Also False where a path is too long, has a null byte or lies in a closed folder.
    if os.path.exists(expanded):
        return expanded
    raise UserError(f"{truncate(path)} does not exist or cannot be reached; accepted: {ACCEPTED}")


def _from_file(path: Path) -> Entries:
    kind = path.suffix.lower()
    if not path.is_file():
        raise UserError(f"{path} is neither a folder nor a regular file; accepted: {ACCEPTED}")
    if kind in (".csv", ".tsv"):
        return tables.read_csv(path)
    if kind == ".npz":
        return arrays.read(path)
    if kind == ".parquet":
        return shards.read(path, [path], named_splits=False) if shards.has_images(path) else tables.read_parquet(path)
    raise UserError(f"{path} is a file of another kind; accepted: {ACCEPTED}")


def _from_folder(folder: Path) -> Entries:
    next(folder.iterdir(), None)  # raises an error if the folder itself cannot be listed
    tree = walk.walk(folder)
    if any(len(parts) > 1 for parts in tree.images):
        return trees.read(folder, tree)
    parquet = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() == ".parquet" and path.is_file())
    with_images = [path for path in parquet if shards.has_images(path)]
    if with_images and len(with_images) == len(parquet):
        return shards.read(folder, parquet, named_splits=True)
    raise UserError(f"{folder} holds no images in folders of classes{_hint(folder, tree)}; accepted: {ACCEPTED}")


def _hint(folder: Path, tree: walk.Walk) -> str:
    """What the folder holds instead, and which path would be accepted."""
    suffixes = (".csv", ".tsv", ".parquet", ".npz")
    table_names = [
        name for name, reason in tree.passed_over.items() if reason != walk.HIDDEN and name.lower().endswith(suffixes)
    ]
    if len(table_names) == 1:
        return f", but the table {truncate(folder / table_names[0])}: give this path"
    parents = {Path(name).parent for name in table_names}
    if len(parents) == 1 and parents != {Path(".")}:
        return f", but tables in {truncate(folder / parents.pop())}: give this path"
    if table_names:
        return f", but the tables {classes.list_names(table_names)}: give the path of one"
    if tree.images:
        return f", but {len(tree.images)} images without one"
    first = next(iter(tree.passed_over.items()), None)
    return f" ({len(tree.passed_over)} files passed over; {truncate(first[0])} {first[1]})" if first else ""
