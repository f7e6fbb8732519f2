"""The versions and the machine that made a model."""

import contextlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mlproject.training import device

PACKAGES = ("keras", "keras-tuner", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "tensorflow")


def describe_environment() -> dict[str, object]:
    """Describe this process.

    Returns:
        Python's version, the platform, the GPU's name if one trains, the precision if it is not float32, the CPU's name, the
        number of CPUs, their vector instructions and the versions of the packages that the results may depend on.
    """
    gpu, precision = device.gpu_name(), device.precision()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **({"gpu": gpu} if gpu else {}),
        **({"precision": precision} if precision != "float32" else {}),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        # Two CPUs of the same name can differ in these, and so in speed. NumPy leaves the entry out where it has found none.
        "vector instructions": ", ".join(np.show_config("dicts")["SIMD Extensions"].get("found", [])),
        "packages": {package: version(package) for package in PACKAGES},
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError, StopIteration):  # Python itself does not know it on Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return platform.processor()
