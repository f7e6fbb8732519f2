"""Runs, the registry and the champion rule, on a real SQLite store."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from mlflow.cli import gc
from mlflow.exceptions import MlflowException
from versions import CLASSES, EXAMPLE, add_version, network, register

from mlproject import tracking
from mlproject.errors import UserError
from mlproject.tracking.abandoned import owner_tags


def test_only_a_higher_validation_accuracy_takes_the_champion_alias(store):
    assert add_version(val_accuracy=0.5) == (1, "champion")
    assert add_version(val_accuracy=0.5) == (2, "challenger")
    assert add_version(val_accuracy=0.4) == (3, "challenger")
    assert add_version(val_accuracy=0.6) == (4, "champion")
    (model,) = tracking.final_models()
    assert (model.name, model.version, model.metrics["val_accuracy"]) == ("m", 4, 0.6)


def test_the_objective_of_the_new_version_moves_the_champion_alias(store):
    add_version(val_accuracy=0.6)  # of an older search, without other scores
    assert add_version(objective="val_loss", val_accuracy=0.5, val_loss=0.1) == (2, "challenger")
    assert add_version(objective="val_loss", val_accuracy=0.7, val_loss=0.4, val_macro_f1=0.5) == (3, "champion")
    assert add_version(objective="val_loss", val_accuracy=0.9, val_loss=0.5) == (4, "challenger")
    assert add_version(objective="val_loss", val_accuracy=0.5, val_loss=0.3, val_macro_f1=0.6) == (5, "champion")
    assert add_version(objective="val_macro_f1", val_accuracy=0.9, val_loss=0.1, val_macro_f1=0.5) == (6, "challenger")
    assert add_version(objective="val_macro_f1", val_accuracy=0.1, val_loss=0.9, val_macro_f1=0.7) == (7, "champion")
    assert add_version(objective="val_accuracy", val_accuracy=0.2) == (8, "champion")


def test_a_version_has_the_runs_of_its_other_seeds(store):
    add_version()
    (alone,) = tracking.final_models()
    client = mlflow.MlflowClient()
    with tracking.run("seed 1", {"role": "final"}) as other:
        tracking.log_params({"seed": 1})
        tracking.log_metrics({"test_accuracy": 0.4})
    client.set_model_version_tag("m", "1", "seeds", "0,1,2")
    client.set_model_version_tag("m", "1", "seed_runs", f"{alone.run_id},{other},{'0' * 32}")  # the last was deleted
    (model,) = tracking.final_models()
    (seed,) = model.other_seeds
    assert alone.other_seeds == () and (seed.run_id, seed.params, seed.metrics["test_accuracy"]) == (
        other,
        {"seed": "1"},
        0.4,
    )
    assert seed.artifact("evaluation/predictions.npz") is None


def test_a_name_with_a_full_stop_is_registered_as_it_is(store):
    assert register("m-share-0.2") == (1, "champion")
    (model,) = tracking.final_models()
    assert model.name == "m-share-0.2" and tracking.load_model(model).model.input_shape == (None, 4, 4, 1)
    assert tracking.logged_model_id("m-share-0.2", 1)


def test_accuracies_on_other_data_do_not_count(store):
    add_version(val_accuracy=0.5, digest="one")
    assert add_version(val_accuracy=0.9, digest="two") == (2, "challenger")


def test_a_larger_budget_takes_the_champion_alias_and_a_smaller_one_does_not(store):
    add_version(val_accuracy=0.5, budget_minutes=15)
    assert add_version(val_accuracy=0.4, budget_minutes=60) == (2, "champion")
    assert add_version(val_accuracy=0.9, budget_minutes=15) == (3, "challenger")
    assert add_version(val_accuracy=0.5, budget_minutes=60) == (4, "champion")


@pytest.mark.parametrize("other", [{"max_trials": 1}, {"folds": 5}, {"folds": 5, "repeats": 2}, {"seeds": 3}])
def test_where_trials_are_not_comparable_the_longer_fit_takes_the_champion_alias(other, store):
    add_version(val_accuracy=0.5, train_seconds=500)
    assert add_version(val_accuracy=0.4, **other, train_seconds=800) == (2, "champion")
    assert add_version(val_accuracy=0.6, train_seconds=500) == (3, "challenger")
    assert add_version(val_accuracy=0.5, **other, train_seconds=790) == (4, "champion")


def test_a_champion_whose_run_is_deleted_for_good_gives_way(store):
    register(val_accuracy=0.9)
    (champion,) = tracking.final_models()
    mlflow.delete_run(champion.run_id)
    done = CliRunner().invoke(gc, ["--backend-store-uri", store])
    assert done.exit_code == 0, done.output
    with pytest.warns(UserWarning, match="m/1 is left out: its run is deleted"):
        assert tracking.final_models() == []
    assert add_version(val_accuracy=0.1) == (2, "champion")


def test_an_exception_fails_the_run_and_an_interruption_kills_it(store):
    with pytest.raises(ValueError), tracking.run("fails", {}) as failed:
        raise ValueError("what happened\nmore")
    with pytest.raises(KeyboardInterrupt), tracking.run("stops", {}) as killed:
        raise KeyboardInterrupt
    runs = [mlflow.get_run(run_id) for run_id in (failed, killed)]
    assert [run.info.status for run in runs] == ["FAILED", "KILLED"]
    assert runs[0].data.tags["failure"] == "ValueError: what happened"


def test_a_run_that_a_user_deletes_meanwhile_fails_alone(store):
    with tracking.run("search", {}) as parent:
        with pytest.raises(MlflowException, match="active"), tracking.run("trial", {}, nested=True) as deleted:
            mlflow.delete_run(deleted)
            tracking.log_metrics({"loss": 1.0})
        with tracking.run("next trial", {}, nested=True) as following:
            pass
    runs = [mlflow.get_run(run_id) for run_id in (parent, following)]
    assert [run.info.status for run in runs] == ["FINISHED"] * 2 and mlflow.active_run() is None
    assert runs[1].data.tags["mlflow.parentRunId"] == parent


def test_a_deleted_experiment_is_refused(store, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID")
    project = tracking.connect()
    mlflow.delete_experiment(mlflow.create_experiment("gone"))
    with pytest.raises(UserError, match="'gone' cannot be logged into: .*deleted"):
        tracking.use_comparison(project, "gone")


def test_the_commit_is_that_of_the_start_whatever_is_changed_later(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking.git_commit() == "unknown"
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    first = tracking.git_commit()
    Path("new.txt").write_text("new")
    assert re.fullmatch("[0-9a-f]{40}", first) and tracking.git_commit() == first


@pytest.mark.parametrize(
    ("written", "changes"),
    [("photos/one.jpg", False), ("run.log", False), ("experiments/new.py", True), ("kept.md", True)],
)
def test_changed_files_and_new_code_are_changes_of_the_commit_and_other_new_files_are_not(
    written, changes, tmp_path, monkeypatch
):
    (tmp_path / "kept.md").write_text("as it was committed")
    (tmp_path / "inner").mkdir()
    (tmp_path / written).parent.mkdir(exist_ok=True)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "kept.md"], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / written).write_text("new")
    for folder in (tmp_path, tmp_path / "inner"):
        monkeypatch.chdir(folder)
        assert tracking.git_commit().endswith("+changes") is changes


def test_artifacts_come_back_or_are_none(store):
    add_version()
    (model,) = tracking.final_models()
    assert model.artifact("plots/none.png") is None and model.artifact("none.csv") is None
    client = mlflow.MlflowClient()
    client.log_text(model.run_id, "a,b\n1,2\n", "tables/one.csv")
    assert model.artifact("tables/one.csv").read_text() == "a,b\n1,2\n"


def test_the_project_run_is_annotated_and_not_resumed(store, monkeypatch):
    outer = mlflow.MlflowClient().create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", outer.info.run_id)
    project = tracking.connect()
    project.set_description("what came out")
    with tracking.run("search", {}) as inner:
        assert inner != outer.info.run_id
    assert mlflow.get_run(outer.info.run_id).data.tags["mlflow.note.content"] == "what came out"


def test_the_run_of_a_refused_project_command_says_why_and_the_next_command_deletes_it(store):
    client = mlflow.MlflowClient()
    run_id = client.create_run("0", tags={"mlflow.source.type": "PROJECT"}).info.run_id
    tracking.mark_refused(run_id, "seed=x is not accepted")
    assert client.get_run(run_id).data.tags["refused"] == "seed=x is not accepted"
    client.set_terminated(run_id, "FAILED")  # as `mlflow run` does
    tracking.connect()
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"


def test_the_run_of_a_project_command_with_results_is_kept_when_only_its_report_cannot_be_written(store, monkeypatch):
    client = mlflow.MlflowClient()
    run_id = client.create_run("0", tags={"mlflow.source.type": "PROJECT"}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    tracking.connect().set_description("what came out")
    tracking.mark_refused(run_id, "reports cannot be written")
    assert "refused" not in client.get_run(run_id).data.tags


def test_what_a_user_writes_into_descriptions_stays(store):
    client = mlflow.MlflowClient()
    add_version()
    tracking.describe("m", 1, "of the model", "of the version")
    assert client.get_registered_model("m").description == "of the model"
    client.update_registered_model("m", "of the user")
    tracking.describe("m", 1, "of the model", "of the version again")
    assert client.get_registered_model("m").description == "of the user"
    assert client.get_model_version("m", "1").description == "of the version again"

    def description_after(search):
        with tracking.run("search", {"role": "search"}):
            tracking.describe_search("tiny", "Which one?", search, ["width"])
        return client.get_experiment_by_name("tests").tags["mlflow.note.content"]

    text = description_after("first")
    experiment = client.get_experiment_by_name("tests").experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", f"{text}\n\nOf the user:\n\n| a | b |\n|---|---|")
    text = description_after("second")
    assert "\n\nOf the user:\n\n| a | b |\n|---|---|\n\n" in text and "viewStateShareKey=second)" in text
    assert text.count("**tiny**") == 1 and "viewStateShareKey=first)" not in text


def test_the_view_of_final_models_shows_the_mean_of_several_seeds_beside_the_accuracy_that_sorts_it(store):
    with tracking.run("search", {"role": "search"}):
        tracking.describe_search("tiny", "Which one?", "first", ["width"])
    tags = mlflow.MlflowClient().get_experiment_by_name("tests").tags
    view = json.loads(tags["mlflow.sharedViewState.finals"])
    models, first, second, *others = view["selectedColumns"]
    assert (models, first, second) == ("attributes.`Models`", "metrics.`test_accuracy`", "metrics.`test_accuracy_mean`")
    assert view["orderByKey"] == first and "metrics.`test_loss`" in others


def test_a_store_that_cannot_be_opened_is_a_user_error(tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    path.write_text("this is no database, but text that is long enough to be taken for one" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    with pytest.raises(UserError, match="mlflow.db.*accepted"):
        tracking.connect()


def test_another_password_is_no_other_store(process_kept):
    addresses = set()
    for password in ("old", "new"):
        mlflow.set_tracking_uri(f"https://me:{password}@example.org")
        addresses.add(tracking.address())
    assert addresses == {"https://***@example.org"}


def test_a_data_set_is_an_input_with_digest_and_source(store, tmp_path):
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.arange(3)
    known = {"one": str(tmp_path), "two": "https://example.org/images.tar.gz"}
    # MLflow refuses addresses such as the last.
    sources = known | {"three": "synthetic, seed 0", "four": "hf://datasets/x"}
    for digest, source in sources.items():
        with tracking.run("final", {}) as run_id:
            tracking.log_dataset("tiny-train", digest, source, images, labels, "training")
        (logged,) = mlflow.get_run(run_id).inputs.dataset_inputs
        assert (logged.dataset.name, logged.dataset.digest) == ("tiny-train", digest)
        assert {"mlflow.data.context": "training", "source": source}.items() <= {
            t.key: t.value for t in logged.tags
        }.items()
        assert (source in logged.dataset.source) == (digest in known)


@pytest.fixture
def versions(store):
    """Register model "a" with champion 2 and challenger 3, and model "b" with champion 1 in another comparison."""
    client = mlflow.MlflowClient()
    for name, version, comparison in (("a", 1, "x"), ("a", 2, "x"), ("a", 3, "x"), ("b", 1, "y")):
        if version == 1:
            client.create_registered_model(name)
        with tracking.run(name, {}) as run_id:
            tracking.log_metrics({"test_accuracy": version / 10})
        tags = {"experiment": name, "comparison": comparison, "dataset.digest": "d"}
        client.create_model_version(name, f"runs:/{run_id}/model", run_id, tags=tags)
    aliases = (("a", "champion", "2"), ("a", "challenger", "3"), ("b", "champion", "1"), ("b", "shipped", "1"))
    for name, alias, version in aliases:
        client.set_registered_model_alias(name, alias, version)


def test_versions_are_selected_by_name_alias_number_and_comparison(versions):
    for selectors, comparisons, found in (
        ((), (), [("a", 2, "champion"), ("b", 1, "champion")]),
        (("a@challenger", "a/1", "a/3", "a"), (), [("a", 3, "challenger"), ("a", 1, ""), ("a", 2, "champion")]),
        ((), ("y",), [("b", 1, "champion")]),
        (("b@shipped", "b", "b/1"), (), [("b", 1, "shipped")]),
        (("a/1", "b"), ("x",), [("a", 1, "")]),
    ):
        models = tracking.final_models(selectors, comparisons)
        assert [(model.name, model.version, model.alias) for model in models] == found
        assert all(model.metrics["test_accuracy"] == model.version / 10 for model in models)
        assert all(model.url.startswith("http://127.0.0.1:5000/#/experiments/") for model in models)


def test_models_that_are_read_together_link_to_the_comparison_of_their_runs(versions):
    one, another, other = tracking.final_models(["a@challenger", "a/1", "b"])
    root, mode = "http://127.0.0.1:5000/#", "workflowType=machine_learning"
    experiment = mlflow.get_run(one.run_id).info.experiment_id
    runs, experiments = f"%5B%22{one.run_id}%22%2C%22{another.run_id}%22%5D", f"%5B%22{experiment}%22%5D"
    assert one.finals_url == f"{root}/compare-runs?runs={runs}&experiments={experiments}&{mode}"
    assert another.finals_url == one.finals_url and other.finals_url == ""  # the only one of its comparison
    assert other.version_url == f"{root}/models/b/versions/1?{mode}"
    assert other.trials_url == ""  # its run names no search


def test_a_model_links_to_the_trials_of_its_search(store):
    client = mlflow.MlflowClient()
    client.create_registered_model("a")
    with tracking.run("final", {"search": "0123"}) as run_id:
        pass
    client.create_model_version("a", f"runs:/{run_id}/model", run_id, tags={"experiment": "a", "dataset.digest": "d"})
    model = tracking.final_model("a/1")
    trials = tracking.links_of("a", 1, run_id).trials
    assert model.trials_url == trials and trials.endswith("&compareRunsMode=CHART&viewStateShareKey=0123")


def test_the_page_of_final_runs_has_the_reported_version_and_the_champions_of_the_same_comparison_and_data(store):
    real, synthetic = ({"comparison": "nets", "data": data} for data in ("real", "synthetic"))
    runs = {}
    for name, val_accuracy, tags in (
        ("a", 0.5, real),
        ("a", 0.4, real),  # the newest of "a", and its challenger
        ("b", 0.5, real),
        ("c", 0.5, real | {"comparison": "others"}),
        ("a-synthetic", 0.5, synthetic),
    ):
        version, _ = add_version(name, val_accuracy=val_accuracy)
        tracking.set_version_tags(name, version, tags)
        runs[name, version] = mlflow.MlflowClient().get_model_version(name, str(version)).run_id
    for reported, compared in (
        (("a", 1), [("a", 1), ("b", 1)]),
        (("a", 2), [("a", 2), ("b", 1)]),
        (("b", 1), [("a", 1), ("b", 1)]),
        (("a-synthetic", 1), []),  # the only one of its data
    ):
        page = tracking.links_of(*reported, runs[reported]).finals
        places = {version: page.index(run_id) for version, run_id in runs.items() if run_id in page}
        assert sorted(places, key=places.__getitem__) == compared


def test_a_selection_that_matches_nothing_is_refused(versions):
    for selectors, comparisons, said in (
        (("c",), (), "models='c': no such model; accepted: a, b"),
        (("a/9",), (), "models='a/9': no such version; accepted: a/1, a/2, a/3"),
        (("a/x",), (), "models='a/x': no such version"),
        (("b@challenger",), (), "no version has the alias 'challenger'; accepted: b@champion, b@shipped, b/1"),
        ((), ("z",), "comparison='z': no model belongs to it; accepted: x, y"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            tracking.final_models(selectors, comparisons)


def test_a_final_run_registers_one_version_however_often_it_is_done(store):
    found = None
    for _ in range(2):
        with tracking.run("final", {"role": "final", "search": "one"}, resume=found) as run_id:
            tracking.log_metrics({"val_accuracy": 0.5})
            version = tracking.register(network(), "m", CLASSES, EXAMPLE, {})
        assert (version, tracking.promote("m", version)) == (1, "champion")
        found = tracking.find_run("one", "final")
        assert found == run_id
    assert tracking.version_of("m", found) == 1 and tracking.version_of("m", "other") is None
    assert {
        alias: int(number) for alias, number in mlflow.MlflowClient().get_registered_model("m").aliases.items()
    } == {"champion": 1}


REGISTERS = f"""
import sys
from mlproject import tracking
sys.path.append({str(Path(__file__).parent)!r})
from versions import register
tracking.use_comparison(tracking.connect(), "tests")
print(register())
"""


def test_the_first_model_that_a_process_saves_is_registered_without_remarks_of_mlflow(store):
    environment = os.environ | {"MLFLOW_LOGGING_LEVEL": "WARNING"}
    done = subprocess.run([sys.executable, "-c", REGISTERS], env=environment, capture_output=True, text=True)
    assert done.stdout.endswith("(1, 'champion')\n"), done.stderr
    assert "Successfully registered" not in done.stderr and "Created version" not in done.stderr


def test_a_model_that_an_interrupted_attempt_left_unfinished_is_replaced(store):
    with tracking.run("final", {"role": "final"}) as run_id:
        unfinished = mlflow.initialize_logged_model(name="model", source_run_id=run_id)
        assert tracking.register(network(), "m", CLASSES, EXAMPLE, {}) == 1
    (logged,) = mlflow.search_logged_models(filter_string=f"source_run_id = '{run_id}'", output_format="list")
    assert logged.model_id != unfinished.model_id


def test_a_command_ends_what_it_left_running_but_not_the_run_of_mlflow_run(store):
    client = mlflow.MlflowClient()
    elsewhere = {"host": "elsewhere", "process": "1 1"}
    runs = [client.create_run("0", tags=tags).info.run_id for tags in (owner_tags(), owner_tags(), elsewhere)]
    tracking.end_own_runs(project_run_id=runs[1])
    assert [client.get_run(run_id).info.status for run_id in runs] == ["KILLED", "RUNNING", "RUNNING"]
    tracking.end_own_runs()
    assert [client.get_run(run_id).info.status for run_id in runs] == ["KILLED", "KILLED", "RUNNING"]


OPENS_A_RUN = """
from mlproject import tracking
tracking.use_comparison(tracking.connect(), "tests")
with tracking.run("open", {}) as run_id:
    print(run_id, flush=True)
    input()
"""


def test_the_next_start_ends_the_runs_of_killed_processes_and_no_others(store, caplog):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, living = (subprocess.Popen([sys.executable, "-c", OPENS_A_RUN], **pipes) for _ in range(2))
    runs = {name: process.stdout.readline().strip() for name, process in (("killed", killed), ("living", living))}
    killed.kill()
    killed.wait()
    client = mlflow.MlflowClient()
    # A process of another host may be alive, whatever its id. A run without our tags is not ours.
    tags = client.get_run(runs["killed"]).data.tags
    for name, others in {"elsewhere": {"host": "elsewhere", "process": tags["process"]}, "theirs": {}}.items():
        runs[name] = client.create_run("0", tags=others).info.run_id
    project = {"mlflow.source.type": "PROJECT", "mlflow.source.name": str(Path.cwd())}
    runs["unseen"] = client.create_run("0", tags=project).info.run_id
    runs["their project"] = client.create_run("0", tags=project | {"mlflow.source.name": "/other"}).info.run_id
    with tracking.run("ours", {}) as runs["ours"], caplog.at_level("INFO", "mlproject"):
        tracking.connect()
        status = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    ended = {name for name, state in status.items() if state != "RUNNING"}
    assert ended == {"killed", "unseen"} and status["killed"] == "KILLED"
    assert "ended 2 runs that an earlier command had left open" in caplog.text
    living.communicate("\n")
    assert client.get_run(runs["living"]).info.status == "FINISHED"
