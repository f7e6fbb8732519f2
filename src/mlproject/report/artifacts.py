"""Reads the artifacts of final runs; a missing or broken artifact is described in words and never stops the report."""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.errors import UserError
from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.report.context import slugs
from mlproject.report.models import (
    OPTIONAL_FACTS,
    REQUIRED_FACTS,
    ClassEvaluation,
    ReportedModel,
    SearchRecord,
    StagePredictions,
    TestPredictions,
)

if TYPE_CHECKING:
    from mlproject.tracking import FinalModel, LoggedRun

UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, UserError)

Artifact = TypeVar("Artifact")


def read_models(models: Sequence["FinalModel"]) -> list[ReportedModel]:
    """Read every model with its artifacts.

    Args:
        models: records from the registry. Where two have the same name, the version becomes part of their titles.

    Returns:
        The models in the same order. Artifacts that are missing or cannot be read are None, and the model's
        `omissions` name them.
    """
    names = [model.name for model in models]
    titles = [
        name if names.count(name) == 1 else f"{name} v{model.version}"
        for name, model in zip(names, models, strict=True)
    ]
    return [_read_model(model, title, key) for model, title, key in zip(models, titles, slugs(titles), strict=True)]


class _Run:
    """The artifacts of one run, and the reasons why some of them could not be read."""

    def __init__(self, logged: "LoggedRun", title: str) -> None:
        self.logged = logged
        self.title = title
        self.missing: list[str] = []
        self.unreadable: list[str] = []

    def read(self, path: str, reader: Callable[[Path], Artifact], *, optional: bool = False) -> Artifact | None:
        """The artifact as `reader` returns it; None if it is missing or unreadable, in which case the reason is kept.

        Nothing is said of a missing one that is `optional`, because older runs did not log it.
        """
        file = self.logged.artifact(path)
        if file is None:
            if not optional:
                self.missing.append(path)
            return None
        try:
            return reader(file)
        except UNREADABLE as error:
            self.unreadable.append(f"{self.title}: {path} cannot be read: {error}")
            return None

    @property
    def omissions(self) -> tuple[str, ...]:
        """Sentences that say what is missing or cannot be read."""
        missing = [f"{self.title}: its run has no {', '.join(self.missing)}"] if self.missing else []
        return (*missing, *self.unreadable)


class _StoredPredictions(NamedTuple):
    """A file of predictions: labels, int64 (n,), and probabilities, float32 (n, classes)."""

    labels: np.ndarray
    probabilities: np.ndarray


def _read_model(model: "FinalModel", title: str, key: str) -> ReportedModel:
    run = _Run(model, title)
    stored = run.read("evaluation/predictions.npz", _read_predictions)
    class_table = run.read("evaluation/per_class.csv", _read_class_table)
    if stored is not None and class_table is not None and len(class_table) != stored.probabilities.shape[1]:
        run.unreadable.append(f"{title}: its class table and its predictions differ in the number of classes")
        stored, class_table = None, None
    history = run.read("evaluation/history.csv", _read_history)
    predictions = None if stored is None else _test_predictions(run, model, stored, history)
    centroids = run.read("evaluation/features.npz", _read_centroids)
    images = run.read("evaluation/images.npz", _read_images)
    class_evaluation = None
    if predictions is not None and class_table is not None:
        class_evaluation = ClassEvaluation(predictions, class_table, centroids, images)
    trials = run.read("search/trials.csv", _read_trials)
    values = run.read("search/values.csv", _read_values)
    layers = run.read("explain/layers.csv", _read_text_table)
    environment = run.read("environment.json", _read_environment)
    return ReportedModel(
        registered=model,
        title=title,
        key=key,
        predictions=predictions,
        class_evaluation=class_evaluation,
        history=history,
        search=None if trials is None else SearchRecord(trials, values, _objective(model, trials)),
        layers=layers,
        environment=environment,
        examples_of_predictions=run.read("plots/examples.png", _check_png),
        facts=run.read("data/facts.csv", _read_facts, optional=True),
        examples=run.read("data/examples.png", _check_png, optional=True),
        omissions=run.omissions,
    )


def _test_predictions(
    run: _Run, model: "FinalModel", finished: _StoredPredictions, history: pd.DataFrame | None
) -> TestPredictions:
    """The predictions of the finished network, with those of the earlier stages of its fit and of its other seeds."""
    other_seeds = _other_seeds(run, model, finished)
    stages = [] if history is None else _earlier_stages(run, other_seeds, finished, history)
    by_seed = {seed: stored.probabilities for seed, (_, stored) in other_seeds.items()}
    last = StagePredictions(run.title, finished.probabilities, other_seeds=by_seed)
    return TestPredictions(finished.labels, (*stages, last))


def _other_seeds(
    run: _Run, model: "FinalModel", finished: _StoredPredictions
) -> dict[str, tuple[_Run, _StoredPredictions]]:
    """The other seeds' runs and what their networks predicted, left out where that is missing or of other images."""
    other_seeds = {}
    for logged in model.other_seeds:
        seed = logged.params.get("fit_seed", logged.run_id)
        seed_run = _Run(logged, f"{run.title}, seed {seed}")
        stored = seed_run.read("evaluation/predictions.npz", _read_predictions)
        if stored is None:
            run.unreadable += seed_run.omissions
        elif _have_same_images(stored, finished):
            other_seeds[seed] = (seed_run, stored)
        else:
            run.unreadable.append(f"{seed_run.title} was not tested on the same images")
    recorded_seeds = model.tags.get("seeds", "")
    deleted_count = len(recorded_seeds.split(",")) - 1 - len(model.other_seeds)
    if deleted_count > 0:
        run.unreadable.append(f"{run.title}: of its seeds {recorded_seeds}, the runs of {deleted_count} are deleted")
    return other_seeds


def _earlier_stages(
    run: _Run,
    other_seeds: Mapping[str, tuple[_Run, _StoredPredictions]],
    finished: _StoredPredictions,
    history: pd.DataFrame,
) -> list[StagePredictions]:
    """The predictions after each stage but the last, left out where they are missing or of other images.

    Those of the other seeds count only if all have them, so that a stage and the finished network have the same seeds.
    """
    stages = []
    for name in history["stage"].unique()[:-1]:
        path, title = f"evaluation/stages/{name}.npz", f"{run.title} after {name}"
        earlier = run.read(path, _read_predictions)
        if earlier is None or not _have_same_images(earlier, finished):
            continue
        stored = {seed: seed_run.read(path, _read_predictions) for seed, (seed_run, _) in other_seeds.items()}
        available = {
            seed: predictions.probabilities
            for seed, predictions in stored.items()
            if predictions is not None and _have_same_images(predictions, finished)
        }
        by_seed = available if len(available) == len(other_seeds) else {}
        stages.append(StagePredictions(title, earlier.probabilities, _seconds_until(history, name), by_seed))
    return stages


def _have_same_images(first: _StoredPredictions, second: _StoredPredictions) -> bool:
    same_shape = first.probabilities.shape == second.probabilities.shape
    return same_shape and np.array_equal(first.labels, second.labels)


def _seconds_until(history: pd.DataFrame, stage: str) -> float:
    """The seconds of training up to the end of the stage, NaN when they were not recorded."""
    last_epoch = history.index[history["stage"] == stage][-1]
    return history.loc[:last_epoch, "seconds"].sum() if "seconds" in history else np.nan


def _read_predictions(file: Path) -> _StoredPredictions:
    with np.load(file) as stored:
        labels, probabilities = stored["labels"].astype(np.int64), stored["probabilities"].astype(np.float32)
    evaluation.summary(labels, probabilities)  # refuses what are no labels or no probabilities
    return _StoredPredictions(labels, probabilities)


def _read_class_table(file: Path) -> pd.DataFrame:
    # A class may be called "null" or "NA": only numbers may be missing.
    numeric_columns = ("precision", "recall", "f1", "support", "recall_low", "recall_high")
    missing_values = {name: [""] for name in numeric_columns}
    table = pd.read_csv(file, dtype={"class": str, "superclass": str}, keep_default_na=False, na_values=missing_values)
    table = _require_columns(table, ("class", "superclass", "precision", "recall", "f1", "support"))
    return table.assign(**{name: _with_spaces(table[name]) for name in ("class", "superclass")})


def _with_spaces(names: pd.Series) -> pd.Series:
    """The names with spaces in place of underscores, unless two names would become one."""
    spaced = names.str.replace("_", " ")
    return spaced if spaced.nunique() == names.nunique() else names


def _read_history(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file)
    if table.empty:
        raise ValueError("no epochs")
    if "stage" not in table:
        table["stage"] = "training"
    return _require_columns(table, ("epoch", "loss", "accuracy", "stage"))


def _read_centroids(file: Path) -> np.ndarray:
    with np.load(file) as stored:
        return np.asarray(stored["centroids"])


def _read_images(file: Path) -> dict[int, np.ndarray]:
    with np.load(file) as stored:
        return dict(zip(stored["rows"].tolist(), stored["images"], strict=True))


def _read_environment(file: Path) -> dict[str, object]:
    environment = json.loads(file.read_text(encoding="utf-8"))
    facts = {name: environment[name] for name in REQUIRED_FACTS}
    packages: dict[str, object] = environment["packages"]
    return facts | {name: environment[name] for name in OPTIONAL_FACTS if name in environment} | packages


def _read_trials(file: Path) -> pd.DataFrame:
    return _require_columns(_read_text_table(file), ("trial", "status", "val_accuracy", "seconds"))


def _objective(model: "FinalModel", trials: pd.DataFrame) -> str:
    """What the search optimised; older searches did not record it, and optimised the accuracy."""
    name = model.params.get("objective", DEFAULT)
    return name if name in OBJECTIVES and name in trials else DEFAULT


def _read_values(file: Path) -> pd.DataFrame:
    return _require_columns(_read_text_table(file), ("hyperparameter", "best_known", "winner"))


def _read_facts(file: Path) -> pd.DataFrame:
    return _require_columns(_read_text_table(file), ("what", "value"))


def _read_text_table(file: Path) -> pd.DataFrame:
    """The table as text, so that hyperparameters keep their spelling: 3 does not become 3.0, "None" stays a word."""
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def _require_columns(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"no column {', '.join(absent)}")
    return table


def _check_png(file: Path) -> Path:
    if not file.read_bytes().startswith(b"\x89PNG"):
        raise ValueError("not a PNG image")
    return file
