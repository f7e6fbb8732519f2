"""Activations of the frozen part of a network, computed once for all training images and kept on disk."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from mlproject import convolutions, disk
from mlproject.batches import PREDICTED_AT_ONCE
from mlproject.datasets import Dataset
from mlproject.errors import shown

CHUNK = 1000  # images per write
PROBES = 8  # rows of a file found that are computed again, to see whether it holds what it should


class FeatureCache:
    """Float16 activations at a layer, for the training images of one data set, as memory-mapped .npy files in `folder`.

    The key of a file is a digest of the data, the layers up to the cut and their weights: another data set, input size, cut
    or set of weights is another file. A file is written under a temporary name and renamed when it is whole; one that is
    found is tried before it is used.
    """

    def __init__(self, folder: Path, data: Dataset):
        self.folder, self.data = Path(folder), data
        self._checked: set[Path] = set()

    def get(self, model: keras.Model, cuts: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations (n, ...) float16 at each layer of `cuts`; what is not on disk yet comes from one pass over the images."""
        paths = {cut: self.folder / f"{self.data.name}-{cut}-{_digest(model, cut, self.data)}.npy" for cut in cuts}
        missing = [cut for cut, path in paths.items() if not self._usable(model, cut, path)]
        if missing:
            self._compute(model, {cut: paths[cut] for cut in missing})
            self._checked |= {paths[cut] for cut in missing}
        return {cut: np.load(path, mmap_mode="r") for cut, path in paths.items()}

    def _usable(self, model: keras.Model, cut: str, path: Path) -> bool:
        """Whether the file is there and holds the activations; once for each file, a damaged one is set aside with a warning."""
        if path in self._checked or not path.exists():
            return path in self._checked
        try:
            found = np.load(path, mmap_mode="r")  # never a pickle: NumPy refuses objects
            output = model.get_layer(cut).output
            expected = (len(self.data.train_images), *output.shape[1:])
            if (found.shape, found.dtype) != (expected, np.float16):
                raise ValueError(f"it holds {found.dtype} {found.shape} in place of float16 {expected}")
            # A few rows computed afresh tell activations from what merely has their shape.
            rows = np.linspace(0, len(found) - 1, PROBES).astype(int)
            fresh = keras.Model(model.input, output).predict(self.data.train_images[rows], verbose=0)
            if not np.allclose(found[rows], fresh, rtol=0.01, atol=0.01 * np.abs(fresh).max()):
                raise ValueError("it holds other values")
        except (ValueError, OSError, EOFError) as error:
            disk.set_aside(path, shown(error))
            return False
        self._checked.add(path)
        return True

    def _compute(self, model: keras.Model, paths: dict[str, Path]) -> None:
        images = self.data.train_images
        self.folder.mkdir(parents=True, exist_ok=True)
        outputs = {cut: model.get_layer(cut).output for cut in paths}
        frozen = convolutions.faster(keras.Model(model.input, outputs))
        with contextlib.ExitStack() as stack:
            parts = {cut: stack.enter_context(disk.whole(path)) for cut, path in paths.items()}
            files = {
                cut: np.lib.format.open_memmap(part, "w+", np.float16, (len(images), *outputs[cut].shape[1:]))
                for cut, part in parts.items()
            }
            for start in tqdm(
                range(0, len(images), CHUNK), desc=f"features at {', '.join(paths)}", leave=False, disable=None
            ):
                rows = slice(start, start + CHUNK)
                for cut, values in frozen.predict(images[rows], batch_size=PREDICTED_AT_ONCE, verbose=0).items():
                    files[cut][rows] = values
            for file in files.values():
                file.flush()


def _digest(model: keras.Model, cut: str, data: Dataset) -> str:
    """First 16 hex digits of a SHA-256 over the data's digest and the configuration and weights of the layers up to `cut`."""
    frozen = keras.Model(model.input, model.get_layer(cut).output)
    digest = hashlib.sha256(data.digest.encode())
    for layer in frozen.layers:
        # Names that Keras numbers anew at each build, and `trainable`, do not change the activations.
        config = {key: value for key, value in layer.get_config().items() if key not in ("name", "trainable")}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()[:16]
