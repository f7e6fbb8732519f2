"""`mlproject explain` and `mlproject notebook`, which show the files of experiments."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlproject import arguments, console, disk, settings
from mlproject.commands.shared import check_files, choose_names, examples, verbose
from mlproject.errors import UserError
from mlproject.names import check_spelling

if TYPE_CHECKING:
    from nbformat import NotebookNode


@click.command(
    epilog=examples("mlproject explain fashion-mnist-mlp", "mlproject explain --images photos"),
)
@click.argument("names", nargs=-1, metavar="[EXPERIMENT]...")
@settings.options("experiment", *settings.IMAGE_OPTIONS)
@verbose
def explain(names: tuple[str, ...], experiment: str, **images: Any) -> None:
    """Print the layers of networks.

    The table says which of them depend on the number of colours and of classes.
    """
    patterns = choose_names("experiment", names, experiment)
    check_spelling(patterns, images=bool(images["images"]))
    own_images = settings.own_images(**images)
    with console.without_remarks():
        from mlproject.discovery import find
        from mlproject.facts import layers
        from mlproject.task import prepare

    experiments = find(patterns, images=own_images, base=images["base"])
    for task in prepare(experiments, "synthetic"):
        print(f"{task.experiment.name}\n{layers(task.experiment, task.spec).to_string(index=False)}\n")


@click.command(
    epilog=examples("mlproject notebook fashion-mnist-cnn", "mlproject notebook fashion-mnist-mlp --minutes 2"),
)
@click.argument("names", nargs=-1, metavar="EXPERIMENT...")
@click.option("--experiment", default="", metavar="NAME,...", help="names of experiments or of their files, or globs")
@click.option("--minutes", type=arguments.MINUTES_OR_NONE, help="to train each model  [default: as the file says]")
@click.option("--output", type=arguments.FOLDER_OR_NONE, help="for copies outside of MLflow")
@settings.options(*settings.TRAINING_OPTIONS)
@verbose
def notebook(
    names: tuple[str, ...], experiment: str, minutes: float | None, output: Path | None, **training: Any
) -> int:
    """Run experiments' files as notebooks.

    Each gets a run that keeps the executed notebook.
    """
    patterns = choose_names("experiment", names, experiment, default="")
    if not patterns:
        raise UserError("experiment='' names no experiment; accepted: names of experiments or of their files, or globs")
    check_spelling(patterns, files=True, images=bool(training["images"]))
    images = settings.own_images(**{name: training[name] for name in settings.IMAGE_OPTIONS})
    check_files(training["data"], training["data_dir"], training["weights"])
    with console.without_remarks():
        from mlproject import notebooks, tracking
        from mlproject.discovery import find_files

    scripts = find_files(patterns, images=images is not None)
    if output:
        disk.require_writable("output", output)
    project = tracking.connect()
    tracking.use_comparison(project, "notebooks")
    options = {name: value for name, value in {"minutes": minutes, **training}.items() if value is not None}
    failed = {}
    for script in scripts:
        print(f"{script.stem}: running", flush=True)
        try:
            with tracking.run(script.stem, {"role": "notebook", "data": training["data"]}) as run_id:
                path = _run_notebook(notebooks.convert(script), script.stem, options, output)
            print(f"{script.stem}: done{f', {path}' if path else ''}", flush=True)
            print(f"  in MLflow's UI (`mlproject ui`): {tracking.run_page(run_id)}/artifacts", flush=True)
        except notebooks.NotebookError as error:
            failed[script.stem] = str(error)
            print(f"{script.stem}: failed: {error}", file=sys.stderr, flush=True)
    project.set_description("\n\n".join(f"{script.stem}: {failed.get(script.stem, 'done')}" for script in scripts))
    return 1 if failed else 0


def _run_notebook(content: "NotebookNode", name: str, options: dict[str, Any], folder: Path | None) -> Path | None:
    """Execute and log one notebook, and write it where asked for. One that fails is logged as far as it came."""
    from mlproject import notebooks, tracking

    tracking.log_params(options)
    command_line = [text for option, value in options.items() for text in (f"--{option.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as temporary:
        try:
            notebooks.execute(content, command_line)
        finally:
            notebooks.write(content, Path(temporary, f"{name}.ipynb"))
            Path(temporary, f"{name}.html").write_text(notebooks.to_html(content), encoding="utf-8")
            tracking.log_folder(Path(temporary), "notebook")
    return notebooks.write(content, folder / f"{name}.ipynb") if folder else None
