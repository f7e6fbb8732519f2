"""The commands: `python -m mlproject tune | report | data | explain | export | notebook`. `mlflow run` calls nothing else."""

import argparse
import dataclasses
import gc
import logging
import os
import shlex
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mlproject import arguments, disk, process
from mlproject.errors import StoreGoneError, UserError, first_line

REPORTS = Path("reports")
SEARCHES = Path(".mlproject", "searches")  # their journals
SETTINGS = ("tuner", "budget_minutes", "max_trials", "values", "seed", "data", "deterministic")
TUNERS = ("hyperband", "bayesian", "random")


def main(given: list[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 1 when an experiment failed, 2 for bad input, 130 when interrupted."""
    process.stop_on_signals()
    if "MLFLOW_RUN_ID" in os.environ:
        process.stop_with_mlflow_run()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing, which every new network needs
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        options = _parser().parse_args(given)
        return options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StoreGoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept", file=sys.stderr)
        return 130


def tune(options: argparse.Namespace) -> int:
    """Search, refit, register each experiment asked for, then report on all that is registered."""
    from mlproject import tracking
    from mlproject.experiment import find
    from mlproject.tasks import prepare, with_values

    if options.deterministic:
        _make_deterministic()
    experiments = [experiment.within(options.budget_minutes) for experiment in find(options.experiment)]
    tasks = prepare(experiments, options.data, options.data_dir, options.weights, options.seed)
    tasks = [with_values(task, arguments.names(options.values)) for task in tasks]
    project = tracking.connect()
    tracking.choose_experiment(project, REPORTS.name)  # what cannot be logged into is refused now, not after hours
    gc.freeze()  # what is there by now stays: looking through it took a third of a second before every trial
    done, failed, paces = [], {}, {}
    alike = Counter(task.network_key for task in tasks)
    try:
        for position, task in enumerate(tasks, 1):
            print(f"[{position}/{len(tasks)}] {task.experiment.name}: {task.experiment.question}", flush=True)
            try:
                done.append(_tune_one(task, options, project, paces, alike[task.network_key] > 1))
            except Exception as error:  # one experiment's failure must not take the others' hours with it
                process.stop_if_told()
                failed[task.experiment.name] = first_line(error)
                print(f"  failed: {failed[task.experiment.name]}", file=sys.stderr, flush=True)
        project.annotate(_summary(done, failed, "\n\n"))
        print("\n" + _summary(done, failed, "\n"), flush=True)
        page = _report(project) if done else None
    except (KeyboardInterrupt, StoreGoneError) as error:
        if isinstance(error, KeyboardInterrupt):
            tracking.end_own_runs()
        print(f"to go on: {_again(options, project)}", file=sys.stderr, flush=True)
        raise
    if page:
        first = done[0]
        model = f"{first.name}@{first.alias}" if first.alias else f"{first.name}/{first.version}"
        print(f"\nreport: {page}\nruns:   mlflow ui\nload:   mlflow.keras.load_model('models:/{model}')")
    return 1 if failed else 0


def _make_deterministic():
    """Operations of TensorFlow that give the same numbers every time, whatever the threads do."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def _again(options, project) -> str:
    """The command that goes on with an interrupted one: the same, but never one that starts anew."""
    defaults = vars(_parser().parse_args(["tune"]))
    words = [project.command or "python -m mlproject tune"]
    for name, value in vars(options).items():
        if value != defaults[name] and name != "fresh":
            option = f"-P {name}=" if project.command else f"--{name.replace('_', '-')} "
            words.append(option + shlex.quote(str(value)))
    return " ".join(words)


def _tune_one(task, options, project, paces: dict[tuple, dict], paired: bool):
    """One experiment within its budget, or what is left of it after an interruption.

    `paces` has the measured speeds of the experiments before, by `Task.network_key`; what measuring cost is charged to all that
    are planned by them. The final fits of experiments `paired` by that key are planned alike, too.
    """
    from mlproject import final, journal, search, tracking

    name = task.model_name
    settings = {setting: getattr(options, setting) for setting in SETTINGS}
    with journal.opened(SEARCHES, name, search.made_of(task, settings), options.fresh) as kept:
        parent = tracking.find_run(kept.search, "search")
        if kept.result and tracking.version_of(name, kept.result["run_id"]) == kept.result["version"]:
            result = final.Final(**kept.result | {"alias": tracking.alias_of(name, kept.result["version"])})
            print(f"  already complete: {_line(result)}; -P fresh=true starts anew", flush=True)
            paces[task.network_key] = kept.pace
            return result
        if kept.pace and (kept.result or parent is None):
            print("  its runs or its model are no longer in the store: starts anew", flush=True)
            kept.restart()
            parent = None
        kept.pace = kept.pace or paces.get(task.network_key)
        result = _search_and_refit(task, options, project, kept, parent, settings, paired)
        paces[task.network_key] = kept.pace
        kept.result = dataclasses.asdict(result)
        kept.save()
        kept.checkpoint.unlink(missing_ok=True)
    print(f"  {_line(result)}", flush=True)
    return result


def _search_and_refit(task, options, project, kept, parent, settings, paired):
    """A parent run with a child for each trial and one for the final model; it goes on when there is one already."""
    from mlproject import final, tracking
    from mlproject.search import search

    experiment, seconds = task.experiment, 60 * options.budget_minutes
    tags = {
        "role": "search",
        "experiment": experiment.name,
        "comparison": experiment.comparison,
        "data": task.kind,
        "search": kept.search,
        "search.digest": kept.path.parent.name,
    }
    tracking.choose_experiment(project, experiment.comparison)
    with tracking.run(task.model_name, tags, resume=parent):
        tracking.note(f"**Asked:** {experiment.question}")
        tracking.log_params(settings | final.weights_params(task))
        final.log_inputs(task.data)
        found = search(task, kept, options.tuner, seconds, options.max_trials, options.deterministic)
        # Otherwise the one whose trials happened to end early would learn for longer, and be ahead for that.
        left = found.fit_seconds if paired else seconds - found.cost
        result = final.make(task, found, kept, left, settings)
        tracking.log_metrics({name: getattr(result, name) for name in ("val_accuracy", "test_accuracy")})
        tracking.note(
            f"**Asked:** {experiment.question}\n\n**Came out:** {_line(result)}, after {len(found.trials)} trials."
        )
    return result


def _line(result) -> str:
    alias = f" ({result.alias})" if result.alias else ""
    return (
        f"{result.name} v{result.version}{alias}: test accuracy {result.test_accuracy:.4f} "
        f"[{result.low:.4f}, {result.high:.4f}], its trial's validation accuracy {result.val_accuracy:.4f}"
    )


def _summary(done: list, failed: dict[str, str], separator: str) -> str:
    return separator.join([*map(_line, done), *(f"{name} FAILED: {reason}" for name, reason in failed.items())])


def report(options: argparse.Namespace) -> int:
    """Build the comparisons from the registry alone."""
    from mlproject import tracking

    print(f"report: {_report(tracking.connect(), options.models, options.comparison)}")
    return 0


def _report(project, models: Sequence[str] = (), comparisons: Sequence[str] = ()) -> Path:
    from mlproject import tracking
    from mlproject.report import build

    chosen = {"comparison": ",".join(comparisons), "models": ",".join(models)}
    given = "".join(f" -P {shlex.quote(f'{name}={value}')}" for name, value in chosen.items() if value)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "report")  # reports/ itself holds the published study too, which is not this run's
        build(tracking.final_models(models, comparisons), folder, f"mlflow run . -e report --env-manager local{given}")
        tracking.choose_experiment(project, REPORTS.name)
        with tracking.run("report", {"role": "report"}):
            tracking.log_params(chosen)
            tracking.log_folder(folder, "report")
        try:
            shutil.copytree(folder, REPORTS, dirs_exist_ok=True, copy_function=disk.copy)
        except OSError as error:
            raise UserError(
                f"{REPORTS.absolute()} cannot be written; the report is kept in MLflow ({error})"
            ) from error
    return REPORTS / "index.html"


def data(options: argparse.Namespace) -> int:
    """Find or download every data set, check it, and say what was found."""
    from mlproject import datasets

    for name in datasets.NAMES:
        found = datasets.load(name, datasets.LABELS[name][0], options.data, options.data_dir)
        print(
            f"{name}: {len(found.train_images)} training and {len(found.test_images)} test images, "
            f"digest {found.digest}, from {found.source}"
        )
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print each network's layers and what in them depends on the number of colours and of classes."""
    from mlproject import datasets
    from mlproject.experiment import find
    from mlproject.program import layers

    for experiment in find(options.experiment):
        spec = datasets.load(experiment.dataset, experiment.labels, "synthetic").spec()
        print(f"{experiment.name}\n{layers(experiment, spec).to_string(index=False)}\n")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a registered model to a file that loads without MLflow."""
    import numpy as np

    from mlproject import tracking
    from mlproject.export import ExportError, check, loading, write

    check(options.format, options.output)
    tracking.connect()
    found = tracking.final_models([options.model], parameter="model")
    if not found:
        raise UserError(f"model={options.model!r} cannot be exported: its run is deleted")
    (final,) = found
    model, class_names = tracking.load(final)
    name = final.name if final.alias == tracking.CHAMPION else f"{final.name}-v{final.version}"
    images = np.random.default_rng(0).integers(0, 256, (32, *model.input_shape[1:]), dtype=np.uint8)
    try:
        path = write(model, class_names, images, options.output, name, options.format)
    except ExportError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"exported, loaded in a fresh process, and the same: {path}\nload it with: {loading(path, options.format)}")
    return 0


def notebook(options: argparse.Namespace) -> int:
    """Run experiments' files as notebooks, each in a run that keeps the executed one."""
    from mlproject import notebooks, tracking
    from mlproject.experiment import find_files

    scripts = find_files(options.experiment)
    if options.output:
        disk.demand_writable("output", options.output)
    project = tracking.connect()
    tracking.choose_experiment(project, "notebooks")
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
    project.annotate("\n\n".join(f"{s.stem}: {failed.get(s.stem, 'done')}" for s in scripts))
    return 1 if failed else 0


def _run_notebook(content, name: str, options: argparse.Namespace) -> Path | None:
    """Execute, log and, where asked for, write one notebook; one that fails is logged as far as it came."""
    from mlproject import notebooks, tracking

    settings = ("minutes", "data", "data_dir", "seed", "weights")
    given = {setting: getattr(options, setting) for setting in settings if getattr(options, setting) is not None}
    tracking.log_params(given)
    command_line = [text for setting, value in given.items() for text in (f"--{setting.replace('_', '-')}", str(value))]
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
    command.add_argument("--experiment", default="*", help="name, comma-separated names or glob (default: all)")
    command.add_argument("--tuner", choices=TUNERS, default="bayesian")
    command.add_argument(
        "--budget-minutes", type=arguments.minutes, default=15.0, help="for each experiment: search and final fit"
    )
    command.add_argument(
        "--max-trials",
        type=arguments.count,
        default=None,
        help="at most so many trials (0: as many as the budget allows)",
    )
    command.add_argument(
        "--values",
        default="",
        help="NAME=VALUE with commas between: of the first trial, in place of the best-known ones",
    )
    command.add_argument(
        "--deterministic",
        type=arguments.flag,
        default=False,
        help="true: the same numbers in every run, planned without a clock",
    )
    command.add_argument(
        "--fresh", type=arguments.flag, default=False, help="true: start anew what was interrupted or is complete"
    )
    arguments.add_training(command)
    command = commands.add_parser("report", help="compare the registered models")
    command.set_defaults(command=report)
    command.add_argument(
        "--comparison", type=arguments.names, default=(), help="only these comparisons, with commas between"
    )
    command.add_argument(
        "--models", type=arguments.names, default=(), help="name, name@alias, name/version, with commas between"
    )
    command = commands.add_parser("data", help="find or download the data sets")
    command.set_defaults(command=data)
    arguments.add_data(command)
    command = commands.add_parser("explain", help="what depends on colours and on classes, layer by layer")
    command.set_defaults(command=explain)
    command.add_argument("--experiment", default="*")
    command = commands.add_parser("export", help="write a registered model to a file")
    command.set_defaults(command=export)
    command.add_argument("--model", required=True, help="NAME (its champion), NAME@ALIAS or NAME/VERSION")
    command.add_argument("--format", default="keras", help="keras (default), saved_model or onnx")
    command.add_argument("--output", type=Path, default=Path("exports"), help="folder (default: exports)")
    command = commands.add_parser("notebook", help="run experiments' files as notebooks, and keep these")
    command.set_defaults(command=notebook)
    command.add_argument("--experiment", required=True, help="names of experiments or of their files, or globs")
    command.add_argument(
        "--minutes", type=_minutes_or_none, default=None, help="to train each model (default: as the file says)"
    )
    command.add_argument("--output", type=_path_or_none, default=None, help="folder for copies outside MLflow")
    arguments.add_training(command)
    return parser


def _minutes_or_none(text: str) -> float | None:
    return arguments.minutes(text) if text else None  # MLproject hands down every parameter, empty where not given


def _path_or_none(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    process.leave(main())
