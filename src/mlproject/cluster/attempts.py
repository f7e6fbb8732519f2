"""Fits under way in workers. What they log goes to their runs here, in the process that has the store."""

from dataclasses import dataclass, field
from typing import Any

from mlproject import process, tracking
from mlproject.cluster.board import Post
from mlproject.cluster.pool import Lost, Pool
from mlproject.task import Task

POLL_SECONDS = 0.5  # between two looks at what the workers have posted


@dataclass(frozen=True)
class Hung:
    """A fit hung, so that its process ended itself, and must not be run again.

    Attributes:
        reason: in one line.
    """

    reason: str


@dataclass
class _Attempt:
    """A fit under way: its key, its run, its node, whether the pool listed it, which logs are sent, and why it hangs."""

    key: Any
    run_id: str
    name: str
    node: str = ""
    listed: bool = False
    sent: set[int] = field(default_factory=set)
    hang: str = ""


class Attempts:
    """The fits that are under way in a pool of workers.

    Args:
        pool: the workers.
    """

    def __init__(self, pool: Pool):
        self.pool = pool
        self.states: dict[Any, bytes] = {}  # checkpoints that arrived, by key, until the caller keeps and removes them
        self._under_way: dict[Any, _Attempt] = {}
        self._begun = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, key: Any, run_id: str, function: str, task: Task, *given: Any) -> None:
        """Let a worker train a fit.

        Args:
            key: by which `collect` returns the fit.
            run_id: the run that takes what the fit logs; "" for none.
            function: a function's name in `cluster.worker`.
            task: the experiment with its data.
            given: what the function takes.
        """
        self._begun += 1
        name = f"{id(self)} {self._begun}"  # a late post of a lost attempt must not count for the next one
        self._under_way[self.pool.submit(function, task, name, *given)] = _Attempt(key, run_id, name)

    def collect(self) -> list[tuple[Any, Any]]:
        """Wait a moment for fits to end, and send to the store what the others have logged meanwhile.

        Returns:
            For each fit that ended its key, and what the function returned, or `Lost`, or `Hung`.
        """
        process.stop_if_requested()
        done = self.pool.wait(list(self._under_way), POLL_SECONDS)
        attempts = {attempt.name: attempt for attempt in self._under_way.values()}
        for post in self.pool.posts():
            if post.attempt in attempts:
                self._take(attempts[post.attempt], post)
        ended = []
        for handle, result in [*done, *self._cut_off({handle for handle, _ in done})]:
            attempt = self._under_way[handle]
            if not isinstance(result, Lost):
                result, items = result
                self._take(attempt, Post(attempt.name, items=dict(enumerate(items))))
            elif attempt.hang:
                result = Hung(attempt.hang)
            ended.append((handle, attempt.key, result))
        for handle, *_ in ended:  # now, because a store that fails meanwhile must not lose sight of the others
            del self._under_way[handle]
        return [(key, result) for _, key, result in ended]

    def _cut_off(self, done: set[Any]) -> list[tuple[Any, Lost]]:
        """The handles of fits on nodes that the head has given up.

        Ray itself waits minutes for the answer of a node that the network has lost, until the connection times out.
        """
        nodes = self.pool.nodes
        for attempt in self._under_way.values():
            attempt.listed |= attempt.node in nodes  # the list is seconds old, so a new node is not in it yet
        gone = [one for one, attempt in self._under_way.items() if attempt.listed and attempt.node not in nodes]
        self.pool.cancel([handle for handle in gone if handle not in done])
        return [(handle, Lost("its node is no longer there")) for handle in gone if handle not in done]

    def give_up(self) -> list[Any]:
        """End the fits under way, whose runs become KILLED; returns their keys."""
        self.pool.cancel(list(self._under_way))
        given_up = list(self._under_way.values())
        self._under_way.clear()
        for attempt in given_up:
            if attempt.run_id:
                tracking.close_run(attempt.run_id, "KILLED", "interrupted")
        return [attempt.key for attempt in given_up]

    def _take(self, attempt: _Attempt, post: Post) -> None:
        """Send each item once, though a fit gives all of them again when it ends."""
        new = {number: item for number, item in post.items.items() if number not in attempt.sent}
        if attempt.run_id:
            tracking.replay(attempt.run_id, new.values())
        attempt.sent.update(new)
        attempt.node, attempt.hang = post.node or attempt.node, post.hang or attempt.hang
        if post.state is not None:
            self.states[attempt.key] = post.state
