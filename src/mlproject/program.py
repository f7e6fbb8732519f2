"""What an experiment's file does when it is run, as a program or as a notebook: train its models, show them, export them.

Every file trains with its best-known hyperparameters, for a number of minutes, on nine tenths of the training images; the last
tenth is watched while it does. `python experiments/NAME.py --help` lists the options; a notebook takes the same ones from the
environment variable MLPROJECT_ARGUMENTS.
"""

import io
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras_tuner import HyperParameters
from matplotlib.figure import Figure

from mlproject import arguments, datasets, evaluation, explain, export, plots, process
from mlproject.batches import PREDICTED_AT_ONCE
from mlproject.datasets import Dataset, Spec
from mlproject.errors import UserError, first_line
from mlproject.experiment import Experiment, select
from mlproject.recipe import Length, lengths
from mlproject.tasks import CACHE, Task, hyperparameters, prepare
from mlproject.training import fit, measure

ARGUMENTS = "MLPROJECT_ARGUMENTS"
MINUTES = 8.0  # about what the default budget of a search leaves to its final fit
# Of the minutes; the rest goes to tracing, to validation, and to speeds being measured within some 10 %.
TRAINING_SHARE = 0.85
PUBLISHED = Path("reports", "published", "tables")
FIGURE_DPI = 80


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and what it made of the test images.

    history: as in `training.Fit`. probabilities: float32 (n, classes), in the test images' order. title: the experiment's name,
    with a note when the data is synthetic. path: the exported file.
    """

    experiment: Experiment
    data: Dataset
    model: keras.Model
    history: pd.DataFrame
    probabilities: np.ndarray
    title: str
    path: Path

    @cached_property
    def predictions(self) -> np.ndarray:
        """The likeliest class of each test image: int64 (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each test image was classified correctly: bool (n,)."""
        return self.predictions == self.data.test_labels

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Precision, recall, F1 and support of each class, as from `evaluation.per_class`."""
        return evaluation.per_class(
            self.data.test_labels, self.predictions, self.data.class_names, self.data.superclasses
        )

    def score(self) -> dict[str, object]:
        """One row of a table of models: test accuracy with its 95 % interval, and what it cost."""
        low, high = evaluation.interval(self.correct)
        return (
            {"model": self.title}
            | evaluation.summary(self.data.test_labels, self.probabilities)
            | {"low": low, "high": high, "parameters": self.model.count_params(), "epochs": len(self.history)}
            | {"minutes": self.history["seconds"].sum() / 60}
        )

    def when_shifted(self, images: int = 2000) -> pd.DataFrame:
        """Accuracy on the first so many test images, moved to the right by 0, 2 and 4 pixels with black behind them."""
        some, labels = self.data.test_images[:images], self.data.test_labels[:images]
        rows = []
        for pixels in (0, 2, 4):
            moved = np.pad(some, ((0, 0), (0, 0), (pixels, 0), (0, 0)))[:, :, : some.shape[2]]
            predictions = self.model.predict(moved, batch_size=PREDICTED_AT_ONCE, verbose=0).argmax(axis=1)
            rows.append({"model": self.title, "shift in pixels": pixels, "accuracy": np.mean(predictions == labels)})
        return pd.DataFrame(rows)

    def learning_curves(self) -> Figure:
        """Accuracy and loss by epoch, on training and validation images."""
        return plots.learning_curves(self.history, self.title)

    def per_class_bars(self) -> Figure:
        """Precision, recall and F1 of each class."""
        return plots.per_class_bars(self.per_class, self.title)

    def confusion_matrix(self) -> Figure:
        """Which classes are taken for which."""
        data = self.data
        return plots.confusion_matrix(
            data.test_labels, self.predictions, data.class_names, data.superclasses, self.title
        )

    def examples(self) -> Figure:
        """The surest hits and the surest mistakes."""
        data = self.data
        return plots.examples(data.test_images, data.test_labels, self.probabilities, data.class_names, self.title)


class Program:
    """One run of an experiment's file: its options, and the steps that its cells take one after the other."""

    def __init__(self, minutes: float = MINUTES):
        """Read the options; `minutes` is the default of `--minutes`. Raises UserError for those that are not accepted."""
        self.notebook = in_notebook()
        self.root = _root()
        if self.notebook:
            self.name, given = "notebook", shlex.split(os.environ.get(ARGUMENTS, ""))
        else:
            self.name, given = Path(sys.argv[0]).stem, sys.argv[1:]
            sys.excepthook = process.say_in_one_line
            process.stop_on_signals()
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        # tqdm's warning, of a library that draws its bars in notebooks.
        warnings.filterwarnings("ignore", "IProgress not found")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing, which every new network needs
        self.options = _parser(minutes).parse_args(given)
        self.output = self.root / self.options.output
        self.speeds: dict[tuple, dict[str, float]] = {}  # by `Task.network_key`
        export.check(self.options.format, self.output)

    def load(self, dataset: str, labels: str) -> Dataset:
        """A data set by name and label granularity, real or synthetic as asked for."""
        return datasets.load(dataset, labels, self.options.data, self.options.data_dir)

    def show(self, content: Figure | pd.DataFrame, name: str) -> None:
        """Show a figure or a table. In a notebook it stands below the cell; a program prints tables and saves figures as PNG."""
        with pd.option_context("display.float_format", "{:.4g}".format):
            if self.notebook:
                _display(content, name)
            elif isinstance(content, Figure):
                path = self.output / f"{self.name}-{name}.png"
                content.savefig(path, dpi=FIGURE_DPI, bbox_inches="tight")
                print(f"{name}: {os.path.relpath(path)}", flush=True)
            else:
                print(f"{name}:\n{content.to_string(index=False)}", flush=True)

    def best(self, experiment: Experiment) -> HyperParameters:
        """The values best known for the minutes asked for, as `build` and `recipe` take them."""
        return hyperparameters(experiment.within(self.options.minutes).best)

    def layers(self, experiment: Experiment, spec: Spec) -> pd.DataFrame:
        """The layers of the network with the values of `best`, as from the function `layers`."""
        return layers(experiment.within(self.options.minutes), spec)

    def published(self, table: str) -> pd.DataFrame:
        """A table of the published study, `reports/published/tables/<table>.csv`; where it is missing, one that says so."""
        path = self.root / PUBLISHED / f"{table}.csv"
        return (
            pd.read_csv(path) if path.exists() else pd.DataFrame({"not published here": [f"{PUBLISHED}/{table}.csv"]})
        )

    def trials(self, experiment: Experiment) -> pd.DataFrame:
        """The trials of the published study's search for this experiment, best first."""
        table = self.published(f"{experiment.name}.trials")
        if "val_accuracy" not in table:
            return table
        shown = ["trial", "val_accuracy", *(name for name in ("refitted", *experiment.best) if name in table)]
        return table.sort_values("val_accuracy", ascending=False)[shown].fillna({"refitted": ""})

    def chosen(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """Those of the file's experiments that `--experiment` asks for. Raises UserError if there is none."""
        return select(self.options.experiment, {one.name: one for one in experiments})

    def train(self, experiment: Experiment) -> Trained:
        """Train, predict the test images once, export the model and say how it is loaded.

        Raises UserError for data or weights that cannot be used, `training.DivergedError` when the loss stops being finite.
        """
        options = self.options
        experiment = experiment.within(options.minutes)
        (task,) = prepare(
            [experiment], options.data, options.data_dir, options.weights, options.seed, self.root / CACHE
        )
        print(f"{experiment.name}: {experiment.question}", flush=True)
        model, history = self._fit(task)
        probabilities = model.predict(task.data.test_images, batch_size=PREDICTED_AT_ONCE, verbose=0)
        path = export.write(
            model, task.data.class_names, task.data.test_images, self.output, task.model_name, options.format
        )
        trained = Trained(experiment, task.data, model, history, probabilities, task.title, path)
        low, high = evaluation.interval(trained.correct)
        print(f"  test accuracy {trained.correct.mean():.4f} [{low:.4f}, {high:.4f}]")
        shown = Path(os.path.relpath(path))
        print(f"  exported, loaded in a fresh process, and the same: {shown}")
        print(f"  load it with: {export.loading(shown, options.format)}", flush=True)
        return trained

    def _fit(self, task: Task) -> tuple[keras.Model, pd.DataFrame]:
        """The best-known network, trained in a plan that fills the minutes; its history."""
        best = task.experiment.best
        seconds = 60 * self.options.minutes
        if task.network_key not in self.speeds:
            measured = measure(*task.network(best), task.data, task.train, task.features, seconds)
            self.speeds[task.network_key] = measured
        model, recipe = task.network(best)
        plan = lengths(recipe, self.speeds[task.network_key], TRAINING_SHARE * seconds, len(task.train))
        print(f"  {', '.join(_planned(stage, length) for stage, length in plan.items())}", flush=True)
        epochs = sum(length.epochs for length in plan.values())

        def say(epoch: int, row: dict) -> None:
            if epoch == epochs or epoch % max(1, epochs // 10) == 0:
                print(f"  epoch {epoch} of {epochs}: validation accuracy {row['val_accuracy']:.4f}", flush=True)

        result = fit(
            model,
            recipe,
            plan,
            task.data,
            task.train,
            task.validation,
            features=task.features,
            seed=task.seed,
            on_epoch=say,
            deadline=time.monotonic() + seconds,
        )
        if result.truncated:
            print("  the minutes ended before the planned epochs: the rate had not come down to 0 yet", flush=True)
        return model, result.history


def main(experiments: Sequence[Experiment]) -> list[Trained]:
    """All steps in one call, for a file that explains nothing in between: train, show, export what `--experiment` asks for."""
    program = Program()
    done = [program.train(experiment) for experiment in program.chosen(experiments)]
    for trained in done:
        program.show(trained.learning_curves(), f"{trained.experiment.name}-curves")
        program.show(trained.confusion_matrix(), f"{trained.experiment.name}-confusion")
    program.show(pd.DataFrame([trained.score() for trained in done]), "scores")
    return done


def layers(experiment: Experiment, spec: Spec) -> pd.DataFrame:
    """The best-known network's layers, as `explain.layer_table` finds them, for people to read.

    Before `output_shape` comes `input_shape`, with a shape for each layer before; what is true of a layer is marked "yes".
    """
    best = hyperparameters(experiment.best)
    try:
        table = explain.layer_table(lambda spec: experiment.build(best, spec), spec)
    except Exception as error:  # whatever `build` raises
        raise UserError(
            f"experiment={experiment.name!r}: its layers are not explained: {first_line(error)}; accepted: a build for grey and "
            "coloured images and for any number of classes"
        ) from error
    shape_of = dict(zip(table["layer"], table["output_shape"], strict=True))
    # A model within the model is no layer of the table.
    before = [", ".join(shape_of[name] for name in names.split() if name in shape_of) for names in table["inputs"]]
    table.insert(table.columns.get_loc("output_shape"), "input_shape", before)
    marks = {column: table[column].map({True: "yes", False: ""}) for column in table if table[column].dtype == bool}
    return table.assign(**marks)


def facts(data: Dataset) -> pd.DataFrame:
    """What there is to know of a data set before any training, counted: columns `what` and `value` (text)."""
    images, per_class = data.train_images, np.bincount(data.train_labels)
    mean, deviation = data.spec().mean, data.spec().std
    rows = {
        "read from": Path(data.source).name,
        "training images": f"{len(images):,}",
        "test images": f"{len(data.test_images):,}",
        "shape of an image": " × ".join(map(str, images.shape[1:])),
        "numbers in an image": f"{images[0].size:,}",
        "a pixel": f"{images.dtype}, {images.min()} to {images.max()}",
        "mean of the training pixels, by colour": ", ".join(f"{value:.1f}" for value in mean),
        "their standard deviation": ", ".join(f"{value:.1f}" for value in deviation),
        "classes": f"{len(data.class_names)}",
        "training images of each class": " to ".join(
            f"{count:,}" for count in sorted({per_class.min(), per_class.max()})
        ),
        "right by always naming one class": f"{np.bincount(data.test_labels).max() / len(data.test_labels):.1%}",
    }
    return pd.DataFrame({"what": rows.keys(), "value": rows.values()})


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, or another of IPython's shells."""
    ipython = sys.modules.get("IPython")  # imported by then, if it is at work here
    return ipython is not None and ipython.get_ipython() is not None


def _root() -> Path:
    """The project's folder: this one or the nearest above it that holds the file MLproject; this one when none does."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "MLproject").is_file()), here)


def _parser(minutes: float) -> arguments.OneLineParser:
    parser = arguments.OneLineParser(
        description="Train with the best-known hyperparameters, show what came out, export the model.",
    )
    parser.add_argument(
        "--experiment", default="*", help="name, comma-separated names or glob (default: all of this file)"
    )
    parser.add_argument(
        "--minutes",
        type=arguments.minutes,
        default=minutes,
        help=f"to train each model (default: {minutes:g}); activations of frozen layers, computed once, come on top",
    )
    parser.add_argument(
        "--format", choices=export.FORMATS, default="keras", help="of the exported model (default: keras)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("exports"), help="folder for models and plots (default: exports)"
    )
    arguments.add_training(parser)
    return parser


def _planned(stage: str, length: Length) -> str:
    return f"{stage} {length.epochs} epochs of {length.steps} batches"


def _display(content: Figure | pd.DataFrame, name: str) -> None:
    from IPython.display import Image, display

    if isinstance(content, Figure):
        png = io.BytesIO()
        content.savefig(png, format="png", dpi=FIGURE_DPI, bbox_inches="tight")
        display(Image(png.getvalue(), alt=name))
    else:
        both = {"text/html": content.to_html(index=False, border=0), "text/plain": content.to_string(index=False)}
        display(both, raw=True)
