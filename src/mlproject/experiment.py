"""What an experiment is, and how the files of experiments/ are found."""

import fnmatch
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import keras
import keras_tuner
from keras_tuner import HyperParameters

from mlproject import arguments
from mlproject.datasets import Loader, Spec
from mlproject.errors import UserError, first_line, truncate
from mlproject.names import FOLDER, NAME, NAME_RULE, experiment_files, unknown_experiment, with_share
from mlproject.networks import applications
from mlproject.networks.contract import as_functional
from mlproject.recipe import Recipe
from mlproject.topic import Topic

HOUR = 60  # minutes
SYNTHETIC = "-synthetic"  # ends the names of models of synthetic data
T = TypeVar("T")

# What layers do that say nothing else. The user's keras.json may hold other defaults, which other projects need.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

Value = int | float | str | bool  # of a hyperparameter


@dataclass(frozen=True)
class Experiment:
    """One question that is put to one model family.

    Attributes:
        name: names the registered model. Like `comparison` it becomes part of folders, web addresses and names in MLflow.
        question: what the experiment asks, as a sentence for the report.
        comparison: experiments with the same comparison are answered together. MLflow calls it an experiment.
        dataset: the data set, such as `FashionMNIST()`. None for an experiment that waits for images of a user's own: it runs
            with the option `images` only.
        labels: the granularity of its labels: "coarse", "fine" or "flat".
        build: makes an uncompiled functional model, from uint8 images (n, h, w, c) to float32 probabilities (n, classes), and
            declares the network's hyperparameters on `hp`.
        recipe: declares how the network is trained, and the hyperparameters of training.
        best: the best-known value of each hyperparameter. Every search begins with them.
        pretrained: the name of the network of `keras.applications` that `build` starts from, such as "VGG16". `build` gets it
            as `spec.pretrained`, and the file of its ImageNet weights as `spec.weights`. Empty for none.
        best_in_an_hour: values that replace some of `best` for budgets of an hour or more.
        fixed: hyperparameters that a search leaves at their best-known values, because no short trial can decide on them.
        topic: what the experiments of the comparison are about together, the same in all of them.

    Raises:
        UserError: for a name or comparison that cannot be a folder's name, for a data set or topic of another type, for values of
            unknown hyperparameters, and for an unknown pretrained network.
    """

    name: str
    question: str
    comparison: str
    dataset: Loader | None
    labels: str
    build: Callable[[HyperParameters, Spec], keras.Model]
    recipe: Callable[[HyperParameters], Recipe]
    best: Mapping[str, Value]
    pretrained: str = ""
    best_in_an_hour: Mapping[str, Value] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    topic: Topic = Topic()

    def __post_init__(self) -> None:
        for key, value in (("name", self.name), ("comparison", self.comparison)):
            if not (isinstance(value, str) and NAME.fullmatch(value)):
                raise UserError(f"{key}='{truncate(value)}' of an experiment is not accepted; accepted: {NAME_RULE}")
        if self.name.endswith(SYNTHETIC):
            raise UserError(f"name='{self.name}' of an experiment; accepted: a name that does not end in {SYNTHETIC}")
        if not isinstance(self.dataset, Loader | None):
            raise UserError(
                f"dataset={truncate(repr(self.dataset))} of {self.name}; accepted: a Loader from mlproject.datasets, "
                "such as FashionMNIST() or CIFAR100()"
            )
        if not isinstance(self.topic, Topic):
            raise UserError(f"topic={truncate(repr(self.topic))} of {self.name}; accepted: a Topic of mlproject.topic")
        if self.pretrained != "":
            applications.check_name(self.pretrained)
        for attribute in ("best", "best_in_an_hour"):  # NumPy's numbers cannot be written to a journal
            items = getattr(self, attribute).items()
            plain = {name: value.item() if hasattr(value, "item") else value for name, value in items}
            object.__setattr__(self, attribute, plain)
        for attribute, names in (("best_in_an_hour", self.best_in_an_hour), ("fixed", self.fixed)):
            if unknown := set(names) - self.best.keys():
                raise UserError(
                    f"{attribute} of {self.name}: {', '.join(sorted(unknown))} not accepted; accepted: {', '.join(self.best)}"
                )

    def for_budget(self, minutes: float) -> "Experiment":
        """The same experiment with the values that are best known for a budget of so many minutes."""
        return replace(self, best={**self.best, **self.best_in_an_hour}) if minutes >= HOUR else self

    def fits(self, images: Loader) -> bool:
        """Whether images have the labels that the experiment needs: coarse ones need superclasses."""
        return self.labels != "coarse" or "coarse" in images.labels

    def with_images(self, images: Loader, base: str = "") -> "Experiment":
        """The same experiment on other images: named after them, and in a comparison of their own.

        Args:
            images: the data set.
            base: a network of `keras.applications` in place of `pretrained`; empty leaves it.

        Returns:
            The experiment. One with the labels "flat" or "fine" gets the finest labels that there are.

        Raises:
            UserError: when the experiment needs superclasses, and the images have none; for an unknown network.
        """
        if base:
            applications.check_name(base, option="base")
        if not self.fits(images):
            raise UserError(
                f"experiment={self.name!r} needs superclasses, and the images of {images.name} have none; accepted: folders "
                "SUPERCLASS/CLASS/image, or an experiment without coarse labels"
            )
        return replace(
            self,
            name=f"{images.name}-{self.name}",
            comparison=images.name,
            topic=Topic(images.name, f"Which of these models should I use for photos like those of {images.name}?"),
            dataset=images,
            labels=self.labels if self.labels in images.labels else images.labels[-1],
            pretrained=base if base and self.pretrained else self.pretrained,
        )

    def with_train_share(self, share: float) -> "Experiment":
        """The same experiment on a share of the training images: with a name and in a comparison of its own.

        Args:
            share: the share, in (0, 1].

        Returns:
            The experiment; itself for the share 1.
        """
        if share == 1:
            return self
        words = f"with {100 * share:g}% of the training images"
        topic = replace(self.topic, title=f"{self.topic.title or self.comparison}, {words}", published={})
        return replace(
            self, name=with_share(self.name, share), comparison=with_share(self.comparison, share), topic=topic
        )

    def network(self, hp: HyperParameters, spec: Spec) -> keras.Model:
        """Build the network as the suite uses it: functional, with the images as uint8.

        Args:
            hp: holds the values of the hyperparameters, or takes their declarations.
            spec: what the network may know of the data.

        Returns:
            The network, with fresh weights.

        Raises:
            UserError: when `build` returns no Keras model with an input. The experiment's own code may raise anything.
        """
        return as_functional(self.build(hp, spec), spec)


def hyperparameters(values: Mapping[str, Value]) -> HyperParameters:
    """Keras Tuner's container with these values. What `build` and `recipe` declare on it takes them."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp


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


def needs_images(name: str) -> UserError:
    """The error for an experiment or file of this name, which waits for images of a user's own when there are none."""
    return UserError(f"experiment={name!r} needs images of your own; accepted: with images=PATH, such as a folder")


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
    paths = experiment_files(folder)
    if not paths:
        raise UserError(f"no experiment files (*.py) in {folder.absolute()}; run the command in the project's folder")
    for path in paths:
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
