"""The option `images`: experiments run on a user's own images, are named after them, and bad combinations are refused."""

import html
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import mlflow
import pytest
from conftest import PROJECT, TINY, all_runs, command
from photos import write_tree

from mlproject import tracking
from mlproject.datasets import ImageFolder
from mlproject.discovery import find
from mlproject.final import seeds
from mlproject.program import ExperimentScript
from mlproject.search import search as searches

EXPERIMENTS = """
from dataclasses import replace
from conftest import TINY

EXPERIMENTS = [
    replace(TINY, name="small", dataset=None, labels="fine"),
    replace(TINY, name="small-coarse", dataset=None, labels="coarse"),
    replace(TINY, name="fashion-tiny"),
]
"""
SMALL = ("--budget-minutes", "0.05", "--max-trials", "1")


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Two folders of images, which take longer to write than to copy."""
    folder = tmp_path_factory.mktemp("trees")
    write_tree(folder / "photos", images=30)
    write_tree(folder / "plants", ("fruit/apple", "fruit/pear", "root/beet", "root/leek"), images=20)
    return folder


@pytest.fixture
def project(tmp_path, trees, new_store):
    """A project with three experiments, of which two wait for images, and with two folders of images."""
    shutil.copytree(trees, tmp_path, dirs_exist_ok=True)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "own.py").write_text(EXPERIMENTS)
    new_store(tmp_path)
    return tmp_path


@pytest.fixture
def run(project, run_here):
    """Return a function that runs a command in the project."""

    def run(*arguments):
        return run_here(*arguments, cwd=project, MLFLOW_TRACKING_URI=store_of(project))

    return run


def store_of(project):
    return f"sqlite:///{project}/mlflow.db"


def runs_of(project):
    return all_runs(mlflow.MlflowClient(store_of(project)))


def names(found):
    return [(one.name, one.comparison, one.labels) for one in found]


@pytest.mark.slow
def test_a_search_on_own_images_ends_in_a_registered_pair_and_a_report(run, project, monkeypatch):
    measured, measure = [], searches.measure_throughput
    monkeypatch.setattr(searches, "measure_throughput", lambda *given: measured.append(given) or measure(*given))
    fitted, make = [], seeds.make_final_model
    monkeypatch.setattr("mlproject.tune.make_final_model", lambda *given: fitted.append(given[3]) or make(*given))
    words = ("tune", "--images", "plants", "--image-size", "16", "--image-fit", "pad", *SMALL)
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"\[1/2\] trial-01 of 1  validation accuracy .* of 0\.05 min left, 0\.\d for all experiments\n", done.stdout
    )
    assert re.search(r"\[2/2\] final fit 1 of 1, seed 0; 0\.\d of 0\.05 min left\n", done.stdout)
    coarse, fine = sorted(tracking.final_models(), key=lambda model: model.tags["labels"])
    assert (coarse.name, fine.name) == ("plants-small-coarse", "plants-small")
    assert coarse.tags["test.digest"] == fine.tags["test.digest"]
    assert "test_coarse_accuracy_sum" in fine.metrics
    tags = {"experiment": "plants-small", "comparison": "plants", "dataset": "plants", "labels": "fine", "data": "real"}
    assert tags.items() <= fine.tags.items() and fine.alias == "champion"
    assert len(measured) == 1 and len(set(fitted)) == 1  # a pair that differs in its labels alone has equally long fits

    page = (project / "reports" / "index.html").read_text()
    (command,) = {line for line in html.unescape(page).split("<") if "experiment=small " in line}
    assert "-P images=plants" in command and "-P image_fit=pad" in command  # as a user must repeat it
    again = run(*words)
    assert again.returncode == 0 and (again.stdout + again.stderr).count("already complete") == 2


def test_a_star_stands_for_the_experiments_that_wait_for_images_and_fit_them(project, monkeypatch):
    monkeypatch.chdir(project)
    flat, deep = ImageFolder("photos"), ImageFolder("plants")
    assert names(find("*", images=flat)) == [("photos-small", "photos", "flat")]
    assert names(find("*", images=deep)) == [
        ("plants-small", "plants", "fine"),
        ("plants-small-coarse", "plants", "coarse"),
    ]
    assert names(find("fashion*, small", images=deep)) == [
        ("plants-small", "plants", "fine"),
        ("plants-fashion-tiny", "plants", "fine"),
    ]
    assert [one.name for one in find("*")] == ["fashion-tiny"]


def test_a_base_takes_the_place_of_the_pretrained_networks_alone(tmp_path):
    photos = ImageFolder(write_tree(tmp_path / "photos"))
    found = find("*", PROJECT / "experiments", photos, "MobileNetV3Small")
    assert {one.name: one.pretrained for one in found} == {
        "photos-cnn": "",
        "photos-features": "MobileNetV3Small",
        "photos-fine-tuned": "MobileNetV3Small",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiment", "small"], ["experiment='small' needs images of your own", "images=PATH"]),
        (["--images", "photos", "--experiment", "small-coarse"], ["small-coarse", "superclasses", "SUPERCLASS/CLASS"]),
        (
            ["--images", "photos", "--base", "mobilenetv3smal"],
            ["base='mobilenetv3smal'", "did you mean MobileNetV3Small?"],
        ),
        (["--images", "no/photos"], ["no/photos does not exist", "accepted: a folder"]),
        (["--images", "photos", "--experiment", "large"], ["experiment='large' matches no experiment", "small"]),
    ],
)
def test_bad_combinations_are_refused_in_one_line_before_any_run(run, project, arguments, said):
    before = sorted(project.iterdir())
    done = run("tune", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert all(words in line for words in said), line
    assert "Traceback" not in done.stderr and sorted(project.iterdir()) == before and not runs_of(project)


def test_images_for_which_no_experiment_waits_are_refused(run, project):
    (project / "experiments" / "own.py").write_text(EXPERIMENTS.replace("dataset=None, ", ""))
    done = run("tune", "--images", "photos")
    assert done.returncode == 2 and "error: experiment='*' matches no experiment" in done.stderr
    assert not runs_of(project)


def test_images_never_take_the_name_of_another_experiments_model(run, project):
    (project / "photos").rename(project / "fashion")
    text = EXPERIMENTS.replace('name="small"', 'name="tiny"')
    (project / "experiments" / "own.py").write_text(text)
    done = run("tune", "--images", "fashion")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the images of fashion would name a model fashion-tiny, as another experiment does" in done.stderr


def test_an_experiments_file_run_by_itself_leaves_out_what_the_images_do_not_fit(project, process_kept, monkeypatch):
    monkeypatch.chdir(project)
    file = [replace(TINY, dataset=None), replace(TINY, name="tiny-coarse", dataset=None, labels="coarse")]

    def chosen(*arguments):
        monkeypatch.setattr(sys, "argv", ["own.py", *arguments])
        return [one.name for one in ExperimentScript().chosen(file)]

    assert chosen("--images", "photos") == ["tiny"]
    assert chosen("--images", "plants") == chosen() == ["tiny", "tiny-coarse"]
    assert chosen("--images", "photos", "--experiment", "tiny-coarse") == ["tiny-coarse"]  # which `train` refuses


def test_synthetic_images_in_place_of_large_ones_are_few(tmp_path):
    found = ImageFolder(
        write_tree(tmp_path / "many", [f"class {number}" for number in range(40)], images=4), image_size=256
    )
    data = found.load("flat", "synthetic")
    assert data.train_images.shape == (40 * 6, 256, 256, 3) and len(data.test_images) == 40 * 2
    assert len(ImageFolder(found.path, image_size=8).load("flat", "synthetic").train_images) == 40 * 150


def test_explain_shows_the_networks_for_own_images(run):
    done = run("explain", "--images", "photos", "--image-size", "16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("photos-small\n") and "tiny" not in done.stdout
    assert " 435 " in done.stdout  # the last layer's parameters for 3 classes: (3 x 3 x 16 + 1) x 3
    refused = run("explain", "--experiment", "fashion-tiny", "--base", "VGG16")
    assert refused.returncode == 2 and "base=VGG16" in refused.stderr


@pytest.mark.slow
def test_a_killed_search_goes_on_without_decoding_again(project):
    """In processes of their own, because a process that is killed takes everything with it."""
    paths = os.pathsep.join([str(PROJECT / "src"), str(PROJECT / "tests")])
    words = ["tune", "--images", "photos", "--deterministic", "true", "--budget-minutes", "0.3", "--max-trials", "3"]
    surroundings = {"MLFLOW_TRACKING_URI": store_of(project), "PYTHONPATH": paths}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlproject", *words],
        cwd=project,
        env=os.environ | surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:  # the first trial is finished then
        lines.append(line)
        if "trial-01" in line:
            break
    assert process.poll() is None, "".join(lines)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (pixels,) = (project / ".cache" / "images").glob("*.npy")
    written = pixels.stat().st_mtime_ns
    (project / "elsewhere").mkdir()
    (project / "photos").rename(project / "elsewhere" / "photos")
    words[2] = "elsewhere/photos"
    done = command(*words, cwd=project, **surroundings)
    assert done.returncode == 0 and "goes on after 1 trial\n" in done.stdout, done.stdout + done.stderr
    assert [path.stat().st_mtime_ns for path in (project / ".cache" / "images").glob("*.npy")] == [written]
    counts = [found.data.tags.get("trial", found.data.tags.get("role")) for found in runs_of(project)]
    assert counts.count("trial-01") == 1 and counts.count("final") == 1
