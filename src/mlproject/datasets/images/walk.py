"""The files below a folder: which of them look like images, and why the others are passed over."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

# Of the formats that `decoding` reads.
SUFFIXES = frozenset(
    (".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
)
SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information"))
# Some of the reasons why files and folders are passed over.
HIDDEN, OTHER_SUFFIX, LEAVES = "is hidden", "has no suffix of an accepted image", "is a link that leaves the folder"

Parts = tuple[str, ...]  # a path relative to the folder, by its parts


@dataclass
class Walk:
    """What lies below a folder.

    Attributes:
        root: the folder, with links resolved.
        images: the real path of each image file, by its parts below the folder.
        folders: the parts of all folders that were entered.
        passed_over: for each file or folder that does not count, its path below the folder and the reason.
    """

    root: Path
    images: dict[Parts, str] = field(default_factory=dict)
    folders: list[Parts] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)


def walk(folder: Path) -> Walk:
    """List what lies below a folder.

    Links come last. One that leaves the folder, or leads to what has been found already, is passed over, so loops end.

    Args:
        folder: an existing folder.

    Returns:
        Its files, in the order of their paths, which is the same on every system.
    """
    tree = Walk(Path(os.path.realpath(folder)))
    visited: set[str] = set()
    links: list[tuple[Parts, str]] = []
    _list_folder(tree, (), str(tree.root), visited, links)
    while links:
        batch = sorted(links)
        links.clear()
        for parts, path in batch:
            _follow_link(tree, parts, path, visited, links)
    tree.images = dict(sorted(tree.images.items()))
    tree.folders.sort()
    return tree


def display_path(parts: Parts) -> str:
    """A path as text. Bytes that are not UTF-8 appear as escape sequences, because no table or page can hold them."""
    return os.fsencode("/".join(parts)).decode("utf-8", "backslashreplace")


def _list_folder(tree: Walk, parts: Parts, path: str, visited: set[str], links: list[tuple[Parts, str]]) -> None:
    """List a folder and all folders in it; links are kept for later."""
    pending = [(parts, path)]
    while pending:
        parts, path = pending.pop()
        visited.add(path)
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            tree.passed_over[display_path(parts) or "."] = f"cannot be read ({error.strerror})"
            continue
        tree.folders.append(parts)
        for entry in entries:
            child = (*parts, entry.name)
            reason = _reason_by_name(entry.name)
            if reason:
                tree.passed_over[display_path(child)] = reason
            elif entry.is_symlink():
                links.append((child, entry.path))
            elif entry.is_dir(follow_symlinks=False):
                pending.append((child, entry.path))
            else:
                _add_file(tree, child, entry.path, visited)


def _follow_link(tree: Walk, parts: Parts, link: str, visited: set[str], links: list[tuple[Parts, str]]) -> None:
    """Follow a link."""
    path = os.path.realpath(link)
    if not os.path.exists(path):
        tree.passed_over[display_path(parts)] = "is a link that leads nowhere"
    elif os.path.commonpath([path, tree.root]) != str(tree.root):
        tree.passed_over[display_path(parts)] = LEAVES
    elif path in visited:
        tree.passed_over[display_path(parts)] = "is a link to what has been found already"
    elif os.path.isdir(path):
        _list_folder(tree, parts, path, visited, links)
    else:
        _add_file(tree, parts, path, visited)


def _add_file(tree: Walk, parts: Parts, path: str, visited: set[str]) -> None:
    if os.path.splitext(parts[-1])[1].lower() not in SUFFIXES:
        tree.passed_over[display_path(parts)] = OTHER_SUFFIX
        return
    try:
        status = os.stat(path)
    except OSError as error:
        tree.passed_over[display_path(parts)] = f"cannot be read ({error.strerror})"
        return
    if not stat.S_ISREG(status.st_mode):
        tree.passed_over[display_path(parts)] = "is no regular file"
    elif status.st_size == 0:
        tree.passed_over[display_path(parts)] = "is empty"
    else:
        visited.add(path)
        tree.images[parts] = path


def _reason_by_name(name: str) -> str:
    if name.startswith("."):
        return HIDDEN
    return "is no part of the set but of an operating system" if name.lower() in SYSTEM_FILES else ""
