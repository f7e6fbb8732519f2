"""Which models the command `report` covers: by default no synthetic ones beside real ones."""

import re

import mlflow
import pytest
from registered import FLAT, FLAT_LABELS, guesses, register
from versions import add_version

from mlproject import tracking

NAMES = {"real": "cnn", "synthetic": "mlp-synthetic"}


def put_into_store(root, data):
    """Register a model of this kind of data, with all that a report reads; the network, which it does not read, is missing."""
    tags = {"comparison": "nets", "dataset": "clothes", "labels": "flat", "test.digest": data, "data": data}
    model = register(root, NAMES[data], tags, FLAT_LABELS, guesses(FLAT_LABELS, 3, 2.0), FLAT)
    with tracking.run("final", {"role": "final"}) as run_id:
        tracking.log_params(model.params)
        tracking.log_metrics(model.metrics)
        tracking.log_folder(model.root, "")
    client = mlflow.MlflowClient()
    client.create_registered_model(model.name)
    client.create_model_version(model.name, f"runs:/{run_id}/model", run_id, tags=model.tags)
    assert tracking.promote(model.name, 1) == "champion"


@pytest.mark.parametrize(
    ("kinds", "words", "reported", "repeated"),
    [
        (["real", "synthetic"], [], ["cnn"], ""),
        (["real", "synthetic"], ["--data", "real"], ["cnn"], " -P data=real"),
        (["real", "synthetic"], ["--data", "synthetic"], ["mlp-synthetic"], " -P data=synthetic"),
        (["synthetic"], [], ["mlp-synthetic"], ""),
        (
            ["real", "synthetic"],
            ["--models", "cnn,mlp-synthetic"],
            ["cnn", "mlp-synthetic"],
            " -P models=cnn,mlp-synthetic",
        ),
    ],
)
def test_a_report_covers_models_of_real_data_where_there_are_any_unless_it_is_told(
    kinds, words, reported, repeated, store, tmp_path, run_here
):
    for data in kinds:
        put_into_store(tmp_path / "runs", data)
    done = run_here("report", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "reports" / "report.md").read_text()
    assert sorted(re.findall(r"^### (\S+), version 1", text, flags=re.MULTILINE)) == reported
    unreported = set(NAMES.values()) - set(reported)
    assert not any(re.search(rf"\b{name}\b", text) for name in unreported)
    assert f"creates the report again: `mlflow run . -e report --env-manager local{repeated}`." in text


@pytest.mark.parametrize(("registered", "asked"), [("real", "synthetic"), ("synthetic", "real")])
def test_a_report_of_data_of_which_there_are_no_models_is_refused(registered, asked, store, tmp_path, run_here):
    version, _ = add_version("m")
    tracking.set_version_tags("m", version, {"data": registered})
    done = run_here("report", "--data", asked, cwd=tmp_path)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and not (tmp_path / "reports").exists()
    said = f"data='{asked}': none of the champions to report was trained on {asked} data; accepted: auto, {registered}"
    assert said in line


def test_a_report_without_any_models_says_what_makes_some_whatever_data_it_is_told(store, tmp_path, run_here):
    done = run_here("report", "--data", "real", cwd=tmp_path)
    assert done.returncode == 2 and "so there is nothing to report: first run `mlflow run . -e tune`" in done.stderr
