"""How much memory does each experiment take? The peak of a whole `tune`, on the real data.

    python bench/memory.py          (10 minutes on 2 cores)

Each command runs in an empty folder, so that VGG16's activations are computed, too. Unix only: the kernel's own figure for
the largest resident set of the finished process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from searching import tune

from mlproject.experiment import find

BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


def peak(name: str, arguments: list[str], data_dir: str | None) -> float:
    """Gigabytes that `tune` of this experiment held at most."""
    with tempfile.TemporaryDirectory() as folder:
        call = tune(name, Path(folder), "--max-trials", "1", *arguments, data_dir=data_dir)
        process = subprocess.Popen(**call, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(call['args'])} ended with exit code {process.returncode}")
    return usage.ru_maxrss * BYTES / 1e9


def main() -> None:
    """Print a line for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="*")
    parser.add_argument("--budget-minutes", default="0.5")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    arguments = ["--budget-minutes", options.budget_minutes, "--data", options.data]
    rows = [
        {"experiment": one.name, "peak, GB": peak(one.name, arguments, options.data_dir)}
        for one in find(options.experiment)
    ]
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
