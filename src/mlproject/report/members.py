"""Final models as the report sees them: what their tags say, and what could be read of their artifacts."""

import json
import re
import zipfile
import zlib
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
VALUES = ("hyperparameter", "best_known", "winner")


@dataclass(frozen=True, eq=False)
class Member:
    """One final model with the artifacts that could be read; those that could not are None and named in `gaps`.

    `labels` is int64 (n,), `probabilities` float32 (n, classes), both in the test set's stored order; `summary` is what
    `evaluation.summary` says of them. `stages` holds such probabilities as they were after each stage of the fit but the
    last. `centroids` are float32 (classes, d); `images` some test
    images, uint8 (h, w, c), by their index. `title` tells the model apart from the report's others; `key` does so in file
    names and page anchors (a-z, 0-9 and hyphens only).
    """

    model: "FinalModel"
    title: str
    key: str
    labels: np.ndarray | None
    probabilities: np.ndarray | None
    summary: dict[str, float] | None
    per_class: pd.DataFrame | None
    history: pd.DataFrame | None
    stages: dict[str, np.ndarray]
    centroids: np.ndarray | None
    images: dict[int, np.ndarray] | None
    trials: pd.DataFrame | None
    values: pd.DataFrame | None
    layers: pd.DataFrame | None
    environment: dict[str, object] | None
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

    @property
    def seed(self) -> str:
        """The seed of search and fit, "" when it was not recorded."""
        return self.tag("seed") or self.model.params.get("seed", "")

    @property
    def answers(self) -> list[tuple[str, np.ndarray]]:
        """What the network answered after each stage of its fit, the last under the member's own title: title, probabilities."""
        if self.labels is None:
            return []
        stages = [(f"{self.title} after {name}", probabilities) for name, probabilities in self.stages.items()]
        return [*stages, (self.title, self.probabilities)]

    @property
    def class_names(self) -> list[str]:
        """The classes' names in the order of their indices; needs `per_class`."""
        return self.per_class["class"].tolist()

    @cached_property
    def ranked_trials(self) -> pd.DataFrame:
        """The search's trials that did not fail, best validation accuracy first (the earlier of two equals leads)."""
        done = self.trials[self.trials["status"].str.lower() != "failed"]
        values = pd.to_numeric(done["val_accuracy"], errors="coerce")
        return done.loc[values.sort_values(ascending=False, kind="stable").index]

    @property
    def refitted_trial(self) -> pd.Series:
        """The trial whose values were refitted: the most accurate one where the run did not record which."""
        ranked = self.ranked_trials
        marked = ranked[ranked["refitted"] == "yes"] if "refitted" in ranked else ranked
        return (marked if len(marked) else ranked).iloc[0]


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
    missing: list[str] = []
    unreadable: list[str] = []

    def get(path: str, reader: Callable[[Path], Any]) -> Any:
        file = model.artifact(path)
        if file is None:
            missing.append(path)
            return None
        try:
            return reader(file)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, UserError) as error:
            unreadable.append(f"{title}: {path} cannot be read: {error}")
            return None

    labels, probabilities, summary = get("evaluation/predictions.npz", _predictions) or (None, None, None)
    per_class = get("evaluation/per_class.csv", _per_class)
    if labels is not None and per_class is not None and len(per_class) != probabilities.shape[1]:
        unreadable.append(f"{title}: its class table and its predictions differ in the number of classes")
        labels, probabilities, summary, per_class = None, None, None, None
    history = get("evaluation/history.csv", _history)
    stages = {}
    for name in [] if history is None or labels is None else history["stage"].unique()[:-1]:
        found = get(f"evaluation/stages/{name}.npz", _predictions)
        if found and np.array_equal(found[0], labels) and found[1].shape == probabilities.shape:
            stages[name] = found[1]
    centroids = get("evaluation/features.npz", _centroids)
    images = get("evaluation/images.npz", _images)
    trials = get("search/trials.csv", _trials)
    values = get("search/values.csv", lambda file: _with_columns(_text_table(file), VALUES))
    layers = get("explain/layers.csv", _text_table)
    environment = get("environment.json", _environment)
    plots = {name: get(f"plots/{name}.png", _png) for name in PLOTS}
    plots = {name: path for name, path in plots.items() if path is not None}
    gaps = [f"{title}: its run has no {', '.join(missing)}"] if missing else []
    return Member(
        model=model,
        title=title,
        key=key,
        labels=labels,
        probabilities=probabilities,
        summary=summary,
        per_class=per_class,
        history=history,
        stages=stages,
        centroids=centroids,
        images=images,
        trials=trials,
        values=values,
        layers=layers,
        environment=environment,
        plots=plots,
        gaps=(*gaps, *unreadable),
    )


def _predictions(file: Path) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    with np.load(file) as stored:
        labels, probabilities = stored["labels"].astype(np.int64), stored["probabilities"].astype(np.float32)
    return labels, probabilities, evaluation.summary(labels, probabilities)


def _per_class(file: Path) -> pd.DataFrame:
    # A class may be called "null" or "NA": only numbers may be missing.
    table = pd.read_csv(file, dtype={"class": str, "superclass": str}, keep_default_na=False)
    return _with_columns(table, ("class", "superclass", "precision", "recall", "f1", "support"))


def _history(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file)
    if "stage" not in table:
        table["stage"] = "training"
    return _with_columns(table, ("epoch", "loss", "accuracy", "stage"))


def _centroids(file: Path) -> np.ndarray:
    with np.load(file) as stored:
        return stored["centroids"]


def _images(file: Path) -> dict[int, np.ndarray]:
    with np.load(file) as stored:
        return dict(zip(stored["rows"].tolist(), stored["images"], strict=True))


def _environment(file: Path) -> dict[str, object]:
    found = json.loads(file.read_text(encoding="utf-8"))
    facts = {name: found[name] for name in ("python", "platform", "cpus")}
    newer = {name: found[name] for name in ("cpu", "vector instructions") if name in found}
    return facts | newer | found["packages"]


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
