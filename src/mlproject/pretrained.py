"""The pretrained weights of a VGG16 base: found, downloaded, and checked before any training."""

import hashlib
import os
import warnings
from pathlib import Path

from mlproject.datasets import files
from mlproject.errors import UserError, shown

# Both as in keras.applications.vgg16 (keras 3.15.1): ImageNet weights without the dense top.
URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
MD5 = "6d6bbae143d832006294945121d1f1fc"
NAMES = ("vgg16_imagenet_notop.weights.h5", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")


def find(weights: str, data_dir: Path | str | None = None) -> Path | None:
    """The file of weights for `keras.applications.VGG16(include_top=False)`; None stands for random initialisation.

    weights: "none"; "imagenet", which is one of `NAMES` in data_dir, else in MLPROJECT_DATA, else in Keras' cache, else
    downloaded there; or the path of an HDF5 file that Keras' `load_weights` can read.
    Raises UserError when there is no such file, when it is no HDF5 file (it is then read no further, so a pickle is
    never run), when it does not fit VGG16, and when the download fails.
    """
    if weights == "none":
        return None
    path = _imagenet(data_dir) if weights == "imagenet" else files.user_path(weights)
    if path is None or not os.path.isfile(path):
        raise UserError(
            f"weights={shown(weights)} is no file; accepted: imagenet, none, or the path of an HDF5 file (.h5)"
        )
    _check_fits(path)
    return path


def digest(path: Path) -> str:
    """32 hexadecimal digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _imagenet(data_dir: Path | str | None) -> Path:
    cache = files.keras_cache() / "models"
    named = files.named_folder(data_dir)
    return files.first([named, cache] if named else [cache], NAMES) or files.download(URL, MD5, cache)


def _check_fits(path: Path) -> None:
    """Load the file into an untrained base, which tells whether every layer's shapes are right."""
    import h5py  # these two take seconds to import: only those who ask for weights should wait
    import keras

    if path.suffix != ".h5" or not h5py.is_hdf5(path):
        raise UserError(f"weights file {path} is not HDF5; accepted: an HDF5 file whose name ends in .h5")
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns at length before it raises
            base.load_weights(path)
    except Exception as error:  # Keras and h5py raise many kinds
        reason = " ".join(str(error).partition("Example")[0].split())  # what follows fills a screen
        raise UserError(f"weights file {path} does not fit VGG16 without its top ({reason})") from error
