"""Measure the latency and the throughput of `mlflow models serve` with a registered model.

    python bench/serving.py --experiment fashion-mnist-cnn          (6 minutes on 2 cores, and once the installation of locust)

The network of the experiment's best-known values, with random weights, is registered in a temporary store, served by `mlproject
serve`, and asked about synthetic images by locust (https://locust.io), which is installed under .cache/peers. A row is a kind of
input (numbers in JSON, for grey images also without their channel; or PNG files in base64), a number of images in a request, and
a number of clients that each send one request after the other. Its columns are the milliseconds from a request to its answer that
half of the requests (p50) and 99 % of them (p99) stay below, requests and images per second, and the number of requests. Locust
rounds milliseconds: to whole ones below 100, and to two digits above. The clients run on the same cores as the server.
"""

import argparse
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mlproject import process, tracking
from mlproject.discovery import find
from mlproject.final.artifacts import version_tags
from mlproject.task import prepare

import numpy as np
import pandas as pd
import requests
from PIL import Image

from peers import PEERS, PROJECT, python_of
from servers import started

PEERS["locust"] = ["locust==2.47.*"]
BATCHES, CLIENTS = (1, 64), (1, 4)
JSON = {"Content-Type": "application/json"}


def bodies(images: np.ndarray) -> dict[str, bytes]:
    """A request with these images for each kind of input."""
    encoded = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
        encoded.append(base64.b64encode(file.getvalue()).decode())
    inputs = {"numbers": images.tolist(), "base64": encoded}
    if images.shape[-1] == 1:
        inputs["numbers without the channel"] = images[..., 0].tolist()
    return {kind: json.dumps({"inputs": one}).encode() for kind, one in inputs.items()}


def measure(address: str, body: bytes, clients: int, seconds: int, folder: Path) -> dict[str, float]:
    """One row: what locust saw, after two requests that it did not see."""
    for _ in range(2):
        requests.post(f"{address}/invocations", body, headers=JSON, timeout=600).raise_for_status()
    (folder / "body.json").write_bytes(body)
    command = [python_of("locust"), "-m", "locust", "-f", PROJECT / "bench" / "load.py", "--headless", "--only-summary"]
    command += ["-u", str(clients), "-r", str(clients), "-t", f"{seconds}s"]
    command += ["--host", address, "--csv", folder / "seen"]
    subprocess.run(command, env=os.environ | {"LOAD_BODY": str(folder / "body.json")}, check=True, capture_output=True)
    total = pd.read_csv(folder / "seen_stats.csv").set_index("Name").loc["Aggregated"]
    found = {"p50, ms": "50%", "p99, ms": "99%", "requests/s": "Requests/s", "requests": "Request Count"}
    return {column: float(total[name]) for column, name in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="fashion-mnist-cnn")
    parser.add_argument("--seconds", type=int, default=25, help="of a row (default: 25)")
    options = parser.parse_args()
    (task,) = prepare(find(options.experiment, PROJECT / "experiments"), "synthetic")
    python_of("locust")
    rows = []
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        folder = Path(temporary)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        tracking.use_comparison(tracking.connect(), "serving")
        model, data = task.network(task.experiment.best)[0], task.data
        with tracking.run("final", {"role": "final", "experiment": task.experiment.name}):
            version = tracking.register(
                model, "served", data.class_names, data.test_images[:1], version_tags(task, task.seed), data.preparation
            )
        with started(folder, "/ping", "mlproject", "serve", f"served/{version}") as (address, _):
            for batch in BATCHES:
                for kind, body in bodies(data.test_images[:batch]).items():
                    for clients in CLIENTS:
                        seen = measure(address, body, clients, options.seconds, folder)
                        rate = {"images/s": batch * seen["requests/s"]}
                        rows.append({"input": kind, "images": batch, "clients": clients} | seen | rate)
                        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(1).to_string(index=False))


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    main()
