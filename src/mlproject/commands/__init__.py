"""The commands. Their modules import TensorFlow, MLflow and pandas inside of the functions, so that the help comes at once."""

import click

from mlproject.commands import data, experiments, models, report, store, tune, use
from mlproject.commands.shared import OrderedGroup, examples

__all__ = ["mlproject"]


@click.group(
    cls=OrderedGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples("mlproject tune fashion-mnist-cnn", "mlproject report", "mlproject ui", "mlproject tune --help"),
)
def mlproject() -> None:
    """Image classifiers in Keras: searched, trained, registered and compared, with every run tracked by MLflow."""


for command in (
    tune.tune,
    report.report,
    models.list_,
    use.predict,
    use.serve,
    models.export,
    experiments.explain,
    experiments.notebook,
    data.data,
    store.ui,
    store.prune,
):
    mlproject.add_command(command)
