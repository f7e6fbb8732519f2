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
        self.results = (state_file.read(path, _make_results) if path else None) or []

    @property
    def seconds(self) -> float:
        """How long the fits trained."""
        return float(sum(result.history["seconds"].sum() for result in self.results))

    def add(self, result: FitResult) -> None:
        """Keep the result of the next fit, which has validation predictions. A file that cannot be written causes a warning."""
        self.results.append(result)
        if self.path is None:
            return
        descriptions = [
            {
                "history": kept.history.to_dict("records"),
                "images_per_second": kept.images_per_second,
                "truncated": kept.truncated,
            }
            for kept in self.results
        ]
        probabilities = [kept.validation_probabilities for kept in self.results]
        arrays = {f"probabilities{index}": array for index, array in enumerate(probabilities) if array is not None}
        state_file.write(self.path, descriptions, arrays, "the fits of finished folds")


def _make_results(descriptions: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> list[FitResult]:
    return [
        FitResult(
            pd.DataFrame(description.pop("history")),
            **description,
            validation_probabilities=arrays[f"probabilities{index}"],
        )
        for index, description in enumerate(descriptions)
    ]
