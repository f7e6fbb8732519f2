"""Final models as the report sees them: what their tags say, and what could be read of their artifacts."""

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.errors import UserError

if TYPE_CHECKING:
    from mlproject.tracking import FinalModel

PLOTS = {
    "learning_curves": "Learning curves of the final fit",
    "per_class": "Precision, recall and F1 of each class on the test images",
    "confusion": "Confusion matrix on the test images",
    "examples": "The surest hits and the surest mistakes among the test images",
}


@dataclass(frozen=True, eq=False)
class Member:
    """One final model with the artifacts that could be read; those that could not are None and named in `gaps`.

    `labels` is int64 (n,), `probabilities` float32 (n, classes), both in the test set's stored order; `summary` is what
    `evaluation.summary` says of them. `title` tells the model apart from the report's others; `key` does so in file
    names and page anchors (a-z, 0-9 and hyphens only).
    """

    model: "FinalModel"
    title: str
    key: str
    labels: np.ndarray | None
    probabilities: np.ndarray | None
    summary: dict[str, float] | None
    per_class: pd.DataFrame | None
    trials: pd.DataFrame | None
    layers: pd.DataFrame | None
    plots: dict[str, Path]
    gaps: tuple[str, ...]

    def tag(self, name: str) -> str:
        """The version's tag of that name, "" when it has none."""
        return self.model.tags.get(name, "")

    @property
    def data(self) -> str:
        """The kind of data: "real", "synthetic", or "" when the version does not say."""
        return self.tag("data")

    @property
    def mark(self) -> str:
        """What every title says about this model's data: "" only when the data is known to be real."""
        return data_mark(self.data)

    @cached_property
    def correct(self) -> np.ndarray | None:
        """Whether each test image was classified correctly: bool (n,), None without predictions."""
        return None if self.labels is None else self.probabilities.argmax(axis=1) == self.labels

    @cached_property
    def ranked_trials(self) -> pd.DataFrame:
        """The search's trials that did not fail, best validation accuracy first (the earlier of two equals leads)."""
        done = self.trials[self.trials["status"].str.lower() != "failed"]
        values = pd.to_numeric(done["val_accuracy"], errors="coerce")
        return done.loc[values.sort_values(ascending=False, kind="stable").index]


def data_mark(data: str) -> str:
    """The note that titles carry: nothing for real data, else in brackets what the data is."""
    return "" if data == "real" else f" ({data} data)" if data else " (data of unrecorded origin)"


def slugs(names: Sequence[str]) -> list[str]:
    """For each text a distinct, harmless part of a file name: a-z, 0-9 and single hyphens, about 60 characters at most."""
    taken: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "unnamed"
        number, candidate = 1, slug
        while candidate in taken:
            number += 1
            candidate = f"{slug}-{number}"
        taken.append(candidate)
    return taken


def read(models: Sequence["FinalModel"]) -> list[Member]:
    """Every model with its artifacts; one that is missing or unreadable becomes a gap in words, never an error."""
    names = [model.name for model in models]
    titles = [name if names.count(name) == 1 else f"{name} v{m.version}" for name, m in zip(names, models, strict=True)]
    return [_member(*each) for each in zip(models, titles, slugs(titles), strict=True)]


def _member(model: "FinalModel", title: str, key: str) -> Member:
    gaps: list[str] = []

    def get(path: str, reader: Callable[[Path], Any]) -> Any:
        file = model.artifact(path)
        if file is None:
            gaps.append(f"{title}: its run has no {path}")
            return None
        try:
            return reader(file)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, UserError) as error:
            gaps.append(f"{title}: {path} cannot be read: {error}")
            return None

    labels, probabilities, summary = get("evaluation/predictions.npz", _predictions) or (None, None, None)
    per_class = get("evaluation/per_class.csv", _per_class)
    trials = get("search/trials.csv", _trials)
    layers = get("explain/layers.csv", _text_table)
    plots = {name: get(f"plots/{name}.png", _png) for name in PLOTS}
    plots = {name: path for name, path in plots.items() if path is not None}
    return Member(model, title, key, labels, probabilities, summary, per_class, trials, layers, plots, tuple(gaps))


def _predictions(file: Path) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    with np.load(file) as stored:
        labels, probabilities = stored["labels"].astype(np.int64), stored["probabilities"].astype(np.float32)
    return labels, probabilities, evaluation.summary(labels, probabilities)


def _per_class(file: Path) -> pd.DataFrame:
    # A class may be called "null" or "NA": only numbers may be missing.
    table = pd.read_csv(file, dtype={"class": str, "superclass": str}, keep_default_na=False)
    return _with_columns(table, ("class", "superclass", "precision", "recall", "f1", "support"))


def _trials(file: Path) -> pd.DataFrame:
    return _with_columns(_text_table(file), ("trial", "status", "val_accuracy", "seconds"))


def _text_table(file: Path) -> pd.DataFrame:
    """As written: hyperparameters keep their spelling (3 stays 3 beside an empty cell, "None" stays a word)."""
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def _with_columns(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"no column {', '.join(absent)}")
    return table


def _png(file: Path) -> Path:
    if not file.read_bytes().startswith(b"\x89PNG"):
        raise ValueError("not a PNG image")
    return file
