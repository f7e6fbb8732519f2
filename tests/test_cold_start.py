"""The values that the cold-start benchmark begins with, read off the declared search space."""

import dataclasses
import sys

import pytest
from conftest import PROJECT, TINY, tiny_build

from mlproject.datasets import CIFAR100
from mlproject.discovery import find
from mlproject.search.space import check_best_values, replace_best_values
from mlproject.task import prepare

sys.path.append(str(PROJECT / "bench"))
from cold import mid_range


def test_values_are_in_the_middle_of_their_ranges(make_task):
    declared = {
        "linear": lambda hp: hp.Float("linear", 0.0, 0.3),
        "steps": lambda hp: hp.Float("steps", 0.0, 0.3, step=0.05),
        "between two steps": lambda hp: hp.Int("between two steps", 0, 12, step=4),
        "whole": lambda hp: hp.Int("whole", 16, 64),
        "log": lambda hp: hp.Float("log", 1e-4, 1e-2, sampling="log"),
        "log steps": lambda hp: hp.Int("log steps", 8, 128, step=2, sampling="log"),
        "whole log": lambda hp: hp.Int("whole log", 10, 1000, sampling="log"),
        "three": lambda hp: hp.Choice("three", [128, 256, 512]),
        "four": lambda hp: hp.Choice("four", ["a", "b", "c", "d"]),
        "boolean": lambda hp: hp.Boolean("boolean"),
        "with a default": lambda hp: hp.Int("with a default", 1, 9, default=7),
    }

    def build(hp, spec):
        for declare in declared.values():
            declare(hp)
        return tiny_build(hp, spec)

    found = mid_range(make_task(dataclasses.replace(TINY, build=build)))
    assert {name: found[name] for name in declared} == {
        "linear": 0.15,
        "steps": 0.15,
        "between two steps": 4,
        "whole": 40,
        "log": 1e-3,
        "log steps": 32,
        "whole log": 100,
        "three": 256,
        "four": "b",
        "boolean": False,
        "with a default": 7,
    }


def test_best_known_values_change_nothing(make_task):
    best = {"width": 16, "learning_rate": 1e-4}
    assert (
        mid_range(make_task(dataclasses.replace(TINY, best=best)))
        == mid_range(make_task())
        == {
            "width": 10,
            "learning_rate": 1e-3,
        }
    )


@pytest.mark.parametrize("name", ["cifar100-fine-cnn", "fashion-mnist-cnn", "fashion-mnist-mlp", "cnn"])
def test_tune_accepts_them_as_values(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    images = CIFAR100() if name == "cnn" else None
    (task,) = prepare(find(name, images=images), "synthetic")
    given = replace_best_values(task, [f"{one}={value}" for one, value in mid_range(task).items()])
    assert given.experiment.best == mid_range(task)
    check_best_values(given)
