"""`mlproject list` and `mlproject export`, which show and use registered models."""

import sys
import textwrap
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlproject import arguments, console, location
from mlproject.commands.shared import choose_names, examples, open_store, print_table, verbose
from mlproject.errors import UserError

if TYPE_CHECKING:
    from mlproject.experiment import Experiment
    from mlproject.tracking import FinalModel


@click.command(
    "list",
    epilog=examples("mlproject list", "mlproject list --all"),
)
@click.option("--all", "include_all", is_flag=True, help="also models that are neither champion nor challenger")
@verbose
def list_(include_all: bool) -> None:
    """List experiments and registered models.

    Models are shown with their accuracy on the test images and its 95 % interval. With several seeds, the accuracy is the mean
    over them.
    """
    missing_store = location.why_missing()
    if not missing_store:
        open_store()
    with console.without_remarks():
        from mlproject.discovery import find_all

    experiments = find_all()
    print("experiments")
    print_table(["", "asks"], [_experiment_row(experiment) for experiment in experiments])
    print("\nregistered models")
    if missing_store:
        print(f"  none: {missing_store}")
    else:
        _print_models(include_all)


def _experiment_row(experiment: "Experiment") -> list[str]:
    question = textwrap.shorten(experiment.question, 90)
    return [experiment.name, f"{question} (needs --images PATH)" if experiment.dataset is None else question]


def _print_models(include_all: bool) -> None:
    """A row for each model, and how to load one: of real data if there is any, and the newest."""
    from mlproject import tracking

    models = tracking.final_models(which="all" if include_all else "aliased")
    if not models:
        print("  none; `mlproject tune` registers some")
        return
    print_table(["", "alias", "test accuracy", "seeds", "budget, min", "date"], [_model_row(model) for model in models])
    example = max(models, key=lambda model: (model.tags.get("data") != "synthetic", model.created))
    print(f"\nload: mlflow.keras.load_model('models:/{example.name}/{example.version}')")


def _model_row(model: "FinalModel") -> list[str]:
    metrics = model.metrics
    metric = "test_accuracy_mean" if "test_accuracy_mean" in metrics else "test_accuracy"
    accuracy = f"{metrics[metric]:.4f}" if metric in metrics else ""
    if f"{metric}_low" in metrics:  # older versions of several seeds lack it
        accuracy += f" [{metrics[f'{metric}_low']:.4f}, {metrics[f'{metric}_high']:.4f}]"
    date = datetime.fromtimestamp(model.created / 1000).strftime("%Y-%m-%d %H:%M")
    seeds, minutes = f"{metrics.get('seeds', 1):g}", model.params.get("budget_minutes", "")
    return [f"{model.name}/{model.version}", model.alias, accuracy, seeds, minutes, date]


@click.command(
    epilog=examples("mlproject export fashion-mnist-cnn", "mlproject export cifar100-fine-cnn/2 --format onnx"),
)
@click.argument("name", default="", metavar="MODEL")
@click.option("--model", default="", metavar="MODEL", help="NAME (its champion), NAME@ALIAS or NAME/VERSION")
@click.option("--format", default="keras", show_default=True, metavar="FORMAT", help="keras, saved_model or onnx")
@click.option("--output", type=arguments.FOLDER, default="exports", show_default=True, help="for the files")
@verbose
def export(name: str, model: str, format: str, output: Path) -> int:
    """Write a registered model to a file.

    The file loads without MLflow. MODEL is NAME (its champion), NAME@ALIAS or NAME/VERSION.
    """
    selector = choose_names("model", (name,) if name else (), model, default="")
    if not selector:
        raise UserError("model='' names no model; accepted: NAME, NAME@ALIAS or NAME/VERSION, see `mlproject list`")
    import numpy as np

    from mlproject.export import ExportError, check, check_format, companions, loading_code, write

    check_format(format)
    open_store()
    from mlproject import tracking

    check(format, output)
    final = tracking.final_model(selector)
    with console.without_remarks():
        network, class_names, preparation = tracking.load_model(final)
    file_name = final.name if final.alias == tracking.CHAMPION else f"{final.name}-v{final.version}"
    images = np.random.default_rng(0).integers(0, 256, (32, *network.input_shape[1:]), dtype=np.uint8)
    try:
        path = write(network, class_names, images, output, file_name, format, preparation)
    except (ExportError, OSError) as error:  # the disk may be full
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"exported: {path}; a fresh process has loaded it and predicted the same")
    print("beside it: " + ", ".join(str(file) for file in companions(path) if file.exists()))
    print(f"load it with: {loading_code(path, format)}")
    return 0
