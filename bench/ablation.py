"""Measure how much each component of the convolutional networks' recipe contributes: change one and train for as long.

    python bench/ablation.py --experiment cifar100-fine-cnn --minutes 2.5 --seeds 2          (2 hours on 2 cores)
    python bench/ablation.py --passes 8 --seeds 3 --changes "relu*" --values weight_decay=1e-2 --values label_smoothing=0.3

Every fit is a run in the comparison (MLflow's *experiment*) `ablation-NAME` of the store. Fits that are finished at
this commit are not repeated, so an interrupted benchmark continues. The table has a row for each change: the images seen,
the minutes taken, training and validation accuracy (means over the seeds), and the difference in validation accuracy to the
shipped best-known values with the same seed, in percentage points, as the mean over the seeds and for each seed. The seed
also decides the split and the initial weights. All fits are planned for the same minutes by the speed measured before them,
so a change that makes a step cheaper trains on more images. With `--passes`, all fits train on equally many images, on any
machine. The test images are not used.
"""

import argparse
import fnmatch
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from unittest.mock import patch

from mlproject import arguments, layers, process, tracking
from mlproject.discovery import find
from mlproject.experiment import hyperparameters
from mlproject.recipe import Recipe
from mlproject.search.space import replace_best_values
from mlproject.task import Task, prepare
from mlproject.training.fit import fit
from mlproject.training.schedule import plan_stages
from mlproject.training.throughput import measure_throughput

import keras
import pandas as pd
from searching import finished
from tqdm import tqdm

EXPERIMENTS = ("cifar100-fine-cnn", "cifar100-coarse-cnn", "fashion-mnist-cnn")  # those of `layers.residual_groups`
BEST_KNOWN = "best-known values"


@dataclass(frozen=True)
class Change:
    """A change to the best-known fit: hyperparameters, fields of the recipe, or parts of `mlproject.layers`."""

    values: Mapping[str, object] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    parts: Mapping[str, Callable | float] = field(default_factory=dict)

    def network(self, task: Task) -> tuple[keras.Model, Recipe]:
        """Build the changed network with fresh weights, and the changed recipe."""
        with ExitStack() as patches:
            # The experiment file imports names from `mlproject.layers`, so they are replaced in both modules.
            for namespace in (vars(layers), task.experiment.build.__globals__):
                replaced = {name: part for name, part in self.parts.items() if name in namespace}
                patches.enter_context(patch.dict(namespace, replaced))
            model, recipe = task.network({**task.experiment.best, **self.values})
        return model, replace(recipe, **self.recipe)


def learnt_stem(images, spec, name="whiten"):
    """The convolution of `layers.whitened`, but trained from random weights."""
    filters = 8 * spec.shape[-1]
    return keras.layers.Conv2D(filters, 2, use_bias=False, kernel_initializer="he_normal", name=name)(images)


def random_convolution(x, filters, size, name, padding):
    """`layers.convolution`, but with random initial weights in all filters."""
    options = {"padding": padding, "use_bias": False, "kernel_initializer": "he_normal"}
    return keras.layers.Conv2D(filters, size, name=name, **options)(x)


def pair_without_shortcut(x, middle, activation, name, sizes=(3, 3)):
    """`layers.residual_pair` without its shortcut."""
    inner = layers.conv_unit(x, middle, activation, f"{name}_a", sizes[0])
    return layers.conv_unit(inner, x.shape[-1], activation, f"{name}_b", sizes[1])


def mean_alone(x, name):
    """`layers.max_and_mean` without the maximum."""
    return keras.layers.GlobalAveragePooling2D(name=name)(x)


def changes(task: Task) -> dict[str, Change]:
    """The changes that differ from this experiment's best-known fit, by their names in the table."""
    best = task.experiment.best
    other = {"relu": "silu", "silu": "relu"}[best["activation"]]
    known = {
        "learnt stem instead of whitening": Change(parts={"whitened": learnt_stem}),
        "convolutions start at random": Change(parts={"convolution": random_convolution}),
        "pairs without shortcut": Change(parts={"residual_pair": pair_without_shortcut}),
        "only the mean in the head": Change(parts={"max_and_mean": mean_alone}),
        "class scores not scaled": Change(parts={"LOGIT_SCALE": 1.0}),
        # The usual rates (.2 is ResNet-18's at github.com/weiaicunzai/pytorch-cifar100, adjusted to the batch size),
        # and higher ones, because scaled class scores make gradients small.
        **{
            f"SGD at {rate}": Change({"learning_rate": rate, "weight_decay": 5e-4}, {"optimizer": "sgd"})
            for rate in (0.2, 1.0, 3.0)
        },
        **{
            f"AdamW at {rate}": Change({"learning_rate": rate, "weight_decay": 5e-2}, {"optimizer": "adamw"})
            for rate in (0.002, 0.006)
        },
        "full size throughout": Change(recipe={"progressive_resizing": ()}),
        f"{other} instead of {best['activation']}": Change({"activation": other}),
        "no label smoothing": Change({"label_smoothing": 0.0}),
        "half the rate": Change({"learning_rate": best["learning_rate"] / 2}),
        "twice the rate": Change({"learning_rate": best["learning_rate"] * 2}),
        "no warm-up": Change(recipe={"warmup": 0.0}),
        "no flipping": Change(recipe={"flip": False}),
        "no random translation": Change(recipe={"random_translation": 0}),
        "cutout of 8 pixels": Change({"erase": 8}),
        "width 48": Change({"width": 48}),
        "batches of 512": Change({"batch_size": 512}),
        "batches of 512, 1.4 times the rate": Change({"batch_size": 512, "learning_rate": 1.4 * best["learning_rate"]}),
    }
    now = best | vars(task.experiment.recipe(hyperparameters(best)))
    return {
        name: change
        for name, change in known.items()
        if change.parts or any(now[key] != value for key, value in (change.values | change.recipe).items())
    }


def planned_speeds(task: Task, change: Change, minutes: float, passes: float | None) -> dict[str, float]:
    """Images per second of each stage: as measured, or as many as make `passes` over the images in `minutes`."""
    model, recipe = change.network(task)
    if passes is None:
        fit_data = task.fit_data(task.train, None)
        return measure_throughput(model, recipe, fit_data, 60 * minutes).images_per_second
    return {stage.name: passes * len(task.train) / (60 * minutes) for stage in recipe.stages}


def fitted(task: Task, change: Change, speeds: Mapping[str, float], minutes: float) -> dict[str, float]:
    """Train for the given minutes, planned by these speeds (images per second of each stage); the metrics to log."""
    model, recipe = change.network(task)
    schedule = plan_stages(recipe, speeds, 60 * minutes, len(task.train))
    result = fit(model, recipe, schedule, task.fit_data(task.train, task.validation))
    last = result.history.iloc[-1]
    return {
        "val_accuracy": last["val_accuracy"],
        "accuracy": last["accuracy"],
        "images": sum(length.total_steps for length in schedule.values()) * recipe.batch_size,
        "seconds": result.history["seconds"].sum(),
    }


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """The table: a row for each change, the best one first."""
    accuracy = runs.pivot(index="params.change", columns="params.seed", values="metrics.val_accuracy")
    points = 100 * (accuracy - accuracy.loc[BEST_KNOWN])
    means = runs.groupby("params.change")[["metrics.images", "metrics.seconds", "metrics.accuracy"]].mean()
    columns = {
        "thousand images": means["metrics.images"] / 1000,
        "minutes": means["metrics.seconds"] / 60,
        "accuracy": means["metrics.accuracy"],
        "val_accuracy": accuracy.mean(axis="columns"),
        "points": points.mean(axis="columns"),
    }
    columns |= {f"seed {seed}": points[seed] for seed in points}
    decimals = dict.fromkeys(columns, 2) | {"thousand images": 0, "minutes": 1, "accuracy": 3, "val_accuracy": 4}
    return pd.DataFrame(columns).sort_values("points", ascending=False).rename_axis(None).round(decimals)


def main() -> None:
    """Train what has no finished run yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="cifar100-fine-cnn", choices=EXPERIMENTS)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=2.5, help="of each fit")
    length.add_argument("--passes", type=float, help="over the training images, instead of minutes")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--changes", default="*", help="only changes whose names match this glob, such as 'SGD*'")
    parser.add_argument(
        "--values", action="append", default=[], help="one more change: NAME=VALUE, or several with commas between"
    )
    parser.add_argument("--data", default="real")
    parser.add_argument("--data-dir", default=None)
    options = parser.parse_args()
    tracking.use_comparison(tracking.connect(), f"ablation-{options.experiment}")
    # The commit is read at the start, because later edits do not change the code that runs.
    made_by = {"passes": options.passes} if options.passes else {"minutes": options.minutes}
    made_by |= {"commit": tracking.git_commit(), "data": options.data}
    speeds = {}
    for seed in range(options.seeds):
        (task,) = prepare(find(options.experiment), options.data, options.data_dir, seed=seed)
        done, known = finished(made_by), changes(task)
        given = {one: Change(replace_best_values(task, arguments.names(one)).experiment.best) for one in options.values}
        chosen = {name: known[name] for name in fnmatch.filter(known, options.changes)} | given
        if not chosen:
            parser.error(f"argument --changes: {options.changes!r}; accepted: a glob that matches {', '.join(known)}")
        for name, change in tqdm({BEST_KNOWN: Change(), **chosen}.items(), desc=f"seed {seed}", unit="fit"):
            if len(done) and ((done["params.change"] == name) & (done["params.seed"] == str(seed))).any():
                continue
            if name not in speeds:
                speeds[name] = planned_speeds(task, change, options.minutes, options.passes)
            with tracking.run(f"{name}, seed {seed}", {"role": "ablation"}):
                tracking.log_params({"change": name, "seed": seed} | made_by)
                tracking.log_metrics(fitted(task, change, speeds[name], options.minutes))
    print(table(finished(made_by)).to_string())


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
