"""A task on its way to the workers: what is small is pickled, images and weights go through Ray's object store."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mlproject

if TYPE_CHECKING:  # a worker sets TensorFlow's threads before it imports it
    from mlproject.settings import Settings
    from mlproject.task import Task


@dataclass(frozen=True)
class Parcel:
    """What a worker needs in order to train fits of a task.

    Attributes:
        key: tells parcels apart.
        task: the task without its images, pickled with the functions of the user's own files.
        data: refers to the data set in the object store.
        weights: refers to the content of the file with pretrained weights; None for none.
        features: the folder for activations of frozen layers; empty for one of the node's own.
        threads: how many cores a fit may use; 0 for TensorFlow's default.
        precision, winograd, deterministic: the settings of this name.
        code: the digest of this package's code.
    """

    key: str
    task: bytes
    data: Any
    weights: Any
    features: str
    threads: int
    precision: str
    winograd: bool
    deterministic: bool
    code: str


def pack(task: "Task", settings: "Settings", data: Any, weights: Any, features: str, threads: int) -> Parcel:
    """Make a parcel.

    Args:
        task: the task.
        settings: what the user asked for.
        data, weights: references to what is in the object store.
        features: as in `Parcel`.
        threads: as in `Parcel`.

    Returns:
        The parcel. The user's own modules travel as code, so a node needs nothing but this package.
    """
    from ray import cloudpickle

    # A data set of a user's own may hold all images, or what cannot be pickled.
    experiment, spec = replace(task.experiment, dataset=None), replace(task.spec, weights=None)
    bare_task = replace(task, experiment=experiment, data=None, features=None, spec=spec)  # type: ignore[arg-type]
    user_modules = _user_modules(task)
    for module in user_modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        content = cloudpickle.dumps(bare_task)
    finally:
        for module in user_modules:
            cloudpickle.unregister_pickle_by_value(module)
    key = hashlib.sha256(content + task.data.digest.encode()).hexdigest()
    options = settings.precision, settings.winograd, settings.deterministic
    return Parcel(key, content, data, weights, features, threads, *options, code=code_digest())


def _user_modules(task: "Task") -> list[ModuleType]:
    """The imported modules of the user's own that the experiment's code comes from."""
    from mlproject.search import fingerprint

    files = {
        path.resolve()
        for name, path in fingerprint.modules(task.experiment).items()
        if not name.startswith("mlproject/")
    }
    return [module for module in list(sys.modules.values()) if _source_file(module) in files]


def _source_file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def code_digest() -> str:
    """The digest of this package's code, which must be the same on all nodes."""
    package = Path(mlproject.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]
