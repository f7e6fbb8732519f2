"""What a comparison is about: the head of its report, and the figures of others that stand beside its own."""

import json
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mlproject.errors import UserError, truncate


@dataclass(frozen=True)
class Topic:
    """What the experiments of a comparison are about together.

    Attributes:
        title: the heading of the report.
        question: what the comparison answers, in words that a student understands. The report answers a question that begins
            with a verb ("Do fine labels ...?") by yes or no, where it compares coarse with fine labels.
        published: figures of others as the columns of a table, by heading. The first column says what was done; others
            hold accuracies in percent. Under headings that are kinds of labels ("coarse", "fine") our own figures stand below.
        source: who published these figures, and where.

    Raises:
        UserError: for a title, question or source that is no text, for columns of different lengths, for a figure that is neither
            text nor a number, and for figures without their source.
    """

    title: str = ""
    question: str = ""
    published: Mapping[str, Sequence[str | float]] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("title", "question", "source"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise UserError(f"{name} of the topic is {truncate(repr(value))}; accepted: text")
        lengths = {name: len(column) for name, column in self.published.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"published of the topic has columns of {lengths} rows; accepted: columns of one length")
        if self.published and not self.source:
            raise UserError("source='' of a topic with published figures; accepted: who published them, and where")
        published = {name: [_json_value(name, value) for value in column] for name, column in self.published.items()}
        object.__setattr__(self, "published", published)

    @property
    def tag(self) -> str:
        """The topic as the text of a tag."""
        return json.dumps(asdict(self), ensure_ascii=False)


def _json_value(heading: str, value: Any) -> Any:
    """The figure in a type that JSON has, which NumPy's numbers are not."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, numbers.Real):
        raise UserError(
            f"published of the topic has {truncate(repr(value))} below {heading!r}; accepted: texts and numbers"
        )
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def from_tag(text: str) -> Topic:
    """Read a topic.

    Args:
        text: as `Topic.tag` gives it; "" or another text for a version that was registered without one.

    Returns:
        The topic; an empty one for another text.
    """
    try:
        return Topic(**json.loads(text))
    except (ValueError, TypeError, AttributeError, UserError):
        return Topic()
