"""Registered models behind MLflow's server: labels for arrays and files, and one sentence for what cannot be pixels."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import mlflow
import numpy as np
import pytest
import requests
from brightness import NAME, register
from conftest import PROJECT
from photos import encoded, photograph
from servers import PATIENCE, free_port

from mlproject import tracking
from mlproject.errors import UserError
from mlproject.serve import examples, require_free, web_address

PAGE = PROJECT / "docs" / "how-to" / "predict-and-serve.md"
PIXELS = np.full((2, 28, 28, 1), 200)
PHOTO = base64.b64encode(encoded(photograph(size=(90, 90)), "JPEG")).decode()


@pytest.fixture(scope="module")
def uri(tmp_path_factory, new_store):
    """A store with the model, in a folder with a photograph."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "photo.jpg").write_bytes(base64.b64decode(PHOTO))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder))
        patch.chdir(folder)
        tracking.use_comparison(tracking.connect(), "tests")
        register()
        yield os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="module")
def server(uri):
    """The port of `mlproject serve`, and what it printed."""
    folder = uri.removeprefix("sqlite:///").removesuffix("/mlflow.db")
    port = free_port()
    command = [sys.executable, "-m", "mlproject", "serve", NAME, "--port", str(port)]
    with open(f"{folder}/said.txt", "w") as said:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | {"MLFLOW_TRACKING_URI": uri}, stdout=said)
    until = time.monotonic() + PATIENCE
    while not answers(port):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.2)
    yield port, folder
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 0 and not answers(port)


def answers(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/ping", timeout=10).ok
    except requests.RequestException:
        return False


def ask(server, payload):
    # JSON itself has no NaN, but Python writes and MLflow reads it.
    body, kind = json.dumps(payload), {"Content-Type": "application/json"}
    return requests.post(f"http://127.0.0.1:{server[0]}/invocations", body, headers=kind, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("payload", "labels"),
    [
        ({"inputs": PIXELS.tolist()}, ["light", "light"]),
        ({"inputs": PIXELS[..., 0].tolist()}, ["light", "light"]),
        ({"inputs": PIXELS.astype(float).tolist(), "params": {"invert": "yes"}}, ["dark", "dark"]),
        ({"instances": [PHOTO]}, ["dark"]),
        ({"inputs": [PHOTO, f"data:image/jpeg;base64,{PHOTO}"], "params": {"invert": "no"}}, ["light", "light"]),
        ({"dataframe_split": {"columns": ["image"], "data": [[PHOTO]]}}, ["dark"]),
        ({"dataframe_records": [{"image": PHOTO}]}, ["dark"]),
        ({"instances": [{"image": PHOTO}]}, ["dark"]),
        ({"inputs": np.zeros((150, 28, 28, 1), int).tolist(), "params": {"top": 1}}, ["dark"] * 150),
    ],
    ids=["pixels", "grey", "decimals", "base64", "data", "split", "records", "instances", "many"],
)
def test_arrays_and_files_are_answered_with_labels(server, payload, labels):
    done = ask(server, payload)
    assert done.status_code == 200, done.text
    predictions = done.json()["predictions"]
    assert [answer[0]["label"] for answer in predictions] == labels
    assert len(predictions[0]) == (payload.get("params", {}).get("top") or 3)
    probabilities = [guess["probability"] for guess in predictions[0]]
    assert probabilities == sorted(probabilities, reverse=True)


def with_one(value):
    pixels = PIXELS.astype(float)
    pixels[1, 5, 5, 0] = value
    return pixels.tolist()


WHOLE = "whole numbers from 0 to 255, not divided by 255"
REFUSED = {
    "decimals": ((PIXELS / 255).tolist(), rf"inputs\[0\] holds 0.784314; accepted: pixels of shape .*, {WHOLE}"),
    "black-and-white": ((PIXELS > 300).tolist(), r"something else than numbers \(bool\)"),
    "ones": (np.ones((1, 28, 28, 1)).tolist(), r"inputs\[0\] holds decimals, and none above 1.0"),
    "nan": (with_one(np.nan), r"inputs\[1\] holds nan; accepted: .*whole numbers"),
    "infinity": (with_one(np.inf), r"inputs\[1\] holds inf"),
    "beyond": (with_one(256), r"inputs\[1\] holds 256"),
    "negative": (with_one(-1), r"inputs\[1\] holds -1"),
    "null": ([[[[None]]]], r"something else than numbers"),
    "shape": (PIXELS[:, 1:].tolist(), r"inputs has the shape \(2, 27, 28, 1\); accepted: .*\(n, 28, 28, 1\)"),
    "one-image": (PIXELS[0].tolist(), r"inputs has the shape \(28, 28, 1\)"),
    "no-list": (5, "inputs is 5; accepted: a list"),
    "empty": ([], "inputs is empty; accepted: a list of one or more images"),
    "address": (["http://example.org/photo.jpg"], r"inputs\[0\] is 'http://example.org/photo.jpg', which is no base64"),
    "no-ascii": (["фото.jpg"], r"inputs\[0\] is 'фото.jpg', which is no base64"),
    "no-rows": ({"image": PHOTO}, r"inputs is "),
    "no-image": ([PHOTO, base64.b64encode(b"hello").decode()], r"inputs\[1\]: it is no JPEG, .* image"),
    "truncated": ([PHOTO[: len(PHOTO) // 8 * 4]], r"inputs\[0\]: it is damaged"),
    "no-content": ([""], r"inputs\[0\]: it is empty"),
    "column": ({"picture": [PHOTO]}, "the table has the columns picture; accepted: one column, image"),
}


@pytest.mark.parametrize(("inputs", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_an_image_is_refused_with_one_sentence(server, inputs, said):
    done = ask(server, {"inputs": inputs})
    answer = done.json()
    assert done.status_code == 400 and re.match(f".*{said}", answer["message"]), answer
    assert "\n" not in answer["message"] and len(answer["message"]) < 250 and "stack_trace" not in answer


def test_the_input_example_is_answered_and_the_plain_network_remains(uri, server):
    example = mlflow.pyfunc.load_model(f"models:/{NAME}@champion").input_example
    assert ask(server, {"inputs": example}).json()["predictions"][0][0]["label"] == "dark"
    plain = mlflow.keras.load_model(f"models:/{NAME}@champion")
    assert plain.predict(PIXELS.astype(np.uint8), verbose=0).argmax(axis=1).tolist() == [2, 2]


def test_the_documented_and_the_printed_examples_work(server):
    port, folder = server
    page = PAGE.read_text(encoding="utf-8").replace(":5001", f":{port}")
    (shell,) = [line for line in page.splitlines() if line.startswith("printf")]
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "requests" in block]
    with open(f"{folder}/said.txt") as file:
        said = file.read()
    printed_shell, printed_code = re.search(r"curl:\n(.*?)Python:\n(.*?)\n\n", said + "\n\n", re.DOTALL).groups()
    printed_code = "\n".join(line.strip() for line in printed_code.splitlines())
    python = [sys.executable, "-c"]
    for command in (["sh", "-c", shell], ["sh", "-c", printed_shell], [*python, code], [*python, printed_code]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert "dark" in done.stdout, done.stderr


def test_a_port_that_is_taken_or_none_is_refused(run_here, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 0, 65536):
            done = run_here("serve", NAME, "--port", port, cwd=tmp_path)
            assert done.returncode == 2 and f"port={port}: the server can't listen there" in done.stderr


def test_an_ipv6_address_stands_in_brackets_and_is_tested():
    assert web_address("::1", 5001) == web_address("::", 5001) == "http://[::1]:5001"
    assert web_address("0.0.0.0", 5000) == web_address("127.0.0.1", 5000) == "http://127.0.0.1:5000"
    lines = "\n".join(examples("::1", 5001))
    assert "curl 'http://[::1]:5001/invocations' -H" in lines and "post('http://[::1]:5001/invocations'" in lines
    try:
        taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = taken.getsockname()[1]
    with taken, pytest.raises(UserError, match=f"host='::1' port={port}: the server can't listen there .*in use"):
        require_free("::1", port)
    require_free("::1", port)
