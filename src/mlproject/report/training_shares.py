"""Fine and coarse labels on growing shares of the training images. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mlproject.report import granularity, pairs
from mlproject.report.coarse_fine_pair import CoarseFinePair
from mlproject.report.content import Chart, Column, Section, Table
from mlproject.report.context import ReportContext
from mlproject.report.formats import brief_points, count, p_value, percent, points, points_interval
from mlproject.report.models import ReportedModel
from mlproject.style import BLUE, VERMILION, new_figure, set_tip, styled
from mlproject.topic import Topic

COLOURS = {"coarse": VERMILION, "fine": BLUE}
SEED_OFFSET = 0.012  # of the axis of shares, by which the points of single seeds stand beside their mean


def _steps_in_words(coarse: float, fine: float) -> str:
    """The steps of both fits, once where they are equal."""
    return count(coarse) if coarse == fine else f"{count(coarse)} and {count(fine)}"


COLUMNS = (
    Column("training images", "share", "{:.0%}".format),
    Column("steps of a final fit", ("coarse_steps", "fine_steps"), _steps_in_words),
    Column("coarse labels", "coarse", percent),
    Column("fine labels", "fine", percent),
    Column("difference, points", "difference", points),
    Column("95% interval", ("low", "high"), points_interval),
    Column("p, Holm-adjusted", "p_adjusted", p_value),
)
NOTE = (
    "Accuracy on the superclasses; that of the fine model by its summed probabilities. The images of a smaller share are among "
    "those of a larger one, and were drawn once. A step trains on one batch; compare one share with another only if their steps "
    "are about equal. p is Holm-adjusted over the three comparisons of a share, not over the shares. Classes and single images "
    "are compared at the largest share alone."
)


def share_of(model: ReportedModel) -> float:
    """The share of the training images that a model's search and fit had."""
    return float(model.params.get("train_share", 1))


def section(context: ReportContext, topic: Topic, models: Sequence[ReportedModel]) -> Section | None:
    """Compare coarse with fine labels at each share of the training images.

    Args:
        context: the comparison.
        topic: what it declares, with the figures of others by share.
        models: the models of the comparison and of those that differ from it in the share alone.

    Returns:
        The section; None with fewer than two shares that have a coarse and a fine model.
    """
    pair_by_share: dict[float, CoarseFinePair] = {}
    for share in sorted({share_of(model) for model in models}):
        comparable_pairs = granularity.comparable_pairs([model for model in models if share_of(model) == share], [])
        if comparable_pairs:
            pair_by_share[share] = comparable_pairs[0]
    if len(pair_by_share) < 2:
        return None
    steps = {model.title: _steps(model) for model in models}
    differences = {
        share: granularity.summed_difference(pair, granularity.compare_coarse_and_fine(pair))
        for share, pair in pair_by_share.items()
    }
    frame = pd.DataFrame(
        [{"share": share, **_share_row(pair, differences[share], steps)} for share, pair in pair_by_share.items()]
    )
    least, most = min(pair_by_share), max(pair_by_share)
    answer = (
        f"With {least:.0%} of the training images, {_lead_in_words(pair_by_share[least], differences[least])}; "
        f"with {most:.0%}, {_lead_in_words(pair_by_share[most], differences[most])}."
    )
    several_seeds = max(map(len, [*frame["coarse_by_seed"], *frame["fine_by_seed"]])) > 1
    shown = frame.drop(columns=["coarse_by_seed", "fine_by_seed"])
    table = Table(context.file_name("shares"), "The number of training images", shown, COLUMNS, NOTE, main=True)
    published = _published_shares(topic if context.data_label == "" else Topic())
    chart = Chart(
        context.file_name("shares"),
        draw(frame, published, context.title),
        f"Accuracy on the superclasses against the share of the training images. {answer}",
        f"Bars: 95% intervals.{' Small points: single seeds.' if several_seeds else ''}"
        f"{' Dashed: the figures of others, from their table.' if len(published) else ''}",
    )
    return Section("With fewer training images", charts=[chart], tables=[table], answers=[answer])


def _steps(model: ReportedModel) -> float:
    """The steps of a final fit, all stages together; NaN where they were not recorded."""
    stages = [name.removesuffix("_steps") for name in model.params if name.endswith("_steps")]
    planned = [  # a hyperparameter may have such a name, too, but has no partner
        int(model.params[f"{stage}_epochs"]) * int(model.params[f"{stage}_steps"])
        for stage in stages
        if f"{stage}_epochs" in model.params
    ]
    return sum(planned) or math.nan


def _share_row(pair: CoarseFinePair, difference: pd.Series, steps: Mapping[str, float]) -> dict[str, Any]:
    """Both accuracies with their intervals, and the difference, positive where fine labels lead."""
    scores = {score["model"]: score for score in granularity.accuracies(pair).to_dict("records")}
    row: dict[str, Any] = {"coarse_steps": steps[pair.coarse.title], "fine_steps": steps[pair.fine.title]}
    for labels, title in (("coarse", pair.coarse.title), ("fine", pair.sum_title)):
        row |= {labels: scores[title]["accuracy"]}
        row |= {f"{labels}_{field}": scores[title][field] for field in ("low", "high", "by_seed")}
    sign = 1 if difference["a"] == pair.sum_title else -1
    low, high = sorted(sign * difference[end] for end in ("low", "high"))
    signed = {"difference": sign * difference["difference"], "low": low, "high": high}
    return row | signed | {"p_adjusted": difference["p_adjusted"]}


def _lead_in_words(pair: CoarseFinePair, difference: pd.Series) -> str:
    """Which labels lead, by how much, and whether that may be chance."""
    if difference["difference"] == 0:
        return f"fine and coarse labels are equally good ({pairs.evidence(difference)})"
    labels = "fine" if difference["a"] == pair.sum_title else "coarse"
    chance_note = "" if pairs.is_significant(difference) else "which may be chance: "
    lead = brief_points(difference["difference"])
    return f"{labels} labels lead by {lead} points ({chance_note}{pairs.evidence(difference)})"


def _published_shares(topic: Topic) -> pd.DataFrame:
    """The figures of others as shares: the columns share, coarse and fine; none where they are not by share."""
    first = next(iter(topic.published), "")
    if not first or not {"coarse", "fine"} <= topic.published.keys():
        return pd.DataFrame(columns=["share", "coarse", "fine"])
    shares = pd.to_numeric(pd.Series(topic.published[first]).astype(str).str.rstrip("%"), errors="coerce")
    # A column of figures may hold texts, such as "not reported".
    accuracies = {
        labels: pd.to_numeric(pd.Series(topic.published[labels]), errors="coerce") / 100 for labels in COLOURS
    }
    return pd.DataFrame({"share": shares / 100, **accuracies}).dropna()


@styled
def draw(ours: pd.DataFrame, published: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy on the superclasses against the share of the training images, a line for each kind of labels.

    Args:
        ours: a row for each share: share, and for "coarse" and "fine" the accuracy with its interval (`coarse_low`, ...) and
            the accuracies of the seeds (`coarse_by_seed`, ...).
        published: the same of others: share, coarse and fine; may be empty.
        title: the subject of the figure, printed above.

    Returns:
        The figure.
    """
    figure = new_figure((8, 4.6), "accuracy on the superclasses", title)
    axes = figure.subplots()
    for labels, colour in COLOURS.items():
        accuracy = ours[labels]
        bars = [accuracy - ours[f"{labels}_low"], ours[f"{labels}_high"] - accuracy]
        container = axes.errorbar(
            ours["share"], accuracy, bars, color=colour, marker="o", capsize=3, label=f"{labels} labels"
        )
        for share, seeds in zip(ours["share"], ours[f"{labels}_by_seed"], strict=True):
            if len(seeds) > 1:
                axes.plot([share + SEED_OFFSET] * len(seeds), seeds, "o", color=colour, ms=4, mew=0, alpha=0.6)
        tips = ", ".join(f"{share:.0%}: {value:.2%}" for share, value in zip(ours["share"], accuracy, strict=True))
        set_tip(container[0], f"{labels} labels, {tips}")
        if len(published):
            axes.plot(published["share"], published[labels], color=colour, ls="--", label=f"{labels} labels, others")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("Share of the training images")
    axes.set_ylabel("Accuracy")
    axes.grid(True)
    axes.legend()
    return figure
