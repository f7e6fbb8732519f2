"""Exports a trained model: writes it under a temporary name, checks it in a new process, and renames it."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlproject import disk
from mlproject.errors import UserError, last_line

if TYPE_CHECKING:  # takes seconds to import
    import keras

TOLERANCE = 1e-4  # between probabilities: other runtimes sum in a different order
COMPARED_IMAGES = 32  # predicted by the model and by the exported file


class ExportError(RuntimeError):
    """The exported model does not load or predicts differently; the file has been removed."""


@dataclass(frozen=True)
class Format:
    """One format that a model can be written in.

    Attributes:
        suffix: the end of the file's name.
        write: writes the model to a path.
        load: Python code that opens `{path}` and defines a function `predict`, from uint8 images (n, h, w, c) to
            probabilities (n, classes). It is shown to users, and executed to check the file.
        needs: optional packages that the format needs.
    """

    suffix: str
    write: Callable[["keras.Model", Path], None]
    load: str
    needs: tuple[str, ...] = ()


def _write_keras(model: "keras.Model", path: Path) -> None:
    model.save(path)


def _write_saved_model(model: "keras.Model", path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)


def _write_onnx(model: "keras.Model", path: Path) -> None:
    """Convert a SavedModel, because `model.export(format="onnx")` turns the constants of Normalization into inputs.

    They have no values there: in keras 3.15.1 with tf2onnx 1.17.0, onnxruntime then asks for `standardise/Sub/y:0`.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved_model = str(Path(folder, "saved_model"))
        _write_saved_model(model, Path(saved_model))
        command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", saved_model, "--output", str(path)]
        process = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if process.returncode:
        raise ExportError(f"tf2onnx cannot convert {model.name!r}: {last_line(process.stderr)}")


FORMATS = {
    "keras": Format(
        ".keras",
        _write_keras,
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

# It uses only the printed command and NumPy, because the command must work for a user who has nothing but the file.
_COMPARE = """
import sys, numpy
expected = numpy.load(sys.argv[1])
{load}
print(abs(numpy.asarray(predict(expected["images"])) - expected["probabilities"]).max())
"""


def check_format(format_name: str) -> None:
    """Check that a model can be exported in this format.

    Args:
        format_name: one of `FORMATS`.

    Raises:
        UserError: the format is unknown, or it needs packages that are not installed.
    """
    if format_name not in FORMATS:
        raise UserError(f"format={format_name!r} is not a format; accepted: {', '.join(FORMATS)}")
    missing = [package for package in FORMATS[format_name].needs if find_spec(package) is None]
    if missing:
        installed_formats = ", ".join(name for name in FORMATS if not FORMATS[name].needs)
        raise UserError(
            f"format={format_name!r} needs {' and '.join(missing)} (not installed);"
            f" accepted: {installed_formats}, or {format_name} after `pip install -e .[onnx]`"
        )


def check(format_name: str, folder: Path) -> None:
    """Check, before any training, that a model can be exported in this format and into this folder.

    Args:
        format_name: one of `FORMATS`.
        folder: the folder to export to; it is created if it is missing.

    Raises:
        UserError: as `check_format` does, and if the folder is not writable.
    """
    check_format(format_name)
    disk.require_writable("output", folder)


def write(
    model: "keras.Model",
    class_names: Sequence[str],
    images: np.ndarray,
    folder: Path,
    name: str,
    format_name: str = "keras",
    preparation: Mapping[str, object] | None = None,
) -> Path:
    """Export a model, and check the file in a new process that imports nothing of this package.

    The class names are written to `<name>.classes.json` beside it, and the preparation of images to `<name>.images.json`. Files
    of an earlier export are replaced or removed only after the check, and so is what a killed process left.

    Args:
        model: the trained network.
        class_names: the names of its classes, in the order of its outputs.
        images: uint8 (n, height, width, channels); the model and the exported file both predict the first of them.
        folder: the folder to export to.
        name: the name of the file, without suffix.
        format_name: one of `FORMATS`.
        preparation: how images become the model's inputs, in types that JSON has; None for nothing to say.

    Returns:
        The path of the exported model: a file, or for "saved_model" a folder.

    Raises:
        UserError: as `check` does.
        ExportError: the exported model does not load or predicts differently.
    """
    check(format_name, folder)
    suffix = FORMATS[format_name].suffix
    path = folder / f"{name}{suffix}"
    part = folder / f".{name}.{secrets.token_hex(4)}.part{suffix}"
    try:
        FORMATS[format_name].write(model, part)
        compared = images[:COMPARED_IMAGES]
        _compare(part, format_name, compared, model.predict(compared, verbose=0))
        for companion, content in zip(companions(path), (list(class_names), preparation), strict=True):
            if content:
                with disk.atomic_write(companion) as file:
                    file.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
            else:
                companion.unlink(missing_ok=True)  # what an earlier export says may be wrong for this one
        _replace(part, path)
    finally:
        disk.remove(part)
    disk.remove_abandoned(folder, f".{name}.*.part*")
    return path


def companions(path: Path) -> tuple[Path, Path]:
    """The files beside an exported model: its class names, and the preparation of images, which may be missing.

    Args:
        path: the path of the exported model.

    Returns:
        Both paths.
    """
    return path.with_suffix(".classes.json"), path.with_suffix(".images.json")


def loading_code(path: Path, format_name: str = "keras") -> str:
    """Write the line of Python that loads an exported model.

    Args:
        path: the path of the exported model.
        format_name: one of `FORMATS`.

    Returns:
        Code that opens `path` and defines the function `predict`.
    """
    return FORMATS[format_name].load.format(path=str(path))


def _compare(path: Path, format_name: str, images: np.ndarray, probabilities: np.ndarray) -> None:
    """Load the exported model in a new process, and raise ExportError unless it predicts these probabilities."""
    with tempfile.TemporaryDirectory() as folder:
        arrays_path = Path(folder, "expected.npz")
        np.savez(arrays_path, images=images, probabilities=probabilities)
        program = _COMPARE.format(load=loading_code(path, format_name))
        process = subprocess.run(
            [sys.executable, "-c", program, str(arrays_path)], capture_output=True, text=True, errors="replace"
        )
    if process.returncode:
        raise ExportError(f"the exported model {path.name!r} does not load: {last_line(process.stderr)}")
    difference = float(process.stdout.split()[-1])
    if not difference <= TOLERANCE:  # this form also rejects NaN
        raise ExportError(
            f"the exported model {path.name!r} predicts differently: its probabilities differ by {difference:.2g};"
            f" accepted: up to {TOLERANCE:g}"
        )


def _replace(part: Path, path: Path) -> None:
    """Give the new file or folder its name, in place of an earlier one."""
    if not path.is_dir():
        os.replace(part, path)
        return
    # A folder that is not empty cannot be replaced in one step. It is renamed first, and renamed back if the second
    # step fails.
    old = part.with_suffix(".old")
    os.rename(path, old)
    try:
        os.rename(part, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)
