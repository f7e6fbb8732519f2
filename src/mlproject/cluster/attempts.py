"""Fits under way in workers. What they log goes to their runs here, in the process that has the store."""

import time
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
        seconds: from its beginning until its process ended.
    """

    reason: str
    seconds: float


@dataclass
class _Attempt:
    """A fit under way: its key, run and node, whether the pool listed it, which logs are sent, why it hangs, when it began."""

    key: Any
    run_id: str
    name: str
    node: str = ""
    listed: bool = False
    sent: set[int] = field(default_factory=set)
    hang: str = ""
    began: float = field(default_factory=time.monotonic)  # by the clock of this process


class Attempts:
    """The fits that are under way in a pool of workers.

    Args:
        pool: the workers.
    """

    def __init__(self, pool: Pool):
        self.pool = pool
        self.states: dict[Any, bytes] = {}  # checkpoints that arrived, by key, until the caller keeps and removes them
        self._under_way: dict[Any, _Attempt] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, key: Any, run_id: str, function: str, task: Task, *arguments: Any) -> None:
        """Let a worker train a fit.

        Args:
            key: by which `collect` returns the fit.
            run_id: the run that takes what the fit logs; "" for none.
            function: a function's name in `cluster.worker`.
            task: the experiment with its data.
            arguments: what the function takes.
        """
        self._count += 1
        name = f"{id(self)} {self._count}"  # a late post of a lost attempt must not count for the next one
        self._under_way[self.pool.submit(function, task, name, *arguments)] = _Attempt(key, run_id, name)

    def collect(self) -> list[tuple[Any, Any]]:
        """Wait a moment for fits to end, and send to the store what the others have logged meanwhile.

        Returns:
            For each fit that ended its key, and what the function returned, or `Lost`, or `Hung`.
        """
        process.stop_if_requested()
        ended = self.pool.wait(list(self._under_way), POLL_SECONDS)
        attempts = {attempt.name: attempt for attempt in self._under_way.values()}
        for post in self.pool.take_posts():
            if post.attempt in attempts:
                self._receive(attempts[post.attempt], post)
        collected = []
        for handle, result in [*ended, *self._fits_on_lost_nodes({handle for handle, _ in ended})]:
            attempt = self._under_way[handle]
            if not isinstance(result, Lost):
                result, items = result
                self._receive(attempt, Post(attempt.name, items=dict(enumerate(items))))
            elif attempt.hang:
                result = Hung(attempt.hang, time.monotonic() - attempt.began)
            collected.append((handle, attempt.key, result))
        for handle, *_ in collected:  # now, because a store that fails meanwhile must not lose sight of the others
            del self._under_way[handle]
        return [(key, result) for _, key, result in collected]

    def _fits_on_lost_nodes(self, ended: set[Any]) -> list[tuple[Any, Lost]]:
        """The handles of fits on nodes that the head has given up.

        Ray itself waits minutes for the answer of a node that the network has lost, until the connection times out.
        """
        nodes = self.pool.nodes
        for attempt in self._under_way.values():
            attempt.listed |= attempt.node in nodes  # the list is seconds old, so a new node is not in it yet
        gone = [handle for handle, attempt in self._under_way.items() if attempt.listed and attempt.node not in nodes]
        self.pool.cancel([handle for handle in gone if handle not in ended])
        return [(handle, Lost("its node is no longer there")) for handle in gone if handle not in ended]

    def give_up(self) -> list[Any]:
        """End the fits under way, whose runs become KILLED; returns their keys."""
        self.pool.cancel(list(self._under_way))
        attempts = list(self._under_way.values())
        self._under_way.clear()
        for attempt in attempts:
            if attempt.run_id:
                tracking.close_run(attempt.run_id, "KILLED", "interrupted")
        return [attempt.key for attempt in attempts]

    def _receive(self, attempt: _Attempt, post: Post) -> None:
        """Send each item once, though a fit gives all of them again when it ends."""
        new_items = {position: item for position, item in post.items.items() if position not in attempt.sent}
        if attempt.run_id:
            tracking.replay(attempt.run_id, new_items.values())
        attempt.sent.update(new_items)
        attempt.node, attempt.hang = post.node or attempt.node, post.hang or attempt.hang
        if post.state is not None:
            self.states[attempt.key] = post.state
