"""What the user asks of `tune`: every option with its default, its parser and its help, in one place.

To add an option, add a field here and a parameter with its argument in the file MLproject, and use it.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlproject import arguments
from mlproject.errors import UserError, truncate
from mlproject.limits import MILLISECONDS, PARAMETERS, Limit, parse_limits
from mlproject.objectives import DEFAULT, OBJECTIVES

if TYPE_CHECKING:
    from mlproject.datasets import ImageFolder

TUNERS = ("hyperband", "bayesian", "random")  # as in `search.oracles`, which takes seconds to import
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
IMAGE_OPTIONS = ("images", "image_size", "image_fit", "base")
TRAINING_OPTIONS = ("seed", "weights", "data", "data_dir", *IMAGE_OPTIONS, "precision")  # of every command that trains
DATA_OPTIONS = ("data", "data_dir")
Command = TypeVar("Command", bound=Callable[..., Any])


def _option(
    default: Any, help: str, decides: bool = True, type: click.ParamType[Any] = click.STRING, metavar: str | None = None
) -> Any:
    """A field with what click needs besides; `decides` says whether another value makes another search."""
    return field(
        default=default, metadata={"decides": decides, "argument": {"help": help, "type": type, "metavar": metavar}}
    )


@dataclass(frozen=True)
class Settings:
    """The settings of one `tune`. The fields' metadata hold what the command line needs."""

    experiment: str = _option("*", "a name, names separated by commas, or a glob", decides=False, metavar="NAME,...")
    tuner: str = _option("bayesian", "what proposes hyperparameters", type=click.Choice(TUNERS))
    objective: str = _option(
        DEFAULT,
        "the score on the validation images that the search optimises; it also decides winner and champion",
        type=click.Choice(list(OBJECTIVES)),
    )
    budget_minutes: float = _option(
        15.0, "minutes for each experiment, search and final fit together", type=arguments.MINUTES
    )
    max_trials: int | None = _option(
        None, "at most this many trials (0: as many as the budget allows)", type=arguments.COUNT
    )
    prune: bool = _option(True, "false: let every trial finish, even a hopeless one", type=arguments.FLAG)
    values: str = _option(
        "", "hyperparameters of the first trial, in place of the best-known ones", metavar="NAME=VALUE,..."
    )
    trials: str = _option(
        "",
        "a CSV file with hyperparameters of trials that run right after the first one, as many as the budget allows",
        decides=False,
        metavar="FILE",
    )
    limit: str = _option(
        "",
        "such as parameters<1e6 or ms_per_image<2 (milliseconds to predict an image): trials beyond it are not trained",
        type=arguments.LIMIT,
    )
    seed: int = _option(0, "decides the split, the trials and the initial weights", type=arguments.SEED)
    seeds: str = _option(
        "1",
        "final fits with other seeds: how many, such as 3, or which, such as 0,1,2",
        type=arguments.SEEDS,
    )
    folds: int = _option(0, "cross-validate with this many folds; 0: one validation split", type=arguments.FOLDS)
    repeats: int = _option(1, "divide the images into folds this many times", type=arguments.REPEATS)
    train_share: float = _option(
        1.0, "use this share of the training images, such as 0.2; the seed decides which", type=arguments.SHARE
    )
    data: str = _option(
        "real",
        "synthetic: small sets of random patterns, without a download",
        type=click.Choice(("real", "synthetic")),
    )
    data_dir: str | None = _option(
        None, "folder with the archives of the data sets, as downloaded", decides=False, type=arguments.PATH_OR_NONE
    )
    images: str = _option(
        "",
        "images of your own: a folder of folders, a manifest, Parquet files or an .npz file",
        decides=False,
        metavar="PATH",
    )
    image_size: int | str = _option("auto", "pixels a side of these images; auto: by their median", type=arguments.SIZE)
    image_fit: str = _option("crop", "how these images become squares: crop or pad", type=click.Choice(("crop", "pad")))
    base: str = _option(
        "", "a network of keras.applications on which experiments with these images build", metavar="NETWORK"
    )
    weights: str = _option(
        "imagenet",
        "weights of the pretrained base: imagenet, none or a file",
        decides=False,
        metavar="imagenet|none|FILE",
    )
    deterministic: bool = _option(
        False, "true: the same results in every run; nothing is planned by measured speeds", type=arguments.FLAG
    )
    precision: str = _option(
        "auto",
        "the numbers that training steps compute with; auto: 16 bits on GPUs made for them, else float32",
        type=click.Choice(PRECISIONS),
    )
    winograd: bool = _option(True, "false: TensorFlow's own convolutions, to debug numerics", type=arguments.FLAG)
    workers: int | None = _option(
        None,
        "train this many trials and final fits at the same time (0: one here, or one for each GPU or node of a cluster)",
        decides=False,
        type=arguments.WORKERS,
    )
    ray: str = _option("", "the Ray cluster that trains them, by default RAY_ADDRESS", False, metavar="HOST:PORT")
    fresh: bool = _option(
        False, "true: start again, even if the search was interrupted or is complete", False, type=arguments.FLAG
    )

    def __post_init__(self) -> None:
        if self.repeats > 1 and not self.folds:
            raise UserError(f"repeats={self.repeats}; accepted: 1, or with folds=2 or more")
        if self.deterministic and any(limit.quantity == MILLISECONDS for limit in self.limits):
            raise UserError(
                f"limit={self.limit!r} with deterministic=true: {MILLISECONDS} is measured by a clock, which differs from "
                f"run to run; accepted: limit={PARAMETERS}<NUMBER, or deterministic=false"
            )
        if self.deterministic and self.has_several_workers and (self.tuner != "random" or self.prune):
            raise UserError(
                f"deterministic=true with {self.workers_in_words}: which trial ends first differs from run to run, and what "
                "is tried next and pruned depends on it; accepted: tuner=random with prune=false, or workers=1"
            )

    @property
    def cluster_address(self) -> str:
        """The address of a running Ray cluster; "" for none."""
        return self.ray or os.environ.get("RAY_ADDRESS", "")

    @property
    def has_several_workers(self) -> bool:
        """Whether fits are trained by workers, and not one after another in this process."""
        return bool(self.cluster_address) or (self.workers or 1) > 1

    @property
    def workers_in_words(self) -> str:
        """The setting that asks for workers, for messages."""
        return f"workers={self.workers}" if self.workers else f"ray={truncate(self.cluster_address)}"

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits on the cost of a network."""
        return parse_limits(self.limit)

    @property
    def budget_seconds(self) -> float:
        """The budget of each experiment in seconds."""
        return 60 * self.budget_minutes

    @property
    def final_seeds(self) -> tuple[int, ...]:
        """The seeds of the final fits: those that `seeds` lists, or as many as it says, from `seed` on."""
        numbers = tuple(map(int, self.seeds.split(",")))
        return numbers if len(numbers) > 1 else tuple(range(self.seed, self.seed + numbers[0]))

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings whose values make a search another one, by name. They are logged as parameters.

        The files behind `data_dir`, `weights` and `trials` decide as well, by their content: see `search.fingerprint`.
        """
        return {option.name: getattr(self, option.name) for option in fields(self) if option.metadata["decides"]}

    def repeat(self, start: str | None = None, fresh: bool = False) -> str:
        """The command that goes on with what was interrupted, or runs the same again.

        Args:
            start: how the command begins under `mlflow run`; None stands for `mlproject tune`.
            fresh: whether it starts anew; without it, a complete search is skipped.

        Returns:
            A line for the shell, with the settings that are not the default.
        """
        values = {option: getattr(self, option.name) for option in fields(self) if option.name != "fresh"}
        given = {option.name: value for option, value in values.items() if value != option.default}
        return command_line(given | ({"fresh": "true"} if fresh else {}), start)


def options_to_repeat(logged: Mapping[str, str]) -> dict[str, str]:
    """Read the deciding settings off the parameters of a run.

    Args:
        logged: the run's parameters, as text.

    Returns:
        The settings that a command must name to repeat the run: those that are not the default, and always the tuner and the
        budget, whose defaults may change.
    """
    to_repeat = {}
    for option in fields(Settings):
        value = logged.get(option.name, "")
        unchanged = value in ("", "0", str(option.default)) and option.name not in ("tuner", "budget_minutes")
        if option.metadata["decides"] and value and not unchanged:
            to_repeat[option.name] = value.lower() if value in ("True", "False") else value
    return to_repeat


def command_line(values: Mapping[str, object], start: str | None = None) -> str:
    """A `tune` command with these options.

    Args:
        values: the options' values by name.
        start: how the command begins under `mlflow run`; None stands for `mlproject tune`.

    Returns:
        A line for the shell.
    """
    words = [start or "mlproject tune"]
    for name, value in values.items():
        if start:
            words.append(f"-P {shlex.quote(f'{name}={value}')}")
        else:
            words.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    return " ".join(words)


def own_images(images: str, image_size: int | str, image_fit: str, base: str) -> "ImageFolder | None":
    """The images of a user's own that the options name.

    Args:
        images: the option `images`; "" for none.
        image_size: the option `image_size`.
        image_fit: the option `image_fit`.
        base: the option `base`.

    Returns:
        The data set, of which nothing is read yet; None if there are no such images.

    Raises:
        UserError: for a path that does not exist, and for one of the other options without images, which would have no effect.
    """
    if images:
        from mlproject.datasets import ImageFolder  # takes a second to import
        from mlproject.datasets.images import layouts

        layouts.existing_path(images)
        return ImageFolder(images, image_size, image_fit)
    for name, value in (("image_size", image_size), ("image_fit", image_fit), ("base", base)):
        if value != getattr(Settings, name):
            raise UserError(
                f"{name}={truncate(value)}; accepted: together with images=PATH, or in an experiment's file"
            )
    return None


def options(*names: str) -> Callable[[Command], Command]:
    """Decorate a command with options.

    Args:
        names: fields of Settings; none stands for all. The command gets their values as keyword arguments.

    Returns:
        The decorator.
    """

    def decorate(command: Command) -> Command:
        for option in reversed(fields(Settings)):
            if option.name in names or not names:
                default = _as_text(option.default)
                flag = f"--{option.name.replace('_', '-')}"
                argument = option.metadata["argument"]
                command = click.option(flag, default=default, show_default=bool(default), **argument)(command)
        return command

    return decorate


def _as_text(default: Any) -> str | None:
    """A default as a user would type it."""
    if default is None or isinstance(default, str):
        return default
    return str(default).lower() if isinstance(default, bool) else f"{default:g}"
