"""Notices a fit in which nothing moves any more, and ends it."""

import os
import sys
import threading
from collections.abc import Callable

from mlproject.process import interrupt_main_thread

TICKS = 20  # looks within the patience


class StalledError(RuntimeError):
    """No batch was finished for too long."""


class Watchdog:
    """Sees to it, for the length of a `with`, that `alive` is called at least every `patience` seconds.

    When it is not, StalledError leaves the `with`, as an interruption of the main thread. That cannot reach into an operation
    of TensorFlow, which no thread can stop: when nothing moves for as long again, `on_hang(reason)` is called in another
    thread and the process ends, with the exit code 1. Time in which the whole process is stopped or asleep does not count.
    """

    def __init__(self, patience: float, on_hang: Callable[[str], None]):
        self.patience, self.on_hang = patience, on_hang
        self.reason = f"no batch was finished for {patience:g} seconds"
        self.silent, self.stalled = 0, False  # ticks without a sign of life
        self._done = threading.Event()

    def alive(self) -> None:
        """A sign of life."""
        self.silent = 0

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self._done.set()
        self._thread.join()
        if self.stalled and isinstance(error, KeyboardInterrupt):
            raise StalledError(self.reason) from error

    def _watch(self):
        while not self._done.wait(self.patience / TICKS):
            self.silent += 1  # counted, not read off a clock, which goes on while a laptop sleeps
            # Twice, as Python drops what is raised in a weak reference's callback.
            if self.silent in (TICKS, TICKS * 3 // 2):
                self.stalled = True
                interrupt_main_thread()
            elif self.silent >= 2 * TICKS:
                self._end_process()

    def _end_process(self):
        try:
            self.on_hang(self.reason)
        finally:
            print(
                f"error: {self.reason}, inside an operation that only the end of the process can stop; "
                "what was finished is kept; the same command goes on",
                file=sys.stderr,
                flush=True,
            )
            sys.stdout.flush()
            os._exit(1)
