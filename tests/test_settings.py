"""The settings are parsed in one place, and can be shown as the command that repeats them."""

import math
import shlex
from dataclasses import fields

import click
import pytest
import yaml
from conftest import PROJECT, asked

from mlproject import settings
from mlproject.errors import UserError
from mlproject.settings import Settings

ENTRY = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]


def test_without_options_all_settings_have_their_defaults():
    assert asked() == Settings()


def test_the_entry_points_have_every_setting_with_the_same_default():
    names = [one.name for one in fields(Settings)]
    for name in ("main", "tune"):
        assert list(ENTRY[name]["parameters"]) == names
        words = [f"--{one.replace('_', '-')} {{{one}}}" for one in names]
        assert shlex.split(ENTRY[name]["command"]) == shlex.split(f"python -m mlproject tune {' '.join(words)}")
        given = [f"--{one.replace('_', '-')}={ENTRY[name]['parameters'][one]['default']}" for one in names]
        assert asked(*given) == Settings()


def test_the_command_repeats_what_was_asked_and_starts_anew_only_if_told():
    given = asked(
        "--budget-minutes=5", "--values=width=32", "--experiment", "fashion-*", "--fresh=true", "--winograd=false"
    )
    again = given.repeat()
    assert again.startswith("mlproject tune ") and "fresh" not in again
    assert asked(*shlex.split(again)[2:]) == Settings(
        experiment="fashion-*", budget_minutes=5.0, values="width=32", winograd=False
    )
    assert given.repeat("mlflow run . -e tune").startswith("mlflow run . -e tune -P 'experiment=fashion-*' -P ")
    assert given.repeat(fresh=True) == f"{again} --fresh true" and asked("--fresh", "true").fresh
    assert given.repeat("mlflow run .", fresh=True).endswith(" -P fresh=true")


@pytest.mark.parametrize(
    ("given", "seeds"),
    [([], (0,)), (["--seed=7"], (7,)), (["--seed=7", "--seeds=3"], (7, 8, 9)), (["--seeds=5, 2"], (5, 2))],
)
def test_final_fits_have_as_many_seeds_as_given_or_those_listed(given, seeds):
    assert asked(*given).final_seeds == seeds


def test_what_decides_is_logged_and_the_rest_is_not():
    assert set(Settings().deciding) == {
        "tuner", "objective", "budget_minutes", "max_trials", "prune", "values", "limit", "seed", "seeds", "folds", "repeats",
        "train_share", "data", "image_size", "image_fit", "base", "deterministic", "precision", "winograd",
    }  # fmt: skip


def test_a_command_takes_only_the_options_it_names():
    command = click.command(settings.options(*settings.DATA_OPTIONS)(lambda **given: given))
    assert command.main([], standalone_mode=False) == {"data": "real", "data_dir": None}


@pytest.mark.parametrize("text", ["parameters<1e6", "ms_per_image<=2", " parameters < 1e6 , ms_per_image<2 ", ""])
def test_limits_are_parsed_and_repeated_without_spaces(text):
    given = asked("--limit", text)
    assert given.limit == text.replace(" ", "")
    assert [one.text for one in given.limits] == given.limit.split(",") * bool(given.limit)
    assert asked(*shlex.split(given.repeat())[2:]) == given


def test_a_limit_may_include_its_bound():
    below, upto = Settings(limit="parameters<10,parameters<=10").limits
    assert [below.is_exceeded_by(cost) for cost in (9, 10, 11, math.nan)] == [False, True, True, False]
    assert [upto.is_exceeded_by(cost) for cost in (9, 10, 11, math.nan)] == [False, False, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "params<3",
        "parameters>3",
        "parameters<",
        "parameters<0",
        "ms_per_image<nan",
        "parameters<1e6,",
        "parameters=3",
        "3",
    ],
)
def test_other_limits_are_refused_with_what_is_accepted(text):
    with pytest.raises(UserError, match=r"limit='.*accepted: parameters<NUMBER, ms_per_image<NUMBER"):
        asked("--limit", text)


def test_a_deterministic_search_has_no_limit_that_a_clock_decides():
    with pytest.raises(UserError, match="ms_per_image.* with deterministic=true"):
        asked("--limit", "parameters<9,ms_per_image<2", "--deterministic", "true")
    assert asked("--limit", "parameters<9", "--deterministic", "true").deterministic
