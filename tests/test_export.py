"""Exported files are complete or absent, the printed line alone loads them, and bad options are refused at once."""

import json
import os

import keras
import mlflow
import numpy as np
import pytest
from conftest import TINY
from keras import layers

from mlproject import export, tracking
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError

NAMES = [f"class {number}" for number in range(5)]
PREPARATION = json.loads(json.dumps(Preparation(8, 3).describe()))


def small_model(seed=0):
    """A network with every type of layer that the experiments use."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((8, 8, 3), dtype="uint8", name="images")
    x = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3700.0, 3800.0])(images)
    x = layers.Activation("silu")(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)])
    return keras.Model(images, layers.Dense(5, activation="softmax", dtype="float32")(layers.Dropout(0.5)(x)))


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


def predictions(path, format, images):
    """The predictions of a user who has nothing but the file and the printed line."""
    names = {}
    exec(export.loading_code(path, format), names)
    return np.asarray(names["predict"](images))


@pytest.mark.parametrize("format", export.FORMATS)
def test_the_printed_line_loads_the_same_model_and_an_older_export_is_gone(format, images, tmp_path):
    for package in export.FORMATS[format].needs:
        pytest.importorskip(package)
    older = tmp_path / "exports" / f"small{export.FORMATS[format].suffix}"
    if format == "saved_model":
        (older / "variables").mkdir(parents=True)
        (older / "variables" / "stale").write_text("the older one")
    else:
        older.parent.mkdir()
        older.write_text("the older one")
    (older.parent / "small.images.json").write_text("{}")  # of an older one that said how its images were prepared
    model = small_model()
    path = export.write(model, NAMES, images, tmp_path / "exports", "small", format)
    np.testing.assert_allclose(predictions(path, format, images), model.predict(images, verbose=0), atol=1e-5)
    assert json.loads((tmp_path / "exports" / "small.classes.json").read_text()) == NAMES
    assert sorted(found.name for found in path.parent.iterdir()) == sorted(["small.classes.json", path.name])
    assert not list(path.rglob("stale"))


def test_a_model_that_does_not_come_back_the_same_is_not_exported(images, tmp_path):
    (tmp_path / "small.keras").write_text("the older one")
    model = small_model()
    twin = small_model(seed=3)
    model.save = twin.save  # another network is written to the disk
    with pytest.raises(export.ExportError, match="predicts differently"):
        export.write(model, NAMES, images, tmp_path, "small")
    assert [found.name for found in tmp_path.iterdir()] == ["small.keras"]
    assert (tmp_path / "small.keras").read_text() == "the older one"


def test_what_a_killed_export_left_is_removed_by_the_next_one(images, tmp_path):
    killed, older, under_way = (
        tmp_path / f".small.{name}" for name in ("01ab.part.keras", "01ab.part.old", "23cd.part.keras")
    )
    (older / "variables").mkdir(parents=True)
    for one in (killed, under_way):
        one.touch()
    for one in (killed, older):
        os.utime(one, (0, 0))  # as if it had been killed long ago
    export.write(small_model(), NAMES, images, tmp_path, "small")
    assert sorted(one.name for one in tmp_path.iterdir()) == [under_way.name, "small.classes.json", "small.keras"]


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UserError, match="format='h5'.*keras, saved_model, onnx"):
        export.check("h5", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="output=.*cannot be written"):
        export.check("keras", tmp_path / "file" / "exports")


def test_onnx_without_its_packages_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"tf2onnx and onnxruntime.*\[onnx\]"):
        export.check("onnx", tmp_path)


@pytest.fixture
def registered(store, images):
    """A registered model "small" with a champion and, under another version, a challenger."""
    models = [small_model(seed) for seed in (1, 2)]
    for model in models:
        with tracking.run("final", {"role": "final", "experiment": TINY.name}):
            tracking.log_metrics({"val_accuracy": 0.5})
            tags = {"dataset.digest": "d", "experiment": TINY.name}
            tracking.promote("small", tracking.register(model, "small", NAMES, images[:2], tags, PREPARATION))
    return models


def test_a_registered_model_is_exported_by_name_alias_or_version(registered, images, run_here, tmp_path, monkeypatch):
    for reference, model in (("small", registered[0]), ("small@challenger", registered[1]), ("small/2", registered[1])):
        (final,) = tracking.final_models([reference])
        found, names, _ = tracking.load_model(final)
        assert names == NAMES
        np.testing.assert_allclose(found.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-6)
    done = run_here("export", "--model", "small", cwd=tmp_path, MLFLOW_TRACKING_URI=mlflow.get_tracking_uri())
    assert done.returncode == 0, done.stderr
    assert "keras.models.load_model('exports/small.keras')" in done.stdout
    for kind, content in (("classes", NAMES), ("images", PREPARATION)):
        assert json.loads((tmp_path / "exports" / f"small.{kind}.json").read_text()) == content
    loaded = keras.models.load_model(tmp_path / "exports" / "small.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), registered[0].predict(images, verbose=0), atol=1e-6)
    # It starts a process, and the first export has just tested it.
    monkeypatch.setattr("mlproject.export._compare", lambda *_: None)
    done = run_here("export", "--model", "small/2", cwd=tmp_path, MLFLOW_TRACKING_URI=mlflow.get_tracking_uri())
    assert done.returncode == 0 and (tmp_path / "exports" / "small-v2.keras").exists(), done.stderr
    (tmp_path / "exports" / "small.classes.json").unlink()
    (tmp_path / "exports" / "small.classes.json").mkdir()  # which no file can replace
    failed = run_here("export", "--model", "small", cwd=tmp_path, MLFLOW_TRACKING_URI=mlflow.get_tracking_uri())
    assert failed.returncode == 1 and "\nfailed: [" in f"\n{failed.stderr}", failed.stderr

    for reference in ("nobody", "small/9", "small@best"):
        refused = run_here("export", "--model", reference, cwd=tmp_path, MLFLOW_TRACKING_URI=mlflow.get_tracking_uri())
        assert refused.returncode == 2 and f"model='{reference}': no " in refused.stderr
        assert "accepted: small" in refused.stderr
