"""The figure of a search: its objective over time, and the trials across their hyperparameters. Pure."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mlproject.objectives import DEFAULT, OBJECTIVES, Objective
from mlproject.style import BLUE, GREY, ORANGE, VERMILION, new_figure, styled

# The searched values of a hyperparameter: words, a range (least, most, "linear" or "log"), or () if they are not known.
SearchedValues = list[str] | tuple[float, float, str] | tuple[()]


@styled
def draw(
    trials: pd.DataFrame,
    hyperparameters: Mapping[str, SearchedValues],
    objective: Objective = OBJECTIVES[DEFAULT],
    title: str = "",
) -> Figure:
    """A search: on the left its objective over time, on the right the trials across their hyperparameters.

    Args:
        trials: those that did not fail, in their order: minutes (from the start of the search to the end of the trial),
            score (by the objective), refitted (bool), a column of numbers or words for each hyperparameter, and perhaps
            standard_error (of the score) and pruned (bool: ended early, and never the best).
        hyperparameters: the searched values by name. If they are (), the axis covers the values of the trials.
        objective: what the search optimised.
        title: the subject of the figure, printed above.

    Returns:
        The figure.
    """
    figure = new_figure((13.5, 4.2), "the search", title)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    trials = trials.assign(pruned=trials.get("pruned", False)).sort_values("minutes")
    completed = trials[~trials["pruned"]]
    best = completed["score"].cummax() if objective.higher_is_better else completed["score"].cummin()
    left.step(completed["minutes"], best, where="post", color=BLUE, lw=2, label="best so far")
    for pruned, group in trials.groupby("pruned"):
        left.errorbar(
            group["minutes"],
            group["score"],
            group.get("standard_error"),
            fmt="o",
            color=ORANGE,
            ms=6,
            mfc="none" if pruned else ORANGE,
            label="pruned" if pruned else "a trial",
        )
    left.set_xlabel("Minutes of search")
    left.set_ylabel(objective.words[0].upper() + objective.words[1:])
    left.set_xlim(left=0)
    if objective.is_share:
        left.yaxis.set_major_formatter(PercentFormatter(1))
    left.grid(True)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # above: trials may lie anywhere
    _draw_parallel_coordinates(right, trials, hyperparameters, objective)
    return figure


def _draw_parallel_coordinates(
    axes: Axes, trials: pd.DataFrame, hyperparameters: Mapping[str, SearchedValues], objective: Objective
) -> None:
    """Parallel coordinates: an axis for each hyperparameter and one for the objective; the refitted trial is thick.

    Pruned trials are dashed. Their scores are of fewer steps, so they end at the objective's axis where it was then.
    """
    score = trials["score"]
    # The axis includes the standard errors, so that trials that differ only by chance are drawn close together.
    error = trials.get("standard_error", 0 * score).fillna(0)
    columns = dict(hyperparameters) | {"score": ((score - error).min(), (score + error).max(), "linear")}
    heights = np.column_stack(
        [_heights(axes, position, trials[name], searched) for position, (name, searched) in enumerate(columns.items())]
    )
    ranks = heights[:, -1] if objective.higher_is_better else 1 - heights[:, -1]
    colours = colormaps["cividis_r"](0.1 + 0.9 * ranks)
    for line, colour, is_refitted, pruned in zip(heights, colours, trials["refitted"], trials["pruned"], strict=True):
        width, zorder = (3, 3) if is_refitted else (1.3, 2)
        axes.plot(line, color=VERMILION if is_refitted else colour, lw=width, ls="--" if pruned else "-", zorder=zorder)
    for position in range(len(columns)):
        axes.plot([position, position], [0, 1], color=GREY, lw=1, zorder=1)
    names = [textwrap.fill(name.replace("_", " "), 11) for name in [*hyperparameters, objective.words]]
    axes.set_xticks(range(len(columns)), names)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=14)
    axes.set_ylim(-0.04, 1.06)
    axes.spines[:].set_visible(False)
    dashed = "; dashed: pruned" if trials["pruned"].any() else ""
    axes.set_title(f"All trials across their hyperparameters (thick: the refitted trial{dashed})", pad=16)


def _heights(axes: Axes, position: int, column: pd.Series, searched: SearchedValues) -> np.ndarray:
    """Where each trial crosses this axis, from 0 to 1, NaN for a missing value; values at the axis are labelled."""
    values = column[column.astype(str) != ""]
    all_numbers = len(values) > 0 and bool(pd.to_numeric(values, errors="coerce").notna().all())
    if isinstance(searched, list):
        heights, labels = _word_heights(column, searched)
    elif searched or all_numbers:
        heights, labels = _number_heights(pd.to_numeric(column, errors="coerce"), searched)
    else:
        heights, labels = _word_heights(column, sorted(values.astype(str).unique()))
    for height, text in labels.items():
        offset, align = _label_position(height)
        axes.annotate(text, (position, height), offset, textcoords="offset points", fontsize=8.5, zorder=4, **align)
    return heights.to_numpy(dtype=np.float64)


def _number_heights(
    numbers: pd.Series, searched: tuple[float, float, str] | tuple[()]
) -> tuple[pd.Series, dict[float, str]]:
    low, high, scale = searched or (math.inf, -math.inf, "linear")
    low, high = min(low, numbers.min()), max(high, numbers.max())
    if not high > low:
        return numbers * 0 + 0.5, {0.5: _short_number(low)}
    # If the range is not known, a wide range was most likely searched on a log scale.
    is_log = scale == "log" or (not searched and low > 0 and high / low > 20)
    bottom, top, scaled = (np.log(value) if is_log else value for value in (low, high, numbers))
    return (scaled - bottom) / (top - bottom), {0.0: _short_number(low), 1.0: _short_number(high)}


def _word_heights(column: pd.Series, words: list[str]) -> tuple[pd.Series, dict[float, str]]:
    heights = {word: (index / (len(words) - 1) if len(words) > 1 else 0.5) for index, word in enumerate(words)}
    # A table that also has empty cells writes 128 as 128.0.
    height_of = {word.removesuffix(".0"): height for word, height in heights.items()}
    labels = {height: word for word, height in heights.items()}
    return column.astype(str).str.removesuffix(".0").map(height_of), labels


def _label_position(height: float) -> tuple[tuple[int, int], dict[str, Any]]:
    """Offset (points) and alignment of a label: below the lower end of the axis, above the upper one, or beside it."""
    if height == 0:
        return (0, -3), {"va": "top", "ha": "center"}
    if height == 1:
        return (0, 3), {"va": "bottom", "ha": "center"}
    return (3, 0), {"va": "center", "ha": "left"}


def _short_number(number: float) -> str:
    """The number with three significant digits, or with all digits before the decimal point."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"
