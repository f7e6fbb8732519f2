"""The commands: `python -m mlproject tune | report | data | explain`. `mlflow run` calls nothing else."""

import argparse
import logging
import math
import shlex
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from mlproject.errors import StoreGoneError, UserError, shown

REPORTS = Path("reports")
CACHE = Path(".cache")
MOST_MINUTES, MOST_TRIALS = 525_600, 1_000_000
TUNERS = ("hyperband", "bayesian", "random")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit code: 0, 1 when an experiment failed, 2 for bad input, 130 when interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that a terminated command still ends its runs
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing, which every new network needs
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        options = _parser().parse_args(arguments)
        return options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StoreGoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; the same command starts again", file=sys.stderr)
        return 130


def tune(options: argparse.Namespace) -> int:
    """Search, refit, register each experiment asked for, then report on all that is registered."""
    from mlproject import tracking
    from mlproject.experiment import find

    experiments = find(options.experiment)
    tasks = _prepare(experiments, options)
    project = tracking.connect()
    done, failed = [], {}
    for position, task in enumerate(tasks, 1):
        print(f"[{position}/{len(tasks)}] {task.experiment.name}: {task.experiment.question}", flush=True)
        try:
            done.append(_tune_one(task, options, project))
        except Exception as error:  # one experiment's failure must not take the others' hours with it
            failed[task.experiment.name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"  failed: {failed[task.experiment.name]}", file=sys.stderr, flush=True)
    page = _report(project) if done else None
    project.annotate(_summary(done, failed, "\n\n"))
    print("\n" + _summary(done, failed, "\n"))
    if page:
        name = done[0].name
        print(f"\nreport: {page}\nruns:   mlflow ui\nload:   mlflow.keras.load_model('models:/{name}@{done[0].alias}')")
    return 1 if failed else 0


def _prepare(experiments, options):
    """Everything that can be refused is refused here, before any training: data, weights, split."""
    from mlproject import datasets, pretrained
    from mlproject.features import FeatureCache
    from mlproject.search import Task

    weights = None
    if options.weights != "imagenet" or (options.data == "real" and any(one.pretrained for one in experiments)):
        weights = pretrained.find(options.weights, options.data_dir)
    tasks = []
    for experiment in experiments:
        data = datasets.load(experiment.dataset, experiment.labels, options.data, options.data_dir)
        train, validation = data.split(options.seed)
        cache = FeatureCache(CACHE / "features", data)
        tasks.append(
            Task(
                experiment,
                data,
                data.spec(weights if experiment.pretrained else None),
                cache,
                options.seed,
                train,
                validation,
            )
        )
    return tasks


def _tune_one(task, options, project):
    """One experiment within its budget: a parent run with a child for each trial and one for the final model."""
    from mlproject import final, tracking
    from mlproject.search import search

    experiment, deadline = task.experiment, time.monotonic() + 60 * options.budget_minutes
    tags = {
        "role": "search",
        "experiment": experiment.name,
        "comparison": experiment.comparison,
        "data": final.kind(task),
    }
    tracking.choose_experiment(project, experiment.comparison)
    with tracking.run(final.registered_name(task), tags):
        tracking.note(f"**Asked:** {experiment.question}")
        settings = ("tuner", "budget_minutes", "max_trials", "seed", "data")
        asked = {name: getattr(options, name) for name in settings}
        tracking.log_params(asked | final.weights_params(task))
        final.log_inputs(task.data)
        found = search(task, options.tuner, deadline, options.max_trials)
        result = final.make(task, found, deadline, asked)
        tracking.log_metrics({name: getattr(result, name) for name in ("val_accuracy", "test_accuracy")})
        tracking.note(
            f"**Asked:** {experiment.question}\n\n**Came out:** {_line(result)}, best of {len(found.trials)} trials."
        )
    print(f"  {_line(result)}", flush=True)
    return result


def _line(result) -> str:
    return (
        f"{result.name} v{result.version} ({result.alias}): test accuracy {result.test_accuracy:.4f} "
        f"[{result.low:.4f}, {result.high:.4f}], validation {result.val_accuracy:.4f}"
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
        build(tracking.final_models(models, comparisons), folder, f"mlflow run . -e report{given}")
        tracking.choose_experiment(project, "reports")
        with tracking.run("report", {"role": "report"}):
            tracking.log_params(chosen)
            tracking.log_folder(folder, "report")
        try:
            shutil.copytree(folder, REPORTS, dirs_exist_ok=True)
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
    from mlproject.explain import layer_table
    from mlproject.search import hyperparameters

    for experiment in find(options.experiment):
        spec = datasets.load(experiment.dataset, experiment.labels, "synthetic").spec()
        table = layer_table(lambda spec, chosen=experiment: chosen.build(hyperparameters(chosen.best), spec), spec)
        print(f"{experiment.name}\n{table.to_string(index=False)}\n")
    return 0


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see `python -m mlproject --help`)")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="mlproject", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="COMMAND")
    command = commands.add_parser("tune", help="search, refit and register experiments")
    command.set_defaults(command=tune)
    command.add_argument("--experiment", default="*", help="name, comma-separated names or glob (default: all)")
    command.add_argument("--tuner", choices=TUNERS, default="bayesian")
    command.add_argument(
        "--budget-minutes", type=_minutes, default=15.0, help="for each experiment: search and final fit"
    )
    command.add_argument(
        "--max-trials", type=_count, default=None, help="at most so many trials (0: as many as the budget allows)"
    )
    command.add_argument("--seed", type=_seed, default=0)
    command.add_argument("--weights", default="imagenet", help="of the pretrained base: imagenet, none or a file")
    _add_data_options(command)
    command = commands.add_parser("report", help="compare the registered models")
    command.set_defaults(command=report)
    command.add_argument("--comparison", type=_names, default=(), help="only these comparisons, with commas between")
    command.add_argument(
        "--models", type=_names, default=(), help="name, name@alias, name/version, with commas between"
    )
    command = commands.add_parser("data", help="find or download the data sets")
    command.set_defaults(command=data)
    _add_data_options(command)
    command = commands.add_parser("explain", help="what depends on colours and on classes, layer by layer")
    command.set_defaults(command=explain)
    command.add_argument("--experiment", default="*")
    return parser


def _add_data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", choices=("real", "synthetic"), default="real")
    command.add_argument(
        "--data-dir", default=None, type=lambda text: text or None, help="folder with the archives, as downloaded"
    )


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes <= MOST_MINUTES:
        raise argparse.ArgumentTypeError(
            f"'{shown(text)}' is not accepted; a number of minutes above 0 is, up to {MOST_MINUTES} (a year)"
        )
    return minutes


def _count(text: str) -> int | None:
    return _whole(text, MOST_TRIALS, f"0 for no limit, up to {MOST_TRIALS}") or None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _seed(text: str) -> int:
    return _whole(text, 2**31 - 1, "from 0 to 2147483647")


def _whole(text: str, most: int, accepted: str) -> int:
    if not text.isdecimal() or len(text) > 20 or int(text) > most:
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is not accepted; a whole number is, {accepted}")
    return int(text)


def _interrupt(signum, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
