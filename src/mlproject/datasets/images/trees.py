"""Images in folders: the names of the folders say what the images show, and which split they belong to."""

import functools
import warnings
from pathlib import Path

import pandas as pd

from mlproject.datasets.images import classes
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.reading import read_file
from mlproject.datasets.images.walk import LEAVES, OTHER_SUFFIX, Parts, Walk, display_path
from mlproject.errors import UserError, truncate

LAYOUTS = "CLASS/image or SUPERCLASS/CLASS/image, both also below train, validation and test"
FEW_OTHERS = 0.05  # files of other kinds for each image; with more, they may be images of a format that is not accepted


def read(folder: Path, tree: Walk) -> Entries:
    """Read the classes off the folders.

    Args:
        folder: the folder, as the user named it.
        tree: what lies below it, with at least one image that lies in a folder.

    Returns:
        The images, not yet checked by `classes.check`.

    Warns:
        UserWarning: images lie beside the folders of classes, folders hold no images or cannot be read, links leave the folder,
            or many files have no suffix of an image.

    Raises:
        UserError: the folders are arranged in a way that has more than one meaning.
    """
    splits = _folder_splits(folder, tree)
    split_levels = 1 if splits else 0  # the number of folders above the classes
    stray_images = [parts for parts in tree.images if len(parts) == split_levels + 1 or len(parts) == 1]
    images = {parts: path for parts, path in tree.images.items() if len(parts) > split_levels + 1}
    depth = _class_depth(folder, list(images), split_levels)
    names = pd.DataFrame(
        [[classes.normalise(_require_text(folder, name)) for name in parts[split_levels:-1]] for parts in images],
        columns=["superclass", "label"][2 - depth :],
    )
    if depth == 2:
        _refuse_idle_level(folder, names, split_levels)
        names["label"] = _qualified_labels(names)
    columns = {name: names[name] for name in names.columns if name != "label"}
    if splits:
        columns["split"] = pd.Series([splits[parts[0]] for parts in images])
    layout = "/".join(["SPLIT"] * split_levels + ["SUPERCLASS", "CLASS"][2 - depth :] + ["image"])
    return Entries(
        folder,
        layout,
        classes.make_table(map(display_path, images), names["label"], **columns),
        functools.partial(read_file, list(images.values())),
        tree.passed_over | _judge_passed_over(folder, tree, stray_images),
    )


def _folder_splits(folder: Path, tree: Walk) -> dict[str, str]:
    """The split of each folder at the top; empty if these are no splits."""
    splits = {parts[0]: classes.split_of(parts[0]) for parts in tree.images if len(parts) > 1}
    split_names = [name for name, split in splits.items() if split]
    with_subfolders = {parts[0] for parts in tree.images if len(parts) > 2}
    if not split_names:
        return {}
    if len(split_names) == len(splits):
        if not with_subfolders:
            raise UserError(
                f"{folder} holds the folders {classes.list_names(split_names)}, with images but without folders of classes;"
                f" accepted: {LAYOUTS}, or the path of a manifest"
            )
        for name in split_names:
            duplicates = [other for other in split_names if splits[other] == splits[name]]
            if len(duplicates) > 1:
                raise UserError(
                    f"{folder} holds the folders {classes.list_names(duplicates)}; accepted: one folder for each split"
                )
        return splits
    if with_subfolders.intersection(split_names):
        other_folders = [name for name, split in splits.items() if not split]
        raise UserError(
            f"{folder} holds the folders {classes.list_names(split_names)}, which are splits,"
            f" and {classes.list_names(other_folders)}, which are not; accepted: either splits or classes"
        )
    return {}  # a class may be called "train"


def _class_depth(folder: Path, images: list[Parts], split_levels: int) -> int:
    """The number of folders that name the class: 1, or 2 with superclasses."""
    by_depth = {len(parts) - split_levels - 1: parts for parts in reversed(images)}
    if max(by_depth) > 2:
        raise UserError(
            f"{folder}: {truncate(display_path(by_depth[max(by_depth)]))} lies in too many folders; accepted: {LAYOUTS}"
        )
    if len(by_depth) > 1:
        raise UserError(
            f"{folder}: {truncate(display_path(by_depth[1]))} lies in a folder fewer than {truncate(display_path(by_depth[2]))};"
            " accepted: either classes everywhere, or superclasses with classes"
        )
    return max(by_depth)


def _require_text(folder: Path, name: str) -> str:
    """The name of a class's folder, if it is text."""
    if display_path((name,)) != name:
        raise UserError(
            f"{folder}: the folder {truncate(display_path((name,)))} has a name that is not UTF-8; accepted: UTF-8"
        )
    return name


def _refuse_idle_level(folder: Path, names: pd.DataFrame, split_levels: int) -> None:
    """Refuse a level of folders that says nothing: one folder around all classes, or one of the same name in each."""
    outer, inner = names["superclass"].unique(), names["label"].unique()
    if len(inner) == 1:
        raise UserError(
            f"{folder}: every folder holds one folder '{truncate(inner[0])}' with the images; accepted: {LAYOUTS}"
        )
    if len(outer) == 1 and not split_levels:
        raise UserError(
            f"{folder} holds all classes in one folder, '{truncate(outer[0])}'; accepted: {folder / outer[0]}"
        )


def _qualified_labels(names: pd.DataFrame) -> "pd.Series[str]":
    """The names of classes, with the superclass before those that several superclasses have ("pear/ripe")."""
    pairs = names.drop_duplicates()
    repeated = pairs["label"][pairs["label"].duplicated()]
    return names["label"].where(~names["label"].isin(repeated), names["superclass"] + "/" + names["label"])


def _judge_passed_over(folder: Path, tree: Walk, stray_images: list[Parts]) -> dict[str, str]:
    """Images beside the folders of classes, and folders without images. Warn of them and of all else that may be a mistake."""
    used_folders = {parts[:length] for parts in tree.images for length in range(len(parts))}
    empty_folders = [parts for parts in tree.folders if parts not in used_folders and parts[:-1] in used_folders]

    def paths_passed_over(reason: str) -> list[str]:
        return [path for path, path_reason in tree.passed_over.items() if path_reason.startswith(reason)]

    other_files = paths_passed_over(OTHER_SUFFIX)
    many_other_files = other_files if len(other_files) > FEW_OTHERS * len(tree.images) else []
    concerns = (
        ("images beside the folders of classes", [display_path(parts) for parts in stray_images]),
        ("folders without images", [display_path(parts) for parts in empty_folders]),
        ("folders or files that cannot be read", paths_passed_over("cannot be read")),
        ("links that leave it", paths_passed_over(LEAVES)),
        ("files without the suffix of an accepted image", many_other_files),
    )
    for description, paths in concerns:
        if paths:
            warnings.warn(
                f"{folder} has {description}, which are passed over: {classes.list_names(paths)}", stacklevel=4
            )
    return {display_path(parts): "lies beside the folders of classes" for parts in stray_images} | {
        display_path(parts): "holds no images" for parts in empty_folders
    }
