"""What the user's environment says to the libraries, looked at before they are imported: refused where it cannot work."""

import json
import os
import sys
from pathlib import Path

from mlproject import process
from mlproject.errors import UserError, truncate

# What Keras accepts in its configuration file; another value ends its import with an exception.
KERAS_JSON = {"floatx": ("float16", "float32", "float64"), "image_data_format": ("channels_last", "channels_first")}


def prepare() -> None:
    """Choose what this package needs where the user has not chosen, and refuse what it cannot work with.

    Raises:
        UserError: Keras or matplotlib could not be imported, or would not do what a search expects. If nothing catches the
            error, one line reports it.
    """
    # Use oneDNN's kernels on all CPUs: by default, TensorFlow uses them only with AVX512_VNNI or similar instructions,
    # although with AVX2 alone they train the shipped convolutional networks 1.3 to 1.7 times as fast (bench/README.md,
    # oneDNN).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Take memory of a GPU as it is needed, not all of it at once, so that several processes share one. And compute products
    # of float32 numbers with float32: NVIDIA's libraries would round the factors to 11 bits, so that a model predicts
    # differently on a GPU and a CPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    # Log no remarks (TensorFlow calls a missing GPU an error), show no progress bar for every small artifact, and send no
    # usage statistics.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        _check_home()
        _check_keras()
        _check_matplotlib()
    except UserError:
        sys.excepthook = process.report_in_one_line
        raise
    # These go before keras.json, in which other projects may have chosen another backend.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["KERAS_NNX_ENABLED"] = "false"


def keras_home() -> str:
    """The folder of Keras' configuration and cache, chosen as Keras does, but without importing it."""
    if "KERAS_HOME" in os.environ:
        return os.path.expanduser(os.environ["KERAS_HOME"])
    home = os.path.expanduser("~")
    return os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")


def _check_home() -> None:
    """Refuse a user without a home folder, as containers may have: MLflow could not be imported."""
    if os.path.expanduser("~") == "~":
        raise UserError("HOME is not set, and this user has no home folder; accepted: HOME=FOLDER")


def _check_keras() -> None:
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise UserError(f"KERAS_BACKEND={truncate(backend)} is not accepted; accepted: tensorflow")
    keras = sys.modules.get("keras")
    if keras and keras.config.backend() != "tensorflow":
        raise UserError(
            f"Keras was imported before mlproject and has the backend {keras.config.backend()}; accepted: tensorflow "
            "(import mlproject before Keras)"
        )
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        if name in os.environ:
            value = truncate(os.environ[name])
            raise UserError(f"{name}={value} is not accepted, because it cuts every training short; accepted: not set")
    path = os.path.join(keras_home(), "keras.json")
    if os.path.exists(path):
        _check_keras_json(path)


def _check_keras_json(path: str) -> None:
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError:  # Keras passes over it, too
        return
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); accepted: a readable file, or none") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {truncate(content)}; accepted: a JSON object")
    for name, accepted in KERAS_JSON.items():
        if (value := content.get(name, accepted[0])) not in accepted:
            raise UserError(
                f"{path}: {name}={truncate(value)} is not accepted by Keras; accepted: {', '.join(accepted)}"
            )
    if not isinstance(value := content.get("epsilon", 1e-7), float):
        raise UserError(f"{path}: epsilon={truncate(value)} is not accepted by Keras; accepted: a number such as 1e-07")


def _check_matplotlib() -> None:
    """Refuse a backend that matplotlib does not know: it could not be imported."""
    if os.environ.get("MPLBACKEND"):
        try:
            import matplotlib  # noqa: F401
        except ValueError as error:
            value = truncate(os.environ["MPLBACKEND"])
            raise UserError(f"MPLBACKEND={value} is not accepted by matplotlib; accepted: agg, or not set") from error
