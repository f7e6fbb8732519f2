"""Compare the test accuracy after the same minutes: our search, AutoKeras' ImageClassifier, Keras Tuner's tutorial.

    python bench/peers.py --minutes 15          (real data, 2 cores; takes 6 times the minutes, and once the installation)
    python bench/peers.py --images PATH --minutes 12          (your own images; takes 3 times the minutes)

All use the same images in the same split, and predict the test images once, after their minutes. They run one after the
other. Our search starts with the best-known values of earlier searches; the peers start with none. Our final fit also trains
on the validation images, by which the peers choose an epoch. A peer is a program in bench/peers/ and runs in its own
environment, which is kept under .cache/peers. `low` and `high` are the 95 % interval of the accuracy (Wilson). It does not
include the variation between seeds, because there is one seed.

With `--images`, our search is one `tune` that divides the minutes equally between the experiments of OWN_IMAGES. The model
whose winning trial has the best validation accuracy is the result, and the other models are printed as "ours, not chosen".
The `minutes` of all of them are those of the whole command. The peers get images that are already decoded.
"""

import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlproject import arguments, evaluation, process, settings, tracking
from mlproject.datasets import Dataset, ImageFolder
from mlproject.discovery import find
from mlproject.errors import UserError
from mlproject.task import prepare

import click
import numpy as np
import pandas as pd
from searching import PROJECT, runs_of, tune

SHIPPED = "cifar100-fine-cnn,fashion-mnist-cnn"
OWN_IMAGES = "cnn,features,fine-tuned"
OPTIONS = (*settings.IMAGE_OPTIONS, "weights", "data_dir")  # of `tune`, and passed on to it
ENVIRONMENTS = PROJECT / ".cache" / "peers"
# The arguments of pip, a call for each string. AutoKeras 3.0.0 fails with the version of Keras that TensorFlow 2.21
# requires, and does not declare all of its requirements. Keras Tuner's own trials import tensorboard.
PEERS = {
    "autokeras_classifier": ["autokeras==3.0.0 tensorflow==2.21.* dm-tree tensorboard", "--no-deps keras==3.10.0"],
    "tutorial": ["keras-tuner==1.4.8 tensorflow==2.21.* tensorboard"],
}


def own_images(options: SimpleNamespace) -> ImageFolder | None:
    """The images of a user's own that the options name."""
    return settings.own_images(**{name: getattr(options, name) for name in settings.IMAGE_OPTIONS})


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


def peer(name: str, arrays: Path, minutes: float, labels: np.ndarray, seed: int = 0) -> dict:
    """Run a peer's program, whose last line of output is a JSON object, and score its predictions of the test images."""
    command = [python_of(name), PROJECT / "bench" / "peers" / f"{name}.py", arrays, str(minutes), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    predictions = np.array(result.pop("predictions"))
    return {
        "search": name,
        "test_accuracy": float(np.mean(predictions == labels)),
        "balanced_accuracy": evaluation.balanced_accuracy(labels, predictions),
        **result,
    }


def ours(experiments: str, minutes: float, options: SimpleNamespace) -> list[dict]:
    """Run our `tune` in an empty folder, with equal shares of the minutes for the experiments.

    Returns:
        A result for each registered model. The first one has the best validation accuracy.
    """
    with tempfile.TemporaryDirectory() as folder:
        share = minutes / len(arguments.names(experiments))
        given = ["--budget-minutes", str(share), *passed_on(options)]
        call = tune(experiments, Path(folder), *given, data_dir=options.data_dir)
        began = time.monotonic()
        subprocess.run(**call, check=True)
        took = (time.monotonic() - began) / 60
        runs = runs_of(call)
    trial_score = f"metrics.{tracking.TRIAL_PREFIX}val_accuracy"
    final = runs[runs["tags.role"] == "final"].sort_values(trial_score, ascending=False, kind="stable")
    trials = runs[runs["tags.role"] == "trial"]
    return [
        {
            "search": "ours, not chosen" if place else "ours",
            "test_accuracy": run["metrics.test_accuracy"],
            "balanced_accuracy": run["metrics.test_balanced_accuracy"],
            "trials": int((trials["tags.search"] == run["tags.search"]).sum()),
            "minutes": took,
            "model": run["tags.experiment"],
            "val_accuracy": run[trial_score],
        }
        for place, (_, run) in enumerate(final.iterrows())
    ]


def passed_on(options: SimpleNamespace) -> list[str]:
    """The options of `tune` that concern images and weights. Their paths become absolute, because it runs elsewhere."""
    words = ["--weights", options.weights if options.weights in ("imagenet", "none") else absolute(options.weights)]
    if options.images:
        words += ["--images", absolute(options.images), "--image-size", str(options.image_size)]
        words += ["--image-fit", options.image_fit, "--base", options.base]
    return words


def absolute(path: str) -> str:
    """The path as any folder understands it."""
    return str(Path(path).expanduser().absolute())


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


def interval(accuracy: float, images: int) -> tuple[float, float]:
    """The 95 % interval of the accuracy on so many images."""
    return evaluation.accuracy_interval(np.arange(images) < round(accuracy * images))


def compare(experiments: str, data: Dataset, arrays: Path, options: SimpleNamespace) -> list[dict]:
    """Run all searches on the same images. Prints each result as soon as it is there."""
    rows = []
    for name in ("ours", *PEERS):
        if name == "ours":
            results = ours(experiments, options.minutes, options)
        else:
            results = [peer(name, arrays, options.minutes, data.test_labels)]
        for result in results:
            images = len(data.test_labels)
            low, high = interval(result["test_accuracy"], images)
            rows.append({"data": data.name, "labels": data.labels, **result, "low": low, "high": high, "n": images})
            print(rows[-1], flush=True)
    return rows


@click.command(help=__doc__.replace("\n\n", "\n\n\b\n"))  # \b: the paragraph keeps its line breaks
@click.option("--experiment", default=None, help=f"without --images  [default: {SHIPPED}]")
@click.option("--minutes", type=arguments.MINUTES, default="15", show_default=True, help="of each search")
@settings.options(*OPTIONS)
def read_options(**given: Any) -> SimpleNamespace:
    """Read the command line."""
    if given["images"] and given["experiment"]:
        raise UserError(f"experiment={given['experiment']} with images; accepted: one of them")
    return SimpleNamespace(**given)


def main() -> None:
    """Print each result as soon as it is there, and the table of all results at the end."""
    options = arguments.run(read_options, sys.argv[1:], "peers.py")
    for name in PEERS:
        python_of(name)
    images = own_images(options)
    found = find(OWN_IMAGES if images else options.experiment or SHIPPED, images=images, base=options.base)
    rows = []
    for experiment in found[:1] if images else found:
        (task,) = prepare([experiment], "real", options.data_dir, options.weights)
        with tempfile.TemporaryDirectory() as folder:
            arrays = Path(folder, "data.npz")
            save(task.data, task.train, task.validation, arrays)
            rows += compare(OWN_IMAGES if images else experiment.name, task.data, arrays, options)
    print(pd.DataFrame(rows).round(4).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
