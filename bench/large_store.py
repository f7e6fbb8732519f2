"""Measure how long commands take on a store with many runs, such as a team's.

    python bench/large_store.py sqlite:////tmp/large/mlflow.db          (3 minutes on 2 cores)
    python bench/large_store.py http://127.0.0.1:5000 --database postgresql+psycopg://mlflow@127.0.0.1/mlflow

The first run trains one model with synthetic data, which the report shows. Then it fills the database with `--runs` runs in
`--experiments` MLflow experiments, written as MLflow writes them, but without artifacts: in each experiment searches of 8 trials
and a final run that registers a version. `--ours` of the experiments are this project's. The others have the same runs without
the tags by which this project knows its own. Later runs of the benchmark only measure.

The table has the medians of three calls in one process, and of three whole commands, whose start takes the seconds in the row
"mlproject --help": seconds by the clock, and CPU-seconds (of the caller, not of a server). For the calls on a server, it also has
the number of requests and the kilobytes of the answers; those of whole commands are not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlproject import process, tracking
from mlproject.location import canonical, database_of

import pandas as pd
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlModelVersionTag,
    SqlRegisteredModel,
    SqlRegisteredModelAlias,
)
from mlflow.store.tracking.dbmodels.models import (
    SqlExperiment,
    SqlExperimentTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from sqlalchemy import create_engine, insert
from sqlalchemy.orm import Session
from traffic import Traffic

PROJECT = Path(__file__).resolve().parent.parent
REAL = "fashion-mnist-mlp"  # the experiment of the model with artifacts
TRIALS, PARAMS, METRICS = 8, 25, 15
FIRST = 1000  # the number of the first MLflow experiment that is written
BEGAN = 1_700_000_000_000  # milliseconds since 1970
Rows = dict[type, list[dict[str, Any]]]


def run_rows(experiment: int, name: str, role: str, search: str, ours: bool) -> tuple[str, Rows]:
    """A finished run's id and rows."""
    run_id = uuid.uuid4().hex
    tags = {"mlflow.runName": f"{name} {role}", "mlflow.user": "alice", "mlflow.source.type": "LOCAL"}
    if ours:
        tags |= {"role": role, "search": search, "experiment": name, "seed": "0", "data": "real"}
        tags |= {"git.commit": "0" * 40, "host": "a host of somebody else", "process": "1 1"}
    metrics = [{"key": f"metric_{n}", "value": n / 10, "run_uuid": run_id, "timestamp": BEGAN} for n in range(METRICS)]
    params = {"budget_minutes": "15.0"} | {f"parameter_{n}": "a value" for n in range(PARAMS - 1)}
    run = {"run_uuid": run_id, "name": f"{name} {role}", "status": "FINISHED", "start_time": BEGAN, "end_time": BEGAN}
    run |= {"experiment_id": experiment, "artifact_uri": f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"}
    return run_id, {
        SqlRun: [run | {"lifecycle_stage": "active", "source_type": "LOCAL", "user_id": "alice"}],
        SqlTag: [{"key": key, "value": value, "run_uuid": run_id} for key, value in tags.items()],
        SqlParam: [{"key": key, "value": value, "run_uuid": run_id} for key, value in params.items()],
        SqlMetric: metrics,
        SqlLatestMetric: metrics,
    }


def version_rows(name: str, number: int, run_id: str, ours: bool) -> Rows:
    """A registered version's rows."""
    tags = {"experiment": name, "comparison": name, "dataset.digest": "d", "question": "Which one?"} if ours else {}
    version = {"name": name, "version": number, "run_id": run_id, "source": f"models:/m-{run_id}"}
    return {
        SqlModelVersion: [version | {"creation_time": BEGAN, "description": "A model card. " * 100}],
        SqlModelVersionTag: [{"name": name, "version": number, "key": key, "value": tags[key]} for key in tags],
    }


def experiment_tags(experiment: int, searches: int) -> list[dict[str, Any]]:
    """The tags with which this project describes an MLflow experiment, of about their usual size."""
    tags = {
        "mlproject": "true",
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.note.content": "A line. " * 100,
    }
    tags |= {f"mlflow.sharedViewState.{n}": json.dumps({"columns": ["metrics.`value`"] * 40}) for n in range(searches)}
    return [{"key": key, "value": value, "experiment_id": experiment} for key, value in tags.items()]


def experiment_rows(experiment: int, runs: int, ours: bool) -> Iterator[Rows]:
    """The rows of an MLflow experiment with its searches and its registered model."""
    name = f"experiment-{experiment:04}"
    location = f"mlflow-artifacts:/{experiment}"
    searches = runs // (TRIALS + 2)
    yield {
        SqlExperiment: [
            {"experiment_id": experiment, "name": name, "artifact_location": location, "lifecycle_stage": "active"}
        ]
    }
    yield {SqlExperimentTag: experiment_tags(experiment, searches) if ours else []}
    yield {SqlRegisteredModel: [{"name": name, "creation_time": BEGAN}]}
    for number in range(1, searches + 1):
        search = uuid.uuid4().hex
        for role in ["search", *["trial"] * TRIALS]:
            yield run_rows(experiment, name, role, search, ours)[1]
        final, rows = run_rows(experiment, name, "final", search, ours)
        yield rows
        yield version_rows(name, number, final, ours)
    yield {SqlRegisteredModelAlias: [{"name": name, "alias": "champion", "version": searches}]}


def fill(database: str, experiments: int, runs: int, ours: int) -> None:
    """Write the runs into an MLflow database, except those of experiments that an earlier run has written."""
    engine = create_engine(database)
    with Session(engine) as session:
        for number in range(experiments):
            if session.get(SqlExperiment, FIRST + number):
                continue
            rows: Rows = {}
            for some in experiment_rows(FIRST + number, runs // experiments, number < ours):
                for table, more in some.items():
                    rows.setdefault(table, []).extend(more)
            for table, all_rows in rows.items():
                if all_rows:
                    session.execute(insert(table), all_rows)
            session.commit()
    engine.dispose()


def train_one(folder: Path) -> None:
    """Train and register the model with artifacts, unless it is in the store."""
    tracking.connect()
    if not any(model.name.startswith(REAL) for model in tracking.final_models()):
        command(folder, "tune", REAL, "--data", "synthetic", "--budget-minutes", "0.3")


def command(folder: Path, *words: str) -> None:
    """Run a command of this project."""
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_EXPERIMENT_ID"}
    done = subprocess.run(
        [sys.executable, "-m", "mlproject", *words], cwd=folder, env=inherited, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"mlproject {' '.join(words)}: {done.stderr}")


def cpu_seconds() -> float:
    """The CPU-seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def measured(calls: dict[str, Callable[[], object]], rounds: int = 3) -> pd.DataFrame:
    """A row for each call."""
    traffic, rows = Traffic(), []
    for name, call in calls.items():
        clocks = []
        for _ in range(rounds):
            traffic.clear()
            began = time.monotonic(), cpu_seconds()
            call()
            clocks.append((time.monotonic() - began[0], cpu_seconds() - began[1]))
        seconds, cpu = map(statistics.median, zip(*clocks, strict=True))
        row = {"": name, "seconds": seconds, "CPU-seconds": cpu}
        rows.append(row | {"requests": traffic.requests, "KB": traffic.received / 1000})
    return pd.DataFrame(rows)


def main() -> None:
    """Fill the store if needed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="the address of an SQLite file, or of a running MLflow server")
    parser.add_argument("--database", help="the database behind the server")
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--ours", type=int, default=200, help="how many of the experiments are of this project")
    options = parser.parse_args()
    file, store = database_of(options.store), canonical(options.store)
    if not file and not options.database:
        parser.error("argument --database is needed with a server: the address of the database behind it")
    os.environ["MLFLOW_TRACKING_URI"] = store
    with tempfile.TemporaryDirectory() as temporary:
        folder = file.parent if file else Path(temporary)  # beside a file are the artifacts
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        if not (folder / "experiments").exists():
            (folder / "experiments").symlink_to(PROJECT / "experiments")
        train_one(folder)
        fill(options.database or store, options.experiments, options.runs, options.ours)
        (real,) = [model for model in tracking.final_models() if model.name.startswith(REAL)]
        table = measured(
            {
                "connect": tracking.connect,
                "find a search": lambda: tracking.find_run("missing", "search"),
                "read one model": lambda: tracking.final_model(real.name),
                "read the champions": tracking.final_models,
                "read all versions": lambda: tracking.final_models(which="all"),
                "mlproject --help": lambda: command(folder, "--help"),
                "mlproject list": lambda: command(folder, "list"),
                "mlproject list --all": lambda: command(folder, "list", "--all"),
                "mlproject report, one model": lambda: command(folder, "report", "--models", real.name),
            }
        )
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
