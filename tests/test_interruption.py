"""A command that is interrupted or killed loses no finished work, and continues when it is started again."""

import os
import shlex
import shutil
import signal
import subprocess
import sys

import mlflow
from conftest import PROJECT, command
from torture import torture

# A deterministic search is planned without a clock, so it has three trials on any machine.
SMALL = ["--data", "synthetic", "--experiment", "fashion-mnist-mlp", "--deterministic", "true"]
SMALL += ["--budget-minutes", "0.3", "--max-trials", "3"]


def test_a_stopped_search_says_how_to_go_on_and_does(tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    shutil.copytree(PROJECT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "mlproject", "tune", *SMALL],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_URI": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:  # stop reading when the second trial is running
        lines.append(line)
        if "trial-01" in line:
            break
    assert process.poll() is None, "".join(lines)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "interrupted" in rest, (process.returncode, rest)
    assert _runs(uri)["trial-01"] == ["FINISHED"] and _runs(uri)["search"] == ["KILLED"]
    assert set(sum(_runs(uri).values(), [])) <= {"FINISHED", "KILLED"}

    (again,) = [line for line in rest.splitlines() if line.startswith("to go on: ")]
    program, *words = shlex.split(again.removeprefix("to go on: "))
    assert program == "mlproject"
    done = command(*words, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0 and "goes on after 1 trials" in done.stdout, done.stdout + done.stderr
    runs = _runs(uri)
    assert runs["search"] == runs["trial-01"] == runs["trial-03"] == runs["final"] == ["FINISHED"]


def _runs(uri):
    """The statuses of all runs, by their trial or role."""
    client, states = mlflow.MlflowClient(uri), {}
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        states.setdefault(run.data.tags.get("trial", run.data.tags["role"]), []).append(run.info.status)
    return states


def test_killed_at_any_moment_a_search_comes_to_its_one_right_end(tmp_path):
    before = mlflow.get_tracking_uri()
    try:
        counts = torture(tmp_path, kills=1, seed=6, per_round=1)
    finally:
        mlflow.set_tracking_uri(before)
    assert counts["kills"] == 1
