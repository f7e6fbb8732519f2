"""`mlproject tune`."""

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from mlproject import console, location, settings
from mlproject.commands.shared import check_files, choose_names, examples, print_table, verbose
from mlproject.errors import StoreGoneError
from mlproject.names import check_spelling

if TYPE_CHECKING:
    from mlproject.final.registered import RegisteredModel
    from mlproject.tune import Outcome


@click.command(
    epilog=examples(
        "mlproject tune fashion-mnist-cnn                     one experiment, 15 minutes",
        "mlproject tune 'cifar100-*' --budget-minutes 60      two, an hour each",
        "mlproject tune fashion-mnist-mlp --seeds 3           three final fits, to see what the seed changes",
        "mlproject tune --images photos --budget-minutes 5    images of your own: photos/CLASS/any.jpg",
        "mlproject tune --data synthetic --budget-minutes .5  everything, quickly, on random images",
    ),
)
@click.argument("names", nargs=-1, metavar="[EXPERIMENT]...")
@settings.options()
@verbose
def tune(names: tuple[str, ...], experiment: str, **options: Any) -> int:
    """Search, train and register experiments.

    Keras Tuner tries hyperparameters, the winner is trained on all training images, its model is registered, and a report
    compares all registered models. Without an EXPERIMENT, all are tuned. The same command continues a search that was
    interrupted.
    """
    tune_settings = settings.Settings(experiment=choose_names("experiment", names, experiment), **options)
    check_spelling(tune_settings.experiment, images=bool(tune_settings.images))
    images = {name: getattr(tune_settings, name) for name in settings.IMAGE_OPTIONS}
    settings.own_images(**images)  # refuses a path that does not exist
    check_files(tune_settings.data, tune_settings.data_dir, tune_settings.weights)
    print("loading TensorFlow and the data", flush=True)
    with console.without_remarks():
        from mlproject import tracking
        from mlproject.report.publish import REPORTS, publish
        from mlproject.tune import prepare_tasks
        from mlproject.tune import tune as tune_all

    tasks = prepare_tasks(tune_settings)
    project = tracking.connect()
    tracking.use_comparison(project, REPORTS.name)  # a store that refuses to log is found out now, not after hours
    try:
        outcome = tune_all(tune_settings, tasks, project)
        _print_outcome(outcome)
        page = publish(project, data=tune_settings.data) if outcome.registered else None
    except (KeyboardInterrupt, StoreGoneError) as error:
        if isinstance(error, KeyboardInterrupt):
            tracking.end_own_runs()
        print(f"to go on: {tune_settings.repeat(project.command)}", file=sys.stderr, flush=True)
        raise
    if page:
        print(f"\nreport: {page}\n")
        _print_next_steps(outcome.registered[0], tune_settings.repeat(project.command, fresh=True))
    return 1 if outcome.failed else 0


def _print_outcome(outcome: "Outcome") -> None:
    """A row for each experiment; failures below them."""
    print()
    rows = [
        {
            "": model.name,
            "validation": f"{model.val_accuracy:.4f}",
            "test [95 % interval]": f"{model.mean:.4f} [{model.low:.4f}, {model.high:.4f}]",
            "mean of": f"{model.seeds} seeds" if model.seeds > 1 else "",
            "minutes": "" if math.isnan(model.minutes) else f"{model.minutes:.1f}",
            "registered as": model.uri,
        }
        for model in outcome.registered
    ]
    if rows:
        columns = [name for name in rows[0] if any(row[name] for row in rows)]
        print_table(columns, [[row[name] for name in columns] for row in rows])
    for model in outcome.registered:
        if model.cross_validated:
            print(f"  {model.name}: {model.cross_validated}")
    for name, reason in outcome.failed.items():
        print(f"  {name} FAILED: {reason}")
    sys.stdout.flush()


def _print_next_steps(model: "RegisteredModel", repeat_command: str) -> None:
    """Commands to type as they stand where this one was typed, and addresses of pages in MLflow's UI."""
    from mlproject import tracking

    links = tracking.links_of(model.name, model.version, model.run_id)
    uri = tracking.address()  # without a password, and for a file relative to this folder
    if uri.startswith("sqlite:"):
        uri = location.existing_uri()
    print("next:")
    if activate := console.how_to_activate():
        print(f"  {activate}")
    selector = model.name if model.alias == tracking.CHAMPION else model.uri.removeprefix("models:/")
    print(f"  mlproject predict {selector} photo.jpg")
    print("  mlproject ui     then, after about 20 seconds, open")
    for page, address in vars(links).items():
        if address:
            print(f"    {page:7} {address}")
    print("to search and train again from the start:")
    print(f"  {repeat_command}")
    print("in Python, anywhere:")
    print(f"  import mlflow; mlflow.set_tracking_uri({uri!r})")
    print(f"  model = mlflow.keras.load_model({model.uri!r})")
