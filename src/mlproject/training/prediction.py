"""Predictions in batches of one size, so that TensorFlow traces a network only once."""

from typing import Any

import keras
import numpy as np

from mlproject import mapped

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
    predicted = [
        model.predict(np.asarray(part), batch_size=PREDICTION_BATCH, verbose=0)
        for part in mapped.parts(images, MAPPED_IMAGES)
    ]
    return keras.tree.map_structure(lambda *pieces: np.concatenate(pieces), *predicted)
