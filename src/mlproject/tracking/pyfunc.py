"""What `mlflow.pyfunc.load_model` and `mlflow models serve` load of a registered model, without this package.

`classifier_flavor` copies this module and those that it imports into the model's folder `code`, so its imports are relative.
"""

import json
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from ..classifier import TOP, Answer, Classifier, check_request
from ..errors import UserError


class RefusedError(MlflowException):
    """Inputs that cannot be images of this model: the server's answer has the status 400 and one sentence.

    The server puts the whole request in front of the message of an exception. The answer leaves it out.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=INVALID_PARAMETER_VALUE)
        self.sentence = sentence

    def serialize_as_json(self) -> str:
        """The body of the server's answer."""
        return json.dumps({"error_code": self.error_code, "message": self.sentence})


class ServedModel:
    """The interface that MLflow asks for."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[Answer]:
        """Classify the images of a request.

        Args:
            model_input: as for `Classifier.read`.
            params: "top", the number of classes in an answer (5), and "invert": "auto", "yes" or "no".

        Returns:
            For each image the most probable classes: [{"label": ..., "probability": ...}, ...].

        Raises:
            RefusedError: an input is no image that this model takes.
        """
        top, invert = (params or {}).get("top", TOP), (params or {}).get("invert", "auto")
        try:
            check_request(invert, top)
            return self._classifier.classify(self._classifier.read(model_input, invert), top)
        except UserError as error:
            raise RefusedError(str(error)) from None


def _load_pyfunc(path: str) -> ServedModel:
    """Load the model from its folder; MLflow calls this function by its name."""
    metadata = Model.load(path).metadata or {}
    preparation = json.loads(metadata.get("preparation", "null"))
    classifier = Classifier.from_registered(
        mlflow.keras.load_model(path), json.loads(metadata["class_names"]), preparation
    )
    return ServedModel(classifier)
