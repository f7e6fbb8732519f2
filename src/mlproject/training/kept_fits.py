"""The results of the finished fits of a cross-validation on disk, so that an interruption costs the fit under way alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlproject.training import state_file
from mlproject.training.fit import FitResult


class KeptFits:
    """Results of fits in one .npz file, in the order of the fits. A damaged file is set aside.

    Args:
        path: the file, whose folder is made when it is needed; None keeps the results in memory alone.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.results = (state_file.read(path, _results) if path else None) or []

    @property
    def seconds(self) -> float:
        """How long the fits trained."""
        return float(sum(one.history["seconds"].sum() for one in self.results))

    def add(self, result: FitResult) -> None:
        """Keep the result of the next fit, which has validation predictions. A file that cannot be written causes a warning."""
        self.results.append(result)
        if self.path is None:
            return
        about = [
            {
                "history": one.history.to_dict("records"),
                "images_per_second": one.images_per_second,
                "truncated": one.truncated,
            }
            for one in self.results
        ]
        arrays = [one.validation_probabilities for one in self.results]
        named = {f"probabilities{index}": array for index, array in enumerate(arrays) if array is not None}
        state_file.write(self.path, about, named, "the fits of finished folds")


def _results(about: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> list[FitResult]:
    return [
        FitResult(pd.DataFrame(one.pop("history")), **one, validation_probabilities=arrays[f"probabilities{index}"])
        for index, one in enumerate(about)
    ]
