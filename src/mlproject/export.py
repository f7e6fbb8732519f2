"""A trained model as a file: written under a temporary name, tried in a fresh process, then put in its place."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from mlproject import disk
from mlproject.errors import UserError

TOLERANCE = 1e-4  # between probabilities: runtimes add up in another order
TRIED = 32  # images predicted before and after


class ExportError(RuntimeError):
    """What was written does not load, or predicts something else; it has been removed."""


@dataclass(frozen=True)
class Format:
    """One way to write a model.

    `load` is Python that opens `{path}` and leaves a function `predict`, from uint8 images (n, h, w, c) to probabilities
    (n, classes); it is what users are told, and what is tried. `needs` are packages that may not be installed.
    """

    suffix: str
    write: Callable[[keras.Model, Path], None]
    load: str
    needs: tuple[str, ...] = ()


def _write_saved_model(model: keras.Model, path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)


def _write_onnx(model: keras.Model, path: Path) -> None:
    """By way of a SavedModel, because `model.export(format="onnx")` leaves Normalization's constants as inputs without values.

    (keras 3.15.1, tf2onnx 1.17.0: onnxruntime then asks for `standardise/Sub/y:0`.)
    """
    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(model, Path(folder, "saved_model"))
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", f"{folder}/saved_model", "--output", path]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ExportError(f"tf2onnx cannot convert {model.name!r}: {_last_line(done.stderr)}")


FORMATS = {
    "keras": Format(
        ".keras",
        lambda model, path: model.save(path),
        "import keras; predict = keras.models.load_model({path!r}).predict",
    ),
    "saved_model": Format(
        ".saved_model",
        _write_saved_model,
        "import tensorflow; model = tensorflow.saved_model.load({path!r}); predict = model.serve",
    ),
    "onnx": Format(
        ".onnx",
        _write_onnx,
        "import onnxruntime; session = onnxruntime.InferenceSession({path!r}); "
        "predict = lambda images: session.run(None, {{session.get_inputs()[0].name: images}})[0]",
        ("tf2onnx", "onnxruntime"),
    ),
}

# Nothing but the printed command and NumPy: what a user has who has the file alone.
_TRY = """
import sys, numpy
tried = numpy.load(sys.argv[1])
{load}
print(abs(numpy.asarray(predict(tried["images"])) - tried["probabilities"]).max())
"""


def check(format: str, folder: Path) -> None:
    """Raise a UserError, before any training, if `format` cannot be written on this machine or not into `folder`."""
    if format not in FORMATS:
        raise UserError(f"format={format!r} is not accepted; {', '.join(FORMATS)} are")
    missing = [package for package in FORMATS[format].needs if find_spec(package) is None]
    if missing:
        raise UserError(
            f"format={format!r} needs {' and '.join(missing)}; accepted: after `pip install -e .[onnx]`, or one of "
            + ", ".join(name for name in FORMATS if not FORMATS[name].needs)
        )
    disk.demand_writable("output", folder)


def write(
    model: keras.Model, class_names: Sequence[str], images: np.ndarray, folder: Path, name: str, format: str = "keras"
) -> Path:
    """Write `model` as `folder/name` with the format's suffix, the classes' names beside it; gives the model's path.

    images: uint8 (n, h, w, c); the first of them are predicted here and, from what was written, in a process of its own that
    has nothing of ours. Whatever had this path is replaced only after that. Raises UserError as `check` does, ExportError when
    the model does not come back the same.
    """
    check(format, folder)
    path = folder / f"{name}{FORMATS[format].suffix}"
    part = folder / f".{name}.{secrets.token_hex(4)}.part{FORMATS[format].suffix}"
    names = part.with_suffix(".json")
    try:
        FORMATS[format].write(model, part)
        _try(part, format, images[:TRIED], model.predict(images[:TRIED], verbose=0))
        names.write_text(json.dumps(list(class_names), ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(names, folder / f"{name}.classes.json")
        _replace(part, path)
    finally:
        names.unlink(missing_ok=True)
        _remove(part)
    return path


def loading(path: Path, format: str = "keras") -> str:
    """The line of Python that opens `path` and leaves the function `predict`."""
    return FORMATS[format].load.format(path=str(path))


def _try(path: Path, format: str, images: np.ndarray, probabilities: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "tried.npz")
        np.savez(arrays, images=images, probabilities=probabilities)
        program = _TRY.format(load=loading(path, format))
        done = subprocess.run([sys.executable, "-c", program, arrays], capture_output=True, text=True)
    if done.returncode:
        raise ExportError(f"the exported model {path.name!r} does not load: {_last_line(done.stderr)}")
    difference = float(done.stdout.split()[-1])
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the exported model {path.name!r} predicts otherwise: probabilities differ by {difference:.2g}"
        )


def _replace(part: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(part, path)
        return
    # A folder that is not empty cannot be replaced in one step: it steps aside, and comes back should the second step fail.
    old = part.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(part, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
