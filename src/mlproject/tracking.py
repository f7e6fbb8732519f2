"""Everything that is kept: runs, artifacts, the registry. The only module that imports mlflow."""

import contextlib
import json
import logging
import os
import re
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType

import keras
import mlflow
import mlflow.keras
import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import (
    MLFLOW_PROJECT_ENTRY_POINT,
    MLFLOW_PROJECT_ENV,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

from mlproject import process
from mlproject.errors import StoreGoneError, UserError
from mlproject.outbox import Outbox

CHAMPION, CHALLENGER = "champion", "challenger"
DEFAULT_STORE = "sqlite:///mlflow.db"
SERVER_TIMEOUT = "10"  # seconds for a tracking server's answer; one retry at once, the outbox makes the others
INITIALISATION_TIMEOUT = 120  # seconds to wait for another process that makes the store
FAILURE, INTERRUPTED = "failure", "interrupted"  # the tag of a run that ended badly, and its value when it was told to
UNSEEN_SECONDS = 86_400  # after which a run of `mlflow run` on who knows which host is taken for dead
DEFAULT_EXPERIMENT_ID = "0"  # MLflow's experiment "Default", where `mlflow run` logs when it is not told otherwise


class Project:
    """The run that `mlflow run` opened for the whole command, if there is one. It is annotated, never logged into.

    `mlflow run` hands it down in MLFLOW_RUN_ID, and the first `start_run` would resume it; the runs of a search need a parent
    of their own, so the variable is taken out of the environment.
    """

    def __init__(self):
        self.run_id = os.environ.pop("MLFLOW_RUN_ID", None)
        self.experiment_id = os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        self.tags: dict[str, str] = {}

    def claim(self) -> None:
        """Say in its tags whose process it is, so that it can be ended for us should we not live to."""
        if self.run_id:
            for key, value in _owner().items():
                mlflow.MlflowClient().set_tag(self.run_id, key, value)
            self.tags = mlflow.get_run(self.run_id).data.tags

    @property
    def command(self) -> str | None:
        """How the command began, up to its parameters: `mlflow run . -e tune --env-manager local`; None without a run."""
        if not self.tags:
            return None
        entry, manager = self.tags.get(MLFLOW_PROJECT_ENTRY_POINT, "main"), self.tags.get(MLFLOW_PROJECT_ENV, "local")
        return f"mlflow run . -e {entry} --env-manager {manager}"

    def annotate(self, note: str) -> None:
        """Write `note` (Markdown) as the run's description."""
        if self.run_id:
            _log(self.run_id, tags={MLFLOW_RUN_NOTE: note})


def connect() -> Project:
    """Open the store named by MLFLOW_TRACKING_URI (default: mlflow.db in this folder) and try it by a write.

    Delivers what earlier processes could not. Raises UserError when the store cannot be reached or written.
    """
    global _outbox
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", SERVER_TIMEOUT)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    for noisy in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # their tracebacks; the outbox says it in a line
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    shown = _without_password(uri)
    if uri.startswith("sqlite:///"):
        _demand_writable(uri.removeprefix("sqlite:///"))
    try:
        if uri.startswith("sqlite:///"):
            _initialise(Path(uri.removeprefix("sqlite:///")))
        mlflow.set_tracking_uri(uri)
        mlflow.MlflowClient().set_experiment_tag(DEFAULT_EXPERIMENT_ID, "mlproject", "true")
        _outbox = Outbox(shown, _deliver, _passing)
        _outbox.recover()
    except Exception as error:  # a database driver, a socket or MLflow itself: whichever layer fails first
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"MLFLOW_TRACKING_URI={shown!r} cannot be used: {reason}; accepted: sqlite:///FILE in a writable folder, "
            "or the http address of a running MLflow server"
        ) from error
    project = Project()
    project.claim()
    _end_stale_runs(project)
    return project


def _without_password(uri: str) -> str:
    """The address for messages and reports."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def store() -> str:
    """The address of the store in use."""
    return mlflow.get_tracking_uri()


def _initialise(database: Path) -> None:
    """Make an empty store in one piece where there is none: MLflow's migrations, run by two processes at once, leave a ruin."""
    if database.exists() and database.stat().st_size:
        return
    with FileLock(f"{database}.lock", timeout=INITIALISATION_TIMEOUT):
        if database.exists() and database.stat().st_size:  # another process was first
            return
        part = database.with_name(f"{database.name}.{os.getpid()}.part")
        try:
            SqlAlchemyStore(f"sqlite:///{part}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
            os.replace(part, database)
        finally:
            part.unlink(missing_ok=True)


def _deliver(item: dict) -> None:
    """Deliver an item of the outbox: metrics, parameters and tags of a run, or its end. Twice does no harm."""
    client, run_id = mlflow.MlflowClient(), item["run_id"]
    if "status" in item:
        client.set_terminated(run_id, item["status"], item["end_time"])
    else:
        metrics = [Metric(*metric) for metric in item["metrics"]]
        params, tags = ([make(*pair) for pair in item[key]] for make, key in ((Param, "params"), (RunTag, "tags")))
        client.log_batch(run_id, metrics, params, tags)


def _passing(error: BaseException | None) -> bool:
    """Whether a failure of the store may be over soon: no connection, an overloaded server, a locked database, a full disk."""
    permanent = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError | PermissionError
    if isinstance(error, MlflowException) and error.get_http_status_code() in (429, 502, 503, 504):
        return True
    if error is None or isinstance(error, permanent | StoreGoneError):
        return False
    return isinstance(error, OSError) or _passing(error.__cause__ or error.__context__)


_outbox = Outbox(DEFAULT_STORE, _deliver, _passing)


def _demand_writable(database: str) -> None:
    path = Path(database)
    target = path if path.exists() else path.absolute().parent
    if not target.exists() or not os.access(target, os.W_OK):
        raise UserError(
            f"MLFLOW_TRACKING_URI='sqlite:///{database}' is not writable; accepted: a file in a writable folder"
        )


def choose_experiment(project: Project, name: str) -> None:
    """Log what follows into the MLflow experiment `name`, or into the one that `mlflow run --experiment-name` named."""
    if project.experiment_id not in (None, DEFAULT_EXPERIMENT_ID):
        _outbox.insist(lambda: mlflow.set_experiment(experiment_id=project.experiment_id))
    else:
        _outbox.insist(lambda: mlflow.set_experiment(name))


@contextmanager
def run(name: str, tags: Mapping[str, str], nested: bool = False, resume: str | None = None) -> Iterator[str]:
    """A run for the length of a `with`; gives its id.

    `resume` is the id of an earlier run to go on with, in its own MLflow experiment.
    An exception ends it as FAILED, an interruption, or the store's going away for good, as KILLED.
    """
    process.stop_if_told()
    labels = {**tags, **_owner()} | ({} if resume else {"git.commit": commit()})
    active = _outbox.insist(lambda: _start(name, labels, nested, resume))
    try:
        yield active.info.run_id
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt | SystemExit | StoreGoneError)
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        set_tags({FAILURE: INTERRUPTED if killed else reason})
        _end(RunStatus.KILLED if killed else RunStatus.FAILED)
        raise
    _end(RunStatus.FINISHED)


def _end(status: int) -> None:
    """End the active run, or see to it that it will be ended when the store answers again."""
    end = {"run_id": mlflow.active_run().info.run_id, "status": RunStatus.to_string(status)}
    end["end_time"] = int(1000 * time.time())
    try:
        mlflow.end_run(end["status"])
    except Exception as error:  # the run is no longer MLflow's active one even so
        if not _passing(error):
            raise
        _outbox.send(end)


def ender() -> Callable[[str], None]:
    """A function for any thread that ends the run now active as FAILED, for the reason it is given."""
    run_id = mlflow.active_run().info.run_id

    def end(reason: str) -> None:
        _log(run_id, tags={FAILURE: reason})
        status = RunStatus.to_string(RunStatus.FAILED)
        _outbox.send({"run_id": run_id, "status": status, "end_time": int(1000 * time.time())})

    return end


def _owner() -> dict[str, str]:
    """Tags that say whose run it is."""
    return {"host": process.host(), "process": process.identity()}


def _start(name: str, labels: Mapping[str, str], nested: bool, resume: str | None) -> mlflow.ActiveRun:
    if resume is None:
        return mlflow.start_run(run_name=name, nested=nested, tags=labels)
    mlflow.set_experiment(experiment_id=mlflow.get_run(resume).info.experiment_id)
    active = mlflow.start_run(resume, run_name=name, nested=nested, tags=labels)
    if FAILURE in active.data.tags:
        mlflow.delete_tag(FAILURE)
    return active


def find_run(search: str, role: str) -> str | None:
    """The id of the run with these tags; None when there is none."""
    found = _outbox.insist(lambda: _runs(f"tags.search = '{search}' and tags.role = '{role}'"))
    return found[0].info.run_id if found else None


def settle_trials(search: str, ended: Mapping[str, str]) -> None:
    """Give the runs of a search's trials the status they should have: that in `ended`, by run id, or else no longer RUNNING."""

    def settle() -> None:
        for trial in _runs(f"tags.search = '{search}' and tags.role = 'trial'"):
            if trial.info.run_id in ended:
                _close(trial, ended[trial.info.run_id])
            elif trial.info.status == "RUNNING":
                _close(trial, "KILLED")

    _outbox.insist(settle)


def end_own_runs() -> None:
    """End whatever this process left RUNNING: an interruption can come at a moment when nothing else would.

    Should the store not answer, it is left to the next start.
    """
    with contextlib.suppress(Exception):
        while mlflow.active_run():
            mlflow.end_run("KILLED")
        for one in _runs("attributes.status = 'RUNNING'"):
            if one.data.tags.items() >= _owner().items():
                _close(one, "KILLED")


def _end_stale_runs(project: Project) -> None:
    """End the runs that our processes on this host left RUNNING when they were killed. Those of other hosts are left alone."""
    stale = [one for one in _runs("attributes.status = 'RUNNING'") if one.info.run_id != project.run_id and _stale(one)]
    for one in stale:
        _close(one, "KILLED")
    if stale:
        print(f"{len(stale)} runs of ours were left running by killed processes: ended", flush=True)


def _stale(found: mlflow.entities.Run) -> bool:
    tags = found.data.tags
    if {"host", "process"} <= tags.keys():
        return tags["host"] == process.host() and not process.alive(tags["process"])
    # `mlflow run` was killed, or its environment could not be made, before our command could put its tags on the run.
    if tags.get(MLFLOW_SOURCE_TYPE) != "PROJECT" or not _names_this_folder(tags.get(MLFLOW_SOURCE_NAME, "")):
        return False
    began = found.info.start_time / 1000
    seen = mlflow.get_tracking_uri().startswith("sqlite") and not process.mlflow_run_since(began)
    return seen or time.time() - began > UNSEEN_SECONDS


def _names_this_folder(source: str) -> bool:
    return Path(source.removeprefix("file://").partition("#")[0]) == Path.cwd()


def _close(found: mlflow.entities.Run, status: str) -> None:
    """Give a run that is not the active one its last status."""
    client = mlflow.MlflowClient()
    if found.info.status != status:
        client.set_terminated(found.info.run_id, status)
    if status == "KILLED":
        client.set_tag(found.info.run_id, FAILURE, INTERRUPTED)
    elif found.data.tags.get(FAILURE) == INTERRUPTED:
        client.delete_tag(found.info.run_id, FAILURE)


def _runs(query: str) -> list[mlflow.entities.Run]:
    """All runs, in whatever MLflow experiment, that answer the query."""
    client = mlflow.MlflowClient()
    everywhere = [one.experiment_id for one in _pages(client.search_experiments)]
    return list(_pages(partial(client.search_runs, everywhere, query)))


def log_params(params: Mapping[str, object]) -> None:
    """Log parameters of the active run."""
    _log(params=params)


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Log finite numbers as metrics of the active run, all at one step."""
    _log(metrics=metrics, step=step)


def set_tags(tags: Mapping[str, object]) -> None:
    """Set tags of the active run."""
    _log(tags=tags)


def note(text: str) -> None:
    """Describe the active run in Markdown; the UI shows it on the run's page."""
    _log(tags={MLFLOW_RUN_NOTE: text})


def _log(
    run_id: str | None = None,
    metrics: Mapping[str, float] = MappingProxyType({}),
    params: Mapping[str, object] = MappingProxyType({}),
    tags: Mapping[str, object] = MappingProxyType({}),
    step: int | None = None,
) -> None:
    """Send values of a run (the active one) to the store; they carry the time of now, whenever they arrive."""
    now = int(1000 * time.time())
    _outbox.send(
        {
            "run_id": run_id or mlflow.active_run().info.run_id,
            "metrics": [(name, float(value), now, step or 0) for name, value in metrics.items()],
            "params": [(name, str(value)) for name, value in params.items()],
            "tags": [(name, str(value)) for name, value in tags.items()],
        }
    )


def log_table(table: pd.DataFrame, path: str) -> None:
    """Log a table as the CSV artifact `path`."""
    _outbox.insist(lambda: mlflow.log_text(table.to_csv(index=False), path))


def log_json(path: str, content: Mapping[str, object]) -> None:
    """Log a mapping as the JSON artifact `path`."""
    _outbox.insist(lambda: mlflow.log_dict(dict(content), path))


def log_figure(figure, path: str) -> None:
    """Log a matplotlib figure as the PNG artifact `path`."""
    _outbox.insist(lambda: mlflow.log_figure(figure, path, save_kwargs={"dpi": 110, "bbox_inches": "tight"}))


def log_arrays(path: str, **arrays: np.ndarray) -> None:
    """Log named arrays as one compressed .npz artifact `path`."""
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, name)
        np.savez_compressed(file, **arrays)
        _outbox.insist(lambda: mlflow.log_artifact(file, folder))


def log_folder(folder: Path, path: str) -> None:
    """Log all files below `folder` as artifacts below `path`."""
    _outbox.insist(lambda: mlflow.log_artifacts(str(folder), path))


def log_dataset(name: str, digest: str, source: str, images: np.ndarray, labels: np.ndarray, context: str) -> None:
    """Log images and labels as the run's input in `context` ("training", "testing"): shapes, digest, source; no pixels.

    `source` is the path or URL they came from; anything else (the seed of synthetic data) is kept as the tag "source".
    """
    known = source if Path(source).exists() or "://" in source else None
    with warnings.catch_warnings(
        action="ignore"
    ):  # MLflow has two classes for a local path and warns that it takes one
        dataset = mlflow.data.from_numpy(images, source=known, targets=labels, name=name, digest=digest[:36])
    _outbox.insist(lambda: mlflow.log_input(dataset, context=context, tags={"source": source[:500]}))


def register(
    model: keras.Model, name: str, class_names: Sequence[str], example: np.ndarray, tags: Mapping[str, str]
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

    version = _outbox.insist(log_once)
    _outbox.insist(describe)
    return version


def version_of(name: str, run_id: str) -> int | None:
    """The registered version of the model `name` that a run made; None when it made none."""
    return _outbox.insist(lambda: _version_of(name, run_id))


def _version_of(name: str, run_id: str) -> int | None:
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return int(found[0].version) if found else None


def load(final: "FinalModel") -> tuple[keras.Model, list[str]]:
    """A registered model and its classes' names."""
    uri = f"models:/{final.name}/{final.version}"
    metadata = _outbox.insist(lambda: mlflow.models.get_model_info(uri).metadata)
    return _outbox.insist(lambda: mlflow.keras.load_model(uri)), json.loads(metadata["class_names"])


def promote(name: str, version: int) -> str:
    """Give `version` the alias champion if it wins on validation data, else challenger; gives the alias.

    It wins when there is no champion yet, or when its run's val_accuracy is the higher one on the same data set: accuracies on
    different data say nothing of who is better.
    """
    return _outbox.insist(lambda: _promote(name, version))


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
    accuracies = [mlflow.get_run(version.run_id).data.metrics["val_accuracy"] for version in (challenger, champion)]
    return (
        challenger.tags.get("dataset.digest") == champion.tags.get("dataset.digest") and accuracies[0] > accuracies[1]
    )


def _holder(name: str, alias: str):
    """The model version that holds the alias; None when none does."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if _passing(error):
            raise
        return None


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
        return _outbox.insist(lambda: self._download(path))

    def _download(self, path: str) -> Path | None:
        if path not in self._listed(os.path.dirname(path)):
            return None
        return Path(mlflow.artifacts.download_artifacts(run_id=self.run_id, artifact_path=path))

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._folders:
            items = mlflow.MlflowClient().list_artifacts(self.run_id, folder or None)
            self._folders[folder] = frozenset(item.path for item in items)
        return self._folders[folder]

    @cached_property
    def _folders(self) -> dict[str, frozenset[str]]:
        # A server answers a listing in tens of milliseconds, and a report asks for a dozen files in three folders.
        return {}


def final_models(selectors: Sequence[str] = (), comparisons: Sequence[str] = ()) -> list[FinalModel]:
    """Registered versions that carry our tag `experiment`, by name: every champion, or those selected.

    A selector is `name` (its champion), `name@alias` or `name/version`. `comparisons`: only versions of these. The same few
    queries are made however many models there are.
    Raises UserError for a selector or a comparison that matches nothing.
    """
    return _outbox.insist(lambda: _final_models(selectors, comparisons))


def _final_models(selectors: Sequence[str], comparisons: Sequence[str]) -> list[FinalModel]:
    client = mlflow.MlflowClient()
    registered = {model.name: model for model in _pages(client.search_registered_models, max_results=1000)}
    versions: dict[str, dict[int, ModelVersion]] = {}
    for version in _pages(client.search_model_versions, max_results=1000):
        if "experiment" in version.tags:
            versions.setdefault(version.name, {})[int(version.version)] = version
    aliases = {
        name: {
            alias: int(number) for alias, number in registered[name].aliases.items() if int(number) in versions[name]
        }
        for name in sorted(versions)
    }
    if selectors:
        chosen = [_select(selector, versions, aliases) for selector in dict.fromkeys(selectors)]
    else:
        chosen = [(name, known[CHAMPION], CHAMPION) for name, known in aliases.items() if CHAMPION in known]
    found = [(versions[name][number], alias) for name, number, alias in dict.fromkeys(chosen)]
    return _with_runs(client, _of_comparisons(found, comparisons))


def _select(selector: str, versions: dict[str, dict], aliases: dict[str, dict[str, int]]) -> tuple[str, int, str]:
    """Name, version and alias ("" when chosen by number) of one selector."""
    name, at, alias = selector.partition("@")
    name, slash, number = (name, "", "") if at else selector.partition("/")
    if name not in versions:
        raise UserError(f"models={selector!r}: no such model; accepted: {', '.join(sorted(versions)) or 'none'}")
    known = aliases[name]
    if slash:
        if not number.isdecimal() or int(number) not in versions[name]:
            listed = ", ".join(f"{name}/{one}" for one in sorted(versions[name]))
            raise UserError(f"models={selector!r}: no such version; accepted: {listed}")
        return name, int(number), next((alias for alias, one in known.items() if one == int(number)), "")
    alias = alias or CHAMPION
    if alias not in known:
        listed = ", ".join([f"{name}@{one}" for one in known] + [f"{name}/{one}" for one in sorted(versions[name])])
        raise UserError(f"models={selector!r}: no version has the alias {alias!r}; accepted: {listed}")
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
        ids = [experiment.experiment_id for experiment in _pages(client.search_experiments, view_type=ViewType.ALL)]
        for start in range(0, len(wanted), 500):
            listed = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + 500])
            for run in client.search_runs(ids, f"attributes.run_id IN ({listed})", ViewType.ALL, max_results=500):
                runs[run.info.run_id] = run
    server = _without_password(mlflow.get_tracking_uri())
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


def _pages(query, **arguments):
    """All results of a paged query."""
    page = query(**arguments)
    yield from page
    while page.token:
        page = query(page_token=page.token, **arguments)
        yield from page


def commit() -> str:
    """The git commit of the working folder, with "+changes" when files differ from it; "unknown" outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed.strip() else "")
