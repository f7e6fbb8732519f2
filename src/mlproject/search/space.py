"""The search space: the hyperparameters that an experiment declares, their ranges, and values given by the user."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import keras_tuner

from mlproject.errors import UserError, first_line, truncate
from mlproject.experiment import Value, hyperparameters
from mlproject.settings import Settings
from mlproject.task import Task

LOGGABLE = re.compile(r"[\w\-. :/]{1,250}")  # what MLflow takes for the name of a parameter
# Parameters of runs that are neither settings nor hyperparameters.
LOGGED_PARAMETERS = {"rung", "fit_seed", "training_images", "pretrained", "weights", "weights_digest", "trials_digest"}


def replace_best_values(task: Task, assignments: Sequence[str]) -> Task:
    """Replace best-known values by values that the user gives.

    A value may declare further hyperparameters, such as those of a third layer, for which values can be given after it.

    Args:
        task: the task whose experiment has the best-known values.
        assignments: texts of the form `name=value`.

    Returns:
        The task with the given values among its best-known ones, without those that nothing declares any more.

    Raises:
        UserError: for a name that the experiment does not declare, a value outside its range, and a `build` or `recipe` that
            fails, because then nothing is declared.
    """
    if not assignments:
        return task
    best = dict(task.experiment.best)
    refusal = f"values={','.join(assignments)!r}: {task.experiment.name} cannot be built"
    initial_space = space = declared_space_or_refusal(task, best, refusal)
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in space:
            space = declared_space_or_refusal(task, best, refusal)
        try:
            best[name] = parse_value(space[name], text)
        except (KeyError, ValueError):
            accepted = ", ".join(f"{name}={describe_range(hyperparameter)}" for name, hyperparameter in space.items())
            raise UserError(
                f"values='{truncate(assignment)}' is not accepted by {task.experiment.name}; accepted: {accepted}"
            ) from None
    undeclared = (
        initial_space.keys()
        - declared_space_or_refusal(task, best, refusal).keys()
        - {assignment.partition("=")[0] for assignment in assignments}
    )
    best = {name: value for name, value in best.items() if name not in undeclared}
    return replace(task, experiment=replace(task.experiment, best=best))


def declared_space_or_refusal(task: Task, values: Mapping[str, Value], refusal: str) -> dict[str, Any]:
    """As `declared_space`, for values that the user gave.

    Args:
        task: the task whose experiment declares hyperparameters.
        values: of the hyperparameters.
        refusal: what the error says before the reason.

    Returns:
        Keras Tuner's objects, by name.

    Raises:
        UserError: `build` or `recipe` fails.
    """
    try:
        return declared_space(task, values)
    except Exception as error:  # whatever an experiment's code raises
        raise UserError(f"{refusal}: {first_line(error)}") from error


def check_best_values(task: Task) -> None:
    """Check that the best-known values are complete and lie in the search space.

    Args:
        task: the task whose experiment has the best-known values.

    Raises:
        UserError: for a hyperparameter without a best-known value, a value of no hyperparameter, and a value that the search
            space does not offer, in one line. The experiment's own code may raise anything.
    """
    try:
        space = declared_space(task, task.experiment.best)
    except Exception as error:  # perhaps because of a value that the space does not offer: the declared defaults tell
        try:
            space = declared_space(task, {})
        except Exception:
            raise error from None
        _refuse_foreign_values(task, space)
        raise
    _refuse_foreign_values(task, space)
    _refuse_unloggable_names(task, space)
    best = task.experiment.best
    active_names = [
        name
        for name, hyperparameter in space.items()
        if all(condition.is_active(best) for condition in hyperparameter.conditions)
    ]
    if missing_names := [name for name in active_names if name not in best]:
        accepted = describe_range(space[missing_names[0]])
        raise UserError(f"best lacks the hyperparameter {missing_names[0]}; accepted: {missing_names[0]}={accepted}")


def declared_space(task: Task, values: Mapping[str, Value]) -> dict[str, Any]:
    """The hyperparameters that a network with these values declares, as Keras Tuner's objects, by name.

    Raises whatever the experiment's `build` or `recipe` raises.
    """
    hp = hyperparameters(values)
    task.experiment.recipe(hp)
    task.experiment.build(hp, task.spec)
    return {hyperparameter.name: hyperparameter for hyperparameter in hp.space}


def _refuse_unloggable_names(task: Task, space: Mapping[str, Any]) -> None:
    """Raise UserError for a hyperparameter's name that MLflow does not take, or that a parameter of ours has."""
    stages = task.experiment.recipe(hyperparameters(task.experiment.best)).stages
    reserved_names = {f"{stage.name}_{quantity}" for stage in stages for quantity in ("epochs", "steps", "peak_rate")}
    reserved_names |= {option.name for option in fields(Settings)} | LOGGED_PARAMETERS
    for name in space:
        if not LOGGABLE.fullmatch(name):
            raise UserError(
                f"the hyperparameter's name {truncate(name)!r}; accepted: up to 250 letters, digits, spaces and the signs _-.:/"
            )
        if name in reserved_names:
            raise UserError(
                f"the hyperparameter's name {name!r} is taken by a parameter of every run; accepted: another one"
            )


def _refuse_foreign_values(task: Task, space: Mapping[str, Any]) -> None:
    """Raise UserError for a best-known value that the search space does not offer."""
    for field in ("best", "best_in_an_hour"):
        for name, value in getattr(task.experiment, field).items():
            if name not in space:
                declared_names = ", ".join(space) or "none"
                raise UserError(
                    f"{field} has {name}={value!r}, which neither build nor recipe declares; accepted: {declared_names}"
                )
            if not _offers(space[name], value):
                accepted = describe_range(space[name])
                raise UserError(f"{field} has {name}={value!r}; accepted: {name}={accepted}")


def describe_space(task: Task) -> dict[str, dict[str, str]]:
    """Describe the range of each hyperparameter.

    Args:
        task: the task whose experiment declares them.

    Returns:
        For each hyperparameter's name `searched` ("16..64 by 16", "relu|silu") and `sampling` (linear, log, choice, fixed).
    """
    description = {
        name: {"searched": describe_range(hyperparameter), "sampling": getattr(hyperparameter, "sampling", "choice")}
        for name, hyperparameter in declared_space(task, task.experiment.best).items()
    }
    for name in task.experiment.fixed:
        description[name] = {"searched": str(task.experiment.best[name]), "sampling": "fixed"}
    return description


def fixed_space(best: Mapping[str, Value], fixed: Sequence[str]) -> keras_tuner.HyperParameters:
    """Keras Tuner's container with the best-known values, in which the `fixed` hyperparameters are not searched.

    The Oracle reads its space off a network built with these values, because the declared defaults may not fit together.
    """
    space = hyperparameters(best)
    for name in fixed:
        space.Fixed(name, best[name])
    return space


def parse_value(hyperparameter: Any, text: str) -> Value:
    """The value of a declared hyperparameter that `text` names; raises KeyError or ValueError when it does not offer it."""
    if not hasattr(hyperparameter, "min_value"):
        choices: dict[str, Value] = {str(value).lower(): value for value in hyperparameter.values}
        return choices[text.lower()]
    number: int | float = type(hyperparameter.min_value)(text)
    if not hyperparameter.min_value <= number <= hyperparameter.max_value:
        raise ValueError(text)
    steps = (number - hyperparameter.min_value) / hyperparameter.step if _has_linear_step(hyperparameter) else 0.0
    if not math.isclose(steps, round(steps), abs_tol=1e-6):
        raise ValueError(text)
    return number


def _offers(hyperparameter: Any, value: Value) -> bool:
    """Whether the search space offers this value, of the right type."""
    if not hasattr(hyperparameter, "min_value"):
        return any(value == choice and isinstance(value, type(choice)) for choice in hyperparameter.values)
    if isinstance(value, bool | str):
        return False
    try:
        parse_value(hyperparameter, repr(value))
    except ValueError:
        return False
    return True


def _has_linear_step(hyperparameter: Any) -> bool:
    # On a logarithmic scale the step is a factor, and Keras Tuner accepts any number in the range.
    return hyperparameter.step is not None and hyperparameter.sampling == "linear"


def describe_range(hyperparameter: Any) -> str:
    """The values that a declared hyperparameter offers: "16..64 by 16", "relu|silu"."""
    if hasattr(hyperparameter, "min_value"):
        step = f" by {hyperparameter.step}" if _has_linear_step(hyperparameter) and hyperparameter.step != 1 else ""
        return f"{hyperparameter.min_value}..{hyperparameter.max_value}{step}"
    return "|".join(map(str, hyperparameter.values))
