"""Shows the library's messages to the user: information on standard output, warnings on standard error."""

import io
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# What TensorFlow writes whenever it is imported, before it looks at TF_CPP_MIN_LOG_LEVEL.
REMARK = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} \d\d:")
_verbose = _times = False


class _ConsoleHandler(logging.Handler):
    """Writes to the streams that `sys` has at that moment, because tests and notebooks replace them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if record.levelno >= logging.WARNING:
                sys.stderr.write(f"{record.levelname.lower()}: {self.format(record)}\n")
                sys.stderr.flush()
            else:
                clock = time.strftime("%H:%M:%S ") if _times else ""
                sys.stdout.write(f"{clock}{self.format(record)}\n")
                sys.stdout.flush()
        except Exception:
            self.handleError(record)


def show_messages(verbose: bool = False, times: bool = False) -> None:
    """Show the messages of the package `mlproject`, and all warnings, to the user of a command or a program.

    Messages of level INFO go to standard output as they are. Higher levels go to standard error, after "warning: " or
    "error: ", and so do warnings issued by `warnings.warn`, even if the user has asked Python to raise them: MLflow and
    TensorFlow warn when they are imported. Characters that a stream's encoding lacks appear as escape sequences. Calling
    the function again changes only the level and the times.

    Args:
        verbose: also show messages of level DEBUG, and the remarks of TensorFlow and MLflow.
        times: begin messages of level INFO with the time of day.
    """
    global _verbose, _times
    _verbose, _times = verbose, times
    if verbose:
        os.environ.update(TF_CPP_MIN_LOG_LEVEL="0", MLFLOW_LOGGING_LEVEL="INFO")
    logger = logging.getLogger("mlproject")
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler())
    _give_root_a_handler()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if any(action == "error" and category is Warning for action, _, category, *_ in warnings.filters):
        warnings.simplefilter("default")
        os.environ["PYTHONWARNINGS"] = "default"  # also in the processes that this one starts
    warnings.showwarning = _show_warning
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing, which every new network needs
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns of each weight that a font lacks


def is_verbose() -> bool:
    """Whether the user wants to see the remarks of TensorFlow and MLflow."""
    return _verbose


@contextmanager
def without_remarks() -> Iterator[None]:
    """Import TensorFlow inside of this without its remarks, unless the user wants to see them.

    TensorFlow writes them to the file descriptor of standard error. What else is written there meanwhile is shown at the end.
    """
    if _verbose:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        original_stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original_stderr, 2)
            os.close(original_stderr)
            captured.seek(0)
            for line in captured.read().decode(errors="replace").splitlines():
                if not REMARK.match(line):
                    sys.stderr.write(f"{line}\n")


def how_to_activate() -> str:
    """The command that makes `mlproject` and `mlflow` known to the user's shell, where it may not know them.

    `make` uses the environment in .venv without activating it.

    Returns:
        A line for the shell; "" if this environment is active, or is no virtual environment.
    """
    if sys.prefix in (sys.base_prefix, os.environ.get("VIRTUAL_ENV")):
        return ""
    script = os.path.join(sys.prefix, "bin", "activate")
    return f". {min(script, os.path.relpath(script), key=len)}"


def _give_root_a_handler() -> None:
    """Show the warnings of other libraries as Python does by default, by a handler of the root logger.

    Keras logs through absl, which gives the root logger a handler when there is none. That handler would show all
    messages of `mlproject` a second time.
    """
    if logging.root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    # A library that has a handler of its own shows its messages itself.
    handler.addFilter(lambda record: not logging.getLogger(record.name.partition(".")[0]).handlers)
    logging.root.addHandler(handler)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"warning: {message}\n")
