"""Where workers post what they log while they train, and read how other trials fared. It is an actor beside the driver."""

from dataclasses import dataclass, field
from typing import Any

from mlproject.search.pruning import Curve


@dataclass
class Post:
    """What a fit has to tell since its last post.

    Attributes:
        attempt: names the fit.
        node: where it is trained.
        items: what it has logged, from `tracking.record`, by the place in it.
        state: the content of its checkpoint; None if it is no newer.
        hang: why it hangs, so that its process ends and the fit must not be run again; "" if it does not.
    """

    attempt: str
    node: str = ""
    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    state: bytes | None = None
    hang: str = ""


class Board:
    """Holds posts until the driver takes them, and the curves of finished trials. It decides nothing."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.curves: list[tuple[float, Curve]] = []

    def post(self, post: Post) -> list[tuple[float, Curve]]:
        """Leave a post; returns the curves of finished trials, each with its planned seconds."""
        self.posts.append(post)
        return self.curves

    def take(self) -> list[Post]:
        """All posts since the last call, in their order."""
        posts, self.posts = self.posts, []
        return posts

    def show(self, curves: list[tuple[float, Curve]]) -> None:
        """Replace the curves of finished trials."""
        self.curves = curves
