"""The journal of a search: what was finished and what was planned, in one file, so that the same command goes on from it."""

import contextlib
import dataclasses
import hashlib
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from mlproject import disk
from mlproject.errors import UserError

WAIT_SECONDS = 30  # for a search's other process, which may be ending just now
NAME, CHECKPOINT = "journal.json", "checkpoint.npz"


@dataclass
class Trial:
    """One trial. `status` is running, completed, truncated (by the deadline) or failed, then with the `reason`."""

    trial: str
    values: dict
    status: str = "running"
    val_accuracy: float = math.nan
    seconds: float = 0.0
    planned_seconds: float = 0.0
    minutes: float = 0.0  # from the search's start to the trial's end
    reason: str = ""
    starts: int = 0  # how many processes began it and did not live to say how it ended
    run_id: str = ""

    @property
    def finished(self) -> bool:
        return self.status != "running"


@dataclass
class Journal:
    """Everything that a search needs in order to go on in another process; `save` after every change.

    `made_of` is what makes two searches the same; `search` names this one, also in the tags of its runs. `pace` is how fast
    the networks train, `plan` the length of each stage of the final fit, `result` the final model once all is done.
    """

    path: Path
    made_of: dict[str, dict]
    search: str = field(default_factory=lambda: uuid.uuid4().hex)
    pace: dict | None = None
    trials: list[Trial] = field(default_factory=list)
    plan: dict | None = None
    result: dict | None = None

    @property
    def finished(self) -> list[Trial]:
        """The trials that came to an end, good or bad."""
        return [trial for trial in self.trials if trial.finished]

    @property
    def checkpoint(self) -> Path:
        """Where the final fit keeps its state."""
        return self.path.with_name(CHECKPOINT)

    def restart(self) -> None:
        """Forget all that was done: from here on it is another search."""
        self.checkpoint.unlink(missing_ok=True)
        self.search = uuid.uuid4().hex
        self.pace, self.trials, self.plan, self.result = None, [], None, None
        self.save()

    def save(self) -> None:
        """Write the journal; a reader finds the old one or the new one, whatever happens meanwhile."""
        content = dataclasses.asdict(self)
        del content["path"]
        with disk.whole(self.path) as part:
            part.write_text(json.dumps(content, indent=1, default=lambda number: number.item()))

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Raises ValueError, KeyError or TypeError when the file is no journal."""
        content = json.loads(path.read_text())
        trials = [Trial(**trial) for trial in content.pop("trials")]
        return cls(path, trials=trials, **content)


@contextmanager
def opened(folder: Path, name: str, made_of: Mapping[str, Mapping], fresh: bool = False) -> Iterator[Journal]:
    """The journal of the search `name` that is made of exactly this, for this process alone; a new one if there is none.

    Journals lie in `folder`/name/digest. `fresh` forgets the one there is. A damaged one is set aside with a warning, and a
    new search whose predecessor differed says in what. Raises UserError when another process is at the same search.
    """
    made_of = json.loads(json.dumps(made_of))
    path = folder / name / digest(made_of) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path.with_suffix(".lock"), timeout=WAIT_SECONDS):
            journal = _found(path)
            if journal is None:
                journal = Journal(path, made_of)
                before = _latest(folder / name, path)
                if before:
                    print(f"  a new search: {'; '.join(differences(before.made_of, made_of))}", flush=True)
            if fresh or not path.exists():
                journal.restart()
            try:
                yield journal
            finally:
                with contextlib.suppress(OSError):  # which must not hide what ended the search
                    journal.save()  # an interruption may have come in the middle of the last time
    except filelock.Timeout as error:
        raise UserError(f"another process is at this search of {name}; accepted: to wait for its end") from error


def _found(path: Path) -> Journal | None:
    try:
        return Journal.read(path)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        disk.set_aside(path, f"{type(error).__name__}: {error}")
        return None


def _latest(folder: Path, but: Path) -> Journal | None:
    """The journal last written to in `folder`, without that at `but` and what cannot be read."""
    for path in sorted(folder.glob(f"*/{NAME}"), key=lambda path: path.stat().st_mtime, reverse=True):
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            if path != but:
                return Journal.read(path)
    return None


def digest(made_of: Mapping) -> str:
    """12 hexadecimal digits that differ when any part does."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]


def differences(before: Mapping[str, Mapping], after: Mapping[str, Mapping]) -> list[str]:
    """What changed from one search to the next: settings with their values, all else by name."""
    changes = []
    for group in after:
        old, new = before.get(group, {}), after[group]
        changed = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
        if group == "settings":
            changes += [f"{name} was {old.get(name)}, is {new.get(name)}" for name in changed]
        elif changed:
            changes.append(f"the {group} changed ({', '.join(changed)})")
    return changes
