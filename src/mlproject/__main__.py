"""The commands: `python -m mlproject tune | report | data | explain | export | notebook`. `mlflow run` calls the same ones."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mlproject import arguments, console, disk, process, settings
from mlproject.errors import StoreGoneError, UserError
from mlproject.names import check_spelling

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from mlproject.final.seeds import RegisteredModel


def main(given: list[str] | None = None) -> int:
    """Run one command.

    Args:
        given: the command line; None takes the process'.

    Returns:
        The exit code: 0, 1 when an experiment failed, 2 for bad input, 130 when interrupted.
    """
    process.stop_on_signals()
    project_run = os.environ.get("MLFLOW_RUN_ID")
    if project_run:
        process.stop_with_mlflow_run()
    console.show_messages()
    try:
        options = _parser().parse_args(given)
        console.show_messages(options.verbose)
        code: int = options.command(options)
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if project_run:
            _mark_refused(project_run, str(error))
        return 2
    except StoreGoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: everything that was finished is kept", file=sys.stderr)
        return 130


def _mark_refused(project_run: str, reason: str) -> None:
    """Let the run that `mlflow run` began for a command with bad input be deleted by the next command."""
    with console.without_remarks():
        from mlproject import tracking

    tracking.mark_refused(project_run, reason)


def tune(options: argparse.Namespace) -> int:
    """Search, refit and register the experiments asked for, then report on all that is registered."""
    check_spelling(options.experiment)
    print("loading TensorFlow and the data", flush=True)
    with console.without_remarks():
        from mlproject import tracking
        from mlproject.report.publish import REPORTS, publish
        from mlproject.tune import prepare_tasks
        from mlproject.tune import tune as tune_all

    chosen = settings.from_options(options)
    tasks = prepare_tasks(chosen)
    project = tracking.connect()
    tracking.use_comparison(project, REPORTS.name)  # a store that refuses to log is found out now, not after hours
    try:
        outcome = tune_all(chosen, tasks, project)
        print("\n" + "\n".join(outcome.lines), flush=True)
        page = publish(project) if outcome.registered else None
    except (KeyboardInterrupt, StoreGoneError) as error:
        if isinstance(error, KeyboardInterrupt):
            tracking.end_own_runs()
        print(f"to go on: {chosen.repeat(project.command)}", file=sys.stderr, flush=True)
        raise
    if page:
        print(f"\nreport: {page}\n{_pages(outcome.registered[0])}")
        print(f"load:   mlflow.keras.load_model('{outcome.registered[0].uri}')")
        print(f"repeat: {chosen.repeat(project.command)}")
    return 1 if outcome.failed else 0


def _pages(registered: "RegisteredModel") -> str:
    """The addresses of what was made, in MLflow's UI."""
    from mlproject import tracking

    links = tracking.links(registered.name, registered.version, registered.run_id)
    served = tracking.is_server(tracking.address())
    pages = {"runs": links.runs, "finals": links.finals, "trials": links.trials, "model": links.model}
    lines = [f"{what + ':':7} {address}" for what, address in pages.items() if address]
    return "\n".join(lines if served else ["MLflow's UI: start `mlflow ui`, then open", *lines])


def report(options: argparse.Namespace) -> int:
    """Compare the registered models, from the registry alone."""
    from mlproject import tracking
    from mlproject.report.publish import publish

    print(f"report: {publish(tracking.connect(), options.models, options.comparison)}")
    return 0


def data(options: argparse.Namespace) -> int:
    """Find or download every data set of the experiments, check it, and say what was found."""
    with console.without_remarks():
        from mlproject.experiment import find

    for dataset in dict.fromkeys(experiment.dataset for experiment in find("*") if experiment.dataset):
        found = dataset.load(dataset.labels[0], options.data, options.data_dir)
        print(
            f"{found.name}: {len(found.train_images)} training and {len(found.test_images)} test images, "
            f"digest {found.digest}, from {found.source}"
        )
    return 0


def check_images(options: argparse.Namespace) -> int:
    """Say what a user's own images are and what is odd about them, and draw some of each class."""
    from mlproject.datasets import ImageFolder
    from mlproject.datasets.images import check
    from mlproject.datasets.images.sheet import contact_sheet

    images = ImageFolder(options.images)
    described = check.describe(images.entries, images.scan, images.readable)
    width = described.table["what"].str.len().max()
    print("\n".join(f"{what:{width}}  {value}" for what, value in described.table.itertuples(index=False)))
    for what, names in described.lists.items():
        print(f"\n{what}:\n" + "\n".join(f"  {name}" for name in names))
    try:
        check.require_trainable(images.entries, images.readable)
        sheet = contact_sheet(images.entries, images.scan, images.name)
    except UserError as error:
        print(f"\nerror: nothing can be trained with these images: {error}", file=sys.stderr)
        return 1
    folder = Path("reports", "data")
    disk.require_writable("reports/data", folder)
    with disk.atomic_write(folder / f"{images.name}.png") as part:
        sheet.savefig(part, format="png")
    print(f"\nexamples: {folder / f'{images.name}.png'}")
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print each network's layers, and which of them depend on the number of colours and of classes."""
    check_spelling(options.experiment)
    with console.without_remarks():
        from mlproject.experiment import find
        from mlproject.facts import layers
        from mlproject.task import prepare

    for task in prepare(find(options.experiment, images=settings.own_images(options), base=options.base), "synthetic"):
        experiment, spec = task.experiment, task.spec
        print(f"{experiment.name}\n{layers(experiment, spec).to_string(index=False)}\n")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a registered model to a file that loads without MLflow."""
    import numpy as np

    with console.without_remarks():
        from mlproject import tracking
        from mlproject.export import ExportError, check, loading_code, write

    check(options.format, options.output)
    tracking.connect()
    found = tracking.final_models([options.model], parameter="model")
    if not found:
        raise UserError(f"model={options.model!r} cannot be exported: its run is deleted")
    (final,) = found
    model, class_names, preparation = tracking.load_model(final)
    name = final.name if final.alias == tracking.CHAMPION else f"{final.name}-v{final.version}"
    images = np.random.default_rng(0).integers(0, 256, (32, *model.input_shape[1:]), dtype=np.uint8)
    try:
        path = write(model, class_names, images, options.output, name, options.format, preparation)
    except ExportError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"exported: {path}; a fresh process has loaded it and predicted the same")
    print(f"load it with: {loading_code(path, options.format)}")
    return 0


def notebook(options: argparse.Namespace) -> int:
    """Run the files of experiments as notebooks, each in a run that keeps the executed one."""
    check_spelling(options.experiment, files=True)
    with console.without_remarks():
        from mlproject import notebooks, tracking
        from mlproject.experiment import find_files

    scripts = find_files(options.experiment, images=settings.own_images(options) is not None)
    if options.output:
        disk.require_writable("output", options.output)
    project = tracking.connect()
    tracking.use_comparison(project, "notebooks")
    failed = {}
    for script in scripts:
        print(f"{script.stem}: running", flush=True)
        try:
            with tracking.run(script.stem, {"role": "notebook", "data": options.data}):
                path = _run_notebook(notebooks.convert(script), script.stem, options)
            print(f"{script.stem}: done{f', {path}' if path else ''}", flush=True)
        except notebooks.NotebookError as error:
            failed[script.stem] = str(error)
            print(f"{script.stem}: failed: {error}", file=sys.stderr, flush=True)
    project.set_description("\n\n".join(f"{script.stem}: {failed.get(script.stem, 'done')}" for script in scripts))
    return 1 if failed else 0


def _run_notebook(content: "NotebookNode", name: str, options: argparse.Namespace) -> Path | None:
    """Execute and log one notebook, and write it where asked for. One that fails is logged as far as it came."""
    from mlproject import notebooks, tracking

    given = {option: getattr(options, option) for option in ("minutes", *settings.TRAINING_OPTIONS)}
    given = {option: value for option, value in given.items() if value is not None}
    tracking.log_params(given)
    command_line = [text for option, value in given.items() for text in (f"--{option.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as temporary:
        try:
            notebooks.execute(content, command_line)
        finally:
            notebooks.write(content, Path(temporary, f"{name}.ipynb"))
            Path(temporary, f"{name}.html").write_text(notebooks.to_html(content), encoding="utf-8")
            tracking.log_folder(Path(temporary), "notebook")
    return notebooks.write(content, options.output / f"{name}.ipynb") if options.output else None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.OneLineParser(prog="python -m mlproject", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="COMMAND")

    command = commands.add_parser("tune", help="search, refit and register experiments")
    command.set_defaults(command=tune)
    settings.add_options(command)

    command = commands.add_parser("report", help="compare the registered models")
    command.set_defaults(command=report)
    command.add_argument("--comparison", type=arguments.names, default=(), help="comma-separated comparisons")
    command.add_argument(
        "--models", type=arguments.names, default=(), help="comma-separated NAME, NAME@ALIAS or NAME/VERSION"
    )

    command = commands.add_parser("data", help="find or download the data sets")
    command.set_defaults(command=data)
    settings.add_options(command, settings.DATA_OPTIONS)
    check = command.add_subparsers(metavar="check").add_parser("check", help="look at images of your own")
    check.set_defaults(command=check_images)
    check.add_argument("images", metavar="PATH", help="folder, manifest, Parquet or .npz file")

    command = commands.add_parser("explain", help="show what depends on colours and on classes, layer by layer")
    command.set_defaults(command=explain)
    command.add_argument("--experiment", default="*")
    settings.add_options(command, settings.IMAGE_OPTIONS)

    command = commands.add_parser("export", help="write a registered model to a file")
    command.set_defaults(command=export)
    command.add_argument("--model", required=True, help="NAME (its champion), NAME@ALIAS or NAME/VERSION")
    command.add_argument("--format", default="keras", help="keras (default), saved_model or onnx")
    command.add_argument("--output", type=Path, default=Path("exports"), help="folder (default: exports)")

    command = commands.add_parser("notebook", help="run the files of experiments as notebooks, and keep these")
    command.set_defaults(command=notebook)
    command.add_argument("--experiment", required=True, help="names of experiments or of their files, or globs")
    command.add_argument(
        "--minutes", type=_minutes_or_none, default=None, help="to train each model (default: as the file says)"
    )
    command.add_argument("--output", type=_path_or_none, default=None, help="folder for copies outside MLflow")
    settings.add_options(command, settings.TRAINING_OPTIONS)

    for command in commands.choices.values():
        command.add_argument("-v", "--verbose", action="store_true", help="also show remarks of TensorFlow and MLflow")
    return parser


def _minutes_or_none(text: str) -> float | None:
    return arguments.minutes(text) if text else None  # MLproject hands down every parameter, empty where not given


def _path_or_none(text: str) -> Path | None:
    return Path(text) if text else None


def run() -> NoReturn:
    """Run the command that this process was started for, and end the process."""
    process.leave(main())


if __name__ == "__main__":
    run()
