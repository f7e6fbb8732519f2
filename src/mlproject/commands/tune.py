"""`mlproject tune`."""

import sys
from typing import Any

import click

from mlproject import console, settings
from mlproject.commands.options import examples, one_of, verbose
from mlproject.errors import StoreGoneError
from mlproject.names import check_spelling


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
def tune(names: tuple[str, ...], experiment: str, **given: Any) -> int:
    """Search, train and register experiments.

    Keras Tuner tries hyperparameters, the winner is trained on all training images, its model is registered, and a report
    compares all registered models. Without an EXPERIMENT, all are tuned. The same command goes on with a search that was
    interrupted.
    """
    chosen = settings.Settings(experiment=one_of("experiment", names, experiment), **given)
    check_spelling(chosen.experiment)
    print("loading TensorFlow and the data", flush=True)
    with console.without_remarks():
        from mlproject import tracking
        from mlproject.report.publish import REPORTS, publish
        from mlproject.tune import prepare_tasks
        from mlproject.tune import tune as tune_all

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
        print(f"\nreport: {page}\nruns:   mlproject ui")
        print(f"load:   mlflow.keras.load_model('{outcome.registered[0].uri}')")
        print(f"repeat: {chosen.repeat(project.command)}")
    return 1 if outcome.failed else 0
