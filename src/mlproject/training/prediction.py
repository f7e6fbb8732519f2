"""Predictions in batches of one size, so that TensorFlow traces a network only once."""

from typing import Any

import keras
import numpy as np

from mlproject import disk

# Images in a batch. 10,000 test images are a multiple of it, so there is no smaller last batch, which would be traced,
# too.
PREDICTION_BATCH = 250
MAPPED_IMAGES = 20 * PREDICTION_BATCH  # memory-mapped images in memory at once


def predict(model: keras.Model, images: np.ndarray) -> Any:
    """Predict all images.

    Args:
        model: any Keras model.
        images: (n, ...), inputs of the model.

    Returns:
        The result of `keras.Model.predict`: an array (n, ...), or a list or dict of arrays for several outputs.
    """
    if not isinstance(images, np.memmap):
        return model.predict(images, batch_size=PREDICTION_BATCH, verbose=0)
    # Keras would copy all of them into memory.
    parts = []
    for start in range(0, len(images), MAPPED_IMAGES):
        part = np.asarray(images[start : start + MAPPED_IMAGES])
        parts.append(model.predict(part, batch_size=PREDICTION_BATCH, verbose=0))
        disk.release(images)
    return keras.tree.map_structure(lambda *pieces: np.concatenate(pieces), *parts)
