"""The figure of accuracy against cost, with the Pareto front of the final models. Pure."""

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator, PercentFormatter

from mlproject.limits import MILLISECONDS, PARAMETERS, Limit
from mlproject.report.figures import marker_style
from mlproject.style import GREY, INK, new_figure, set_tip, styled

COSTS = {MILLISECONDS: "Prediction time, ms per image", PARAMETERS: "Parameters"}
FEWEST_DECADES = 0.7  # of an axis, so that it has labels even where all networks cost the same


@styled
def draw(finals: pd.DataFrame, trials: pd.DataFrame, limits: Sequence[Limit] = (), title: str = "") -> Figure:
    """Accuracy against prediction time and against size: a row of two panels for each kind of labels and test images.

    Args:
        finals: a row for each final model: model, group (the heading of its panels), accuracy, low and high (its interval),
            by_seed (the accuracies of its seeds), the costs ms_per_image and parameters (NaN for unknown), and for each cost
            `front_<cost>` (bool).
        trials: a row for each trial: model, group, accuracy (on the validation images) and the costs.
        limits: limits that a search had.
        title: the subject of the figure, printed above.

    Returns:
        The figure. Final models are large, with their intervals and a short line for each of several seeds; trials are small,
        in the colour of their model.
    """
    groups = list(dict.fromkeys(finals["group"]))
    styles = {name: marker_style(index) for index, name in enumerate(finals["model"])}
    legend = _legend_handles(finals, trials, styles, limits)
    size = (11, 3.5 * len(groups) + 0.9 + 0.26 * math.ceil(len(legend) / 3))
    figure = new_figure(size, "accuracy against cost", title)
    panels = figure.subplots(len(groups), 2, squeeze=False, sharex="col", sharey="row")
    for row, group in zip(panels, groups, strict=True):
        group_finals, group_trials = finals[finals["group"] == group], trials[trials["group"] == group]
        for axes, cost in zip(row, COSTS, strict=True):
            _draw_panel(
                axes, cost, group_finals.dropna(subset=[cost]), group_trials.dropna(subset=[cost, "accuracy"]), styles
            )
        row[0].set_ylabel("Accuracy")
        row[0].set_ylim(*visible_accuracies(group_finals, group_trials))
        row[0].yaxis.set_major_formatter(PercentFormatter(1))
        if len(groups) > 1:
            row[0].set_title(group, loc="left")
    for column, (cost, label) in zip(panels.T, COSTS.items(), strict=True):
        bounds = [limit.bound for limit in limits if limit.quantity == cost]
        for axes, bound in itertools.product(column, bounds):
            axes.axvline(bound, color=INK, ls=":", lw=1.8, zorder=1)
        _scale_cost_axis(column[-1], cost, [*finals[cost].dropna(), *trials[cost].dropna(), *bounds])
        column[-1].set_xlabel(label)
    figure.legend(handles=legend, loc="outside lower center", ncols=3)
    return figure


def visible_accuracies(finals: pd.DataFrame, trials: pd.DataFrame) -> tuple[float, float]:
    """The range of the accuracy axis: all final models, and the trials that are no outliers, which would squeeze the others.

    An outlier lies more than 1.5 interquartile ranges below the lower quartile, as in Tukey's boxplot.

    Args:
        finals: as for `draw`, of one group.
        trials: as for `draw`, of one group.

    Returns:
        The lowest and the highest accuracy on the axis.
    """
    scores = trials["accuracy"].dropna()
    fence = 2.5 * scores.quantile(0.25) - 1.5 * scores.quantile(0.75)
    low = min([finals["low"].min(), *scores[scores >= fence]])
    high = max([finals["high"].max(), *scores])
    margin = max(0.08 * (high - low), 0.002)
    return low - margin, min(high + margin, 1.005)


def _draw_panel(
    axes: Axes, cost: str, finals: pd.DataFrame, trials: pd.DataFrame, styles: Mapping[str, dict[str, Any]]
) -> None:
    for name, model_trials in trials.groupby("model"):
        style = styles[str(name)]
        axes.plot(model_trials[cost], model_trials["accuracy"], ls="", ms=4, alpha=0.55, mew=0, zorder=2, **style)
    front = finals[finals[f"front_{cost}"]].sort_values(cost)
    if len(finals) > 1:
        axes.step(front[cost], front["accuracy"], where="post", color=GREY, lw=1.5, zorder=1)
    for row in finals.to_dict("records"):
        bar = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
        container = axes.errorbar(
            row[cost], row["accuracy"], bar, ms=9, mec=INK, capsize=3, zorder=3, **styles[row["model"]]
        )
        set_tip(container[0], f"{row['model']}: {row['accuracy']:.2%}, {COSTS[cost]} {row[cost]:,.4g}")
        if len(row["by_seed"]) > 1:  # wider than the marker of the mean, which would hide them
            axes.plot([row[cost]] * len(row["by_seed"]), row["by_seed"], "_", color=INK, ms=16, mew=1, zorder=4)
    axes.grid(True)


def _scale_cost_axis(axes: Axes, cost: str, costs: Sequence[float]) -> None:
    """A logarithmic axis whose labels have round numbers and do not overlap."""
    if not costs:
        return
    low, high = np.log10(min(costs)), np.log10(max(costs))
    centre, half_width = (low + high) / 2, max(1.15 * (high - low), FEWEST_DECADES) / 2
    axes.set_xlim(10 ** (centre - half_width), 10 ** (centre + half_width))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if half_width < 1.5 else (1,), numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    formatter = EngFormatter(sep="") if cost == PARAMETERS else FuncFormatter(lambda number, _: f"{number:g}")
    axes.xaxis.set_major_formatter(formatter)


def _legend_handles(
    finals: pd.DataFrame, trials: pd.DataFrame, styles: Mapping[str, dict[str, Any]], limits: Sequence[Limit]
) -> list[Line2D]:
    """The models, and what else is drawn."""
    model_handles = [
        Line2D([], [], ls="", ms=9, mec=INK, label=textwrap.fill(name, 40), **styles[name]) for name in styles
    ]
    trial_handle = Line2D([], [], ls="", marker="o", ms=4, mew=0, color=GREY, label="a trial, on the validation images")
    front_handle = Line2D([], [], color=GREY, lw=1.5, label="Pareto front of the final models")
    limit_handles = [Line2D([], [], color=INK, ls=":", lw=1.8, label=f"limit: {limit.text}") for limit in limits]
    compared = finals["group"].duplicated().any()
    return [
        *model_handles,
        *([trial_handle] if len(trials) else []),
        *([front_handle] if compared else []),
        *limit_handles,
    ]
