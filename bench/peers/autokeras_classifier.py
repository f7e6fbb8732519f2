"""AutoKeras' ImageClassifier as its documentation has it, but for the clock: python autokeras_classifier.py data.npz MINUTES

It takes as many trials as fit; when the time is over the trial under way ends. Given an early stopping, here the one that it
would add by itself, AutoKeras keeps the best trial's best epoch and trains nothing anew, so all of the time is the search's. The
last line is a JSON object.
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
    """Ends the fit under way when the time is over, and the search with it."""

    tuner = None  # AutoKeras copies its callbacks, but not what hangs on their class
    seconds = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() > BEGAN + Clock.seconds:
            self.model.stop_training = True
            Clock.tuner.oracle.max_trials = len(Clock.tuner.oracle.trials)  # there is no next one


def main() -> None:
    """Search, train, count the right answers on the test images."""
    Clock.seconds = 60 * float(sys.argv[2])
    keras.utils.set_random_seed(0)
    with np.load(sys.argv[1]) as data, tempfile.TemporaryDirectory() as folder:
        classifier = autokeras.ImageClassifier(max_trials=1000, directory=folder, overwrite=True, seed=0)
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
        accuracy = float(np.mean(predictions == data["test_labels"]))
        trials = len(classifier.tuner.oracle.trials)
    print(json.dumps({"test_accuracy": accuracy, "trials": trials, "minutes": minutes}))


if __name__ == "__main__":
    main()
