"""What commands share: the selection of names, -v, examples in the help, tables."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlproject import console, location
from mlproject.errors import UserError, truncate

if TYPE_CHECKING:
    from mlproject.tracking import ProjectRun

Command = TypeVar("Command", bound=Callable[..., Any])


class OrderedGroup(click.Group):
    """A group whose help lists the commands as they were added, the most used ones first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.commands)


def examples(*lines: str) -> str:
    """The end of a command's help: examples to type."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _show_messages(ctx: click.Context, param: click.Parameter, verbose: bool) -> None:
    console.show_messages(verbose, times=not sys.stdout.isatty())


verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_messages,
    help="Also show remarks of TensorFlow and MLflow.",
)


def choose_names(name: str, arguments: tuple[str, ...], option_value: str, default: str = "*") -> str:
    """Names that were given either as arguments or by an option.

    Args:
        name: the name of the option.
        arguments: the arguments.
        option_value: the option's value.
        default: the option's default.

    Returns:
        The names, separated by commas.

    Raises:
        UserError: for both at once.
    """
    if arguments and option_value != default:
        raise UserError(
            f"{name}={truncate(option_value)!r} and the argument {truncate(arguments[0])!r}; accepted: one of the two ways"
        )
    return ",".join(arguments) or option_value


def check_files(data: str, data_dir: str | None, weights: str = "imagenet") -> None:
    """Refuse a missing folder of data or file of weights before TensorFlow is imported, which takes long.

    Args:
        data: the option `data`; synthetic data needs no folder.
        data_dir: the option `data_dir`.
        weights: the option `weights`.

    Raises:
        UserError: one of them does not exist.
    """
    from mlproject.datasets.files import named_folder
    from mlproject.networks import pretrained

    if data == "real" and data_dir:
        named_folder(data_dir)
    pretrained.check(weights)


def open_store() -> "ProjectRun":
    """Open the store of a command that reads what is there. A store that does not exist is refused, and not made.

    Returns:
        The run of `mlflow run`, as `tracking.connect` gives it.

    Raises:
        UserError: the store does not exist, or cannot be used.
    """
    location.existing_uri()
    with console.without_remarks():
        from mlproject import tracking

    return tracking.connect()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their header, in columns as wide as their content."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print(("  " + "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True))).rstrip())
