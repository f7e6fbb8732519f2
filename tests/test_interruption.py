"""A command that is interrupted or killed loses no finished work, and continues when it is started again."""

import os
import shlex
import signal
import subprocess
import sys
import time

import mlflow
import pytest
from conftest import all_runs, command
from torture import EXPERIMENT, NAME, torture

# A deterministic search is planned without a clock, so it has three trials on any machine.
SMALL = ["--data", "synthetic", "--deterministic", "true", "--budget-minutes", "0.3", "--max-trials", "3"]


def test_a_search_that_is_stopped_and_then_killed_goes_on_to_its_end(tmp_path, new_store):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT)
    uri = new_store(tmp_path)

    stopped = _start(SMALL, tmp_path, uri)
    lines = []
    for line in stopped.stdout:  # stop reading when the second trial is running
        lines.append(line)
        if "trial-01" in line:
            break
    assert stopped.poll() is None, "".join(lines)
    stopped.send_signal(signal.SIGINT)
    rest, _ = stopped.communicate(timeout=300)
    assert stopped.returncode == 130 and "interrupted" in rest, (stopped.returncode, rest)
    assert _runs(uri)["trial-01"] == ["FINISHED"] and _runs(uri)["search"] == ["KILLED"]
    assert set(sum(_runs(uri).values(), [])) <= {"FINISHED", "KILLED"}

    (again,) = [line for line in rest.splitlines() if line.startswith("to go on: ")]
    program, *words = shlex.split(again.removeprefix("to go on: "))
    assert (program, words[0]) == ("mlproject", "tune")
    killed = _start(words[1:], tmp_path, uri)
    while not list(tmp_path.glob(f".mlproject/searches/{NAME}/*/checkpoint-0.npz")):  # the final fit is under way
        assert killed.poll() is None, killed.stdout.read()
        time.sleep(0.02)
    killed.kill()
    assert "goes on after 1 trial\n" in killed.communicate()[0]

    done = command(*words, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0 and "goes on after 3 trials" in done.stdout, done.stdout + done.stderr
    runs = _runs(uri)
    assert runs["search"] == runs["trial-01"] == runs["trial-03"] == runs["final"] == ["FINISHED"]
    client = mlflow.MlflowClient(uri)
    (final,) = client.search_runs([client.get_experiment_by_name("torture").experiment_id], "tags.role = 'final'")
    stages = [item.path for item in client.list_artifacts(final.info.run_id, "evaluation/stages")]
    assert stages == ["evaluation/stages/head.npz"]
    versions = client.search_model_versions(f"name = '{NAME}'")
    assert [int(version.version) for version in versions] == [1]


# The command of its arguments, killed where a function is called for the first time.
KILLED = """
import importlib, os, signal, sys
from mlproject.__main__ import run

name_of_module, name = sys.argv.pop(1).split(":")
module = importlib.import_module(name_of_module)
assert callable(getattr(module, name))
setattr(module, name, lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL))
run()
"""
PLACES = (
    "mlproject.search.trial_fit:_log_result",  # the first trial is trained, and nothing of its result is logged
    "mlproject.final.refit:plan_schedule",  # all trials are in the journal, and the final run is open
    "mlproject.final.refit:_log_scores",  # the model is registered, and its scores are not logged
    "mlproject.final.card:describe_version",  # the final fit is in the journal, and the version has its alias
    "mlproject.report.publish:publish",  # the search is complete, and there is no report
)


@pytest.mark.slow
def test_killed_between_two_writes_a_search_does_everything_once(tmp_path, new_store):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT)
    uri = new_store(tmp_path)
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri}
    for place in PLACES:
        words = [sys.executable, "-c", KILLED, place, "tune", *SMALL]
        killed = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
        assert killed.returncode == -signal.SIGKILL, (place, killed.stdout + killed.stderr)
    done = command("tune", *SMALL, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0 and "already complete" in done.stdout, done.stdout + done.stderr
    runs = _runs(uri)
    assert sorted(runs.pop("trial-01")) == ["FINISHED", "KILLED"]
    assert runs == dict.fromkeys(["trial-02", "trial-03", "search", "final", "report"], ["FINISHED"])

    client = mlflow.MlflowClient(uri)
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert {alias: int(number) for alias, number in client.get_registered_model(NAME).aliases.items()} == {
        "champion": int(version.version)
    }
    epochs = sorted(point.step for point in client.get_metric_history(version.run_id, "loss"))
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) >= 2  # the final fit was trained once
    assert not list(tmp_path.glob(".mlproject/searches/*/*/*.npz")) and (tmp_path / "reports" / "index.html").exists()


def _start(words, folder, uri):
    """Start `mlproject tune` with these words, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mlproject", "tune", *words],
        cwd=folder,
        env=os.environ | {"MLFLOW_TRACKING_URI": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _runs(uri):
    """The statuses of all runs, by their trial or role."""
    states = {}
    for run in all_runs(mlflow.MlflowClient(uri)):
        states.setdefault(run.data.tags.get("trial", run.data.tags["role"]), []).append(run.info.status)
    return states


@pytest.mark.slow
def test_killed_at_any_moment_a_search_comes_to_its_one_right_end(tmp_path):
    before = mlflow.get_tracking_uri()
    try:
        counts = torture(tmp_path, kills=1, seed=6, per_round=1)
    finally:
        mlflow.set_tracking_uri(before)
    assert counts["kills"] == 1
