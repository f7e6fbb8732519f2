"""Experiment files as Jupyter notebooks: Jupytext converts them, nbclient executes them."""

import contextlib
import os
import re
import shlex
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from traitlets.config import Config

from mlproject import disk
from mlproject.errors import UserError, first_line
from mlproject.program import ARGUMENTS

STARTUP_TIMEOUT_SECONDS = 300  # The default of one minute is too short for a busy laptop.
NATIVE_LOG = re.compile(r"[IWEF]\d{4} \d\d|WARNING: All log messages before absl|To enable the following instructions")


class NotebookError(RuntimeError):
    """A cell raised an exception, or the kernel died; the notebook shows where."""


def convert(script: Path) -> NotebookNode:
    """Convert an experiment file to a notebook without outputs; the same file always makes the same notebook.

    Args:
        script: a Python file in Jupytext's percent format.

    Returns:
        The notebook.

    Raises:
        UserError: the file is not in UTF-8.
    """
    try:
        notebook: NotebookNode = jupytext.reads(script.read_text(encoding="utf-8-sig"), fmt=script.suffix)
    except ValueError as error:
        raise UserError(
            f"{script} cannot become a notebook ({first_line(error)}); accepted: a file in UTF-8"
        ) from error
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # Jupytext's own ids are random, so every conversion would differ
        cell.metadata = {}
    return notebook


def execute(notebook: NotebookNode, arguments: Sequence[str]) -> None:
    """Run all cells in a new kernel, in the current working folder; the outputs are added to the notebook.

    Args:
        notebook: the notebook, which is changed.
        arguments: options as on the command line of the experiment file.

    Raises:
        NotebookError: a cell raised an exception, or the kernel died.
        KeyboardInterrupt: this process received SIGINT or SIGTERM; the kernel has ended by then.
    """
    try:
        socket_folder = _socket_folder()
        with tempfile.TemporaryDirectory(prefix="kernel", dir=socket_folder) as sockets:
            client = NotebookClient(
                notebook,
                timeout=None,
                startup_timeout=STARTUP_TIMEOUT_SECONDS,
                kernel_name="python3",
                record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": str(Path.cwd())}},
                config=_transport(Path(sockets)) if socket_folder else Config(),
            )
            client.execute(env=os.environ | {ARGUMENTS: shlex.join(arguments)})
    except CellExecutionError as error:
        raise NotebookError(f"{error.ename}: {error.evalue}".splitlines()[0]) from error
    except DeadKernelError as error:
        raise NotebookError(f"the kernel died: {error}") from error
    # On SIGINT and SIGTERM, nbclient 0.11 ends the kernel and then fails an assertion because there is no kernel.
    except AssertionError as error:
        raise KeyboardInterrupt from error
    finally:
        _remove_native_log(notebook)


def _transport(sockets: Path) -> Config:
    """A connection to the kernel by socket files, since other users of the machine could listen on TCP ports.

    The files need a folder of their own: by default all kernels of one working folder share the files' names, and their
    messages mix.
    """
    return Config(KernelManager={"transport": "ipc", "ip": str(sockets / "socket")})


def _socket_folder() -> str | None:
    """The folder for temporary files, or another one where that cannot hold sockets; None where none can (Windows).

    The path of a socket has about 100 bytes at most, and on clusters that of the temporary folder is often longer. Some
    shared file systems have no sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        return None
    for candidate in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", "/tmp"), "/tmp"):
        with (
            contextlib.suppress(OSError),
            tempfile.TemporaryDirectory(prefix="kernel", dir=candidate) as folder,
            socket.socket(socket.AF_UNIX) as probe,
        ):
            probe.bind(str(Path(folder, "socket-0")))
            return candidate
    return None


def _remove_native_log(notebook: NotebookNode) -> None:
    """Remove what TensorFlow's C++ code logs about processors and missing GPUs; warnings from Python stay."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.get("name") == "stderr":
                output.text = "".join(line for line in output.text.splitlines(True) if not NATIVE_LOG.match(line))
        cell.outputs = [output for output in cell.outputs if output.get("text") != ""]


def write(notebook: NotebookNode, path: Path) -> Path:
    """Write a notebook to a file, completely or not at all.

    Args:
        notebook: the notebook.
        path: the file; its folder is created if it is missing.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk.atomic_write(path) as part:
        nbformat.write(notebook, part)
    return path


def to_html(notebook: NotebookNode) -> str:
    """Render a notebook as a page of HTML, which MLflow's UI shows among a run's artifacts.

    Args:
        notebook: the notebook, with its outputs.

    Returns:
        The page, with the images embedded.
    """
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    return page
