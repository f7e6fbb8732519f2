"""Publish a report: make it, keep it in MLflow, and copy it into the folder reports/."""

import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlproject import disk, tracking
from mlproject.errors import UserError
from mlproject.report import build

REPORTS = Path("reports")  # also the name of MLflow's experiment that keeps the reports


def publish(
    project: tracking.ProjectRun,
    models: Sequence[str] = (),
    comparisons: Sequence[str] = (),
    data: str = "auto",
    folder: Path = REPORTS,
) -> Path:
    """Make a report, log it into MLflow, and copy it into a folder.

    Args:
        project: the run of `mlflow run`, from `tracking.connect`.
        models: which models, each as NAME, NAME@ALIAS or NAME/VERSION; none for all champions.
        comparisons: which comparisons; none for all.
        data: whether models of "real" or of "synthetic" data are reported, unless `models` names them; "auto" for those of real
            data if there are any. A demo's models would only stand in the way there.
        folder: where the copy goes. Other files in it stay, such as the published study in reports/published.

    Returns:
        The path of the report's page.

    Raises:
        UserError: for models or comparisons that do not exist, for data of which there are no models, and for a folder that
            cannot be written.
    """
    selection = {
        "comparison": ",".join(comparisons),
        "models": ",".join(models),
        "data": "" if data == "auto" else data,
    }
    options = "".join(f" -P {shlex.quote(f'{name}={value}')}" for name, value in selection.items() if value)
    command = f"mlflow run . -e report --env-manager local{options}"
    with tempfile.TemporaryDirectory() as temporary:
        built_folder = Path(temporary, "report")
        final_models = tracking.final_models(models, comparisons)
        if not models:
            final_models = _of_the_same_data(final_models, data)
        tracking.require_artifacts(final_models)  # a report without content must not replace a better one
        build(final_models, built_folder, command)
        tracking.use_comparison(project, REPORTS.name)
        with tracking.run("report", {"role": "report"}):
            tracking.log_params(selection)
            tracking.log_folder(built_folder, "report")
        try:
            shutil.copytree(built_folder, folder, dirs_exist_ok=True, copy_function=disk.atomic_copy)
        except OSError as error:
            raise UserError(f"{folder.absolute()} cannot be written ({error}); the report is kept in MLflow") from error
    return folder / "index.html"


def _of_the_same_data(models: Sequence[tracking.FinalModel], data: str) -> list[tracking.FinalModel]:
    """The models of real or of synthetic data, as `publish` describes it."""
    kinds = {model.tags.get("data", "real") for model in models}
    if data == "auto":
        data = "real" if "real" in kinds else "synthetic"
    elif kinds and data not in kinds:  # without any model, `build` says which command makes some
        raise UserError(
            f"data={data!r}: none of the champions to report was trained on {data} data; accepted: auto, {', '.join(kinds)}"
        )
    return [model for model in models if model.tags.get("data", "real") == data]
