"""What people see in MLflow's own UI: the store of a real search, served by `mlflow ui` and opened in headless Chromium."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest
from searches import journal_of
from test_page import Browser, pytestmark  # noqa: F401  (which skips this test where there is no Chromium)

from mlproject import tracking
from mlproject.final.seeds import make_final_model
from mlproject.search.search import search
from mlproject.settings import Settings


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "profile")
    browser.ask("Emulation.setDeviceMetricsOverride", width=1800, height=900, deviceScaleFactor=1, mobile=False)
    yield browser
    browser.close()


@pytest.fixture
def serve():
    """Return a function that starts `mlflow ui` for a store and gives its address."""
    started = []

    def start(uri, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        program = Path(sys.executable).with_name("mlflow")
        command = [program, "ui", "--port", str(port), "--workers", "1", "--backend-store-uri", uri]
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, cwd=folder, **output))
        return f"http://127.0.0.1:{port}"

    yield start
    for server in started:
        server.terminate()
        server.wait(timeout=30)


def text_of(browser, url, awaited):
    """The text of a page, as soon as it has these words; the server may still be starting."""
    deadline, text = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url.partition("#")[0]).close()
            break
        except OSError:
            time.sleep(0.2)
    browser.ask("Page.navigate", url="about:blank")  # a change after the # alone loads no page
    browser.ask("Page.navigate", url=url)
    while time.monotonic() < deadline:
        text = browser.value("document.body ? document.body.innerText : ''")
        if all(words in text for words in awaited):
            return text
        time.sleep(0.2)
    raise AssertionError(f"{[words for words in awaited if words not in text]} not in {url}: {text}")


def tuned(task):
    """Search, refit and register, as `tune` does for one experiment; returns the registered model."""
    settings = Settings(budget_minutes=10, max_trials=2, data="synthetic", tuner="random", prune=False)
    name = task.experiment.name
    with (
        journal_of(task, name) as journal,
        tracking.run(f"{name} search", {"role": "search", "search": journal.search}),
    ):
        tracking.describe_search(task.model_name, task.experiment.question, journal.search, list(task.experiment.best))
        found = search(task, journal, settings)
        return make_final_model(task, found, journal, 30.0, {"budget_minutes": 10}, [0])


def test_the_pages_of_mlflow_show_names_scores_and_descriptions(
    browser, serve, make_task, store, tmp_path, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    address = serve(store, tmp_path)  # while the server starts, the models are trained
    with tracking.run("other-synthetic final", {"role": "final", "experiment": "other"}):
        tracking.log_metrics({"test_accuracy": 0.5, "test_loss": 1.5})
    model = tuned(make_task())
    links = tracking.links(model.name, model.version, model.run_id, ui=address)

    finals = ["tiny-synthetic final", "other-synthetic final"]
    text = text_of(browser, links.runs, [*finals, "test_accuracy", "test_loss", "Compare the final models"])
    assert "2 matching runs" in text and "trial 01" not in text and "Token Usage" not in text
    text_of(browser, links.finals, [*finals, "Comparing 2 Runs"])
    trials = ["tiny-synthetic trial 01: best-known values", "tiny-synthetic trial 02: ", "Parallel Coordinates"]
    text_of(browser, links.trials, [*trials, "val_accuracy", "2 matching runs"])
    card = [
        "What it is.",
        "fitted with this seed alone",
        "recalled least often",
        "MIT (Zalando",
        "predict tiny-synthetic photo",
    ]
    text_of(browser, links.model, [*card, "tiny-synthetic final"])
    text_of(browser, links.model.partition("/versions")[0], ["Classifies images of fashion-mnist into 10 classes"])

    (logged,) = mlflow.search_logged_models(filter_string=f"source_run_id = '{model.run_id}'", output_format="list")
    of_data = {metric.key: metric.dataset_name for metric in logged.metrics}
    assert of_data["test_accuracy"] == "fashion-mnist-flat-test" and logged.name == "tiny-synthetic"
