"""An experiment's place among those of its command, and the minutes that are left: what every line of the progress says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """The place of an experiment in its command.

    Attributes:
        number: of the experiment, from 1.
        count: how many experiments the command tunes.
        later: the seconds that the experiments after this one may take.
    """

    number: int = 1
    count: int = 1
    later: float = 0.0

    @property
    def prefix(self) -> str:
        """The beginning of a line, such as "[2/5] "; "" for a command with one experiment."""
        return f"[{self.number}/{self.count}] " if self.count > 1 else ""

    def time_left(self, seconds: float, budget: float | None = None) -> str:
        """The minutes that are left, in words.

        Args:
            seconds: those that are left of this experiment; below 0 when it takes longer than its budget.
            budget: the seconds of the whole budget; None leaves them out of the words.

        Returns:
            Such as "9.1 of 24 min left, 81 for all experiments", or without a budget "9.1 min left, 81 in all", which is short
            enough for a bar. The second figure adds the later experiments, where there are any.
        """
        seconds_left = max(seconds, 0.0)
        total = f" of {budget / 60:g}" if budget else ""
        whose = "for all experiments" if budget else "in all"
        with_later = f", {_minutes(seconds_left + self.later)} {whose}" if self.later else ""
        return f"{_minutes(seconds_left)}{total} min left{with_later}"


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"
