"""An experiment's file as a program: options, export, refusals, interruption."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import PROJECT, TINY, copy_experiments

from mlproject.datasets import CIFAR100
from mlproject.errors import UserError
from mlproject.networks.cost import Throughput
from mlproject.program import ExperimentScript, facts

PAGE = (PROJECT / "docs" / "how-to" / "add-a-model.md").read_text(encoding="utf-8")
NAME = "fashion-mnist-resnet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the project's experiments, with the documentation's example added as a file."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT / "MLproject", folder)
    copy_experiments(folder)
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "EXPERIMENTS = " in block]
    assert len(example.splitlines()) < 60
    (folder / "experiments" / "fashion_mnist_resnet.py").write_text(example, encoding="utf-8")
    return folder


def nested_build(hp, spec):
    """A network with a model in it."""
    base = keras.Sequential([keras.Input(spec.shape), keras.layers.Conv2D(3, 3, name="conv")], name="base")
    images = keras.Input(spec.shape, dtype="uint8")
    x = keras.layers.Flatten(name="flat")(base(keras.layers.Rescaling(1 / 255)(images)))
    return keras.Model(images, keras.layers.Dense(spec.classes, activation="softmax")(x))


def program(folder, *arguments):
    """Start `python experiments/fashion_mnist_resnet.py ...`."""
    return subprocess.Popen(
        [sys.executable, "experiments/fashion_mnist_resnet.py", *arguments],
        cwd=folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The process that started the tests may have set SIGHUP to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


@pytest.mark.slow
def test_the_documented_example_is_tuned_registered_and_reported(folder, run_here, new_store):
    done = run_here(
        "tune", "--experiment", NAME, "--data", "synthetic", "--budget-minutes", "0.05", "--max-trials", "2",
        cwd=folder, MLFLOW_TRACKING_URI=new_store(folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert f"models:/{NAME}-synthetic@champion" in done.stdout
    assert NAME in (folder / "reports" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_documented_example_trains_and_exports_as_a_program(folder, monkeypatch):
    monkeypatch.chdir(folder)
    running = program(folder, "--data", "synthetic", "--minutes", "0.03")
    said, warned = running.communicate(timeout=900)
    assert running.returncode == 0, said + warned
    assert f"exports/{NAME}-synthetic.keras" in said and "test accuracy" in said
    (line,) = [line for line in said.splitlines() if "load it with: " in line]
    names = {}
    exec(line.partition("load it with: ")[2], names)  # users load the model with the printed line
    probabilities = names["predict"](np.zeros((2, 28, 28, 1), np.uint8), verbose=0)
    assert probabilities.shape == (2, 10)
    assert len(json.loads((folder / "exports" / f"{NAME}-synthetic.classes.json").read_text())) == 10
    plots = {path.name for path in (folder / "exports").glob("fashion_mnist_resnet-synthetic-*.png")}
    assert plots == {f"fashion_mnist_resnet-synthetic-{NAME}-{plot}.png" for plot in ("curves", "confusion")}


@pytest.fixture
def given(folder, process_kept, monkeypatch):
    """Return a function that reads the options as a program with these arguments would."""

    def read(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["experiments/fashion_mnist_resnet.py", *arguments])
        return ExperimentScript(minutes=7)

    return read


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--minutes", "0"], ["--minutes", "'0'", "minutes from 0.02"]),
        (["--minutes", "soon"], ["--minutes", "'soon'", "minutes from 0.02"]),
        (["--format", "h5"], ["--format", "h5", "saved_model"]),
        (["--seed", "-1"], ["--seed"]),
        (["--output", "MLproject/exports"], ["MLproject/exports", "writable"]),
        (["--tempo", "1"], ["--tempo", "--help"]),
    ],
)
def test_a_bad_option_is_refused_with_what_is_accepted(given, arguments, said):
    with pytest.raises(UserError) as error:
        given(*arguments)
    assert all(words in str(error.value) for words in said), str(error.value)


def test_tables_are_computed_from_the_data_the_network_and_the_published_study(given, fashion):
    run = given()
    counted = dict(facts(fashion).itertuples(index=False))
    assert (counted["training images"], counted["classes"], counted["a pixel"]) == ("1,500", "10", "uint8, 0 to 255")
    assert counted["share of the largest class in the test images"] == "10.0%"
    table = run.layers(TINY, fashion.spec()).set_index("layer")
    assert table.loc["low", ["input_shape", "output_shape"]].tolist() == ["28 × 28 × 1", "13 × 13 × 8"]
    nested = run.layers(replace(TINY, build=nested_build), fashion.spec()).set_index("layer")
    assert nested.loc["base/conv", "output_shape"] == "26 × 26 × 3" and nested.loc["flat", "input_shape"] == ""
    assert run.trials(TINY).columns.tolist() == ["not published here"]
    folder = run.root / "reports" / "published" / "tables"
    folder.mkdir(parents=True)
    (folder / "tiny.trials.csv").write_text("trial,reason,val_accuracy,width\na,,0.5,4\nb,,0.75,8\n")
    assert run.trials(TINY).to_dict("list") == {"trial": ["b", "a"], "val_accuracy": [0.75, 0.5], "width": [8, 4]}
    (folder / "tiny.trials.csv").write_text("trial,val_accuracy,refitted,width\na,0.5,yes,4\nb,0.75,,8\n")
    assert run.trials(TINY)["refitted"].tolist() == ["", "yes"]


def test_an_hour_has_the_values_best_known_for_it(given, fashion, monkeypatch):
    run = given("--data", "synthetic", "--minutes", "60", "--output", "hour")  # TINY ends after three epochs
    experiment = replace(TINY, best_in_an_hour={"width": 12})
    table = run.layers(experiment, fashion.spec()).set_index("layer")
    assert table.loc["low", "output_shape"] == "13 × 13 × 12"
    monkeypatch.setattr("mlproject.export._compare", lambda *_: None)  # another test looks at the export
    trained = run.train(experiment)
    assert trained.model.get_layer("low").filters == 12


def test_a_pair_that_differs_in_labels_alone_has_one_plan(given, monkeypatch, capsys):
    speeds = iter((3000.0, 9000.0))
    monkeypatch.setattr(
        "mlproject.program.measure_throughput", lambda *_: Throughput({"training": next(speeds)}, {}, False, 0.0)
    )
    monkeypatch.setattr("mlproject.export._compare", lambda *_: None)  # another test looks at the export
    run = given("--data", "synthetic", "--minutes", "0.02", "--output", "pair")
    fine = replace(TINY, dataset=CIFAR100(), labels="fine")
    for experiment in (fine, replace(fine, labels="coarse")):
        run.train(experiment)
    first, second = re.findall(r"training (?:\d+ epochs? of )?\d+ batch.*", capsys.readouterr().out)
    assert first == second


def test_what_the_user_can_mend_takes_one_line_and_exit_code_2(given, capsys):
    with pytest.raises(UserError, match="fashion-mnist-mlp.*accepted: tiny") as refused:
        given("--experiment", "fashion-mnist-mlp").chosen([TINY])
    with pytest.raises(SystemExit) as left:
        sys.excepthook(UserError, refused.value, None)
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {refused.value}"]


def test_a_notebook_takes_the_same_options_from_the_environment(given, monkeypatch):
    monkeypatch.setattr("mlproject.program.in_notebook", lambda: True)
    monkeypatch.setenv("MLPROJECT_ARGUMENTS", "--minutes 3 --data synthetic")
    run = given("-f", "kernel.json")
    assert (run.options.minutes, run.options.data, run.notebook) == (3.0, "synthetic", True)


def test_help_states_the_minutes(given, capsys):
    with pytest.raises(SystemExit) as left:
        given("--help")
    assert left.value.code == 0 and "default: 7" in " ".join(capsys.readouterr().out.split())


def test_an_interrupted_program_exits_with_130_and_leaves_no_half_export(folder):
    running = program(folder, "--data", "synthetic", "--minutes", "5", "--output", "interrupted")
    for line in running.stdout:
        if re.search("epochs? of", line):
            break
    time.sleep(1)
    running.send_signal(signal.SIGHUP)  # as of a closed terminal
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in errors and "interrupted" in errors, errors
    assert not list((folder / "interrupted").iterdir())
