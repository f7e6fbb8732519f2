"""What the images of a comparison are: facts, and examples of each class. Pure."""

from collections.abc import Sequence

from mlproject.report.content import Chart, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.models import ReportedModel

COLUMNS = (text_column("what"), text_column("found", "value"))


def section(context: ReportContext, models: Sequence[ReportedModel]) -> Section | None:
    """Describe the images, as the model with the finest labels saw them.

    Args:
        context: the comparison.
        models: its models.

    Returns:
        The section; None when no run recorded the facts.
    """
    described = [model for model in models if model.facts is not None]
    if not described:
        return None
    model = max(described, key=lambda candidate: candidate.tag("labels") != "coarse")
    assert model.facts is not None
    charts = []
    if model.examples is not None:
        caption = f"Training images of {model.tag('dataset')}, as the networks see them."
        charts.append(Chart(context.file_name("images"), model.examples, caption, caption))
    table = Table(context.file_name("facts"), f"What is known of {model.tag('dataset')}", model.facts, COLUMNS)
    return Section("The images", charts=charts, tables=[table])
