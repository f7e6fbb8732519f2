"""Invented registered models for the tests of the report: records as `tracking` returns them, artifacts in a folder."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mlproject import evaluation, plots, tracking

SUPERCLASSES = ("birds", "cars", "fish", "trees")
FINE = tuple(f"{superclass}-{letter}" for superclass in SUPERCLASSES for letter in "abc")
SUPERCLASS_OF = np.repeat(np.arange(4), 3)
LABELS = np.tile(np.arange(12), 100)
FLAT = ("coat", "bag", "shirt")
FLAT_LABELS = np.tile(np.arange(3), 400)


@dataclass(frozen=True)
class Model:
    """The part of a registered model that the report reads, with its artifacts in a folder."""

    name: str
    version: int
    alias: str
    run_id: str
    tags: dict
    params: dict
    metrics: dict
    root: Path
    url: str = ""
    version_url: str = ""
    trials_url: str = ""
    finals_url: str = ""
    other_seeds: tuple = ()
    created: int = 0

    def artifact(self, path):
        return self.root / path if (self.root / path).exists() else None


def guesses(labels, classes, sure, planted=None):
    """Probabilities of a classifier that prefers the true class by `sure`; half of each class in `planted` looks like another."""
    rng = np.random.default_rng(classes + int(100 * sure))
    logits = rng.gumbel(size=(len(labels), classes))
    seen = labels.copy()
    for one, other in (planted or {}).items():
        seen[np.flatnonzero(labels == one)[::2]] = other
    logits[np.arange(len(labels)), seen] += sure
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float16)


def register(root, name, tags, labels, probabilities, names, superclasses=None, stages=None, trials=3):
    """Write the artifacts of a final run with the project's own functions and return its record."""
    root = root / re.sub(r"\W", "", name)
    for folder in ("evaluation/stages", "plots", "search", "explain"):
        (root / folder).mkdir(parents=True)
    np.savez_compressed(root / "evaluation/predictions.npz", labels=labels, probabilities=probabilities)
    for stage, earlier in (stages or {}).items():
        np.savez_compressed(root / f"evaluation/stages/{stage}.npz", labels=labels, probabilities=earlier)
    table = evaluation.per_class(labels, probabilities.argmax(axis=1), names, superclasses)
    table.to_csv(root / "evaluation/per_class.csv", index=False)
    history = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "seconds": [30.0, 60.0]})
    history["stage"] = [*(stages or {}), "last", "last"][:2]
    history.to_csv(root / "evaluation/history.csv", index=False)
    # Each class has an axis of its own, and classes of one superclass are near each other.
    family = np.unique(superclasses, return_inverse=True)[1] if superclasses else np.arange(len(names))
    centroids = np.hstack([np.eye(len(names)), 3 * np.eye(len(names))[family]]).astype(np.float32)
    np.savez_compressed(root / "evaluation/features.npz", centroids=centroids)
    rows = np.arange(len(labels), dtype=np.int32)
    images = np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (len(rows), 4, 4, 1))
    np.savez_compressed(root / "evaluation/images.npz", rows=rows, images=images)
    plots.learning_curves(history).savefig(root / "plots/learning_curves.png", dpi=25)
    for plot in ("per_class", "confusion", "examples"):  # the report only copies them
        shutil.copy(root / "plots/learning_curves.png", root / f"plots/{plot}.png")
    search_table(trials).to_csv(root / "search/trials.csv", index=False)
    values = {"hyperparameter": ["width", "activation"], "best_known": [64, "relu"], "winner": [48, "silu"]}
    values |= {"searched": ["0..128 by 16", "relu|silu"], "sampling": ["linear", "choice"]}
    pd.DataFrame(values).to_csv(root / "search/values.csv", index=False)
    layers = {"layer": ["input", "dense"], "type": ["InputLayer", "Dense"], "output_shape": ["4 × 4 × 1", "3"]}
    layers |= {"parameters": [0, 51], "depends_on_colours": [True, False], "depends_on_classes": [False, True]}
    pd.DataFrame(layers | {"inputs": ["", "input"]}).to_csv(root / "explain/layers.csv", index=False)
    packages = {"keras": "3.15.1", "tensorflow": "2.21.0"}
    environment = {"python": "3.11.2", "platform": "Linux", "cpu": "Ryzen", "cpus": 2, "packages": packages}
    (root / "environment.json").write_text(json.dumps(environment))
    metrics = {"val_accuracy": 0.75, "search_seconds": 122.0, "train_seconds": 90.0, "parameters": 1234.0}
    metrics |= {"prediction_images_per_second": 500.0, "images_per_second": 100.0, "model_bytes": 2.5e6}
    tags = {"data": "real", "dataset.digest": "d-" + tags["test.digest"], "git.commit": "abc123", "seed": "7"} | tags
    metrics |= evaluation.summary(labels, probabilities)
    params = {
        "tuner": "bayesian",
        "budget_minutes": "5.0",
        "max_trials": "None",
        "values": "width=64",
        "seed": tags["seed"],
    }
    return Model(name, 3, "champion", f"run-of-{name}", {"experiment": name, **tags}, params, metrics, root)


def put_into_store(model, network, example, preparation=None):
    """Log the model's values and artifacts in the store, and register a network as its version; returns the version's alias."""
    with tracking.run("final", {"role": "final"}):
        tracking.log_params(model.params)
        tracking.log_metrics(model.metrics)
        tracking.log_folder(model.root, "")
        version = tracking.register(network, model.name, FLAT, example, model.tags, preparation)
    return tracking.promote(model.name, version)


def with_seeds(model, *probabilities, stage=None):
    """The model after its winner was also fitted with the seeds 8, 9, ..., which predicted these probabilities.

    If `stage` names an earlier stage of the fit, their networks predicted what the first seed's did after it.
    """
    with np.load(model.root / "evaluation/predictions.npz") as stored:
        labels, accuracies = stored["labels"], [model.metrics["test_accuracy"]]
    others = []
    for seed, one in enumerate(probabilities, start=int(model.tags["seed"]) + 1):
        root = model.root / f"seed-{seed}"
        (root / "evaluation").mkdir(parents=True)
        np.savez_compressed(root / "evaluation/predictions.npz", labels=labels[: len(one)], probabilities=one)
        shutil.copy(model.root / "evaluation/history.csv", root / "evaluation")
        if stage:
            (root / "evaluation/stages").mkdir()
            shutil.copy(model.root / f"evaluation/stages/{stage}.npz", root / "evaluation/stages")
        metrics, params = evaluation.summary(labels[: len(one)], one), model.params | {"fit_seed": str(seed)}
        others.append(replace(model, run_id=f"{model.run_id}-{seed}", params=params, metrics=metrics, root=root))
        accuracies.append(metrics["test_accuracy"])
    seeds = ",".join([model.tags["seed"], *(other.params["fit_seed"] for other in others)])
    tags = model.tags | {"seeds": seeds, "seed_runs": ",".join([model.run_id, *(other.run_id for other in others)])}
    spread = {"test_accuracy_mean": np.mean(accuracies), "test_accuracy_std": np.std(accuracies, ddof=1)}
    metrics = model.metrics | spread | {"seeds": len(accuracies)}
    return replace(model, tags=tags, metrics=metrics, other_seeds=tuple(others))


def search_table(trials):
    """A search whose second trial failed and whose last one won; the accuracy depends on the width alone."""
    rng = np.random.default_rng(0)
    width = np.r_[32, 64, rng.permutation(np.arange(3, trials)), 48 if trials == 3 else 99][:trials]
    table = pd.DataFrame({"trial": [f"trial-{i:02d}" for i in range(1, trials + 1)], "status": "completed"})
    table["val_accuracy"] = np.where(np.arange(trials) == trials - 1, 0.75, 0.4 + width / 1000)
    table["standard_error"], table["seconds"], table["reason"] = 0.02, 60.0, ""
    table["minutes"] = np.arange(1, trials + 1) * 1.0
    table["width"], table["activation"] = width, np.where(np.arange(trials) % 2, "relu", "silu")
    table.loc[1, ["status", "val_accuracy", "reason"]] = "failed", np.nan, "loss is nan"
    return table


def coarse_and_fine(root, suffix="", labels=LABELS, **tags):
    """A coarse and a fine model; half of birds-a looks like its sibling birds-b, half of fish-a like a tree."""
    tags = {"comparison": "coarse-vs-fine", "dataset": "tiny", "test.digest": "t1", **tags}
    coarse = guesses(SUPERCLASS_OF[labels], 4, 2.0)
    fine = guesses(labels, 12, 5.0, planted={0: 1, 6: 9})
    of = [SUPERCLASSES[index] for index in SUPERCLASS_OF]
    return [
        register(root, f"coarse{suffix}", tags | {"labels": "coarse"}, SUPERCLASS_OF[labels], coarse, SUPERCLASSES),
        register(root, f"fine{suffix}", tags | {"labels": "fine"}, labels, fine, FINE, of),
    ]


def three_flat(root):
    """Three models with the same labels, the best two about equally good; the last was trained in two stages."""
    flat = {"comparison": "small-vs-large", "dataset": "flat-set", "labels": "flat", "test.digest": "t2"}
    sure = {"small": 1.0, "middle": 3.0, "large": 3.01}
    predictions = {name: guesses(FLAT_LABELS, 3, each) for name, each in sure.items()}
    staged = {"large": {"feature-extraction": guesses(FLAT_LABELS, 3, 2.0)}}
    return [
        register(root, name, flat, FLAT_LABELS, probabilities, FLAT, stages=staged.get(name))
        for name, probabilities in predictions.items()
    ]
