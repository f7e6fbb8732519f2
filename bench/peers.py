"""Compare the test accuracy after the same minutes: our search, AutoKeras' ImageClassifier, Keras Tuner's tutorial.

    python bench/peers.py --minutes 15          (real data, 2 cores; takes 6 times the minutes, and once the installation)

All use the same images in the same split, and predict the test images once, after their minutes. They run one after the
other. Our search starts with the best-known values of earlier searches; the peers start with none. A peer is a program
in bench/peers/ and runs in its own environment, which is kept under .cache/peers. `low` and `high` are the 95 %
interval of the accuracy (Wilson). It does not include the variation between seeds, because there is one seed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from mlproject import evaluation, process
from mlproject.datasets import Dataset
from mlproject.experiment import find
from mlproject.task import prepare

import mlflow
import numpy as np
import pandas as pd
from searching import PROJECT, tune

ENVIRONMENTS = PROJECT / ".cache" / "peers"
# The arguments of pip, a call for each string. AutoKeras 3.0.0 fails with the version of Keras that TensorFlow 2.21
# requires, and does not declare all of its requirements. Keras Tuner's own trials import tensorboard.
PEERS = {
    "autokeras_classifier": ["autokeras==3.0.0 tensorflow==2.21.* dm-tree tensorboard", "--no-deps keras==3.10.0"],
    "tutorial": ["keras-tuner==1.4.8 tensorflow==2.21.* tensorboard"],
}


def python_of(peer: str) -> Path:
    """The Python interpreter of the peer's environment, which is created if it is missing."""
    folder = ENVIRONMENTS / peer
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    finished = folder / "installed"
    if not finished.exists():
        venv.create(folder, with_pip=True, clear=True)
        for packages in PEERS[peer]:
            print(f"installing {packages}", flush=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages.split()], check=True)
        finished.touch()
    return python


def peer(name: str, arrays: Path, minutes: float) -> dict:
    """Run a peer's program; returns the JSON object in the last line of its output."""
    command = [python_of(name), PROJECT / "bench" / "peers" / f"{name}.py", arrays, str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(experiment: str, minutes: float, data_dir: str | None) -> dict:
    """Run our `tune` for the given minutes in an empty folder; returns the result of the registered model."""
    with tempfile.TemporaryDirectory() as folder:
        call = tune(experiment, Path(folder), "--budget-minutes", str(minutes), data_dir=data_dir)
        began = time.monotonic()
        subprocess.run(**call, check=True)
        took = (time.monotonic() - began) / 60
        mlflow.set_tracking_uri(call["env"]["MLFLOW_TRACKING_URI"])
        runs = mlflow.search_runs(search_all_experiments=True)
    final = runs[runs["tags.role"] == "final"].iloc[0]
    return {
        "test_accuracy": float(final["metrics.test_accuracy"]),
        "trials": int((runs["tags.role"] == "trial").sum()),
        "minutes": took,
    }


def save(data: Dataset, rows: np.ndarray, validation: np.ndarray, path: Path) -> None:
    """Write the data set as one file that the peers can read without this package."""
    np.savez(
        path,
        train_images=data.train_images[rows],
        train_labels=data.train_labels[rows],
        validation_images=data.train_images[validation],
        validation_labels=data.train_labels[validation],
        test_images=data.test_images,
        test_labels=data.test_labels,
    )


def main() -> None:
    """Print each result as soon as it is there, and the table of all results at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="cifar100-fine-cnn,fashion-mnist-cnn")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    for name in PEERS:
        python_of(name)
    rows = []
    for experiment in find(options.experiment):
        (task,) = prepare([experiment], "real", options.data_dir)
        with tempfile.TemporaryDirectory() as folder:
            arrays = Path(folder, "data.npz")
            save(task.data, task.train, task.validation, arrays)
            for name in ("ours", *PEERS):
                if name == "ours":
                    result = ours(experiment.name, options.minutes, options.data_dir)
                else:
                    result = peer(name, arrays, options.minutes)
                hits = round(result["test_accuracy"] * len(task.data.test_labels))
                low, high = evaluation.accuracy_interval(np.arange(len(task.data.test_labels)) < hits)
                rows.append({"experiment": experiment.name, "search": name, **result, "low": low, "high": high})
                print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(4).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.say_in_one_line
    main()
