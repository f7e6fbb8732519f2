"""Trials beyond a limit: how they are marked, and what is said when a search finds no other."""

import math
from collections.abc import Sequence

from mlproject.errors import UserError
from mlproject.limits import OVER_LIMIT, Limit, describe_cost
from mlproject.search.journal import Trial


def mark_over_limit(record: Trial, limits: Sequence[Limit]) -> bool:
    """Mark a trial whose network is beyond a limit, by what is known of its cost.

    Args:
        record: gives the cost, and takes the status, the reason, and the planned seconds, which it does not need.
        limits: the limits.

    Returns:
        Whether the trial is beyond a limit, and so must not be trained.
    """
    exceeded = [limit for limit in limits if limit.is_exceeded_by(getattr(record, limit.quantity))]
    if not exceeded:
        return False
    reasons = [f"{describe_cost(one.quantity, getattr(record, one.quantity))}, limit={one.text}" for one in exceeded]
    record.status, record.reason, record.planned_seconds = OVER_LIMIT, "; ".join(reasons), 0.0
    return True


def nothing_within(experiment: str, trials: Sequence[Trial], limits: Sequence[Limit]) -> UserError:
    """The error for a search without a trial within the limits; it names the smallest costs seen.

    Args:
        experiment: its name.
        trials: the finished trials.
        limits: the limits.

    Returns:
        The error.
    """
    seen = {one.quantity: [getattr(trial, one.quantity) for trial in trials] for one in limits}
    smallest = [
        describe_cost(quantity, min(known))
        for quantity, costs in seen.items()
        if (known := [cost for cost in costs if not math.isnan(cost)])
    ]
    over = sum(trial.status == OVER_LIMIT for trial in trials)
    return UserError(
        f"experiment={experiment!r}: none of {len(trials)} trials was completed, and {over} of them are beyond "
        f"limit={','.join(one.text for one in limits)!r}; the smallest seen: {', '.join(smallest)}; accepted: a larger limit, or "
        "a search space with smaller networks"
    )
