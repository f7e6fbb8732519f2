"""The rehearsal: before any minute is spent, every experiment goes the whole way on a handful of images.

Whatever the end of a search needs is tried here: the network and its recipe with the best-known values, one step of each stage,
predictions that are probabilities, tables and plots, a saved model that loads again, and the right to register it.
"""

import contextlib
import io
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from mlproject import disk, evaluation, process, tracking
from mlproject.datasets import Dataset
from mlproject.errors import UserError, first_line, last_line
from mlproject.experiment import hyperparameters
from mlproject.final.artifacts import draw_plots, make_tables, superclass_accuracy
from mlproject.final.refit import predict_with_features
from mlproject.networks.contract import check_image_height, check_network, check_probabilities
from mlproject.recipe import Recipe
from mlproject.search import fingerprint
from mlproject.search.fingerprint import Fingerprint
from mlproject.search.space import check_best_values
from mlproject.task import Task
from mlproject.training.features import FeatureCache
from mlproject.training.fit import fit
from mlproject.training.prediction import predict
from mlproject.training.schedule import StageSchedule

logger = logging.getLogger(__name__)

TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES, BATCH = 16, 8, 16, 8
TOLERANCE = 1e-4  # between the probabilities of a model before it is saved and after it is loaded
ROOM = 64 << 20  # bytes in the temporary folder, for a model and its artifacts
MARKER = "rehearsed"
# Class names in a model's configuration: CODE stands for a function that Keras saved as bytecode, VALUES for an array.
CODE, VALUES = ("Lambda", "__lambda__"), ("__tensor__", "__numpy__", "__keras_tensor__")

# What a user has who loads the model by MLflow or Keras: nothing of this project.
_LOAD = """
import sys
import keras, mlflow, numpy
stored = numpy.load(sys.argv[1])
for load in (mlflow.keras.load_model, lambda path: keras.models.load_model(path + "/data/model.keras")):
    difference = abs(numpy.asarray(load(sys.argv[2])(stored["images"])) - stored["probabilities"]).max()
    assert difference <= float(sys.argv[3]), f"it predicts differently after loading, by {difference:.2g}"
"""


def rehearse(
    tasks: Sequence[Task], fingerprints: Sequence[Fingerprint], project: tracking.ProjectRun, journals: Path
) -> None:
    """Rehearse every experiment whose search has not been rehearsed yet.

    Args:
        tasks: the experiments with their data.
        fingerprints: of their searches.
        project: the run of `mlflow run`, from `tracking.connect`.
        journals: the folder of the searches' journals, where a finished rehearsal is marked.

    Raises:
        UserError: for the first thing that fails, in one line that names the experiment, the part, what was found and what is
            accepted.
    """
    for task, identity in zip(tasks, fingerprints, strict=True):
        marker = journals / task.model_name / fingerprint.digest(identity) / MARKER
        if marker.exists():
            continue
        began = time.monotonic()
        try:
            _rehearse_one(task, project)
        except UserError as error:
            raise UserError(f"experiment={task.experiment.name!r}: {error}") from error
        finally:
            keras.backend.clear_session()
        seconds = time.monotonic() - began
        marker.parent.mkdir(parents=True, exist_ok=True)
        with disk.atomic_write(marker) as part:
            part.write_text(json.dumps({"seconds": round(seconds, 1)}))
        logger.info("%s: the rehearsal took %.0f s and found no error", task.experiment.name, seconds)


def _rehearse_one(task: Task, project: tracking.ProjectRun) -> None:
    with _rehearsed_part("build or recipe with the best-known values", "a network and a recipe"):
        check_best_values(task)
    tracking.require_no_active_run()
    tracking.check_permissions(project, task.experiment.comparison, task.model_name)
    values = dict(task.experiment.best)
    with tempfile.TemporaryDirectory() as folder:
        _require_room(Path(folder))
        small_task = _with_few_images(task, Path(folder))
        with _rehearsed_part("build or recipe with the best-known values", "a network and a recipe"):
            model, recipe = small_task.network(values)
        check_network(model, small_task.spec)
        if not isinstance(recipe, Recipe):
            raise UserError(f"recipe returns {type(recipe).__name__}; accepted: a Recipe")
        _refuse_shared_weights(model, small_task)
        for _, height in recipe.heights(small_task.spec.shape[0]):
            check_image_height(model, height)
        with _rehearsed_part("training a step of each stage", "a network and a recipe that train"):
            history = _train_few_steps(small_task, model, recipe)
        with _rehearsed_part("predicting", "a network that predicts"):
            probabilities, features, _ = predict_with_features(model, small_task.data.test_images)
        check_probabilities(probabilities)
        with _rehearsed_part("evaluation, tables and plots", "data and a network that can be evaluated and drawn"):
            _evaluate(small_task, history, probabilities, features)
        _check_saving(model, small_task.data.test_images, Path(folder))
    tracking.require_no_active_run()


def _refuse_shared_weights(model: keras.Model, task: Task) -> None:
    """Refuse a layer that was made outside of `build`: it would carry its weights from one trial into the next."""
    second_network = task.experiment.network(hyperparameters(task.experiment.best), task.spec)
    variable_ids = {id(variable) for variable in model.variables}
    if shared_paths := [variable.path for variable in second_network.variables if id(variable) in variable_ids]:
        raise UserError(
            f"build uses {shared_paths[0]} again, which was made outside of it; accepted: layers that build makes"
        )


def _evaluate(task: Task, history: pd.DataFrame, probabilities: np.ndarray, features: np.ndarray) -> None:
    """Everything that a final run makes of its test images, without logging it."""
    evaluation.summary(task.data.test_labels, probabilities)
    evaluation.centroids(features, task.data.test_labels, len(task.data.class_names))
    superclass_accuracy(task.data, probabilities)
    make_tables(task, dict(task.experiment.best), pd.DataFrame(), history, probabilities)
    for figure in draw_plots(task, history, probabilities).values():
        figure.savefig(io.BytesIO(), dpi=20)


def _require_room(folder: Path) -> None:
    """Refuse a temporary folder without room for a model, which a library would blame on the network."""
    try:
        (folder / "room").write_bytes(bytes(ROOM))
    except OSError as error:
        raise UserError(
            f"TMPDIR={folder.parent} cannot be written ({error.strerror}); accepted: a folder with {ROOM >> 20} MB of room"
        ) from error
    (folder / "room").unlink()


@contextlib.contextmanager
def _rehearsed_part(part: str, accepted: str) -> Iterator[None]:
    """Say which part of the rehearsal failed."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a user's code or a library raises
        process.stop_if_requested()
        raise UserError(f"{part} fails: {first_line(error)}; accepted: {accepted}") from error


def _with_few_images(task: Task, folder: Path) -> Task:
    """The task with a handful of images of as many classes as possible, and a feature cache of its own."""
    data = task.data
    train = _one_of_each_class(data.train_labels, TRAIN_IMAGES + VALIDATION_IMAGES)
    test = _one_of_each_class(data.test_labels, TEST_IMAGES)
    few_images: Dataset = replace(
        data,
        train_images=data.train_images[train],
        train_labels=data.train_labels[train],
        train_strata=data.train_strata[train],
        test_images=data.test_images[test],
        test_labels=data.test_labels[test],
        validation=None,
        groups=None,
        digest="rehearsal",
    )
    rows = np.arange(len(train))
    validation = rows[-min(VALIDATION_IMAGES, max(len(rows) - 1, 1)) :]
    features = FeatureCache(folder / "features", few_images)
    small_task = replace(task, data=few_images, features=features, folds=())
    return replace(small_task, train=rows[: len(rows) - len(validation)], validation=validation)


def _one_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` images, the first ones of each class before the second ones: sorted int64."""
    order = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    return np.sort(np.argsort(order, kind="stable")[:count])


def _train_few_steps(task: Task, model: keras.Model, recipe: Recipe) -> pd.DataFrame:
    """Train a step of each stage, and one for each image size; returns the history."""
    recipe = replace(recipe, batch_size=min(recipe.batch_size, BATCH), steps_per_execution=1)
    steps = 1 + len(recipe.progressive_resizing)
    schedule = {stage.name: StageSchedule(1, steps) for stage in recipe.stages}
    return fit(model, recipe, schedule, task.fit_data(task.train, task.validation)).history


def _check_saving(model: keras.Model, images: np.ndarray, folder: Path) -> None:
    """Save the model as it will be registered, and load it: in a fresh process if it has parts that are not Keras' own."""
    model_path, probabilities = folder / "model", predict(model, images)
    with _rehearsed_part("saving the model", "layers that Keras can save"):
        tracking.save_model(model, images, model_path)
    with _rehearsed_part("loading the saved model", "built-in layers of Keras, which load in any process"):
        if foreign_parts := _foreign_parts(model.get_config()):
            _load_in_fresh_process(model_path, images, probabilities, foreign_parts)
        else:
            loaded_model = keras.models.load_model(model_path / "data" / "model.keras")
            difference = float(np.abs(predict(loaded_model, images) - probabilities).max())
            if difference > TOLERANCE:
                raise ValueError(f"it predicts differently after loading, by {difference:.2g}")


def _foreign_parts(config: Any) -> list[str]:
    """The classes and functions in a model's configuration that are not Keras' own; a Lambda counts, as it holds code."""
    if isinstance(config, dict):
        name = config.get("class_name")
        is_from_keras = str(config.get("module") or "keras").partition(".")[0] == "keras" and not config.get(
            "registered_name"
        )
        is_foreign = name is not None and name not in VALUES and (name in CODE or not is_from_keras)
        nested_parts = [part for value in config.values() for part in _foreign_parts(value)]
        return [str(name), *nested_parts] if is_foreign else nested_parts
    if isinstance(config, list | tuple):
        return [part for value in config for part in _foreign_parts(value)]
    return []


def _load_in_fresh_process(
    model_path: Path, images: np.ndarray, probabilities: np.ndarray, foreign_parts: list[str]
) -> None:
    arrays = model_path.parent / "expected.npz"
    np.savez(arrays, images=images, probabilities=probabilities)
    command = [sys.executable, "-c", _LOAD, str(arrays), str(model_path), str(TOLERANCE)]
    completed = subprocess.run(command, cwd=model_path.parent, capture_output=True, text=True, errors="replace")
    if completed.returncode:
        reason = last_line(completed.stderr)
        raise UserError(
            f"another process cannot load the model, because of {', '.join(dict.fromkeys(foreign_parts))}: {reason[:300]}; "
            "accepted: built-in layers and functions of Keras, or those of an installed package"
        )
