"""The results of the finished fits of a cross-validation on disk, so that an interruption costs the fit under way alone."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from mlproject import disk
from mlproject.training.fit import FitResult


class KeptFits:
    """Results of fits in one .npz file, in the order of the fits. A damaged file is set aside.

    Args:
        path: the file, whose folder is made when it is needed; None keeps the results in memory alone.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.results = _read(path) if path else []

    @property
    def seconds(self) -> float:
        """How long the fits trained."""
        return float(sum(one.history["seconds"].sum() for one in self.results))

    def add(self, result: FitResult) -> None:
        """Keep the result of the next fit, which has validation predictions. A file that cannot be written causes a warning."""
        self.results.append(result)
        if self.path is None:
            return
        try:
            self._write(self.path)
        except OSError as error:  # a full disk, most likely
            warnings.warn(
                f"{self.path} cannot be written ({error.strerror}); an interruption now loses the fits of finished folds",
                stacklevel=2,
            )

    def _write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        about = [
            {
                "history": one.history.to_dict("records"),
                "images_per_second": one.images_per_second,
                "truncated": one.truncated,
            }
            for one in self.results
        ]
        arrays = {f"probabilities{index}": one.validation_probabilities for index, one in enumerate(self.results)}
        with disk.atomic_write(path) as part, part.open("wb") as stream:
            np.savez(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> list[FitResult]:
    try:
        with np.load(path) as saved:  # NumPy refuses pickled objects by default
            return [
                FitResult(
                    pd.DataFrame(one.pop("history")), **one, validation_probabilities=saved[f"probabilities{index}"]
                )
                for index, one in enumerate(json.loads(str(saved["about"])))
            ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        disk.set_aside(path, error)
        return []
