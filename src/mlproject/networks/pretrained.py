"""The pretrained weights of a network of `keras.applications`: found or downloaded, and checked before any training."""

import functools
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from mlproject.datasets import files
from mlproject.errors import UserError, truncate

# Sizes at which MobileNet or MobileNetV2 have weights of their own, in pixels.
SIZES = (96, 128, 160, 192, 224)
# Names under which files are found besides Keras' own.
OTHER_NAMES = {"VGG16": ("vgg16_imagenet_notop.weights.h5",)}


class ImagenetFile(NamedTuple):
    """The file of a network's ImageNet weights without its top.

    Attributes:
        names: the names that it may have; the first is Keras' own.
        url: its address.
        checksum: SHA-256 or MD5; None where Keras has none, which is so for MobileNet and MobileNetV2.
    """

    names: tuple[str, ...]
    url: str
    checksum: str | None


class _WeightsRequestedError(Exception):
    """Ends a constructor that asks for its weights; holds the arguments of `get_file`."""


def find(weights: str, network: str, data_dir: Path | str | None = None, pixels: int = 224) -> Path | None:
    """Find the file of weights for a network of `keras.applications` without its top, and check that it fits.

    A file that is not HDF5 is not read any further, so a pickle in it is never executed.

    Args:
        weights: "none"; or "imagenet" for the file of `imagenet_file`, in `data_dir`, or else in the folder
            MLPROJECT_DATA, or else in Keras' cache, into which it is downloaded if it is missing; or the path of an
            HDF5 file that Keras' `load_weights` can read.
        network: the network's name.
        data_dir: the folder that holds the data files.
        pixels: the height of the images.

    Returns:
        The file's path; None, for random initialisation, if `weights` is "none".

    Raises:
        UserError: there is no such file, it is not HDF5 or does not fit the network, `data_dir` does not exist, or the
            download failed.
    """
    path = check(weights)
    if weights == "imagenet":
        path = _find_imagenet(network, data_dir, pixels)
    if path is not None:
        _check_fits(path, network, path.stat().st_mtime_ns)
    return path


def check(weights: str) -> Path | None:
    """Check what the option `weights` says, without regard to a network.

    Args:
        weights: "imagenet", "none" or the path of a file.

    Returns:
        The path, expanded; None for the two words.

    Raises:
        UserError: it is neither of the words nor a file.
    """
    if weights in ("imagenet", "none"):
        return None
    path = Path(os.path.expanduser(weights))
    if not os.path.isfile(path):
        raise UserError(
            f"weights={truncate(weights)} is not a file; accepted: imagenet, none, or the path of an HDF5 file (.h5)"
        )
    return path


def imagenet_file(network: str, pixels: int = 224) -> ImagenetFile:
    """Ask Keras for the file of a network's ImageNet weights without its top.

    Args:
        network: the network's name.
        pixels: the height of the images. MobileNet and MobileNetV2 (of the default width) have weights for several sizes, and
            the file is the one that Keras takes for square images of the nearest of `SIZES`. All others have one file.

    Returns:
        Names, address and checksum.
    """
    return _imagenet_file(network, min(SIZES, key=lambda size: abs(size - pixels)))


def digest(path: Path) -> str:
    """Compute what identifies a file of weights.

    Args:
        path: the file.

    Returns:
        The first 32 hexadecimal digits of the file's SHA-256.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


@functools.cache
def _imagenet_file(network: str, size: int) -> ImagenetFile:
    # Keras takes seconds to import, which only those who ask for weights should wait for.
    from mlproject.networks.applications import make_base

    def request_weights(name: str, url: str, file_hash: str | None = None, **_: object) -> str:
        raise _WeightsRequestedError(name, url, file_hash)

    try:
        make_base(network, request_weights, input_shape=(size, size, 3))
    except _WeightsRequestedError as request:
        name, url, checksum = request.args
        names = dict.fromkeys((name, url.rpartition("/")[2], *OTHER_NAMES.get(network, ())))
        return ImagenetFile(tuple(names), url, checksum)
    raise UserError(f"pretrained='{network}' has no ImageNet weights in Keras; accepted: weights=none, or a file")


def _find_imagenet(network: str, data_dir: Path | str | None, pixels: int) -> Path:
    """The file of ImageNet weights; unlike the images, it may be in the cache even if the user named a data folder."""
    cache = files.keras_cache() / "models"
    data_folder = files.named_folder(data_dir)
    weights_file = imagenet_file(network, pixels)
    path = files.first_existing([data_folder, cache] if data_folder else [cache], weights_file.names)
    return path or files.download(weights_file.url, weights_file.checksum, cache)


@functools.cache  # a network is checked once in a process, unless the file changes
def _check_fits(path: Path, network: str, modified_ns: int) -> None:
    """Load the file into an untrained base, which fails unless every layer's shapes are right."""
    import h5py

    from mlproject.networks.applications import make_base

    if path.suffix != ".h5" or not h5py.is_hdf5(path):
        raise UserError(f"weights file {path} is not HDF5; accepted: an HDF5 file whose name ends in .h5")
    try:
        make_base(network, lambda *_, **__: str(path))
    except Exception as error:  # Keras and h5py raise many kinds
        reason = " ".join(str(error).partition("Example")[0].split())  # the rest of the message fills a screen
        raise UserError(
            f"weights file {path} does not fit {network} without its top ({reason}); accepted: a whole file of its weights"
        ) from error
