"""The state of a fit on disk, from which an interrupted fit goes on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mlproject.budget import CHECKPOINT_SHARE
from mlproject.training import state_file


@dataclass
class Progress:
    """How far a fit has come.

    Attributes:
        stage: the number of finished stages.
        epoch: the number of finished epochs of the next stage.
        rows: the history, a dict for each epoch.
        images_per_second: the measured speed of each finished stage, by its name.
    """

    stage: int = 0
    epoch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    images_per_second: dict[str, float] = field(default_factory=dict)


class Checkpoint:
    """The state of a fit after an epoch, in one .npz file: the weights, the optimizer's variables and the progress.

    It is written after every epoch, unless writing would take more than `CHECKPOINT_SHARE` of the time: then less often. A
    fit whose checkpoint cannot be written goes on with a warning.
    """

    def __init__(self, path: Path):
        self.path, self._next_save = path, 0.0

    def save(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, progress: Progress) -> None:
        """Replace the file by the present state, unless the last save is too recent."""
        began = time.monotonic()
        if began < self._next_save:
            return
        self._write(progress, model=model.variables, optimizer=optimizer.variables)
        self._next_save = time.monotonic() + (time.monotonic() - began) / CHECKPOINT_SHARE

    def save_end(self, model: keras.Model, progress: Progress) -> None:
        """Replace the file by the state of a fit that has come to its end: what goes on from it trains nothing more."""
        self._write(progress, model=model.variables)

    def _write(self, progress: Progress, **variables: Sequence[keras.Variable]) -> None:
        state = {
            f"{kind}{index}": variable.numpy()
            for kind, group in variables.items()
            for index, variable in enumerate(group)
        }
        state_file.write(self.path, asdict(progress), state, "the epochs since the last checkpoint")

    def load(self) -> tuple[Progress, dict[str, np.ndarray]]:
        """Read the file.

        Returns:
            The progress and the saved variables; no progress and no variables where there is no file or a damaged one. A
            damaged file is set aside.
        """
        saved = state_file.read(self.path, lambda progress, state: (Progress(**progress), state))
        return saved or (Progress(), {})


def restore_variables(variables: Sequence[keras.Variable], saved: Mapping[str, np.ndarray], prefix: str) -> None:
    """Assign the saved values whose names begin with `prefix` ("model" or "optimizer") to these variables, in order."""
    for index, variable in enumerate(variables):
        variable.assign(saved[f"{prefix}{index}"])
