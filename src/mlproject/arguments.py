"""Types of command-line arguments, and how a command line is read: whatever is wrong with it is said in one line."""

import math
import os
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

import click

from mlproject.errors import UserError, truncate
from mlproject.limits import parse_limits

# The smallest and largest accepted values. They only exclude typing errors.
MINUTES_FROM = 0.02  # a second, in which nothing but synthetic data can be trained on
MINUTES_LIMIT, TRIALS_LIMIT, SEED_LIMIT = 525_600, 1_000_000, 2**31 - 1
SEEDS_LIMIT = 100  # final fits of one search
FOLDS_LIMIT, REPEATS_LIMIT = 1000, 100
WORKERS_LIMIT = 10_000
SMALLEST_SIZE, LARGEST_SIZE = 8, 1024  # pixels a side of an image
# What to say of other programs' words, which are not similar to ours.
HINTS = {
    "train": "Did you mean 'tune'?",
    "--epochs": "Minutes decide how long models train: --budget-minutes of `mlproject tune`.",
}


class Parsed(click.ParamType[Any]):
    """The type of an option whose text a function parses.

    Args:
        parse: takes the text, and raises ValueError with a message that says what is accepted.
        name: stands for the value in the help.
    """

    def __init__(self, parse: Callable[[str], Any], name: str):
        self.parse, self.name = parse, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; other values are defaults and stay."""
        try:
            return self.parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def run(command: click.Command, words: Sequence[str], name: str) -> Any:
    """Read a command line and run its command.

    Args:
        command: the command.
        words: the words after the command's name.
        name: the command's name, for the help.

    Returns:
        What the command returns.

    Raises:
        UserError: the command line is not accepted; the message is one line.
        SystemExit: the help was asked for, or nothing at all; the help has been printed.
    """
    try:
        with command.make_context(name, list(words)) as context:
            return command.invoke(context)
    except click.exceptions.Exit as exit_request:
        raise SystemExit(exit_request.exit_code) from None
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else name
        hint = HINTS.get(getattr(error, "command_name", None) or getattr(error, "option_name", None) or "", "")
        message = " ".join(f"{error.format_message()} {hint}".split())
        raise UserError(f"{message} (see `{path} --help`)") from error


def minutes(text: str) -> float:
    """Parse a number of minutes from MINUTES_FROM to MINUTES_LIMIT, which is a year."""
    number = _number(text)
    if not MINUTES_FROM <= number <= MINUTES_LIMIT:
        raise ValueError(
            f"'{truncate(text)}' is not accepted; accepted: minutes from {MINUTES_FROM} to {MINUTES_LIMIT} (a year)"
        )
    return number


def count(text: str) -> int | None:
    """Parse a whole number up to TRIALS_LIMIT; 0 means no limit and gives None."""
    return _whole_number(text, range(TRIALS_LIMIT + 1), f"from 1 to {TRIALS_LIMIT}, or 0 for no limit") or None


def workers(text: str) -> int | None:
    """Parse a number of workers up to WORKERS_LIMIT; 0 leaves it to the machine or cluster and gives None."""
    return _whole_number(text, range(WORKERS_LIMIT + 1), f"from 1 to {WORKERS_LIMIT}, or 0 for the default") or None


def folds(text: str) -> int:
    """Parse a number of folds from 2 to FOLDS_LIMIT; 0 means a single validation split."""
    allowed = {0, *range(2, FOLDS_LIMIT + 1)}
    return _whole_number(text, allowed, f"from 2 to {FOLDS_LIMIT}, or 0 for a single validation split")


def repeats(text: str) -> int:
    """Parse how often the images are divided into folds, from 1 to REPEATS_LIMIT."""
    return _whole_number(text, range(1, REPEATS_LIMIT + 1), f"from 1 to {REPEATS_LIMIT}")


def share(text: str) -> float:
    """Parse a share, above 0 and at most 1."""
    number = _number(text)
    if not 0 < number <= 1:
        raise ValueError(f"'{truncate(text)}' is not accepted; accepted: a number above 0 and at most 1, such as 0.2")
    return number


def flag(text: str) -> bool:
    """Parse "true" or "false" in any case: YAML turns them into "True" and "False"."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"'{truncate(text)}' is not accepted; accepted: true, false")
    return text.lower() == "true"


def image_size(text: str) -> int | str:
    """Parse the pixels a side of an image, or "auto"."""
    if text == "auto":
        return text
    if text.isdecimal() and len(text) <= 4 and SMALLEST_SIZE <= int(text) <= LARGEST_SIZE:
        return int(text)
    raise ValueError(
        f"'{truncate(text)}' is not accepted; accepted: auto, or pixels from {SMALLEST_SIZE} to {LARGEST_SIZE}"
    )


def names(text: str) -> tuple[str, ...]:
    """Parse names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def folder(text: str) -> Path:
    """Parse the path of a folder. Few shells know that the ~ of `--output=~/exports` stands for the home folder."""
    return Path(os.path.expanduser(text))


def limit(text: str) -> str:
    """Check limits on the cost of a network (see `limits.parse_limits`); returns them without spaces."""
    return ",".join(limit.text for limit in parse_limits(text))


def seed(text: str) -> int:
    """Parse a whole number that NumPy, TensorFlow and Keras Tuner all accept as a seed."""
    return _whole_number(text, range(SEED_LIMIT + 1), f"from 0 to {SEED_LIMIT}")


def seeds(text: str) -> str:
    """Parse how many seeds there are, such as "3", or which ones, such as "0,1,2"; gives the same without spaces."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and parts[0].isdecimal() and len(parts[0]) < 4 and 1 <= int(parts[0]) <= SEEDS_LIMIT:
        return parts[0]
    if 1 < len(parts) <= SEEDS_LIMIT and len({seed(part) for part in parts}) == len(parts):
        return ",".join(parts)
    raise ValueError(
        f"'{truncate(text)}' is not accepted; accepted: how many seeds, from 1 to {SEEDS_LIMIT}, or different seeds such as 0,1,2"
    )


def _number(text: str) -> float:
    """The number that a text says; NaN, which lies in no range, where it says none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole_number(text: str, allowed: Container[int], accepted: str) -> int:
    if not text.isdecimal() or len(text) > 20 or int(text) not in allowed:
        raise ValueError(f"'{truncate(text)}' is not accepted; accepted: a whole number {accepted}")
    return int(text)


MINUTES = Parsed(minutes, "MINUTES")
COUNT = Parsed(count, "NUMBER")
WORKERS = Parsed(workers, "NUMBER")
FOLDS = Parsed(folds, "NUMBER")
REPEATS = Parsed(repeats, "NUMBER")
SHARE = Parsed(share, "NUMBER")
FLAG = Parsed(flag, "true|false")
SIZE = Parsed(image_size, "PIXELS|auto")
NAMES = Parsed(names, "NAME,...")
LIMIT = Parsed(limit, "LIMIT,...")
SEED = Parsed(seed, "NUMBER")
SEEDS = Parsed(seeds, "NUMBER|SEED,...")
FOLDER = Parsed(folder, "FOLDER")
# The file MLproject hands an option down that is not given, as an empty text.
FOLDER_OR_NONE = Parsed(lambda text: folder(text) if text else None, "FOLDER")
PATH_OR_NONE = Parsed(lambda text: text or None, "PATH")
MINUTES_OR_NONE = Parsed(lambda text: minutes(text) if text else None, "MINUTES")
