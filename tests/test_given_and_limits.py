"""Trials that a user gives run first; trials beyond a limit are not trained. Both with the real Keras Tuner and store."""

import dataclasses
import time

import keras
import mlflow
import numpy as np
import pytest
from conftest import TINY, tiny_build
from searches import fit_result, interrupted_like, journal_of, run_search

from mlproject.errors import UserError
from mlproject.search import trial_fit
from mlproject.search.given_trials import add_given_trials
from mlproject.search.oracles import TUNERS
from mlproject.search.space import check_best_values, declared_space, replace_best_values
from mlproject.training.prediction import milliseconds_per_image

FILE = "given.csv"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The file is in the working folder."""
    monkeypatch.chdir(tmp_path)


def given(task, content, max_trials=None):
    with open(FILE, "w", encoding="utf-8") as file:
        file.write(content)
    return add_given_trials(task, FILE, max_trials)


def deep_build(hp, spec):
    """A network whose third layer declares its width only where there is one."""
    images = keras.Input(spec.shape, dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    for depth in range(hp.Int("depth", 1, 3)):
        x = keras.layers.Dense(hp.Int(f"width_{depth}", 4, 16), activation="relu")(x)
    return keras.Model(images, keras.layers.Dense(spec.classes, activation="softmax")(x))


DEEP = dataclasses.replace(TINY, build=deep_build, best={"depth": 1, "width_0": 8, "learning_rate": 2e-3})


@pytest.mark.parametrize(("seconds", "fit_seconds", "complete"), [(600, 0, True), (5, 3, False)])
def test_rows_that_the_search_had_no_time_for_are_warned_of(
    seconds, fit_seconds, complete, make_task, store, monkeypatch, recwarn
):
    """Of 5 seconds, the search has less than 2, so the first fit takes them all."""
    monkeypatch.setattr(trial_fit, "fit", lambda *given: time.sleep(fit_seconds) or fit_result(0.5))
    task = given(make_task(), "width\n5\n6\n")
    found, _ = run_search(task, seconds=seconds, max_trials=3, trials=FILE)
    said = [str(warning.message) for warning in recwarn if "rows" in str(warning.message)]
    expected = "trials='given.csv': the search had time for 0 of 2 rows; a larger budget_minutes tries them all"
    assert len(found.trials) == (3 if complete else 1) and said == ([] if complete else [expected])


@pytest.mark.parametrize("tuner", ["bayesian", "hyperband"])
def test_given_trials_run_first_and_whole_then_the_tuner_goes_on(tuner, make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    task = given(make_task(), "\ufeffwidth,learning_rate\n5,\n8,0.002\n\n,0.005\n5,\n6.0,1e-3\n")
    found, runs = run_search(task, tuner, max_trials=5, deterministic=True)
    expected = [(8, 0.002), (5, 0.002), (8, 0.005), (6, 0.001)]
    assert list(found.trials[["width", "learning_rate"]].itertuples(index=False, name=None))[:4] == expected
    assert found.trials["given"].tolist() == ["yes"] * 4 + [""]
    assert not found.trials.duplicated(["width", "learning_rate"]).any()
    assert set(runs["params.rung"].iloc[:4]) == {"1.0"}
    assert (runs["params.rung"].iloc[4] == "1.0") == (tuner != "hyperband")


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["bayesian", "hyperband"])
def test_a_search_with_given_trials_and_a_limit_goes_on_as_if_never_interrupted(tuner, make_task, store, monkeypatch):
    fits, interruptions, fit = [], set(), trial_fit.fit

    def fit_or_interrupt(*arguments):
        fits.append(arguments)
        if len(fits) in interruptions:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(trial_fit, "fit", fit_or_interrupt)
    task = given(make_task(), "width\n16\n5\n")  # the first one is beyond the limit
    options = {"seconds": 1, "max_trials": 5, "deterministic": True, "prune": False}
    options["limit"] = f"parameters<={parameters_of(task, 11)}"
    whole, _ = run_search(task, tuner, **options)
    fits.clear()
    interruptions |= {2, 5}
    found, runs = interrupted_like(whole, len(interruptions), lambda: task, tuner, **options)
    assert found.trials["status"].tolist()[:3] == ["completed", "over limit", "completed"]
    assert (found.trials["status"] == "completed").sum() == 5 and not (runs["status"] == "RUNNING").any()


def parameters_of(task, width):
    return task.network({**TINY.best, "width": width})[0].count_params()


def test_given_values_may_declare_more_hyperparameters(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    task = given(make_task(DEEP), "depth,width_2\n3,7\n1,\n2,\n")
    assert task.given_trials == ({**DEEP.best, "depth": 3, "width_2": 7}, {**DEEP.best, "depth": 2})
    assert set(declared_space(task, task.given_trials[0])) >= {"width_1", "width_2"}
    found, runs = run_search(task, max_trials=3)
    assert runs["params.width_2"].iloc[1] == "7" and set(runs["status"]) == {"FINISHED"}


def test_values_may_declare_more_hyperparameters_or_fewer(make_task):
    deeper = replace_best_values(make_task(DEEP), ["depth=2", "width_1=5"])
    assert deeper.experiment.best == {**DEEP.best, "depth": 2, "width_1": 5}
    check_best_values(deeper)
    assert replace_best_values(deeper, ["depth=1"]).experiment.best == DEEP.best
    with pytest.raises(UserError, match="best lacks the hyperparameter width_1; accepted: "):
        check_best_values(replace_best_values(make_task(DEEP), ["depth=2"]))
    with pytest.raises(UserError, match="best has width_1=6, which neither build nor recipe declares"):
        check_best_values(replace_best_values(deeper, ["depth=1", "width_1=6"]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("width\n17\n", r"line 2: width='17'; accepted: width=4\.\.16"),
        ("width\n5\nfive\n", r"line 3: width='five'"),
        ("width\n5.5\n", r"line 2: width='5\.5'"),
        ("learning_rate\nnan\n", r"line 2: learning_rate='nan'"),
        ("depth\n3\n", r"line 2: tiny has no hyperparameter 'depth'; accepted: .*width=4\.\.16"),
        ("width,width\n5,6\n", r"line 1: 'width' is there twice"),
        ("width,learning_rate\n5\n", r"line 2: 1 cells below 2 names"),
        ("width\n", "has no row below its header"),
        ("", "is empty"),
        ('width\n"5\n', "cannot be read"),
    ],
)
def test_bad_trials_are_refused_in_one_line_that_names_file_and_line(content, said, make_task):
    with pytest.raises(UserError, match=f"trials='given.csv'.*{said}") as refused:
        given(make_task(), content)
    assert "\n" not in str(refused.value) and "accepted: " in str(refused.value)


def test_files_that_are_no_text_are_refused(make_task, tmp_path):
    (tmp_path / FILE).write_bytes(b"\xff\xfe\x00width")
    for path in (FILE, str(tmp_path), "missing.csv"):
        with pytest.raises(UserError, match=r"trials='.*cannot be read .*accepted: a CSV file"):
            add_given_trials(make_task(), path, None)


def test_more_trials_than_asked_for_are_refused(make_task):
    rows = "width\n8\n5\n6\n7\n"
    assert len(given(make_task(), rows, max_trials=4).given_trials) == 3  # one row repeats the best-known values
    with pytest.raises(UserError, match=r"line 5, and max_trials=3; accepted: up to 2 rows, or max_trials=4"):
        given(make_task(), rows, max_trials=3)


def test_many_given_trials_are_short_and_the_search_says_so(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    rows = "width,learning_rate\n" + "".join(f"{width},0.001\n" for width in range(4, 16))
    task = given(make_task(), rows)
    with pytest.warns(UserWarning, match=r"trials='given.csv' gives 13 trials, .* so each has .* s, where 8 trials"):
        found, runs = run_search(task, seconds=4, max_trials=None, deterministic=True, trials=FILE)
    assert len(found.trials) >= 13


@pytest.mark.parametrize("tuner", ["bayesian", "hyperband"])
def test_trials_beyond_a_limit_are_not_trained(tuner, make_task, store, monkeypatch):
    fitted, fit = [], trial_fit.fit
    monkeypatch.setattr(trial_fit, "fit", lambda model, *rest: fitted.append(model.count_params()) or fit(model, *rest))
    task = make_task()
    most = parameters_of(task, 8)
    found, runs = run_search(task, tuner, max_trials=3, limit=f"parameters<={most}")
    over = found.trials["status"] == "over limit"
    assert over.any() and set(found.trials["status"]) == {"completed", "over limit"}
    assert (found.trials["parameters"] > most).equals(over)
    assert len(fitted) == (~over).sum() == 3 and max(fitted) <= most  # those beyond the limit do not count
    assert set(runs["status"]) == {"FINISHED"}
    beyond = runs[runs["tags.status"] == "over limit"]
    for _, run in beyond.iterrows():
        assert run["tags.reason"] == f"parameters {run['metrics.parameters']:,.0f}, limit=parameters<={most}"
        assert np.isnan(run["metrics.val_accuracy"])
    trained = runs[runs["tags.status"] == "completed"]
    assert (trained["metrics.ms_per_image"] > 0).all() and trained["metrics.parameters"].tolist() == fitted
    assert found.trials.loc[over, "seconds"].max() < found.trials.loc[~over, "seconds"].max()


def test_a_best_known_network_beyond_the_limit_is_no_reference(make_task, store):
    task = make_task()
    found, _ = run_search(task, max_trials=3, limit=f"parameters<{parameters_of(task, 8)}")
    assert found.trials["status"].iloc[0] == "over limit"
    completed = found.trials[found.trials["status"] == "completed"]
    assert len(completed) == 3
    assert found.trials.loc[found.trials["refitted"] == "yes", "val_accuracy"].item() == completed["val_accuracy"].max()


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_limit_that_no_network_keeps_is_an_error_with_the_smallest_seen(tuner, make_task, store, monkeypatch):
    monkeypatch.setattr("mlproject.search.tuner.OVER_LIMIT_IN_A_ROW", 12)
    task = make_task()
    with pytest.raises(UserError) as refused:
        run_search(task, tuner, max_trials=None, limit="parameters<1e3")
    smallest = mlflow.search_runs(filter_string="tags.role = 'trial'")["metrics.parameters"].min()
    assert f"limit='parameters<1e3'; the smallest seen: parameters {smallest:,.0f}; accepted" in str(refused.value)
    assert "none of 12 trials was completed" in str(refused.value)


def test_a_network_that_would_not_fit_into_memory_is_over_the_limit(make_task, store, monkeypatch):
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))

    def build(hp, spec):
        if hp.Int("width", 4, 16) == 8:
            return tiny_build(hp, spec)
        images = keras.Input(spec.shape, dtype="uint8")
        x = keras.layers.Dense(10**6)(keras.layers.Dense(10**6)(keras.layers.Flatten()(images)))  # 4 TB
        return keras.Model(images, keras.layers.Dense(spec.classes, activation="softmax")(x))

    task = given(make_task(dataclasses.replace(TINY, build=build)), "width\n9\n")
    found, _ = run_search(task, max_trials=2, limit="parameters<1e6")
    assert found.trials["status"].iloc[1] == "over limit" and "parameters 1,00" in found.trials["reason"].iloc[1]


def test_a_limit_on_prediction_time_is_measured_before_training(make_task, store, monkeypatch):
    monkeypatch.setattr("mlproject.search.tuner.OVER_LIMIT_IN_A_ROW", 5)
    monkeypatch.setattr(trial_fit, "fit", lambda *given: fit_result(0.5))
    task = given(make_task(), "width\n5\n")
    with pytest.raises(UserError, match=r"limit='ms_per_image<1e-6'; the smallest seen: ms_per_image 0\.\d+; accepted"):
        run_search(dataclasses.replace(task), max_trials=None, seconds=3, limit="ms_per_image<1e-6")
    found, runs = run_search(task, max_trials=2, name="lenient", limit="ms_per_image<1e6")
    np.testing.assert_allclose(found.trials["ms_per_image"], runs["metrics.ms_per_image"], atol=1e-5)
    with journal_of(task, "lenient") as journal:
        assert [trial.given for trial in journal.trials] == [True, True]


def test_a_larger_network_takes_longer_to_predict_and_few_images_suffice(make_task):
    def flat(width):
        images = keras.Input((28, 28, 1), dtype="uint8")
        return keras.Model(images, keras.layers.Dense(width)(keras.layers.Flatten()(images)))

    images = make_task().data.train_images
    assert milliseconds_per_image(flat(20_000), images) > milliseconds_per_image(flat(10), images[:3]) > 0
