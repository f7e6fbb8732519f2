"""`mlproject report`."""

import click

from mlproject import arguments
from mlproject.commands.shared import examples, open_store, verbose


@click.command(
    epilog=examples(
        "mlproject report                                     all champions",
        "mlproject report --comparison coarse-vs-fine",
        "mlproject report --models fashion-mnist-cnn@challenger,fashion-mnist-cnn/1",
    ),
)
@click.option("--comparison", type=arguments.NAMES, default="", help="only these comparisons")
@click.option("--models", type=arguments.NAMES, default="", help="only these: NAME, NAME@ALIAS or NAME/VERSION")
@click.option(
    "--data",
    type=click.Choice(("auto", "real", "synthetic")),
    default="auto",
    show_default=True,
    help="auto: models of real data if there are any",
)
@verbose
def report(comparison: tuple[str, ...], models: tuple[str, ...], data: str) -> None:
    """Compare the registered models.

    The report is reports/index.html. It is made from the MLflow store alone, so it needs no data.
    """
    project = open_store()
    from mlproject.report.publish import publish

    print(f"report: {publish(project, models, comparison, data)}")
