"""The report: final models -> comparisons -> results in words -> one HTML page; the same as Markdown, PNG and CSV."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlproject.errors import UserError
from mlproject.report import comparisons, model_sections, page, provenance, results
from mlproject.report.artifacts import read_models

if TYPE_CHECKING:
    from mlproject.tracking import FinalModel


def build(
    models: Sequence["FinalModel"], folder: Path, again: str = "mlflow run . -e report --env-manager local"
) -> Path:
    """Write the report of these models.

    It uses only the models' tags, parameters, metrics and artifacts, and names those that are missing.

    Args:
        models: the models to report, as `tracking.final_models` gives them.
        folder: the folder to write to; it is created if it is missing. Files of the same name are replaced, others kept.
        again: the command that creates this report; the report shows it.

    Returns:
        The path of the page: folder/index.html, which needs no other file. Beside it are report.md, figures/*.png and
        tables/*.csv, and results.json for programs (see `results.collect`).

    Raises:
        UserError: if there are no models, or the folder cannot be written.
    """
    if not models:
        raise UserError("no final model is registered, so there is nothing to report: first run `mlflow run . -e tune`")
    reported = read_models(models)
    compared = comparisons.compare(reported)
    content = page.Content(
        comparisons=compared,
        models=[model_sections.build_sections(model) for model in reported],
        provenance=provenance.tables(reported),
        results=results.collect(compared, reported),
        again=again,
        made=f"{datetime.datetime.now().astimezone():%-d %B %Y}{provenance.in_words(reported)}",
    )
    return page.write(content, Path(folder))
