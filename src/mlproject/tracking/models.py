"""Read final models from MLflow's model registry: the values and artifacts of their runs, and the models themselves."""

import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from mlproject.errors import UserError, truncate
from mlproject.tracking import links, store
from mlproject.tracking.queries import find_existing_run
from mlproject.tracking.registry import with_trial_scores
from mlproject.tracking.selection import Selection, Which, comparison_key, select

if TYPE_CHECKING:  # importing Keras takes seconds, and a report does not need it
    import keras

FEW_RUNS = 20  # are read one by one
RUNS_PER_QUERY = 500


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run with the values and files that it logged.

    Attributes:
        run_id: The run.
        params: The run's parameters.
        metrics: The run's last metrics, as `registry.with_trial_scores` names them.
        url: The run's page in MLflow's UI, as `links.run_page` gives it; "" when it is not known.
        artifact_location: Where MLflow keeps the run's artifacts.
    """

    run_id: str
    params: dict[str, str]
    metrics: dict[str, float]
    url: str = ""
    artifact_location: str = ""

    def has_artifacts(self) -> bool:
        """Whether the run has any artifacts.

        Raises:
            StoreGoneError: The store has not answered for too long.
        """
        return bool(store.retry_file_transfer(lambda: self._list_folder("")))

    def artifact(self, path: str) -> Path | None:
        """Download an artifact of the run.

        Args:
            path: The artifact's path in the run.

        Returns:
            The path of a local copy, which is deleted when the process ends; None when the run has no such artifact.

        Raises:
            StoreGoneError: The store has not answered for too long.
        """
        return store.retry_file_transfer(lambda: self._download(path))

    def _download(self, path: str) -> Path | None:
        if path not in self._list_folder(os.path.dirname(path)):
            return None
        return Path(
            mlflow.artifacts.download_artifacts(
                run_id=self.run_id, artifact_path=path, dst_path=tempfile.mkdtemp(dir=_download_folder().name)
            )
        )

    def _list_folder(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            items = mlflow.MlflowClient().list_artifacts(self.run_id, folder or None)
            self._listings[folder] = frozenset(item.path for item in items)
        return self._listings[folder]

    @cached_property
    def _listings(self) -> dict[str, frozenset[str]]:
        # A server takes tens of milliseconds for a listing, and a report reads a dozen files from three folders.
        return {}


@dataclass(frozen=True, kw_only=True)
class FinalModel(LoggedRun):
    """A registered version that this project made, with the values that its run logged.

    Attributes:
        name: The registered model's name.
        version: The version's number.
        alias: The alias by which it was selected, or which it has; "" when it has none.
        tags: The version's tags.
        created: When it was registered, in milliseconds since 1970.
        other_seeds: Where the winner was refitted with several seeds, the runs of those whose model is not registered.
        version_url: The version's page in MLflow's UI, as `links.version_page` gives it; "" when it is not known.
        trials_url: The page that compares its search's trials, as `links.trials_page` gives it; "" when it is not known.
        finals_url: The page that compares its run with those of the models that were read together with it and belong to the
            same comparison on the same kind of data, as `links.comparison_page` gives it; "" when there are none.
    """

    name: str
    version: int
    alias: str
    tags: dict[str, str]
    created: int
    other_seeds: tuple[LoggedRun, ...] = ()
    version_url: str = ""
    trials_url: str = ""
    finals_url: str = ""


@cache
def _download_folder() -> "tempfile.TemporaryDirectory[str]":
    """The folder for downloads; it is deleted when the process ends, unlike the folders that MLflow makes by itself."""
    return tempfile.TemporaryDirectory(prefix="mlproject-")


def final_model(selector: str) -> FinalModel:
    """Read the registered version that a command names with its option `model`.

    Args:
        selector: `name` (its champion), `name@alias` or `name/version`.

    Returns:
        The version.

    Raises:
        UserError: There is no such version, or its run is deleted.
        StoreGoneError: The store has not answered for too long.
    """
    models = final_models([selector], parameter="model")
    if not models:
        raise UserError(f"model={selector!r} cannot be used: its run is deleted; accepted: a version with its run")
    return models[0]


class LoadedModel(NamedTuple):
    """A registered model, loaded.

    Attributes:
        model: The Keras model.
        class_names: The names of its classes, in the order of its outputs.
        preparation: How images become its inputs; None if that was not recorded.
    """

    model: "keras.Model"
    class_names: list[str]
    preparation: dict[str, object] | None


def load_model(final: FinalModel) -> LoadedModel:
    """Load a registered model.

    Args:
        final: The version to load.

    Returns:
        The model with what is needed to use it.

    Raises:
        UserError: The model's files are missing.
        StoreGoneError: The store has not answered for too long.
    """
    uri = f"models:/{final.name}/{final.version}"
    try:
        metadata = store.retry_file_transfer(lambda: mlflow.models.get_model_info(uri).metadata) or {}
        model = store.retry_file_transfer(lambda: mlflow.keras.load_model(uri))
        return LoadedModel(model, json.loads(metadata["class_names"]), json.loads(metadata.get("preparation", "null")))
    except (OSError, MlflowException) as error:
        raise UserError(
            f"{final.name}/{final.version} cannot be loaded ({truncate(' '.join(str(error).split()))}); accepted: a model "
            f"whose files are still where MLflow recorded them, beside {final.artifact_location}"
        ) from error


def require_artifacts(models: Sequence[FinalModel]) -> None:
    """Refuse models of which nothing but their values is left, before a report without content replaces a better one.

    If only some of them have lost their files, there is a warning for each of these.

    Args:
        models: The models to report.

    Raises:
        UserError: None of the models' runs has an artifact.
        StoreGoneError: The store has not answered for too long.
    """
    lost = [model for model in models if not model.has_artifacts()]
    if models and len(lost) == len(models):
        raise UserError(
            f"no artifact of {', '.join(model.name for model in models)} is left in {models[0].artifact_location}, so there "
            "is nothing to report; accepted: a store whose folder of artifacts is where MLflow recorded it, or beside "
            "the database with which it was moved"
        )
    for model in lost:
        warnings.warn(
            f"{model.name}/{model.version} has lost its files, which MLflow kept in {model.artifact_location}, so the report "
            "lacks what they show",
            stacklevel=2,
        )


def final_models(
    selectors: Sequence[str] = (),
    comparisons: Sequence[str] = (),
    parameter: str = "models",
    which: Which = "champions",
) -> list[FinalModel]:
    """Read the registered versions that this project made, which its tags tell from those of other people and programs.

    Many models take no more queries than `FEW_RUNS`.

    Args:
        selectors: Versions to read: `name` (its champion), `name@alias` or `name/version`. Without selectors, every
            champion is read, in the order of the names.
        comparisons: If given, only versions of these comparisons are read.
        parameter: The name of the selectors in error messages.
        which: The versions that are read when there are no selectors: the champions, those with any alias, or all.

    Returns:
        The versions in the order of the selectors, each once. A version whose run is deleted is left out with a
        warning.

    Raises:
        UserError: A selector or a comparison matches nothing.
        StoreGoneError: The store has not answered for too long.
    """
    return store.retry(lambda: _read_runs(select(selectors, comparisons, parameter, which)))


def _read_runs(selection: Selection) -> list[FinalModel]:
    """The final models of these versions, with the values of all their runs, which are queried in groups."""
    run_ids = {version.run_id for version, _ in selection if version.run_id}
    run_ids |= {run_id for version, _ in selection for run_id in _other_seeds(version)}
    runs = _query_runs(sorted(run_ids))
    runs_by_comparison: dict[tuple[str | None, ...], list[Run]] = {}
    for version, _ in selection:
        if run := runs.get(version.run_id or ""):
            runs_by_comparison.setdefault(comparison_key(version), []).append(run)
    models = []
    for version, alias in selection:
        if run := runs.get(version.run_id or ""):
            other_runs = [runs[run_id] for run_id in _other_seeds(version) if run_id in runs]
            finals_url = links.comparison_page(runs_by_comparison[comparison_key(version)])
            models.append(_final_model(version, alias, run, other_runs, finals_url))
        else:
            warnings.warn(f"{version.name}/{version.version} is left out: its run is deleted", stacklevel=2)
    return models


def _other_seeds(version: ModelVersion) -> list[str]:
    """The runs of the version's seeds but its own, as its tag names them."""
    run_ids = version.tags.get("seed_runs", "").split(",")
    return [run_id for run_id in run_ids if run_id not in ("", version.run_id)]


def _query_runs(run_ids: Sequence[str]) -> dict[str, Run]:
    """The runs with these identifiers, as far as they exist. Only a query of many lists MLflow's experiments first."""
    if len(run_ids) <= FEW_RUNS:
        return {run_id: run for run_id in run_ids if (run := find_existing_run(run_id))}
    runs: dict[str, Run] = {}
    client = mlflow.MlflowClient()
    experiments = store.iterate_pages(client.search_experiments, view_type=ViewType.ALL)
    experiment_ids = [experiment.experiment_id for experiment in experiments]
    for start in range(0, len(run_ids), RUNS_PER_QUERY):
        group = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + RUNS_PER_QUERY])
        query = f"attributes.run_id IN ({group})"
        for run in client.search_runs(experiment_ids, query, ViewType.ALL, max_results=RUNS_PER_QUERY):
            runs[run.info.run_id] = run
    return runs


def _final_model(version: ModelVersion, alias: str, run: Run, other_runs: Sequence[Run], finals_url: str) -> FinalModel:
    return FinalModel(
        name=version.name,
        version=int(version.version),
        alias=alias,
        tags=dict(version.tags),
        created=int(version.creation_timestamp),
        other_seeds=tuple(LoggedRun(**_logged_fields(other_run)) for other_run in other_runs),
        version_url=links.version_page(version.name, int(version.version)),
        trials_url=links.trials_page(run),
        finals_url=finals_url,
        **_logged_fields(run),
    )


def _logged_fields(run: Run) -> dict[str, Any]:
    """The fields of a LoggedRun."""
    return {
        "run_id": run.info.run_id,
        "params": dict(run.data.params),
        "metrics": with_trial_scores(run.data.metrics),
        "url": links.page_of_run(run),
        "artifact_location": run.info.artifact_uri,
    }
