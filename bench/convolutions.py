"""On which maps is a convolution of 3 x 3 faster as `mlproject.convolutions` does it than as oneDNN does?

    python bench/convolutions.py          (random numbers; 2 minutes on 2 cores)

A row for each map and pair of channels that the shipped networks have, and for some between them: milliseconds of the forward and
backward pass of a batch, the median of some, either way, and how many times as fast the second is. The last column says whether
networks are trained by it.
"""

import argparse
import statistics
import time

from mlproject.convolutions import Winograd, faster_layer

import keras
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

# Pixels a side, channels before, channels after: of the residual networks at widths 32 and 64, of VGG16, and some between.
SHAPES = [
    (1, 512, 512),
    (2, 384, 256),
    (2, 768, 512),
    (3, 384, 256),
    (3, 768, 512),
    (3, 512, 512),
    (5, 128, 96),
    (5, 256, 192),
    (7, 32, 64),
    (7, 64, 64),
    (7, 128, 96),
    (7, 256, 192),
    (7, 256, 256),
    (8, 128, 128),
    (14, 64, 128),
    (14, 128, 128),
    (15, 32, 128),
    (28, 64, 64),
]
REPEATS = 5


def milliseconds(layer: keras.Layer, weights: list[keras.Variable], maps: tf.Tensor) -> float:
    """Of a forward and backward pass, the median."""

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            answers = layer(maps)
        return tape.gradient(answers, [maps, *weights])

    seconds = []
    for _ in range(1 + REPEATS):
        began = time.monotonic()
        gradients()[0].numpy()
        seconds.append(time.monotonic() - began)
    return 1000 * statistics.median(seconds[1:])  # the first one traces the graph


def row(pixels: int, before: int, after: int, batch: int) -> dict[str, object]:
    """One line of the table."""
    convolution = keras.layers.Conv2D(after, 3, padding="same")
    maps = tf.random.normal((batch, pixels, pixels, before))
    convolution(keras.Input(maps.shape[1:]))
    weights = convolution.trainable_weights
    usual, winograd = (milliseconds(layer, weights, maps) for layer in (convolution, Winograd(convolution)))
    return {
        "map": f"{pixels} x {pixels}",
        "channels": f"{before} to {after}",
        "oneDNN, ms": round(usual),
        "Winograd, ms": round(winograd),
        "times as fast": round(usual / winograd, 2),
        "used": "yes" if faster_layer(convolution) is not convolution else "no",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    rows = [row(*shape, options.batch) for shape in tqdm(SHAPES, unit="shape")]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
