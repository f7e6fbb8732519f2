"""Cross-validation: how images are divided, trials and a final model over folds, and what an interruption leaves."""

import dataclasses
import functools
import logging

import mlflow
import numpy as np
import pandas as pd
import pytest
import searches
from conftest import TINY, tiny_staged_recipe
from scipy import stats
from searches import arrays_of

from mlproject import evaluation, tracking
from mlproject.budget import Demand, make_plan
from mlproject.datasets.folds import draw_folds, fold_numbers
from mlproject.errors import UserError
from mlproject.final import cross_validation
from mlproject.networks.cost import Throughput
from mlproject.objectives import OBJECTIVES
from mlproject.search import trial_fit
from mlproject.search.result import SearchResult
from mlproject.training.fit import FitResult, fit
from mlproject.training.monitor import FitHooks
from mlproject.training.retraining import Retraining
from mlproject.training.schedule import StageSchedule

FOLDS = 3
SHORT = {"training": StageSchedule(1, 2)}


@pytest.fixture
def task(make_task):
    return make_task().with_folds(FOLDS, 1)


run_search = functools.partial(searches.run_search, max_trials=2, seconds=60, folds=FOLDS)


class FakeFit:
    """In place of `fit`: predicts by the seed of the values, and is interrupted at some of its calls."""

    def __init__(self, *interruptions):
        self.calls, self.interruptions, self.given = 0, set(interruptions), []

    def __call__(self, model, recipe, schedule, fit_data, hooks):
        self.calls += 1
        if self.calls in self.interruptions:
            raise KeyboardInterrupt
        self.given.append((fit_data, hooks))
        data, rows = fit_data.data, fit_data.validation
        random = np.random.default_rng(int(1e6 * recipe.stages[0].learning_rate) + rows[0])
        probabilities = random.dirichlet(np.ones(len(data.class_names)), len(rows)).astype(np.float32)
        row = {"epoch": 1, "stage": "training", "loss": 1.0, "accuracy": 0.5, "seconds": 2.0}
        row |= evaluation.validation_scores(data.train_labels[rows], probabilities)
        hooks.on_epoch(1, row)
        return FitResult(pd.DataFrame([row]), {"training": 1.0}, False, probabilities)


def test_every_repeat_holds_each_image_out_once_and_keeps_the_shares_of_the_classes(fashion):
    drawn = draw_folds(fashion, 5, 2, seed=1)
    numbers = fold_numbers(drawn, 1500)
    assert numbers.shape == (2, 1500) and (numbers[0] != numbers[1]).mean() > 0.7
    for index, fold in enumerate(drawn):
        repeat, number = divmod(index, 5)
        np.testing.assert_array_equal(fold.validation, np.flatnonzero(numbers[repeat] == number + 1))
        np.testing.assert_array_equal(np.union1d(*fold), np.arange(1500))
        assert set(np.bincount(fashion.train_labels[fold.validation])) == {30}
    again, other = draw_folds(fashion, 5, 2, seed=1), draw_folds(fashion, 5, 2, seed=2)
    np.testing.assert_array_equal(fold_numbers(again, 1500), numbers)
    assert (fold_numbers(other, 1500)[0] != numbers[1]).any()  # no seed has the second partition of another


def test_a_group_is_never_divided(fashion, rng):
    grouped = dataclasses.replace(fashion, groups=rng.integers(100, size=1500))
    for train, held_out in draw_folds(grouped, 4, 2, seed=0):
        assert not set(grouped.groups[train]) & set(grouped.groups[held_out])
        assert 250 < len(held_out) < 500


def test_classes_with_few_images_are_warned_of_and_work(fashion):
    labels = fashion.train_labels
    rows = np.r_[np.flatnonzero(labels > 1), np.flatnonzero(labels == 0)[:1], np.flatnonzero(labels == 1)[:3]]
    few = dataclasses.replace(
        fashion, train_images=fashion.train_images[rows], train_labels=labels[rows], train_strata=labels[rows]
    )
    with pytest.warns(UserWarning) as caught:
        drawn = draw_folds(few, 5, 1, seed=0)
    assert (fold_numbers(drawn, len(rows)) > 0).all()
    said = sorted(str(one.message) for one in caught)
    assert len(said) == 2
    assert "one fold holds all images of T-shirt/top," in said[0] and "some folds hold no image of Trouser," in said[1]


def test_what_cannot_be_divided_is_refused_in_one_line(fashion, make_task):
    with pytest.raises(
        UserError, match=r"^folds=200 for fashion-mnist; accepted: 0, or from 2 to 150, because the larg"
    ):
        draw_folds(fashion, 200, 1, seed=0)
    grouped = dataclasses.replace(fashion, groups=np.arange(1500) % 4)
    with pytest.raises(UserError, match="^folds=5 for .*accepted: 0, or from 2 to 4, because there are 4 groups"):
        draw_folds(grouped, 5, 1, seed=0)
    own = make_task(data=dataclasses.replace(fashion, validation=np.arange(100)))
    with pytest.raises(
        UserError, match="^folds=2, but fashion-mnist has a validation split of its own; accepted: folds=0"
    ):
        own.with_folds(2, 1)
    assert own.with_folds(0, 1) is own


def test_a_trial_predicts_each_image_by_the_fit_that_held_it_out(task, store):
    found, runs = run_search(task, max_trials=1, deterministic=True)
    assert list(found.trials["status"]) == ["completed"] and set(runs["status"]) == {"FINISHED"}
    assert found.plan.fits == FOLDS and runs["params.rung"].tolist() == ["1.0"]
    client = mlflow.MlflowClient()
    for (_, run), (_, row) in zip(runs.iterrows(), found.trials.iterrows(), strict=True):
        kept = arrays_of(run["run_id"])
        np.testing.assert_array_equal(kept["rows"], np.arange(1500))
        correct = kept["labels"] == kept["predictions"]
        scores = [correct[fold.validation].mean() for fold in task.folds]
        of_folds = [run[f"metrics.fold_{number}_val_accuracy"] for number in (1, 2, 3)]
        np.testing.assert_allclose(of_folds, scores, rtol=1e-6)
        assert row["val_accuracy"] == run["metrics.val_accuracy"] == pytest.approx(np.mean(scores))
        assert row["standard_error"] == pytest.approx(np.std(scores, ddof=1) * (1 / 3 + 1 / 2) ** 0.5)
        curve = client.get_metric_history(run["run_id"], "val_accuracy")
        assert [one.step for one in curve] == list(range(1, len(curve) + 1)) and len(curve) >= 2
        first = client.get_metric_history(run["run_id"], "fold_1_val_accuracy")
        assert [one.step for one in first] == [one.step for one in curve]


def test_folds_share_the_activations_of_frozen_layers(make_task, store):
    staged = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe)).with_folds(2, 1)
    found, runs = run_search(staged, "hyperband", max_trials=1, deterministic=True)
    assert list(found.trials["status"]) == ["completed"] and "metrics.fold_2_val_accuracy" in runs
    assert len(list(staged.features.folder.glob("*.npy"))) == 2  # one file for each frozen layer, whatever the fold


@pytest.mark.parametrize("tuner", ["bayesian", pytest.param("hyperband", marks=pytest.mark.slow)])
def test_an_interrupted_trial_goes_on_with_the_fold_that_was_under_way(tuner, task, store, monkeypatch):
    whole_fit, broken_fit = FakeFit(), FakeFit(3, 6)
    options = {"tuner": tuner, "max_trials": 3, "seconds": 60, "folds": FOLDS, "deterministic": True}
    monkeypatch.setattr(trial_fit, "fit", whole_fit)
    whole, _ = run_search(task, **options)
    monkeypatch.setattr(trial_fit, "fit", broken_fit)
    found, runs = searches.interrupted_like(whole, 2, lambda: task, **options)
    assert whole_fit.calls == 9 and broken_fit.calls == 9 + 2  # only the two fits under way were lost
    finished = runs[runs["status"] == "FINISHED"]
    np.testing.assert_allclose(finished["metrics.val_accuracy"], found.trials["val_accuracy"].iloc[1:])
    assert finished["metrics.fold_1_val_accuracy"].notna().all()
    assert found.trials["seconds"].iloc[0] >= 2 * 2.0  # what the earlier process spent on two folds
    with searches.journal_of(task, "interrupted") as journal:
        assert not list(journal.folds.iterdir())  # nothing goes on from them any more


def test_each_fit_of_a_trial_leaves_the_later_ones_their_planned_time(task, store, monkeypatch):
    fake = FakeFit()
    monkeypatch.setattr(trial_fit, "fit", fake)
    found, _ = run_search(task, max_trials=1, seconds=6000)
    first, second, last = (hooks.deadline for _, hooks in fake.given)
    planned = found.plan.trial_seconds / FOLDS
    assert (second - first, last - second) == pytest.approx((planned, planned), rel=0.01)


def test_a_trial_is_pruned_in_a_stage_that_an_earlier_fold_has_passed(make_task, store, monkeypatch):
    fake = FakeFit()

    def staged_fit(model, recipe, schedule, fit_data, hooks):
        result = fake(model, recipe, schedule, fit_data, hooks)
        stopped = fake.calls == 4  # in the second fold of the second trial
        stages = ["feature-extraction", "fine-tuning"][: 1 if stopped else 2]
        rows = [{**result.history.iloc[0], "epoch": number, "stage": stage} for number, stage in enumerate(stages, 1)]
        hooks.stop_early(0.5 * len(rows), rows[-1])
        return FitResult(
            pd.DataFrame(rows), dict.fromkeys(stages, 9.0), False, result.validation_probabilities, stopped
        )

    monkeypatch.setattr(trial_fit, "fit", staged_fit)
    task = make_task(dataclasses.replace(TINY, recipe=tiny_staged_recipe)).with_folds(2, 1)
    found, runs = run_search(task, folds=2, deterministic=True)
    assert list(found.trials["status"]) == ["completed", "pruned"]
    assert list(runs["metrics.fine-tuning_images_per_second"]) == [9.0, 9.0]


@pytest.mark.parametrize("recipe", [TINY.recipe, tiny_staged_recipe])
def test_a_network_that_is_trained_again_trains_like_a_new_one(recipe, make_task):
    task = make_task(dataclasses.replace(TINY, recipe=recipe)).with_folds(2, 1)
    shared, recipe = task.network(TINY.best)
    hooks = FitHooks(retraining=Retraining(shared))
    schedule = {stage.name: StageSchedule(1, 3) for stage in recipe.stages}
    datas = [task.fit_data(*fold) for fold in task.folds]
    again = [fit(shared, recipe, schedule, data, hooks).validation_probabilities for data in datas][1]
    new = fit(task.network(TINY.best)[0], recipe, schedule, datas[1]).validation_probabilities
    np.testing.assert_allclose(again, new, atol=1e-5)


def test_the_winner_is_cross_validated_once_also_after_an_interruption(task, store, monkeypatch, caplog):
    throughput = Throughput({"training": 100.0, "prediction": 500.0}, {"training": 1}, False, 0.0)
    plan = make_plan(60.0, 0.0, 100.0, 1000, Demand(fits=FOLDS))
    found = SearchResult(dict(TINY.best), {}, throughput, pd.DataFrame(), plan, 0.0, 0.0, 0.0)
    caplog.set_level(logging.INFO, "mlproject")
    fits = []

    def counted(model, recipe, schedule, fit_data, hooks):
        fits.append(fit_data)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(model, recipe, schedule, fit_data, hooks)

    monkeypatch.setattr(cross_validation, "fit", counted)
    with searches.journal_of(task) as journal:
        with pytest.raises(KeyboardInterrupt), tracking.run("final", {"search": journal.search}):
            cross_validation.cross_validate(task, found, SHORT, journal, 15.0)
        with tracking.run("final", {"search": journal.search}) as run_id:
            metrics = cross_validation.cross_validate(task, found, SHORT, journal, 15.0)
        journal.remove_states()
        assert not journal.folds.exists()
    # For the third fit and the final one.
    assert "  cross-validation of the winner: fit 3 of 3; 0.5 of 1 min left" in caplog.messages
    for given, fold in zip(fits, [task.folds[number] for number in (0, 1, 1, 2)], strict=True):
        np.testing.assert_array_equal(given.train, fold.train)
        assert given.validation is None
    kept = arrays_of(run_id, "evaluation/out_of_fold.npz")
    labels, numbers = task.data.train_labels, fold_numbers(task.folds, 1500)
    np.testing.assert_array_equal(kept["labels"], labels)
    np.testing.assert_array_equal(kept["folds"], numbers)
    np.testing.assert_allclose(kept["probabilities"].sum(axis=1), 1, atol=0.01)
    correct = kept["predictions"] == labels
    assert metrics["cv_accuracy"] == pytest.approx(correct.mean()) and metrics["cv_images"] == 1500
    assert metrics["fold_2_cv_accuracy"] == pytest.approx(correct[numbers == 2].mean())
    low, high = evaluation.cross_validated_interval(correct, numbers)
    assert (metrics["cv_accuracy_low"], metrics["cv_accuracy_high"]) == (low, high)
    assert mlflow.get_run(run_id).data.metrics["fold_1_loss"] > 0


def test_the_interval_is_that_of_nadeau_and_bengio_but_never_narrower_than_wilsons():
    numbers = np.repeat([1, 2, 3, 4], 25)[None]
    correct = np.arange(100)[None] % 25 < np.repeat([24, 12, 20, 8], 25)
    scores = np.array([0.96, 0.48, 0.8, 0.32])
    half = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1 / 3) * scores.var(ddof=1))
    expected = max(0.64 - half, 0), min(0.64 + half, 1)
    assert evaluation.cross_validated_interval(correct, numbers) == pytest.approx(expected)
    even = np.ones((1, 100), bool)
    assert evaluation.cross_validated_interval(even, numbers) == pytest.approx(evaluation.accuracy_interval(even[0]))
    assert evaluation.nadeau_bengio_error([0.5, 0.5], 1.0) == 0


def test_with_repeats_a_trials_predictions_are_means_and_its_score_is_no_ensembles(make_task, store, monkeypatch):
    task, fake = make_task().with_folds(2, 2), FakeFit()
    monkeypatch.setattr(trial_fit, "fit", fake)
    found, runs = run_search(task, max_trials=1)
    assert fake.calls == 4 and task.held_out_count == 3000
    scores = [runs[f"metrics.fold_{number}_val_accuracy"].iloc[0] for number in range(1, 5)]
    assert found.scores["val_accuracy"] == pytest.approx(np.mean(scores), rel=1e-6)
    assert set(found.scores) == set(OBJECTIVES)
    assert len(arrays_of(runs["run_id"].iloc[0])["predictions"]) == 1500
