"""What each worker gets of the cores and GPUs that there are."""

import math
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What each worker gets: whole cores, or a GPU, which several workers may share.

    Attributes:
        cpus: Ray's CPUs. On this machine each worker has one, whatever its cores.
        gpus: GPUs, 1 or a fraction where workers share one; 0 where there are none.
        threads: the cores that TensorFlow may use; 0 for all that it sees.
    """

    cpus: float
    gpus: float
    threads: int

    def capacity(self, resources: dict[str, float]) -> int:
        """How many workers have room on a node with these resources."""
        limits = [resources.get("CPU", 0) / self.cpus] + ([resources.get("GPU", 0) / self.gpus] if self.gpus else [])
        return int(min(limits) + 1e-6)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus_per_worker(gpus: int, workers: int) -> float:
    """Divide GPUs among workers.

    Args:
        gpus: how many GPUs there are.
        workers: how many workers there are.

    Returns:
        A GPU for each worker, since a fit uses no more than one, or the fraction of one that lets all workers in.
    """
    return 1 / math.ceil(workers / gpus) if gpus else 0.0
