"""Several fits of one network from the same weights, for which TensorFlow traces it once."""

from collections.abc import Callable

import keras
import numpy as np


class Retraining:
    """What the fits of one network on different images share: its first weights, and its compiled stages.

    Building and tracing a network takes seconds, as long as a short fit itself. A network that was trained already, and got
    back its first weights and the first state of its optimizer, trains like a new one.

    Args:
        model: a network with fresh weights.
    """

    def __init__(self, model: keras.Model):
        self.model, self._weights = model, _read_values(model.variables)
        self._stages: dict[str, tuple[keras.Model, list[np.ndarray]]] = {}

    def reset(self) -> None:
        """Give the network its first weights back."""
        _assign(self.model.variables, self._weights)

    def stage(self, name: str, make_network: Callable[[], keras.Model]) -> keras.Model:
        """The network that a stage trains, as it is after compiling.

        Args:
            name: of the stage.
            make_network: makes and compiles it; called for the first fit alone.

        Returns:
            The network. Its optimizer is in its first state.
        """
        if name not in self._stages:
            network = make_network()
            self._stages[name] = network, _read_values(network.optimizer.variables)
        network, state = self._stages[name]
        _assign(network.optimizer.variables, state)
        return network


def _read_values(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


def _assign(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
