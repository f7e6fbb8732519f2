"""The settings are parsed in one place, and can be shown as the command that repeats them."""

import argparse
import math
import shlex
from dataclasses import fields

import pytest
import yaml
from conftest import PROJECT

from mlproject import __main__ as commands
from mlproject import settings
from mlproject.errors import UserError
from mlproject.settings import Settings

ENTRY = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]


def parse(*words):
    return settings.from_options(commands._parser().parse_args(["tune", *words]))


def test_without_options_all_settings_have_their_defaults():
    assert parse() == Settings()


def test_the_entry_points_have_every_setting_with_the_same_default():
    names = [one.name for one in fields(Settings)]
    for name in ("main", "tune"):
        assert list(ENTRY[name]["parameters"]) == names
        words = [f"--{one.replace('_', '-')} {{{one}}}" for one in names]
        assert shlex.split(ENTRY[name]["command"]) == shlex.split(f"python -m mlproject tune {' '.join(words)}")
        given = [f"--{one.replace('_', '-')}={ENTRY[name]['parameters'][one]['default']}" for one in names]
        assert parse(*given) == Settings()


def test_the_command_repeats_what_was_asked_and_never_starts_anew():
    asked = parse(
        "--budget-minutes=5", "--values=width=32", "--experiment", "fashion-*", "--fresh=true", "--winograd=false"
    )
    again = asked.repeat()
    assert again.startswith("python -m mlproject tune ") and "fresh" not in again
    assert parse(*shlex.split(again)[4:]) == Settings(
        experiment="fashion-*", budget_minutes=5.0, values="width=32", winograd=False
    )
    assert asked.repeat("mlflow run . -e tune").startswith("mlflow run . -e tune -P 'experiment=fashion-*' -P ")


@pytest.mark.parametrize(
    ("given", "seeds"),
    [([], (0,)), (["--seed=7"], (7,)), (["--seed=7", "--seeds=3"], (7, 8, 9)), (["--seeds=5, 2"], (5, 2))],
)
def test_final_fits_have_as_many_seeds_as_asked_for_or_those_listed(given, seeds):
    assert parse(*given).final_seeds == seeds


def test_what_decides_is_logged_and_the_rest_is_not():
    assert set(Settings().deciding) == {
        "tuner", "objective", "budget_minutes", "max_trials", "prune", "values", "limit", "seed", "seeds", "folds", "repeats",
        "data", "image_size",
        "image_fit", "base", "deterministic", "winograd",
    }  # fmt: skip


def test_a_command_takes_only_the_options_it_names():
    parser = argparse.ArgumentParser()
    settings.add_options(parser, settings.DATA_OPTIONS)
    assert set(vars(parser.parse_args([]))) == {"data", "data_dir"}


@pytest.mark.parametrize("text", ["parameters<1e6", "ms_per_image<=2", " parameters < 1e6 , ms_per_image<2 ", ""])
def test_limits_are_parsed_and_repeated_without_spaces(text):
    asked = parse("--limit", text)
    assert asked.limit == text.replace(" ", "")
    assert [one.text for one in asked.limits] == asked.limit.split(",") * bool(asked.limit)
    assert parse(*shlex.split(asked.repeat())[4:]) == asked


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
        parse("--limit", text)


def test_a_deterministic_search_has_no_limit_that_a_clock_decides():
    with pytest.raises(UserError, match="ms_per_image.* with deterministic=true"):
        parse("--limit", "parameters<9,ms_per_image<2", "--deterministic", "true")
    assert parse("--limit", "parameters<9", "--deterministic", "true").deterministic
