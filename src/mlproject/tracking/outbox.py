"""What is on its way to the store: delivered in order, kept while the store does not answer, on disk in between."""

import hashlib
import json
import os
import secrets
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mlproject.errors import StoreGoneError, shown

FOLDER = Path(".mlproject", "outbox")
PATIENCE = 300.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two tries

Answer = TypeVar("Answer")


class Outbox:
    """The way of every write to the store.

    `send` is for what can wait (metrics, parameters, tags, the end of a run): it never fails for a store that does not
    answer, so training goes on. `insist` is for what cannot (a new run, an artifact, the registry): it tries again, with
    growing pauses, for `patience` seconds, and then raises StoreGoneError. What waits lies in a file of `FOLDER` too, one
    JSON object a line, from which `recover` delivers it in a later process. Delivering an item twice must do no harm.

    store: its address, for messages and to tell one store's file from another's.
    deliver: delivers one item (a dict that JSON can hold).
    passing: whether an exception may be over when the same is tried again.
    patience: seconds.
    """

    def __init__(
        self,
        store: str,
        deliver: Callable[[dict], None],
        passing: Callable[[Exception], bool],
        patience: float = PATIENCE,
    ):
        self.store, self.deliver, self.passing, self.patience = store, deliver, passing, patience
        self._prefix = hashlib.sha256(store.encode()).hexdigest()[:12]
        self.path = (FOLDER / f"{self._prefix}-{os.getpid()}-{secrets.token_hex(4)}.jsonl").absolute()
        self.waiting: deque[dict] = deque()
        self.reason = ""  # why the store did not answer the last time; empty when it did
        self._gone, self._late = False, 0
        self._pause, self._next_try = FIRST_PAUSE, 0.0

    def send(self, item: dict) -> None:
        """Deliver the item, after all that waits; when the store does not answer, keep it for later."""
        self.waiting.append(item)
        if not self._gone and time.monotonic() >= self._next_try:
            try:
                self._deliver_waiting()
                self._recovered()
                return
            except Exception as error:
                if not self.passing(error):
                    raise
                self._failed(error)
        self._keep(item)

    def insist(self, call: Callable[[], Answer]) -> Answer:
        """What `call` gives, after all that waits is delivered; raises StoreGoneError when patience ends."""
        deadline = time.monotonic() + (0.0 if self._gone else self.patience)
        while True:
            try:
                self._deliver_waiting()
                answer = call()
                self._recovered()
                return answer
            except Exception as error:
                if not self.passing(error):
                    raise
                self._failed(error)
                left = deadline - time.monotonic()
                if left <= 0:
                    self._gone = True
                    raise StoreGoneError(self._farewell()) from error
                time.sleep(min(self._pause, left))

    def recover(self) -> None:
        """Deliver what earlier processes could not, and remove their files."""
        for path in sorted(FOLDER.glob(f"{self._prefix}-*.jsonl")):
            count = 0
            try:
                lines = path.read_text(errors="replace").splitlines()
            except FileNotFoundError:  # another process delivered it meanwhile
                continue
            for line in lines:
                try:
                    item = json.loads(line)
                    self.deliver(item)
                    count += _values(item)
                except Exception as error:  # a torn line, a run that was deleted: no reason to keep back the others
                    if self.passing(error):
                        raise
                    warnings.warn(f"{path}: a line cannot be delivered ({shown(error)})", stacklevel=2)
            path.unlink(missing_ok=True)
            print(f"{self.store}: delivered what an earlier run could not log, {count} values", flush=True)

    def _deliver_waiting(self) -> None:
        while self.waiting:
            try:
                self.deliver(self.waiting[0])
            except Exception as error:
                if not self.passing(error):
                    self.waiting.popleft()
                raise
            self._late += _values(self.waiting.popleft())

    def _recovered(self) -> None:
        if self.reason:
            self._say(f"{self.store} answers again; {self._late} values delivered")
            self.path.unlink(missing_ok=True)
        self.reason, self._gone, self._late = "", False, 0
        self._pause, self._next_try = FIRST_PAUSE, 0.0

    def _failed(self, error: Exception) -> None:
        """Note the failure, and when to try again; said once for each time the store goes away."""
        first, self.reason = not self.reason, _innermost(error)
        self._pause = FIRST_PAUSE if first else min(2 * self._pause, LONGEST_PAUSE)
        self._next_try = time.monotonic() + self._pause
        if first:
            self._say(
                f"{self.store} does not answer ({self.reason}): training goes on, and what is to be logged waits; "
                f"a new run or a file can wait {self.patience:g} seconds"
            )

    def _keep(self, item: dict) -> None:
        """Write the item to the file, so that not even a kill loses it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(item) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._say(f"{self.path} cannot be written ({error.strerror}); what waits is kept in memory only")

    def _farewell(self) -> str:
        kept = (
            f"{sum(map(_values, self.waiting))} values wait in {self.path}" if self.path.exists() else "nothing waits"
        )
        return (
            f"{self.store} has not answered for {self.patience:g} seconds ({self.reason}); {kept}; when it answers again, "
            "the same command goes on and delivers them"
        )

    @staticmethod
    def _say(line: str) -> None:
        print(f"  {line}", file=sys.stderr, flush=True)


def _innermost(error: BaseException) -> str:
    """What went wrong at the bottom: "database is locked", "[Errno 111] Connection refused"."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return shown(" ".join(str(error).split()))


def _values(item: dict) -> int:
    return sum(len(value) for value in item.values() if not isinstance(value, str | int))
