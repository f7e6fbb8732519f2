"""The cache of frozen activations: correct, computed once for the same data and weights, and never half written."""

import dataclasses
import io
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import TINY, Bomb
from tqdm import tqdm

from mlproject.errors import UserError
from mlproject.experiment import hyperparameters
from mlproject.training import features
from mlproject.training.features import FeatureCache


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


def test_a_cache_that_is_deleted_meanwhile_is_made_again(make_task):
    task = make_task()
    task.features.get(task.network(TINY.best)[0], ["low"])
    shutil.rmtree(task.features.folder)
    again = task.features.get(task.network(TINY.best)[0], ["low"])["low"]
    assert len(again) == len(task.data.train_images)


def test_a_disk_without_room_is_told_before_anything_is_computed(make_task, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100_000))
    task = make_task()
    with pytest.raises(
        UserError, match=r"cannot be written into .* \(0.0 GB are free\); accepted: .* disk with 0.0 GB"
    ):
        task.features.get(task.network(TINY.best)[0], ["low"])


def _poison(path, how):
    """Spoil a cache file in one of many ways."""
    content = path.read_bytes()
    good = np.load(path)
    with path.open("wb") as file:
        if how == "pickle":
            np.save(file, np.array([Bomb()], object), allow_pickle=True)
        elif how == "shape":
            np.save(file, good[:-1])
        elif how == "dtype":
            np.save(file, good.astype(np.float32))
        elif how == "values":
            np.save(file, np.zeros_like(good))
        elif how == "not finite":
            np.save(file, np.full_like(good, np.nan))
        else:
            file.write(
                {
                    "truncated": content[: len(content) // 2],
                    "header alone": content[:128],
                    "a header that lies": content.replace(b"(200,", b"(900,"),
                    "a huge header": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + content,
                    "empty": b"",
                    "text": b"no array",
                    "bare pickle": pickle.dumps(Bomb()),
                }[how]
            )


@pytest.fixture(scope="module")
def kept(fashion, tmp_path_factory):
    """A network, some images, and the file with its activations for them."""
    few = dataclasses.replace(fashion, train_images=fashion.train_images[:200])
    model, folder = TINY.network(hyperparameters(TINY.best), few.spec()), tmp_path_factory.mktemp("features")
    FeatureCache(folder, few).get(model, ["low"])
    (path,) = folder.iterdir()
    return model, few, path


@pytest.mark.parametrize(
    "how",
    ["pickle", "bare pickle", "shape", "dtype", "values", "not finite", "truncated", "header alone",
     "a header that lies", "a huge header", "empty", "text"],
)  # fmt: skip
def test_a_poisoned_file_is_set_aside_and_computed_anew(kept, monkeypatch, tmp_path, caplog, how):
    monkeypatch.chdir(tmp_path)
    model, few, whole = kept
    path = Path(shutil.copy(whole, tmp_path))
    _poison(path, how)
    again = FeatureCache(tmp_path, few).get(model, ["low"])["low"]
    assert np.array_equal(again, np.load(whole)) and not (tmp_path / "exploded").exists()
    assert f"{path.name} is damaged" in caplog.text
    assert len(list(tmp_path.glob("*.damaged-*"))) == len(list(tmp_path.glob("*.npy"))) == 1


def test_an_interruption_clears_the_bar(make_task, monkeypatch):
    bars = []

    def show(*given, **more):
        bars.append(tqdm(*given, **more | {"file": io.StringIO(), "disable": False}))
        return bars[-1]

    def interrupt(*given, **more):
        raise KeyboardInterrupt

    task = make_task()
    model, _ = task.network(TINY.best)
    monkeypatch.setattr(features, "tqdm", show)
    monkeypatch.setattr(features, "with_winograd", lambda frozen: SimpleNamespace(predict=interrupt))
    with pytest.raises(KeyboardInterrupt) as stopped:
        task.features.get(model, ["low"])
    assert stopped.tb and bars[0].disable  # closed, though the exception still has the frames of the loop
