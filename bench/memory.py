"""Measure the peak memory of each experiment's `tune` on the real data. Unix only.

    python bench/memory.py          (10 minutes on 2 cores)

Each command runs once in an empty folder, so that VGG16's activations are computed as well. `peak` is the kernel's figure
for the largest resident set of the finished process. It includes pages of files, which the kernel drops when memory is
needed: the code of libraries, and memory-mapped activations. `without files` excludes them (sampled four times a
second, Linux only).
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlproject import process
from mlproject.discovery import find

import pandas as pd
import psutil
from searching import tune

BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
INTERVAL = 0.25  # seconds


def peaks(name: str, arguments: list[str], data_dir: str | None) -> tuple[float, float]:
    """The peak memory of this experiment's `tune` in gigabytes, with and without the pages of files."""
    own = 0
    with tempfile.TemporaryDirectory() as folder, Path(folder, "stderr.txt").open("w+") as said:
        call = tune(name, Path(folder), "--max-trials", "1", *arguments, data_dir=data_dir)
        child = subprocess.Popen(**call, stderr=said)
        while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
            with contextlib.suppress(psutil.Error):  # the process may end at this moment
                memory = psutil.Process(child.pid).memory_info()
                own = max(own, memory.rss - getattr(memory, "shared", 0))
            time.sleep(INTERVAL)
        _, status, usage = ended
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            reason = f"ended with exit code {child.returncode}:\n{said.read()[-2000:]}"
            raise SystemExit(f"{' '.join(call['args'])} {reason}")
    return usage.ru_maxrss * BYTES / 1e9, own / 1e9


def main() -> None:
    """Print a row for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="*")
    parser.add_argument("--budget-minutes", default="0.5")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    arguments = ["--budget-minutes", options.budget_minutes, "--data", options.data]
    rows = [(one.name, *peaks(one.name, arguments, options.data_dir)) for one in find(options.experiment)]
    print(pd.DataFrame(rows, columns=["experiment", "peak, GB", "without files, GB"]).round(2).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
