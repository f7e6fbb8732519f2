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
    reasons = [
        f"{describe_cost(limit.quantity, getattr(record, limit.quantity))}, limit={limit.text}" for limit in exceeded
    ]
    record.status, record.reason, record.planned_seconds = OVER_LIMIT, "; ".join(reasons), 0.0
    return True


def no_trial_within_limits(experiment: str, trials: Sequence[Trial], limits: Sequence[Limit]) -> UserError:
    """The error for a search without a trial within the limits; it names the smallest costs seen.

    Args:
        experiment: its name.
        trials: the finished trials.
        limits: the limits.

    Returns:
        The error.
    """
    costs_by_quantity = {limit.quantity: [getattr(trial, limit.quantity) for trial in trials] for limit in limits}
    smallest = [
        describe_cost(quantity, min(known_costs))
        for quantity, costs in costs_by_quantity.items()
        if (known_costs := [cost for cost in costs if not math.isnan(cost)])
    ]
    over_limit_count = sum(trial.status == OVER_LIMIT for trial in trials)
    return UserError(
        f"experiment={experiment!r}: none of {len(trials)} trials was completed, and {over_limit_count} of them are beyond "
        f"limit={','.join(limit.text for limit in limits)!r}; the smallest seen: {', '.join(smallest)}; accepted: a larger "
        "limit, or a search space with smaller networks"
    )
