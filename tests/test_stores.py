"""Stores as people really bring them: odd paths and addresses, moved or foreign databases, servers with users."""

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest
from servers import PASSWORD, Server
from versions import add_version, register

from mlproject import process, tracking
from mlproject.errors import UserError


@pytest.fixture
def checkout(tmp_path, new_store, monkeypatch, process_kept):
    """Return a function that enters a folder with an empty store, where no variable names a store."""

    def enter(name="checkout"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        new_store(folder)
        # MLflow recorded the artifacts of the experiment Default in the folder where the database was made.
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            database.execute("UPDATE experiments SET artifact_location = ?", (f"{folder}/mlruns/0",))
        go(folder)
        return folder

    def go(folder):
        monkeypatch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # MLflow sets both for its child processes
            monkeypatch.delenv(name, raising=False)
        return tracking.connect()

    enter.go = go
    yield enter
    while mlflow.active_run():
        mlflow.end_run()


def log(text):
    """Log a run with an artifact, and return the file in the store that has it."""
    with tracking.run("run", {}) as run_id:
        tracking.log_json("one.json", {"text": text})
    file = Path(mlflow.get_run(run_id).info.artifact_uri, "one.json")
    assert text in file.read_text()
    return file


@pytest.mark.parametrize("name", ["with space ü", "100% a#b?c", "it's; [a] & 日本"])
def test_one_file_is_one_store_however_it_is_named(checkout, tmp_path, monkeypatch, name):
    folder = checkout(name)
    tracking.use_comparison(tracking.connect(), "tests")
    file = log("here")
    assert file.is_relative_to(folder / "mlruns") and tracking.address() == "sqlite:///mlflow.db"
    # As `mlflow run` hands it down, with the same function of MLflow.
    quoted = mlflow.utils.file_utils.path_to_local_sqlite_uri(folder / "mlflow.db")
    for uri in (quoted, "sqlite:///./mlflow.db", "sqlite:///mlflow.db?timeout=60", f"sqlite+pysqlite:///{quoted[10:]}"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        tracking.connect()
        assert tracking.address() == "sqlite:///mlflow.db"
        assert len(mlflow.search_runs(experiment_names=["tests"])) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlruns"]


def test_a_new_store_in_a_folder_with_odd_characters_leaves_nothing_else(tmp_path, monkeypatch, process_kept):
    folder = tmp_path / "50% of ü"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.utils.file_utils.path_to_local_sqlite_uri("mlflow.db"))
    tracking.connect()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_a_path_that_mlflow_misreads_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "a%20b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(
        UserError, match="a%20b cannot keep an MLflow store, because MLflow reads '%20' as ' '; accepted"
    ):
        tracking.connect()
    assert list(folder.iterdir()) == []


def test_a_moved_checkout_works_in_its_new_place(checkout, tmp_path, caplog):
    before = checkout("before/checkout")
    tracking.use_comparison(tracking.connect(), "tests")
    register("m")
    (model,) = tracking.final_models()
    mlflow.MlflowClient().log_text(model.run_id, "a,b", "tables/one.csv")
    tracking.use_comparison(tracking.connect(), "empty")
    after = tmp_path / "after ü"
    shutil.move(before, after)
    before.parent.rmdir()

    project = checkout.go(after)
    assert f"its artifacts in {before}/mlruns are now recorded in {after}/mlruns" in caplog.text
    (model,) = tracking.final_models()
    tracking.require_artifacts([model])
    assert model.artifact("tables/one.csv").read_text() == "a,b"
    assert tracking.load_model(model)[1] == ["<b>left</b>", "right"]
    for comparison in ("empty", "new", "tests"):
        tracking.use_comparison(project, comparison)
        assert log("after").is_relative_to(after)
    assert register("m", val_accuracy=0.9) == (2, "champion")
    assert mlflow.keras.load_model("models:/m@champion").count_params()
    assert not before.parent.exists()
    caplog.clear()
    checkout.go(after)
    assert "moved" not in caplog.text


def test_a_copied_checkout_is_a_store_of_its_own(checkout, tmp_path):
    original = checkout("original")
    tracking.use_comparison(tracking.connect(), "tests")
    old = log("original")
    shutil.copytree(original, tmp_path / "copy")
    before = sorted(original.rglob("*"))
    tracking.use_comparison(checkout.go(tmp_path / "copy"), "tests")
    assert log("copy").is_relative_to(tmp_path / "copy")
    assert sorted(original.rglob("*")) == before and old.read_text() == '{\n  "text": "original"\n}'
    tracking.use_comparison(checkout.go(original), "tests")
    assert log("original again").is_relative_to(original)


def test_artifacts_that_are_elsewhere_on_purpose_stay_there(checkout, tmp_path):
    folder = checkout("database")
    (tmp_path / "work").mkdir()
    mlflow.create_experiment("tests", artifact_location=f"{tmp_path}/work/mlruns/1")
    for _ in range(2):
        tracking.use_comparison(checkout.go(folder), "tests")
        assert log("work").is_relative_to(tmp_path / "work" / "mlruns")
    assert not (folder / "mlruns").exists()


def test_artifacts_that_are_gone_are_named_and_not_made_anew(checkout, tmp_path):
    before = checkout("before/checkout")
    tracking.use_comparison(tracking.connect(), "tests")
    register("m")
    (tmp_path / "after").mkdir()
    shutil.move(before / "mlflow.db", tmp_path / "after")
    shutil.rmtree(before.parent)

    project = checkout.go(tmp_path / "after")
    (model,) = tracking.final_models()
    with pytest.raises(UserError, match=f"no artifact of m is left in {before}/mlruns.*accepted"):
        tracking.require_artifacts([model])
    with pytest.raises(UserError, match=rf"m/1 cannot be loaded .*accepted: .*{before}/mlruns"):
        tracking.load_model(model)
    with pytest.raises(UserError, match=f"'tests' keeps its artifacts in {before}/mlruns/1, and .* does not exist"):
        tracking.use_comparison(project, "tests")
    assert not before.parent.exists()


def tables(path):
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


def test_the_database_of_another_program_is_left_alone(tmp_path, monkeypatch):
    with closing(sqlite3.connect(tmp_path / "notes.db")) as database, database:
        database.execute("CREATE TABLE notes (text)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/notes.db")
    with pytest.raises(UserError, match="notes.db' is the database of another program .*notes.*accepted"):
        tracking.connect()
    assert tables(tmp_path / "notes.db") == {"notes"}


# The first is the revision of MLflow 1.0's tables.
@pytest.mark.parametrize(
    ("revision", "said"),
    [
        (
            "451aebb31d03",
            "made by an older MLflow; accepted: copy the file, then run `mlflow db upgrade sqlite:///mlflow.db`",
        ),
        ("ffffffffffff", "made by a newer MLflow than 3.* accepted: that newer MLflow, or another database"),
    ],
)
def test_a_database_of_another_mlflow_is_refused_with_what_helps(checkout, revision, said):
    folder = checkout()
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    with pytest.raises(UserError, match=said):
        tracking.connect()


def test_an_empty_file_becomes_a_store(tmp_path, monkeypatch, process_kept):
    """Also if the address has options of the driver."""
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db?timeout=60")
    tracking.connect()
    assert mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_experiment("0").tags["mlproject"] == "true"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


class Page(BaseHTTPRequestHandler):
    """Another program's web server."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_):
        pass


@pytest.fixture
def other_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqllite:///mlflow.db", "unsupported URI 'sqllite:///mlflow.db'"),
        ("sqlite:/mlflow.db", "names no database file, so nothing would be kept"),
        ("sqlite://mlflow.db", "names no database file"),
        ("sqlite://", "names no database file"),
        ("sqlite:///:memory:", "names no database file"),
        ("sqlite:///file:mlflow.db?mode=memory&uri=true", "names no database file"),
        ("sqlite:///.", "is not writable"),
        ("sqlite:///no/such/folder/mlflow.db", "is not writable"),
        ("./mlruns", "filesystem tracking backend"),
        ("file:./mlruns", "filesystem tracking backend"),
        ("localhost:5000", "unsupported URI 'localhost:5000'"),
        ("http://127.0.0.1:9", "Connection refused"),
        (
            "http://no-such-host.invalid:5000/",
            "'http://no-such-host.invalid:5000' cannot be used: .*(not known|name resolution)",
        ),
        ("http://OTHER", "was not in a valid JSON format"),
        ("https://OTHER", "SSL"),
        ("databricks", "Databricks"),
        ("mysql://me:secret@127.0.0.1/runs", r"'mysql://\*\*\*@127.0.0.1/runs' cannot be used: No module named"),
    ],
)
def test_a_wrong_address_is_refused_with_the_cause(uri, said, tmp_path, monkeypatch, other_server, process_kept):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("OTHER", other_server))
    with pytest.raises(UserError, match=f"^MLFLOW_TRACKING_URI=.*{said}.*accepted: ") as refused:
        tracking.connect()
    assert "\n" not in str(refused.value) and "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_registry_in_another_place_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tracking.connect()
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///registry.db")
    with pytest.raises(
        UserError, match="MLFLOW_REGISTRY_URI='sqlite:///registry.db' is not the store of the runs, 'sqlite:"
    ):
        tracking.connect()


@pytest.mark.parametrize("state", ["missing", "ended", "deleted"])
def test_a_run_id_that_is_left_over_in_the_shell_is_ignored_with_a_warning(store, monkeypatch, caplog, state):
    client = mlflow.MlflowClient()
    run_id = "0" * 32 if state == "missing" else client.create_run("0").info.run_id
    if state == "ended":
        client.set_terminated(run_id)
    if state == "deleted":
        client.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    project = tracking.connect()
    assert f"MLFLOW_RUN_ID={run_id} is ignored" in caplog.text and project.run_id is None
    project.set_description("nothing")
    tracking.use_comparison(project, "tests")
    with tracking.run("search", {}) as own:
        assert own != run_id


@pytest.mark.parametrize("experiment", ["99", "deleted", "no number"])
def test_an_experiment_id_that_is_left_over_is_named(store, monkeypatch, experiment):
    if experiment == "deleted":
        experiment = mlflow.create_experiment("gone")
        mlflow.delete_experiment(experiment)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    with pytest.raises(UserError, match=f"MLFLOW_EXPERIMENT_ID='{experiment}' .*cannot be logged into.*unset"):
        tracking.use_comparison(tracking.connect(), "tests")


def test_an_experiment_name_that_is_left_over_changes_nothing(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "missing")
    tracking.use_comparison(tracking.connect(), "tests")
    with tracking.run("search", {}) as run_id:
        pass
    client = mlflow.MlflowClient()
    assert client.get_experiment(client.get_run(run_id).info.experiment_id).name == "tests"


def test_the_repository_of_another_user_is_named_once_with_what_mends_it(tmp_path, monkeypatch, caplog):
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("giving a folder to another user needs root")
    for name, value in {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "SUDO_UID": ""}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    subprocess.run(["git", "init", "-q"], check=True)
    for path in (tmp_path / "clone", tmp_path / "clone" / ".git"):
        os.chown(path, 12345, 12345)
    assert [tracking.git_commit() for _ in range(2)] == ["unknown"] * 2
    assert caplog.text.count(f"`git config --global --add safe.directory {tmp_path}/clone` mends it") == 1


def test_models_of_other_people_are_neither_reported_nor_lose_their_aliases(store):
    client = mlflow.MlflowClient()
    client.create_registered_model("without versions")
    client.create_registered_model("theirs")
    client.create_model_version("theirs", "s3://bucket/model", tags={"experiment": "same tag", "comparison": "tests"})
    client.set_registered_model_alias("theirs", "champion", "1")
    client.create_registered_model("m")
    for alias in ("champion", "challenger", "shipped"):
        version = client.create_model_version("m", "s3://bucket/model").version
        client.set_registered_model_alias("m", alias, version)
    client.create_model_version("m", "s3://bucket/model")
    client.delete_model_version("m", "4")
    assert tracking.final_models() == []
    assert add_version("m") == (5, "")
    assert tracking.alias_of("m", 5) == "" and tracking.final_models() == []
    (model,) = tracking.final_models(["m/5"])
    assert (model.version, model.alias) == (5, "")
    with pytest.raises(UserError, match="models='m/1': no such version; accepted: m/5"):
        tracking.final_models(["m/1"])
    with pytest.raises(UserError, match="models='theirs': no such model; accepted: m"):
        tracking.final_models(["theirs"])
    client.delete_registered_model_alias("m", "champion")
    assert add_version("m", val_accuracy=0.1) == (6, "champion")
    assert [(model.name, model.version) for model in tracking.final_models()] == [("m", 6)]
    aliases = client.get_registered_model("m").aliases
    assert {alias: int(number) for alias, number in aliases.items()} == {"champion": 6, "challenger": 2, "shipped": 3}


def test_a_database_without_users_permits_everything_and_keeps_no_trace_of_the_question(store, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    tracking.check_permissions(tracking.connect(), "new", "m")
    client = mlflow.MlflowClient()
    assert client.search_registered_models() == [] and len(mlflow.search_runs(search_all_experiments=True)) == 0
    assert client.get_experiment_by_name("new")


@pytest.fixture
def server_with_users(tmp_path, new_store, monkeypatch, process_kept):
    """A real server on which alice owns the comparison and the model "hers", and bob owns nothing."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("a server with users needs the package Flask-WTF (mlflow[auth])")
    folder = tmp_path / "server"
    folder.mkdir()
    new_store(folder, "server.db")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\nadmin_username = admin\n"
        f"admin_password = {PASSWORD}\nauth_cache_ttl_seconds = 600\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    variables = {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret"}
    server = Server(folder, "--app-name", "basic-auth", **variables)
    server.start()
    server.create_users("alice", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.address}/")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    tracking.check_permissions(tracking.connect(), "hers", "hers")
    mlflow.MlflowClient().create_registered_model("hers")
    tracking.check_permissions(tracking.connect(), "hers", "hers")
    yield server
    server.kill()


def test_a_server_with_users_says_before_training_what_is_not_permitted(server_with_users, monkeypatch):
    address = server_with_users.address
    assert tracking.address() == address
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    project = tracking.connect()
    with pytest.raises(
        UserError, match="MLflow's experiment 'hers' at .* may not be logged into by the user 'bob'; accepted"
    ):
        tracking.use_comparison(project, "hers")
    with pytest.raises(
        UserError, match="model 'hers' at .* may not get a version from the user 'bob'; accepted: .*EDIT"
    ):
        tracking.check_permissions(project, "his", "hers")
    tracking.check_permissions(project, "his", "his")
    with tracking.run("search", {}):
        tracking.log_json("one.json", {})

    grant = {"resource_type": "registered_model", "resource_id": "hers", "username": "bob", "permission": "EDIT"}
    server_with_users.post("3.0/mlflow/users/permissions/grant", grant, "alice")
    tracking.check_permissions(project, "his", "hers")
    client = mlflow.MlflowClient()
    assert [model.name for model in client.search_registered_models()] == ["hers"]
    assert client.search_model_versions("name = 'hers'") == []
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong password")
    with pytest.raises(UserError, match="cannot be used: .*not authenticated.*MLFLOW_TRACKING_PASSWORD"):
        tracking.connect()


def test_a_run_that_another_user_of_this_machine_left_running_stops_nobody(server_with_users, monkeypatch):
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("hers").experiment_id
    dead = {"host": process.host(), "process": "999999999 0"}  # there is no such process
    run = client.create_run(experiment, tags=dead)
    for user, status in (("bob", "RUNNING"), ("alice", "KILLED")):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        tracking.connect()
        assert client.get_run(run.info.run_id).info.status == status


def test_a_refused_run_of_another_user_does_not_keep_ones_own(server_with_users, monkeypatch):
    client, refused = mlflow.MlflowClient(), {}
    for user in ("bob", "alice"):  # hers is the newest, whose turn comes first
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)  # MLflow sets it
        tracking.use_comparison(tracking.connect(), user)
        with tracking.run("project", {"refused": "seed=x"}) as refused[user]:
            pass
        client.set_terminated(refused[user], "FAILED")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    tracking.connect()
    stages = {user: client.get_run(run_id).info.lifecycle_stage for user, run_id in refused.items()}
    assert stages == {"bob": "deleted", "alice": "active"}


def test_prune_deletes_no_trials_of_other_users(server_with_users, monkeypatch, tmp_path, run_here):
    with tracking.run("trial-01", {"role": "trial", "search": "hers"}) as trial:
        pass
    for user, stage in (("bob", "active"), ("alice", "deleted")):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        done = run_here("prune", "--older-than", 0, "--delete", cwd=tmp_path)
        assert done.returncode == 0 and trial in done.stdout, done.stdout + done.stderr
        assert ("kept 1 run that only another user may delete" in done.stdout) == (user == "bob")
        assert mlflow.MlflowClient().get_run(trial).info.lifecycle_stage == stage


def test_each_model_that_has_lost_its_files_is_named_before_the_report_is_made_of_the_others(store):
    for name in ("kept", "lost"):
        add_version(name)
    models = tracking.final_models()
    mlflow.MlflowClient().log_text(models[0].run_id, "a,b", "tables/one.csv")
    with pytest.warns(UserWarning) as warned:
        tracking.require_artifacts(models)
    (message,) = [str(warning.message) for warning in warned if "has lost its files" in str(warning.message)]
    assert message.startswith("lost/1 ") and models[1].artifact_location in message


def test_a_report_without_artifacts_replaces_nothing(store, tmp_path, run_here):
    register("m")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "index.html").write_text("good")
    done = run_here("report", cwd=tmp_path, MLFLOW_TRACKING_URI=store)
    assert done.returncode == 2 and "no artifact of m is left" in done.stderr
    assert (tmp_path / "reports" / "index.html").read_text() == "good"
