"""Names of experiments: what they may be, which ones files declare, and what a misspelt one may stand for."""

import ast
import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlproject import arguments
from mlproject.errors import UserError, did_you_mean, truncate

FOLDER = Path("experiments")  # of the experiment files
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAME_RULE = "up to 100 letters, digits, '-', '_' and '.', beginning with a letter or a digit"


def with_share(name: str, share: float) -> str:
    """The name of an experiment or a comparison on a share of the training images."""
    return f"{name}-share-{share:g}"


def without_share(name: str) -> str:
    """The name of the same experiment or comparison on all training images."""
    return re.sub(r"-share-[\d.e-]+$", "", name)


def experiment_files(folder: Path) -> list[Path]:
    """Find the files of experiments and their helper modules.

    Args:
        folder: where they are.

    Returns:
        The Python files, sorted, without hidden ones: Emacs' locks and macOS' `._` files have this suffix, too.

    Raises:
        UserError: there are none.
    """
    paths = sorted(folder.glob("[!.]*.py"))
    if not paths:
        raise UserError(f"no experiment files (*.py) in {folder.absolute()}; run the command in the project's folder")
    return paths


def check_spelling(patterns: str, folder: Path = FOLDER, files: bool = False, images: bool = False) -> None:
    """Refuse a name that no file of the folder can declare, in the time that reading the files takes.

    Importing the files takes seconds, because they import Keras. They are parsed instead. Where they compute a name, nothing
    can be refused here, and `discovery.find` has the last word.

    Args:
        patterns: names or globs, separated by commas.
        folder: where the experiment files are.
        files: whether the names of the files are accepted, too.
        images: whether there are images of a user's own, for which some experiments wait.

    Raises:
        UserError: for a pattern that matches nothing, and for a folder without Python files.
    """
    known: dict[str, bool] = {}  # whether it waits for images
    for path in experiment_files(folder):
        declared = _declared_names(path)
        if declared is None:
            return
        if files and declared:  # a file is of use if any of its experiments is
            declared = dict.fromkeys((*declared, path.stem, path.name), all(declared.values()))
        known |= declared
    unmatched = [pattern for pattern in arguments.names(patterns) if not fnmatch.filter(known, pattern)]
    if known and unmatched:
        accepted = [name for name, waits in known.items() if images or not waits] or list(known)
        others = [name for name in known if name not in accepted]
        raise unknown_experiment(unmatched, accepted, f"with images=PATH also {', '.join(others)}" if others else "")


def unknown_experiment(unmatched: Iterable[str], known: Iterable[str], complaint: str = "") -> UserError:
    """The error for names that match no experiment.

    Args:
        unmatched: the names or globs.
        known: all names.
        complaint: is added to the message; empty for nothing.

    Returns:
        The error. It suggests the most similar name if one is similar, and the option `images` for the name of a folder.
    """
    suggestion = did_you_mean(unmatched, known)
    folders = [f"for images in a folder: images={truncate(name)}" for name in unmatched if os.path.isdir(name)]
    hints = "".join(f"; {hint}" for hint in (*folders, complaint) if hint)
    return UserError(
        f"experiment='{truncate(', '.join(unmatched))}' matches no experiment; {suggestion}accepted: {', '.join(known)}, "
        f"a list or a glob{hints}"
    )


def _declared_names(path: Path) -> dict[str, bool] | None:
    """The names in a file's list EXPERIMENTS, if they stand in the file as text; None if only running it can tell them.

    For each name, the value says whether the experiment waits for images of a user's own, as far as the text tells.
    """
    content = path.read_bytes()
    if b"EXPERIMENTS" not in content:
        return {}  # a helper module
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return None
    stored = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    stored += [imported.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for imported in node.names]
    if stored.count("EXPERIMENTS") != 1 or b"EXPERIMENTS." in content:
        return None  # imported, or changed after it was made
    assigned = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    declared_list = assigned.get("EXPERIMENTS")
    if not isinstance(declared_list, ast.List | ast.Tuple):
        return None
    calls = [assigned.get(element.id) if isinstance(element, ast.Name) else element for element in declared_list.elts]
    names = [_name_argument(call) for call in calls]
    if None in names:
        return None
    return {name: _waits_for_images(call, assigned) for name, call in zip(names, calls, strict=True) if name}


def _name_argument(call: ast.AST | None) -> str | None:
    values = [keyword.value for keyword in call.keywords if keyword.arg == "name"] if isinstance(call, ast.Call) else []
    constant = values[0] if values else None
    return constant.value if isinstance(constant, ast.Constant) and isinstance(constant.value, str) else None


def _waits_for_images(call: ast.AST | None, assigned: Mapping[str, ast.AST]) -> bool:
    """Whether a call has `dataset=None`, or replaces something else in an experiment that has it."""
    if isinstance(call, ast.Name):
        # Without this name, or A = replace(A) would never end.
        others = {name: value for name, value in assigned.items() if name != call.id}
        return _waits_for_images(assigned.get(call.id), others)
    if not isinstance(call, ast.Call):
        return False
    for keyword in call.keywords:
        if keyword.arg == "dataset":
            return isinstance(keyword.value, ast.Constant) and keyword.value.value is None
    return bool(call.args) and _waits_for_images(call.args[0], assigned)
