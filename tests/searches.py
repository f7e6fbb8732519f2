"""Searches with the real Keras Tuner and a real store, for the tests of everything that a search does."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from mlproject import tracking
from mlproject.objectives import OBJECTIVES
from mlproject.search import fingerprint
from mlproject.search.journal import open_journal
from mlproject.search.search import search
from mlproject.settings import Settings
from mlproject.training.fit import FitResult

CLOCKS = ["seconds", "minutes", "ms_per_image"]  # columns of the trials that differ from search to search


def journal_of(task, name="tiny"):
    return open_journal(Path("searches"), name, fingerprint.take(task, {}, tracking.address()))


def run_search(task, tuner="random", seconds=600, max_trials=3, name="tiny", pool=None, **options):
    """Run a search or go on with it; returns its result and the runs of its trials. A pool of workers trains them."""
    settings = Settings(tuner=tuner, budget_minutes=seconds / 60, max_trials=max_trials, data="synthetic", **options)
    with (
        journal_of(task, name) as journal,
        tracking.run("search", {"role": "search", "search": journal.search}) as parent,
    ):
        found = search(task, journal, settings, pool)
    runs = mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{parent}'", order_by=["attributes.start_time"])
    return found, runs


def arrays_of(run_id, path="evaluation/validation.npz"):
    """The arrays in a file of a run, by default the predictions with which trials are compared."""
    return np.load(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{path}"))


def fit_result(accuracy, images=150, classes=10):
    """A result of a fit, for tests that leave out training. All images are predicted with equal probabilities."""
    scores = dict.fromkeys(OBJECTIVES, accuracy)
    history = pd.DataFrame([{"epoch": 1, "stage": "training", "seconds": 0.0} | scores])
    return FitResult(history, {"training": 1.0}, False, np.ones((images, classes), np.float32))


def interrupted_like(whole, times, make_task, tuner="random", **options):
    """Run a search that is interrupted so many times; it must find the trials of the whole one. As `run_search`."""
    for _ in range(times):
        with pytest.raises(KeyboardInterrupt):
            run_search(make_task(), tuner, name="interrupted", **options)
    found, runs = run_search(make_task(), tuner, name="interrupted", **options)
    pd.testing.assert_frame_equal(found.trials.drop(columns=CLOCKS), whole.trials.drop(columns=CLOCKS))
    return found, runs
