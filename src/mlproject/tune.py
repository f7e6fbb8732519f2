"""The story of `tune`: every experiment is rehearsed; then each is searched, refitted, evaluated and registered."""

import gc
import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from mlproject import arguments, process, tracking
from mlproject.cluster.pool import Pool, open_pool, require_ray
from mlproject.discovery import find
from mlproject.errors import StoreGoneError, counted, first_line
from mlproject.final.refit import log_datasets, weights_params
from mlproject.final.registered import RegisteredModel
from mlproject.final.seeds import make_final_model
from mlproject.place import Place
from mlproject.rehearsal import rehearse
from mlproject.search import fingerprint
from mlproject.search.fingerprint import Fingerprint
from mlproject.search.given_trials import add_given_trials
from mlproject.search.journal import Journal, open_journal, seconds_left
from mlproject.search.search import search
from mlproject.search.space import replace_best_values
from mlproject.settings import Settings, own_images
from mlproject.task import Task, prepare
from mlproject.training import device, winograd

logger = logging.getLogger(__name__)

JOURNALS = Path(".mlproject", "searches")


@dataclass
class Outcome:
    """The result of a `tune`: the registered models, and the reasons of the experiments that failed, by name."""

    registered: list[RegisteredModel] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """A line for each experiment."""
        failures = [f"{name} FAILED: {reason}" for name, reason in self.failed.items()]
        return [*map(str, self.registered), *failures]


@dataclass(frozen=True)
class _Command:
    """What the experiments of one command share.

    Attributes:
        settings: what the user asked for.
        project: the run of `mlflow run`.
        throughputs: the speeds that were measured already, by `Task.network_key`. Networks of the same key are planned by
            the same measurement, and each of them pays for it.
        pool: the workers that train the trials; None for none.
        network_key_counts: how many tasks have a network key. Experiments that share a key get equally long final fits.
    """

    settings: Settings
    project: tracking.ProjectRun
    throughputs: dict[tuple[object, ...], dict[str, Any] | None]
    network_key_counts: Counter[tuple[object, ...]]
    pool: Pool | None


def prepare_tasks(settings: Settings) -> list[Task]:
    """Configure TensorFlow, find the experiments, load their data, and apply the user's values and trials.

    Args:
        settings: what the user asked for.

    Returns:
        A task for each experiment.

    Raises:
        UserError: for experiments, data, weights, values or trials that cannot be used.
    """
    require_ray(settings)
    device.configure(settings.precision)
    winograd.set_enabled(settings.winograd)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    images = own_images(settings.images, settings.image_size, settings.image_fit, settings.base)
    experiments = find(settings.experiment, images=images, base=settings.base)
    experiments = [
        experiment.for_budget(settings.budget_minutes).with_train_share(settings.train_share)
        for experiment in experiments
    ]
    tracking.disable_autologging()
    tasks = prepare(
        experiments, settings.data, settings.data_dir, settings.weights, settings.seed, train_share=settings.train_share
    )
    tasks = [task.with_folds(settings.folds, settings.repeats) for task in tasks]
    tasks = [replace_best_values(task, arguments.names(settings.values)) for task in tasks]
    return [add_given_trials(task, settings.trials, settings.max_trials) for task in tasks]


def tune(settings: Settings, tasks: list[Task], project: tracking.ProjectRun) -> Outcome:
    """Tune every task. When one fails, the others go on.

    Args:
        settings: what the user asked for.
        tasks: the experiments with their data, from `prepare_tasks`.
        project: the run of `mlflow run`, from `tracking.connect`.

    Returns:
        The registered models and the failures.

    Raises:
        UserError: when the rehearsal finds something that would fail later.
        KeyboardInterrupt: when the process is told to stop.
        StoreGoneError: when the MLflow store does not answer for too long.
    """
    settings = replace(settings, precision=device.precision())
    logger.info("trains on: %s", device.describe())
    fingerprints = [fingerprint.take(task, settings.deciding, tracking.address()) for task in tasks]
    outcome, network_key_counts = Outcome(), Counter(task.network_key for task in tasks)
    with open_pool(settings) as pool:
        rehearse(tasks, fingerprints, project, JOURNALS)
        gc.freeze()  # or garbage collection would search all that exists by now before every trial (a third of a second)
        _tune_all(tasks, fingerprints, _Command(settings, project, {}, network_key_counts, pool), outcome)
    project.set_description("\n\n".join(outcome.lines))
    tracking.end_own_runs(project_run_id=project.run_id)
    return outcome


def _tune_all(tasks: list[Task], fingerprints: list[Fingerprint], command: _Command, outcome: Outcome) -> None:
    """Tune one experiment after another, and add what comes of them to the outcome."""
    pairs, budget = list(zip(tasks, fingerprints, strict=True)), command.settings.budget_seconds
    seconds_left_each = [
        budget if command.settings.fresh else seconds_left(JOURNALS, task.model_name, identity, budget)
        for task, identity in pairs
    ]
    for number, (task, identity) in enumerate(pairs, 1):
        logger.info("[%d/%d] %s: %s", number, len(tasks), task.experiment.name, task.experiment.question)
        placed_task = replace(task, place=Place(number, len(tasks), sum(seconds_left_each[number:])))
        try:
            outcome.registered.append(_tune_one(placed_task, identity, command))
        except (KeyboardInterrupt, StoreGoneError):
            raise
        except Exception as error:  # whatever one experiment raises, the others' hours must not be lost
            process.stop_if_requested()
            outcome.failed[task.experiment.name] = first_line(error)
            logger.error("%s failed: %s", task.experiment.name, first_line(error))


def _tune_one(task: Task, identity: Fingerprint, command: _Command) -> RegisteredModel:
    """Tune one experiment, finish what an interruption left, or return the model of a complete search."""
    name = task.model_name
    with open_journal(JOURNALS, name, identity, command.settings.fresh) as journal:
        registered = _registered_model(journal, name)
        if registered:
            logger.info("  already complete: %s; fresh=true starts again", registered)
            _warn_of_lost_files(registered)
        else:
            parent = _parent_run(journal)
            seconds = command.settings.budget_seconds
            logger.info(
                "  time for the search and the final fits: %s", task.place.time_left(seconds - journal.seconds, seconds)
            )
            began = time.monotonic()
            registered = _search_and_refit(task, command, journal, parent)
            registered = replace(registered, minutes=(time.monotonic() - began) / 60)
            journal.result = asdict(registered)
            journal.save()
            logger.info("  %s", registered)
        journal.remove_states()  # also those that a kill left after the last save
        command.throughputs[task.network_key] = journal.throughput
    return registered


def _parent_run(journal: Journal) -> str | None:
    """The run of this search, which goes on; None for a new search. One whose runs or model were deleted is a new search."""
    parent = tracking.find_run(journal.search, "search")
    if journal.throughput and (journal.result or parent is None):
        logger.info("  starts again, because its runs or its model are no longer in the store")
        journal.restart()
        return None
    return parent


def _registered_model(journal: Journal, name: str) -> RegisteredModel | None:
    """The model that this search registered, with its present alias; None when there is none in the registry."""
    if not journal.result:
        return None
    registered = RegisteredModel(**journal.result)
    if tracking.version_of(name, registered.run_id) != registered.version:
        return None
    return replace(registered, alias=tracking.alias_of(name, registered.version))


def _warn_of_lost_files(registered: RegisteredModel) -> None:
    """Warn of a model in the registry that cannot be loaded, because the folder with its files was moved or deleted."""
    for model in tracking.final_models([f"{registered.name}/{registered.version}"]):
        if not model.has_artifacts():
            logger.warning(
                "%s v%d has lost its files, which MLflow kept in %s; fresh=true trains it anew",
                model.name,
                model.version,
                model.artifact_location,
            )


def _given_trials_params(task: Task) -> dict[str, str]:
    """The trials that a user gives, as a parameter; none without such trials."""
    digest = fingerprint.given_trials_digest(task)
    return {"trials_digest": digest} if digest else {}


def _search_and_refit(task: Task, command: _Command, journal: Journal, parent: str | None) -> RegisteredModel:
    """A parent run with a nested run for each trial and one for the final model; it goes on where there is one already."""
    experiment, settings = task.experiment, command.settings
    tags = {
        "role": "search",
        "experiment": experiment.name,
        "comparison": experiment.comparison,
        "data": task.data_kind,
        "search": journal.search,
        "search.digest": journal.path.parent.name,
    }
    tracking.use_comparison(command.project, experiment.comparison)
    with tracking.run(f"{task.model_name} search", tags, resume=parent):
        tracking.set_description(f"**Question:** {experiment.question}")
        tracking.describe_search(
            task.model_name,
            experiment.question,
            journal.search,
            [name for name in experiment.best if name not in experiment.fixed],
        )
        params = settings.deciding | _given_trials_params(task)
        tracking.log_params(params | weights_params(task))
        log_datasets(task.data)
        tracking.log_json("settings.json", settings.deciding)  # shows before any training that files can be logged
        journal.throughput = journal.throughput or command.throughputs.get(task.network_key)
        search_result = search(task, journal, settings, command.pool)
        paired = command.network_key_counts[task.network_key] > 1
        seconds = search_result.plan.granted_final_fit(search_result.spent, search_result.remeasuring, paired)
        seeds = settings.final_seeds
        registered = make_final_model(task, search_result, journal, seconds, params, seeds, command.pool)
        tracking.log_metrics(registered.metrics)
        result = f"{registered}, after {counted(len(search_result.trials), 'trial')}."
        tracking.set_description(f"**Question:** {experiment.question}\n\n**Result:** {result}")
    return registered
