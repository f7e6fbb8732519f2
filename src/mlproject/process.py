"""This process: its identity, the signals that stop it, its last message. Also whether another process is alive."""

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
from types import FrameType, TracebackType
from typing import NoReturn

import psutil

from mlproject.errors import UserError

START_TIME_TOLERANCE = 60  # seconds; the start time of a process seems to change when the machine's clock is set
FORCED_EXIT_AFTER = 10  # seconds after the first signal; a later signal ends the process at once


def host() -> str:
    """Identify this machine by its name and number.

    Inside a container the text also contains the process namespace, because processes are only visible within it.
    """
    try:
        return f"{socket.gethostname()} {_machine_id()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return f"{socket.gethostname()} {_machine_id()}"


def _machine_id() -> str:
    """A number that tells machines of the same name apart (many are called "ubuntu"); empty where there is none."""
    with contextlib.suppress(OSError):
        return Path("/etc/machine-id").read_text().strip()
    node = uuid.getnode()
    return "" if node >> 40 & 1 else f"{node:012x}"  # this bit marks a random number, which differs between processes


def identity() -> str:
    """The process id and start time (seconds since 1970). Together they are unique even when the id is used again."""
    this_process = psutil.Process()
    return f"{this_process.pid} {this_process.create_time():.0f}"


def is_alive(identity: str) -> bool:
    """Whether a process still runs.

    Args:
        identity: what `identity` returned in that process, which must be one of the same `host`.
    """
    pid, started = identity.split()
    try:
        process = psutil.Process(int(pid))
        return bool(
            abs(process.create_time() - float(started)) < START_TIME_TOLERANCE
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return _is_hidden(int(pid))
    except psutil.AccessDenied:  # it belongs to another user
        return True


def _is_hidden(pid: int) -> bool:
    """Whether the process belongs to another user and is hidden from this one (Linux: /proc mounted with hidepid)."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


_stop_requested_at: float | None = None  # the time of the first signal to stop
_interrupting = False  # True between the call of `interrupt_main_thread` and the arrival of its signal


def stop_on_signals() -> None:
    """Make SIGINT, SIGTERM and a closed terminal's SIGHUP raise KeyboardInterrupt, but only once.

    Further signals must not interrupt the code that ends the MLflow runs: `mlflow run` sends a SIGTERM on Ctrl-C, after
    the terminal's SIGINT. A signal that comes more than FORCED_EXIT_AFTER seconds after the first one ends the process
    at once.
    """
    for number in _stop_signals():
        signal.signal(number, _handle_stop_signal)


def _stop_signals() -> list[signal.Signals]:
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:  # nohup makes the process ignore it
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, hangup]


def _handle_stop_signal(signum: int, frame: FrameType | None) -> None:
    global _stop_requested_at, _interrupting
    if _interrupting:
        _interrupting = False
        raise KeyboardInterrupt
    if _stop_requested_at is None:
        _stop_requested_at = time.monotonic()
        raise KeyboardInterrupt
    if time.monotonic() - _stop_requested_at > FORCED_EXIT_AFTER:
        os._exit(130)


def is_stop_requested() -> bool:
    """Whether a signal to stop has come."""
    return _stop_requested_at is not None


def stop_if_requested() -> None:
    """Raise KeyboardInterrupt if a signal to stop has come.

    The signal's own KeyboardInterrupt can get lost: Python drops an exception that is raised in a weak reference's
    callback.
    """
    if is_stop_requested():
        raise KeyboardInterrupt


def exit_with(code: int) -> NoReturn:
    """End the process with this exit code, after everything has been saved. A signal now ends it at once."""
    for number in _stop_signals():
        signal.signal(number, signal.SIG_DFL)
    if is_stop_requested():
        # If the signal came while a thread was being created, Python would wait for that thread forever (observed with
        # MLflow's uploads).
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def report_in_one_line(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Report an uncaught exception; install it as `sys.excepthook`.

    A UserError gets one line and exit code 2, an interruption one line and exit code 130. An interruption inside a
    library can appear as one of the library's own exceptions. Python reports all other exceptions as usual.
    """
    # This does not use logging: the process ends here, and its loggers may not be set up.
    if issubclass(kind, UserError):
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    if issubclass(kind, KeyboardInterrupt) or is_stop_requested():
        sys.stderr.write("interrupted: everything that was finished is kept\n")
        sys.exit(130)
    sys.__excepthook__(kind, error, traceback)


def interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread from another thread. It does not count as a signal to stop."""
    global _interrupting
    _interrupting = True
    _signal_main_thread(signal.SIGINT)


def _signal_main_thread(number: signal.Signals) -> None:
    main_thread = threading.main_thread().ident
    if main_thread is not None and hasattr(signal, "pthread_kill"):  # this signal also ends a sleep
        signal.pthread_kill(main_thread, number)
    else:  # Windows, where `os.kill` would end the process at once
        _thread.interrupt_main(number)


def stop_with_mlflow_run() -> None:
    """Send this process a SIGTERM when the `mlflow run` that started it has ended.

    If someone kills `mlflow run` itself, it does not pass the signal on.
    """
    parent = next(filter(_is_mlflow_run, psutil.Process().parents()), None)
    if parent:
        threading.Thread(target=_stop_after, args=[parent], daemon=True).start()


def _stop_after(parent: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(1)
    _signal_main_thread(signal.SIGTERM)


def has_mlflow_run_since(began: float) -> bool:
    """Whether some `mlflow run` of the current folder is alive that could have started a run at a given time.

    Args:
        began: the start of the run, seconds since 1970.
    """
    return any(
        process.info["create_time"] <= began + 1 and _is_mlflow_run(process, Path.cwd())
        for process in psutil.process_iter(["create_time"])
    )


def _is_mlflow_run(process: psutil.Process, folder: Path | None = None) -> bool:
    """Whether the process is an `mlflow run`, and if a folder is given, one of that folder."""
    try:
        words = process.cmdline()
        if "run" not in words or not any(Path(word).stem == "mlflow" for word in words[:3]):
            return False
        return folder is None or any(Path(process.cwd(), word).resolve() == folder for word in words)
    except psutil.Error:  # the process has ended or belongs to another user
        return False
