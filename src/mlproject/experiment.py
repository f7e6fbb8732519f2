"""What an experiment is, and how the files of experiments/ are found."""

import fnmatch
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import keras
from keras_tuner import HyperParameters

from mlproject import arguments
from mlproject.datasets import Spec
from mlproject.errors import UserError, first_line, shown
from mlproject.recipe import Recipe

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
T = TypeVar("T")
HOUR = 60  # minutes


@dataclass(frozen=True)
class Experiment:
    """One question put to one model family.

    `build(hp, spec)` gives an uncompiled functional model, uint8 images (n, h, w, c) to float32 probabilities (n, classes),
    and declares the network's hyperparameters on `hp`; `recipe(hp)` declares how it is trained. Together they are the
    search space; `best` holds the best-known value of each hyperparameter, the first trial of every search, and
    `best_in_an_hour` those that take the place of some where there is an hour or more. `fixed` names what a search leaves at
    its best-known value, because the minutes decide on it and no short trial can.
    `pretrained` says that `build` starts from VGG16's ImageNet weights, found in `spec.weights`.
    `dataset` and `labels` are names that `datasets.load` knows; experiments of one `comparison` are answered together.
    `name` and `comparison` become folders, web addresses and names in MLflow, so UserError refuses what cannot be all of these.
    """

    name: str
    question: str
    comparison: str
    dataset: str
    labels: str
    build: Callable[[HyperParameters, Spec], keras.Model]
    recipe: Callable[[HyperParameters], Recipe]
    best: Mapping[str, int | float | str | bool]
    pretrained: bool = False
    best_in_an_hour: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()

    def __post_init__(self):
        for what, value in (("name", self.name), ("comparison", self.comparison)):
            if not (isinstance(value, str) and _NAME.fullmatch(value)):
                raise UserError(
                    f"{what}='{shown(value)}' of an experiment is not accepted; letters, digits, '-', '_' and '.' are, "
                    "100 at most, the first a letter or digit"
                )
        for what, given in (("best_in_an_hour", self.best_in_an_hour), ("fixed", self.fixed)):
            if unknown := set(given) - self.best.keys():
                raise UserError(
                    f"{what} of {self.name}: {', '.join(sorted(unknown))} not accepted; {', '.join(self.best)} are"
                )

    def within(self, minutes: float) -> "Experiment":
        """The same experiment, its `best` that for so many minutes."""
        return replace(self, best={**self.best, **self.best_in_an_hour}) if minutes >= HOUR else self


def find(patterns: str, folder: Path = Path("experiments")) -> list[Experiment]:
    """The experiments that match any of the comma-separated names or globs, in the order of their files.

    Raises UserError for a name or glob that matches nothing, and, when a glob might have matched it, for a file that does
    not import; such a file is otherwise only warned of.
    """
    known, broken, _ = _discover(folder)
    complaint = _complaint(broken)
    if broken and any("*" in pattern or "?" in pattern or "[" in pattern for pattern in arguments.names(patterns)):
        raise UserError(f"{complaint} (mend it, or name the experiments wanted: {', '.join(known)})")
    found = select(patterns, known, complaint)
    if broken:
        warnings.warn(complaint, stacklevel=2)
    return found


def find_files(patterns: str, folder: Path = Path("experiments")) -> list[Path]:
    """The files that declare any of the experiments matching the comma-separated names or globs; a file's own name does too.

    Raises UserError for a name or glob that matches nothing.
    """
    _, broken, files = _discover(folder)
    by_name = {name: path for path, names in files.items() for name in (*names, path.stem, path.name)}
    return list(dict.fromkeys(select(patterns, by_name, _complaint(broken))))


def select(patterns: str, known: Mapping[str, T], complaint: str = "") -> list[T]:
    """The values whose names match any of the comma-separated names or globs, in the mapping's order.

    Raises UserError, with `complaint` behind it, for a name or glob that matches nothing.
    """
    wanted = arguments.names(patterns)
    if not wanted or any(not fnmatch.filter(known, pattern) for pattern in wanted):
        hint = f"; {complaint}" if complaint else ""
        raise UserError(
            f"experiment='{shown(patterns)}' matches no experiment; accepted: {', '.join(known)}, a list or a glob{hint}"
        )
    return [known[name] for name in known if any(fnmatch.fnmatch(name, pattern) for pattern in wanted)]


def _complaint(broken: Mapping[Path, str]) -> str:
    return "; ".join(f"{path} does not import: {error}" for path, error in broken.items())


def _discover(folder: Path) -> tuple[dict[str, Experiment], dict[Path, str], dict[Path, list[str]]]:
    """All experiments by name, the files that failed to import with a line each, and the names that each other file declares."""
    known, broken, names = {}, {}, {}
    files = sorted(folder.glob("*.py"))
    if not files:
        raise UserError(f"no experiment files (*.py) in {folder.absolute()}; run the command in the project's folder")
    for path in files:
        try:
            experiments = list(_import(path).EXPERIMENTS)
            if not all(isinstance(one, Experiment) for one in experiments):
                raise TypeError("EXPERIMENTS holds something else than an Experiment")
        except Exception as error:  # whatever a user's file raises, the other files still work
            broken[path] = first_line(error)
            continue
        for experiment in experiments:
            if experiment.name in known:
                raise UserError(
                    f"{path}: experiment name {experiment.name!r} is taken; give every experiment a name of its own"
                )
            known[experiment.name] = experiment
        names[path] = [experiment.name for experiment in experiments]
    return known, broken, names


def _import(path: Path):
    spec = importlib.util.spec_from_file_location(f"experiments.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look their module up here
    spec.loader.exec_module(module)
    return module
