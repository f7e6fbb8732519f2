"""Helpers of the benchmarks: a search, and a whole `tune` with a store of its own."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlproject import budget, tracking
from mlproject.search import fingerprint
from mlproject.search.journal import Journal, open_journal
from mlproject.search.result import SearchResult
from mlproject.search.search import search
from mlproject.settings import Settings
from mlproject.task import Task

import mlflow
import pandas as pd

PROJECT = Path(__file__).resolve().parent.parent
JOURNALS = Path(".mlproject", "benches")
TUNE = ("-m", "mlproject", "tune")  # the arguments of Python that run `tune`


@contextlib.contextmanager
def store() -> Iterator[None]:
    """Work in an empty folder with its own MLflow store, and delete both at the end of the `with` block."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update(_own_store(Path(folder)))
        try:
            tracking.use_comparison(tracking.connect(), "bench")
            yield
        finally:
            os.chdir(before)


def _own_store(folder: Path) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}


def tune(
    experiment: str, folder: Path, *arguments: str, data_dir: str | None, program: Sequence[str | Path] = TUNE
) -> dict:
    """The arguments of `subprocess` that run `tune` for one experiment in an empty folder, which also holds its store.

    Another `program` with the same options can take the place of `tune`.
    """
    (folder / "experiments").symlink_to(PROJECT / "experiments")
    command = [sys.executable, *program, "--experiment", experiment, *arguments]
    command += ["--data-dir", str(Path(data_dir).resolve()) if data_dir else ""]
    # MLflow names there the experiment of this process, which the other store lacks.
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_EXPERIMENT_ID"}
    return {"args": command, "cwd": folder, "env": inherited | _own_store(folder), "stdout": subprocess.DEVNULL}


def runs_of(call: Mapping) -> pd.DataFrame:
    """All runs in the store of a finished call of `tune`. The store in use stays the same."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(call["env"]["MLFLOW_TRACKING_URI"])
    try:
        return mlflow.search_runs(search_all_experiments=True)
    finally:
        mlflow.set_tracking_uri(before)


def settings_of(task: Task, tuner: str, search_seconds: float, **options: Any) -> Settings:
    """The settings of a search with the given seconds for its trials; `options` are other fields of `Settings`."""
    minutes = search_seconds / budget.SEARCH_SHARE / 60
    return Settings(tuner=tuner, budget_minutes=minutes, seed=task.seed, data=task.data_kind, **options)


def searched(task: Task, name: str, settings: Settings) -> tuple[SearchResult, Journal]:
    """Run a whole search, tracked as usual, or continue an interrupted one."""
    with open_journal(JOURNALS, name, fingerprint.take(task, settings.deciding, tracking.address())) as kept:
        parent = tracking.find_run(kept.search, "search")
        if kept.trials and parent is None:  # its runs were deleted
            kept.restart()
        with tracking.run(name, {"role": "search", "search": kept.search}, resume=parent):
            tracking.log_params(settings.deciding)
            return search(task, kept, settings), kept


def finished(made_by: Mapping[str, object]) -> pd.DataFrame:
    """The finished runs of the active comparison (MLflow's *experiment*) that have these parameters."""
    same = [f"params.{name} = '{value}'" for name, value in made_by.items()]
    return mlflow.search_runs(filter_string=" AND ".join([*same, "attributes.status = 'FINISHED'"]))
