"""The pretrained weights of a VGG16 base: found or downloaded, and checked before any training."""

import hashlib
import os
import warnings
from pathlib import Path

from mlproject.datasets import files
from mlproject.errors import UserError, truncate

# ImageNet weights without the dense layers; address and checksum as in keras.applications.vgg16 (keras 3.15.1).
URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
MD5 = "6d6bbae143d832006294945121d1f1fc"
NAMES = ("vgg16_imagenet_notop.weights.h5", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")


def find(weights: str, data_dir: Path | str | None = None) -> Path | None:
    """Find the file of weights for `keras.applications.VGG16(include_top=False)`, and check that it fits.

    A file that is not HDF5 is not read any further, so a pickle in it is never executed.

    Args:
        weights: "none"; or "imagenet" for one of the files `NAMES`, in `data_dir`, or else in the folder
            MLPROJECT_DATA, or else in Keras' cache, into which it is downloaded if it is missing; or the path of an
            HDF5 file that Keras' `load_weights` can read.
        data_dir: the folder that holds the data files.

    Returns:
        The file's path; None, for random initialisation, if `weights` is "none".

    Raises:
        UserError: there is no such file, it is not HDF5 or does not fit VGG16, `data_dir` does not exist, or the
            download failed.
    """
    if weights == "none":
        return None
    path = _find_imagenet(data_dir) if weights == "imagenet" else files.user_path(weights)
    if path is None or not os.path.isfile(path):
        raise UserError(
            f"weights={truncate(weights)} is not a file; accepted: imagenet, none, or the path of an HDF5 file (.h5)"
        )
    _check_fits(path)
    return path


def digest(path: Path) -> str:
    """Compute what identifies a file of weights.

    Args:
        path: the file.

    Returns:
        The first 32 hexadecimal digits of the file's SHA-256.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _find_imagenet(data_dir: Path | str | None) -> Path:
    """The file of ImageNet weights; unlike the images, it may be in the cache even if the user named a data folder."""
    cache = files.keras_cache() / "models"
    named = files.named_folder(data_dir)
    return files.first_existing([named, cache] if named else [cache], NAMES) or files.download(URL, MD5, cache)


def _check_fits(path: Path) -> None:
    """Load the file into an untrained base, which fails unless every layer's shapes are right."""
    import h5py  # These two take seconds to import, which only those who ask for weights should wait for.
    import keras

    if path.suffix != ".h5" or not h5py.is_hdf5(path):
        raise UserError(f"weights file {path} is not HDF5; accepted: an HDF5 file whose name ends in .h5")
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    try:
        with warnings.catch_warnings(action="ignore"):  # Keras warns at length before it raises
            base.load_weights(path)
    except Exception as error:  # Keras and h5py raise many kinds
        reason = " ".join(str(error).partition("Example")[0].split())  # the rest of the message fills a screen
        raise UserError(f"weights file {path} does not fit VGG16 without its top ({reason})") from error
