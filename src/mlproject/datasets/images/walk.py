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
    found = Walk(Path(os.path.realpath(folder)))
    seen: set[str] = set()
    links: list[tuple[Parts, str]] = []
    _enter(found, (), str(found.root), seen, links)
    while links:
        batch = sorted(links)
        links.clear()
        for parts, path in batch:
            _follow(found, parts, path, seen, links)
    found.images = dict(sorted(found.images.items()))
    found.folders.sort()
    return found


def shown(parts: Parts) -> str:
    """A path as text. Bytes that are not UTF-8 appear as escape sequences, because no table or page can hold them."""
    return os.fsencode("/".join(parts)).decode("utf-8", "backslashreplace")


def _enter(found: Walk, parts: Parts, path: str, seen: set[str], links: list[tuple[Parts, str]]) -> None:
    """List a folder and all folders in it; links are kept for later."""
    pending = [(parts, path)]
    while pending:
        parts, path = pending.pop()
        seen.add(path)
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.passed_over[shown(parts) or "."] = f"cannot be read ({error.strerror})"
            continue
        found.folders.append(parts)
        for entry in entries:
            below = (*parts, entry.name)
            reason = _reason_by_name(entry.name)
            if reason:
                found.passed_over[shown(below)] = reason
            elif entry.is_symlink():
                links.append((below, entry.path))
            elif entry.is_dir(follow_symlinks=False):
                pending.append((below, entry.path))
            else:
                _add_file(found, below, entry.path, seen)


def _follow(found: Walk, parts: Parts, link: str, seen: set[str], links: list[tuple[Parts, str]]) -> None:
    """Follow a link."""
    path = os.path.realpath(link)
    if not os.path.exists(path):
        found.passed_over[shown(parts)] = "is a link that leads nowhere"
    elif os.path.commonpath([path, found.root]) != str(found.root):
        found.passed_over[shown(parts)] = LEAVES
    elif path in seen:
        found.passed_over[shown(parts)] = "is a link to what has been found already"
    elif os.path.isdir(path):
        _enter(found, parts, path, seen, links)
    else:
        _add_file(found, parts, path, seen)


def _add_file(found: Walk, parts: Parts, path: str, seen: set[str]) -> None:
    if os.path.splitext(parts[-1])[1].lower() not in SUFFIXES:
        found.passed_over[shown(parts)] = OTHER_SUFFIX
        return
    try:
        status = os.stat(path)
    except OSError as error:
        found.passed_over[shown(parts)] = f"cannot be read ({error.strerror})"
        return
    if not stat.S_ISREG(status.st_mode):
        found.passed_over[shown(parts)] = "is no regular file"
    elif status.st_size == 0:
        found.passed_over[shown(parts)] = "is empty"
    else:
        seen.add(path)
        found.images[parts] = path


def _reason_by_name(name: str) -> str:
    if name.startswith("."):
        return HIDDEN
    return "is no part of the set but of an operating system" if name.lower() in SYSTEM_FILES else ""
