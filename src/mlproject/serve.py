"""Starts MLflow's server for a registered model, and says where it answers and how to ask it."""

import contextlib
import errno
import os
import shlex
import socket
import sys
from pathlib import Path

import psutil

from mlproject.errors import UserError, truncate

SECONDS_TO_END = 10  # for requests that are being answered


def web_address(host: str, port: int) -> str:
    """The address of a server for a browser on this machine.

    Args:
        host: where the server listens. It may be 0.0.0.0 or ::, which stand for all addresses of this machine.
        port: its port.

    Returns:
        The address, "http://HOST:PORT", with brackets around an IPv6 address.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def examples(host: str, port: int) -> list[str]:
    """What a user can try against the server.

    Args:
        host: the server's address.
        port: its port.

    Returns:
        Lines for a shell and for Python, that ask about a file photo.jpg.
    """
    address = f"{web_address(host, port)}/invocations"
    return [
        "curl:",
        """  printf '{"inputs": ["%s"]}' "$(base64 < photo.jpg | tr -d '\\n')" |""",
        f"""    curl {shlex.quote(address)} -H 'Content-Type: application/json' --data-binary @-""",
        "Python:",
        "  import base64, pathlib, requests",
        "  photo = base64.b64encode(pathlib.Path('photo.jpg').read_bytes()).decode()",
        f"  print(requests.post('{address}', json={{'inputs': [photo]}}).json())",
    ]


def require_free(host: str, port: int) -> None:
    """Refuse an address that can't be listened at.

    Args:
        host: the address.
        port: the port.

    Raises:
        UserError: the port is taken, or the address is not this machine's.
    """
    try:
        if not 1 <= port <= 65535:
            raise OSError(errno.EINVAL, "no such port")
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise UserError(
            f"host={truncate(host)!r} port={port}: the server can't listen there ({error.strerror}); accepted: an address of "
            "this machine and a free port, from 1 to 65535"
        ) from error


def serve(uri: str, host: str, port: int) -> int:
    """Run `mlflow models serve` in this environment until it is interrupted.

    Args:
        uri: the model, "models:/NAME/VERSION", in the store that this process is connected to.
        host: the address to listen at.
        port: the port.

    Returns:
        The exit code of the server.
    """
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri, "--env-manager", "local"]
    # MLflow starts uvicorn by its name, which is on the path only in an activated environment.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    server = psutil.Popen([*command, "--host", host, "--port", str(port)], env=os.environ | {"PATH": programs})
    try:
        return int(server.wait())
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def _end(server: psutil.Process) -> None:
    """End MLflow and the processes that it started, which it leaves running if a signal reaches it alone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = [*server.children(recursive=True), server]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, remaining = psutil.wait_procs(processes, timeout=SECONDS_TO_END)
        for process in remaining:
            process.kill()
