"""One final fit: the winner is trained on all training images and predicts the test images."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from mlproject import budget, evaluation, tracking
from mlproject.budget import Plan
from mlproject.datasets import Dataset
from mlproject.final.artifacts import log_artifacts, log_predictions, superclass_accuracy, version_tags, weakest_classes
from mlproject.final.cross_validation import accuracy_in_words, cross_validate
from mlproject.final.environment import describe_environment
from mlproject.networks import pretrained
from mlproject.networks.walk import node_of
from mlproject.recipe import Recipe
from mlproject.search.journal import Journal, pack
from mlproject.search.result import SearchResult, reserve
from mlproject.search.trial_fit import log_epoch
from mlproject.task import Task
from mlproject.training.checkpoint import Checkpoint, Progress
from mlproject.training.fit import FitResult, fit
from mlproject.training.monitor import FitHooks
from mlproject.training.prediction import PREDICTION_BATCH, milliseconds_per_image, predict
from mlproject.training.schedule import StageSchedule, describe_schedule, plan_stages, schedule_params

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinalFit:
    """What is kept of a finished final fit.

    Attributes:
        run_id: the MLflow run that made it.
        metrics: its scores on the test images, whose names begin with `test_`.
        correct: whether it classifies each test image correctly, in the order of the images, packed by `journal.pack` as bool.
        version: the registered version, None for a fit that repeats the registered one with another seed.
        cross_validated: the cross-validated accuracy in words, "" without folds.
        weakest: the classes with the lowest recall, in words.
    """

    run_id: str
    metrics: dict[str, float]
    correct: str
    version: int | None
    cross_validated: str = ""
    weakest: str = ""


@dataclass(frozen=True, eq=False)
class TrainedByWorker:
    """A final network that a worker trained.

    Attributes:
        weights: as `get_weights` of the network gives them.
        result: the fit's result.
    """

    weights: list[np.ndarray]
    result: FitResult


def refit(
    task: Task,
    search: SearchResult,
    journal: Journal,
    seconds: float,
    params: Mapping[str, Any],
    registers: bool,
    trained: TrainedByWorker | None = None,
) -> FinalFit:
    """Train the winner on all training images, predict the test images, and log it all; register the model if asked to.

    With cross-validation, the winner is first trained and tested on each fold, by the schedule of the final fit, once for all
    seeds. After an interruption the same run goes on, and the fit continues from its last checkpoint. Everything else is done
    again without harm. A fit that is in the journal is not done again.

    Args:
        task: the experiment with its data and the seed of this fit.
        search: the search's result.
        journal: keeps the schedule, the checkpoint and what was finished.
        seconds: the time for all of it.
        params: the settings of the command, which are logged as parameters.
        registers: whether the model is registered; another one is logged for its predictions only.
        trained: what a worker trained, whose run goes on; None trains here.

    Returns:
        The fit's scores, and its version.
    """
    if str(task.seed) in journal.fits:
        return FinalFit(**journal.fits[str(task.seed)])
    with tracking.run(**run_options(task, journal, registers), nested=True) as run_id:
        tracking.log_params(params)
        tracking.log_json("environment.json", describe_environment())
        schedule = plan_schedule(task, search, journal, seconds)
        cross_validated = cross_validate(task, search, schedule, journal, seconds) if registers else {}
        model, recipe = task.network(search.values)
        tracking.log_params(
            {"fit_seed": task.seed, **search.values, **schedule_params(schedule), **weights_params(task)}
        )
        result = _train_or_load_weights(task, (model, recipe), schedule, journal, search.plan, seconds, trained)
        probabilities, metrics = _evaluate(task, model, recipe, search, result, registers)
        version = _register(task, model, params.get("seed", task.seed)) if registers else None
        correct = probabilities.argmax(axis=1) == task.data.test_labels
        test_scores = _log_scores(task, metrics | cross_validated, correct, version)
    weakest = weakest_classes(task.data, probabilities)
    packed = pack(correct, np.bool_)
    final_fit = FinalFit(run_id, test_scores, packed, version, accuracy_in_words(cross_validated), weakest)
    journal.fits[str(task.seed)] = asdict(final_fit)
    journal.save()
    journal.checkpoint(task.seed).unlink(missing_ok=True)
    return final_fit


def run_options(task: Task, journal: Journal, registers: bool) -> dict[str, Any]:
    """The run of a final fit, as `tracking.run` and `tracking.open_run` take it.

    Args:
        task: the experiment with the seed of the fit.
        journal: names the search.
        registers: whether its model is registered.

    Returns:
        Its `name`, its `tags`, and the run to `resume`, which an earlier process began; None for none.
    """
    role, name = ("final", "final") if registers else ("repeat", f"final, seed {task.seed}")
    tags = {"role": role, "experiment": task.experiment.name, "data": task.data_kind, "search": journal.search}
    earlier = tracking.find_run(journal.search, role, task.seed)
    return {"name": f"{task.model_name} {name}", "tags": tags | {"seed": str(task.seed)}, "resume": earlier}


def _train_or_load_weights(
    task: Task,
    network: tuple[keras.Model, Recipe],
    schedule: Mapping[str, StageSchedule],
    journal: Journal,
    plan: Plan,
    seconds: float,
    trained: TrainedByWorker | None,
) -> FitResult:
    """Train the network, or give it the weights that a worker trained. An interruption later on does not train it again."""
    log_datasets(task.data)
    if trained:
        network[0].set_weights(trained.weights)
        _keep_end(journal, task.seed, network, trained.result)
        return trained.result
    number, place = len(journal.fits) + 1, task.place
    seconds_left = (plan.seeds - len(journal.fits)) * seconds
    progress = f"final fit {number} of {plan.seeds}, seed {task.seed}"
    logger.info("  %s%s; %s", place.prefix, progress, place.time_left(seconds_left, plan.budget))
    batch_size, images = network[1].batch_size, len(task.data.train_images)
    logger.info("  trains on training and validation images: %s", describe_schedule(schedule, batch_size, images))
    hooks = FitHooks(
        on_hang=tracking.failure_callback(),
        checkpoint=Checkpoint(journal.checkpoint(task.seed)),
        title=f"{place.prefix}final fit {number}/{plan.seeds}, {place.time_left(seconds_left)}",
    )
    result = train(task, network, schedule, hooks)
    _keep_end(journal, task.seed, network, result)
    return result


def _keep_end(journal: Journal, seed: int, network: tuple[keras.Model, Recipe], result: FitResult) -> None:
    """Keep the trained weights: epochs that were trained again would end in slightly others than those that are registered."""
    model, recipe = network
    rows = [{str(name): value for name, value in row.items()} for row in result.history.to_dict("records")]
    progress = Progress(len(recipe.stages), 0, rows, result.images_per_second)
    Checkpoint(journal.checkpoint(seed)).save_end(model, progress)


def _evaluate(
    task: Task, model: keras.Model, recipe: Recipe, search: SearchResult, result: FitResult, registers: bool
) -> tuple[np.ndarray, dict[str, float]]:
    """Predict the test images and log what follows; a fit that only repeats another logs predictions and history."""
    probabilities, features, prediction_speed = predict_with_features(model, task.data.test_images)
    metrics = evaluation.summary(task.data.test_labels, probabilities) | superclass_accuracy(task.data, probabilities)
    metrics |= {
        "train_seconds": result.history["seconds"].sum(),
        "parameters": model.count_params(),
        "ms_per_image": milliseconds_per_image(model, task.data.test_images),
        "images_per_second": result.images_per_second[recipe.stages[-1].name],
        "prediction_images_per_second": prediction_speed,
    }
    if registers:
        trial_scores = {f"{tracking.TRIAL_PREFIX}{name}": score for name, score in search.scores.items()}
        metrics |= trial_scores | {"search_seconds": search.seconds}
        log_artifacts(task, search, result.history, probabilities, features)
    else:
        log_predictions("evaluation/predictions.npz", task.data, probabilities)
        tracking.log_table(result.history, "evaluation/history.csv")
    return probabilities, metrics


def _log_scores(task: Task, scores: dict[str, float], correct: np.ndarray, version: int | None) -> dict[str, float]:
    """Log all scores. Those on the test images refer to this data set, and to the registered model if there is one.

    Returns the scores on the test images.
    """
    test_scores = {name: value for name, value in scores.items() if name.startswith("test_")}
    tracking.log_metrics({name: value for name, value in scores.items() if name not in test_scores})
    model_id = tracking.logged_model_id(task.model_name, version) if version else None
    low, high = evaluation.accuracy_interval(correct)
    interval = {"test_accuracy_low": low, "test_accuracy_high": high}
    tracking.log_metrics(test_scores | interval, dataset=test_set(task.data), model_id=model_id)
    return test_scores


def _register(task: Task, model: keras.Model, seed: object) -> int:
    data = task.data
    return tracking.register(
        model, task.model_name, data.class_names, data.test_images[:2], version_tags(task, seed), data.preparation
    )


def weights_params(task: Task) -> dict[str, str]:
    """The pretrained base and its weights, as parameters: "imagenet", "none" or a file's name. None without such a base."""
    if not task.experiment.pretrained:
        return {}
    network, path = task.experiment.pretrained, task.spec.weights
    if path is None:
        return {"pretrained": network, "weights": "none"}
    is_imagenet = path.name in pretrained.imagenet_file(network, task.spec.shape[0]).names
    name = "imagenet" if is_imagenet else path.name
    return {"pretrained": network, "weights": name, "weights_digest": pretrained.digest(path)}


def log_datasets(data: Dataset) -> None:
    """Log the training and the test images as inputs of the active run."""
    train = f"{data.name}-{data.labels}-train"
    tracking.log_dataset(train, data.digest, data.source, data.train_images, data.train_labels, "training")
    tracking.log_dataset(*test_set(data), data.source, data.test_images, data.test_labels, "testing")


def test_set(data: Dataset) -> tuple[str, str]:
    """Name and digest of the test images, as MLflow knows them."""
    return f"{data.name}-{data.labels}-test", data.test_digest


def plan_schedule(task: Task, search: SearchResult, journal: Journal, seconds: float) -> dict[str, StageSchedule]:
    """Plan the schedule of all final fits once, and keep it in the journal.

    Args:
        task: the experiment with its data.
        search: the search's result.
        journal: keeps the schedule.
        seconds: the time for each fit.

    Returns:
        The length of each stage.
    """
    if journal.schedule is None:
        recipe = task.recipe(search.values)
        training_seconds = budget.FINAL_FIT_SAFETY * (seconds - reserve(task, search.throughput, search.plan))
        training_seconds *= search.plan.final_speed
        speeds, images = search.throughput.images_per_second, len(task.data.train_images)
        planned = plan_stages(recipe, speeds, training_seconds, images)
        journal.schedule = {stage: asdict(length) for stage, length in planned.items()}
        journal.save()
    return {stage: StageSchedule(**length) for stage, length in journal.schedule.items()}


def train(
    task: Task, network: tuple[keras.Model, Recipe], schedule: Mapping[str, StageSchedule], hooks: FitHooks
) -> FitResult:
    """Train on all training images, those of the validation included; logs each epoch and each earlier stage's predictions.

    Args:
        task: the experiment with its data and the seed of this fit.
        network: the network, which is trained in place, and its recipe.
        schedule: the length of each stage.
        hooks: what else happens on the way.

    Returns:
        The fit's result.
    """
    model, recipe = network

    def keep_predictions(stage: str) -> None:
        if stage != recipe.stages[-1].name:
            probabilities, _, _ = predict_with_features(model, task.data.test_images)
            log_predictions(f"evaluation/stages/{stage}.npz", task.data, probabilities)

    hooks = replace(hooks, on_epoch=log_epoch, on_stage=keep_predictions)
    return fit(model, recipe, schedule, task.fit_data(np.arange(len(task.data.train_images)), None), hooks)


def predict_with_features(model: keras.Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Predict images, and keep what the predictions are made of.

    Args:
        model: the network.
        images: uint8 (n, h, w, c).

    Returns:
        Probabilities, float16 (n, classes); the features, float (n, ...), which enter the last layer with weights; and the
        speed in images per second.
    """
    last = [layer for layer in model.layers if layer.weights][-1]
    with_features = keras.Model(model.input, [model.output, node_of(model, last).input_tensors[0]])
    # A full batch and a last one of the same size as below, so that tracing the graph for both is not timed.
    predict(with_features, images[: PREDICTION_BATCH + len(images) % PREDICTION_BATCH])
    began = time.monotonic()
    probabilities, features = predict(with_features, images)
    speed = len(images) / (time.monotonic() - began)
    # Rounded as they are stored, so that figures drawn from the artifact later agree with those logged now.
    return probabilities.astype(np.float16), features, speed
