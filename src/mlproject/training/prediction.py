"""Predictions in batches of one size, so that TensorFlow traces a network only once; and how long they take."""

import functools
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mlproject.datasets import mapped
from mlproject.limits import TIMED_BATCH

# Images in a batch. 10,000 test images are a multiple of it, so there is no smaller last batch, which would be traced,
# too.
PREDICTION_BATCH = 250
MAPPED_IMAGES = 20 * PREDICTION_BATCH  # memory-mapped images in memory at once
# The time of a prediction is that of the fastest of several batches, because other work can only slow a batch down. Large
# networks have fewer of them, so that the measurement costs little.
FEWEST_TIMED, MOST_TIMED, TIMED_SECONDS = 2, 20, 0.3


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
    predictions = [
        model.predict(np.asarray(part), batch_size=PREDICTION_BATCH, verbose=0)
        for part in mapped.parts(images, MAPPED_IMAGES)
    ]
    return keras.tree.map_structure(lambda *pieces: np.concatenate(pieces), *predictions)


def milliseconds_per_image(model: keras.Model, images: np.ndarray) -> float:
    """Measure how long the whole network takes to predict an image, on this machine.

    Args:
        model: the network, with weights of any values.
        images: uint8 (n, h, w, c), at least one; the batch repeats them if they are fewer than TIMED_BATCH.

    Returns:
        Milliseconds for each image of a batch of TIMED_BATCH images, the fastest of several batches after a warm-up.
    """
    batch = tf.constant(images[np.arange(TIMED_BATCH) % len(images)])
    forward = tf.function(functools.partial(model, training=False))
    forward(batch)  # traces the graph
    seconds: list[float] = []
    while len(seconds) < FEWEST_TIMED or (len(seconds) < MOST_TIMED and sum(seconds) < TIMED_SECONDS):
        began = time.perf_counter()
        np.asarray(forward(batch))  # waits for the result, also on a GPU
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds) / TIMED_BATCH
