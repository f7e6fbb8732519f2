"""Hopeless trials end early: the rule itself, and searches with the real Keras Tuner and a real store."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from test_search import fit_result, journal_of, run_search

from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.recipe import Recipe, Stage
from mlproject.search import trial_fit
from mlproject.search.journal import Trial
from mlproject.search.pruning import MIN_TRIALS, why_hopeless

ACCURACY, LOSS = OBJECTIVES["val_accuracy"], OBJECTIVES["val_loss"]
OTHERS = [[[0.5, score], [1, score + 0.2]] for score in (0.2, 0.3, 0.4, 0.5, 0.6)]


def test_a_trial_below_the_median_of_the_others_is_hopeless():
    assert why_hopeless([[0.5, 0.39]], OTHERS, ACCURACY) == (
        "validation accuracy 0.3900, the median of 5 trials at this point is 0.4000"
    )
    assert not why_hopeless([[0.5, 0.4]], OTHERS, ACCURACY)
    assert not why_hopeless([[0.4, 0.41], [0.5, 0.39]], OTHERS, ACCURACY)  # its best score so far counts
    assert why_hopeless([[0.5, 0.41]], OTHERS, LOSS) and not why_hopeless([[0.5, 0.39]], OTHERS, LOSS)


def test_trials_with_epochs_of_other_lengths_are_compared_after_equal_shares_of_their_steps():
    assert why_hopeless([[0.6, 0.43]], OTHERS, ACCURACY)  # the median rises from 0.4 to 0.6 in the second half
    assert not why_hopeless([[0.6, 0.45]], OTHERS, ACCURACY)


@pytest.mark.parametrize(
    ("curve", "others"),
    [
        ([[0.1, 0.0]], [[[0.1, 0.5], [1, 0.9]]] * 5),  # too early
        ([[0.5, 0.1], [1, 0.1]], OTHERS),  # at the end there is nothing left to save
        ([[0.5, 0.0]], OTHERS[: MIN_TRIALS - 1]),  # too few trials
        ([[0.5, 0.0]], [*OTHERS[: MIN_TRIALS - 1], [], [[0.4, 0.9]], [[0.6, 0.9], [1, 0.9]]]),  # nothing known at this point
    ],
)
def test_a_trial_that_cannot_be_judged_goes_on(curve, others):
    assert not why_hopeless(curve, others, ACCURACY)


def test_pruned_trials_count_as_far_as_they_came():
    pruned = [[[0.5, 0.1]]] * 4
    assert not why_hopeless([[0.5, 0.35]], OTHERS + pruned, ACCURACY)
    assert why_hopeless([[0.6, 0.35]], OTHERS + pruned, ACCURACY)


def good_or_useless(hp):
    """A recipe that learns with one of its rates, and nothing with the other."""
    return Recipe((Stage("training", hp.Choice("learning_rate", [2e-3, 1e-9]), max_epochs=3),), 64, "adamw")


def test_a_hopeless_trial_is_pruned_and_its_run_says_why(make_task, store):
    task = make_task(dataclasses.replace(TINY, recipe=good_or_useless))
    found, runs = run_search(task, max_trials=9)
    trials = found.trials
    assert set(trials["status"]) == {"completed", "pruned"} and (trials["status"][:MIN_TRIALS] == "completed").all()
    pruned = trials["status"] == "pruned"
    assert (trials.loc[pruned, "learning_rate"] == 1e-9).all()
    reason = (
        r"pruned after epoch 1 of 2 \(50 % of its steps\): validation accuracy 0\.\d{4}, "
        r"the median of \d trials at this point is 0\.\d{4}"
    )
    assert trials.loc[pruned, "reason"].str.fullmatch(reason).all() and (trials.loc[~pruned, "reason"] == "").all()
    assert set(runs["status"]) == {"FINISHED"} and (runs["tags.status"] == trials["status"]).all()
    assert runs["tags.pruned"].fillna("").tolist() == trials["reason"].tolist()
    np.testing.assert_allclose(runs["metrics.val_accuracy"], trials["val_accuracy"])
    with journal_of(task) as journal:
        kept = [trial.curve for trial in journal.trials]
    assert [[share for share, _ in curve] for curve in kept] == [[0.5] if one else [0.5, 1] for one in pruned]
    assert [curve[-1][1] for curve in kept] == pytest.approx(trials["val_accuracy"].tolist())


def test_without_pruning_every_trial_finishes(make_task, store):
    found, _ = run_search(make_task(dataclasses.replace(TINY, recipe=good_or_useless)), max_trials=5, prune=False)
    assert set(found.trials["status"]) == {"completed"} and (found.trials["learning_rate"] == 1e-9).any()


def scored(values):
    """A fit that needs no time and is scored by its width, after each half; it ends early if it is told to."""

    def fit(model, recipe, schedule, fit_data, hooks):
        width = model.get_layer("low").filters
        rows = [{"epoch": epoch, DEFAULT: score} for epoch, score in enumerate(values(width), 1)]
        for number, row in enumerate(rows, 1):
            if hooks.stop_early(number / len(rows), row):
                return dataclasses.replace(fit_result(row[DEFAULT]), stopped_early=True)
        result, labels = fit_result(rows[-1][DEFAULT]), fit_data.data.train_labels[fit_data.validation]
        right = np.arange(len(labels)) < rows[-1][DEFAULT] * len(labels)
        return dataclasses.replace(result, validation_probabilities=np.eye(10)[np.where(right, labels, labels - 1)])

    return fit


def test_a_pruned_trial_never_wins(make_task, store, monkeypatch):
    # After half of their steps most trials score 0.9, but then they fall far below what the pruned ones had.
    monkeypatch.setattr(trial_fit, "fit", scored(lambda width: (0.9, 0.3) if width <= 12 else (0.8, 0.8)))
    found, _ = run_search(make_task(), max_trials=10)
    status = found.trials["status"]
    best = found.trials["val_accuracy"].idxmax()
    assert status[best] == "pruned" and found.trials["refitted"][0] == "yes" and status[0] == "completed"


def test_the_first_trial_is_never_pruned(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", scored(lambda width: (0.1, 0.1)))
    task = make_task()
    run_search(task, max_trials=1, deterministic=True)
    with journal_of(task) as journal:  # as if others had been finished before it
        planned = journal.trials[0].planned_seconds
        journal.trials = [Trial("trial-01", dict(TINY.best), starts=1)]
        for number in range(2, 7):
            values = TINY.best | {"width": number + 3}
            done = Trial(f"trial-{number:02d}", values, "completed", *[0.9] * 4, planned_seconds=planned)
            journal.trials.append(dataclasses.replace(done, curve=[[0.5, 0.9], [1.0, 0.9]]))
        journal.trials[1:] = [
            dataclasses.replace(one, predictions=journal.trials[0].predictions) for one in journal.trials[1:]
        ]
    found, _ = run_search(task, max_trials=7, deterministic=True)
    assert found.trials["status"].iloc[0] == "completed" and found.trials["status"].iloc[-1] == "pruned"


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_an_interrupted_search_prunes_the_same_trials(tuner, make_task, store, monkeypatch):
    """Training is left out, and one fit in three is interrupted after its first half."""
    fits, interruptions = [], set()
    fit = scored(lambda width: (width / 20, width / 20))

    def interrupted(model, recipe, schedule, fit_data, hooks):
        fits.append(1)
        if len(fits) in interruptions:
            hooks.stop_early(0.5, {DEFAULT: 0.9})
            raise KeyboardInterrupt
        return fit(model, recipe, schedule, fit_data, hooks)

    monkeypatch.setattr(trial_fit, "fit", interrupted)
    options = {"seconds": 1, "max_trials": 11, "deterministic": True}
    whole, _ = run_search(make_task(), tuner, **options)
    fits.clear()
    interruptions |= {3, 6, 9}
    for _ in interruptions:
        with pytest.raises(KeyboardInterrupt):
            run_search(make_task(), tuner, name="interrupted", **options)
    found, runs = run_search(make_task(), tuner, name="interrupted", **options)
    times = ["seconds", "minutes"]
    pd.testing.assert_frame_equal(found.trials.drop(columns=times), whole.trials.drop(columns=times))
    pruned = found.trials["status"] == "pruned"
    assert pruned.sum() >= 2 and (runs["tags.pruned"].notna().sum() == pruned.sum())
    assert found.spent == pytest.approx(whole.spent)
    if tuner != "hyperband":  # whose trials are planned to take different times
        assert found.spent == pytest.approx(found.plan.trial_seconds * (len(pruned) - pruned.sum() / 2))


def test_short_pruned_trials_do_not_hide_how_long_a_whole_one_takes(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", scored(lambda width: (0.5, 0.5)))
    task = make_task()
    run_search(task, seconds=6000, max_trials=4)
    with journal_of(task) as journal:
        planned, measured = journal.trials[0].planned_seconds, journal.throughput["seconds"]
        first, *others = journal.trials
        for trial in others:
            trial.status, trial.curve, trial.seconds = "pruned", [[0.5, 0.5]], 1.0
        first.seconds = planned
        spent = 0.4 * (6000 - measured) - 0.7 * planned  # so that less than a whole trial is left
        journal.trials[1].seconds = spent - planned - 2.0
    found, _ = run_search(task, seconds=6000, max_trials=None)
    assert len(found.trials) == 4
