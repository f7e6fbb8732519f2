"""What the progress says: the place of an experiment in its command, and the minutes that are left."""

import dataclasses
import logging
import re

import pandas as pd
import pytest
from conftest import TINY
from searches import fit_result, run_search

from mlproject.budget import Demand, make_plan
from mlproject.final import refit
from mlproject.networks.cost import Throughput
from mlproject.place import Place
from mlproject.search import trial_fit
from mlproject.search.journal import Journal
from mlproject.search.result import SearchResult


def test_the_place_and_what_is_left_in_all_are_said_where_there_are_several_experiments():
    only, second, last = Place(), Place(2, 5, 4320.0), Place(5, 5)
    assert (only.prefix, second.prefix, last.prefix) == ("", "[2/5] ", "[5/5] ")
    assert only.time_left(545.0, 1440.0) == last.time_left(545.0, 1440.0) == "9.1 of 24 min left"
    assert second.time_left(545.0, 1440.0) == "9.1 of 24 min left, 81 for all experiments"
    assert second.time_left(720.0) == "12 min left, 84 in all"
    # What took too long is not the others' time.
    assert second.time_left(-60.0, 450.0) == "0.0 of 7.5 min left, 72 for all experiments"


def test_every_trial_says_its_place_the_best_so_far_and_what_is_left(make_task, store, monkeypatch, caplog):
    titles = []
    monkeypatch.setattr(trial_fit, "fit", lambda *given: titles.append(given[-1].title) or fit_result(0.5))
    task = dataclasses.replace(make_task(), place=Place(2, 5, 7000.0))
    with caplog.at_level(logging.INFO, "mlproject"):
        run_search(task, max_trials=2, deterministic=True)  # in 10 minutes: each trial takes 30 planned seconds
    first, second = (re.sub(r"\(\d+ s\)", "(1 s)", line) for line in caplog.messages if " of 2  " in line)
    said, best = "validation accuracy 0.5000  (1 s)", "best so far 0.5000 (trial-01)"
    assert first == f"  [2/5] trial-01 of 2  {said}; {best}, 9.5 of 10 min left, 126 for all experiments"
    assert second == f"  [2/5] trial-02 of 2  {said}; {best}, 9.0 of 10 min left, 126 for all experiments"
    assert titles == [
        "[2/5] trial-01/2, 10 min left, 127 in all",
        "[2/5] trial-02/2, best 0.500, 9.5 min left, 126 in all",
    ]


def test_every_final_fit_says_its_place_and_what_is_left(make_task, store, monkeypatch, caplog, tmp_path):
    titles = []

    def fit(model, recipe, schedule, fit_data, hooks):
        titles.append(hooks.title)
        raise KeyboardInterrupt

    monkeypatch.setattr(refit, "fit", fit)
    throughput = Throughput({"training": 100.0, "prediction": 500.0}, {"training": 1}, False, 0.0)
    plan = make_plan(600.0, 0.0, 100.0, 1350, Demand(seeds=3))
    found = SearchResult(dict(TINY.best), {"val_accuracy": 0.5}, throughput, pd.DataFrame(), plan, 0.0, 0.0, 0.0)
    task = dataclasses.replace(make_task(), seed=7, place=Place(4, 5, 600.0))
    journal = Journal(tmp_path / "journal.json", {}, fits={"0": {}})
    with caplog.at_level(logging.INFO, "mlproject"), pytest.raises(KeyboardInterrupt):
        refit.refit(task, found, journal, 120.0, {}, registers=False)
    assert "  [4/5] final fit 2 of 3, seed 7; 4.0 of 10 min left, 14 for all experiments" in caplog.messages
    assert titles == ["[4/5] final fit 2/3, 4.0 min left, 14 in all"]
