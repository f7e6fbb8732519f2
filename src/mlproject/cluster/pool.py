"""The driver's side of Ray: starts a local one or joins a cluster, submits fits, and collects what came of them."""

import contextlib
import importlib.util
import logging
import math
import os
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlproject import process
from mlproject.cluster import parcel, worker
from mlproject.cluster.board import Board, Post
from mlproject.cluster.share import Share, available_cores, gpus_per_worker
from mlproject.errors import UserError, first_line, truncate
from mlproject.search.pruning import Curve

if TYPE_CHECKING:
    from mlproject.networks.cost import Throughput
    from mlproject.settings import Settings
    from mlproject.task import Task

CONNECT_SECONDS = 10
SIZE_SECONDS = 5  # between two looks at which nodes there are
PATIENCE = 300  # seconds without any node that has room for a worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lost:
    """A fit did not come to an end, because its worker or node was lost.

    Attributes:
        reason: in one line.
    """

    reason: str


def require_ray(settings: "Settings") -> None:
    """Refuse settings that need Ray where it is not installed.

    Raises:
        UserError: ray is missing.
    """
    if settings.has_several_workers and importlib.util.find_spec("ray") is None:
        raise UserError(
            f"{settings.workers_in_words} needs the package ray; accepted: with it (`make cluster`, or "
            "`pip install -e '.[cluster]'`), or workers=1 without it"
        )


@contextlib.contextmanager
def open_pool(settings: "Settings") -> "Iterator[Pool | None]":
    """Start or join Ray inside of this.

    Args:
        settings: how many workers are asked for, and the address of a cluster.

    Yields:
        The workers; None if one process is to train everything, which needs no Ray.

    Raises:
        UserError: for an address at which no cluster answers, and for more workers than this machine has cores.
    """
    if not settings.has_several_workers:
        yield None
        return
    address = settings.cluster_address
    if address:
        _require_reachable(address)
    import ray

    began = time.monotonic()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        share = _join(address, settings.workers) if address else _start(settings.workers or 1)
        process.stop_on_signals()  # Ray has replaced the handler of SIGTERM
        pool = Pool(settings, share, local=not address)
        logger.info("Ray: %s, started in %.0f s", pool, time.monotonic() - began)
        yield pool
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Refuse an address at which nothing answers: Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    try:
        if "/" in host:
            raise ValueError("Ray Client is not supported")
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _cluster_error(address, error) from error


def _cluster_error(address: str, error: Exception) -> UserError:
    return UserError(
        f"ray={truncate(address)!r}: {first_line(error)}; accepted: HOST:PORT of a cluster that this machine is a node "
        "of (`ray start --address=HOST:PORT`)"
    )


def _start(workers: int) -> Share:
    """Start Ray on this machine, with a CPU for each worker in Ray's books."""
    import ray
    import tensorflow as tf

    cores, gpus = available_cores(), len(tf.config.list_physical_devices("GPU"))
    if not gpus and workers > cores:
        raise UserError(f"workers={workers} on a machine with {cores} cores; accepted: 1 to {cores}")
    quiet_options = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init("local", num_cpus=workers, num_gpus=gpus, include_dashboard=False, **quiet_options)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(
            f"workers={workers}: Ray does not start here: {first_line(error)}; accepted: workers=1"
        ) from error
    return Share(1, gpus_per_worker(gpus, workers), 0 if gpus else max(cores // workers, 1))


def _join(address: str, workers: int | None) -> Share:
    """Join a cluster, and divide the resources of its nodes among so many workers; None means one for each GPU or node."""
    import ray

    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _cluster_error(address, error) from error
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if gpus:
        return Share(1, gpus_per_worker(gpus, workers or gpus), 0)
    fewest_cores = int(min((node["CPU"] for node in nodes), default=0))
    for threads in range(fewest_cores, 0, -1):
        share = Share(threads, 0, threads)
        if sum(map(share.capacity, nodes)) >= (workers or len(nodes)):
            return share
    logger.warning(
        "workers=%s: the nodes that are there now have room for %d", workers, sum(map(Share(1, 0, 1).capacity, nodes))
    )
    return Share(1, 0, 1)


class Pool:
    """Workers that train fits at the same time, as tasks of Ray.

    Args:
        settings: what the user asked for.
        share: what each worker gets.
        local: whether Ray runs on this machine alone, for this command.
    """

    def __init__(self, settings: "Settings", share: Share, local: bool):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.settings, self.share, self.local = settings, share, local
        on_this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # It loses no more than epochs that are shown early if it has to begin again.
        self.board = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=on_this_node)(
            Board
        ).remote()
        # A lost fit is submitted again by the driver: it counts the attempts, and gives each its own run.
        self._call = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=0)(worker.call)
        self._data: dict[str, Any] = {}
        self._last_parcel: tuple[Task, parcel.Parcel] | None = None
        self._nodes: dict[str, dict[str, float]] = {}
        self._nodes_read_at, self._had_room_at = -math.inf, time.monotonic()

    def __str__(self) -> str:
        count, unit = (self.share.gpus, "GPU") if self.share.gpus else (self.share.threads, "core")
        return f"{self.size} workers with {count:.2g} {unit}{'' if count == 1 else 's'} each"

    @property
    def size(self) -> int:
        """How many workers there are now: nodes come and go, and there are no more workers than were asked for."""
        if self.local:
            return self.settings.workers or 1
        room = sum(map(self.share.capacity, self.nodes.values()))
        return min(room, self.settings.workers or room)

    @property
    def nodes(self) -> dict[str, dict[str, float]]:
        """The resources of the nodes that are there now, by their ids."""
        if time.monotonic() - self._nodes_read_at >= SIZE_SECONDS:
            import ray

            self._nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
            self._nodes_read_at = time.monotonic()
        return self._nodes

    def get_ready(self, task: "Task") -> None:
        """Let every worker unpack a task, so that none of them imports libraries while fits are timed."""
        ready = self._run_everywhere("get_ready", task)
        hosts = sorted({host for host, _ in ready})
        logger.debug("%d processes on %s have the data", len(set(ready)), ", ".join(hosts))

    def measure(self, task: "Task", values: Any, seconds: float) -> "Throughput":
        """Measure how fast the workers train and predict, all at the same time, so that they get in each other's way as later.

        Args:
            task: the experiment with its data.
            values: of the hyperparameters.
            seconds: the budget that is planned by the measurement.

        Returns:
            The mean speeds of the workers, with the seconds that the slowest one took.
        """
        throughputs: list[Throughput] = self._run_everywhere("measure", task, dict(values), seconds)
        speeds = {
            name: statistics.mean(throughput.images_per_second[name] for throughput in throughputs)
            for name in throughputs[0].images_per_second
        }
        logger.debug(
            "images per second of the workers: %s", ", ".join(f"{throughput.slowest:.0f}" for throughput in throughputs)
        )
        return replace(
            throughputs[0], images_per_second=speeds, seconds=max(throughput.seconds for throughput in throughputs)
        )

    def trains_final_fits(self, count: int) -> bool:
        """Whether workers train so many final fits. A single one gets this machine for itself, unless there is a cluster."""
        return not self.local or count > 1

    def submit(self, function: str, task: "Task", attempt: str, *arguments: Any) -> Any:
        """Let a worker call a function of `cluster.worker`.

        Args:
            function: its name.
            task: the experiment with its data.
            attempt: names what the worker posts.
            arguments: what else the function takes.

        Returns:
            A handle for `wait`.
        """
        import ray

        return self._call.remote(function, self._parcel(task), ray.cloudpickle.dumps((attempt, *arguments)), self.board)

    def wait(self, handles: Sequence[Any], seconds: float) -> list[tuple[Any, Any]]:
        """Wait for the first of some fits.

        Args:
            handles: from `submit`.
            seconds: how long to wait at most.

        Returns:
            The handles of finished fits, each with what the function returned, or with `Lost`.

        Raises:
            UserError: what a node refuses, such as another version of this package; also when no node has room for long.
        """
        import ray

        if self.size:
            self._had_room_at = time.monotonic()
        elif time.monotonic() - self._had_room_at > PATIENCE:
            raise UserError(
                f"no node of the Ray cluster has had room for a worker for {PATIENCE} seconds; start it again"
            )
        if not handles:  # no node has room yet; Ray would return at once
            time.sleep(seconds)
            return []
        first_done, remaining = ray.wait(list(handles), timeout=seconds)
        finished = first_done + (ray.wait(remaining, num_returns=len(remaining), timeout=0)[0] if remaining else [])
        return [(handle, self._result(handle)) for handle in finished]

    def cancel(self, handles: Sequence[Any]) -> None:
        """End the processes of fits that nobody waits for any more."""
        import ray

        for handle in handles:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(handle, force=True)

    def take_posts(self) -> list[Post]:
        """What the workers have posted since the last call."""
        import ray

        return ray.get(self.board.take.remote(), timeout=PATIENCE)  # type: ignore[no-any-return]

    def show(self, curves: list[tuple[float, Curve]]) -> None:
        """Show the workers the curves of finished trials, each with its planned seconds."""
        self.board.show.remote(curves)

    def _parcel(self, task: "Task") -> parcel.Parcel:
        if self._last_parcel is None or self._last_parcel[0] is not task:
            features = str(task.features.folder.absolute()) if self.local else ""
            references = self._put_data(task), self._put_weights(task)
            self._last_parcel = task, parcel.pack(task, self.settings, *references, features, self.share.threads)
        return self._last_parcel[1]

    def _put_data(self, task: "Task") -> Any:
        """The data set in the object store, from which every node fetches it once."""
        import ray

        if task.data.digest not in self._data:
            data = task.data
            # Images that are read from a file bit by bit would else be pickled as such a file's name.
            train, test = np.asarray(data.train_images), np.asarray(data.test_images)
            self._data = {data.digest: ray.put(replace(data, train_images=train, test_images=test))}
        return self._data[task.data.digest]

    def _put_weights(self, task: "Task") -> Any:
        """The file with pretrained weights in the object store, with its digest and name; None for none."""
        import ray

        from mlproject.networks import pretrained

        path = task.spec.weights
        return ray.put((pretrained.digest(path), path.name, path.read_bytes())) if path else None

    def _run_everywhere(self, name: str, task: "Task", *arguments: Any) -> list[Any]:
        """Call a function in as many tasks as there is room for, which then run at the same time."""
        handles = [self.submit(name, task, "", *arguments) for _ in range(self.size)]
        results = [self._result(handle) for handle in handles]
        values = [result[0] for result in results if not isinstance(result, Lost)]
        if not values:
            raise UserError(f"no worker starts: {results[0].reason if results else 'no node has room for one'}")
        return values

    def _result(self, handle: Any) -> Any:
        import ray

        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # the worker died, or its node, or the network between
            return Lost(first_line(error).partition(". ")[0])
