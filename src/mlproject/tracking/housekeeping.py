"""Finds what may be deleted from a store, and deletes it."""

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Experiment, Run, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from mlproject.location import database_of
from mlproject.tracking import permissions, store
from mlproject.tracking.abandoned import is_of_this_project
from mlproject.tracking.database import local_folder
from mlproject.tracking.queries import find_existing_run, search_runs

DAY = 86_400_000  # milliseconds
MODELS = "models"  # where MLflow keeps logged models, beside the runs of an experiment
TRACES = "traces"  # where it keeps those of language models, which are no leftovers


@dataclass(frozen=True)
class Prunable:
    """What may be deleted.

    Attributes:
        trials: runs of old trials whose search's model has no alias any more.
        project_runs: runs that `mlflow run` made for commands of this project that failed.
        folders: local folders of artifacts whose run or model is not in the store.
    """

    trials: Sequence[Run]
    project_runs: Sequence[Run]
    folders: Sequence[Path]


def find_prunable(days: int) -> Prunable:
    """Look through the store.

    Args:
        days: how old a trial must be.

    Returns:
        What may be deleted. Nothing is deleted yet.
    """
    client = mlflow.MlflowClient()
    latest_end = int(1000 * time.time()) - days * DAY
    searches_with_alias = _searches_with_alias(client)
    our_trials = "tags.role = 'trial' and tags.search LIKE '%'"  # another program's runs may have roles, too
    trials = search_runs(f"{our_trials} and attributes.end_time < {latest_end}")
    project_runs = [
        run
        for status in ("FAILED", "KILLED")
        for run in search_runs(f"attributes.status = '{status}'")
        if MLFLOW_PROJECT_ENTRY_POINT in run.data.tags and "role" not in run.data.tags and is_of_this_project(run)
    ]
    experiments = store.iterate_pages(client.search_experiments, view_type=ViewType.ALL)
    return Prunable(
        [run for run in trials if run.data.tags["search"] not in searches_with_alias],
        project_runs,
        [folder for experiment in experiments for folder in _unknown_folders(client, experiment)],
    )


def delete(prunable: Prunable) -> int:
    """Delete what was found. Runs can be restored until `mlflow gc` removes them; folders cannot.

    Args:
        prunable: what `find_prunable` returned.

    Returns:
        How many runs stay, because they belong to other users of a server.
    """
    runs, deleted = (*prunable.trials, *prunable.project_runs), 0
    for run in runs:
        with permissions.ignore_denial():
            mlflow.MlflowClient().delete_run(run.info.run_id)
            deleted += 1
    for folder in prunable.folders:
        with contextlib.suppress(FileNotFoundError):  # another process deletes it at the same time
            shutil.rmtree(folder)
    return len(runs) - deleted


def folder_bytes(folders: Sequence[Path]) -> int:
    """The size of all files in folders."""
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def _searches_with_alias(client: mlflow.MlflowClient) -> set[str]:
    """The searches whose model has an alias, by the ids in their runs' tag "search"."""
    versions = [
        client.get_model_version(model.name, version)
        for model in store.iterate_pages(client.search_registered_models)
        for version in set(model.aliases.values())
    ]
    runs = [find_existing_run(version.run_id) for version in versions if version.run_id]
    return {run.data.tags.get("search", "") for run in runs if run}


def _unknown_folders(client: mlflow.MlflowClient, experiment: Experiment) -> list[Path]:
    """The folders beside an experiment's artifacts whose run or model is not in the store, not even as a deleted one.

    Only those of an SQLite store that is alone in its folder: artifacts may belong to another store beside it, and behind a
    server to anybody.
    """
    database = database_of(mlflow.get_tracking_uri())
    root = local_folder(experiment.artifact_location)
    if root is None or database is None or list(database.parent.glob("*.db")) != [database]:
        return []
    # Listed before the runs and models, so that it has no folder of a run that begins meanwhile.
    folders = [path for path in (*root.glob("*"), *root.glob(f"{MODELS}/*")) if path.is_dir()]
    experiment_ids = [experiment.experiment_id]
    runs = store.iterate_pages(client.search_runs, experiment_ids=experiment_ids, run_view_type=ViewType.ALL)
    models = store.iterate_pages(client.search_logged_models, experiment_ids=experiment_ids)
    known = {run.info.run_id for run in runs} | {MODELS, TRACES} | {f"{MODELS}/{model.model_id}" for model in models}
    return sorted(path for path in folders if path.relative_to(root).as_posix() not in known)
