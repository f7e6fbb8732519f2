"""The report: final models -> comparisons -> findings in words -> one HTML page; the same in Markdown, PNG and CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlproject.errors import UserError
from mlproject.report import comparisons, members, page, portraits

if TYPE_CHECKING:
    from mlproject.tracking import FinalModel


def build(
    models: Sequence["FinalModel"], folder: Path, again: str = "mlflow run . -e report --env-manager local"
) -> Path:
    """Write the report of these models into `folder` (made if need be) and give back the path of its HTML page.

    Written: index.html (self-contained), report.md, figures/*.png and tables/*.csv; files of the same name are replaced,
    others left alone. Only the models' tags, parameters, metrics and artifacts are read. What is missing is said.
    `again` is the command that makes this report. Raises UserError when there are no models or the folder cannot be
    written.
    """
    if not models:
        raise UserError("no final model is registered, so there is nothing to report: first run `mlflow run . -e tune`")
    read = members.read(models)
    every = [portraits.portray(member) for member in read]
    content = page.Content(comparisons.compare(read), every, portraits.provenance(read), again)
    return page.write(content, Path(folder))
