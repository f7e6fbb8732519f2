"""The registry: final models go in once, the better one is champion, reports and users get them out by name."""

import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature

from mlproject.errors import UserError
from mlproject.tracking import store
from mlproject.tracking.runs import log_metrics

if TYPE_CHECKING:  # a report does without Keras, whose import takes seconds
    import keras

CHAMPION, CHALLENGER = "champion", "challenger"


def register(
    model: "keras.Model", name: str, class_names: Sequence[str], example: np.ndarray, tags: Mapping[str, str]
) -> int:
    """Log the model into the active run and register it under `name`; gives the new version.

    A run's model is registered once, however often this is called. The signature is that of `example` (uint8 images) and its
    predictions; class names travel in the model's metadata.
    """
    signature = infer_signature(example, model.predict(example, verbose=0))
    # Without explicit requirements MLflow infers them in a subprocess, for ten seconds.
    pinned = [f"{package}=={installed(package)}" for package in ("keras", "tensorflow", "numpy", "mlflow")]
    run_id, client = mlflow.active_run().info.run_id, mlflow.MlflowClient()

    def log_once() -> int:
        # Where the answer to a first try was lost, or the command interrupted, the version is there already.
        registered = _version_of(name, run_id)
        if registered:
            return registered
        for unfinished in mlflow.search_logged_models(
            filter_string=f"source_run_id = '{run_id}'", output_format="list"
        ):
            mlflow.delete_logged_model(unfinished.model_id)
        info = mlflow.keras.log_model(
            model,
            name="model",
            signature=signature,
            pip_requirements=pinned,
            metadata={"class_names": json.dumps(list(class_names))},
            registered_model_name=name,
        )
        return int(info.registered_model_version)

    def describe() -> None:
        for key, value in tags.items():
            client.set_model_version_tag(name, str(version), key, str(value))
        log_metrics({"model_bytes": mlflow.models.Model.load(f"models:/{name}/{version}").model_size_bytes})

    version = store.transfer(log_once)
    store.transfer(describe)
    return version


def version_of(name: str, run_id: str) -> int | None:
    """The registered version of the model `name` that a run made; None when it made none."""
    return store.outbox.insist(lambda: _version_of(name, run_id))


def _version_of(name: str, run_id: str) -> int | None:
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return int(found[0].version) if found else None


def alias_of(name: str, version: int) -> str:
    """What the version is by now: champion, challenger or, "", neither."""
    found = store.outbox.insist(lambda: mlflow.MlflowClient().get_model_version(name, str(version)))
    return next((alias for alias in (CHAMPION, CHALLENGER) if alias in found.aliases), "")


def load(final: "FinalModel") -> tuple["keras.Model", list[str]]:
    """A registered model and its classes' names."""
    uri = f"models:/{final.name}/{final.version}"
    metadata = store.transfer(lambda: mlflow.models.get_model_info(uri).metadata)
    return store.transfer(lambda: mlflow.keras.load_model(uri)), json.loads(metadata["class_names"])


def promote(name: str, version: int) -> str:
    """Give `version` the alias champion if it wins, else challenger; gives the alias.

    It wins when there is no champion yet, or when on the same data set its run had the larger budget; at an equal one, with
    other `max_trials`, the longer final fit; else the higher val_accuracy. That is of a trial, which is the smaller a part of
    the fit the longer the fit is: only accuracies of like searches say who is better.
    """
    return store.outbox.insist(lambda: _promote(name, version))


def _promote(name: str, version: int) -> str:
    client, holder = mlflow.MlflowClient(), _holder(name, CHAMPION)
    again = holder is not None and int(holder.version) == version
    wins = holder is None or again or _beats(client.get_model_version(name, str(version)), holder)
    alias = CHAMPION if wins else CHALLENGER
    client.set_registered_model_alias(name, alias, str(version))
    challenger = _holder(name, CHALLENGER)
    if alias == CHAMPION and challenger and int(challenger.version) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return alias


def _beats(challenger, champion) -> bool:
    if champion.run_id and not _has_run(champion):  # deleted for good: no report shows it any more
        return True
    if challenger.tags.get("dataset.digest") != champion.tags.get("dataset.digest"):
        return False
    new, old = (mlflow.get_run(version.run_id).data for version in (challenger, champion))
    budget, known = (float(run.params.get("budget_minutes", 0)) for run in (new, old))
    if budget != known:
        return budget > known
    alike = new.params.get("max_trials") == old.params.get("max_trials")
    measure = "val_accuracy" if alike else "train_seconds"
    return new.metrics[measure] > old.metrics[measure]


def _has_run(version: ModelVersion) -> bool:
    try:
        return bool(mlflow.get_run(version.run_id))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _holder(name: str, alias: str):
    """The model version that holds the alias; None when none does."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if store.passing(error):
            raise
        return None


@cache
def _downloads() -> tempfile.TemporaryDirectory:
    """Where artifacts are downloaded to; it goes with the process, unlike the folders that MLflow makes itself."""
    return tempfile.TemporaryDirectory(prefix="mlproject-")


@dataclass(frozen=True)
class FinalModel:
    """A registered version of ours with what its run logged; `url` is the run's page in MLflow's UI, "" without a server."""

    name: str
    version: int
    alias: str
    run_id: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    url: str = ""

    def artifact(self, path: str) -> Path | None:
        """A local copy of the run's artifact `path`; None when the run has none of that name."""
        return store.transfer(lambda: self._download(path))

    def _download(self, path: str) -> Path | None:
        if path not in self._listed(os.path.dirname(path)):
            return None
        return Path(
            mlflow.artifacts.download_artifacts(
                run_id=self.run_id, artifact_path=path, dst_path=tempfile.mkdtemp(dir=_downloads().name)
            )
        )

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._folders:
            items = mlflow.MlflowClient().list_artifacts(self.run_id, folder or None)
            self._folders[folder] = frozenset(item.path for item in items)
        return self._folders[folder]

    @cached_property
    def _folders(self) -> dict[str, frozenset[str]]:
        # A server answers a listing in tens of milliseconds, and a report asks for a dozen files in three folders.
        return {}


def final_models(
    selectors: Sequence[str] = (), comparisons: Sequence[str] = (), parameter: str = "models"
) -> list[FinalModel]:
    """Registered versions that carry our tag `experiment`, by name: every champion, or those selected.

    A selector is `name` (its champion), `name@alias` or `name/version`. `comparisons`: only versions of these. The same few
    queries are made however many models there are.
    Raises UserError for a selector or a comparison that matches nothing; a selector is there called by the `parameter`'s name.
    """
    return store.outbox.insist(lambda: _final_models(selectors, comparisons, parameter))


def _final_models(selectors: Sequence[str], comparisons: Sequence[str], parameter: str) -> list[FinalModel]:
    client = mlflow.MlflowClient()
    versions: dict[str, dict[int, ModelVersion]] = {}
    for version in store.pages(client.search_model_versions, max_results=1000):
        if "experiment" in version.tags:
            versions.setdefault(version.name, {})[int(version.version)] = version
    # Asked for last: another machine may register a first version meanwhile.
    registered = {model.name: model for model in store.pages(client.search_registered_models, max_results=1000)}
    aliases = {
        name: {
            alias: int(number) for alias, number in registered[name].aliases.items() if int(number) in versions[name]
        }
        for name in sorted(versions)
    }
    if selectors:
        chosen = [_select(parameter, selector, versions, aliases) for selector in selectors]
    else:
        chosen = [(name, known[CHAMPION], CHAMPION) for name, known in aliases.items() if CHAMPION in known]
    once: dict[tuple[str, int], str] = {}  # each version under the first of its aliases that was asked for
    for name, number, alias in chosen:
        once.setdefault((name, number), alias)
    found = [(versions[name][number], alias) for (name, number), alias in once.items()]
    return _with_runs(client, _of_comparisons(found, comparisons))


def _select(
    parameter: str, selector: str, versions: dict[str, dict], aliases: dict[str, dict[str, int]]
) -> tuple[str, int, str]:
    """Name, version and alias ("" when chosen by number) of one selector."""
    name, at, alias = selector.partition("@")
    name, slash, number = (name, "", "") if at else selector.partition("/")
    if name not in versions:
        raise UserError(f"{parameter}={selector!r}: no such model; accepted: {', '.join(sorted(versions)) or 'none'}")
    known = aliases[name]
    if slash:
        if not number.isdecimal() or int(number) not in versions[name]:
            listed = ", ".join(f"{name}/{one}" for one in sorted(versions[name]))
            raise UserError(f"{parameter}={selector!r}: no such version; accepted: {listed}")
        return name, int(number), next((alias for alias, one in known.items() if one == int(number)), "")
    alias = alias or CHAMPION
    if alias not in known:
        listed = ", ".join([f"{name}@{one}" for one in known] + [f"{name}/{one}" for one in sorted(versions[name])])
        raise UserError(f"{parameter}={selector!r}: no version has the alias {alias!r}; accepted: {listed}")
    return name, known[alias], alias


def _of_comparisons(found: list[tuple], comparisons: Sequence[str]) -> list[tuple]:
    known = sorted({version.tags.get("comparison", "") for version, _ in found} - {""})
    for comparison in comparisons:
        if comparison not in known:
            raise UserError(f"comparison={comparison!r} is none of the models'; accepted: {', '.join(known) or 'none'}")
    return [one for one in found if not comparisons or one[0].tags.get("comparison") in comparisons]


def _with_runs(client: mlflow.MlflowClient, found: list[tuple]) -> list[FinalModel]:
    """What the runs of these versions logged, asked for 500 at a time."""
    wanted = sorted({version.run_id for version, _ in found})
    runs = {}
    if wanted:
        ids = [
            experiment.experiment_id for experiment in store.pages(client.search_experiments, view_type=ViewType.ALL)
        ]
        for start in range(0, len(wanted), 500):
            listed = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + 500])
            for run in client.search_runs(ids, f"attributes.run_id IN ({listed})", ViewType.ALL, max_results=500):
                runs[run.info.run_id] = run
    for version, _ in found:
        if version.run_id not in runs:
            warnings.warn(f"{version.name}/{version.version} is left out: its run is deleted", stacklevel=2)
    server = store.address()
    return [
        FinalModel(
            version.name,
            int(version.version),
            alias,
            version.run_id,
            dict(version.tags),
            dict(runs[version.run_id].data.params),
            dict(runs[version.run_id].data.metrics),
            f"{server.rstrip('/')}/#/experiments/{runs[version.run_id].info.experiment_id}/runs/{version.run_id}"
            if server.startswith(("http://", "https://"))
            else "",
        )
        for version, alias in found
        if version.run_id in runs
    ]
