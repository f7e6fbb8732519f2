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

from mlproject.experiment import find

PROJECT = Path(__file__).resolve().parent.parent
BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


def peak(name: str, arguments: list[str]) -> float:
    """Gigabytes that `tune` of this experiment held at most."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "experiments").symlink_to(PROJECT / "experiments")
        command = [sys.executable, "-m", "mlproject", "tune", "--experiment", name, "--max-trials", "1", *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_maxrss * BYTES / 1e9


def main() -> None:
    """Print a line for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="*")
    parser.add_argument("--budget-minutes", default="0.5")
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default="")
    options = parser.parse_args()
    arguments = ["--budget-minutes", options.budget_minutes, "--data", options.data, "--data-dir", options.data_dir]
    rows = [{"experiment": one.name, "peak, GB": peak(one.name, arguments)} for one in find(options.experiment)]
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
