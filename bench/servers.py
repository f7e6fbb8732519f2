"""Starts a server for a benchmark, on a free port of this machine."""

import contextlib
import signal
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
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", *arguments, "--port", str(port)], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        while server.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{address}{alive}", timeout=10).ok:
                    break
            time.sleep(0.2)
        yield address, server
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
