"""The plan of a budget, and the rule that makes a pair fair."""

import pytest

from mlproject import budget
from mlproject.budget import Demand, make_plan, measured_executions, reserve_seconds


def test_a_plan_spends_the_whole_budget():
    plan = make_plan(budget=900, measuring=60, slowest=500, images=45_000, demand=Demand())
    assert plan.measuring + plan.trials * plan.trial_seconds + plan.final_fit == pytest.approx(900)
    assert plan.search == pytest.approx(budget.SEARCH_SHARE * 840)
    assert plan.trials == 3  # in 336 seconds there is time for 3.7 passes


@pytest.mark.parametrize(("slowest", "trials"), [(1, budget.FEWEST_TRIALS), (1e6, budget.MOST_TRIALS)])
def test_there_are_neither_too_few_nor_too_many_trials(slowest, trials):
    assert make_plan(900, 0, slowest, 45_000, Demand()).trials == trials


def test_no_more_trials_are_planned_than_have_time_to_start():
    plans = [make_plan(seconds, 0, 1e6, 1000, Demand()) for seconds in (20, 60, 80, 110)]
    assert [plan.trials for plan in plans] == [budget.FEWEST_TRIALS, 4, 6, budget.MOST_TRIALS]
    assert all(plan.trial_seconds >= budget.STARTING_SECONDS for plan in plans[1:])
    assert make_plan(60, 0, 1e6, 1000, Demand(workers=2)).trials == 8
    assert make_plan(60, 0, 1e6, 1000, Demand(given=10)).trials == 10  # what a user asks for is planned
    assert make_plan(20, 0, 1e6, 1000, Demand(starting=0.0)).trials == budget.MOST_TRIALS  # a deterministic search


def test_fewer_trials_are_not_longer_and_more_are_shorter():
    usual = make_plan(900, 0, 1e6, 45_000, Demand())
    fewer, more = (make_plan(900, 0, 1e6, 45_000, Demand(trials)) for trials in (1, 16))
    assert fewer.trial_seconds == usual.trial_seconds and fewer.final_fit == pytest.approx(900 - usual.trial_seconds)
    assert more.trial_seconds == usual.trial_seconds / 2 and more.final_fit == pytest.approx(usual.final_fit)


def test_all_given_trials_are_planned():
    usual, given = make_plan(900, 0, 1e6, 45_000, Demand()), make_plan(900, 0, 1e6, 45_000, Demand(given=16))
    assert given.trials == 16 and given.trial_seconds == usual.trial_seconds / 2
    assert given.final_fit == pytest.approx(usual.final_fit)
    assert make_plan(900, 0, 1e6, 45_000, Demand(given=2)) == usual


def test_a_pair_gets_what_was_planned_and_others_what_is_left():
    plan = make_plan(900, 60, 500, 45_000, Demand())
    assert plan.granted_final_fit(spent=200, remeasuring=5, paired=True) == plan.final_fit - 5
    assert plan.granted_final_fit(spent=200, remeasuring=5, paired=False) == 700


def test_a_plan_says_where_the_minutes_go_and_is_logged():
    plan = make_plan(900, 60, 500, 45_000, Demand(), reserve=30)
    said = str(plan)
    assert "15 min: 1.0 for measuring" in said and "about 3 trials of 112 s" in said and "8.4 for the final fit" in said
    assert plan.params["plan_trials"] == 3 and plan.params["plan_final_fit"] == pytest.approx(504, abs=1)


def test_folds_divide_a_trials_seconds_and_the_final_fits_too():
    plan = make_plan(900, 60, 500, 300, Demand(fits=5), reserve=30)
    assert (plan.trials, plan.fits, plan.final_fits) == (budget.MOST_TRIALS, 5, 6)
    assert make_plan(900, 60, 500, 9000, Demand(fits=5)).trials == 3 < make_plan(900, 60, 500, 9000, Demand()).trials
    assert "about 8 trials of 5 fits, one for each fold, 8 s for each fit" in str(plan)
    assert "6 final fits, 5 on folds and 1 on all images, of" in str(plan)
    assert 6 * reserve_seconds(300, 10.0, final_fits=6) == pytest.approx(reserve_seconds(300, 10.0) + 25)


def test_workers_multiply_trials_and_leave_minutes_as_they_are():
    one, four, few = (make_plan(900, 60, 500, 45_000, Demand(max_trials=most, workers=workers))
                      for most, workers in ((None, 1), (None, 4), (6, 4)))  # fmt: skip
    assert four.trials == 4 * one.trials and four.trial_seconds == one.trial_seconds and four.final_fit == one.final_fit
    assert "5.6 for about 12 trials of 112 s, 4 at a time, 8.4 for the final fit" in str(four)
    assert few.trial_seconds == one.trial_seconds and few.final_fit == pytest.approx(one.final_fit + one.trial_seconds)
    alone, beside = (make_plan(900, 60, 500, 45_000, Demand(seeds=5, final_workers=beside)) for beside in (1, 2))
    assert 3 * beside.final_fit == pytest.approx(5 * alone.final_fit)
    assert "8.4 for 5 final fits, 2 at a time, of 2.8 each" in str(beside)


def test_short_budgets_are_measured_by_fewer_executions():
    assert [measured_executions(seconds) for seconds in (1, 120, 3600)] == [2, 4, 8]


def test_the_reserve_has_time_to_predict_the_test_images_after_every_stage():
    assert reserve_seconds(20_000, 1000.0) == budget.LOGGING_SECONDS + 20
    assert 3 * reserve_seconds(60_000, 1000.0, final_fits=3) == pytest.approx(budget.LOGGING_SECONDS + 70)


def test_final_fits_with_several_seeds_share_what_one_would_have():
    one, three = (make_plan(900, 60, 500, 45_000, Demand(seeds=fits)) for fits in (1, 3))
    assert three.trial_seconds == one.trial_seconds and 3 * three.final_fit == pytest.approx(one.final_fit)
    assert "8.4 for 3 final fits of 2.8 each" in str(three)
    for paired in (False, True):
        granted = [plan.granted_final_fit(spent=200, remeasuring=6, paired=paired) for plan in (one, three)]
        assert 3 * granted[1] == pytest.approx(granted[0])
