"""Trials and final fits on the workers of a local Ray: what they find, log and survive."""

import dataclasses
import logging
import os
import pickle
import re
import signal
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import TINY, asked, tiny_build
from searches import CLOCKS, arrays_of, journal_of, run_search

from mlproject import tracking
from mlproject.cluster import parcel, worker
from mlproject.cluster import pool as pools
from mlproject.cluster.board import Post
from mlproject.cluster.pool import Lost, open_pool, require_ray
from mlproject.cluster.share import Share, gpus_per_worker
from mlproject.datasets import FashionMNIST
from mlproject.errors import UserError
from mlproject.final.seeds import make_final_model
from mlproject.search.search import search
from mlproject.settings import Settings

ASKED = {"tuner": "random", "deterministic": True, "prune": False}


@pytest.fixture(scope="module")
def pool():
    """Two workers with a core each."""
    pytest.importorskip("ray", reason="Ray is not installed: make cluster")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with open_pool(Settings(workers=2, **ASKED)) as workers:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield workers


@pytest.mark.slow
def test_workers_find_and_log_what_one_process_does(pool, make_task, store):
    alone, runs_alone = run_search(make_task(), max_trials=3, name="alone", **ASKED)
    beside, runs_beside = run_search(make_task(), max_trials=3, name="beside", pool=pool, workers=2, **ASKED)
    pd.testing.assert_frame_equal(beside.trials.drop(columns=CLOCKS), alone.trials.drop(columns=CLOCKS))
    assert beside.values == alone.values and beside.scores == pytest.approx(alone.scores, rel=1e-5)
    by_trial = [runs.set_index("tags.trial").sort_index() for runs in (runs_alone, runs_beside)]
    logged = [name for name in by_trial[0] if name.startswith(("params.", "tags.mlflow.runName", "status"))]
    logged += [
        name for name in by_trial[0] if name.startswith("metrics.") and "second" not in name and "ms_" not in name
    ]
    pd.testing.assert_frame_equal(by_trial[1][logged], by_trial[0][logged])
    client = mlflow.MlflowClient()
    for first, second in zip(*(runs["run_id"] for runs in by_trial), strict=True):
        curves = [client.get_metric_history(one, "val_accuracy") for one in (first, second)]
        values = [[(point.step, round(point.value, 5)) for point in curve] for curve in curves]
        assert values[0] == values[1] and len(values[0]) >= 2
        kept = [arrays_of(one) for one in (first, second)]
        np.testing.assert_array_equal(kept[0]["predictions"], kept[1]["predictions"])


def test_a_trial_whose_worker_is_killed_runs_again_and_counts_once(pool, make_task, store, monkeypatch):
    driver, killed = os.getpid(), Path.cwd() / "killed"

    def build(hp, spec):
        if os.getpid() != driver and hp.Int("width", 4, 16) != 8 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return tiny_build(hp, spec)

    shown, show = [], pool.show
    monkeypatch.setattr(pool, "show", lambda curves: (shown.append(curves), show(curves)))
    task = make_task(dataclasses.replace(TINY, name="killed", build=build))
    found, runs = run_search(task, max_trials=3, pool=pool, workers=2, **ASKED)
    assert shown[0] == []  # the curves of another experiment would prune trials of this one
    assert killed.exists() and list(found.trials["status"]) == ["completed"] * 3
    assert sorted(runs["status"]) == ["FINISHED"] * 3 + ["KILLED"]
    (lost,) = runs[runs["status"] == "KILLED"].to_dict("records")
    assert lost["tags.failure"].startswith("the worker was lost: ") and np.isnan(lost["metrics.val_accuracy"])
    assert not runs[runs["status"] == "FINISHED"].duplicated("tags.trial").any()
    with journal_of(task) as journal:
        assert sorted(trial.starts for trial in journal.trials) == [1, 1, 2]
        assert sorted(trial.ended for trial in journal.trials) == [1, 2, 3]


class HangingPool:
    """A pool with one worker, whose fits take a second, say that they hang, and end with their process."""

    local, size, nodes = True, 1, frozenset({"here"})

    def get_ready(self, task):
        pass

    def show(self, curves):
        pass

    def cancel(self, handles):
        pass

    def submit(self, function, task, name, *arguments):
        self.attempt = name
        return name

    def wait(self, handles, seconds):
        time.sleep(1)
        return [(handle, Lost("the process ended")) for handle in handles]

    def take_posts(self):
        return [Post(self.attempt, "here", {}, None, "no batch was finished")]


def test_the_seconds_of_a_trial_that_hangs_in_a_worker_count(make_task, store, caplog):
    with (
        caplog.at_level(logging.INFO, "mlproject"),
        pytest.raises(
            UserError, match="none of 1 trials was completed; the most frequent reason: no batch was finished"
        ),
    ):
        run_search(make_task(), max_trials=1, pool=HangingPool(), workers=2, **ASKED)
    (line,) = (line for line in caplog.messages if "failed: no batch was finished" in line)
    assert int(re.search(r"\((\d+) s\)", line)[1]) >= 1


def test_a_parcel_leaves_the_users_data_set_behind(make_task):
    """Its images travel by themselves, and it may hold what cannot be pickled: a reader of Parquet files has a lock."""
    pytest.importorskip("ray")
    data = FashionMNIST()
    data.lock = threading.Lock()
    packed = parcel.pack(make_task(dataclasses.replace(TINY, dataset=data)), Settings(), None, None, "", 1)
    assert len(packed.task) < 100_000 and pickle.loads(packed.task).experiment.name == "tiny"


def test_a_node_with_another_version_of_this_package_is_refused():
    of_another = parcel.Parcel("key", b"", None, None, "", 1, "float32", True, False, code="another")
    with pytest.raises(
        UserError, match=r"^the node .* has another version of mlproject \(\w+, the driver another\); acc"
    ):
        worker.unpack(of_another)


@pytest.mark.slow
def test_a_search_goes_on_with_the_trials_that_were_under_way(pool, make_task, store, monkeypatch):
    tuner = "hyperband"  # the Oracle whose state depends most on the order of asking and telling
    ended, take = [], pools.Pool.wait

    def interrupted(*given):
        ended.extend(done := take(*given))
        if ended and not done:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(pools.Pool, "wait", interrupted)
        run_search(make_task(), tuner, max_trials=5, pool=pool, workers=2)
    with journal_of(make_task()) as journal:
        before = {trial.name: (dict(trial.values), trial.run_id, trial.status) for trial in journal.trials}
    assert len(before) > len(ended)
    found, _ = run_search(make_task(), tuner, max_trials=5, pool=pool, workers=2)
    assert len(found.trials) == 5 and not found.trials.duplicated("trial").any()
    with journal_of(make_task()) as journal:
        for trial in journal.trials[: len(before)]:
            values, run_id, status = before[trial.name]
            assert trial.values == values and trial.starts == 1
            assert status == "running" or trial.run_id == run_id
    states = mlflow.search_runs(filter_string="tags.role = 'trial'")
    assert states["status"].value_counts().to_dict() == {"FINISHED": 5, "KILLED": len(before) - len(ended)}


@pytest.mark.slow
def test_final_fits_beside_each_other_are_those_of_one_process(pool, make_task, store):
    task, accuracies = make_task(), {}
    for name, workers in (("alone", None), ("beside", pool)):
        settings = Settings(budget_minutes=0.5, max_trials=1, data="synthetic", seeds="2", **ASKED)
        tags = {"role": "search", "search": name}
        with journal_of(task, name) as journal, tracking.run("search", tags):
            journal.search = name
            found = search(task, journal, settings, workers)
            journal.schedule = {"training": {"epochs": 2, "steps": 5}}
            model = make_final_model(task, found, journal, 10.0, {}, (0, 1), workers)
            assert not list(journal.path.parent.glob("checkpoint*"))
        finals = mlflow.search_runs(filter_string=f"tags.search = '{name}' and tags.seed LIKE '%'")
        assert list(finals["status"]) == ["FINISHED"] * 2 and model.seeds == 2
        accuracies[name] = finals.set_index("tags.seed")["metrics.test_accuracy"].sort_index()
    pd.testing.assert_series_equal(accuracies["alone"], accuracies["beside"])


def test_a_driver_without_fits_under_way_rests_before_it_looks_again(pool):
    began = time.monotonic()
    assert pool.wait([], 0.2) == [] and time.monotonic() - began >= 0.2


def test_what_cannot_work_is_refused_in_one_line(monkeypatch):
    for words in (["--tuner=bayesian", "--prune=false"], ["--tuner=random"]):
        with pytest.raises(
            UserError, match=r"deterministic=true with workers=2: .* accepted: tuner=random with prune=false"
        ):
            asked("--deterministic=true", "--workers=2", *words)
    with pytest.raises(UserError, match="'-1' is not accepted; accepted: a whole number from 1 to"):
        asked("--workers=-1")
    for address in ("127.0.0.1:1", "head", "ray://head:10001"):
        with (
            pytest.raises(UserError, match=f"ray='{address}': .*; accepted: HOST:PORT of a cluster"),
            open_pool(Settings(ray=address)),
        ):
            pass
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"workers=3 needs the package ray; accepted: .*make cluster.*-e '\.\[cluster\]'"
    ):
        require_ray(Settings(workers=3))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(UserError, match="ray=head:6379 needs the package ray"):
        require_ray(Settings())
    monkeypatch.delenv("RAY_ADDRESS")
    require_ray(Settings(workers=1))  # needs no Ray


def test_resources_are_divided_as_ray_accepts_them():
    assert [gpus_per_worker(*one) for one in ((0, 3), (4, 2), (3, 3), (1, 3), (2, 3))] == [0, 1, 1, 1 / 3, 1 / 2]
    assert Share(2, 0, 2).capacity({"CPU": 5.0}) == 2 and Share(1, 1 / 3, 0).capacity({"CPU": 8, "GPU": 1}) == 3
    assert Share(1, 1, 0).capacity({"CPU": 8}) == 0
