"""What a final fit measures of its model, and what it says of it."""

import dataclasses
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mlproject.final import refit
from mlproject.final.artifacts import weakest_classes
from mlproject.training.prediction import PREDICTION_BATCH


class Traced(keras.layers.Layer):
    """Counts how often TensorFlow traces it."""

    times = 0

    def call(self, x):
        self.times += 1
        return x


@pytest.mark.parametrize("count", [PREDICTION_BATCH, PREDICTION_BATCH + 3, 7])
def test_the_speed_of_prediction_does_not_count_the_tracing_whatever_the_number_of_images(count, monkeypatch):
    images, traced, seen = keras.Input((4, 4, 1), dtype="uint8"), Traced(), []
    x = keras.layers.Flatten()(traced(keras.layers.Rescaling(1 / 255)(images)))
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))

    def clock():
        seen.append(traced.times)
        return time.monotonic()

    monkeypatch.setattr(refit, "time", SimpleNamespace(monotonic=clock))
    probabilities, features, _ = refit.predict_with_features(model, np.zeros((count, 4, 4, 1), np.uint8))
    assert probabilities.shape == (count, 2) and features.shape == (count, 16)
    before, after = seen
    assert before == after > 1  # more than once, when the model was made


def test_a_class_without_test_images_is_not_named_as_a_weak_one(fashion):
    labels = fashion.test_labels[fashion.test_labels < 2]
    data = dataclasses.replace(fashion, test_labels=labels)
    assert weakest_classes(data, np.eye(10)[labels]) == "T-shirt/top 100 %, Trouser 100 %"
