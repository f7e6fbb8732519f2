"""Trials given by hand: a CSV file with hyperparameters, whose rows are tried right after the best-known values."""

import contextlib
import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlproject.errors import UserError, first_line, truncate
from mlproject.experiment import Value
from mlproject.search.space import declared_with, describe_range, parse_value
from mlproject.task import Task

Row = tuple[int, list[str]]  # the line in the file, from 1 on, and the cells


def add_given_trials(task: Task, path: str, max_trials: int | None) -> Task:
    """Read the trials that a user gives.

    The file has a header of hyperparameters and a row for each trial. What a row leaves empty, or what has no column, has its
    best-known value. A row that repeats the best-known values or an earlier row is left out.

    Args:
        task: the task whose experiment has the best-known values.
        path: the CSV file; "" for none.
        max_trials: the number of trials asked for, None for no limit.

    Returns:
        The task with the trials.

    Raises:
        UserError: for a file that cannot be read or has no rows, a name that the experiment does not declare, a name that is
            there twice, a value outside its range, and more trials than `max_trials`.
    """
    if not path:
        return task
    header, *rows = _read(path)
    if not rows:
        raise UserError(f"trials='{truncate(path)}' has no row below its header; accepted: a row for each trial")
    _refuse_repeated_names(path, header)
    declared = _declared(task, path, task.experiment.best)
    trials: list[dict[str, Value]] = []
    for row in rows:
        values = _values(task, path, declared, header[1], row)
        if values not in (task.experiment.best, *trials):
            trials.append(values)
    if max_trials and len(trials) + 1 > max_trials:
        raise UserError(
            f"trials='{truncate(path)}' has {len(trials)} trials beside the best-known values, the last in line {rows[-1][0]}, "
            f"and max_trials={max_trials}; accepted: up to {max_trials - 1} rows, or max_trials={len(trials) + 1}"
        )
    return replace(task, given=tuple(trials))


def _read(path: str) -> list[Row]:
    """The header and the rows, without blank lines."""
    accepted = "a CSV file with a header of hyperparameters"
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"trials='{truncate(path)}' cannot be read ({truncate(reason)}); accepted: {accepted}"
        ) from error
    if not lines:
        raise UserError(f"trials='{truncate(path)}' is empty; accepted: {accepted}")
    return lines


def _refuse_repeated_names(path: str, header: Row) -> None:
    line, names = header
    if repeated := [name for name in names if name and names.count(name) > 1]:
        raise _refusal(path, line, f"'{truncate(repeated[0])}' is there twice", "each hyperparameter once")


def _declared(task: Task, path: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """The hyperparameters that a network with these values declares, by name."""
    try:
        return declared_with(task, values)
    except Exception as error:  # whatever an experiment's code raises
        raise UserError(
            f"trials='{truncate(path)}': {task.experiment.name} cannot be built with {dict(values)}: {first_line(error)}"
        ) from error


def _values(task: Task, path: str, declared: Mapping[str, Any], names: Sequence[str], row: Row) -> dict[str, Value]:
    """The values of one trial, of which `declared` holds the hyperparameters of the best-known network."""
    line, cells = row
    if len(cells) != len(names):
        raise _refusal(path, line, f"{len(cells)} cells below {len(names)} names", "a cell for each name, empty or not")
    values = dict(task.experiment.best)
    waiting = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    while known := waiting.keys() & declared.keys():
        for name in sorted(known):
            values[name] = _value(path, line, declared[name], waiting.pop(name))
        if waiting:  # these values may declare more, such as those of another layer
            declared = _declared(task, path, values)
    if waiting:
        accepted = ", ".join(f"{name}={describe_range(one)}" for name, one in declared.items())
        name = truncate(next(iter(waiting)))
        raise _refusal(path, line, f"{task.experiment.name} has no hyperparameter '{name}'", accepted)
    return values


def _value(path: str, line: int, declared: Any, text: str) -> Value:
    # Spreadsheets and pandas write a whole number as 8.0 where other cells of its column are empty.
    for spelling in (text, text.removesuffix(".0")):
        with contextlib.suppress(KeyError, ValueError):
            return parse_value(declared, spelling)
    raise _refusal(path, line, f"{declared.name}='{truncate(text)}'", f"{declared.name}={describe_range(declared)}")


def _refusal(path: str, line: int, found: str, accepted: str) -> UserError:
    return UserError(f"trials='{truncate(path)}', line {line}: {found}; accepted: {accepted}")
