"""The whole pipeline as a user runs it: `mlflow run` on synthetic data; then every model is loaded by its name."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from browser import Browser, needs_chromium
from conftest import PROJECT, parsed
from mlflow.projects._project_spec import load_project
from servers import PATIENCE, free_port

from mlproject import tracking
from mlproject.datasets import FashionMNIST

# The shipped experiments take minutes: `make demo` runs them all, and so does the weekly workflow. These have their names.
FILE = f"""
import sys
from dataclasses import replace

sys.path.append({str(PROJECT / "tests")!r})
from conftest import TINY
from mlproject.datasets import CIFAR100

COARSE = replace(TINY, name="cifar100-coarse-cnn", comparison="coarse-vs-fine", dataset=CIFAR100(), labels="coarse")
FINE = replace(COARSE, name="cifar100-fine-cnn", labels="fine")
EXPERIMENTS = [COARSE, FINE, replace(TINY, name="fashion-mnist-mlp")]
"""
MODELS = ["cifar100-coarse-cnn-synthetic", "cifar100-fine-cnn-synthetic", "fashion-mnist-mlp-synthetic"]
EXPERIMENTS = "cifar100-*,fashion-mnist-mlp"
ARTIFACTS = [
    "data/examples.png",
    "data/facts.csv",
    "environment.json",
    "evaluation/features.npz",
    "evaluation/images.npz",
    "evaluation/predictions.npz",
    "evaluation/per_class.csv",
    "evaluation/history.csv",
    "explain/layers.csv",
    "plots/confusion.png",
    "plots/examples.png",
    "plots/learning_curves.png",
    "plots/per_class.png",
    "search/trials.csv",
    "search/values.csv",
]
LOAD_AND_PREDICT = """
import json, sys
import mlflow, numpy as np
for name in sys.argv[1:]:
    uri = f"models:/{name}@champion"
    keras_model, pyfunc = mlflow.keras.load_model(uri), mlflow.pyfunc.load_model(uri)
    shape = [dimension for dimension in keras_model.input_shape if dimension]
    images = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    first, second = keras_model.predict(images, verbose=0), pyfunc.predict(images, params={"top": 1})
    names = json.loads(pyfunc.metadata.metadata["class_names"])
    same = [answer[0]["label"] == names[row.argmax()] and abs(answer[0]["probability"] - row.max()) < 1e-5
            for row, answer in zip(first, second, strict=True)]
    print(json.dumps({
        "name": name, "shape": first.shape, "sums": first.sum(axis=1).tolist(),
        "same": all(same), "names": len(names), "dtype": str(first.dtype),
    }))
assert not any(module.split(".")[0] == "mlproject" for module in sys.modules)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project's own files with small experiments."""
    folder = tmp_path_factory.mktemp("clone") / "mlproject"
    folder.mkdir()
    for name in ("MLproject", "conda.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "experiments").mkdir()
    (folder / "experiments" / "small.py").write_text(FILE)
    return folder


def mlflow_run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """`mlflow run . --env-manager local ...` in the project's folder."""
    programs = Path(sys.executable).parent
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.run(
        [programs / "mlflow", "run", ".", "--env-manager", "local", *arguments],
        cwd=project,
        env=inherited | {"PATH": f"{programs}:{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )


@pytest.fixture(scope="module")
def tuned(project):
    """The project after `mlflow run . -P data=synthetic ...` with a budget of seconds. This process uses its store."""
    options = {"experiment": EXPERIMENTS, "data": "synthetic", "budget_minutes": 0.05, "max_trials": 1}
    done = mlflow_run(project, *(f"-P{name}={value}" for name, value in options.items()))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    yield project, done
    mlflow.set_tracking_uri(before)


def test_all_experiments_are_registered_with_what_the_report_needs(tuned):
    models = {model.name: model for model in tracking.final_models()}
    assert sorted(models) == MODELS
    for model in models.values():
        assert all(model.artifact(path) for path in ARTIFACTS)
        assert {"comparison", "dataset.digest", "test.digest", "git.commit", "labels"} <= model.tags.keys()
        assert model.tags["data"] == "synthetic"
        low, accuracy, high = (model.metrics[f"test_accuracy{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= accuracy <= high <= 1 and model.metrics["search_seconds"] > 0
    fine, coarse = models["cifar100-fine-cnn-synthetic"], models["cifar100-coarse-cnn-synthetic"]
    assert fine.tags["test.digest"] == coarse.tags["test.digest"]
    assert {"test_coarse_accuracy", "test_coarse_accuracy_sum"} <= fine.metrics.keys()
    assert coarse.metrics["test_coarse_accuracy"] == coarse.metrics["test_accuracy"]


def test_what_is_kept_of_the_test_set_is_what_the_model_got_wrong_and_some_that_it_got_right(tuned):
    (model,) = [model for model in tracking.final_models() if model.tags["experiment"] == "fashion-mnist-mlp"]
    predicted, kept = (np.load(model.artifact(f"evaluation/{name}.npz")) for name in ("predictions", "images"))
    right = predicted["probabilities"].argmax(axis=1) == predicted["labels"]
    images = FashionMNIST().load("flat", "synthetic").test_images
    assert set(np.flatnonzero(~right)) <= set(kept["rows"])
    assert np.bincount(predicted["labels"][kept["rows"]][right[kept["rows"]]]).max() == 3
    np.testing.assert_array_equal(kept["images"], images[kept["rows"]])


def test_every_search_prints_its_plan_and_is_a_parent_with_its_trials_and_final_run(tuned):
    _, done = tuned
    assert (done.stdout + done.stderr).count("plan: 0.05 min: ") == len(MODELS)
    runs = mlflow.search_runs(search_all_experiments=True)
    assert not (runs["status"] != "FINISHED").any()
    parents = runs[runs["tags.role"] == "search"]
    assert len(parents) == len(MODELS)
    for _, parent in parents.iterrows():
        children = runs[runs["tags.mlflow.parentRunId"] == parent["run_id"]]
        assert sorted(children["tags.role"]) == ["final", *["trial"] * (len(children) - 1)] and len(children) == 2
        assert set(children["experiment_id"]) == {parent["experiment_id"]}
        assert "Question" in parent["tags.mlflow.note.content"] and "Result" in parent["tags.mlflow.note.content"]
        assert len(mlflow.get_run(parent["run_id"]).inputs.dataset_inputs) == 2
        settings = mlflow.artifacts.load_dict(f"runs:/{parent['run_id']}/settings.json")
        assert settings["data"] == "synthetic" and settings["max_trials"] == 1
        assert float(parent["params.plan_budget"]) == pytest.approx(3)  # seconds


def test_a_fresh_process_loads_every_model_by_name(tuned, tmp_path):
    project, _ = tuned
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_PREDICT, *MODELS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [answer["name"] for answer in answers] == MODELS
    for answer in answers:
        assert answer["same"] and answer["dtype"] == "float32" and answer["names"] == answer["shape"][1]
        assert answer["sums"] == pytest.approx([1] * 4, abs=1e-4)


def test_the_report_is_written_and_kept_and_the_next_steps_are_printed(tuned):
    project, done = tuned
    page = (project / "reports" / "index.html").read_text()
    assert "synthetic" in page and "coarse-vs-fine" in page and "fashion-mnist-mlp" in page
    assert "vector instructions" in page  # of the machine
    for place in ("compare-runs?runs=", "models/cifar100-fine-cnn-synthetic/versions/"):
        assert f'href="http://127.0.0.1:5000/#/{place}' in page
    assert "compareRunsMode=CHART" in page
    runs = mlflow.search_runs(experiment_names=["reports"])
    artifacts = [item.path for item in mlflow.MlflowClient().list_artifacts(runs["run_id"].iloc[0], "report")]
    assert "report/index.html" in artifacts
    said = done.stdout + done.stderr
    for words in (
        "-synthetic photo.jpg",
        "mlproject ui ",
        "viewStateShareKey=finals",
    ):
        assert words in said


def test_the_winners_values_stand_beside_the_best_known_ones(tuned):
    (model,) = [model for model in tracking.final_models() if model.tags["experiment"] == "fashion-mnist-mlp"]
    values = pd.read_csv(model.artifact("search/values.csv"), dtype=str).set_index("hyperparameter")
    first = pd.read_csv(model.artifact("search/trials.csv"), dtype=str).iloc[0]
    assert all(first[name] == row["best_known"] for name, row in values.iterrows())
    assert all(model.params[name] == row["winner"] for name, row in values.iterrows())
    assert values.loc["learning_rate", "sampling"] == "log" and ".." in values.loc["learning_rate", "searched"]
    assert model.metrics["model_bytes"] > 4 * model.metrics["parameters"]


@pytest.fixture
def address(tuned, tmp_path):
    """The address of `mlflow ui` with the store."""
    port = free_port()
    program = Path(sys.executable).with_name("mlflow")
    command = [program, "ui", "--port", str(port), "--workers", "1", "--backend-store-uri", mlflow.get_tracking_uri()]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=PATIENCE)


@pytest.mark.slow  # what it tests changes with MLflow, which the weekly workflow takes at its newest
@needs_chromium
def test_the_pages_of_mlflow_show_names_scores_and_descriptions(tuned, address, tmp_path):
    (model,) = [model for model in tracking.final_models() if model.name == "cifar100-fine-cnn-synthetic"]
    links = tracking.links_of(model.name, model.version, model.run_id, ui=address)
    browser = Browser(tmp_path / "profile")
    browser.ask("Emulation.setDeviceMetricsOverride", width=1800, height=900, deviceScaleFactor=1, mobile=False)
    try:
        finals = [f"cifar100-{labels}-cnn-synthetic final" for labels in ("coarse", "fine")]
        awaited = [*finals, "test_coarse_accuracy", "test_loss", "Compare the final models"]
        text = browser.text_of(links.runs, awaited)
        assert "2 matching runs" in text and "trial 01" not in text and "Token Usage" not in text
        browser.text_of(links.finals, [*finals, "Comparing 2 Runs"])
        first = "cifar100-fine-cnn-synthetic trial 01: best-known values"
        browser.text_of(links.trials, [first, "Parallel Coordinates", "val_accuracy", "1 matching run"])
        card = ["What it is.", "fitted with this seed alone", "recalled least often", "Krizhevsky", finals[1]]
        browser.text_of(links.model, [*card, "predict cifar100-fine-cnn-synthetic/1 photo"])
        browser.text_of(links.model.partition("/versions")[0], ["Classifies images of cifar100 into 100 classes"])
    finally:
        browser.close()
    experiments = [mlflow.get_run(model.run_id).info.experiment_id]
    query = f"source_run_id = '{model.run_id}'"
    (logged,) = mlflow.search_logged_models(experiments, filter_string=query, output_format="list")
    of_data = {metric.key: metric.dataset_name for metric in logged.metrics}
    assert of_data["test_accuracy"] == "cifar100-fine-test" and logged.name == model.name


def words(project, entry, **parameters):
    """The arguments that `mlflow run -e entry` with these parameters passes to `python -m mlproject`."""
    command = load_project(str(project)).get_entry_point(entry).compute_command(parameters, None)
    assert command.startswith("python -m mlproject ")
    return shlex.split(command)[3:]


@pytest.mark.parametrize(
    ("entry", "parameters"),
    [
        ("report", {"comparison": "coarse-vs-fine"}),
        ("data", {"data": "synthetic"}),
        ("explain", {"experiment": "fashion-mnist-mlp"}),
        ("export", {"model": "fashion-mnist-mlp-synthetic"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_other_entry_points_hand_on_what_is_given(project, entry, parameters):
    _, given = parsed(*words(project, entry, **parameters))
    assert all(value in given[name] for name, value in parameters.items())


def test_the_entry_point_of_notebooks_leaves_to_the_file_what_is_not_given(project):
    _, given = parsed(*words(project, "notebook", experiment="*"))
    assert given["minutes"] is given["output"] is given["data_dir"] is None and given["experiment"] == "*"
