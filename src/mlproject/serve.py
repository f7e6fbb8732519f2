"""Starts MLflow's server for a registered model, and says how to ask it."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import psutil

from mlproject.errors import UserError

HOST, PORT = "127.0.0.1", 5001


def examples(host: str, port: int) -> list[str]:
    """What a user can try against the server.

    Args:
        host: the server's address.
        port: its port.

    Returns:
        Lines for a shell and for Python, that ask about a file photo.jpg.
    """
    address = f"http://{host}:{port}/invocations"
    return [
        "curl:",
        """  printf '{"inputs": ["%s"]}' "$(base64 < photo.jpg | tr -d '\\n')" |""",
        f"""    curl {address} -H 'Content-Type: application/json' --data-binary @-""",
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
        with socket.create_server((host, port)):
            pass
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"host={host!r} port={port}: the server can't listen there ({reason}); accepted: an address of this machine and a "
            "free port"
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
        # MLflow leaves its own processes running if a signal reaches it alone.
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [*server.children(recursive=True), server]:
                process.terminate()
            server.wait()
