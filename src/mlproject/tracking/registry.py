"""Write to MLflow's model registry: register a final model once, and give the better version the alias champion."""

import importlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.logging_utils import disable_logging, enable_logging
from numpy.typing import NDArray

from mlproject.objectives import DEFAULT, OBJECTIVES
from mlproject.tracking import classifier_flavor, permissions, store
from mlproject.tracking.abandoned import is_of_this_process
from mlproject.tracking.log import active_run_id, log_metrics
from mlproject.tracking.queries import find_existing_run

if TYPE_CHECKING:  # importing Keras takes seconds, and a report does not need it
    import keras

CHAMPION, CHALLENGER = "champion", "challenger"
TRIAL_PREFIX = "trial_"  # begins the names of the metrics of a final run that its winner's trial measured
OUR_TAGS = {"experiment", "dataset.digest"}  # every version of this project has these tags, among others
# Parameters that make trials comparable if they are equal, and what they were before they were recorded.
TRIALS_PARAMS = {"max_trials": None, "folds": "0", "repeats": "1"}
RIVAL_MILLISECONDS = 60_000  # between two versions whose processes may choose the champion at the same moment
SETTLING_SECONDS = 2.0  # until such a rival, who saw the champion before ours, has given the alias away


def register(
    model: "keras.Model",
    name: str,
    class_names: Sequence[str],
    example: NDArray[Any],
    tags: Mapping[str, str],
    preparation: Mapping[str, object] | None = None,
) -> int:
    """Log the model into the active run and register it under `name`.

    A run's model is registered once, however often this function is called.

    Args:
        model: The trained model.
        name: The registered model's name.
        class_names: The classes in the order of the model's outputs; they become metadata of the model.
        example: Images of shape (n, height, width, channels), dtype uint8. The first one becomes the model's input example.
        tags: Tags of the new version.
        preparation: How images become such images, in types that JSON has; it becomes metadata of the model, too.

    Returns:
        The number of the new version.

    Raises:
        UserError: Another user has made the registered model meanwhile, and this one may not add versions.
        StoreGoneError: The store has not answered for too long.
    """
    run_id, metadata = active_run_id(), {"class_names": json.dumps(list(class_names))}
    if preparation:
        metadata["preparation"] = json.dumps(preparation)
    try:
        version = store.retry_file_transfer(lambda: _log_model_once(model, name, run_id, example, metadata))
    except MlflowException as error:
        if error.error_code != permissions.DENIED:
            raise
        raise permissions.registration_denied(name) from error
    set_version_tags(name, version, tags)
    size = store.retry_file_transfer(lambda: Model.load(f"models:/{name}/{version}")).model_size_bytes
    if size is not None:
        log_metrics({"model_bytes": size})
    return version


def _log_model_once(
    model: "keras.Model", name: str, run_id: str, example: NDArray[Any], metadata: dict[str, str]
) -> int:
    """Log and register the model, unless an earlier attempt did so and its answer was lost."""
    registered = version_of(name, run_id)
    if registered:
        return registered
    for unfinished in mlflow.search_logged_models(filter_string=f"source_run_id = '{run_id}'", output_format="list"):
        mlflow.MlflowClient().delete_logged_model(unfinished.model_id)
    with _silence_mlflow():
        info = Model.log(
            artifact_path=None,  # deprecated, and required
            name=name.replace(".", "-"),  # a registered model's name may have a full stop, a logged model's may not
            flavor=classifier_flavor,
            flavor_name="keras",
            registered_model_name=name,
            metadata=metadata,
            model=model,
            example=example,
            validate_serving_input=False,
        )
    return int(info.registered_model_version)


@contextmanager
def _silence_mlflow() -> Iterator[None]:
    """Leave out what MLflow says when it registers a version, whatever the level of its logger; the summary says it."""
    # MLflow imports this module when it first saves a model, and the import turns on again what is turned off here.
    importlib.import_module("mlflow.pyfunc")
    if not logging.getLogger("mlflow").isEnabledFor(logging.INFO):
        disable_logging()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        enable_logging()  # type: ignore[no-untyped-call]


def set_version_tags(name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a registered version.

    Args:
        name: The registered model's name.
        version: The version's number.
        tags: Values by name.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        store.retry(partial(client.set_model_version_tag, name, str(version), key, str(value)))


def describe(name: str, version: int, model_description: str, version_description: str) -> None:
    """Describe a registered model and one of its versions, as MLflow's UI shows them.

    Args:
        name: The registered model's name.
        version: The version's number.
        model_description: Markdown; it is left out where the model has a description of a user's.
        version_description: Markdown.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """

    def write() -> None:
        client = mlflow.MlflowClient()
        client.update_model_version(name, str(version), version_description)
        if not client.get_registered_model(name).description:
            with permissions.ignore_denial():  # who may only add versions leaves the model as it is
                client.update_registered_model(name, model_description)

    store.retry(write)


def logged_model_id(name: str, version: int) -> str | None:
    """The id of the logged model behind a registered version, to which MLflow ties metrics.

    Args:
        name: The registered model's name.
        version: The version's number.

    Returns:
        The id; None when a server older than MLflow 3 has none.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    model_version = store.retry(lambda: mlflow.MlflowClient().get_model_version(name, str(version)))
    # The database's registry leaves `model_id` empty, and names the logged model in the source: models:/m-0123...
    scheme, _, source = (model_version.source or "").partition(":/")
    return model_version.model_id or (source if scheme == "models" and source.startswith("m-") else None)


def with_trial_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a final run, with the scores of the winner's trial under the names that they have in the trial.

    Older final runs logged them under these names. Later ones add "trial_", because they are not scores of the final model.

    Args:
        metrics: The run's metrics.

    Returns:
        The metrics, with "val_accuracy" for "trial_val_accuracy" and so on.
    """
    return dict(metrics) | {
        name.removeprefix(TRIAL_PREFIX): value
        for name, value in metrics.items()
        if name.startswith(f"{TRIAL_PREFIX}val_")
    }


def version_of(name: str, run_id: str) -> int | None:
    """Find the version of a registered model that a run made.

    Args:
        name: The registered model's name.
        run_id: The run.

    Returns:
        The version's number; None when the run made none.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    query = f"name = '{name}' and run_id = '{run_id}'"
    versions = store.retry(lambda: mlflow.MlflowClient().search_model_versions(query))
    return int(versions[0].version) if versions else None


def alias_of(name: str, version: int) -> str:
    """Read the current alias of a version.

    Args:
        name: The registered model's name.
        version: The version's number.

    Returns:
        "champion" or "challenger"; "" when it has neither alias.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    model_version = store.retry(lambda: mlflow.MlflowClient().get_model_version(name, str(version)))
    return next((alias for alias in (CHAMPION, CHALLENGER) if alias in model_version.aliases), "")


def promote(name: str, version: int) -> str:
    """Give a version the alias "champion" if it beats the current champion, and "challenger" otherwise.

    It beats the champion if there is none, or if it was trained on the same data set and
    (1) its budget in minutes was larger, or
    (2) the budgets were equal, `max_trials`, `folds`, `repeats` or the number of seeds differed, and its final fit took
    longer, or
    (3) both were equal, and it is better by the objective of its own search, if the champion's run has that metric, or
    else by val_accuracy.
    Versions of other people and programs keep their aliases.
    If another process registers a version at the same moment, neither sees the other's choice in time. Then this function waits,
    and chooses again if the alias "champion" has gone to the other version.
    The objective was measured in a trial. The longer the final fit is, the smaller is the part of it that a trial
    covers. The objective therefore shows which version is better only if both searches had the same settings.

    Args:
        name: The registered model's name.
        version: The version's number.

    Returns:
        The alias that the version got; "" when it did not win and another program's version is "challenger".

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    alias = store.retry(lambda: _promote(name, version))
    if alias == CHAMPION and store.retry(lambda: _has_rivals(name, version)):
        time.sleep(SETTLING_SECONDS)
        alias = store.retry(lambda: _promote(name, version))
    return alias


def _has_rivals(name: str, version: int) -> bool:
    """Whether another process registered a version of the model in the same minute."""
    newest_versions = mlflow.MlflowClient().search_model_versions(
        f"name = '{name}'", max_results=10, order_by=["creation_timestamp DESC"]
    )
    created = next(
        (candidate.creation_timestamp for candidate in newest_versions if int(candidate.version) == version), 0
    )
    rivals = [
        candidate
        for candidate in newest_versions
        if int(candidate.version) != version and abs(candidate.creation_timestamp - created) < RIVAL_MILLISECONDS
    ]
    return any(is_ours(candidate) and not is_of_this_process(candidate.run_id or "") for candidate in rivals)


def _promote(name: str, version: int) -> str:
    client = mlflow.MlflowClient()
    champion, challenger = _version_with_alias(name, CHAMPION), _version_with_alias(name, CHALLENGER)
    wins = (
        champion is None
        or int(champion.version) == version
        or (is_ours(champion) and _beats(client.get_model_version(name, str(version)), champion))
    )
    if not wins and challenger and not is_ours(challenger):
        return ""
    alias = CHAMPION if wins else CHALLENGER
    if not (wins and champion and int(champion.version) == version):
        client.set_registered_model_alias(name, alias, str(version))
    if alias == CHAMPION and challenger and int(challenger.version) == version:
        with permissions.ignore_denial():  # who may only edit a model keeps both aliases
            client.delete_registered_model_alias(name, CHALLENGER)
    return alias


def is_ours(version: ModelVersion) -> bool:
    """Whether this project made a version, judged by its tags.

    Args:
        version: Any version in the registry.

    Returns:
        False for the versions of other people and programs, which are neither reported nor lose their aliases.
    """
    return version.tags.keys() >= OUR_TAGS and bool(version.run_id)


def _beats(challenger: ModelVersion, champion: ModelVersion) -> bool:
    if not find_existing_run(champion.run_id or ""):  # deleted for good: reports leave this version out
        return True
    if challenger.tags.get("dataset.digest") != champion.tags.get("dataset.digest"):
        return False
    new, old = (mlflow.get_run(version.run_id or "").data for version in (challenger, champion))
    new_budget, old_budget = (float(run.params.get("budget_minutes", 0)) for run in (new, old))
    if new_budget != old_budget:
        return new_budget > old_budget
    same_trials = all(
        new.params.get(name, default) == old.params.get(name, default) for name, default in TRIALS_PARAMS.items()
    )
    same_seeds = new.metrics.get("seeds", 1) == old.metrics.get("seeds", 1)  # which share the minutes of the final fits
    if not (same_trials and same_seeds):
        return bool(new.metrics["train_seconds"] > old.metrics.get("train_seconds", -math.inf))
    objective = new.params.get("objective", DEFAULT)
    new_scores, old_scores = with_trial_scores(new.metrics), with_trial_scores(old.metrics)
    metric = objective if objective in OBJECTIVES and objective in new_scores and objective in old_scores else DEFAULT
    goodness = OBJECTIVES[metric].goodness
    return bool(goodness(new_scores[metric]) > goodness(old_scores.get(metric, -math.inf)))


def _version_with_alias(name: str, alias: str) -> ModelVersion | None:
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
