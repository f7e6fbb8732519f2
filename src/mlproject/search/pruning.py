"""Which trial is hopeless: the median stopping rule. Pure."""

import statistics
from collections.abc import Sequence

import numpy as np

from mlproject.objectives import Objective

Curve = Sequence[Sequence[float]]  # for each epoch the share of the planned steps that are done, rising, and the score

# Chosen by replaying finished trials in many orders (bench/README.md, "Which trials are pruned").
MIN_SHARE = 0.3  # a trial may be pruned once this share of its steps is done: before, the scores say little
MIN_TRIALS = 3  # as many other trials must have come this far


def why_hopeless(
    curve: Curve,
    others: Sequence[Curve],
    objective: Objective,
    min_share: float = MIN_SHARE,
    min_trials: int = MIN_TRIALS,
) -> str:
    """Say why a trial is hopeless, by the median stopping rule (Golovin et al., Google Vizier, KDD 2017).

    A trial is hopeless if its best score so far is worse than the median of the scores that other trials had after the same
    share of their steps. Epochs differ in length, so the others' scores are interpolated. Pruned trials count as far as they
    came; without them, every pruned trial would raise the median for the next one.

    Args:
        curve: of the trial under way.
        others: the curves of trials with as many planned steps.
        objective: says which score is better.
        min_share: the share of its steps that a trial has in any case, 0 to 1.
        min_trials: how many other trials must have come this far.

    Returns:
        The reason in words; "" if the trial is to go on.
    """
    share = curve[-1][0]
    if not min_share <= share < 1:
        return ""
    reached = [_score_at(share, other) for other in others if other and other[0][0] <= share <= other[-1][0]]
    if len(reached) < min_trials:
        return ""
    best = max((score for _, score in curve), key=objective.goodness)
    median = statistics.median(reached)
    if objective.goodness(best) >= objective.goodness(median):
        return ""
    return f"{objective.words} {best:.4f}, the median of {len(reached)} trials at this point is {median:.4f}"


def _score_at(share: float, curve: Curve) -> float:
    shares, scores = np.transpose(curve)
    return float(np.interp(share, shares, scores))
