"""The commands that look after models, data sets and the store, and what eighty wrong command lines are answered."""

import contextlib
import errno
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import brightness
import click
import mlflow
import pytest
import requests
from conftest import copy_experiments, parsed
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT, MLFLOW_SOURCE_NAME
from servers import PATIENCE, free_port
from versions import add_version

from mlproject import console, tracking
from mlproject.commands import mlproject
from mlproject.style import StyledFigure
from mlproject.tracking import housekeeping

# Each line after "mlproject", and what its answer says.
WRONG = """
tun | No such command 'tun'. Did you mean 'tune'
reports | Did you mean one of
train fashion-mnist-cnn | No such command 'train'. Did you mean 'tune'? (see `mlproject --help`)
fashion-mnist-cnn | No such command 'fashion-mnist-cnn'
--tune | No such option '--tune'
tune fashion-mnist-mpl | experiment='fashion-mnist-mpl' matches no experiment; did you mean fashion-mnist-mlp?
tune fashion-mnist-mpl | a list or a glob; with images=PATH also cnn, cnn-coarse, features, fine-tuned
explain fashion-mnist-mpl --images experiments | fashion-mnist-vgg16, cnn, cnn-coarse, features, fine-tuned, a list or a glob
notebook cifar100_cn | with images=PATH also cnn, cnn-coarse, features, fine-tuned, own_images, own_images.py
tune fashion-mnist-mlp,fashion-mnist-cn | experiment='fashion-mnist-cn' matches no experiment; did you mean fashion-mnist-cnn?
tune fashion-mnist-mlp fashion-mnist-cn | experiment='fashion-mnist-cn' matches no experiment
tune fashion-mnist-mlp --experiment fashion-mnist-cnn | accepted: one of the two ways
tune 'svhn-*' | experiment='svhn-*' matches no experiment; accepted: cifar100-coarse-cnn
tune experiments | a list or a glob; for images in a folder: images=experiments
tune --experiment | Option '--experiment' requires an argument
tune --experiment= | experiment='' matches no experiment
tune experiment=fashion-mnist-cnn | experiment='experiment=fashion-mnist-cnn' matches no experiment
tune --budget-minutes 0 | '0' is not accepted; accepted: minutes from 0.02
tune --budget-minutes 0.001 | '0.001' is not accepted; accepted: minutes from 0.02
tune --budget-minutes -5 | '-5' is not accepted
tune --budget-minutes 15m | '15m' is not accepted
tune --budget-minutes inf | 'inf' is not accepted
tune --budget-minutes nan | 'nan' is not accepted
tune --budget-minutes 1e9 | '1e9' is not accepted; accepted: minutes from 0.02 to 525600
tune --budget 5 | No such option '--budget'. Did you mean '--budget-minutes'
tune --budget_minutes 5 | Did you mean '--budget-minutes'
tune -budget-minutes 5 | No such option '-b'
tune --epochs 5 | No such option '--epochs'. Minutes decide how long models train: --budget-minutes of
tune --max-trials 1.5 | '1.5' is not accepted; accepted: a whole number
tune --max-trials -1 | '-1' is not accepted
tune --tuner grid | 'grid' is not one of 'hyperband', 'bayesian', 'random'
tune --tuner Bayesian | 'Bayesian' is not one of
tune --objective accuracy | 'accuracy' is not one of 'val_accuracy'
tune --prune no | 'no' is not accepted; accepted: true, false
tune --fresh | Option '--fresh' requires an argument
tune --fresh yes | 'yes' is not accepted; accepted: true, false
tune --seed -1 | '-1' is not accepted; accepted: a whole number from 0
tune --seed x | 'x' is not accepted; accepted: a whole number
tune --seed 4294967296 | accepted: a whole number from 0 to 2147483647
tune --seeds 0 | accepted: how many seeds, from 1 to 100
tune --seeds 1,1 | different seeds such as 0,1,2
tune --seeds 0..3 | accepted: how many seeds
tune --seeds 1,two | 'two' is not accepted; accepted: a whole number
tune --folds 1 | '1' is not accepted; accepted: a whole number from 2 to 1000
tune --folds -3 | '-3' is not accepted
tune --repeats 2 | repeats=2; accepted: 1, or with folds=2 or more
tune --folds 3 --repeats 0 | '0' is not accepted; accepted: a whole number from 1
tune --limit flops<3 | limit='flops<3' is not accepted; accepted: parameters<NUMBER
tune --limit parameters<1e6,ms<2 | limit='ms<2' is not accepted
tune --limit ms_per_image<2 --deterministic true | deterministic=true
tune --data imaginary | 'imaginary' is not one of 'real', 'synthetic'
tune --data-dir no/such/folder | data_dir=no/such/folder is not a folder
tune --image-size 4 | '4' is not accepted; accepted: auto, or pixels from 8 to 1024
tune --image-size big | 'big' is not accepted; accepted: auto, or pixels from 8
tune --image-fit stretch | 'stretch' is not one of 'crop', 'pad'
tune --image-size 64 | image_size=64; accepted: together with images=PATH
tune --image-fit pad | image_fit=pad; accepted: together with images=PATH
tune --base VGG16 | base=VGG16; accepted: together with images=PATH
tune --values width=32 --tempo 1 | No such option '--tempo'
tune fashion-mnist-mlp --data synthetic --values height=3 | values='height=3' is not accepted by fashion-mnist-mlp; accepted
tune cifar100-coarse-cnn --data synthetic --values width=40 | width=32..64 by 16
tune fashion-mnist-cnn --data synthetic --values activation | relu|silu
tune fashion-mnist-mlp --data synthetic --trials no-such.csv | trials='no-such.csv' cannot be read
tune --data synthetic --weights no-such.h5 | weights=no-such.h5 is not a file; accepted: imagenet, none
report fashion-mnist-cnn | Got unexpected extra argument (fashion-mnist-cnn)
report --model fashion-mnist-cnn | Did you mean one of
report | mlflow.db does not exist, so there are no runs and models yet
list --al | Did you mean one of
export | model='' names no model
export a --model b | accepted: one of the two ways
export a b | Got unexpected extra argument (b)
export fashion-mnist-cnn | mlflow.db does not exist
explain fashion-mnist-mpl | did you mean fashion-mnist-mlp?
notebook | experiment='' names no experiment
notebook cifar100_cn | experiment='cifar100_cn' matches no experiment; did you mean cifar100_cnn?
notebook cifar100_cnn --minutes 0 | '0' is not accepted
data chek photos | No such command 'chek'. Did you mean 'check'
data check | Missing argument 'PATH'
data check no/such/folder | no/such/folder
data fetch cifar10 | data set 'cifar10' is not known; did you mean cifar100? accepted: cifar100, fashion-mnist
ui | mlflow.db does not exist
predict | Missing argument 'MODEL'
predict fashion-mnist-cnn | Missing argument 'PATH...'
predict fashion-mnist-cnn photo.jpg | photo.jpg does not exist or cannot be reached; accepted: image files, folders
predict fashion-mnist-cnn photo.jpg --top 0 | '--top': 0 is not in the range
predict fashion-mnist-cnn photo.jpg --invert maybe | '--invert': 'maybe' is not one of 'auto', 'yes', 'no'
serve fashion-mnist-cnn --port 99999 | port=99999
serve fashion-mnist-cnn --port 19387 | mlflow.db does not exist
prune --older-than month | 'month' is not a valid integer
prune --older-than 7 | mlflow.db does not exist
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project folder without a store."""
    folder = tmp_path_factory.mktemp("project")
    copy_experiments(folder)
    return folder


@pytest.mark.parametrize(("line", "said"), [one.split(" | ") for one in WRONG.strip().splitlines()])
def test_a_wrong_command_line_is_answered_in_one_line(line, said, folder, run_here, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = run_here(*shlex.split(line), cwd=folder)
    (answer,) = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert done.returncode == 2 and said in answer, answer
    assert [one.name for one in folder.iterdir()] == ["experiments"]


@pytest.mark.parametrize(
    "words", ["export cnn --output=~/x", "notebook cnn --output=~/x", "predict cnn 1.png --show=~/x"]
)
def test_the_home_folder_may_stand_behind_an_equals_sign(words):
    _, given = parsed(*shlex.split(words))
    assert given["show" if "show" in given else "output"] == Path.home() / "x"


def test_help_lists_the_commands_in_the_order_of_use(capsys):
    with pytest.raises(click.exceptions.Exit):
        mlproject.make_context("mlproject", ["-h"])
    shown = capsys.readouterr().out
    assert shown.index("  tune ") < shown.index("  report ") < shown.index("  prune ")


def test_data_show_describes_a_data_set_and_draws_examples(folder, tmp_path, run_here):
    (tmp_path / "experiments").symlink_to(folder / "experiments")
    (tmp_path / "reports").touch()
    words = "data", "show", "fashion-mnist", "--data", "synthetic"
    assert "error: folder=reports/data cannot be written (Not" in run_here(*words, cwd=tmp_path).stderr
    (tmp_path / "reports").unlink()
    done = run_here(*words, cwd=tmp_path)
    assert done.returncode == 0 and "shape of an image" in done.stdout, done.stderr
    assert (tmp_path / "reports/data/fashion-mnist-synthetic.png").stat().st_size > 10_000


def test_a_full_disk_is_said_in_one_line(folder, tmp_path, run_here, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "fashion-mnist-synthetic.png")

    (tmp_path / "experiments").symlink_to(folder / "experiments")
    monkeypatch.setattr(StyledFigure, "savefig", fail)
    done = run_here("data", "show", "fashion-mnist", "--data", "synthetic", cwd=tmp_path)
    assert done.returncode == 1 and "\nerror: the disk is full: [Errno 28] " in f"\n{done.stderr}", done.stderr
    assert not list((tmp_path / "reports" / "data").iterdir())


def test_list_shows_all_experiments_before_the_first_run_and_says_why_there_are_no_models(
    folder, run_here, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = run_here("list", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    waiting = {row.split()[0] for row in rows if row.endswith(" (needs --images PATH)")}
    assert waiting == {"cnn", "features", "fine-tuned", "cnn-coarse"}
    assert [row for row in rows if row.split()[:1] == ["fashion-mnist-mlp"]]
    assert rows[-1].startswith("  none: ") and "mlflow.db does not exist, so there are no runs and models" in rows[-1]
    assert [one.name for one in folder.iterdir()] == ["experiments"]


def test_list_shows_how_to_load_the_newest_model_of_real_data(store, tmp_path, run_here):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text("from conftest import TINY\n\nEXPERIMENTS = [TINY]\n")
    for name, data in (("older", "real"), ("newer", "real"), ("aaa-synthetic", "synthetic")):
        add_version(name)
        tracking.set_version_tags(name, 1, {"data": data})
    assert run_here("list", cwd=tmp_path).stdout.endswith("load: mlflow.keras.load_model('models:/newer/1')\n")


def test_list_shows_experiments_and_the_models_with_an_alias_and_all_when_it_is_told(store, tmp_path, run_here):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text("from conftest import TINY\n\nEXPERIMENTS = [TINY]\n")
    scores = {"test_accuracy": 0.75, "test_accuracy_low": 0.7, "test_accuracy_high": 0.8}
    for val_accuracy in (0.5, 0.4, 0.3):
        add_version("cnn", val_accuracy=val_accuracy, **scores)

    def listed(*options):
        done = run_here("list", *options, cwd=tmp_path)
        assert done.returncode == 0 and "Does the machinery work?" in done.stdout, done.stderr
        return [line.split()[:4] for line in done.stdout.splitlines() if line.startswith("  cnn/")]

    accuracy = ["0.7500", "[0.7000,"]
    assert listed() == [["cnn/1", "champion", *accuracy], ["cnn/3", "challenger", *accuracy]]
    assert [row[0] for row in listed("--all")] == ["cnn/1", "cnn/2", "cnn/3"]


def test_list_shows_the_mean_over_several_seeds_with_its_interval_where_the_version_has_one(store, tmp_path, run_here):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text("from conftest import TINY\n\nEXPERIMENTS = [TINY]\n")
    older = {"test_accuracy": 0.75, "test_accuracy_low": 0.7, "test_accuracy_high": 0.8}
    older |= {"test_accuracy_mean": 0.76, "test_accuracy_std": 0.01, "seeds": 3}
    add_version("older", **older)
    add_version("newer", **older, test_accuracy_mean_low=0.71, test_accuracy_mean_high=0.81)
    done = run_here("list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "champion" in line]
    assert {row[0]: row[2:-3] for row in rows} == {
        "newer/1": ["0.7600", "[0.7100,", "0.8100]", "3"],
        "older/1": ["0.7600", "3"],
    }


def test_ui_refuses_a_port_that_is_in_use(store, tmp_path, run_here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_here("ui", "--port", port, cwd=tmp_path)
    assert done.returncode == 2 and f"port={port}: " in done.stderr and "a free port" in done.stderr


def test_ui_lists_the_pages_of_comparisons_where_there_are_any(store, tmp_path, run_here, monkeypatch):
    monkeypatch.setattr("os.execve", lambda *_: None)  # in place of MLflow's server, with which the command would go on
    brightness.register()  # a model of no comparison
    said = run_here("ui", "--port", free_port(), cwd=tmp_path).stdout
    assert "then open http://127.0.0.1:" in said and "comparison" not in said and "None" not in said
    tracking.set_version_tags(brightness.NAME, 1, {"comparison": "greys"})
    said = run_here("ui", "--port", free_port(), cwd=tmp_path).stdout
    assert "for each comparison" in said and "  greys: http://127.0.0.1:" in said and "brightness/versions/1" in said


def test_ui_offers_one_page_for_each_comparison_and_kind_of_data(store, tmp_path, run_here, monkeypatch):
    monkeypatch.setattr("os.execve", lambda *_: None)
    for name, data in (
        ("cnn", "real"),
        ("mlp", "real"),
        ("cnn-synthetic", "synthetic"),
        ("mlp-synthetic", "synthetic"),
    ):
        add_version(name)
        tracking.set_version_tags(name, 1, {"comparison": "nets", "data": data})
    runs = {model.name: model.run_id for model in tracking.final_models()}
    said = run_here("ui", "--port", free_port(), cwd=tmp_path).stdout
    pages = dict(line.strip().split(": ", 1) for line in said.splitlines() if line.startswith("  nets"))
    assert list(pages) == ["nets", "nets, synthetic data"]
    for page, names in zip(pages.values(), (("cnn", "mlp"), ("cnn-synthetic", "mlp-synthetic")), strict=True):
        assert {name for name, run_id in runs.items() if run_id in page} == set(names)


@pytest.mark.parametrize(("options", "quiet"), [((), True), (("-v",), False)])
def test_ui_begins_in_the_mode_for_training_and_its_server_is_quiet_without_v(
    options, quiet, store, tmp_path, run_here, monkeypatch
):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "MLFLOW_LOGGING_LEVEL"):  # -v changes them
        monkeypatch.setenv(name, "3")
    started, port = [], free_port()
    monkeypatch.setattr("os.execve", lambda *given: started.append(given))
    said = run_here("ui", "--port", port, *options, cwd=tmp_path).stdout
    console.show_messages()
    assert f"then open http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning\n" in said
    ((_, command, environment),) = started
    assert ("--log-level warning" in command) is ("starlette" in environment.get("PYTHONWARNINGS", "")) is quiet


@pytest.mark.slow
def test_the_server_of_ui_writes_neither_requests_nor_what_it_thinks_of_its_own_code(store, tmp_path):
    port = free_port()
    words = [sys.executable, "-m", "mlproject", "ui", "--port", str(port)]
    with open(tmp_path / "said.txt", "w") as said:
        server = subprocess.Popen(words, cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT)
    until, answered = time.monotonic() + PATIENCE, False
    while not answered:
        assert server.poll() is None and time.monotonic() < until, (tmp_path / "said.txt").read_text()
        time.sleep(0.2)
        with contextlib.suppress(requests.RequestException):
            answered = requests.get(f"http://127.0.0.1:{port}/health", timeout=10).ok
    server.terminate()
    server.wait(timeout=PATIENCE)
    written = (tmp_path / "said.txt").read_text()
    assert "then open http" in written and "GET /" not in written and "Starlette" not in written


def test_prune_passes_over_folders_that_another_process_has_deleted_meanwhile(tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    assert housekeeping.delete(housekeeping.Prunable([], [], [tmp_path / "gone", left])) == 0
    assert not left.exists()


def test_prune_shows_leftovers_and_deletes_them_only_when_told(store, tmp_path, run_here):
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("tests")
    with tracking.run("trial-01", {"role": "trial", "search": "abandoned"}) as old:
        pass
    with tracking.run("final", {"role": "final", "search": "abandoned"}) as final:
        pass
    failed, foreign, foreign_trial = (
        client.create_run("0", tags=tags).info.run_id
        for tags in (
            {MLFLOW_PROJECT_ENTRY_POINT: "tune", MLFLOW_SOURCE_NAME: f"file://{tmp_path}#"},
            {MLFLOW_PROJECT_ENTRY_POINT: "main", MLFLOW_SOURCE_NAME: "file:///elsewhere#"},
            {"role": "trial"},
        )
    )
    for run_id in (failed, foreign, foreign_trial):
        client.set_terminated(run_id, "FAILED")
    orphan = tmp_path / "mlruns" / experiment.experiment_id / "0123456789abcdef"
    orphan.mkdir(parents=True)
    traces = orphan.with_name("traces")  # MLflow's own folder for those of language models
    traces.mkdir()
    shown = run_here("prune", "--older-than", 0, cwd=tmp_path)
    assert "1 trial older than 0 days" in shown.stdout and "1 folder without a run" in shown.stdout
    assert shown.returncode == 0 and all(one in shown.stdout for one in (old, failed, str(orphan))), shown.stdout
    assert final not in shown.stdout and "nothing has been deleted; add --delete" in shown.stdout and orphan.exists()
    assert client.get_run(old).info.lifecycle_stage == "active"
    (tmp_path / "another.db").touch()  # the folder may belong to that store
    assert str(orphan) not in run_here("prune", "--older-than", 0, cwd=tmp_path).stdout
    (tmp_path / "another.db").unlink()
    assert "0 trials older than 1 day, of models" in run_here("prune", "--older-than", 1, cwd=tmp_path).stdout
    run_here("prune", "--older-than", 0, "--delete", cwd=tmp_path)
    kept = final, foreign, foreign_trial
    stages = [client.get_run(run_id).info.lifecycle_stage for run_id in (old, failed, *kept)]
    assert stages == ["deleted", "deleted", "active", "active", "active"] and not orphan.exists() and traces.exists()
