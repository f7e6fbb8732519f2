"""Measure how fast networks of `keras.applications` compute features and train, with random weights.

    python bench/pretrained.py --networks MobileNetV2,VGG16 --rounds 3          (all networks: 10 minutes on 2 cores)

A row for each network: the parameters without its top; its published top-1 accuracy on ImageNet in percent; images per
second of the forward pass at each size, as for the features of a frozen network; and images per second of training the
whole network at `TRAINING_SIZE` pixels. Each figure is the median of `--rounds` batches of 32, after one that is not
counted.

The accuracies are those of keras.io/api/applications, at each network's own size (224 pixels), except MobileNetV3Large,
which the table in the docstring of Keras' mobilenet_v3.py has.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from mlproject import arguments

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

ACCURACIES = {
    "VGG16": 71.3,
    "ResNet50V2": 76.0,
    "MobileNetV2": 71.3,
    "MobileNetV3Large": 75.6,
    "EfficientNetB0": 77.1,
    "EfficientNetV2B0": 78.7,
    "NASNetMobile": 74.4,
    "DenseNet121": 75.0,
}
SIZES = (96, 128, 160, 224)
TRAINING_SIZE = 128
BATCH, CLASSES = 32, 10


def images_per_second(step: Callable[[], object], rounds: int) -> float:
    """The median speed of a step that takes one batch."""
    step()  # traces the graph
    seconds = []
    for _ in range(rounds):
        began = time.monotonic()
        step()
        seconds.append(time.monotonic() - began)
    return round(BATCH / statistics.median(seconds), 1)


def row(name: str, rounds: int) -> dict[str, object]:
    """One row of the table."""
    found: dict[str, object] = {"network": name, "top-1, %": ACCURACIES.get(name)}
    for size in SIZES:
        keras.backend.clear_session()
        images = np.random.default_rng(0).normal(size=(BATCH, size, size, 3)).astype("float32")
        base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=images.shape[1:])
        found |= {"parameters, M": round(base.count_params() / 1e6, 1)}
        found[f"features at {size}"] = images_per_second(lambda: base.predict_on_batch(images), rounds)  # noqa: B023
        if size == TRAINING_SIZE:
            pooled = keras.layers.GlobalAveragePooling2D()(base.output)
            model = keras.Model(base.input, keras.layers.Dense(CLASSES, activation="softmax")(pooled))
            model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
            labels = np.arange(BATCH) % CLASSES
            found["training"] = images_per_second(lambda: model.train_on_batch(images, labels), rounds)  # noqa: B023
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=arguments.names, default=list(ACCURACIES))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [row(name, options.rounds) for name in tqdm(options.networks, unit="network")]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
