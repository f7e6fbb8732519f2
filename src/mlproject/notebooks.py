"""Experiment files as Jupyter notebooks: converted by Jupytext, executed by nbclient."""

import os
import re
import shlex
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
from mlproject.program import ARGUMENTS

NATIVE_LOG = re.compile(r"[IWEF]\d{4} \d\d|WARNING: All log messages before absl|To enable the following instructions")


class NotebookError(RuntimeError):
    """A cell raised; the notebook shows which."""


def convert(script: Path) -> NotebookNode:
    """The file's cells as a notebook without outputs; the same file always gives the same notebook."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # Jupytext's are random, which would make every conversion a change
        cell.metadata = {}
    return notebook


def execute(notebook: NotebookNode, arguments: Sequence[str]) -> None:
    """Run all cells in a kernel of their own in this folder; the outputs go into `notebook`.

    arguments: as on the command line of the notebook's file. Raises NotebookError when a cell raises or the kernel dies,
    KeyboardInterrupt on SIGINT and SIGTERM; the kernel is then gone.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="kernel") as sockets:
            client = NotebookClient(
                notebook,
                timeout=None,
                startup_timeout=300,  # seconds; the default minute is short for a busy laptop
                kernel_name="python3",
                record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": str(Path.cwd())}},
                config=_transport(Path(sockets)),
            )
            client.execute(env=os.environ | {ARGUMENTS: shlex.join(arguments)})
    except CellExecutionError as error:
        raise NotebookError(f"{error.ename}: {error.evalue}".splitlines()[0]) from error
    except DeadKernelError as error:
        raise NotebookError(f"the kernel died: {error}") from error
    # nbclient 0.11 ends the kernel on SIGINT and SIGTERM, then stumbles over its absence.
    except AssertionError as error:
        raise KeyboardInterrupt from error
    finally:
        _remove_native_log(notebook)


def _transport(sockets: Path) -> Config:
    """Files instead of TCP ports, on which other users of the machine could listen; where there are such files.

    They need a folder of their own: by default all kernels of one working folder share their names, and mix.
    """
    return Config() if os.name == "nt" else Config(KernelManager={"transport": "ipc", "ip": str(sockets / "socket")})


def _remove_native_log(notebook: NotebookNode) -> None:
    """Take out what TensorFlow's C++ code says of processors and absent GPUs; Python's own warnings stay."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.get("name") == "stderr":
                output.text = "".join(line for line in output.text.splitlines(True) if not NATIVE_LOG.match(line))
        cell.outputs = [output for output in cell.outputs if output.get("text") != ""]


def write(notebook: NotebookNode, path: Path) -> Path:
    """Write the notebook, whole or not at all; gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk.whole(path) as part:
        nbformat.write(notebook, part)
    return path


def to_html(notebook: NotebookNode) -> str:
    """The notebook as a page of HTML, which MLflow's UI shows among a run's artifacts."""
    return HTMLExporter(embed_images=True).from_notebook_node(notebook)[0]
