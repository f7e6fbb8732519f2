"""Compare the test accuracy after the same minutes when no best-known values exist: our search, no search, other tools.

    python bench/searches.py --cold --minutes 15          (real data, 2 cores; takes 42 times the minutes, 11 hours)
    python bench/searches.py --cold --images PATH          (the experiment `cnn` on your own images; 5 hours)
    python bench/searches.py --cold --tools optuna,no-search --seeds 0          (some of the rows)

Instead of the shipped best-known values, each hyperparameter has its declared default, or else the middle of its range (see
`mid_range`). The tools are

- `bayesian`, `hyperband`, `random`: a whole `tune` with this tuner, which begins with the mid-range values;
- `no-search`: all of the minutes for one fit of the mid-range values on all training images;
- `optuna`: Optuna's TPE with its MedianPruner in the same search space, from the same first trial, with trials and a final
  fit that are planned as in `tune` (bench/peers/our_space.py);
- `keras-tuner`, `autokeras`: Keras Tuner with its tutorial's search space, and AutoKeras, as in bench/peers.py. They have
  search spaces of their own.

The seed decides the split into training and validation images, the proposed values and the initial weights; all tools get
the same split. The test images are predicted once, after the minutes, and choose nothing. `low` and `high` are the 95 %
interval of the accuracy (Wilson), without the variation between seeds. `minutes` are those of the whole program, with its
start and the loading of the data. The last table has the mean over the seeds, the lowest and the highest value.

A finished row is a run in the comparison (MLflow's *experiment*) `cold-NAME` of the store, and is not measured again, whatever
changed in the code since: delete the run to measure it again. So the benchmark can be interrupted, and run in pieces. A row
that was interrupted begins anew. A row that fails is reported, and the others go on.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlproject import arguments, process, settings, tracking
from mlproject.discovery import find
from mlproject.errors import truncate
from mlproject.experiment import Value
from mlproject.search.oracles import TUNERS
from mlproject.search.space import declared_space
from mlproject.task import Task, prepare

import click
import pandas as pd
from keras_tuner.engine.hyperparameters import Boolean
from peers import ENVIRONMENTS, OPTIONS, SHIPPED, interval, own_images, passed_on, peer, python_of, save
from searching import PROJECT, finished, runs_of, tune

OUR_SPACE = PROJECT / "bench" / "peers" / "our_space.py"
OPTUNA = ["optuna==5.0.0", "colorlog==6.12.0"]  # its other requirements are among the project's own
OWN_SPACES = {"keras-tuner": "tutorial", "autokeras": "autokeras_classifier"}
TOOLS = (*TUNERS, "no-search", "optuna", *OWN_SPACES)
METRICS = ("test_accuracy", "low", "high", "balanced_accuracy", "trials", "minutes")


def mid_range(task: Task) -> dict[str, Value]:
    """What somebody starts with who knows nothing: the declared default, or else the middle of the range by its sampling.

    Args:
        task: its experiment declares the hyperparameters.

    Returns:
        A value for each hyperparameter. Without a default, it is the geometric mean of a range with logarithmic sampling and the
        arithmetic mean of another range, moved to the nearest step, and the middle one of choices. Of two middle ones it is the
        first or lower one. A boolean has the default False. Keras Tuner does not tell a default that is the lowest value or
        the first choice from none.
    """
    return {name: _middle(one) for name, one in declared_space(task, task.experiment.best).items()}


def _middle(declared) -> Value:
    """The default of one of Keras Tuner's hyperparameters, or else the middle of its range."""
    numeric = hasattr(declared, "min_value")
    first = declared.min_value if numeric else declared.values[0]
    if declared.default != first or isinstance(declared, Boolean):
        return declared.default
    if not numeric:
        return declared.values[(len(declared.values) - 1) // 2]
    low, high, step = declared.min_value, declared.max_value, declared.step
    if declared.sampling == "log":
        middle = math.sqrt(low * high)
        if step:
            middle = low * step ** _nearest(math.log(middle / low, step))
    else:
        middle = (low + high) / 2
        if step:
            middle = low + step * _nearest((middle - low) / step)
    return int(middle) if isinstance(low, int) else float(f"{middle:.6g}")  # 0.15 rather than 0.15000000000000002


def _nearest(steps: float) -> int:
    """The nearest whole number, and the lower one of two."""
    return math.ceil(round(steps, 6) - 0.5)


def measured(tool: str, task: Task, values: str, options: SimpleNamespace) -> tuple[dict, pd.DataFrame]:
    """Run one tool.

    Returns:
        Its result, and a table of its trials with their values, which is empty for tools with a search space of their own.
    """
    with tempfile.TemporaryDirectory() as folder:
        if tool in OWN_SPACES:
            arrays = Path(folder, "data.npz")
            save(task.data, task.train, task.validation, arrays)
            python_of(OWN_SPACES[tool])  # installs it before the clock starts
            began = time.monotonic()
            result = peer(OWN_SPACES[tool], arrays, options.minutes, task.data.test_labels, task.seed)
            trials = pd.DataFrame()
        else:
            call = in_our_space(tool, task, values, Path(folder), options)
            began = time.monotonic()
            subprocess.run(**call, check=True)
            result, trials = read(runs_of(call), list(task.experiment.best))
    low, high = interval(result["test_accuracy"], len(task.data.test_labels))
    return result | {"low": low, "high": high, "minutes": (time.monotonic() - began) / 60}, trials


def in_our_space(tool: str, task: Task, values: str, folder: Path, options: SimpleNamespace) -> dict:
    """The arguments of `subprocess` that run `tune`, or bench/peers/our_space.py, with the given values in an empty folder."""
    images = own_images(options)
    name = task.experiment.name.removeprefix(f"{images.name}-" if images else "")
    given = ["--budget-minutes", str(options.minutes), "--seed", str(task.seed), "--values", values]
    given += ["--data", options.data, *passed_on(options)]
    if tool in TUNERS:
        return tune(name, folder, *given, "--tuner", tool, data_dir=options.data_dir)
    call = tune(name, folder, *given, data_dir=options.data_dir, program=(OUR_SPACE, tool))
    if tool == "optuna":
        paths = [str(optuna_folder()), *filter(None, [os.environ.get("PYTHONPATH")])]
        call["env"] |= {"PYTHONPATH": os.pathsep.join(paths)}
    return call


def read(runs: pd.DataFrame, names: Sequence[str]) -> tuple[dict, pd.DataFrame]:
    """The result in the runs of one `tune` or of bench/peers/our_space.py, and its trials with the values of these names."""
    (final,) = (run for _, run in runs[runs["tags.role"] == "final"].iterrows())
    shown = ["tags.mlflow.runName", "tags.status", "metrics.val_accuracy", *(f"params.{name}" for name in names)]
    trials = runs[runs["tags.role"] == "trial"].sort_values("start_time").reindex(columns=shown)
    trials.columns = ["trial", "status", "val_accuracy", *names]
    result = {
        "test_accuracy": final["metrics.test_accuracy"],
        "balanced_accuracy": final["metrics.test_balanced_accuracy"],
        "trials": len(trials),
        "refitted": ",".join(f"{name}={final[f'params.{name}']}" for name in names),
    }
    return result, trials


def optuna_folder() -> Path:
    """The folder with Optuna, which is installed there if it is missing: it is no requirement of the project."""
    folder = ENVIRONMENTS / "optuna"
    installed = folder / "installed"
    if not installed.exists():
        print(f"installing {' '.join(OPTUNA)}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", folder]
        subprocess.run([*pip, *OPTUNA], check=True)
        installed.touch()
    return folder


def logged(tool: str, task: Task, options: SimpleNamespace) -> dict:
    """One row, logged as a run when it is finished, or read from a run that was logged earlier."""
    values = ",".join(f"{name}={value}" for name, value in mid_range(task).items())
    made_by = {"tool": tool, "seed": task.seed, "minutes": options.minutes, "images": task.data.digest}
    made_by |= {} if tool in OWN_SPACES else {"mid_range": values}
    if not len(runs := finished(made_by)):
        result, trials = measured(tool, task, values, options)
        with tracking.run(f"{tool}, seed {task.seed}", {"role": "cold"}):
            tracking.log_params(made_by | ({} if tool in OWN_SPACES else {"refitted": result.pop("refitted")}))
            tracking.log_metrics({name: float(result[name]) for name in METRICS})
            tracking.log_table(trials, "trials.csv")
        runs = finished(made_by)
    return {"tool": tool, "seed": task.seed} | {name: float(runs[f"metrics.{name}"].iloc[0]) for name in METRICS}


def compare(prepared: Task, options: SimpleNamespace) -> None:
    """Print each row of one experiment as soon as it is there, then all rows, and their means over the seeds."""
    tracking.use_comparison(tracking.connect(), f"cold-{prepared.experiment.name}")
    rows = []
    for seed in map(int, arguments.names(options.seeds)):
        train, validation = prepared.data.split(seed)
        task = replace(prepared, seed=seed, train=train, validation=validation)
        for tool in options.tools:
            try:
                rows.append(logged(tool, task, options))
            except (SystemExit, subprocess.CalledProcessError) as error:  # the program of this row failed
                print(f"{tool}, seed {seed} FAILED: {error}", flush=True)
            else:
                print(rows[-1], flush=True)
    if rows:
        table = pd.DataFrame(rows).astype({"trials": int})
        print(f"{prepared.experiment.name}, {options.minutes:g} minutes, {len(prepared.data.test_images)} test images")
        print(table.round(4).to_string(index=False))
        means = table.groupby("tool", sort=False)[["test_accuracy", "balanced_accuracy", "trials", "minutes"]]
        print(means.agg(["mean", "min", "max"]).round(4).to_string())


def tools(text: str) -> tuple[str, ...]:
    """Parse the names of tools."""
    names = arguments.names(text)
    if unknown := [name for name in names if name not in TOOLS]:
        raise ValueError(f"'{truncate(unknown[0])}'; accepted: {', '.join(TOOLS)}")
    return names


@click.command(help=__doc__.replace("\n\n", "\n\n\b\n"))  # \b: the paragraph keeps its line breaks
@click.option("--experiment", help=f"names separated by commas  [default: {SHIPPED}; with --images: cnn]")
@click.option("--tools", type=arguments.Parsed(tools, "NAME,..."), default=",".join(TOOLS), show_default=True)
@click.option("--minutes", type=arguments.MINUTES, default="15", show_default=True, help="of each row")
@click.option("--seeds", default="0,1,2", show_default=True, help="numbers separated by commas")
@settings.options("data", *OPTIONS)
def read_options(**given: Any) -> SimpleNamespace:
    """Read the command line."""
    return SimpleNamespace(**given)


def main(given: Sequence[str]) -> None:
    """Compare the tools on one experiment after another."""
    options = arguments.run(read_options, given, "searches.py --cold")
    images = own_images(options)
    for experiment in find(options.experiment or ("cnn" if images else SHIPPED), images=images, base=options.base):
        (prepared,) = prepare([experiment], options.data, options.data_dir, options.weights)
        compare(prepared, options)


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main(sys.argv[1:])
