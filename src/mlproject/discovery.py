"""How the files of experiments/ are found and imported, and how the experiments in them are selected by name."""

import fnmatch
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from mlproject import arguments
from mlproject.datasets import Loader
from mlproject.errors import UserError, first_line
from mlproject.experiment import Experiment, needs_images
from mlproject.names import FOLDER, experiment_files, unknown_experiment

T = TypeVar("T")


@dataclass(frozen=True)
class _ExperimentFiles:
    """What the files of a folder declare: experiments by name, errors of broken files, and the names of each file."""

    experiments: dict[str, Experiment]
    broken: dict[Path, str]
    names: dict[Path, list[str]]

    @property
    def complaint(self) -> str:
        return "; ".join(f"{path} does not import: {error}" for path, error in self.broken.items())


def find(patterns: str, folder: Path = FOLDER, images: Loader | None = None, base: str = "") -> list[Experiment]:
    """Find experiments by name.

    A file that cannot be imported causes a warning. When a pattern is a glob, it is an error, because the glob might match
    the file's experiments.

    Args:
        patterns: names or globs, separated by commas.
        folder: where the experiment files are.
        images: a user's own images, on which all experiments then run. The pattern "*" then stands for the experiments that
            wait for such images; any other experiment can be named, too.
        base: a network of `keras.applications` for the experiments on these images that build on one.

    Returns:
        The matching experiments, in the order of their files.

    Raises:
        UserError: for a pattern that matches nothing, for a broken file when one of the patterns is a glob, and for an
            experiment that does not fit the images.
    """
    files = _discover(folder)
    globs = [pattern for pattern in arguments.names(patterns) if any(sign in pattern for sign in "*?[")]
    if files.broken and globs:
        known = ", ".join(files.experiments)
        raise UserError(f"{files.complaint} (repair the file, or name the experiments that you want: {known})")
    if images is None:
        selected = _select_with_data(patterns, files)
    elif patterns.strip() == "*":
        waiting = {name: item for name, item in files.experiments.items() if item.dataset is None and item.fits(images)}
        selected = select(patterns, waiting, files.complaint)
    else:
        selected = select(patterns, files.experiments, files.complaint)
    if files.broken:
        warnings.warn(files.complaint, stacklevel=2)
    if images is None:
        return selected
    adapted = [experiment.with_images(images, base) for experiment in selected]
    if taken_names := [experiment.name for experiment in adapted if experiment.name in files.experiments]:
        raise UserError(
            f"the images of {images.name} would name a model {taken_names[0]}, as another experiment does; "
            "accepted: a folder or file of another name"
        )
    return adapted


def find_all(folder: Path = FOLDER) -> list[Experiment]:
    """Find all experiments, also those that wait for images of a user's own, which have no data set.

    A file that cannot be imported causes a warning.

    Args:
        folder: where the experiment files are.

    Returns:
        The experiments, in the order of their files.

    Raises:
        UserError: for a folder without files, and for a name that two experiments have.
    """
    files = _discover(folder)
    if files.broken:
        warnings.warn(files.complaint, stacklevel=2)
    return list(files.experiments.values())


def _select_with_data(patterns: str, files: _ExperimentFiles) -> list[Experiment]:
    """The matching experiments that have a data set; one without is refused if it is named."""
    for name in arguments.names(patterns):
        if name in files.experiments and files.experiments[name].dataset is None:
            raise needs_images(name)
    known = {name: experiment for name, experiment in files.experiments.items() if experiment.dataset}
    return select(patterns, known, files.complaint)


def find_files(patterns: str, folder: Path = FOLDER, images: bool = False) -> list[Path]:
    """Find the files that declare experiments.

    Args:
        patterns: names or globs of experiments or of files, separated by commas.
        folder: where the experiment files are.
        images: whether there are images of a user's own. The pattern "*" then stands for the files with experiments that wait
            for such images. Without images, files whose experiments all wait for them are left out.

    Returns:
        The files, each once.

    Raises:
        UserError: for a pattern that matches nothing, and for a named file that needs images when there are none.
    """
    files = _discover(folder)
    waiting = {name for name, experiment in files.experiments.items() if experiment.dataset is None}
    paths = {name: path for path, names in files.names.items() for name in (*names, path.stem, path.name)}
    unusable = {name for name, path in paths.items() if files.names[path] and waiting.issuperset(files.names[path])}
    if images and patterns.strip() == "*":
        paths = {name: path for name, path in paths.items() if waiting.intersection(files.names[path])}
    elif not images:
        if given_names := unusable.intersection(arguments.names(patterns)):
            raise needs_images(min(given_names))
        paths = {name: path for name, path in paths.items() if name not in unusable}
    return list(dict.fromkeys(select(patterns, paths, files.complaint)))


def select(patterns: str, known: Mapping[str, T], complaint: str = "") -> list[T]:
    """Select values by name.

    Args:
        patterns: names or globs, separated by commas.
        known: the values by name.
        complaint: is added to the error's message.

    Returns:
        The values whose names match any of the patterns, in the order of `known`.

    Raises:
        UserError: for a pattern that matches nothing.
    """
    wanted_patterns = arguments.names(patterns)
    unmatched = [pattern for pattern in wanted_patterns if not fnmatch.filter(known, pattern)]
    if unmatched or not wanted_patterns:
        raise unknown_experiment(unmatched, known, complaint)
    return [known[name] for name in known if any(fnmatch.fnmatch(name, pattern) for pattern in wanted_patterns)]


def _discover(folder: Path) -> _ExperimentFiles:
    """Import all files of the folder. Files without EXPERIMENTS are helper modules and are passed over."""
    files = _ExperimentFiles({}, {}, {})
    for path in experiment_files(folder):
        try:
            module = _import(path)
            if not hasattr(module, "EXPERIMENTS"):
                continue
            experiments = list(module.EXPERIMENTS)
            if not all(isinstance(item, Experiment) for item in experiments):
                raise TypeError("EXPERIMENTS must hold objects of the class Experiment only")
        except Exception as error:  # whatever a user's file raises, the other files still work
            files.broken[path] = first_line(error)
            continue
        for experiment in experiments:
            # Names that differ in case alone would share a folder on macOS and Windows.
            if experiment.name.casefold() in map(str.casefold, files.experiments):
                raise UserError(f"{path}: the experiment name {experiment.name!r} is taken; choose another one")
            files.experiments[experiment.name] = experiment
        files.names[path] = [experiment.name for experiment in experiments]
    return files


def _import(path: Path) -> ModuleType:
    folder = str(path.parent.absolute())
    if folder not in sys.path:  # a file run as a program finds the helper modules beside it, so the tuner must, too
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"experiments.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look their module up here
    before = _mlflow_variables()
    try:
        spec.loader.exec_module(module)
    finally:
        if _mlflow_variables() != before:  # by mlflow.set_tracking_uri or set_experiment, which write them
            for name in _mlflow_variables():
                del os.environ[name]
            os.environ.update(before)
            warnings.warn(f"{path}: MLflow's settings are ignored; MLFLOW_TRACKING_URI names the store", stacklevel=2)
    return module


def _mlflow_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
