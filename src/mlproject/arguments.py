"""The command line's own kinds of argument, and a parser that refuses the rest in one line."""

import argparse
import math

from mlproject.errors import UserError, shown

MOST_MINUTES, MOST_TRIALS = 525_600, 1_000_000


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that raises UserError instead of printing its usage and leaving."""

    def error(self, message):
        raise UserError(f"{message} (see `{self.prog} --help`)")


def add_training(command: argparse.ArgumentParser) -> None:
    """The options of every command that trains: seed, pretrained weights, data."""
    command.add_argument("--seed", type=seed, default=0)
    command.add_argument("--weights", default="imagenet", help="of the pretrained base: imagenet, none or a file")
    add_data(command)


def add_data(command: argparse.ArgumentParser) -> None:
    """Which data, and where it lies."""
    command.add_argument("--data", choices=("real", "synthetic"), default="real")
    command.add_argument(
        "--data-dir", default=None, type=lambda text: text or None, help="folder with the archives, as downloaded"
    )


def minutes(text: str) -> float:
    """A number of minutes above 0, up to a year."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(
            f"'{shown(text)}' is not accepted; a number of minutes above 0 is, up to {MOST_MINUTES} (a year)"
        )
    return number


def count(text: str) -> int | None:
    """A whole number; None, for no limit, when it is 0."""
    return _whole(text, MOST_TRIALS, f"0 for no limit, up to {MOST_TRIALS}") or None


def flag(text: str) -> bool:
    """True or false, in any case: YAML makes capitals of them."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is not accepted; true and false are")
    return text.lower() == "true"


def names(text: str) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def seed(text: str) -> int:
    """A whole number that NumPy, TensorFlow and Keras Tuner all take as a seed."""
    return _whole(text, 2**31 - 1, "from 0 to 2147483647")


def _whole(text: str, most: int, accepted: str) -> int:
    if not text.isdecimal() or len(text) > 20 or int(text) > most:
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is not accepted; a whole number is, {accepted}")
    return int(text)
