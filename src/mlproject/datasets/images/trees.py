"""Images in folders: the names of the folders say what the images show, and which split they belong to."""

import functools
import warnings
from pathlib import Path

import pandas as pd

from mlproject.datasets.images import classes
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.reading import read_file
from mlproject.datasets.images.walk import LEAVES, OTHER_SUFFIX, Parts, Walk, shown
from mlproject.errors import UserError, truncate

LAYOUTS = "CLASS/image or SUPERCLASS/CLASS/image, both also below train, validation and test"
FEW_OTHERS = 0.05  # files of other kinds for each image; with more, they may be images of a format that is not accepted


def read(folder: Path, found: Walk) -> Entries:
    """Read the classes off the folders.

    Args:
        folder: the folder, as the user named it.
        found: what lies below it, with at least one image that lies in a folder.

    Returns:
        The images, not yet checked by `classes.check`.

    Warns:
        UserWarning: images lie beside the folders of classes, folders hold no images or cannot be read, links leave the folder,
            or many files have no suffix of an image.

    Raises:
        UserError: the folders are arranged in a way that has more than one meaning.
    """
    splits = _splits(folder, found)
    lead = 1 if splits else 0  # the number of folders above the classes
    beside = [parts for parts in found.images if len(parts) == lead + 1 or len(parts) == 1]
    images = {parts: path for parts, path in found.images.items() if len(parts) > lead + 1}
    depth = _depth(folder, list(images), lead)
    names = pd.DataFrame(
        [[classes.normal(_text(folder, name)) for name in parts[lead:-1]] for parts in images],
        columns=["superclass", "label"][2 - depth :],
    )
    if depth == 2:
        _refuse_idle_level(folder, names, lead)
        names["label"] = _qualified(names)
    columns = {name: names[name] for name in names.columns if name != "label"}
    if splits:
        columns["split"] = pd.Series([splits[parts[0]] for parts in images])
    layout = "/".join(["SPLIT"] * lead + ["SUPERCLASS", "CLASS"][2 - depth :] + ["image"])
    return Entries(
        folder,
        layout,
        classes.make_table(map(shown, images), names["label"], **columns),
        functools.partial(read_file, list(images.values())),
        found.passed_over | _passed_over(folder, found, beside),
    )


def _splits(folder: Path, found: Walk) -> dict[str, str]:
    """The split of each folder at the top; empty if these are no splits."""
    splits = {parts[0]: classes.split_of(parts[0]) for parts in found.images if len(parts) > 1}
    named = [name for name, split in splits.items() if split]
    nested = {parts[0] for parts in found.images if len(parts) > 2}
    if not named:
        return {}
    if len(named) == len(splits):
        if not nested:
            raise UserError(
                f"{folder} holds the folders {classes.list_names(named)}, with images but without folders of classes;"
                f" accepted: {LAYOUTS}, or the path of a manifest"
            )
        for name in named:
            same = [other for other in named if splits[other] == splits[name]]
            if len(same) > 1:
                raise UserError(
                    f"{folder} holds the folders {classes.list_names(same)}; accepted: one folder for each split"
                )
        return splits
    if nested.intersection(named):
        others = [name for name, split in splits.items() if not split]
        raise UserError(
            f"{folder} holds the folders {classes.list_names(named)}, which are splits, and {classes.list_names(others)},"
            " which are not; accepted: either splits or classes"
        )
    return {}  # a class may be called "train"


def _depth(folder: Path, images: list[Parts], lead: int) -> int:
    """The number of folders that name the class: 1, or 2 with superclasses."""
    by_depth = {len(parts) - lead - 1: parts for parts in reversed(images)}
    if max(by_depth) > 2:
        raise UserError(
            f"{folder}: {truncate(shown(by_depth[max(by_depth)]))} lies in too many folders; accepted: {LAYOUTS}"
        )
    if len(by_depth) > 1:
        raise UserError(
            f"{folder}: {truncate(shown(by_depth[1]))} lies in a folder fewer than {truncate(shown(by_depth[2]))};"
            " accepted: either classes everywhere, or superclasses with classes"
        )
    return max(by_depth)


def _text(folder: Path, name: str) -> str:
    """The name of a class's folder, if it is text."""
    if shown((name,)) != name:
        raise UserError(
            f"{folder}: the folder {truncate(shown((name,)))} has a name that is not UTF-8; accepted: UTF-8"
        )
    return name


def _refuse_idle_level(folder: Path, names: pd.DataFrame, lead: int) -> None:
    """Refuse a level of folders that says nothing: one folder around all classes, or one of the same name in each."""
    outer, inner = names["superclass"].unique(), names["label"].unique()
    if len(inner) == 1:
        raise UserError(
            f"{folder}: every folder holds one folder '{truncate(inner[0])}' with the images; accepted: {LAYOUTS}"
        )
    if len(outer) == 1 and not lead:
        raise UserError(
            f"{folder} holds all classes in one folder, '{truncate(outer[0])}'; accepted: {folder / outer[0]}"
        )


def _qualified(names: pd.DataFrame) -> "pd.Series[str]":
    """The names of classes, with the superclass before those that several superclasses have ("pear/ripe")."""
    pairs = names.drop_duplicates()
    repeated = pairs["label"][pairs["label"].duplicated()]
    return names["label"].where(~names["label"].isin(repeated), names["superclass"] + "/" + names["label"])


def _passed_over(folder: Path, found: Walk, beside: list[Parts]) -> dict[str, str]:
    """Images beside the folders of classes, and folders without images. Warn of them and of all else that may be a mistake."""
    entered = {parts[:length] for parts in found.images for length in range(len(parts))}
    empty = [parts for parts in found.folders if parts not in entered and parts[:-1] in entered]

    def because(reason: str) -> list[str]:
        return [path for path, why in found.passed_over.items() if why.startswith(reason)]

    others = because(OTHER_SUFFIX)
    many_others = others if len(others) > FEW_OTHERS * len(found.images) else []
    told = (
        ("images beside the folders of classes", [shown(parts) for parts in beside]),
        ("folders without images", [shown(parts) for parts in empty]),
        ("folders or files that cannot be read", because("cannot be read")),
        ("links that leave it", because(LEAVES)),
        ("files without the suffix of an accepted image", many_others),
    )
    for what, paths in told:
        if paths:
            warnings.warn(f"{folder} has {what}, which are passed over: {classes.list_names(paths)}", stacklevel=4)
    return {shown(parts): "lies beside the folders of classes" for parts in beside} | {
        shown(parts): "holds no images" for parts in empty
    }
