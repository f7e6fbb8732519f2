"""Faults of the store: processes that create it at the same time, a lock, a full disk, a server that is killed."""

import errno
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import PROJECT
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from searches import arrays_of
from servers import Server
from sqlalchemy import event
from sqlalchemy.engine import Engine

from mlproject import tracking
from mlproject.errors import StoreGoneError
from mlproject.tracking import outbox as store_outbox
from mlproject.tracking.outbox import Outbox

# Processes that have imported everything and then, at the same moment, create or find the store, the tag that tests
# access to it, and in each round a comparison.
LOG = """
import multiprocessing, os, sys
import mlflow
from mlproject import tracking
from mlproject.tracking import store

processes, rounds = map(int, sys.argv[1:])
together = multiprocessing.Barrier(processes, timeout=300)
for number in range(processes):
    if os.fork() == 0:
        project = tracking.connect()
        for round in range(rounds):
            together.wait()
            store.connect()
            together.wait()
            tracking.use_comparison(project, f"tests {round}")
            with tracking.run(str(number), {"role": "test"}):
                for step in range(5):
                    tracking.log_metrics({"value": step}, step=step)
            if together.wait() == 0:
                mlflow.MlflowClient().delete_experiment_tag(store.DEFAULT_EXPERIMENT_ID, store.OUR_TAG)
        os._exit(0)
codes = [os.waitpid(-1, 0)[1] for _ in range(processes)]
sys.exit(any(codes))
"""


def environment(folder, **more):
    return os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"} | more


def history(run_id, key="value"):
    """A metric's values in the order of their steps."""
    return [metric.value for metric in mlflow.MlflowClient().get_metric_history(run_id, key)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_processes_make_one_store(tmp_path):
    # The first process is killed while it creates the store, so there is none.
    killed = subprocess.Popen(
        [sys.executable, "-c", LOG, "1", "1"], cwd=tmp_path, env=environment(tmp_path), start_new_session=True
    )
    while not list(tmp_path.glob("*.part")):
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "mlflow.db").exists()

    done = subprocess.run(
        [sys.executable, "-c", LOG, "4", "3"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*.part*"))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for round in range(3):
        runs = client.search_runs([client.get_experiment_by_name(f"tests {round}").experiment_id])
        assert sorted(run.info.run_name for run in runs) == list("0123")
        assert all(len(client.get_metric_history(run.info.run_id, "value")) == 5 for run in runs)


@pytest.fixture
def impatient_mlflow():
    """MLflow itself waits 20 seconds for a locked database; with this fixture it waits 0.05 seconds."""

    def sooner(connection, cursor, statement, parameters, context, many):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 50"), parameters

    event.listen(Engine, "before_cursor_execute", sooner, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", sooner)


def test_a_locked_database_delays_and_loses_nothing(store, impatient_mlflow, caplog):
    with tracking.run("search", {}) as run_id:
        tracking.log_metrics({"value": 0}, step=0)
        lock = sqlite3.connect(store.removeprefix("sqlite:///"), check_same_thread=False, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        tracking.log_metrics({"value": 1}, step=1)
    assert "database is locked" in caplog.text
    lock.execute("COMMIT")
    lock.close()
    assert tracking.find_run("none", "none") is None  # the next call delivers what waits
    assert history(run_id) == [0, 1] and mlflow.get_run(run_id).info.status == "FINISHED"


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 4 MB."""
    folder, before = tmp_path / "disk", Path.cwd()
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root and Linux")
    yield folder
    os.chdir(before)
    SqlAlchemyStore._engine_map.clear()
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Write a file until not one more byte fits, and return its path."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return folder / "filler"


def test_a_full_disk_ends_the_command_clearly_and_what_was_logged_stays(small_disk, new_store, monkeypatch, caplog):
    monkeypatch.chdir(small_disk)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_store(small_disk))
    monkeypatch.setenv("MLPROJECT_PATIENCE", "2")
    tracking.use_comparison(tracking.connect(), "tests")
    with tracking.run("finished", {}) as finished:
        tracking.log_metrics({"value": 0}, step=0)
    message = "mlflow.db has not answered for 2 seconds .*(full|No space)"
    with pytest.raises(StoreGoneError, match=message) as error, tracking.run("search", {}) as run_id:
        filler = fill(small_disk)
        for step in range(3):
            tracking.log_metrics({"value": step}, step=step)
        tracking.log_json("a.json", {})
    assert "training continues" in caplog.text and "kept in memory only" in caplog.text
    assert "\n" not in str(error.value)
    filler.unlink()
    assert history(finished) == [0] and mlflow.get_run(finished).info.status == "FINISHED"
    with tracking.run("next", {}) as following:
        tracking.log_metrics({"value": 1})
    assert history(following) == [1] and history(run_id) == [0, 1, 2]
    assert mlflow.get_run(run_id).info.status == "KILLED"


def test_a_temporary_folder_without_room_delays_a_file_and_loses_nothing(store, monkeypatch, caplog):
    save, full = np.savez_compressed, [OSError(errno.ENOSPC, "No space left on device")]

    def save_or_not(*given, **arrays):
        if full:
            raise full.pop()
        save(*given, **arrays)

    monkeypatch.setattr(np, "savez_compressed", save_or_not)
    with tracking.run("trial-01", {}) as run_id:
        tracking.log_arrays("evaluation/validation.npz", labels=np.arange(3))
    assert "No space left on device" in caplog.text
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    assert arrays_of(run_id)["labels"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("status, waits", [(403, False), (413, False), (429, True), (503, True)])
def test_a_server_that_refuses_a_file_is_not_waited_for(status, waits, tmp_path, monkeypatch):
    class Refusal(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(status)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("content")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        artifacts = HttpArtifactRepository(f"http://127.0.0.1:{proxy.server_port}/artifacts")
        with pytest.raises(Exception) as refused:
            artifacts.log_artifact(str(tmp_path / "file"))
        proxy.shutdown()
    assert tracking.store.is_transient(refused.value) is waits


def test_files_that_another_process_delivered_meanwhile_are_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    away, delivered = [OSError("away")] * 2, []

    def deliver(item):
        if away:
            raise away.pop()
        delivered.append(item["value"])
        for other in store_outbox.FOLDER.iterdir():  # so that the second file is gone when its turn comes
            other.unlink()

    def is_transient(error):
        return isinstance(error, OSError)

    for value in (1, 2):
        Outbox("store", deliver, is_transient).send({"value": value})
    assert len(list(store_outbox.FOLDER.iterdir())) == 2
    Outbox("store", deliver, is_transient).recover()
    assert len(delivered) == 1


def test_what_waits_for_a_deleted_run_does_not_fail_the_next_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store_outbox, "FIRST_PAUSE", 0.0)  # the store is asked again at once
    away, delivered = [OSError("away")], []

    def deliver(item):
        if away:
            raise away.pop()
        if item["run"] == "deleted":
            raise ValueError("no such run")
        delivered.append(item["value"])

    outbox = Outbox("store", deliver, lambda error: isinstance(error, OSError))
    outbox.send({"run": "deleted", "value": 1})
    with pytest.warns(UserWarning, match=r"store: values that waited cannot be delivered \(no such run\)"):
        outbox.send({"run": "other", "value": 2})
    assert delivered == [2] and not outbox.waiting and not outbox.path.exists()
    with pytest.raises(ValueError, match="no such run"):  # nobody else could tell of the failure of this write
        outbox.send({"run": "deleted", "value": 3})
    assert outbox.retry(lambda: "called") == "called"


@pytest.fixture
def server(tmp_path, new_store):
    folder = tmp_path / "server"
    folder.mkdir()
    new_store(folder, "server.db")
    before = mlflow.get_tracking_uri()
    server = Server(folder)
    server.start()
    yield server
    server.kill()
    mlflow.set_tracking_uri(before)


EXPERIMENT = """
import dataclasses, sys
sys.path.insert(0, TESTS)
from conftest import TINY
from mlproject.recipe import Recipe, Stage


def recipe(hp):
    return Recipe((Stage("training", hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"), max_epochs=30),), 64, "adamw")


EXPERIMENTS = [dataclasses.replace(TINY, recipe=recipe)]
"""


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_gets_everything(server, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="mlproject")
    (tmp_path / "experiments").mkdir()
    tests = repr(str(PROJECT / "tests"))
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT.replace("TESTS", tests))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    search = subprocess.Popen(
        [sys.executable, "-m", "mlproject", "tune", "--data=synthetic", "--budget-minutes=1.5", "--max-trials=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # This process gives up sooner than the search does.
    monkeypatch.setenv("MLPROJECT_PATIENCE", "2")
    mlflow.MlflowClient(server.address).delete_experiment(tracking.store.DEFAULT_EXPERIMENT_ID)  # as some teams do
    tracking.use_comparison(tracking.connect(), "impatient")
    with pytest.raises(StoreGoneError) as gone, tracking.run("impatient", {}) as impatient:
        tracking.log_metrics({"value": 0}, step=0)
        wait_for_metrics("final", search)  # a trial might end before the server is killed
        server.kill()
        for step in range(1, 4):
            tracking.log_metrics({"value": step}, step=step)
        tracking.log_json("a.json", {})
    kept = re.search(r"(\d+) values wait in ([^;]+)", str(gone.value))
    assert server.address in str(gone.value) and int(kept[1]) == 3
    # Three metrics, the reason of the failure, and the end of the run.
    assert len(Path(kept[2]).read_text().splitlines()) == 5

    server.start()
    tracking.connect()
    assert history(impatient) == [0, 1, 2, 3] and mlflow.get_run(impatient).info.status == "KILLED"
    assert not Path(kept[2]).exists()
    assert re.search(r"delivered \d values that an earlier run could not log", caplog.text)

    said, _ = search.communicate(timeout=900)
    assert search.returncode == 0, said
    assert said.count("does not answer") == 1 and "training continues" in said
    assert int(re.search(r"answers again; (\d+) values delivered", said)[1]) > 0
    runs = mlflow.search_runs(search_all_experiments=True)
    assert not runs["status"].isin(["RUNNING", "FAILED"]).any()
    trials = runs[runs["tags.role"] == "trial"]
    assert len(trials) == 1
    for run_id in trials["run_id"]:
        steps = [metric.step for metric in mlflow.MlflowClient().get_metric_history(run_id, "loss")]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 2
    assert [version.version for version in mlflow.MlflowClient().search_model_versions("name = 'tiny-synthetic'")] == [
        "1"
    ]


def wait_for_metrics(role, process):
    """Wait until the run of this role has logged an epoch."""
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        runs = mlflow.search_runs(search_all_experiments=True, filter_string=f"tags.role = '{role}'")
        if len(runs) and "metrics.loss" in runs:
            return
        time.sleep(0.2)
    raise AssertionError(f"{role} never trained: {process.stdout.read()}")
