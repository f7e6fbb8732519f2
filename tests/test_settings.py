"""The settings are parsed in one place, and can be shown as the command that repeats them."""

import argparse
import shlex
from dataclasses import fields

import yaml
from conftest import PROJECT

from mlproject import __main__ as commands
from mlproject import settings
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


def test_what_decides_is_logged_and_the_rest_is_not():
    assert set(Settings().deciding) == {
        "tuner", "objective", "budget_minutes", "max_trials", "values", "seed", "folds", "repeats", "data", "image_size",
        "image_fit", "base", "deterministic", "winograd",
    }  # fmt: skip


def test_a_command_takes_only_the_options_it_names():
    parser = argparse.ArgumentParser()
    settings.add_options(parser, settings.DATA_OPTIONS)
    assert set(vars(parser.parse_args([]))) == {"data", "data_dir"}
