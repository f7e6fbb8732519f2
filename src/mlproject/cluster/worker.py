"""What runs in a worker: a task is unpacked once in each process, then its fits are measured and trained.

Nothing here knows the store: what a fit logs is recorded, and the driver sends it.
"""

import os
import pickle
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlproject.cluster.board import Post
from mlproject.cluster.parcel import Parcel, code_digest
from mlproject.errors import UserError, first_line
from mlproject.search.pruning import Curve

if TYPE_CHECKING:  # these import TensorFlow, which must learn the number of its threads before
    import numpy as np

    from mlproject.budget import Plan
    from mlproject.experiment import Value
    from mlproject.networks.cost import Throughput
    from mlproject.search.journal import Trial
    from mlproject.settings import Settings
    from mlproject.task import Task
    from mlproject.training.fit import FitResult
    from mlproject.training.schedule import Schedule

BOARD_SECONDS = 10  # for an answer of the board; a worker that gets none goes on
_unpacked: "dict[str, Task]" = {}


@dataclass(frozen=True)
class TrialOrder:
    """One attempt at a trial.

    Attributes:
        record: the trial as the journal has it.
        plan, throughput, settings: as `search.trial_fit.fit_trial` takes them.
        seconds: after which the fit ends.
        prunable: whether the trial ends early when it is hopeless.
    """

    record: "Trial"
    plan: "Plan"
    throughput: "Throughput"
    settings: "Settings"
    seconds: float
    prunable: bool


@dataclass(frozen=True)
class FinalOrder:
    """One attempt at a final fit.

    Attributes:
        seed: of the fit.
        fold: the number of the fold that is held out, from 1; None for a fit on all training images.
        values: the winner's hyperparameters.
        schedule: the length of each stage.
        state: the content of the checkpoint from which the fit goes on; None for a new fit.
    """

    seed: int
    fold: int | None
    values: "Mapping[str, Value]"
    schedule: "Schedule"
    state: bytes | None


def call(name: str, parcel: Parcel, pickled_arguments: bytes, board: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Call one of the functions below; this is what Ray runs.

    Args:
        name: the function's name.
        parcel: the task.
        pickled_arguments: the attempt's name and what else the function takes: unpickling imports TensorFlow, which must be
            set up before.
        board: the actor to post to.

    Returns:
        What the function returns, and all that it logged.
    """
    task = unpack(parcel)
    import ray

    from mlproject import tracking

    attempt, *arguments = pickle.loads(pickled_arguments)
    functions: dict[str, Callable[..., Any]] = {
        function.__name__: function for function in (get_ready, measure, train_trial, train_final)
    }
    with tracking.record() as items:
        tracking.set_tags({"worker": ray.util.get_node_ip_address()})
        poster = _Poster(attempt, items, board)
        poster.post()  # so that the driver knows the node
        return functions[name](task, poster, *arguments), items


class _Poster:
    """Posts what a fit has logged since the last time."""

    def __init__(self, attempt: str, items: list[dict[str, Any]], board: Any):
        self.attempt, self.items, self.board, self.sent = attempt, items, board, 0

    def post(self, state: bytes | None = None, hang: str = "") -> list[tuple[float, Curve]]:
        """Post; returns the curves of finished trials, none while the network is down or after the driver's end."""
        import ray

        new_items, self.sent = dict(enumerate(self.items[self.sent :], self.sent)), len(self.items)
        try:
            node = ray.get_runtime_context().get_node_id()
            reply = self.board.post.remote(Post(self.attempt, node, new_items, state, hang))
            return ray.get(reply, timeout=BOARD_SECONDS)  # type: ignore[no-any-return]
        except ray.exceptions.RayError:
            return []

    def post_hang(self, reason: str) -> None:
        """Post why the fit hangs, before its process ends."""
        self.post(hang=reason)


def get_ready(task: "Task", poster: _Poster) -> tuple[str, int]:
    """Nothing but the name of this machine and the id of this process, which now has imported TensorFlow and has the data."""
    return socket.gethostname(), os.getpid()


def measure(task: "Task", poster: _Poster, values: "Mapping[str, Value]", seconds: float) -> "Throughput":
    """Measure how fast a network trains and predicts in this worker, as `training.throughput.measure_throughput`."""
    from mlproject.training.throughput import measure_throughput

    model, recipe = task.network(values)
    return measure_throughput(model, recipe, task.fit_data(task.train, None), seconds)


def train_trial(task: "Task", poster: _Poster, order: TrialOrder) -> "Trial":
    """Train one trial; returns its record, filled."""
    from mlproject.search.trial_fit import fit_trial, log_epoch, pruning_hook
    from mlproject.training.kept_fits import KeptFits
    from mlproject.training.monitor import FitHooks

    began, record = time.monotonic(), order.record

    def others() -> list[Curve]:
        return [curve for planned, curve in poster.post() if planned == record.planned_seconds]

    try:
        hooks = FitHooks(
            on_epoch=log_epoch,
            on_hang=poster.post_hang,
            stop_early=pruning_hook(record, order.settings.objective, others, order.prunable),
            deadline=began + order.seconds,
        )
        fit_trial(task, order.plan, order.throughput, order.settings, record, hooks, KeptFits(None))
    except Exception as error:  # the trial's own failure, whatever an experiment's code raises
        record.status, record.reason = "failed", first_line(error)
    record.seconds = time.monotonic() - began
    return record


def train_final(task: "Task", poster: _Poster, order: FinalOrder) -> "tuple[list[np.ndarray], FitResult]":
    """Train one final fit; returns the network's weights and the fit's result. Checkpoints go to the driver."""
    from mlproject.final.cross_validation import train_fold
    from mlproject.final.refit import train
    from mlproject.training.checkpoint import Checkpoint
    from mlproject.training.monitor import FitHooks

    task = replace(task, seed=order.seed)
    model, recipe = task.network(order.values)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder, "checkpoint.npz"))
        if order.state:
            checkpoint.path.write_bytes(order.state)
        newest = _newer_content(checkpoint.path)
        hooks = FitHooks(
            on_hang=poster.post_hang,
            stop_early=lambda share, row: _post_state(poster, newest),
            checkpoint=checkpoint,
        )
        if order.fold:
            return [], train_fold(task, order.fold, (model, recipe), order.schedule, hooks)
        result = train(task, (model, recipe), order.schedule, hooks)
    return model.get_weights(), result


def _post_state(poster: _Poster, newest: Callable[[], bytes | None]) -> bool:
    """Post what was logged in an epoch and its checkpoint; the fit goes on."""
    poster.post(newest())
    return False


def _newer_content(path: Path) -> Callable[[], bytes | None]:
    """A function that gives the content of a file whenever it is newer than at the last call."""
    read_at = path.stat().st_mtime_ns if path.exists() else 0

    def content() -> bytes | None:
        nonlocal read_at
        if not path.exists() or path.stat().st_mtime_ns == read_at:
            return None
        read_at = path.stat().st_mtime_ns
        return path.read_bytes()

    return content


def unpack(parcel: Parcel) -> "Task":
    """The task of a parcel, which is unpacked once in each process.

    Raises:
        UserError: when this node has other code, or the data does not arrive intact.
    """
    if parcel.key not in _unpacked:
        _unpacked.clear()
        _unpacked[parcel.key] = _unpack(parcel)
    return _unpacked[parcel.key]


def _unpack(parcel: Parcel) -> "Task":
    if (digest := code_digest()) != parcel.code:
        raise UserError(
            f"the node {socket.gethostname()} has another version of mlproject ({digest}, the driver {parcel.code}); "
            "accepted: the same version on all nodes"
        )
    _configure_process(parcel)
    import ray

    from mlproject.training.features import FeatureCache

    bare_task, data = pickle.loads(parcel.task), ray.get(parcel.data)
    if not data.is_intact():
        raise UserError(f"the data set {data.name} did not arrive intact at {socket.gethostname()}; try again")
    cache_folder = Path.home() / ".cache" / "mlproject"
    weights = _write_weights(cache_folder, *ray.get(parcel.weights)) if parcel.weights else None
    features = FeatureCache(Path(parcel.features) if parcel.features else cache_folder / "features", data)
    task: Task = replace(bare_task, data=data, features=features, spec=replace(bare_task.spec, weights=weights))
    return task


def _configure_process(parcel: Parcel) -> None:
    """Set up TensorFlow as the driver does. The first task in a process is early enough for the number of threads."""
    if hasattr(signal, "pthread_sigmask"):  # Ray blocks the signal by which the watchdog interrupts
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if parcel.threads:
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(parcel.threads)
    import tensorflow as tf

    from mlproject.training import device, winograd

    device.configure(parcel.precision)
    winograd.set_enabled(parcel.winograd)
    if parcel.deterministic:
        tf.config.experimental.enable_op_determinism()


def _write_weights(folder: Path, digest: str, name: str, content: bytes) -> Path:
    """The file with pretrained weights on this node, written again if a file there has another content."""
    from mlproject import disk
    from mlproject.networks import pretrained

    path = folder / "weights" / digest / name
    if not path.exists() or pretrained.digest(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk.atomic_write(path) as part:
            part.write_bytes(content)
    return path
