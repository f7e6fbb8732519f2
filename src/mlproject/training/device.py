"""The device that trains: a GPU where TensorFlow finds one, else the CPU. What follows from it is decided here alone."""

import glob
import logging
import os
from typing import Any

import numpy as np
import tensorflow as tf

logger = logging.getLogger(__name__)

# The compute capabilities from which NVIDIA's GPUs multiply 16-bit matrices by tensor cores: float16 from Volta on, bfloat16
# from Ampere on (CUDA C++ Programming Guide, "Compute Capabilities").
FLOAT16_SINCE, BFLOAT16_SINCE = (7, 0), (8, 0)
# A quarter of the memory of a small GPU; 60,000 colour images of 32 x 32 pixels take 0.4 GB.
BYTES_ON_DEVICE = 2 << 30
# At least so many batches are in one call of the compiled training step: Python takes up to a millisecond for a call, as
# long as a GPU takes for a step.
STEPS_ON_GPU = 10
NVIDIA_DEVICES = "/dev/nvidia[0-9]*"

_precision = "float32"


def configure(requested: str) -> None:
    """Choose the precision of all fits in this process, and say so if TensorFlow cannot use the machine's GPU.

    Args:
        requested: one of `settings.PRECISIONS`.
    """
    global _precision
    _precision = resolve_precision(requested, _details().get("compute_capability"))
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if glob.glob(NVIDIA_DEVICES) and not on_gpu() and not is_hidden:
        logger.warning(
            "this machine has an NVIDIA GPU that TensorFlow cannot use, so the CPU trains; `pip install -e '.[gpu]'` installs "
            "the CUDA libraries (docs/how-to/gpus.md)"
        )


def resolve_precision(requested: str, capability: tuple[int, int] | None) -> str:
    """Say which precision a fit has.

    Args:
        requested: one of `settings.PRECISIONS`.
        capability: the compute capability of the GPU that trains; None for a CPU or a GPU of another maker.

    Returns:
        "float32", "bfloat16" or "float16": what was asked for, or for "auto" the fastest that the device is made for.
    """
    if requested != "auto":
        return requested
    if capability is None or capability < FLOAT16_SINCE:
        return "float32"
    return "bfloat16" if capability >= BFLOAT16_SINCE else "float16"


def precision() -> str:
    """The precision of all fits in this process, as `configure` chose it; "float32" before."""
    return _precision


def on_gpu() -> bool:
    """Whether a GPU trains."""
    return bool(tf.config.list_physical_devices("GPU"))


def gpu_name() -> str:
    """The name of the GPU that trains, such as "NVIDIA H200"; "" for a CPU."""
    return str(_details().get("device_name", "GPU")) if on_gpu() else ""


def describe() -> str:
    """The device and the precision in words, such as "NVIDIA H200, bfloat16" or "2 CPU cores, float32"."""
    other_gpu_count = len(tf.config.list_physical_devices("GPU")) - 1
    unused = f" (the first of {other_gpu_count + 1} GPUs)" if other_gpu_count > 0 else ""
    return f"{gpu_name() or f'{os.cpu_count()} CPU cores'}{unused}, {_precision}"


def keeps_on_gpu(inputs: np.ndarray) -> bool:
    """Whether the inputs of a fit lie in the GPU's memory for the whole fit.

    Args:
        inputs: (n, ...), images or activations. In that memory a number takes at most as much as a float16.

    Returns:
        True for a GPU and inputs that fit beside a network; others are sent to the device batch by batch.
    """
    return on_gpu() and 2 * inputs.size <= BYTES_ON_DEVICE


def _details() -> dict[str, Any]:
    """What TensorFlow knows of the GPU that trains; nothing for a CPU."""
    for gpu in tf.config.list_physical_devices("GPU"):
        return dict(tf.config.experimental.get_device_details(gpu))
    return {}
