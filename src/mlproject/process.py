"""This process: how others recognise it, whether another one still lives, and how it is told to stop."""

import _thread
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import NoReturn

import psutil

SAME_START = 60  # seconds by which a process' start time may seem to move, when the machine's clock is set
IMPATIENT_AFTER = 10  # seconds after which a further signal no longer waits for the first one's clean end


def host() -> str:
    """This machine by name and number; inside a container also by its process namespace, outside of which its processes are not
    seen.
    """
    try:
        return f"{socket.gethostname()} {_machine()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {_machine()}"


def _machine() -> str:
    """A number of its own, as many machines are called "ubuntu"; empty where none is known."""
    with contextlib.suppress(OSError):
        return Path("/etc/machine-id").read_text().strip()
    node = uuid.getnode()
    return "" if node >> 40 & 1 else f"{node:012x}"  # with that bit set it is random, another in each process


def identity() -> str:
    """Process id and start time (seconds since 1970): together they name this process, even when the id is used again."""
    me = psutil.Process()
    return f"{me.pid} {me.create_time():.0f}"


def alive(identity: str) -> bool:
    """Whether the process of this `identity` still runs; asked on the same `host`."""
    pid, started = identity.split()
    try:
        other = psutil.Process(int(pid))
        return abs(other.create_time() - float(started)) < SAME_START and other.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_told_at: float | None = None  # when the first signal to stop came
_interrupting = False  # while `interrupt_main_thread` has its signal on the way


def stop_on_signals() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, once: what ends the runs is not to be interrupted itself.

    `mlflow run` on Ctrl-C sends a SIGTERM after the terminal's SIGINT. A signal later than IMPATIENT_AFTER ends at once.
    """
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


def _stop(signum, frame):
    global _told_at, _interrupting
    if _interrupting:
        _interrupting = False
        raise KeyboardInterrupt
    if _told_at is None:
        _told_at = time.monotonic()
        raise KeyboardInterrupt
    if time.monotonic() - _told_at > IMPATIENT_AFTER:
        os._exit(130)


def told_to_stop() -> bool:
    """Whether a signal to stop has come."""
    return _told_at is not None


def stop_if_told() -> None:
    """Raise KeyboardInterrupt when a signal came whose own was lost: Python drops those raised in a weak reference's callback."""
    if told_to_stop():
        raise KeyboardInterrupt


def leave(code: int) -> NoReturn:
    """End the process with this exit code. What is to be kept is kept by now, so that a further signal ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if told_to_stop():
        # A thread that was being made just when the signal came is waited for in vain (seen with MLflow's uploads).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread, for another thread's own reasons: the process is not told to stop by it."""
    global _interrupting
    _interrupting = True
    if hasattr(signal, "pthread_kill"):  # a signal that wakes even from sleep
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


def stop_with_mlflow_run() -> None:
    """Send this process a SIGTERM when the `mlflow run` that started it is gone: killed alone, it tells nobody."""
    parent = next(filter(_is_mlflow_run, psutil.Process().parents()), None)

    def watch():
        with contextlib.suppress(psutil.NoSuchProcess):
            while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
                time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def mlflow_run_since(began: float) -> bool:
    """Whether an `mlflow run` of this folder that could have begun a run at `began` (seconds since 1970) is at work here."""
    return any(
        one.info["create_time"] <= began + 1 and _is_mlflow_run(one, Path.cwd())
        for one in psutil.process_iter(["create_time"])
    )


def _is_mlflow_run(process: psutil.Process, folder: Path | None = None) -> bool:
    try:
        words = process.cmdline()
        if "run" not in words or not any(Path(word).stem == "mlflow" for word in words[:3]):
            return False
        return folder is None or any(Path(process.cwd(), word).resolve() == folder for word in words)
    except psutil.Error:  # gone, or not ours to look at
        return False
