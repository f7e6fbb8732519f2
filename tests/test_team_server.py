"""A team's server: PostgreSQL, users, artifacts through the server, and several first writers at the same moment."""

import importlib.util
import os
import subprocess
import sys

import mlflow
import postgres
import pytest
import registered
import requests
from conftest import PROJECT
from servers import PASSWORD, Server
from versions import CLASSES, EXAMPLE, network

from mlproject import tracking
from mlproject.errors import UserError

# Processes that have imported everything and then do the same thing at the same moment.
FIRST_WRITERS = """
import multiprocessing, os, sys, traceback
import numpy as np
sys.path.insert(0, TESTS)
from versions import network
from mlproject import tracking

processes = int(sys.argv[1])
together = multiprocessing.Barrier(processes, timeout=300)


def work(number):
    images, labels = np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int64)
    project = tracking.connect()
    together.wait()
    tracking.check_permissions(project, "comparison", "model")
    with tracking.run("final", {"role": "final"}):
        for data in range(5):
            together.wait()
            tracking.log_dataset(f"data {data}", "digest", "seed 0", images, labels, "training")
        tracking.describe_search("tiny", "Which one is best?", "search", ["width"])
        tracking.log_params({"budget_minutes": 1})
        tracking.log_metrics({"val_accuracy": 0.9 - number / 10, "train_seconds": 1})
        model, tags = network(), {"experiment": "tiny", "dataset.digest": "digest"}
        together.wait()
        version = tracking.register(model, "model", ["left", "right"], images, tags)
        together.wait()
        tracking.promote("model", version)
        tracking.describe("model", version, "A model.", "A version.")


for number in range(processes):
    if os.fork() == 0:
        try:
            work(number)
        except BaseException:
            traceback.print_exc()
            together.abort()
            os._exit(1)
        os._exit(0)
codes = [os.waitpid(-1, 0)[1] for _ in range(processes)]
sys.exit(any(codes))
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """The server of a team with the users alice and bob, who may see, but not change what is the other's."""
    if postgres.find_programs() is None:
        pytest.skip("a team's server needs PostgreSQL's initdb and pg_ctl (Debian's package postgresql)")
    for package in ("flask_wtf", "psycopg"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"a team's server needs the package {package} (mlproject[server])")
    folder = tmp_path_factory.mktemp("team")
    before = mlflow.get_tracking_uri()
    with postgres.running() as uri, pytest.MonkeyPatch.context() as patch:
        (folder / "auth.ini").write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {uri}\nauth_cache_ttl_seconds = 600\n"
        )
        server = Server(
            folder, "--app-name", "basic-auth", "-w", "2", "--backend-store-uri", uri,
            MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"), MLFLOW_FLASK_SERVER_SECRET_KEY="secret",
            MLFLOW_AUTH_ADMIN_USERNAME="admin", MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
        )  # fmt: skip
        server.start()
        try:
            server.create_users("alice", "bob")
            patch.setenv("MLFLOW_TRACKING_URI", server.address)
            patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
            yield server
        finally:
            server.kill()
            mlflow.set_tracking_uri(before)


@pytest.fixture
def user(team, tmp_path, monkeypatch):
    """Return a function that makes this process another one's, on a machine without anything."""

    def become(name):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
        return tracking.connect()

    yield become
    while mlflow.active_run():
        mlflow.end_run()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_three_first_writers_at_the_same_moment_all_finish_and_the_best_is_champion(team, user, tmp_path):
    script = FIRST_WRITERS.replace("TESTS", repr(str(PROJECT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", script, "3"],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_USERNAME": "alice"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    user("alice")
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("comparison").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert [len(run.inputs.dataset_inputs) for run in runs] == [5] * 3
    versions = client.search_model_versions("name = 'model'")
    assert {version.run_id for version in versions} == {run.info.run_id for run in runs}
    assert tracking.final_model("model").metrics["val_accuracy"] == 0.9


@pytest.mark.slow
def test_what_one_person_registers_another_one_reports_and_loads_by_name(user, tmp_path, run_here):
    model = registered.three_flat(tmp_path)[0]
    tracking.use_comparison(user("alice"), model.tags["comparison"])
    assert registered.put_into_store(model, network(3), EXAMPLE) == "champion"

    user("bob")
    loaded = tracking.load_model(tracking.final_model(model.name))
    assert loaded.model.count_params() == 51 and loaded.class_names == list(registered.FLAT)
    done = run_here("report", "--models", model.name, cwd=tmp_path / "bob")
    assert done.returncode == 0, done.stderr
    assert model.name in (tmp_path / "bob" / "reports" / "index.html").read_text()


def test_a_version_of_somebody_elses_new_model_is_refused_with_what_helps(user):
    tracking.use_comparison(user("alice"), "alice's")
    tags = {"experiment": "m", "dataset.digest": "d"}
    project = user("bob")
    tracking.check_permissions(project, "bob's", "shared")  # nobody has registered it yet
    user("alice")
    mlflow.MlflowClient().create_registered_model("shared")
    tracking.use_comparison(user("bob"), "bob's")
    with (
        pytest.raises(UserError, match="'shared' .*may not get a version from the user 'bob'; accepted: .*EDIT"),
        tracking.run("final", {}) as run_id,
    ):
        tracking.register(network(), "shared", CLASSES, EXAMPLE, tags)
    assert mlflow.get_run(run_id).info.status == "FAILED"


def test_a_start_does_not_list_what_others_have_on_the_server(user, monkeypatch):
    user("alice")
    client = mlflow.MlflowClient()
    for number in range(5):
        client.create_run(client.create_experiment(f"of another project {number}"))
    tracking.use_comparison(user("bob"), "mine")
    with tracking.run("search", {"search": "one", "role": "search"}) as run_id:
        pass
    answers = []
    send = requests.Session.send

    def record(session, request, **options):
        answers.append((request.path_url.rpartition("/mlflow/")[2], send(session, request, **options)))
        return answers[-1][1]

    monkeypatch.setattr(requests.Session, "send", record)
    user("bob")
    assert tracking.find_run("one", "search") == run_id
    assert 0 < len(answers) <= 6, [path for path, _ in answers]
    assert not [path for path, answer in answers if "of another project 3" in answer.text]
