"""The search with the real Keras Tuner and a real store: trials become runs; budgets end it, and failures do not."""

import dataclasses
import errno
import logging
import re
import time
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from conftest import TINY, asked, tiny_build, tiny_staged_recipe
from mlflow.exceptions import MlflowException
from searches import arrays_of, fit_result, interrupted_like, journal_of, run_search

from mlproject import budget, evaluation, tracking
from mlproject.discovery import find
from mlproject.errors import StoreGoneError, UserError
from mlproject.networks.cost import nominal_speeds
from mlproject.objectives import OBJECTIVES
from mlproject.recipe import Recipe, Stage
from mlproject.search import trial_fit
from mlproject.search.journal import LOSSES, PREDICTIONS, Journal, Trial, pack, unpack
from mlproject.search.oracles import TUNERS, make_oracle
from mlproject.search.selection import select_winner
from mlproject.search.space import replace_best_values
from mlproject.tune import prepare_tasks


@pytest.mark.parametrize(
    "tuner", [pytest.param(one, marks=[] if one == "bayesian" else pytest.mark.slow) for one in TUNERS]
)
def test_every_trial_is_a_nested_run_with_params_and_metrics(tuner, make_task, store):
    task = make_task()
    found, runs = run_search(task, tuner, max_trials=4)
    assert len(runs) == len(found.trials) == 4
    assert list(runs["tags.trial"]) == ["trial-01", "trial-02", "trial-03", "trial-04"]
    names = list(runs["tags.mlflow.runName"])
    assert names[0] == "tiny-synthetic trial 01: best-known values"
    assert all(name.startswith(f"tiny-synthetic trial 0{number}: ") for number, name in enumerate(names, 1))
    assert set(runs["status"]) == {"FINISHED"}
    assert (runs["params.width"].iloc[0], runs["params.learning_rate"].iloc[0]) == ("8", "0.002")  # the best known
    assert runs["params.rung"].iloc[0] == "1.0" and (set(runs["params.rung"]) == {"1.0"}) == (tuner != "hyperband")
    refitted = found.trials.loc[found.trials["refitted"] == "yes", "trial"].tolist()
    assert refitted == runs.loc[runs["metrics.val_accuracy"] == found.scores["val_accuracy"], "tags.trial"].tolist()[:1]
    best = runs["metrics.val_accuracy"].max()
    error = (best * (1 - best) / len(task.validation)) ** 0.5
    assert found.trials.loc[found.trials["val_accuracy"].idxmax(), "standard_error"] == pytest.approx(error)
    for _, run in runs.iterrows():  # the predictions with which trials are compared
        kept = arrays_of(run["run_id"])
        np.testing.assert_array_equal(kept["rows"], task.validation)
        assert np.mean(kept["labels"] == kept["predictions"]) == pytest.approx(run["metrics.val_accuracy"])
    steps = [m.step for m in mlflow.MlflowClient().get_metric_history(runs["run_id"].iloc[0], "val_accuracy")]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 2


def test_the_winner_is_significantly_better_than_the_known_values(rng):
    """Trials are compared image by image: it matters which images are correct, not only how many."""
    images = 1000
    known, labels = rng.random(images) < 0.8, np.ones(images, np.int64)

    def trial(number, correct):
        predictions = pack(correct.astype(int), PREDICTIONS)
        return Trial(f"trial-{number}", {"width": number}, val_accuracy=float(correct.mean()), predictions=predictions)

    def winner(*others, known_values=0):
        trials = [trial(0, known), *(trial(number, one) for number, one in enumerate(others, 1))]
        return select_winner(trials, {"width": known_values}, labels, "val_accuracy").values["width"]

    better = known.copy()
    better[np.flatnonzero(~known)[:12]] = True  # 1.2 points, and no image worse
    shuffled = rng.permutation(better)  # as accurate, but on other images: the lead may be chance
    assert winner(better) == 1
    assert winner(shuffled) == 0
    assert winner(shuffled, better) == 2
    slightly = known.copy()
    slightly[np.flatnonzero(~known)[:7]] = True
    p = evaluation.holm_adjusted_mcnemar(known, [slightly])
    assert p[0] < 0.05 and winner(slightly) == 1
    assert winner(slightly, *[shuffled] * 9) == 0  # the best of ten trials needs a larger lead
    assert winner(better, known_values=7) == 1  # the trial of the known values failed


def trial_of(name, labels, probabilities):
    """A completed trial with these predictions."""
    scores = evaluation.validation_scores(labels, probabilities)
    losses = pack(evaluation.image_losses(labels, probabilities), LOSSES)
    predictions = pack(probabilities.argmax(axis=1), PREDICTIONS)
    return Trial(name, {"name": name}, "completed", **scores, predictions=predictions, losses=losses)


def test_another_objective_selects_another_winner():
    labels = np.repeat([0, 1], (950, 50))
    both = np.full((1000, 2), 0.01) + 0.98 * np.eye(2)[labels]  # each image right, with 99 %
    usual = np.tile([0.9, 0.1], (1000, 1))  # always the large class
    fair = np.where(np.arange(1000)[:, None] < 70, [[0.2, 0.8]], both)  # all of the small class, 70 others wrong
    unsure = np.full((1000, 2), 0.45) + 0.1 * np.eye(2)[labels]  # always right, and never sure
    trials = [trial_of("usual", labels, usual), trial_of("fair", labels, fair), trial_of("unsure", labels, unsure)]

    def winner(objective, known, *chosen):
        return select_winner([trials[number] for number in chosen], {"name": known}, labels, objective).name

    assert winner("val_accuracy", "usual", 0, 1) == "usual"
    assert winner("val_balanced_accuracy", "usual", 0, 1) == winner("val_macro_f1", "usual", 0, 1) == "fair"
    assert winner("val_accuracy", "usual", 0, 1, 2) == "unsure"
    assert winner("val_loss", "usual", 0, 1, 2) == winner("val_loss", "unsure", 0, 1, 2) == "fair"
    assert winner("val_loss", "failed", 0, 2) == "usual"  # the lowest loss
    few = np.r_[:30, 950:953]  # so few images of the small class that the lead may be chance
    some = [trial_of(name, labels[few], made[few]) for name, made in (("usual", usual), ("fair", fair))]
    assert select_winner(some, {"name": "usual"}, labels[few], "val_balanced_accuracy").name == "usual"


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_oracle_is_told_the_objective_and_its_direction(tuner, objective, tmp_path):
    oracle = make_oracle(tuner, objective, TINY, 0, (), Journal(tmp_path / "journal.json", {}))
    direction = "min" if objective == "val_loss" else "max"
    assert (oracle.objective.name, oracle.objective.direction) == (objective, direction)


def test_a_search_by_the_loss_records_all_scores(make_task, store):
    task = make_task()
    found, runs = run_search(task, max_trials=2, objective="val_loss")
    for name in OBJECTIVES:
        np.testing.assert_allclose(found.trials[name], runs[f"metrics.{name}"])
    assert found.scores == found.trials.set_index("refitted").loc["yes", list(OBJECTIVES)].to_dict()
    assert (found.trials["standard_error"] > 0).all()
    with journal_of(task) as journal:
        assert journal.trials[0].val_loss == pytest.approx(unpack(journal.trials[0].losses, LOSSES).mean(), rel=1e-5)


@pytest.mark.parametrize("gained, kept", [(15, False), (2, True)])
def test_the_progress_says_why_the_best_score_does_not_win(gained, kept, make_task, store, monkeypatch, caplog):
    """The third trial has the best score, with errors on so many other images that its lead may be chance."""
    task = make_task()
    images = np.arange(len(task.validation))
    half = len(images) // 2
    correct = iter([images < half, images < half + gained, images >= half - gained - 1])

    def fit(*given):
        hits = next(correct)
        labels = task.data.train_labels[task.validation]
        probabilities = np.eye(10, dtype=np.float32)[np.where(hits, labels, (labels + 1) % 10)]
        return dataclasses.replace(fit_result(float(hits.mean())), validation_probabilities=probabilities)

    monkeypatch.setattr(trial_fit, "fit", fit)
    with caplog.at_level(logging.INFO, "mlproject.search.search"):
        found, _ = run_search(task, max_trials=3, deterministic=True)
    assert found.trials["val_accuracy"].idxmax() == 2
    assert found.trials["refitted"].tolist().index("yes") == (0 if kept else 1)
    assert ("because no other trial has a significantly better validation accuracy" in caplog.text) == kept


def test_the_final_fit_is_planned_by_the_speed_of_the_winner(make_task, store, monkeypatch):
    task = make_task()
    known = task.network(TINY.best)[0].count_params()

    def fit(model, recipe, schedule, fit_data, hooks):
        better = model.count_params() != known
        result = fit_result(0.9 if better else 0.1)
        labels = task.data.train_labels[task.validation]
        return dataclasses.replace(result, validation_probabilities=np.eye(10)[labels if better else 0 * labels])

    monkeypatch.setattr(trial_fit, "fit", fit)
    found, _ = run_search(task, deterministic=True)
    assert found.values["width"] != TINY.best["width"]
    winner, first = (nominal_speeds(*task.network(values)) for values in (found.values, TINY.best))
    assert found.throughput.images_per_second == winner != first


def test_what_the_trials_took_leaves_the_plan_of_the_final_fit_as_it_was(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *_: fit_result(0.5))
    found, _ = run_search(make_task(), seconds=100, max_trials=budget.MOST_TRIALS)
    planned = (1 - budget.SEARCH_SHARE) * (100 - found.plan.measuring)
    left = found.plan.granted_final_fit(found.spent, found.remeasuring, paired=False)
    assert found.plan.final_fit == pytest.approx(planned) and left > planned + 10
    assert found.plan.granted_final_fit(found.spent, 0.0, paired=True) == found.plan.final_fit


@pytest.mark.parametrize(
    ("tuner", "trials"),
    [
        ("random", 4),
        pytest.param("bayesian", 6, marks=pytest.mark.slow),
        pytest.param("hyperband", 11, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_search_comes_to_the_same_trials(tuner, trials, make_task, store, monkeypatch):
    """Training is left out: the next values depend only on earlier values and their results."""
    fits, interruptions = [], set()

    def fit(model, recipe, schedule, fit_data, hooks):
        fits.append(1)
        if len(fits) in interruptions:
            raise KeyboardInterrupt
        return fit_result(float(np.sin(model.count_params() + recipe.stages[0].learning_rate) ** 2))

    monkeypatch.setattr(trial_fit, "fit", fit)
    options = {"seconds": 1, "max_trials": trials, "deterministic": True}
    whole, _ = run_search(make_task(), tuner, **options)
    fits.clear()
    interruptions |= {2, trials}
    found, runs = interrupted_like(whole, len(interruptions), make_task, tuner, **options)
    assert len(fits) == trials + len(interruptions) and not (runs["status"] == "RUNNING").any()
    # The first rung of Hyperband's first bracket has 9 trials.
    assert found.trials.duplicated(["width", "learning_rate"]).sum() == max(0, trials - 9)


def test_a_search_that_goes_on_keeps_the_length_of_its_trials(make_task, store, monkeypatch):
    """With other workers it would be planned differently."""
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    run_search(make_task(), max_trials=1, deterministic=True)
    with journal_of(make_task()) as journal:
        first = journal.trials[0].planned_seconds
        journal.plan["trial_seconds"] /= 2
        journal.save()
    found, runs = run_search(make_task(), max_trials=2, deterministic=True)
    with journal_of(make_task()) as journal:
        assert [trial.planned_seconds for trial in journal.trials] == [first, first / 2]
    assert found.plan.trial_seconds == first / 2


def test_a_search_whose_final_fits_have_begun_tries_nothing_more(make_task, store, monkeypatch):
    """Another winner could not go on from their checkpoints, and the fits of the seeds would differ in their values."""
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    run_search(make_task(), max_trials=1, deterministic=True)
    with journal_of(make_task()) as journal:
        journal.schedule = {"training": {"epochs": 1, "steps": 1}}
    found, _ = run_search(make_task(), max_trials=2, deterministic=True)
    assert len(found.trials) == 1


def test_with_many_seeds_a_trial_is_no_longer_than_a_final_fit(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    task = make_task()
    with pytest.warns(UserWarning, match="less than a trial has"):
        found, runs = run_search(task, max_trials=3, deterministic=True, seeds="30")
    assert found.plan.final_fit < budget.TRIAL_TRAINING_SHARE * found.plan.trial_seconds
    assert found.trials["status"].tolist() == ["completed"] * 3
    assert runs["params.training_images"].astype(int).tolist() == [len(task.train)] * 3


def test_a_batch_that_would_be_larger_than_all_images_is_halved_like_any_other(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))

    def recipe(hp):
        return dataclasses.replace(TINY.recipe(hp), batch_size=10_000)

    task = make_task(dataclasses.replace(TINY, recipe=recipe))
    _, runs = run_search(task, max_trials=1, deterministic=True)
    assert runs["params.training_images"].tolist() == [str(len(task.train) // 2)]  # one batch


def test_a_trial_whose_run_cannot_be_opened_has_not_started(make_task, store, monkeypatch):
    open_run = tracking.run

    def gone(*given, **more):
        if more.get("nested"):
            raise StoreGoneError("the store is gone")
        return open_run(*given, **more)

    monkeypatch.setattr(tracking, "run", gone)
    with pytest.raises(StoreGoneError):
        run_search(make_task(), max_trials=1, deterministic=True)
    with journal_of(make_task()) as journal:
        assert [trial.starts for trial in journal.trials] == [0]


def test_a_trial_that_the_process_never_survives_is_failed(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    with journal_of(make_task()) as journal:
        journal.trials.append(Trial("trial-01", dict(TINY.best), starts=3))
    found, _ = run_search(make_task())
    assert list(found.trials["status"]) == ["failed", "completed", "completed"]
    assert "died in this trial 3 times" in found.trials["reason"].iloc[0]


def test_a_full_disk_neither_fails_a_finished_trial_nor_hides_that_the_store_is_gone(make_task, store, monkeypatch):
    save, full = Journal.save, [True]

    def save_or_not(journal):
        if full and journal.finished:
            full.clear()
            raise OSError(errno.ENOSPC, "No space left on device")
        save(journal)

    monkeypatch.setattr(Journal, "save", save_or_not)
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    unwritten = r"journal.json cannot be written \(No space left on device\); an interruption now loses trial-01"
    with pytest.warns(UserWarning, match=unwritten):
        found, runs = run_search(make_task(), max_trials=2, deterministic=True)
    assert not full and runs["status"].tolist() == ["FINISHED"] * 2 and "tags.failure" not in runs
    with journal_of(make_task()) as journal:
        assert [trial.status for trial in journal.trials] == ["completed"] * 2

    def stays_full(journal):
        if journal.trials and not journal.trials[-1].starts:  # at the end of a trial that was stopped
            raise OSError(errno.ENOSPC, "No space left on device")
        save(journal)

    def gone(*given):
        raise StoreGoneError("the store is gone")

    monkeypatch.setattr(Journal, "save", stays_full)
    monkeypatch.setattr(trial_fit, "fit", gone)
    with pytest.warns(UserWarning, match=unwritten), pytest.raises(StoreGoneError):
        run_search(make_task(), max_trials=1, deterministic=True, name="other")


def test_a_store_that_takes_no_more_runs_ends_the_search(make_task, store, monkeypatch):
    """Keras Tuner takes an exception for the failure of one trial, and would begin trials without end."""

    def fit(*given):
        mlflow.delete_experiment(mlflow.get_experiment_by_name("tests").experiment_id)  # as somebody may in MLflow's UI
        return fit_result(0.5)

    monkeypatch.setattr(trial_fit, "fit", fit)
    with pytest.raises(MlflowException, match="active"):
        run_search(make_task(), max_trials=4, deterministic=True)
    with journal_of(make_task()) as journal:
        assert [trial.status for trial in journal.trials] == ["failed", "running"]


def test_the_minutes_of_a_trial_that_hangs_count(make_task, store, monkeypatch):
    """The watchdog ends the process right after the callback, so nothing else can put the times into the journal."""
    kept = []

    def fit(model, recipe, schedule, fit_data, hooks):
        time.sleep(0.1)
        hooks.on_hang("no batch was finished")
        (path,) = Path("searches").rglob("journal.json")
        kept.extend(Journal.read(path).trials)
        raise KeyboardInterrupt

    monkeypatch.setattr(trial_fit, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        run_search(make_task(), max_trials=1, deterministic=True)
    (trial,) = kept
    assert (trial.status, trial.ended) == ("failed", 1)
    assert trial.seconds >= 0.1 and trial.minutes == pytest.approx(trial.seconds / 60)


def test_what_a_kill_left_in_the_store_is_put_right(store):
    with tracking.run("trial-01", {"role": "trial", "search": "one"}) as finished:
        pass
    client = mlflow.MlflowClient()
    unfinished, unknown = (
        client.create_run("0", tags={"role": "trial", "search": "one"}).info.run_id for _ in range(2)
    )
    client.set_terminated(finished, "KILLED")
    client.set_terminated(unknown, "FINISHED")  # on a full disk, without an entry in the journal: it is done again
    tracking.reconcile_trials("one", {finished: "FINISHED"})
    assert mlflow.get_run(finished).info.status == "FINISHED"
    assert {mlflow.get_run(run_id).info.status for run_id in (unfinished, unknown)} == {"KILLED"}


def test_no_point_is_tried_twice(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))

    def build(hp, spec):
        hp.Choice("only", ["a", "b"])
        hp.Choice("width", [4, 8])
        return tiny_build(hp, spec)

    def recipe(hp):
        return Recipe((Stage("training", 2e-3, max_epochs=1),), 64, "adamw")

    grid = dataclasses.replace(TINY, build=build, recipe=recipe, best={"width": 8, "only": "a"})
    found, _ = run_search(make_task(grid), "bayesian", max_trials=7, deterministic=True)
    assert len(found.trials) == 4  # all points of the space
    assert not found.trials.duplicated(["width", "only"]).any()


def test_the_first_trial_has_the_values_given_in_place_of_the_best_known(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    task = replace_best_values(make_task(), ["width=5"])
    found, _ = run_search(task, max_trials=2, deterministic=True)
    assert list(found.trials[["width", "learning_rate"]].iloc[0]) == [5, 0.002]
    assert found.trials["width"].iloc[1] != 5


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_what_is_fixed_keeps_its_best_known_value(make_task, store, tuner, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    found, _ = run_search(
        make_task(dataclasses.replace(TINY, fixed=("width",))), tuner, max_trials=3, deterministic=True
    )
    assert set(found.trials["width"]) == {TINY.best["width"]}
    assert found.trials["learning_rate"].nunique() > 1


def test_searches_with_seeds_near_each_other_try_other_points(make_task, store, monkeypatch):
    """Keras Tuner adds 1 to its seed for each value that it draws."""
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    rates = []
    for seed in (0, len(TINY.best)):
        task = dataclasses.replace(make_task(), seed=seed)
        found, _ = run_search(task, max_trials=3, name=f"seed-{seed}", deterministic=True)
        rates.append(set(found.trials["learning_rate"].iloc[1:]))
    assert not rates[0] & rates[1]


def test_an_hour_begins_with_the_values_best_known_for_it(store, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(
        "from dataclasses import replace\nfrom conftest import TINY\n"
        "EXPERIMENTS = [replace(TINY, best_in_an_hour={'width': 12})]\n"
    )
    (task,) = prepare_tasks(asked("--data=synthetic", "--budget-minutes=60"))
    assert task.experiment.best["width"] == 12
    (experiment,) = find("tiny")
    assert experiment.for_budget(60).best["width"] == 12 and experiment.for_budget(59).best["width"] == 8


@pytest.mark.parametrize("pair", ["width=17", "width=5.5", "width=", "width", "depth=3", "learning_rate=nan", "=5", ""])
def test_values_outside_the_space_are_refused_with_what_is_accepted(make_task, pair):
    with pytest.raises(UserError, match=r"values=.*width=4\.\.16"):
        replace_best_values(make_task(), [pair])


def test_values_are_refused_where_the_network_cannot_be_built(make_task):
    def build(hp, spec):
        raise ValueError("no such layer")

    with pytest.raises(UserError, match="values='width=5': .* cannot be built: ValueError: no such layer"):
        replace_best_values(make_task(dataclasses.replace(TINY, build=build)), ["width=5"])


def test_a_trial_has_a_batch_of_images_at_least(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))

    def recipe(hp):
        return Recipe((Stage("training", hp.Float("learning_rate", 1e-4, 1e-2), max_epochs=1000),), 1024, "adamw")

    _, runs = run_search(
        make_task(dataclasses.replace(TINY, recipe=recipe)), seconds=20, max_trials=1, deterministic=True
    )
    assert int(runs["params.training_images"].iloc[0]) == 512  # half of the fit's batch


def test_a_failed_trial_is_marked_with_its_reason_and_the_search_goes_on(make_task, store):
    def build(hp, spec):
        if hp.Int("width", 4, 16) != 8:
            raise MemoryError("too wide")
        return tiny_build(hp, spec)

    fragile = dataclasses.replace(TINY, build=build)
    found, runs = run_search(make_task(fragile))
    assert list(found.trials["status"]) == ["completed", "failed", "failed"]
    failed = runs[runs["status"] == "FAILED"]
    assert len(failed) == 2 and set(failed["tags.failure"]) == {"MemoryError: too wide"}


def test_a_network_that_does_not_fit_into_memory_is_a_failed_trial(make_task, store):
    def build(hp, spec):
        images = keras.Input(spec.shape, dtype="uint8")
        x = keras.layers.Flatten()(images)
        for _ in range(2):  # 4 TB each, except in the first trial
            x = keras.layers.Dense(10**6 if hp.Int("width", 4, 16) != 8 else 8)(x)
        return keras.Model(images, keras.layers.Dense(spec.classes, activation="softmax")(x))

    found, runs = run_search(make_task(dataclasses.replace(TINY, build=build)))
    assert list(found.trials["status"]) == ["completed", "failed", "failed"]
    assert (
        runs["tags.failure"].dropna().str.match(r"TooBigError: training needs at least 1\d{4}\.\d GB of memory").all()
    )


def test_a_diverging_trial_is_failed(make_task, store):
    def recipe(hp):
        rate = hp.Float("learning_rate", 1e29, 1e30)
        return Recipe((Stage("training", rate, max_epochs=1),), 64, "adamw")

    fast = dataclasses.replace(TINY, recipe=recipe)
    found, runs = run_search(make_task(fast))
    assert list(found.trials["status"]) == ["completed", "failed", "failed"]
    assert runs["tags.failure"].dropna().str.match("DivergedError: the (val_)?loss became").all()


def test_a_search_without_a_completed_trial_is_an_error_that_names_the_reason(make_task, store):
    def build(hp, spec):
        raise ValueError("no such network")

    with pytest.raises(UserError, match="tiny.*no such network"):
        run_search(make_task(dataclasses.replace(TINY, build=build)))


def test_the_budget_ends_the_search(make_task, store):
    began = time.monotonic()
    found, _ = run_search(make_task(), seconds=8, max_trials=None)
    assert len(found.trials) >= 1
    assert time.monotonic() - began < 300  # without a deadline it would go on for thousands of trials


@pytest.mark.parametrize(("max_trials", "planned"), [(None, "about 3 trials"), (2, "2 trials"), (1, None)])
def test_fewer_trials_than_planned_are_told_with_the_reason(max_trials, planned, make_task, store, monkeypatch, caplog):
    """Of 5 seconds, the search has less than 2, so the first fit takes them all."""
    monkeypatch.setattr(trial_fit, "fit", lambda *given: time.sleep(3) or fit_result(0.5))
    with caplog.at_level(logging.INFO, "mlproject.search.search"):
        found, _ = run_search(make_task(), seconds=5, max_trials=max_trials)
    said = [line for line in caplog.messages if "had time for" in line]
    assert len(found.trials) == 1
    if planned is None:  # all trials that were asked for
        assert said == []
    else:
        (line,) = said
        assert re.fullmatch(
            f"  the search had time for 1 of {planned}: trial-01 took \\d+ s, where [01] s were planned", line
        )


def test_a_trial_that_is_begun_late_has_the_time_of_a_whole_one(make_task, store, monkeypatch):
    left = []
    monkeypatch.setattr(
        trial_fit, "fit", lambda *given: left.append(given[-1].deadline - time.monotonic()) or fit_result(0.5)
    )
    task = make_task()
    run_search(task, seconds=6000, max_trials=3)
    with journal_of(task) as journal:
        planned = journal.trials[0].planned_seconds
        all_trials = 0.4 * (6000 - journal.throughput["seconds"])
        for trial, seconds in zip(journal.trials, (all_trials - 2.85 * planned, planned, planned), strict=True):
            trial.seconds = seconds
    run_search(task, seconds=6000, max_trials=4)
    assert planned < left[-1] < 1.1 * planned
    with journal_of(task) as journal:
        journal.trials[0].seconds += 0.3 * planned
    found, _ = run_search(task, seconds=6000, max_trials=5)
    assert len(found.trials) == 4  # there is no time for half a trial


def test_a_budget_that_is_gone_before_the_first_trial_is_told(make_task, store):
    with pytest.warns(UserWarning, match=r"'tiny'.* of budget_minutes=0\.01, so little time is left for training"):
        run_search(make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe)), seconds=0.6, max_trials=1)


def test_what_fewer_trials_leave_of_the_search_is_not_spent_on_longer_ones(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    found, _ = run_search(make_task(), seconds=600, max_trials=1, deterministic=True)
    assert len(found.trials) == 1 and found.spent <= 0.4 * 600 / 3


def test_a_trial_passes_a_share_of_the_fits_images_drawn_from_the_square_root_of_it(make_task, store, monkeypatch):
    def recipe(hp):
        return Recipe((Stage("training", hp.Float("learning_rate", 1e-4, 1e-2), max_epochs=1000),), 16, "adamw")

    seen = []
    monkeypatch.setattr(trial_fit, "fit", lambda *given: seen.append(given) or fit_result(0.5))
    task = make_task(dataclasses.replace(TINY, recipe=recipe))
    _, runs = run_search(task, seconds=20, max_trials=1, deterministic=True)
    fit_data = seen[0][3]
    assert np.isin(fit_data.train, task.train).all() and fit_data.validation is task.validation
    trial = runs.iloc[0]
    logged = ("training_images", "training_epochs", "training_steps")
    images, epochs, steps = (int(trial[f"params.{name}"]) for name in logged)
    model, recipe = task.network(TINY.best)
    fit_seconds = 20 - 0.4 * 20 / 8
    seen = nominal_speeds(model, recipe)["training"] * fit_seconds
    share = 8 * epochs * steps / seen  # in batches of half the size
    assert share < 1 / 8
    assert images == pytest.approx(share**0.5 * len(task.train), rel=0.05)
    declared, peak = (float(trial[f"params.{name}"]) for name in ("learning_rate", "training_peak_rate"))
    assert peak / declared == pytest.approx((seen / 16 / (epochs * steps)) ** 0.5, rel=0.02)


def test_all_trials_have_as_many_images_also_of_networks_that_are_done_early(make_task, store, monkeypatch):
    def recipe(hp):
        stage = Stage("training", 2e-3, max_epochs=hp.Int("most_epochs", 10, 1000))
        return Recipe((stage,), 16, "adamw")

    monkeypatch.setattr(trial_fit, "fit", lambda *_: fit_result(0.5))
    best = {"width": 8, "most_epochs": 1000}
    task = make_task(dataclasses.replace(TINY, recipe=recipe, best=best))
    short = replace_best_values(task, ["most_epochs=10"])
    images = [
        run_search(each, seconds=20, max_trials=1, deterministic=True, name=name)[1]["params.training_images"].iloc[0]
        for name, each in {"long": task, "short": short}.items()
    ]
    assert images[0] == images[1]
