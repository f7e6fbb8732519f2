"""A PostgreSQL server of the tests' own, in a temporary folder. It needs the programs of Debian's package `postgresql`."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from servers import free_port


def find_programs():
    """The folder with initdb and pg_ctl; None without PostgreSQL."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = debian[-1] if debian else shutil.which("initdb")
    return found and Path(found).resolve().parent


@contextmanager
def running():
    """Start a server with an empty database, and yield its address."""
    programs = find_programs()
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}  # PostgreSQL refuses root
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        if root:
            shutil.chown(folder, "postgres", "postgres")

        def call(program, *words):
            # Not a pipe: pg_ctl would hand it down to the server, and nobody would see its end.
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run([programs / program, *words], cwd=folder, check=True, **silent, **as_user)

        data = f"--pgdata={folder}/data"
        call("initdb", data, "--username=mlflow", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {port} -k {folder}"
        call("pg_ctl", data, "--wait", "--options", options, "start")
        try:
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", data, "--mode=immediate", "stop")
