"""This process: how others recognise it, whether another one still lives, how it is told to stop, and what it says at its end."""

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

from mlproject.errors import UserError

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
        return _hidden(int(pid))


def _hidden(pid: int) -> bool:
    """Whether it is another user's process, where these are not seen (Linux: /proc mounted with hidepid)."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


_told_at: float | None = None  # when the first signal to stop came
_interrupting = False  # while `interrupt_main_thread` has its signal on the way


def stop_on_signals() -> None:
    """Make SIGINT, SIGTERM and a closed terminal's SIGHUP raise KeyboardInterrupt, once: what ends the runs is not to be
    interrupted itself.

    `mlflow run` on Ctrl-C sends a SIGTERM after the terminal's SIGINT. A signal later than IMPATIENT_AFTER ends at once.
    """
    for number in _stopping():
        signal.signal(number, _stop)


def _stopping() -> list[signal.Signals]:
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    heard = hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN  # which nohup makes it
    return [signal.SIGINT, signal.SIGTERM, *([hangup] if heard else [])]


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
    for number in _stopping():
        signal.signal(number, signal.SIG_DFL)
    if told_to_stop():
        # A thread that was being made just when the signal came is waited for in vain (seen with MLflow's uploads).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def say_in_one_line(kind, error, traceback) -> None:
    """Python's hook for what nobody caught: what the user can mend takes one line and exit code 2, an interruption 130.

    An interruption inside a library can come out as an exception of the library's.
    """
    if issubclass(kind, UserError):
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if issubclass(kind, KeyboardInterrupt) or told_to_stop():
        print("interrupted: what was finished is kept", file=sys.stderr)
        sys.exit(130)
    sys.__excepthook__(kind, error, traceback)


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
