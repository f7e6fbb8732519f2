"""Servers for tests: a port that is free, MLflow's server in a process of its own, and its users."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import requests

PASSWORD = "long enough to do"  # of the administrator and of every user
PATIENCE = 180  # seconds for what a server does on a machine with other work


def free_port():
    """A port of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Server:
    """A real MLflow server with a SQLite store in a folder. It can be killed and started again at the same address."""

    def __init__(self, folder, *options, **environment):
        self.folder, self.options, self.environment = folder, options, environment
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [Path(sys.executable).parent / "mlflow", "server", "-w", "1", "--port", str(self.port), "--host", "127.0.0.1",
             "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
             "--artifacts-destination", str(self.folder / "artifacts"), *self.options],
            cwd=self.folder,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, "the server does not start"
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)

    def kill(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def post(self, path, content, user):
        """Send a request to MLflow's API as this user."""
        answer = requests.post(f"{self.address}/api/{path}", json=content, auth=(user, PASSWORD), timeout=PATIENCE)
        assert answer.ok, answer.text

    def create_users(self, *names):
        """Create users; the server must have been started with users, of whom "admin" is the administrator."""
        for name in names:
            self.post("2.0/mlflow/users/create", {"username": name, "password": PASSWORD}, "admin")
