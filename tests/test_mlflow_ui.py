"""What people see in MLflow's own UI: the store of a real search, served by `mlflow ui` and opened in headless Chromium."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from test_final import GREY
from test_page import Browser, pytestmark  # noqa: F401  (which skips this test where there is no Chromium)

TWO = """
EXPERIMENTS.append(
    Experiment("gray", "Does the other spelling do?", "tests", FashionMNIST(), "flat", build, recipe, {"rate": 2e-3})
)
"""


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


def test_the_pages_of_mlflow_show_names_scores_and_descriptions(
    browser, serve, run_here, tmp_path, empty_database, monkeypatch
):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "grey.py").write_text(GREY + TWO)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    address = serve(uri, tmp_path)  # while the server starts, the models are trained
    arguments = ("tune", "--data", "synthetic", "--budget-minutes", 0.05, "--max-trials", 2, "--prune", "false")
    tuned = run_here(*arguments, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert tuned.returncode == 0, tuned.stdout + tuned.stderr
    printed = [line.split(maxsplit=1) for line in tuned.stdout.splitlines() if "/#/" in line]
    pages = {what: url.replace("http://127.0.0.1:5000", address) for what, url in printed}

    awaited = ["grey-synthetic final", "gray-synthetic final", "test_accuracy", "test_loss", "Compare the final models"]
    text = text_of(browser, pages["runs:"], awaited)
    assert "Token Usage" not in text and "trial 01" not in text and "2 matching runs" in text

    text_of(browser, pages["finals:"], ["Comparing 2 Runs", "grey-synthetic final", "gray-synthetic final"])

    awaited = ["grey-synthetic trial 01: best-known values", "grey-synthetic trial 02: rate", "Parallel Coordinates"]
    assert "val_accuracy" in text_of(browser, pages["trials:"], awaited)

    awaited = ["What it is.", "% of the test images", "recalled least often", "MIT (Zalando", "predict grey-synthetic"]
    text_of(browser, pages["model:"], awaited)
    text_of(browser, pages["model:"].partition("/versions")[0], ["Classifies images of fashion-mnist into 10 classes"])
