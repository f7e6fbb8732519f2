"""A task: an experiment with its data, split, weights and seed, ready to be built and trained."""

import functools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import psutil

from mlproject.datasets import Dataset, Loader, Spec
from mlproject.datasets.folds import Fold, draw_folds
from mlproject.errors import UserError, truncate
from mlproject.experiment import SYNTHETIC, Experiment, Value, hyperparameters, needs_images
from mlproject.networks import pretrained
from mlproject.networks.cost import estimate_memory
from mlproject.place import Place
from mlproject.recipe import Recipe
from mlproject.training import device
from mlproject.training.features import FeatureCache
from mlproject.training.fit_data import FitData

CACHE = Path(".cache")


class TooBigError(MemoryError):
    """A network cannot be trained in the free memory."""


@dataclass(frozen=True)
class Task:
    """What all fits of one experiment share.

    Attributes:
        experiment: what is asked.
        data: the data set.
        spec: what the network may know of the data.
        features: keeps the activations of frozen layers.
        seed: decides the split, the initial weights, the order of the images and the augmentation.
        train: int64 (n,), the training images' rows; with cross-validation, those of its first fit.
        validation: int64 (m,), the validation images' rows; with cross-validation, those of its first fit.
        given_trials: the values of trials that a user gives, which are tried right after the best-known ones.
        folds: what each fit of a cross-validation trains on and holds out; empty for the single split into `train` and
            `validation`.
        place: the experiment's place in the command, which the lines of the progress name.
    """

    experiment: Experiment
    data: Dataset
    spec: Spec
    features: FeatureCache
    seed: int
    train: np.ndarray
    validation: np.ndarray
    given_trials: tuple[Mapping[str, Value], ...] = ()
    folds: tuple[Fold, ...] = ()
    place: Place = Place()

    @property
    def fits(self) -> tuple[Fold, ...]:
        """The rows of each fit of a trial: one for the single split, or one for each fold and repeat."""
        return self.folds or (Fold(self.train, self.validation),)

    @property
    def validated_rows(self) -> np.ndarray:
        """The rows that a trial predicts: int64, sorted. With cross-validation they are all training images."""
        return np.arange(len(self.data.train_labels)) if self.folds else self.validation

    @property
    def held_out_count(self) -> int:
        """How many images the fits of a cross-validation predict, all together; 0 without one."""
        return sum(len(fold.validation) for fold in self.folds)

    @property
    def data_kind(self) -> str:
        """The kind of data, "synthetic" or "real"."""
        return "synthetic" if self.data.synthetic else "real"

    @property
    def model_name(self) -> str:
        """The registered name of the model. Models of synthetic data have their own, so they never become champion of real."""
        return f"{self.experiment.name}{SYNTHETIC}" if self.data.synthetic else self.experiment.name

    @property
    def title(self) -> str:
        """The experiment's name, for the title of a plot."""
        return f"{self.experiment.name} (synthetic data)" if self.data.synthetic else self.experiment.name

    @property
    def network_key(self) -> tuple[object, ...]:
        """Equal for tasks whose networks differ in the number of classes alone.

        Such networks are equally fast. They are planned by one measurement, so that they train for equally many steps although
        a machine's speed varies.
        """
        experiment = self.experiment
        return (
            experiment.dataset,
            experiment.build,
            experiment.recipe,
            experiment.pretrained,
            tuple(sorted(experiment.best.items())),
        )

    def network(self, values: Mapping[str, Value]) -> tuple[keras.Model, Recipe]:
        """Build a network with fresh weights, and its recipe. The same values and seed give the same weights.

        Args:
            values: a value for each hyperparameter.

        Returns:
            The network and its recipe.

        Raises:
            TooBigError: when training needs more memory than is free. The experiment's own code may raise anything.
        """
        keras.backend.clear_session()
        self._refuse_too_big(values)
        keras.utils.set_random_seed(self.seed)
        return self.experiment.network(hyperparameters(values), self.spec), self.recipe(values)

    def recipe(self, values: Mapping[str, Value]) -> Recipe:
        """The recipe with these values, and on a GPU with enough batches in a call of the training step."""
        recipe = self.experiment.recipe(hyperparameters(values))
        if not device.on_gpu():
            return recipe
        return replace(recipe, steps_per_execution=max(recipe.steps_per_execution, device.STEPS_ON_GPU))

    def fit_data(self, train: np.ndarray, validation: np.ndarray | None) -> FitData:
        """The images of one fit: these rows of the training images, with the task's cache and seed."""
        return FitData(self.data, train, validation, self.features, self.seed)

    def with_folds(self, folds: int, repeats: int) -> "Task":
        """The same task with cross-validation in place of the single split.

        Args:
            folds: the number of folds; 0 keeps the single split.
            repeats: the number of partitions into folds.

        Returns:
            The task.

        Raises:
            UserError: when the data set cannot be divided into so many folds.
        """
        if not folds:
            return self
        drawn_folds = draw_folds(self.data, folds, repeats, self.seed)
        return replace(self, train=drawn_folds[0].train, validation=drawn_folds[0].validation, folds=drawn_folds)

    def _refuse_too_big(self, values: Mapping[str, Value]) -> None:
        """Raise TooBigError before the weights are made: the kernel would kill the process for them."""
        if device.on_gpu():
            return  # a GPU has its own memory, and TensorFlow raises when it is full
        hp = hyperparameters(values)
        try:
            with keras.StatelessScope(initialize_variables=False):  # declares weights without making them
                model = self.experiment.network(hp, self.spec)
                needed_bytes = estimate_memory(model, self.experiment.recipe(hp))
        except Exception:  # `build` fails, and will fail again; or it needs the weights' values
            return
        finally:
            keras.backend.clear_session(free_memory=False)  # Keras would make the declared weights later
        free_bytes = psutil.virtual_memory().available
        if needed_bytes > free_bytes:
            raise TooBigError(
                f"training needs at least {needed_bytes / 1e9:.1f} GB of memory, {free_bytes / 1e9:.1f} GB are free"
            )


def prepare(
    experiments: Sequence[Experiment],
    data: str = "real",
    data_dir: str | None = None,
    weights: str = "imagenet",
    seed: int = 0,
    cache: Path = CACHE,
    train_share: float = 1.0,
) -> list[Task]:
    """Load the data and the weights of experiments.

    Args:
        experiments: the experiments to prepare.
        data: "real" or "synthetic".
        data_dir: the folder that holds the real data; None looks for it in the usual places.
        weights: of a pretrained base: "imagenet", "none" or a file. With synthetic data "imagenet" means random weights, so
            that it needs no download.
        seed: of the split and of all fits.
        cache: the folder for the activations of frozen layers.
        train_share: the share of the training images that all fits use, in (0, 1]; the seed decides which images.

    Returns:
        A task for each experiment.

    Raises:
        UserError: for data or weights that are missing, damaged or unknown.
    """
    pretrained.check(weights)
    tasks = []
    load = functools.cache(Loader.load)  # experiments that ask for the same data share it
    for experiment in experiments:
        if experiment.dataset is None:
            raise needs_images(experiment.name)
        if not isinstance(experiment.dataset, Hashable):
            raise UserError(
                f"dataset={truncate(repr(experiment.dataset))} of {experiment.name} has no hash; accepted: a Loader with a hash, "
                "such as a dataclass with eq=False"
            )
        dataset = load(experiment.dataset, experiment.labels, data, data_dir).with_train_share(train_share, seed)
        train, validation = dataset.split(seed)
        weights_file = None
        if experiment.pretrained and (weights != "imagenet" or data == "real"):
            pixels = dataset.train_images.shape[1]
            weights_file = pretrained.find(weights, experiment.pretrained, data_dir, pixels)
        spec = dataset.spec(weights_file, experiment.pretrained)
        features = FeatureCache(cache / "features", dataset)
        tasks.append(Task(experiment, dataset, spec, features, seed, train, validation))
    return tasks
