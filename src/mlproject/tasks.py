"""Tasks: an experiment with its data, split and weights. What can be refused is refused here, untrained."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import psutil
import tensorflow as tf

from mlproject import datasets, pretrained
from mlproject.datasets import Dataset, Spec
from mlproject.errors import UserError, first_line, shown
from mlproject.experiment import Experiment
from mlproject.features import FeatureCache
from mlproject.recipe import Recipe
from mlproject.training import memory_needed

CACHE = Path(".cache")


@dataclass(frozen=True)
class Task:
    """What stays the same in all fits of one experiment: the data, the rows of its split, the cache, the seed."""

    experiment: Experiment
    data: Dataset
    spec: Spec
    features: FeatureCache
    seed: int
    train: np.ndarray
    validation: np.ndarray

    @property
    def kind(self) -> str:
        """ "synthetic" or "real"."""
        return "synthetic" if self.data.synthetic else "real"

    @property
    def model_name(self) -> str:
        """What its models are called; those of synthetic data have a name of their own, so that none is champion by accident."""
        return f"{self.experiment.name}-synthetic" if self.data.synthetic else self.experiment.name

    @property
    def title(self) -> str:
        """The experiment's name over a plot."""
        return f"{self.experiment.name} (synthetic data)" if self.data.synthetic else self.experiment.name

    @property
    def network_key(self) -> tuple:
        """The same for tasks that differ in labels alone, whose networks are therefore as fast; planned by one measurement they
        pass as many images, though a machine's speed swings.
        """
        one = self.experiment
        return one.dataset, one.build, one.recipe, tuple(sorted(one.best.items()))

    def network(self, values: dict) -> tuple[keras.Model, Recipe]:
        """A freshly initialised network and its recipe for these hyperparameter values; the same values give the same weights."""
        keras.backend.clear_session()
        self._refuse_too_big(values)
        keras.utils.set_random_seed(self.seed)
        hp = hyperparameters(values)
        return self.experiment.build(hp, self.spec), self.experiment.recipe(hp)

    def _refuse_too_big(self, values: dict) -> None:
        """Raise TooBigError before a network's weights are made that the kernel would kill the process for."""
        if tf.config.list_physical_devices("GPU"):
            return  # its memory is another, and TensorFlow itself raises when that is full
        hp = hyperparameters(values)
        try:
            with keras.StatelessScope(initialize_variables=False):  # weights are declared, not made
                needed = memory_needed(self.experiment.build(hp, self.spec), self.experiment.recipe(hp))
        except Exception:  # either `build` fails, which it will again, or it needs the weights' values
            return
        finally:
            keras.backend.clear_session(free_memory=False)  # or Keras would make them later
        free = psutil.virtual_memory().available
        if needed > free:
            raise TooBigError(
                f"training needs {needed / 1e9:.1f} GB of memory at the very least, {free / 1e9:.1f} GB are free"
            )

    def space(self) -> list:
        """The hyperparameters that a network with the best-known values declares, as Keras Tuner's objects."""
        hp = hyperparameters(self.experiment.best)
        self.experiment.recipe(hp)
        self.experiment.build(hp, self.spec)
        return hp.space


class TooBigError(MemoryError):
    """A network that cannot be trained in the memory there is."""


def hyperparameters(values: dict) -> keras_tuner.HyperParameters:
    """Keras Tuner's container holding these values; what `build` and `recipe` declare on it then takes them."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp


def with_values(task: Task, given: Sequence[str]) -> Task:
    """The task with these values, each as `name=value`, in place of the best-known ones of the same names.

    Raises UserError for a name that the experiment does not declare, or a value outside its range; or when its `build` or
    `recipe` fails, as then nothing is declared.
    """
    if not given:
        return task
    try:
        declared = {one.name: one for one in task.space()}
    except Exception as error:  # whatever an experiment's code raises
        raise UserError(
            f"values={','.join(given)!r}: {task.experiment.name} cannot be built: {first_line(error)}"
        ) from error
    best = dict(task.experiment.best)
    for pair in given:
        name, _, text = pair.partition("=")
        try:
            best[name] = _in_range(declared[name], text)
        except (KeyError, ValueError):
            accepted = ", ".join(f"{name}={_range(one)}" for name, one in declared.items())
            raise UserError(
                f"values='{shown(pair)}' is not accepted by {task.experiment.name}; accepted: {accepted}"
            ) from None
    return replace(task, experiment=replace(task.experiment, best=best))


def searched(task: Task) -> dict[str, dict[str, str]]:
    """Each hyperparameter's range `searched` ("16..64 by 16", "relu|silu") and its `sampling` (linear, log, choice, fixed)."""
    found = {
        one.name: {"searched": _range(one), "sampling": getattr(one, "sampling", "choice")} for one in task.space()
    }
    for name in task.experiment.fixed:
        found[name] = {"searched": str(task.experiment.best[name]), "sampling": "fixed"}
    return found


def _in_range(declared, text: str) -> int | float | str | bool:
    """The value that `text` says, of a hyperparameter of Keras Tuner; KeyError or ValueError when it is not one of its values."""
    if not hasattr(declared, "min_value"):
        return {str(value).lower(): value for value in declared.values}[text.lower()]
    number = type(declared.min_value)(text)
    if not declared.min_value <= number <= declared.max_value:
        raise ValueError(text)
    steps = (number - declared.min_value) / declared.step if _stepped(declared) else 0.0
    if not math.isclose(steps, round(steps), abs_tol=1e-6):
        raise ValueError(text)
    return number


def _stepped(declared) -> bool:
    """Whether only every so many-th number is offered; on a logarithmic scale Keras Tuner's steps are factors."""
    return declared.step is not None and declared.sampling == "linear"


def _range(declared) -> str:
    if hasattr(declared, "min_value"):
        by = f" by {declared.step}" if _stepped(declared) and declared.step != 1 else ""
        return f"{declared.min_value}..{declared.max_value}{by}"
    return "|".join(map(str, declared.values))


def prepare(
    experiments: Sequence[Experiment],
    data: str = "real",
    data_dir: str | None = None,
    weights: str = "imagenet",
    seed: int = 0,
    cache: Path = CACHE,
) -> list[Task]:
    """A Task for each experiment; the parameters are the commands' options of the same names.

    Raises UserError for data or weights that are missing, damaged or unknown.
    """
    file = None
    if weights != "imagenet" or (data == "real" and any(one.pretrained for one in experiments)):
        file = pretrained.find(weights, data_dir)
    tasks = []
    load = functools.cache(datasets.load)  # read once for all experiments that ask for the same
    for experiment in experiments:
        loaded = load(experiment.dataset, experiment.labels, data, data_dir)
        train, validation = loaded.split(seed)
        spec = loaded.spec(file if experiment.pretrained else None)
        features = FeatureCache(cache / "features", loaded)
        tasks.append(Task(experiment, loaded, spec, features, seed, train, validation))
    return tasks
