"""The story of `tune`: every experiment is searched, refitted, evaluated and registered, one after another."""

import gc
import logging
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mlproject import arguments, process, tracking
from mlproject.errors import StoreGoneError, first_line
from mlproject.experiment import find
from mlproject.final.refit import RegisteredModel, log_datasets, make_final_model, weights_params
from mlproject.networks.cost import Throughput
from mlproject.search import fingerprint
from mlproject.search.journal import Journal, open_journal
from mlproject.search.search import SearchResult, search
from mlproject.search.space import replace_best_values
from mlproject.settings import Settings
from mlproject.task import Task, prepare
from mlproject.training import winograd

logger = logging.getLogger(__name__)

JOURNALS = Path(".mlproject", "searches")


@dataclass
class Outcome:
    """What a `tune` came to: the registered models, and the reasons of the experiments that failed, by name."""

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
        alike: how many experiments have a network key. Final fits of two or more are planned alike.
    """

    settings: Settings
    project: tracking.ProjectRun
    throughputs: dict[tuple[object, ...], Throughput | None]
    alike: Counter[tuple[object, ...]]


def prepare_tasks(settings: Settings) -> list[Task]:
    """Find the experiments, load their data, and apply the user's values; raises UserError for what cannot be used."""
    _configure_tensorflow(settings)
    experiments = [experiment.within(settings.budget_minutes) for experiment in find(settings.experiment)]
    tasks = prepare(experiments, settings.data, settings.data_dir, settings.weights, settings.seed)
    return [replace_best_values(task, arguments.names(settings.values)) for task in tasks]


def tune(settings: Settings, tasks: list[Task], project: tracking.ProjectRun) -> Outcome:
    """Tune every task. An experiment that fails does not end the others.

    Args:
        settings: what the user asked for.
        tasks: the experiments with their data, from `prepare_tasks`.
        project: the run of `mlflow run`, from `tracking.connect`.

    Returns:
        The registered models and the failures.

    Raises:
        KeyboardInterrupt: when the process is told to stop.
        StoreGoneError: when the MLflow store does not answer for too long.
    """
    gc.freeze()  # what exists by now stays; looking through it took a third of a second before every trial
    outcome = Outcome()
    command = _Command(settings, project, {}, Counter(task.network_key for task in tasks))
    for position, task in enumerate(tasks, 1):
        logger.info("[%d/%d] %s: %s", position, len(tasks), task.experiment.name, task.experiment.question)
        try:
            outcome.registered.append(_tune_one(task, command))
        except (KeyboardInterrupt, StoreGoneError):
            raise
        except Exception as error:  # whatever one experiment raises, the others' hours must not be lost
            process.stop_if_told()
            outcome.failed[task.experiment.name] = first_line(error)
            logger.error("%s failed: %s", task.experiment.name, first_line(error))
    project.set_description("\n\n".join(outcome.lines))
    return outcome


def _configure_tensorflow(settings: Settings) -> None:
    import tensorflow as tf  # takes seconds

    winograd.set_enabled(settings.winograd)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()


def _tune_one(task: Task, command: _Command) -> RegisteredModel:
    """Tune one experiment, or finish what an interruption left, or find it complete already."""
    name = task.model_name
    made_of = fingerprint.take(task, command.settings.deciding, tracking.address())
    with open_journal(JOURNALS, name, made_of, command.settings.fresh) as journal:
        parent = tracking.find_run(journal.search, "search")
        if complete := _already_complete(journal, name):
            logger.info("  already complete: %s; -P fresh=true starts anew", complete)
            command.throughputs[task.network_key] = journal.throughput
            return complete
        if journal.throughput and (journal.result or parent is None):
            logger.info("  its runs or its model are no longer in the store: starts anew")
            journal.restart()
            parent = None
        journal.throughput = journal.throughput or command.throughputs.get(task.network_key)
        registered = _search_and_refit(task, command, journal, parent)
        command.throughputs[task.network_key] = journal.throughput
        journal.result = asdict(registered)
        journal.save()
        journal.checkpoint.unlink(missing_ok=True)
    logger.info("  %s", registered)
    return registered


def _already_complete(journal: Journal, name: str) -> RegisteredModel | None:
    """The model that this search registered, with its present alias; None when there is none in the registry."""
    if not journal.result:
        return None
    registered = RegisteredModel(**journal.result)
    if tracking.version_of(name, registered.run_id) != registered.version:
        return None
    return replace(registered, alias=tracking.alias_of(name, registered.version))


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
    with tracking.run(task.model_name, tags, resume=parent):
        tracking.set_description(f"**Asked:** {experiment.question}")
        tracking.log_params(settings.deciding | weights_params(task))
        log_datasets(task.data)
        found = search(task, journal, settings)
        seconds = _final_fit_seconds(found, paired=command.alike[task.network_key] > 1)
        registered = make_final_model(task, found, journal, seconds, settings.deciding)
        tracking.log_metrics({"val_accuracy": registered.val_accuracy, "test_accuracy": registered.test_accuracy})
        result = f"{registered}, after {len(found.trials)} trials."
        tracking.set_description(f"**Asked:** {experiment.question}\n\n**Came out:** {result}")
    return registered


def _final_fit_seconds(found: SearchResult, paired: bool) -> float:
    return found.plan.final_fit_seconds(found.spent, found.remeasuring, paired)
