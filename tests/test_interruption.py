"""A command that is told to stop ends its runs as KILLED and keeps what was finished."""

import os
import shutil
import signal
import subprocess
import sys
import time

import mlflow
import pytest
from conftest import PROJECT


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_leaves_no_run_running(sent, tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    shutil.copytree(PROJECT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tune = [sys.executable, "-m", "mlproject", "tune", "--data", "synthetic", "--experiment", "fashion-mnist-mlp"]
    process = subprocess.Popen(
        [*tune, "--budget-minutes", "10", "--max-trials", "50"],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_URI": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:  # the second trial is then under way
        lines.append(line)
        if "trial-01" in line:
            break
    assert process.poll() is None, "".join(lines)
    time.sleep(0.5)
    process.send_signal(sent)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in rest, rest

    experiments = [one.experiment_id for one in mlflow.MlflowClient(uri).search_experiments()]
    runs = mlflow.MlflowClient(uri).search_runs(experiments)
    status = {run.info.run_name: run.info.status for run in runs}
    assert status["trial-01"] == "FINISHED" and status["fashion-mnist-mlp-synthetic"] == "KILLED"
    assert set(status.values()) <= {"FINISHED", "KILLED"}
