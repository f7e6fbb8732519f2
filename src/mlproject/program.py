"""What an experiment's file does when it is run, as a program or as a notebook: train its models, show and export them.

Every file trains with its best-known hyperparameters, for a number of minutes, on nine tenths of the training images. The last
tenth is the validation set. `python experiments/NAME.py --help` lists the options; a notebook takes the same options from the
environment variable MLPROJECT_ARGUMENTS.
"""

import io
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import keras
import pandas as pd
from keras_tuner import HyperParameters
from matplotlib.figure import Figure

from mlproject import arguments, budget, console, disk, evaluation, export, process, settings
from mlproject.datasets import Dataset, Loader, Spec
from mlproject.discovery import select
from mlproject.experiment import SYNTHETIC, Experiment, hyperparameters
from mlproject.facts import facts, layers
from mlproject.networks.contract import check_network, check_probabilities
from mlproject.task import CACHE, Task, prepare
from mlproject.trained import Trained
from mlproject.training import device
from mlproject.training.fit import fit
from mlproject.training.monitor import FitHooks
from mlproject.training.prediction import predict
from mlproject.training.schedule import describe_schedule, plan_stages
from mlproject.training.throughput import measure_throughput

__all__ = ["ExperimentScript", "Trained", "facts", "in_notebook", "layers", "main"]

ARGUMENTS = "MLPROJECT_ARGUMENTS"
MINUTES = 8.0  # about what the default budget leaves to the final fit
PUBLISHED = Path("reports", "published", "tables")
FIGURE_DPI = 80


class ExperimentScript:
    """One run of an experiment's file: its options, and the steps that its cells take one after the other.

    Args:
        minutes: the default of `--minutes`.

    Raises:
        UserError: for options that are not accepted.
    """

    def __init__(self, minutes: float = MINUTES):
        self.notebook = in_notebook()
        self.root = _project_folder()
        if self.notebook:
            self.name, words = "notebook", shlex.split(os.environ.get(ARGUMENTS, ""))
        else:
            self.name, words = Path(sys.argv[0]).stem, sys.argv[1:]
            sys.excepthook = process.report_in_one_line
            process.stop_on_signals()
        console.show_messages()
        # tqdm asks for a library that draws its bars in notebooks.
        warnings.filterwarnings("ignore", "IProgress not found")
        self.options = arguments.run(_command(minutes), words, self.name)
        self.images = settings.own_images(**{name: getattr(self.options, name) for name in settings.IMAGE_OPTIONS})
        self.output = self.root / self.options.output
        # Images per second of each stage, by `Task.network_key`.
        self.speeds: dict[tuple[object, ...], dict[str, float]] = {}
        export.check(self.options.format, self.output)
        device.configure(self.options.precision)

    def load(self, dataset: Loader, labels: str) -> Dataset:
        """Load a data set at one granularity of its labels, real or synthetic as the options say."""
        return dataset.load(labels, self.options.data, self.options.data_dir)

    def show(self, content: Figure | pd.DataFrame, name: str) -> None:
        """Show a figure or a table: below the cell in a notebook; a program prints tables and saves figures as PNG."""
        with pd.option_context("display.float_format", "{:.4g}".format):
            if self.notebook:
                _display(content, name)
            elif isinstance(content, Figure):
                suffix = SYNTHETIC if self.options.data == "synthetic" else ""
                path = self.output / f"{self.name}{suffix}-{name}.png"
                with disk.atomic_write(path) as part:
                    content.savefig(part, format="png", dpi=FIGURE_DPI, bbox_inches="tight")
                print(f"{name}: {os.path.relpath(path)}", flush=True)
            else:
                print(f"{name}:\n{content.to_string(index=False)}", flush=True)

    def best(self, experiment: Experiment) -> HyperParameters:
        """The values that are best known for the minutes asked for, as `build` and `recipe` take them."""
        return hyperparameters(experiment.for_budget(self.options.minutes).best)

    def layers(self, experiment: Experiment, spec: Spec) -> pd.DataFrame:
        """The layers of the network with the values of `best`, as from `facts.layers`."""
        return layers(experiment.for_budget(self.options.minutes), spec)

    def published(self, table: str) -> pd.DataFrame:
        """A table of the published study, `reports/published/tables/<table>.csv`; where it is missing, one that says so.

        Below a run on synthetic data, figures of the real data would mislead, so they are not shown there.
        """
        if self.options.data == "synthetic":
            return pd.DataFrame({"not shown": ["the published study used the real data, and this run did not"]})
        path = self.root / PUBLISHED / f"{table}.csv"
        if path.exists():
            return pd.read_csv(path)
        return pd.DataFrame({"not published here": [f"{PUBLISHED}/{table}.csv"]})

    def trials(self, experiment: Experiment) -> pd.DataFrame:
        """The trials of the published study's search for this experiment, the most accurate first."""
        table = self.published(f"{experiment.name}.trials")
        if "val_accuracy" not in table:
            return table
        columns = ["trial", "val_accuracy", *(name for name in ("refitted", *experiment.best) if name in table)]
        return table.sort_values("val_accuracy", ascending=False)[columns].fillna({"refitted": ""})

    def chosen(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The experiments of the file that `--experiment` asks for; raises UserError when there is none.

        By default these are all, or all that fit the images of `--images`.
        """
        is_default = self.options.experiment.strip() == "*"
        known = {
            experiment.name: experiment
            for experiment in experiments
            if not (is_default and self.images) or experiment.fits(self.images)
        }
        return select(self.options.experiment, known)

    def train(self, experiment: Experiment) -> Trained:
        """Train, predict the test images once, export the model and say how to load it.

        Args:
            experiment: what to train.

        Returns:
            The trained model with its predictions.

        Raises:
            UserError: for data or weights that cannot be used.
            DivergedError: when the loss stops being finite.
        """
        options = self.options
        experiment = experiment.with_images(self.images, options.base) if self.images else experiment
        experiment = experiment.for_budget(options.minutes)
        (task,) = prepare(
            [experiment], options.data, options.data_dir, options.weights, options.seed, self.root / CACHE
        )
        print(f"{experiment.name}: {experiment.question}\n  trains on: {device.describe()}", flush=True)
        model, history = self._fit(task)
        images, names = task.data.test_images, task.data.class_names
        probabilities = predict(model, images)
        path = export.write(model, names, images, self.output, task.model_name, options.format, task.data.preparation)
        trained = Trained(experiment, task.data, model, history, probabilities, task.title, path)
        low, high = evaluation.accuracy_interval(trained.correct)
        print(f"  test accuracy {trained.correct.mean():.4f} [{low:.4f}, {high:.4f}]")
        shown_path = Path(os.path.relpath(path))
        print(f"  exported: {shown_path}; a fresh process has loaded it and predicted the same")
        print(f"  load it with: {export.loading_code(shown_path, options.format)}", flush=True)
        return trained

    def _fit(self, task: Task) -> tuple[keras.Model, pd.DataFrame]:
        """Train the best-known network for the minutes asked for; gives it with its history."""
        best, seconds = task.experiment.best, 60 * self.options.minutes
        fit_data = task.fit_data(task.train, task.validation)
        if task.network_key not in self.speeds:
            throughput = measure_throughput(*task.network(best), fit_data, seconds)
            self.speeds[task.network_key] = throughput.images_per_second
        model, recipe = task.network(best)
        check_network(model, task.spec)
        check_probabilities(predict(model, task.data.train_images[:8]))
        training_seconds = budget.SCRIPT_TRAINING_SHARE * seconds
        schedule = plan_stages(recipe, self.speeds[task.network_key], training_seconds, len(task.train))
        print(f"  {describe_schedule(schedule, recipe.batch_size, len(task.train))}", flush=True)
        epochs = sum(length.epochs for length in schedule.values())

        def print_epoch(epoch: int, row: dict[str, Any]) -> None:
            if epoch == epochs or epoch % max(1, epochs // 10) == 0:
                print(f"  epoch {epoch} of {epochs}: validation accuracy {row['val_accuracy']:.4f}", flush=True)

        hooks = FitHooks(on_epoch=print_epoch, deadline=time.monotonic() + seconds)
        result = fit(model, recipe, schedule, fit_data, hooks)
        if result.truncated:
            print(
                "  the minutes ended before the planned epochs, so the learning rate did not come down to 0", flush=True
            )
        return model, result.history


def main(experiments: Sequence[Experiment]) -> list[Trained]:
    """Train, show and export in one call, for a file that explains nothing in between.

    Args:
        experiments: the file's experiments; `--experiment` chooses among them.

    Returns:
        The trained models.
    """
    script = ExperimentScript()
    trained_models = [script.train(experiment) for experiment in script.chosen(experiments)]
    for trained in trained_models:
        script.show(trained.learning_curves(), f"{trained.experiment.name}-curves")
        script.show(trained.confusion_matrix(), f"{trained.experiment.name}-confusion")
    script.show(pd.DataFrame([trained.score() for trained in trained_models]), "scores")
    return trained_models


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel, or another shell of IPython."""
    ipython: Any = sys.modules.get("IPython")  # imported by now, if it is at work here
    return ipython is not None and ipython.get_ipython() is not None


def _project_folder() -> Path:
    """This folder or the nearest above it that holds the file MLproject; this one when none does."""
    start = Path.cwd()
    return next(
        (folder for folder in (start, *start.parents) if (folder / "MLproject").is_file()),
        start,
    )


def _command(minutes: float) -> click.Command:
    """The command line of an experiment's file, whose "command" only returns the options."""

    @click.command(help="Train with the best-known hyperparameters, show the results, export the model.")
    @click.option(
        "--experiment",
        default="*",
        show_default=True,
        metavar="NAME,...",
        help="names or globs of this file's experiments",
    )
    @click.option(
        "--minutes",
        type=arguments.MINUTES,
        default=f"{minutes:g}",
        show_default=True,
        help="to train each model, besides the time for the activations of frozen layers",
    )
    @click.option(
        "--format",
        type=click.Choice(list(export.FORMATS)),
        default="keras",
        show_default=True,
        help="of exported models",
    )
    @click.option("--output", type=arguments.FOLDER, default="exports", show_default=True, help="for models and plots")
    @settings.options(*settings.TRAINING_OPTIONS)
    def options(**values: Any) -> SimpleNamespace:
        return SimpleNamespace(**values)

    return options


def _display(content: Figure | pd.DataFrame, name: str) -> None:
    from IPython.display import Image, display

    if isinstance(content, Figure):
        png = io.BytesIO()
        content.savefig(png, format="png", dpi=FIGURE_DPI, bbox_inches="tight")
        display(Image(png.getvalue(), alt=name))
    else:
        representations = {
            "text/html": content.to_html(index=False, border=0),
            "text/plain": content.to_string(index=False),
        }
        display(representations, raw=True)
