"""Delivers writes to the store in order, and keeps them in memory and on disk while the store does not answer."""

import hashlib
import json
import logging
import os
import secrets
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlproject.errors import StoreGoneError, truncate

FOLDER = Path(".mlproject", "outbox")
DEFAULT_PATIENCE = 300.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two attempts

Item = dict[str, Any]  # one write to the store, which JSON can represent
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Outbox:
    """Every write to the store goes through an outbox.

    `send` is for writes that can wait (metrics, parameters, tags, the end of a run). It does not fail when the store
    does not answer, so training continues. `retry` is for calls that cannot wait (a new run, an artifact, the registry):
    it tries again, with growing pauses, for `patience` seconds, and then raises StoreGoneError. Items that wait are
    also written to a file in `FOLDER`, one JSON object per line; `recover` delivers them in a later process. An item
    may be delivered twice, so delivery must be idempotent.
    """

    def __init__(
        self,
        store: str,
        deliver: Callable[[Item], None],
        is_transient: Callable[[Exception], bool],
        patience: float = DEFAULT_PATIENCE,
    ) -> None:
        """Create an empty outbox; the file is created when the first item has to wait.

        Args:
            store: The store's address. It appears in messages and separates the files of different stores.
            deliver: Delivers one item to the store.
            is_transient: Tells whether the same call may succeed later although it raised this exception.
            patience: How long `retry` keeps trying, in seconds.
        """
        self.store, self.deliver, self.is_transient, self.patience = store, deliver, is_transient, patience
        self._prefix = hashlib.sha256(store.encode()).hexdigest()[:12]
        self.path = (FOLDER / f"{self._prefix}-{os.getpid()}-{secrets.token_hex(4)}.jsonl").absolute()
        self.waiting: deque[Item] = deque()
        self.reason = ""  # why the store did not answer the last time; empty when it did
        self._gave_up = False  # after `retry` gave up, calls fail at once until the store answers again
        self._delivered_values = 0  # since the store last answered
        self._pause, self._next_attempt = FIRST_PAUSE, 0.0

    def send(self, item: Item) -> None:
        """Deliver the item after all items that wait, or keep it for later when the store does not answer.

        Args:
            item: An item that `deliver` accepts and JSON can represent.

        Raises:
            Exception: Any failure to deliver this item that is not transient.
        """
        self.waiting.append(item)
        if not self._gave_up and time.monotonic() >= self._next_attempt:
            try:
                self._deliver_waiting(item)
                self._record_success()
                return
            except Exception as error:
                if not self.is_transient(error):
                    raise
                self._record_failure(error)
        self._save(item)

    def retry(self, call: Callable[[], Result]) -> Result:
        """Deliver all items that wait, then make the call; repeat both while the store does not answer.

        Args:
            call: The call to the store. It may be made several times.

        Returns:
            The result of `call`.

        Raises:
            StoreGoneError: The store has not answered for `patience` seconds.
            Exception: Any other failure that is not transient.
        """
        deadline = time.monotonic() + (0.0 if self._gave_up else self.patience)
        while True:
            try:
                self._deliver_waiting()
                result = call()
                self._record_success()
                return result
            except Exception as error:
                if not self.is_transient(error):
                    raise
                self._record_failure(error)
                seconds_left = deadline - time.monotonic()
                if seconds_left <= 0:
                    self._gave_up = True
                    raise StoreGoneError(self._gone_message()) from error
                time.sleep(min(self._pause, seconds_left))

    def recover(self) -> None:
        """Deliver the items that earlier processes left in files for this store, and remove the files.

        Raises:
            Exception: A transient failure of `deliver`. The files that are not delivered yet stay.
        """
        for path in sorted(FOLDER.glob(f"{self._prefix}-*.jsonl")):
            count = 0
            try:
                lines = path.read_text(errors="replace").splitlines()
            except FileNotFoundError:  # another process has delivered it since `glob`
                continue
            for line in lines:
                try:
                    item = json.loads(line)
                    self.deliver(item)
                    count += _count_values(item)
                except Exception as error:  # an incomplete line or a deleted run must not block the other lines
                    if self.is_transient(error):
                        raise
                    warnings.warn(f"{path}: a line cannot be delivered ({truncate(error)})", stacklevel=2)
            path.unlink(missing_ok=True)
            logger.info("%s: delivered %d values that an earlier run could not log", self.store, count)

    def _deliver_waiting(self, new: Item | None = None) -> None:
        """Deliver all items that wait, in order; `new` is the one that the caller has just added."""
        while self.waiting:
            item = self.waiting[0]
            try:
                self.deliver(item)
            except Exception as error:
                if self.is_transient(error):
                    raise
                self.waiting.popleft()
                if item is new:
                    raise
                # An earlier item, such as one of a run that was deleted meanwhile, must not fail another write.
                warnings.warn(f"{self.store}: values that waited cannot be delivered ({truncate(error)})", stacklevel=2)
            else:
                self._delivered_values += _count_values(self.waiting.popleft())

    def _record_success(self) -> None:
        """Forget the failures, and report that the store answers again."""
        if self.reason:
            logger.warning("%s answers again; %d values delivered", self.store, self._delivered_values)
            self.path.unlink(missing_ok=True)
        self.reason, self._gave_up, self._delivered_values = "", False, 0
        self._pause, self._next_attempt = FIRST_PAUSE, 0.0

    def _record_failure(self, error: Exception) -> None:
        """Schedule the next attempt, and report the first failure of a series."""
        is_first, self.reason = not self.reason, root_cause(error)
        self._pause = FIRST_PAUSE if is_first else min(2 * self._pause, LONGEST_PAUSE)
        self._next_attempt = time.monotonic() + self._pause
        if is_first:
            logger.warning(
                "%s does not answer (%s): training continues, and values to log wait; "
                "a new run or a file can wait %g seconds",
                self.store,
                self.reason,
                self.patience,
            )

    def _save(self, item: Item) -> None:
        """Append the item to the file, so that it survives even a kill of this process."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(item) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            logger.warning(
                "%s cannot be written (%s); waiting values are kept in memory only", self.path, error.strerror
            )

    def _gone_message(self) -> str:
        count = sum(map(_count_values, self.waiting))
        waiting = f"{count} values wait in {self.path}" if self.path.exists() else "no values wait"
        return (
            f"{self.store} has not answered for {self.patience:g} seconds ({self.reason}); {waiting}; when it answers "
            "again, start the same command: it continues and delivers them"
        )


def root_cause(error: BaseException) -> str:
    """Say in one line why a store did not answer.

    Args:
        error: The exception, of whichever layer.

    Returns:
        The message of the innermost exception, such as "database is locked" or "[Errno 111] Connection refused".
    """
    while cause := error.__cause__ or error.__context__:
        error = cause
    return truncate(" ".join(str(error).split()))


def _count_values(item: Item) -> int:
    return sum(len(value) for value in item.values() if not isinstance(value, str | int))
