"""Which trial is hopeless: one that is worse than most others were after the same share of their steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlproject.objectives import Objective

Curve = Sequence[Sequence[float]]  # for each epoch the share of the planned steps that are done, rising, and the score


@dataclass(frozen=True)
class Rule:
    """When a trial is pruned. The values were chosen by replays (bench/README.md, "Which trials are pruned").

    Attributes:
        worst: a trial is hopeless below this quantile of the other trials, 0 to 1; 1/2 is the median stopping rule.
        min_share: the share of its steps that every trial gets, 0 to 1, because the first scores say little.
        min_trials: how many other trials must have come this far.
    """

    worst: float = 1 / 4
    min_share: float = 0.2
    min_trials: int = 3


def why_hopeless(curve: Curve, other_curves: Sequence[Curve], objective: Objective, rule: Rule | None = None) -> str:
    """Say why a trial is hopeless.

    This is the median stopping rule (Golovin et al., Google Vizier, KDD 2017) with a quartile in place of the median: a trial
    is hopeless if its best score so far is worse than the quartile of the scores that the other trials had after the same share
    of their steps. With the median, trials that rise slowly and end among the best were pruned too often. Epochs differ in
    length, so the others' scores are interpolated. Pruned trials count as far as they came; without them, every pruned trial
    would raise the bound for the next one.

    Args:
        curve: of the trial under way.
        other_curves: the curves of trials with as many planned steps.
        objective: says which score is better.
        rule: when a trial is pruned.

    Returns:
        The reason in words; "" if the trial is to go on.
    """
    rule, share = rule or Rule(), curve[-1][0]
    if not rule.min_share <= share < 1:
        return ""
    other_scores = [_score_at(share, other) for other in other_curves if other and other[0][0] <= share <= other[-1][0]]
    if len(other_scores) < rule.min_trials:
        return ""
    best_goodness = max(objective.goodness(score) for _, score in curve)
    bound_goodness = float(np.quantile([objective.goodness(score) for score in other_scores], rule.worst))
    if best_goodness >= bound_goodness:
        return ""
    best_score, bound_score = objective.goodness(best_goodness), objective.goodness(bound_goodness)  # as scores again
    return (
        f"{objective.words} {best_score:.4f}; at this point the worst quarter of {len(other_scores)} trials ends at "
        f"{bound_score:.4f}"
    )


def _score_at(share: float, curve: Curve) -> float:
    shares, scores = np.transpose(curve)
    return float(np.interp(share, shares, scores))
