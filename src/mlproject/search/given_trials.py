"""Trials given by hand: a CSV file with hyperparameters, whose rows are tried right after the best-known values."""

import contextlib
import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlproject.errors import UserError, truncate
from mlproject.experiment import Value
from mlproject.search.space import declared_space_or_refusal, describe_range, parse_value
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
    header, *rows = _read_rows(path)
    if not rows:
        raise UserError(f"trials='{truncate(path)}' has no row below its header; accepted: a row for each trial")
    _refuse_repeated_names(path, header)
    space = _declared_space(task, path, task.experiment.best)
    trials: list[dict[str, Value]] = []
    for row in rows:
        values = _read_values(task, path, space, header[1], row)
        if values not in (task.experiment.best, *trials):
            trials.append(values)
    if max_trials and len(trials) + 1 > max_trials:
        raise UserError(
            f"trials='{truncate(path)}' has {len(trials)} trials beside the best-known values, the last in line {rows[-1][0]}, "
            f"and max_trials={max_trials}; accepted: up to {max_trials - 1} rows, or max_trials={len(trials) + 1}"
        )
    return replace(task, given_trials=tuple(trials))


def _read_rows(path: str) -> list[Row]:
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
        raise _line_error(path, line, f"'{truncate(repeated[0])}' is there twice", "each hyperparameter once")


def _declared_space(task: Task, path: str, values: Mapping[str, Value]) -> dict[str, Any]:
    """The hyperparameters that a network with these values declares, by name."""
    refusal = f"trials='{truncate(path)}': {task.experiment.name} cannot be built with {dict(values)}"
    return declared_space_or_refusal(task, values, refusal)


def _read_values(task: Task, path: str, space: Mapping[str, Any], names: Sequence[str], row: Row) -> dict[str, Value]:
    """The values of one trial, of which `space` holds the hyperparameters of the best-known network."""
    line, cells = row
    if len(cells) != len(names):
        raise _line_error(
            path, line, f"{len(cells)} cells below {len(names)} names", "a cell for each name, empty or not"
        )
    values = dict(task.experiment.best)
    remaining_cells = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    while declared_names := remaining_cells.keys() & space.keys():
        for name in sorted(declared_names):
            values[name] = _parse_cell(path, line, space[name], remaining_cells.pop(name))
        if remaining_cells:  # these values may declare more, such as those of another layer
            space = _declared_space(task, path, values)
    if remaining_cells:
        accepted = ", ".join(f"{name}={describe_range(hyperparameter)}" for name, hyperparameter in space.items())
        name = truncate(next(iter(remaining_cells)))
        raise _line_error(path, line, f"{task.experiment.name} has no hyperparameter '{name}'", accepted)
    return values


def _parse_cell(path: str, line: int, hyperparameter: Any, text: str) -> Value:
    # Spreadsheets and pandas write a whole number as 8.0 where other cells of its column are empty.
    for spelling in (text, text.removesuffix(".0")):
        with contextlib.suppress(KeyError, ValueError):
            return parse_value(hyperparameter, spelling)
    raise _line_error(
        path,
        line,
        f"{hyperparameter.name}='{truncate(text)}'",
        f"{hyperparameter.name}={describe_range(hyperparameter)}",
    )


def _line_error(path: str, line: int, problem: str, accepted: str) -> UserError:
    return UserError(f"trials='{truncate(path)}', line {line}: {problem}; accepted: {accepted}")
