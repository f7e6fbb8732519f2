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


def replace_best_values(task: Task, given: Sequence[str]) -> Task:
    """Replace best-known values by values that the user gives.

    A value may declare further hyperparameters, such as those of a third layer, for which values can be given after it.

    Args:
        task: the task whose experiment has the best-known values.
        given: texts of the form `name=value`.

    Returns:
        The task with the given values among its best-known ones, without those that nothing declares any more.

    Raises:
        UserError: for a name that the experiment does not declare, a value outside its range, and a `build` or `recipe` that
            fails, because then nothing is declared.
    """
    if not given:
        return task
    best = dict(task.experiment.best)
    before = declared = _declared_or_refused(task, best, given)
    for pair in given:
        name, _, text = pair.partition("=")
        if name not in declared:
            declared = _declared_or_refused(task, best, given)
        try:
            best[name] = parse_value(declared[name], text)
        except (KeyError, ValueError):
            accepted = ", ".join(f"{name}={describe_range(one)}" for name, one in declared.items())
            raise UserError(
                f"values='{truncate(pair)}' is not accepted by {task.experiment.name}; accepted: {accepted}"
            ) from None
    gone = before.keys() - _declared_or_refused(task, best, given).keys() - {pair.partition("=")[0] for pair in given}
    best = {name: value for name, value in best.items() if name not in gone}
    return replace(task, experiment=replace(task.experiment, best=best))


def _declared_or_refused(task: Task, values: Mapping[str, Value], given: Sequence[str]) -> dict[str, Any]:
    """As `declared_with`; raises UserError where `build` or `recipe` fails with values that the user gave."""
    try:
        return declared_with(task, values)
    except Exception as error:  # whatever an experiment's code raises
        raise UserError(
            f"values={','.join(given)!r}: {task.experiment.name} cannot be built: {first_line(error)}"
        ) from error


def check_best_values(task: Task) -> None:
    """Check that the best-known values are complete and lie in the search space.

    Args:
        task: the task whose experiment has the best-known values.

    Raises:
        UserError: for a hyperparameter without a best-known value, a value of no hyperparameter, and a value that the search
            space does not offer, in one line. The experiment's own code may raise anything.
    """
    try:
        declared = declared_with(task, task.experiment.best)
    except Exception as error:  # perhaps because of a value that the space does not offer: the declared defaults tell
        try:
            declared = declared_with(task, {})
        except Exception:
            raise error from None
        _refuse_foreign_values(task, declared)
        raise
    _refuse_foreign_values(task, declared)
    _refuse_names(task, declared)
    best = task.experiment.best
    active = [name for name, one in declared.items() if all(condition.is_active(best) for condition in one.conditions)]
    if missing := [name for name in active if name not in best]:
        accepted = describe_range(declared[missing[0]])
        raise UserError(f"best lacks the hyperparameter {missing[0]}; accepted: {missing[0]}={accepted}")


def declared_with(task: Task, values: Mapping[str, Value]) -> dict[str, Any]:
    """The hyperparameters that a network with these values declares, as Keras Tuner's objects, by name.

    Raises whatever the experiment's `build` or `recipe` raises.
    """
    hp = hyperparameters(values)
    task.experiment.recipe(hp)
    task.experiment.build(hp, task.spec)
    return {one.name: one for one in hp.space}


def _refuse_names(task: Task, declared: Mapping[str, Any]) -> None:
    """Raise UserError for a hyperparameter's name that MLflow does not take, or that a parameter of ours has."""
    stages = task.experiment.recipe(hyperparameters(task.experiment.best)).stages
    own = {f"{stage.name}_{what}" for stage in stages for what in ("epochs", "steps", "peak_rate")}
    own |= {option.name for option in fields(Settings)} | LOGGED_PARAMETERS
    for name in declared:
        if not LOGGABLE.fullmatch(name):
            raise UserError(
                f"the hyperparameter's name {truncate(name)!r}; accepted: up to 250 letters, digits, spaces and the signs _-.:/"
            )
        if name in own:
            raise UserError(
                f"the hyperparameter's name {name!r} is taken by a parameter of every run; accepted: another one"
            )


def _refuse_foreign_values(task: Task, declared: Mapping[str, Any]) -> None:
    """Raise UserError for a best-known value that the search space does not offer."""
    for field in ("best", "best_in_an_hour"):
        for name, value in getattr(task.experiment, field).items():
            if name not in declared:
                known = ", ".join(declared) or "none"
                raise UserError(
                    f"{field} has {name}={value!r}, which neither build nor recipe declares; accepted: {known}"
                )
            if not _offers(declared[name], value):
                accepted = describe_range(declared[name])
                raise UserError(f"{field} has {name}={value!r}; accepted: {name}={accepted}")


def describe_space(task: Task) -> dict[str, dict[str, str]]:
    """Describe the range of each hyperparameter.

    Args:
        task: the task whose experiment declares them.

    Returns:
        For each hyperparameter's name `searched` ("16..64 by 16", "relu|silu") and `sampling` (linear, log, choice, fixed).
    """
    space = {
        name: {"searched": describe_range(one), "sampling": getattr(one, "sampling", "choice")}
        for name, one in declared_with(task, task.experiment.best).items()
    }
    for name in task.experiment.fixed:
        space[name] = {"searched": str(task.experiment.best[name]), "sampling": "fixed"}
    return space


def fixed_space(best: Mapping[str, Value], fixed: Sequence[str]) -> keras_tuner.HyperParameters:
    """Keras Tuner's container with the best-known values, in which the `fixed` hyperparameters are not searched.

    The Oracle reads its space off a network built with these values, because the declared defaults may not fit together.
    """
    space = hyperparameters(best)
    for name in fixed:
        space.Fixed(name, best[name])
    return space


def parse_value(declared: Any, text: str) -> Value:
    """The value of a declared hyperparameter that `text` names; raises KeyError or ValueError when it does not offer it."""
    if not hasattr(declared, "min_value"):
        choices: dict[str, Value] = {str(value).lower(): value for value in declared.values}
        return choices[text.lower()]
    number: int | float = type(declared.min_value)(text)
    if not declared.min_value <= number <= declared.max_value:
        raise ValueError(text)
    steps = (number - declared.min_value) / declared.step if _has_linear_step(declared) else 0.0
    if not math.isclose(steps, round(steps), abs_tol=1e-6):
        raise ValueError(text)
    return number


def _offers(declared: Any, value: Value) -> bool:
    """Whether the search space offers this value, of the right type."""
    if not hasattr(declared, "min_value"):
        return any(value == one and isinstance(value, type(one)) for one in declared.values)
    if isinstance(value, bool | str):
        return False
    try:
        parse_value(declared, repr(value))
    except ValueError:
        return False
    return True


def _has_linear_step(declared: Any) -> bool:
    # On a logarithmic scale the step is a factor, and Keras Tuner accepts any number in the range.
    return declared.step is not None and declared.sampling == "linear"


def describe_range(declared: Any) -> str:
    """The values that a declared hyperparameter offers: "16..64 by 16", "relu|silu"."""
    if hasattr(declared, "min_value"):
        by = f" by {declared.step}" if _has_linear_step(declared) and declared.step != 1 else ""
        return f"{declared.min_value}..{declared.max_value}{by}"
    return "|".join(map(str, declared.values))
