"""Activations of the frozen part of a network, computed once for all training images and kept on disk."""

import contextlib
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from mlproject import disk
from mlproject.datasets import Dataset
from mlproject.errors import truncate
from mlproject.networks.walk import output_of
from mlproject.training.prediction import PREDICTION_BATCH
from mlproject.training.winograd import with_winograd

CHUNK = 1000  # images in one write
CHECKED_ROWS = 8  # rows of an existing file that are computed again, to check its content
FLOAT16_STEP = 6e-8  # the smallest number above 0


class FeatureCache:
    """Activations of frozen layers for the training images of one data set, as memory-mapped .npy files.

    A file's name contains a digest of the data set, of the layers up to the last frozen one, and of their weights. A
    change of any of these leads to another file. A file is written under a temporary name and renamed when it is
    complete. An existing file is checked before its first use.

    Args:
        folder: the folder of the files, which is created when needed.
        data: the data set whose training images are used.
    """

    def __init__(self, folder: Path, data: Dataset) -> None:
        self.folder, self.data = Path(folder), data
        self._checked: set[Path] = set()

    def get(self, model: keras.Model, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the activations of some layers. One pass over the images computes those that are not on disk yet.

        Args:
            model: the network.
            layers: names of layers of `model`.

        Returns:
            For each name the activations of all training images, float16 (n, ...), memory-mapped and read-only.

        Raises:
            UserError: the folder can't be written, or is on a disk without the space.
        """
        paths = {
            name: self.folder / f"{self.data.name}-{name}-{_digest(model, name, self.data)}.npy" for name in layers
        }
        missing = [name for name, path in paths.items() if not self._is_usable(model, name, path)]
        if missing:
            self._compute(model, {name: paths[name] for name in missing})
            self._checked |= {paths[name] for name in missing}
        return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}

    def _is_usable(self, model: keras.Model, name: str, path: Path) -> bool:
        """Whether the file contains the activations. A damaged file is set aside. Each file is checked once."""
        if path in self._checked or not path.exists():
            return path.exists()  # the cache may be deleted at any time
        try:
            self._check(model, name, path)
        except (ValueError, OSError, EOFError) as error:
            disk.set_aside(path, truncate(error))
            return False
        self._checked.add(path)
        return True

    def _check(self, model: keras.Model, name: str, path: Path) -> None:
        """Raise an exception when the file does not contain the activations."""
        activations = np.load(path, mmap_mode="r")  # NumPy refuses pickled objects here, which could execute code
        output = output_of(model, name)
        expected_shape = (len(self.data.train_images), *output.shape[1:])
        if (activations.shape, activations.dtype) != (expected_shape, np.float16):
            raise ValueError(f"it holds {activations.dtype} {activations.shape} in place of float16 {expected_shape}")
        # The right shape says nothing about the values, so a few rows are computed again.
        rows = np.linspace(0, len(activations) - 1, CHECKED_ROWS).astype(int)
        recomputed = keras.Model(model.input, output).predict(self.data.train_images[rows], verbose=0)
        # float16 rounds what is below FLOAT16_STEP to 0.
        tolerance = FLOAT16_STEP + 0.01 * np.abs(recomputed).max()
        if not np.allclose(activations[rows], recomputed, rtol=0.01, atol=tolerance):
            raise ValueError("it holds other values")

    def _compute(self, model: keras.Model, paths: dict[str, Path]) -> None:
        """Write the activations of the layers that `paths` names."""
        images = self.data.train_images
        outputs = {name: output_of(model, name) for name in paths}
        shapes = {name: (len(images), *output.shape[1:]) for name, output in outputs.items()}
        needed_bytes = sum(2 * math.prod(shape) for shape in shapes.values())
        frozen = with_winograd(keras.Model(model.input, outputs))
        with disk.room(self.folder, needed_bytes, "the activations of frozen layers"), contextlib.ExitStack() as stack:
            parts = {name: stack.enter_context(disk.atomic_write(path)) for name, path in paths.items()}
            # Written, not mapped: a full disk would end a process that writes into a mapped file by a signal.
            files = {name: stack.enter_context(part.open("wb")) for name, part in parts.items()}
            for name, file in files.items():
                described = {"descr": "<f2", "fortran_order": False, "shape": shapes[name]}
                np.lib.format.write_array_header_1_0(file, described)
            # disable=None shows a progress bar on a terminal and nothing in a log file. An interruption clears it.
            title, chunks = f"features at {', '.join(paths)}", range(0, len(images), CHUNK)
            for start in stack.enter_context(tqdm(chunks, desc=title, leave=False, disable=None)):
                part_of_all = images[start : start + CHUNK]
                for name, values in frozen.predict(part_of_all, batch_size=PREDICTION_BATCH, verbose=0).items():
                    files[name].write(np.ascontiguousarray(values, "<f2").data)


def _digest(model: keras.Model, name: str, data: Dataset) -> str:
    """The first 16 hex digits of a SHA-256 of the data set and of all layers up to `name` with their weights."""
    frozen = keras.Model(model.input, output_of(model, name))
    digest = hashlib.sha256(data.digest.encode())
    for layer in frozen.layers:
        # Keras numbers the names of layers anew in each build, and `trainable` does not change the activations.
        config = {key: value for key, value in layer.get_config().items() if key not in ("name", "trainable")}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()[:16]
