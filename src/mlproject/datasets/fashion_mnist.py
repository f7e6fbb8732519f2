"""Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747): 70,000 grey images, 28 x 28, in 10 classes of clothing.

`FashionMNIST` reads the four official files (https://github.com/zalandoresearch/fashion-mnist), which are gzip-compressed
and in the IDX format: a magic number that encodes the type and the number of dimensions, the dimensions, then the
bytes. All numbers have 32 bits and are big-endian.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np

from mlproject.datasets import files
from mlproject.datasets.files import Arrays
from mlproject.datasets.images.preparation import Preparation
from mlproject.datasets.loader import Loader
from mlproject.errors import UserError

URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
FOLDER = "fashion-mnist"
DEBIAN = Path("/usr/share/datasets")  # where Debian's package dataset-fashion-mnist installs its folder
SHAPE = (28, 28, 1)
CLASSES: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# For each file, the MD5 sum published in the README of zalandoresearch/fashion-mnist, and that of the file in Debian's
# package, which is compressed without the name and the time.
MD5 = {
    "train-images-idx3-ubyte.gz": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "cf8536b0aa1a6ac5fa3f23001093305c"),
    "train-labels-idx1-ubyte.gz": ("25c81989df183df01b3e8a0aad5dffbe", "10bea18fdb374794d4bb42e356e600c9"),
    "t10k-images-idx3-ubyte.gz": ("bef4ecab320f06d8554ea6380940ec79", "f78720b4224f21cce2f2ccf2d7a94c9a"),
    "t10k-labels-idx1-ubyte.gz": ("bb300cfdad3c16e7a12a480ee83cd310", "0d30e22e447f3c33dab9ed536400ac01"),
}


class FashionMNIST(Loader):
    """Fashion-MNIST, for an experiment's file: `dataset=FashionMNIST()`, with the labels "flat"."""

    name = "fashion-mnist"
    classes = CLASSES
    shape = SHAPE
    # Section 2 of the paper: the longest edge becomes 28 pixels, the rest is filled, and the product photographs, which have a
    # light background, are inverted.
    preparation = Preparation(28, 1, "pad", background=(0, 0, 0), light_on_dark=True)
    licence = "MIT (Zalando Research, github.com/zalandoresearch/fashion-mnist)"

    def read(self, data_dir: Path | str | None) -> Arrays:
        """Read all of Fashion-MNIST.

        If the structure is as published but a file is neither the official one nor Debian's, the function warns and accepts
        it.

        Args:
            data_dir: the folder that holds the four files; None searches as `mlproject.datasets.files` describes and
                downloads each file that is not found.

        Returns:
            Images uint8 (60,000 and 10,000, 28, 28, 1) and labels int64, indices into `CLASSES`.

        Raises:
            UserError: a file is missing, damaged or not as published (shape, label range, records of each class), or a
                download failed.
        """
        paths = {name: _find(name, data_dir) for name in MD5}
        train_images = read_idx(paths["train-images-idx3-ubyte.gz"], (60_000, 28, 28))
        train_labels = _read_labels(paths["train-labels-idx1-ubyte.gz"], 60_000)
        test_images = read_idx(paths["t10k-images-idx3-ubyte.gz"], (10_000, 28, 28))
        test_labels = _read_labels(paths["t10k-labels-idx1-ubyte.gz"], 10_000)
        unofficial = [
            str(path) for name, path in paths.items() if hashlib.md5(path.read_bytes()).hexdigest() not in MD5[name]
        ]
        if unofficial:
            warnings.warn(
                f"not official: {', '.join(unofficial)}; accepted because the structure is right", stacklevel=5
            )
        source = str(paths["train-images-idx3-ubyte.gz"].parent)
        return Arrays(train_images[..., None], train_labels, test_images[..., None], test_labels, source)


def _find(name: str, data_dir: Path | str | None) -> Path:
    """Where one of the four files is; it is downloaded if no copy is found."""
    cache = files.keras_cache() / "datasets"
    path = files.locate(data_dir, (f"{FOLDER}/{name}", name), [cache, DEBIAN])
    return path or files.download(URL + name, MD5[name][0], cache / FOLDER)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a gzip-compressed IDX file of unsigned bytes.

    Args:
        path: the file.
        shape: the shape that the array must have.

    Returns:
        The array, uint8, of that shape.

    Raises:
        UserError: the file is damaged, or holds another type or shape.
    """
    header = (0x0800 + len(shape), *shape)  # 0x08 is the code for unsigned bytes
    content = files.read_gzip(path, 4 * len(header) + int(np.prod(shape)))
    actual_header = tuple(np.frombuffer(content, ">u4", len(header)).tolist())
    if actual_header != header:
        raise UserError(
            f"{path} has the magic number {actual_header[0]:#06x} and shape {actual_header[1:]};"
            f" accepted: {header[0]:#06x} and {header[1:]}"
        )
    return np.frombuffer(content, np.uint8, offset=4 * len(header)).reshape(shape)


def _read_labels(path: Path, count: int) -> np.ndarray:
    """The labels in an IDX file, int64 (count,), checked."""
    labels = read_idx(path, (count,)).astype(np.int64)
    files.check_labels(str(path), labels, CLASSES)
    return labels
