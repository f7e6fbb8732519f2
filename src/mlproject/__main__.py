"""The program `mlproject`, which `python -m mlproject` starts as well: reads the command line and ends with an exit code."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from mlproject import arguments, console, process
from mlproject.commands import mlproject
from mlproject.errors import StoreGoneError, UserError


def main(given: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        given: the command line; None takes the process'.

    Returns:
        The exit code: 0, 1 when something failed, 2 for bad input, 130 when interrupted.
    """
    process.stop_on_signals()
    if "MLFLOW_RUN_ID" in os.environ:
        process.stop_with_mlflow_run()
    console.show_messages(times=not sys.stdout.isatty())  # on a terminal, bars show that time passes
    try:
        return arguments.run(mlproject, sys.argv[1:] if given is None else given, "mlproject") or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StoreGoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: everything that was finished is kept", file=sys.stderr)
        return 130


def run() -> NoReturn:
    """Run the command that this process was started for, and end the process."""
    process.leave(main())


if __name__ == "__main__":
    run()
