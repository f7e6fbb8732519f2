"""Writes a model for MLflow in two flavors: `keras`, the plain network, and `python_function`, which answers with labels.

Both load without this package. What the second one needs of it is copied into the model's folder `code`, into a package whose
name holds the digest of its content: two versions with different code can be loaded in one process.
"""

import base64
import hashlib
import io
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, ColSpec, Object, Property
from numpy.typing import NDArray
from PIL import Image

import mlproject
from mlproject.classifier import TOP
from mlproject.errors import UserError
from mlproject.tracking import store

if TYPE_CHECKING:
    import keras

REQUIREMENTS = ("keras", "tensorflow", "numpy", "pillow", "mlflow")  # what a registered model needs to be loaded
# The module that MLflow loads, and all that it imports of this package.
SHIPPED = (
    "tracking/pyfunc.py",
    "classifier.py",
    "datasets/images/decoding.py",
    "datasets/images/preparation.py",
    "errors.py",
)
# There is no schema of inputs: MLflow would cast decimals from 0 to 1 to uint8, which is a black image, and refuse base64.
SIGNATURE = ModelSignature(
    outputs=Schema(
        [ColSpec(Array(Object([Property("label", DataType.string), Property("probability", DataType.double)])))]
    ),
    params=ParamSchema([ParamSpec("top", DataType.long, TOP), ParamSpec("invert", DataType.string, "auto")]),
)


def save_model(
    model: "keras.Model",
    example: NDArray[Any],
    path: str | Path,
    mlflow_model: Model | None = None,
    validate_serving_input: bool = False,
) -> None:
    """Save a model to a folder; `Model.log` calls this function with a folder and an empty description.

    Args:
        model: The model.
        example: Images of shape (n, height, width, channels), dtype uint8. The first one becomes the input example.
        path: The folder, which must not exist.
        mlflow_model: The description, which has the class names and the preparation as metadata, and is completed;
            None for a model that is only saved.
        validate_serving_input: Is for `Model.log`, which hands down all that it is given. It would load the model a second time.
    """
    mlflow_model = mlflow_model or Model()
    Path(path).mkdir()  # otherwise the input example has no place
    mlflow.keras.save_model(
        model,
        str(path),
        mlflow_model=mlflow_model,
        signature=infer_signature(example, model.predict(example, verbose=0)),
        input_example=_input_example(example[0]),
        # Without explicit requirements MLflow infers them in a subprocess, which takes ten seconds.
        pip_requirements=[f"{package}=={installed_version(package)}" for package in REQUIREMENTS],
    )
    package = _ship_code(Path(path, "code"))
    mlflow_model.flavors["python_function"] |= {"loader_module": f"{package}.tracking.pyfunc", "code": "code"}
    mlflow_model.signature = SIGNATURE
    mlflow_model.save(str(Path(path, "MLmodel")))


def require_labels(uri: str, selector: str) -> None:
    """Refuse a version that was registered by an earlier release and answers with bare numbers.

    Args:
        uri: The version, "models:/NAME/VERSION".
        selector: What the user gave for it, for the message.

    Raises:
        UserError: It answers with bare numbers.
        StoreGoneError: The store has not answered for too long.
    """
    info = store.retry_file_transfer(lambda: mlflow.models.get_model_info(uri))
    if info.flavors["python_function"]["loader_module"] == "mlflow.keras":
        raise UserError(
            f"model={selector!r} was registered by an earlier release, whose models take any numbers for pixels and answer "
            "without labels; accepted: a version that `tune` registers now, or `mlproject predict`"
        )


def _input_example(image: NDArray[Any]) -> Any:
    """The image as base64 of a PNG file, which is far shorter than its numbers; the numbers if PNG has no such pixels."""
    if image.shape[2] not in (1, 3):
        return image[None]
    file = io.BytesIO()
    Image.fromarray(np.squeeze(image, 2) if image.shape[2] == 1 else image).save(file, format="PNG")
    return [base64.b64encode(file.getvalue()).decode()]


def _ship_code(folder: Path) -> str:
    """Copy the modules into the folder, and return the name of their package there."""
    source = Path(mlproject.__file__).parent
    contents = b"\0".join((source / name).read_bytes() for name in SHIPPED)
    package = f"image_classifier_{hashlib.sha256(contents).hexdigest()[:12]}"
    for name in SHIPPED:
        target = folder / package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    return package
