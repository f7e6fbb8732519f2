"""Finding and checking pretrained weights; the files are real ones, written here by Keras."""

import os
import pickle

import h5py
import keras
import numpy as np
import pytest
from conftest import Bomb

from mlproject.errors import UserError
from mlproject.networks import pretrained


@pytest.fixture(scope="module")
def fitting(tmp_path_factory):
    """A folder with a file of (random) weights of the VGG16 base, under the name that is searched for."""
    folder = tmp_path_factory.mktemp("weights")
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.save_weights(folder / "vgg16_imagenet_notop.weights.h5")
    return folder / "vgg16_imagenet_notop.weights.h5"


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Keras' cache is an empty folder, and no server can be reached."""
    monkeypatch.delenv("MLPROJECT_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "models"


def test_keras_itself_names_file_address_and_checksum():
    found = pretrained.imagenet_file("VGG16")
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert found.names == (name, "vgg16_imagenet_notop.weights.h5")
    assert found.url.startswith("https://") and found.url.endswith(f"/{name}") and len(found.checksum) == 32


@pytest.mark.parametrize(("pixels", "size"), [(28, 96), (96, 96), (140, 128), (500, 224)])
def test_the_size_of_the_images_decides_which_weights_mobilenet_gets(pixels, size):
    (name,) = pretrained.imagenet_file("MobileNetV2", pixels).names
    assert name == f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5"
    assert pretrained.imagenet_file("MobileNetV3Small", pixels) == pretrained.imagenet_file("MobileNetV3Small")


@pytest.mark.parametrize("network", ["MobileNetV3Small", "MobileNet", "NASNetMobile"])
def test_without_a_network_one_line_says_what_to_fetch_and_where_to_put_it(network, no_network):
    url = pretrained.imagenet_file(network).url
    name = url.rpartition("/")[2]
    with pytest.raises(
        UserError, match=rf"cannot download {url} \(.*\); accepted: {name}, put by hand into {no_network}"
    ) as error:
        pretrained.find("imagenet", network)
    assert "\n" not in str(error.value)
    no_network.mkdir(exist_ok=True)
    (no_network / name).write_bytes(b"found but not HDF5")
    with pytest.raises(UserError, match=f"weights file {no_network / name} is not HDF5"):
        pretrained.find("imagenet", network)


def test_none_means_no_file():
    assert pretrained.find("none", "VGG16") is None


def test_imagenet_weights_are_found_in_the_named_folder_else_in_keras_cache(fitting, tmp_path, monkeypatch):
    monkeypatch.delenv("MLPROJECT_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert pretrained.find("imagenet", "VGG16", fitting.parent) == fitting
    (tmp_path / "models").mkdir()
    cached = tmp_path / "models" / "vgg16_imagenet_notop.weights.h5"
    cached.symlink_to(fitting)
    assert pretrained.find("imagenet", "VGG16") == cached
    assert pretrained.find("imagenet", "VGG16", tmp_path) == cached  # a data folder need not hold weights
    monkeypatch.setenv("MLPROJECT_DATA", str(fitting.parent))
    assert pretrained.find("imagenet", "VGG16") == fitting


def test_a_path_is_used_as_it_is(fitting):
    assert pretrained.find(str(fitting), "VGG16") == fitting


@pytest.mark.parametrize("weights", ["imagnet", "/nowhere/vgg.h5"])
def test_weights_that_are_neither_a_known_word_nor_a_file_are_refused(weights):
    with pytest.raises(UserError, match=f"weights={weights} is not a file; accepted: imagenet, none, or the path"):
        pretrained.find(weights, "VGG16")


def test_a_missing_data_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="data_dir=.* is not a folder"):
        pretrained.find("imagenet", "VGG16", tmp_path / "none")


@pytest.mark.parametrize("name", ["vgg.h5", "vgg.weights.h5", "vgg.pkl"])
def test_a_pickle_is_refused_without_being_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=f"{name} is not HDF5"):
        pretrained.find(name, "VGG16")
    assert not (tmp_path / "exploded").exists()


def test_weights_that_do_not_fit_are_refused_in_one_line(fitting, tmp_path):
    small = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(64, 3), keras.layers.Conv2D(64, 3)])
    small.save_weights(tmp_path / "small.weights.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    (tmp_path / "truncated.weights.h5").write_bytes(fitting.read_bytes()[:1_000_000])
    for name in ("small.weights.h5", "empty.h5", "truncated.weights.h5"):
        with pytest.raises(UserError, match=f"{name} does not fit VGG16 without its top") as error:
            pretrained.find(str(tmp_path / name), "VGG16")
        assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_weights_of_one_network_do_not_fit_another(fitting):
    with pytest.raises(UserError, match="vgg16_imagenet_notop.weights.h5 does not fit ResNet50 without its top"):
        pretrained.find(str(fitting), "ResNet50")


def test_the_digest_tells_files_apart(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (pretrained.digest(tmp_path / name) for name in "abc")
    assert a == b != c and len(a) == 32


@pytest.mark.skipif(not os.environ.get("MLPROJECT_DATA"), reason="set MLPROJECT_DATA to a folder with the real weights")
def test_the_real_weights_recognise_edges_and_colours():
    """ImageNet's first kernels are far from random initialisation: their mean size is .16 and not .05."""
    path = pretrained.find("imagenet", "VGG16")
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.load_weights(path)
    kernel = np.asarray(base.get_layer("block1_conv1").kernel)
    assert 0.15 < np.abs(kernel).mean() < 0.2
