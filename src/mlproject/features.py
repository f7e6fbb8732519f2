"""Activations of the frozen part of a network, computed once for all training images and kept on disk."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from mlproject.datasets import Dataset

CHUNK = 1000  # images per write


class FeatureCache:
    """Float16 activations at a layer, for the training images of one data set, as memory-mapped .npy files in `folder`.

    The key of a file is a digest of the data, the layers up to the cut and their weights: another data set, input size, cut
    or set of weights is another file. A file is written under a temporary name and renamed when it is whole.
    """

    def __init__(self, folder: Path, data: Dataset):
        self.folder, self.data = Path(folder), data

    def get(self, model: keras.Model, cuts: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations (n, ...) float16 at each layer of `cuts`; what is not on disk yet comes from one pass over the images."""
        paths = {cut: self.folder / f"{self.data.name}-{cut}-{_digest(model, cut, self.data)}.npy" for cut in cuts}
        missing = [cut for cut, path in paths.items() if not path.exists()]
        if missing:
            self._compute(model, {cut: paths[cut] for cut in missing})
        return {cut: np.load(path, mmap_mode="r") for cut, path in paths.items()}

    def _compute(self, model: keras.Model, paths: dict[str, Path]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        outputs = {cut: model.get_layer(cut).output for cut in paths}
        frozen = keras.Model(model.input, outputs)
        images = self.data.train_images
        parts = {cut: path.with_name(f"{path.name}.{os.getpid()}.part") for cut, path in paths.items()}
        try:
            files = {
                cut: np.lib.format.open_memmap(parts[cut], "w+", np.float16, (len(images), *outputs[cut].shape[1:]))
                for cut in paths
            }
            for start in tqdm(
                range(0, len(images), CHUNK), desc=f"features at {', '.join(paths)}", leave=False, disable=None
            ):
                for cut, values in frozen.predict(images[start : start + CHUNK], batch_size=250, verbose=0).items():
                    files[cut][start : start + CHUNK] = values
            for cut, path in paths.items():
                files[cut].flush()
                os.replace(parts[cut], path)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)


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
