"""Predictions in batches of one size, so that TensorFlow traces a network only once."""

from typing import Any

import keras
import numpy as np

# Images in a batch. 10,000 test images are a multiple of it, so there is no smaller last batch, which would be traced,
# too.
PREDICTION_BATCH = 250


def predict(model: keras.Model, images: np.ndarray) -> Any:
    """Predict all images.

    Args:
        model: any Keras model.
        images: (n, ...), inputs of the model.

    Returns:
        The result of `keras.Model.predict`: an array (n, ...), or a list or dict of arrays for several outputs.
    """
    return model.predict(images, batch_size=PREDICTION_BATCH, verbose=0)
