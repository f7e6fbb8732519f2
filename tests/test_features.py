"""The cache of frozen activations: right values, computed once, keyed by data and weights, never half written."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import TINY

from mlproject.features import FeatureCache


def test_features_are_the_activations_at_the_cut(make_task):
    task = make_task()
    model, _ = task.network(TINY.best)
    features = task.features.get(model, ["low", "high"])
    for cut in ("low", "high"):
        expected = keras.Model(model.input, model.get_layer(cut).output).predict(task.data.train_images[:50], verbose=0)
        assert features[cut].dtype == np.float16 and len(features[cut]) == len(task.data.train_images)
        np.testing.assert_allclose(features[cut][:50], expected, rtol=2e-3, atol=2e-3)


def test_features_are_computed_once_for_the_same_weights(make_task):
    task = make_task()
    task.features.get(task.network(TINY.best)[0], ["low"])
    (file,) = task.features.folder.iterdir()
    written = file.stat().st_mtime_ns
    task.features.get(task.network(TINY.best)[0], ["low"])
    assert [path.stat().st_mtime_ns for path in task.features.folder.iterdir()] == [written]


def test_other_weights_or_data_are_another_file(make_task):
    task = make_task()
    task.features.get(task.network(TINY.best)[0], ["low"])
    task.features.get(make_task(seed=1).network(TINY.best)[0], ["low"])
    other = dataclasses.replace(task.data, digest="other")
    FeatureCache(task.features.folder, other).get(task.network(TINY.best)[0], ["low"])
    assert len(list(task.features.folder.iterdir())) == 3


def test_what_fails_midway_leaves_nothing(make_task):
    task = make_task()
    broken = dataclasses.replace(task.data, train_images=np.zeros((1500, 5, 5, 1), np.uint8))
    cache = FeatureCache(task.features.folder, broken)
    with pytest.raises(ValueError):
        cache.get(task.network(TINY.best)[0], ["low"])
    assert list(cache.folder.iterdir()) == []
