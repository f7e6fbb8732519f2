"""Hopeless trials end early: the rule itself, and searches with the real Keras Tuner and a real store."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY
from searches import fit_result, interrupted_like, journal_of, run_search

from mlproject import tracking
from mlproject.errors import StoreGoneError
from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.search import trial_fit
from mlproject.search.journal import Trial
from mlproject.search.pruning import Rule, why_hopeless

ACCURACY, LOSS = OBJECTIVES["val_accuracy"], OBJECTIVES["val_loss"]
FEW = Rule().min_trials
OTHERS = [[[0.5, score], [1, score + 0.2]] for score in (0.2, 0.3, 0.4, 0.5, 0.6)]


def test_a_trial_below_the_quartile_of_the_others_is_hopeless():
    assert why_hopeless([[0.5, 0.29]], OTHERS, ACCURACY) == (
        "validation accuracy 0.2900; at this point the worst quarter of 5 trials ends at 0.3000"
    )
    assert not why_hopeless([[0.5, 0.3]], OTHERS, ACCURACY)
    assert not why_hopeless([[0.4, 0.31], [0.5, 0.29]], OTHERS, ACCURACY)  # its best score so far counts
    assert why_hopeless([[0.5, 0.51]], OTHERS, LOSS).startswith("validation loss 0.5100; ")
    assert not why_hopeless([[0.5, 0.5]], OTHERS, LOSS)


def test_trials_with_epochs_of_other_lengths_are_compared_after_equal_shares_of_their_steps():
    assert why_hopeless([[0.6, 0.33]], OTHERS, ACCURACY)  # the quartile rises from 0.3 to 0.5 in the second half
    assert not why_hopeless([[0.6, 0.35]], OTHERS, ACCURACY)


@pytest.mark.parametrize(
    ("curve", "others"),
    [
        ([[0.1, 0.0]], [[[0.1, 0.5], [1, 0.9]]] * 5),  # too early
        ([[0.5, 0.1], [1, 0.1]], OTHERS),  # at the end there is nothing left to save
        ([[0.5, 0.0]], OTHERS[: FEW - 1]),  # too few trials
        ([[0.5, 0.0]], [*OTHERS[: FEW - 1], [], [[0.4, 0.9]], [[0.6, 0.9], [1, 0.9]]]),  # others say nothing here
    ],
)
def test_a_trial_that_cannot_be_judged_goes_on(curve, others):
    assert not why_hopeless(curve, others, ACCURACY)


def test_pruned_trials_count_as_far_as_they_came():
    pruned = [[[0.5, 0.1]]] * 4
    assert not why_hopeless([[0.5, 0.15]], OTHERS + pruned, ACCURACY)
    assert why_hopeless([[0.6, 0.15]], OTHERS + pruned, ACCURACY)


def test_a_hopeless_trial_is_pruned_and_its_run_says_why(make_task, store):
    task = make_task()
    found, runs = run_search(task, max_trials=8)
    with journal_of(task) as journal:
        curves = [trial.curve for trial in journal.trials]
    half = [score for (share, score), *_ in curves]
    pruned = np.array([n >= FEW and half[n] < np.quantile(half[:n], 0.25) for n in range(len(half))])
    assert pruned.any() and not pruned.all()
    trials = found.trials
    assert trials["status"].tolist() == np.where(pruned, "pruned", "completed").tolist()
    assert [[share for share, _ in curve] for curve in curves] == [[0.5] if one else [0.5, 1] for one in pruned]
    np.testing.assert_allclose([curve[-1][1] for curve in curves], trials["val_accuracy"])
    last = int(np.flatnonzero(pruned)[-1])
    assert trials["reason"][last] == (
        f"after epoch 1 of 2 (50 % of its steps): validation accuracy {half[last]:.4f}; "
        f"at this point the worst quarter of {last} trials ends at {np.quantile(half[:last], 0.25):.4f}"
    )
    assert (trials["reason"][~pruned] == "").all()
    assert set(runs["status"]) == {"FINISHED"} and (runs["tags.status"] == trials["status"]).all()
    assert runs["tags.reason"].fillna("").tolist() == trials["reason"].tolist()
    np.testing.assert_allclose(runs["metrics.val_accuracy"], trials["val_accuracy"])


def scored(curve_of):
    """A fit without training: `curve_of` its model has the scores of its epochs. It ends early if it is told to."""

    def fit(model, recipe, schedule, fit_data, hooks):
        scores = curve_of(model)
        ends = (
            number
            for number, score in enumerate(scores, 1)
            if hooks.stop_early(number / len(scores), dict.fromkeys(OBJECTIVES, score))
        )
        end = next(ends, len(scores))
        labels = fit_data.data.train_labels[fit_data.validation]
        right = np.arange(len(labels)) < scores[end - 1] * len(labels)
        predicted = np.eye(10, dtype=np.float32)[np.where(right, labels, labels - 1)]
        result = fit_result(scores[end - 1])
        return replace(result, stopped_early=end < len(scores), validation_probabilities=predicted)

    return fit


def by_width(model):
    """The wider, the better."""
    return [model.get_layer("low").filters / 20] * 2


def in_turn(*curves):
    """Each trial has the next curve."""
    waiting = iter(curves)
    return lambda model: next(waiting)


def test_without_pruning_every_trial_finishes(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", scored(in_turn(*[[0.9, 0.9]] * 3, *[[0.1, 0.1]] * 2)))
    found, _ = run_search(make_task(), max_trials=5, prune=False, deterministic=True)
    assert set(found.trials["status"]) == {"completed"}


def test_a_pruned_trial_never_wins(make_task, store, monkeypatch):
    # At the end, the first trials score much less than the last one did when it was pruned.
    monkeypatch.setattr(trial_fit, "fit", scored(in_turn(*[[0.9, 0.3]] * 4, [0.8, 0.8])))
    found, _ = run_search(make_task(), max_trials=5, deterministic=True)
    assert found.trials["status"].tolist() == ["completed"] * 4 + ["pruned"]
    assert found.trials["val_accuracy"].idxmax() == 4 and found.trials["refitted"][0] == "yes"


def test_a_search_by_the_loss_prunes_high_losses(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", scored(in_turn(*[[0.5, 0.5]] * 3, [0.9, 0.9], [0.4, 0.4])))
    found, _ = run_search(make_task(), max_trials=5, objective="val_loss", deterministic=True)
    assert found.trials["status"].tolist() == ["completed"] * 3 + ["pruned", "completed"]


def test_the_first_trial_is_never_pruned(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", scored(in_turn(*[[0.1, 0.1]] * 3)))
    task = make_task()
    run_search(task, max_trials=1, deterministic=True)
    with journal_of(task) as journal:  # as if others had been finished before it
        done = replace(journal.trials[0], curve=[[0.5, 0.9], [1.0, 0.9]])
        others = [replace(done, name=f"trial-{n:02d}", values=TINY.best | {"width": n + 7}) for n in range(2, 7)]
        journal.trials = [Trial("trial-01", dict(TINY.best), starts=1, given=True), *others]
    found, _ = run_search(task, max_trials=7, deterministic=True)
    assert found.trials["status"].tolist() == ["completed"] * 6 + ["pruned"]


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["random", "hyperband"])
def test_an_interrupted_search_prunes_the_same_trials(tuner, make_task, store, monkeypatch):
    fits, interruptions = [], set()

    def interrupted(*given):
        fits.append(1)
        if len(fits) in interruptions:
            given[-1].stop_early(0.5, {DEFAULT: 0.9})  # a first half that leaves nothing behind
            raise KeyboardInterrupt
        return scored(by_width)(*given)

    monkeypatch.setattr(trial_fit, "fit", interrupted)
    options = {"seconds": 1, "max_trials": 9, "deterministic": True}
    whole, _ = run_search(make_task(), tuner, **options)
    fits.clear()
    interruptions |= {3, 7}
    found, _ = interrupted_like(whole, len(interruptions), make_task, tuner, **options)
    pruned = (found.trials["status"] == "pruned").sum()
    assert pruned >= 1 and found.spent == whole.spent
    if tuner == "random":
        assert found.spent == pytest.approx(found.plan.trial_seconds * (9 - pruned / 2))
    else:  # the first trial, which has the best-known values, is longer than those of the lowest rung
        assert found.trials["reason"][found.trials["status"] == "pruned"].str.contains("quarter of [3-7] trials").all()


def test_a_pruned_trial_whose_predictions_cannot_be_logged_is_trained_again(make_task, store, monkeypatch):
    log_arrays, logged = tracking.log_arrays, []

    def gone(path, **arrays):
        logged.append(path)
        if len(logged) == 4:  # those of the trial that is pruned
            raise StoreGoneError("the store is gone")
        log_arrays(path, **arrays)

    monkeypatch.setattr(trial_fit, "fit", scored(in_turn(*[[0.9, 0.9]] * 3, *[[0.1, 0.1]] * 2)))
    monkeypatch.setattr(tracking, "log_arrays", gone)
    options = {"max_trials": 4, "deterministic": True}
    with pytest.raises(StoreGoneError):
        run_search(make_task(), **options)
    with journal_of(make_task()) as journal:
        assert [trial.status for trial in journal.trials] == ["completed"] * 3 + ["running"]
    found, _ = run_search(make_task(), **options)
    assert found.trials["status"].tolist() == ["completed"] * 3 + ["pruned"]
    assert found.trials["val_accuracy"].tolist() == [0.9] * 3 + [0.1] and len(logged) == 5


def test_short_pruned_trials_do_not_hide_how_long_a_whole_one_takes(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", scored(by_width))
    task = make_task()
    run_search(task, seconds=6000, max_trials=3)
    with journal_of(task) as journal:
        first, second, third = journal.trials
        for trial in (second, third):
            trial.status, trial.curve = "pruned", [[0.5, 0.5]]
        first.seconds, third.seconds = first.planned_seconds, 1.0
        left = 0.7 * first.planned_seconds  # less than a whole trial, and much more than the last one took
        second.seconds = 0.4 * (6000 - journal.throughput["seconds"]) - left - first.seconds - third.seconds
    found, _ = run_search(task, seconds=6000, max_trials=None)
    assert len(found.trials) == 3
