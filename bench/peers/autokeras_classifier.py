"""Run AutoKeras' ImageClassifier as in its documentation, with a time limit.

    python autokeras_classifier.py data.npz MINUTES SEED

It runs as many trials as fit into the time, and stops the last one when the time is over. AutoKeras is given an early stopping
callback with the settings of its default. It then keeps the best epoch of the best trial and trains no final model, so
the search can use all of the time. The last line of the output is a JSON object.
"""

import json
import sys
import tempfile
import time

import autokeras
import keras
import numpy as np

BEGAN = time.monotonic()


class Clock(keras.callbacks.Callback):
    """Stops the current fit when the time is over, and ends the search."""

    tuner = None  # an attribute of the class, because AutoKeras copies its callbacks
    seconds = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() > BEGAN + Clock.seconds:
            self.model.stop_training = True
            Clock.tuner.oracle.max_trials = len(Clock.tuner.oracle.trials)  # no further trial


def main() -> None:
    """Search, and print the predicted classes of the test images."""
    Clock.seconds = 60 * float(sys.argv[2])
    seed = int(sys.argv[3])
    keras.utils.set_random_seed(seed)
    with np.load(sys.argv[1]) as data, tempfile.TemporaryDirectory() as folder:
        # Keras Tuner, which AutoKeras searches with, takes a seed of 0 for no seed.
        classifier = autokeras.ImageClassifier(max_trials=1000, directory=folder, overwrite=True, seed=seed + 1)
        Clock.tuner = classifier.tuner
        classifier.fit(
            data["train_images"],
            data["train_labels"],
            validation_data=(data["validation_images"], data["validation_labels"]),
            callbacks=[keras.callbacks.EarlyStopping(patience=10, min_delta=1e-4), Clock()],
            verbose=2,
        )
        minutes = (time.monotonic() - BEGAN) / 60
        predictions = classifier.predict(data["test_images"], verbose=0).reshape(-1).astype(np.int64)
        trials = len(classifier.tuner.oracle.trials)
    print(json.dumps({"predictions": predictions.tolist(), "trials": trials, "minutes": minutes}))


if __name__ == "__main__":
    main()
