"""The program `mlproject`, which `python -m mlproject` starts as well: reads the command line and ends with an exit code."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from mlproject import arguments, console, process
from mlproject.commands import mlproject
from mlproject.errors import StoreGoneError, UserError


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: the command line; None takes the process'.

    Returns:
        The exit code: 0, 1 when something failed, 2 for bad input, 130 when interrupted.
    """
    process.stop_on_signals()
    project_run = os.environ.get("MLFLOW_RUN_ID")
    if project_run:
        process.stop_with_mlflow_run()
    console.show_messages(times=not sys.stdout.isatty())  # on a terminal, bars show that time passes
    try:
        code = arguments.run(mlproject, sys.argv[1:] if words is None else words, "mlproject") or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads our output, such as `head`, wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain when it ends
        return 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if project_run:
            _mark_refused(project_run, str(error))
        return 2
    except StoreGoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: the disk is full: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: everything that was finished is kept", file=sys.stderr)
        return 130


def _mark_refused(project_run: str, reason: str) -> None:
    """Let the run that `mlflow run` began for a command with bad input be deleted by the next command."""
    with console.without_remarks():
        from mlproject import tracking

    tracking.mark_refused(project_run, reason)


def run() -> NoReturn:
    """Run the command that this process was started for, and end the process."""
    process.exit_with(main())


if __name__ == "__main__":
    run()
