"""Ends a fit that has stopped making progress."""

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from mlproject.process import interrupt_main_thread

CHECKS = 20  # number of checks within the patience


class StalledError(RuntimeError):
    """No batch was finished for too long."""


class Watchdog:
    """A context manager that ends its block when `alive` is not called at least every `patience` seconds.

    It then interrupts the main thread, and StalledError leaves the block. An interruption cannot reach into an
    operation of TensorFlow, which no thread can stop. When there is still no progress after twice the patience, another
    thread calls `on_hang(reason)` and ends the process with exit code 1. Time in which the whole process is stopped or
    the machine sleeps does not count.

    Args:
        patience: seconds without progress that are accepted.
        on_hang: called with the reason before the process ends, to save what must not be lost.
    """

    def __init__(self, patience: float, on_hang: Callable[[str], None]) -> None:
        self.patience, self.on_hang = patience, on_hang
        self.reason = f"no batch was finished for {patience:g} seconds"
        self.stalled = False
        self._silent_checks = 0  # the number of checks since the last sign of progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def alive(self) -> None:
        """Report progress."""
        self._silent_checks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if self.stalled and isinstance(error, KeyboardInterrupt):
            raise StalledError(self.reason) from error

    def _watch(self) -> None:
        while not self._done.wait(self.patience / CHECKS):
            # Checks are counted because a clock would go on while a laptop sleeps.
            self._silent_checks += 1
            # There are two interrupts because Python drops an exception that is raised in a weak reference's callback.
            if self._silent_checks in (CHECKS, CHECKS * 3 // 2):
                self.stalled = True
                interrupt_main_thread()
            elif self._silent_checks >= 2 * CHECKS:
                self._end_process()

    def _end_process(self) -> None:
        try:
            self.on_hang(self.reason)
        finally:
            # Not through logging: the main thread hangs and may hold a handler's lock, and the process ends here.
            sys.stderr.write(
                f"error: {self.reason}, inside an operation that only the end of the process can stop; "
                "everything that was finished is kept, and the same command goes on from there\n"
            )
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(1)
