"""What makes two searches the same: settings, search space, code, data, libraries and store.

An interrupted search goes on only if its fingerprint is the same. The code counts by a rule: every module that the search,
the trials and the final fit import, directly or not, counts unless EXCUSED names it with a reason. Docstrings and comments do
not count. A module is named by its path, so a helper module beside an experiment's file counts, too, under its own name.
"""

import ast
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import mlproject
from mlproject.networks import pretrained

if TYPE_CHECKING:  # imports Keras, which takes seconds
    from mlproject.experiment import Experiment
    from mlproject.task import Task

Scalar = str | int | float | bool | None
Fingerprint = Mapping[str, Mapping[str, Scalar]]

PACKAGE = Path(mlproject.__file__).parent
# The search, the final fit and what connects them: everything that trains is imported from here.
ROOTS = ("search/search.py", "final/refit.py", "tune.py")
# Modules of the closure that decide no number of a search or a fit. A name of a folder excuses all modules in it.
EXCUSED = {
    "tracking": "records runs and models and decides nothing",
    "cluster": "carries fits to other processes, where they are trained by the code that counts",
    "report": "is made after the search, from what was logged",
    "final/artifacts.py": "evaluates, draws and logs a fitted model",
    "final/card.py": "describes a fitted model",
    "final/environment.py": "describes the machine",
    "final/registered.py": "describes a registered model",
    "evaluation/calibration_error.py": "scores a fitted model",
    "evaluation/crossed.py": "compares fitted models",
    "evaluation/feature_space.py": "describes a fitted model",
    "evaluation/fine_coarse_differences.py": "compares fitted models",
    "evaluation/power.py": "compares fitted models",
    "evaluation/scores.py": "scores a fitted model",
    "evaluation/superclasses.py": "scores a fitted model",
    "facts.py": "counts for people to read",
    "topic.py": "describes a comparison for its report",
    "trained.py": "scores and draws a fitted model",
    "plots.py": "draws",
    "networks/contract.py": "checks a network, or gives a Sequential an input",
    "networks/explain.py": "explains a network",
    "rehearsal.py": "tries everything once on a few images, before the search",
    "networks/pretrained.py": "finds the weights, which count by their digest",
    "datasets/loader.py": "loads the data, which counts by its digest",
    "datasets/contract.py": "checks the data, which counts by its digest",
    "datasets/declaration.py": "checks the names, shape and superclasses of the data, which counts by its digest",
    "datasets/cifar100.py": "reads the data, which counts by its digest",
    "datasets/fashion_mnist.py": "reads the data, which counts by its digest",
    "datasets/images": "reads the data, which counts by its digest, as do a given validation split and the groups",
    "datasets/synthetic.py": "makes the data, which counts by its digest",
    "datasets/files.py": "finds and reads files",
    "datasets/mapped.py": "reads arrays in parts",
    "discovery.py": "finds and imports the files of experiments, which count themselves",
    "search/journal.py": "records what is finished",
    "search/trial_run.py": "names and tags the run of a trial",
    "search/given_trials.py": "reads trials that a user gives, which count by their digest",
    "search/fingerprint.py": "compares searches",
    "settings.py": "holds the settings, which count by their values",
    "arguments.py": "parses the settings, which count by their values",
    "console.py": "shows messages",
    "__main__.py": "parses commands",
    "program.py": "runs an experiment's file by itself",
    "place.py": "says what is left of the minutes",
    "notebooks.py": "runs an experiment's file by itself",
    "export.py": "writes a trained model to a file",
    "disk.py": "writes files",
    "errors.py": "names errors",
    "names.py": "says what a name may be",
    "process.py": "handles signals",
    "training/checkpoint.py": "keeps the state of a fit, which goes on from it with the same numbers",
    "training/state_file.py": "writes and reads files that an interrupted fit goes on from",
    "training/watchdog.py": "ends a fit that hangs",
    "__init__.py": "sets environment variables; the libraries count by their versions",
}


def take(task: "Task", settings: Mapping[str, Scalar], store: str) -> Fingerprint:
    """Take the fingerprint of a search.

    Args:
        task: the experiment with its data.
        settings: the settings that make a difference, by name.
        store: the address of the MLflow store, without a password.

    Returns:
        Groups (settings, space, code, data, libraries) of names with a value or a digest each.
    """
    weights = task.spec.weights
    return {
        "settings": dict(settings) | {"trials": given_trials_digest(task), "store": store},
        "space": _space(task),
        "code": {name: _code_digest(path) for name, path in modules(task.experiment).items()},
        "data": {
            "images and labels": task.data.digest,
            # The split is stratified by the finest labels, which the digest of a coarse view does not cover.
            "finest labels": _short_digest(task.data.train_strata.tobytes()),
            "validation": _rows_digest(task.data.validation),
            "groups": _rows_digest(task.data.groups),
            "weights": pretrained.digest(weights) if weights else None,
        },
        "libraries": {name: version(name) for name in ("keras", "keras-tuner", "tensorflow")},
    }


def given_trials_digest(task: "Task") -> str | None:
    """The digest of the trials that a user gives; None for none."""
    return (
        _short_digest(json.dumps([dict(values) for values in task.given_trials]).encode())
        if task.given_trials
        else None
    )


def digest(fingerprint: Fingerprint) -> str:
    """12 hexadecimal digits that differ when any part of the fingerprint does."""
    return _short_digest(json.dumps(fingerprint, sort_keys=True).encode())


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Say what changed from one fingerprint to the next: settings with their values, everything else by name."""
    changes = []
    for group in after:
        old, new = before.get(group, {}), after[group]
        changed = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
        if group == "settings":
            changes += [f"{name} was {old.get(name)}, is {new.get(name)}" for name in changed]
        elif changed:
            changes.append(f"the {group} changed ({', '.join(changed)})")
    return changes


def modules(experiment: "Experiment", package: Path = PACKAGE) -> dict[str, Path]:
    """Find the modules whose code counts.

    Args:
        experiment: its `build` and `recipe` lead to the user's own modules.
        package: the folder of the package `mlproject`.

    Returns:
        The files by name: paths in the package begin with "mlproject/", the user's own are relative to the working folder.
    """
    functions = (experiment.build, experiment.recipe)
    files = [inspect.getsourcefile(function) for function in functions]
    own_files = [Path(file).resolve() for file in files if file]
    closure = import_closure([*(package / root for root in ROOTS), *own_files], package)
    return {_module_name(path, package): path for path in closure if not is_excused(path, package)}


def is_excused(path: Path, package: Path = PACKAGE) -> bool:
    """Whether EXCUSED has this module of the package, or a folder that it is in."""
    if not path.is_relative_to(package):
        return False
    name = path.relative_to(package)
    return any(part.as_posix() in EXCUSED for part in (name, *name.parents))


def import_closure(roots: Sequence[Path], package: Path = PACKAGE) -> list[Path]:
    """Find every module that the roots import, directly or not, themselves included.

    Imports are read off the code, also those inside functions. An excused module is found, but not what it imports. Other
    installed libraries are not found, because their versions count.

    Args:
        roots: Python files.
        package: the folder of the package `mlproject`.

    Returns:
        The files, sorted by path.
    """
    visited: set[Path] = set()
    pending = list(roots)
    while pending:
        path = pending.pop()
        if path not in visited:
            visited.add(path)
            pending += [] if is_excused(path, package) else _imported_files(path, package)
    return sorted(visited)


def _imported_files(path: Path, package: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names]
        else:
            continue
        for name in names:
            yield from _files_of_module(name, path, package)


def _files_of_module(name: str, importer: Path, package: Path) -> Iterator[Path]:
    """The files that an import of `name` runs, such as those of the packages a and a.b for the name a.b.c."""
    first, *rest = name.split(".")
    if first == "mlproject":
        bases = [package]
    elif importer.is_relative_to(package):
        bases = []  # an installed library
    else:  # a module of the user's own, beside the file that imports it or in the working folder
        bases = [importer.parent / first, Path.cwd() / first]
    for base in bases:
        for depth in range(len(rest) + 1):
            module_path = base.joinpath(*rest[:depth])
            yield from (
                file for file in (module_path / "__init__.py", module_path.with_suffix(".py")) if file.is_file()
            )


def _module_name(path: Path, package: Path) -> str:
    if path.is_relative_to(package):
        return f"mlproject/{path.relative_to(package).as_posix()}"
    working_folder = Path.cwd().resolve()
    return path.relative_to(working_folder).as_posix() if path.is_relative_to(working_folder) else path.as_posix()


def _space(task: "Task") -> dict[str, str]:
    """Each hyperparameter with its range; empty when the network cannot be built, which the search will report."""
    from mlproject.search.space import declared_space

    try:
        space = declared_space(task, task.experiment.best)
    except Exception:  # whatever an experiment's code raises
        return {}
    return {
        name: f"{type(hyperparameter).__name__} {json.dumps(hyperparameter.get_config(), default=str)}"
        for name, hyperparameter in space.items()
    }


def _code_digest(path: Path) -> str:
    """The digest of a file's syntax tree without docstrings."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return _short_digest(ast.dump(tree).encode())


def _rows_digest(rows: np.ndarray | None) -> str | None:
    return None if rows is None else _short_digest(rows.tobytes())


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
