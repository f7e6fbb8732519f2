"""Run a Keras Tuner search as in its tutorial (keras.io, *Getting started with KerasTuner*), with a time limit.

    python tutorial.py data.npz MINUTES SEED

As in the tutorial, random search tries dense networks of one to three layers in trials of two epochs. The search ends
after SEARCH_SHARE of the time. The best hyperparameters are then trained again for the rest of the time, and the epoch
with the best validation accuracy is kept. The last line of the output is a JSON object.
"""

import json
import sys
import tempfile
import time

import keras
import keras_tuner
import numpy as np

SEARCH_SHARE = 0.6
BEGAN = time.monotonic()


def build(hp, classes: int) -> keras.Model:
    """Build the tutorial's network with its hyperparameters."""
    model = keras.Sequential([keras.layers.Flatten()])
    for index in range(hp.Int("num_layers", 1, 3)):
        units = hp.Int(f"units_{index}", min_value=32, max_value=512, step=32)
        model.add(keras.layers.Dense(units, activation=hp.Choice("activation", ["relu", "tanh"])))
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(rate=0.25))
    model.add(keras.layers.Dense(classes, activation="softmax"))
    rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Clock(keras.callbacks.Callback):
    """Ends a fit at a given time of the monotonic clock."""

    def __init__(self, end: float):
        super().__init__()
        self.end = end

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() > self.end:
            self.model.stop_training = True


class Tuner(keras_tuner.RandomSearch):
    """Random search that starts no trial after a given time of the monotonic clock."""

    end = BEGAN

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        if time.monotonic() > self.end:
            self.oracle.max_trials = len(self.oracle.trials)


def main() -> None:
    """Search, train, and print the predicted classes of the test images."""
    seconds, seed = 60 * float(sys.argv[2]), int(sys.argv[3])
    keras.utils.set_random_seed(seed)
    with np.load(sys.argv[1]) as archive:
        data = dict(archive)
    images = {part: data[f"{part}_images"].astype("float32") / 255 for part in ("train", "validation", "test")}
    train = images["train"], data["train_labels"]
    validation = images["validation"], data["validation_labels"]
    classes = int(data["train_labels"].max()) + 1
    with tempfile.TemporaryDirectory() as folder:
        # Keras Tuner takes a seed of 0 for no seed.
        tuner = Tuner(lambda hp: build(hp, classes), "val_accuracy", max_trials=10_000, seed=seed + 1, directory=folder)
        tuner.end = BEGAN + SEARCH_SHARE * seconds
        clock = Clock(tuner.end)
        tuner.search(*train, epochs=2, validation_data=validation, callbacks=[clock], verbose=0)
        model = tuner.hypermodel.build(tuner.get_best_hyperparameters()[0])
        trials = len(tuner.oracle.trials)
    best = keras.callbacks.EarlyStopping("val_accuracy", patience=10_000, restore_best_weights=True)
    end = Clock(BEGAN + seconds)
    model.fit(*train, epochs=10_000, validation_data=validation, callbacks=[best, end], verbose=2)
    minutes = (time.monotonic() - BEGAN) / 60
    predictions = model.predict(images["test"], verbose=0).argmax(axis=1)
    print(json.dumps({"predictions": predictions.tolist(), "trials": trials, "minutes": minutes}))


if __name__ == "__main__":
    main()
