"""The report: final models -> comparisons -> results in words -> one HTML page; the same as Markdown, CSV and JSON.

* `publish` makes a report, keeps it in MLflow and copies it to reports/.
* `artifacts` reads what the runs of the final models have logged, into the objects of `models`.
* `comparisons` groups the models and collects the sections of each comparison. Fine and coarse labels: `granularity` with
  `coarse_fine_pair`, `fine_classes`, `hypotheses` and `recall`, `training_shares`. All models: `published`, `accuracy` with
  `cross_validated`, `seeds`, `pairs` with `settling`, `classes`, `cost` with `cost_figure`, `calibration`,
  `training_curves`, `images`.
* `model_sections` collects those of a single model: its results, `searches` with `search_figure` and `importance`, `networks`.
* `provenance` says where the models come from, and `results` is the report for programs.
* `content` and `context` are a report before any markup. `figures`, `svg` and `formats` draw it and write its numbers, and `page`
  writes the files.
"""

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
    models: Sequence["FinalModel"], folder: Path, command: str = "mlflow run . -e report --env-manager local"
) -> Path:
    """Write the report of these models.

    It uses only the models' tags, parameters, metrics and artifacts, and names those that are missing.

    Args:
        models: the models to report, as `tracking.final_models` gives them.
        folder: the folder to write to; it is created if it is missing. Files of the same name are replaced, others kept.
        command: the command that creates this report; the report shows it.

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
        command=command,
        origin=f"{datetime.datetime.now().astimezone():%-d %B %Y}{provenance.describe_training(reported)}",
    )
    return page.write(content, Path(folder))
