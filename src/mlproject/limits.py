"""Limits on the cost of a network, such as `parameters<1e6`, beyond which a search trains no trial."""

import math
import re
from dataclasses import dataclass

from mlproject.errors import UserError, truncate

# What can be limited: fields of a trial, metrics of its run and columns of the table of trials.
PARAMETERS, MILLISECONDS = "parameters", "ms_per_image"
OVER_LIMIT = "over limit"  # the status of a trial whose network is beyond a limit, so that it was not trained
TIMED_BATCH = 32  # images that are predicted at once where the milliseconds per image are measured
ACCEPTED = f"{PARAMETERS}<NUMBER, {MILLISECONDS}<NUMBER, also with <=, or both, separated by a comma"
_LIMIT = re.compile(rf"({PARAMETERS}|{MILLISECONDS})\s*(<=?)\s*(\S+)")


@dataclass(frozen=True)
class Limit:
    """The largest cost that a network may have.

    Attributes:
        quantity: PARAMETERS, or MILLISECONDS for the time to predict an image (`prediction.milliseconds_per_image`).
        bound: the limit, above 0.
        inclusive: whether a network may cost as much as the limit.
        text: the limit as the user wrote it, without spaces.
    """

    quantity: str
    bound: float
    inclusive: bool
    text: str

    def is_exceeded_by(self, cost: float) -> bool:
        """Whether a network of this cost is beyond the limit; NaN, an unknown cost, is not."""
        return cost > self.bound or (cost == self.bound and not self.inclusive)


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Parse limits that are separated by commas.

    Args:
        text: such as "parameters<1e6,ms_per_image<=2"; spaces are ignored.

    Returns:
        The limits; none for an empty text.

    Raises:
        UserError: for anything else.
    """
    return tuple(_parse_limit(part.strip()) for part in text.split(",")) if text.strip() else ()


def describe_cost(quantity: str, cost: float) -> str:
    """The cost in words: "parameters 1,234,567" or "ms_per_image 0.123"."""
    return f"{quantity} {cost:,.0f}" if quantity == PARAMETERS else f"{quantity} {cost:.3g}"


def _parse_limit(part: str) -> Limit:
    match = _LIMIT.fullmatch(part)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not 0 < bound < math.inf:
        raise UserError(f"limit='{truncate(part)}' is not accepted; accepted: {ACCEPTED}")
    return Limit(match[1], bound, match[2] == "<=", "".join(part.split()))
