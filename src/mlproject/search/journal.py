"""The journal of a search: what is finished and what is planned, in one file, from which the same command goes on."""

import base64
import contextlib
import json
import logging
import math
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from mlproject import disk
from mlproject.errors import UserError
from mlproject.objectives import OBJECTIVES
from mlproject.search import fingerprint
from mlproject.search.fingerprint import Fingerprint

if TYPE_CHECKING:  # imports Keras, which takes seconds
    from mlproject.experiment import Value

logger = logging.getLogger(__name__)

WAIT_SECONDS = 30  # for another process of the same search, which may be ending
JOURNAL_FILE = "journal.json"
PREDICTIONS, LOSSES = np.uint16, np.float32  # the types in which a trial's outputs are packed
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


@dataclass
class Trial:
    """One trial of a search.

    Attributes:
        name: such as "trial-01".
        values: the value of each hyperparameter.
        status: running, completed, truncated (ended by the deadline), pruned (ended early as hopeless), failed, or
            `limits.OVER_LIMIT`.
        val_accuracy: the share of the validation images classified correctly after the last epoch, NaN for a failed trial.
        val_balanced_accuracy, val_macro_f1, val_loss: the other scores, as `evaluation.validation_scores` gives them.
        seconds: how long the trial took.
        planned_seconds: how long it was planned to take.
        minutes: from the start of the search to the end of the trial, without interruptions.
        reason: why the trial failed or was pruned, or which limit it is beyond.
        starts: how many processes began the trial; those that were told to stop do not count.
        run_id: its MLflow run.
        predictions: the predicted classes of the validation images, packed by `pack` as PREDICTIONS.
        losses: the losses of the validation images, packed as LOSSES; "" unless the search minimises the loss.
        curve: for each epoch the share of the planned steps that were done, and the score by the search's objective.
        given: whether a user gave the values, as the best-known ones or in a file, so that no Oracle proposed them.
        parameters: the number of the network's weights, NaN until it is known.
        ms_per_image: milliseconds that the network takes to predict an image, NaN until it is known.
        fold_error: the standard error of the objective over the folds of a cross-validation; NaN without folds.
        knew: how many trials had ended when the Oracle proposed this one. Several workers end trials in any order.
        ended: its place in the order in which trials ended, from 1; 0 while it runs.
    """

    name: str
    values: "dict[str, Value]"
    status: str = "running"
    val_accuracy: float = math.nan
    val_balanced_accuracy: float = math.nan
    val_macro_f1: float = math.nan
    val_loss: float = math.nan
    seconds: float = 0.0
    planned_seconds: float = 0.0
    minutes: float = 0.0
    reason: str = ""
    starts: int = 0
    run_id: str = ""
    predictions: str = ""
    losses: str = ""
    curve: list[list[float]] = field(default_factory=list)
    given: bool = False
    parameters: float = math.nan
    ms_per_image: float = math.nan
    fold_error: float = math.nan
    knew: int = 0
    ended: int = 0

    @property
    def finished(self) -> bool:
        """Whether the trial came to an end, good or bad."""
        return self.status != "running"

    @property
    def may_win(self) -> bool:
        """Whether the trial came to a good end, so that its scores can be compared with others'."""
        return self.status in ("completed", "truncated")

    @property
    def share_done(self) -> float:
        """The share of its planned steps after which the trial was pruned, 0 to 1; 1 for any other trial."""
        return self.curve[-1][0] if self.status == "pruned" else 1.0

    @property
    def scores(self) -> dict[str, float]:
        """The four scores, by the names of `objectives.OBJECTIVES`."""
        return {name: getattr(self, name) for name in OBJECTIVES}


def pack(values: np.ndarray, dtype: type[np.generic]) -> str:
    """Numbers (n,) as text for the journal, which is written anew for each trial; `unpack` takes the same type."""
    return base64.b64encode(zlib.compress(values.astype(dtype).tobytes())).decode("ascii")


def unpack(packed: str, dtype: type[np.generic]) -> np.ndarray:
    """The numbers that `pack` packed, (n,), of this type."""
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype)


@dataclass
class Journal:
    """Everything that a search needs in order to go on in another process. `save` it after every change.

    Attributes:
        path: the file.
        fingerprint: what makes two searches the same.
        search: names this search, also in the tags of its runs.
        throughput: the fields of `networks.cost.Throughput`, None until it is measured.
        plan: the fields of the `budget.Plan` with which the search began; None until it is made.
        trials: all trials that were begun.
        schedule: epochs and steps of each stage of the final fits, None until it is planned.
        fits: what is kept of each finished final fit (see `final.refit.FinalFit`), by its seed.
        result: the registered model, None until the search is complete.
    """

    path: Path
    fingerprint: Fingerprint
    search: str = field(default_factory=lambda: uuid.uuid4().hex)
    throughput: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    trials: list[Trial] = field(default_factory=list)
    schedule: dict[str, dict[str, int]] | None = None
    fits: dict[str, dict[str, Any]] = field(default_factory=dict)
    result: dict[str, Any] | None = None

    @property
    def finished(self) -> list[Trial]:
        """The trials that came to an end, good or bad."""
        return [trial for trial in self.trials if trial.finished]

    @property
    def trial_seconds(self) -> float:
        """How long the finished trials took by the clock; several workers train some at the same time."""
        return 60 * max((trial.minutes for trial in self.finished), default=0.0)

    @property
    def seconds(self) -> float:
        """How long the measuring of the speed and the finished trials took by the clock."""
        measuring = self.throughput["seconds"] if self.throughput else 0.0
        return float(measuring) + self.trial_seconds

    def checkpoint(self, seed: int) -> Path:
        """The file in which the final fit of this seed keeps its state."""
        return self.path.with_name(f"checkpoint-{seed}.npz")

    @property
    def folds(self) -> Path:
        """The folder in which a cross-validation keeps its finished fits. Another search has another folder."""
        return self.path.with_name(f"folds-{self.search}")

    def remove_states(self) -> None:
        """Remove the states of fits, when nothing goes on from them any more."""
        for checkpoint in self.path.parent.glob("checkpoint-*.npz"):
            checkpoint.unlink(missing_ok=True)
        for folds in self.path.parent.glob("folds-*"):
            shutil.rmtree(folds, ignore_errors=True)

    def restart(self) -> None:
        """Forget everything that was done: from here on it is another search."""
        self.remove_states()
        self.search = uuid.uuid4().hex
        self.throughput, self.plan, self.trials, self.schedule, self.fits, self.result = None, None, [], None, {}, None
        self.save()

    def keep_plan(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Keep the first plan of this search, and return it. One that goes on with other workers is planned differently."""
        if self.plan is None:
            self.plan = plan
            self.save()
        return self.plan

    def save(self) -> None:
        """Replace the file. A reader finds the old journal or the new one, whatever happens meanwhile."""
        content = asdict(self)
        del content["path"]
        with disk.atomic_write(self.path) as part:
            part.write_text(json.dumps(content, indent=1, default=lambda number: number.item()))

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Read a journal.

        Args:
            path: the file.

        Returns:
            The journal.

        Raises:
            FileNotFoundError: when there is no file.
            ValueError, KeyError, TypeError, AttributeError: when the file is no journal of this version.
        """
        content = json.loads(path.read_text())
        trials = [Trial(**trial) for trial in content.pop("trials")]
        return cls(path, trials=trials, **content)


@contextmanager
def open_journal(folder: Path, name: str, identity: Fingerprint, fresh: bool = False) -> Iterator[Journal]:
    """Open the journal of a search for this process alone, or begin a new one.

    A damaged journal is set aside with a warning. A new search says what differs from the search before it.

    Args:
        folder: holds the journals, each in `folder`/name/digest.
        name: the search's name, which is the registered model's.
        identity: the fingerprint of the search (see `fingerprint.take`).
        fresh: forget what is in the journal.

    Yields:
        The journal.

    Raises:
        UserError: when another process is at the same search.
    """
    path = _path(folder, name, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path.with_suffix(".lock"), timeout=WAIT_SECONDS):
            journal = _read_or_set_aside(path)
            if journal is None:
                journal = Journal(path, identity)
                journal.remove_states()  # of a search whose journal was damaged or deleted; this one trains another winner
                _log_what_changed(folder / name, journal)
                journal.save()
            elif fresh:
                journal.restart()
            try:
                yield journal
            finally:
                with contextlib.suppress(OSError):  # must not hide what ended the search
                    journal.save()  # an interruption may have come in the middle of the last save
    except filelock.Timeout as error:
        raise UserError(f"another process is at this search of {name}; wait for its end, then try again") from error


def seconds_left(folder: Path, name: str, identity: Fingerprint, budget: float) -> float:
    """How much of its budget a search may still take, as its journal says. No process needs to be at the search.

    Args:
        folder, name, identity: as for `open_journal`.
        budget: seconds of the whole search with its final fits.

    Returns:
        Seconds: all of them where there is no journal that can be read, and 0 for a complete search.
    """
    try:
        journal = Journal.read(_path(folder, name, identity))
        return 0.0 if journal.result else max(budget - journal.seconds, 0.0)
    except (OSError, *UNREADABLE):
        return budget


def _path(folder: Path, name: str, identity: Fingerprint) -> Path:
    return folder / name / fingerprint.digest(identity) / JOURNAL_FILE


def _read_or_set_aside(path: Path) -> Journal | None:
    try:
        return Journal.read(path)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        disk.set_aside(path, f"{type(error).__name__}: {error}")
        return None


def _log_what_changed(folder: Path, new: Journal) -> None:
    """Report how the new search differs from the one whose journal in `folder` was written last."""
    last_path = max(folder.glob(f"*/{JOURNAL_FILE}"), key=lambda path: path.stat().st_mtime, default=None)
    if last_path is None:
        return
    try:
        changes = fingerprint.differences(Journal.read(last_path).fingerprint, new.fingerprint)
    except UNREADABLE:
        changes = ["the last one was made by another version of mlproject and cannot be continued"]
    logger.info("  a new search: %s", "; ".join(changes))
