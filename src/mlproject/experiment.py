"""What an experiment is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import keras
import keras_tuner
from keras_tuner import HyperParameters

from mlproject.datasets import Loader, Spec
from mlproject.errors import UserError, truncate
from mlproject.names import NAME, NAME_RULE, with_share
from mlproject.networks import applications
from mlproject.networks.contract import as_functional
from mlproject.recipe import Recipe
from mlproject.topic import Topic

HOUR = 60  # minutes
SYNTHETIC = "-synthetic"  # ends the names of models of synthetic data

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


def needs_images(name: str) -> UserError:
    """The error for an experiment or file of this name, which waits for images of a user's own when there are none."""
    return UserError(f"experiment={name!r} needs images of your own; accepted: with images=PATH, such as a folder")
