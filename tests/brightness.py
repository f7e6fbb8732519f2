"""A registered model whose answers are known: it names an image by its mean, without any training."""

import keras
import numpy as np
from keras import layers

from mlproject import tracking
from mlproject.datasets import FashionMNIST

NAME, CLASSES = "brightness", ("dark", "grey", "light")


def network(shape=(28, 28, 1)):
    """Dark up to a third of white, light from two thirds on."""
    images = keras.Input(shape, dtype="uint8")
    means = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(images))
    answer = layers.Dense(3, activation="softmax")
    model = keras.Model(images, answer(means))
    answer.set_weights([np.full((shape[2], 3), (0, 30, 60)) / shape[2], np.array([0, -10, -30])])
    return model


def register(preparation=FashionMNIST.preparation, name=NAME, model=None):
    """Register the model as its champion, with the preparation of Fashion-MNIST unless another one is given."""
    described = preparation.describe() if preparation else None
    tags = {"dataset.digest": "d", "experiment": name}
    with tracking.run("final", {"role": "final", "experiment": name}):
        tracking.log_metrics({"val_accuracy": 0.5})
        example = np.zeros((1, *(model or network()).input_shape[1:]), np.uint8)
        tracking.promote(name, tracking.register(model or network(), name, CLASSES, example, tags, described))
