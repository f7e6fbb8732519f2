"""Measure on which feature maps the 3 x 3 convolutions of `mlproject.training.winograd` are faster than oneDNN's.

    python bench/convolutions.py          (random numbers; 2 minutes on 2 cores)

The table has a row for each size of feature map and number of channels in the shipped networks, and for some sizes in
between. It shows the milliseconds of the forward and backward pass of a batch (median of several passes) for both
implementations, and their ratio. The last column says whether networks are trained with Winograd convolutions at this
size.
"""

import argparse
import statistics
import time

from mlproject.training.winograd import Winograd, replace_convolution

import keras
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

# Pixels a side, input channels, output channels: of the residual networks with widths 32 and 64, of VGG16, and some
# between.
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
    """The median time of a forward and backward pass."""

    @tf.function
    def both_passes():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            output = layer(maps)
        # These gradients need no output, so TensorFlow would leave the forward pass out if nothing returned it.
        return output, tape.gradient(output, [maps, *weights])

    seconds = []
    for _ in range(1 + REPEATS):
        began = time.monotonic()
        both_passes()
        seconds.append(time.monotonic() - began)
    return 1000 * statistics.median(seconds[1:])  # the first pass traces the graph


def row(pixels: int, input_channels: int, output_channels: int, batch: int) -> dict[str, object]:
    """One row of the table."""
    convolution = keras.layers.Conv2D(output_channels, 3, padding="same")
    maps = tf.random.normal((batch, pixels, pixels, input_channels))
    convolution(keras.Input(maps.shape[1:]))
    weights = convolution.trainable_weights
    onednn, winograd = (milliseconds(layer, weights, maps) for layer in (convolution, Winograd(convolution)))
    return {
        "map": f"{pixels} x {pixels}",
        "channels": f"{input_channels} to {output_channels}",
        "oneDNN, ms": round(onednn),
        "Winograd, ms": round(winograd),
        "times as fast": round(onednn / winograd, 2),
        "used": "yes" if replace_convolution(convolution) is not convolution else "no",
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
