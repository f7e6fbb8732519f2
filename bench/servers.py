"""Starts a server for a benchmark, on a free port of this machine."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests


@contextlib.contextmanager
def started(folder: Path, alive: str, *arguments: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address and the process of `python -m ARGUMENTS --port PORT`, which answers at the path `alive`.

    It writes into `folder`/server.log, and ends with the `with` block.

    Raises:
        SystemExit: the server ended before it answered; the message has the end of its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    written = folder / "server.log"
    with written.open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", *arguments, "--port", str(port)], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        while not _answers(f"{address}{alive}"):
            if server.poll() is not None:
                raise SystemExit(f"the server ended with exit code {server.returncode}:\n{written.read_text()[-2000:]}")
            time.sleep(0.2)
        yield address, server
    finally:
        server.terminate()  # a process in the background of a script would ignore an interruption
        server.wait()


def _answers(address: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(address, timeout=10).ok
    return False
