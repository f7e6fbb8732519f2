"""Fixtures that tests share: synthetic data, a tiny experiment, and a SQLite store for each test."""

import gc
import os

# Set before TensorFlow is imported: each core runs a test, and networks this small gain nothing from a second thread.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# Servers of tests are on this machine, whatever proxy the user has.
os.environ |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")

import logging
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from mlproject import __main__ as commands
from mlproject.commands import mlproject
from mlproject.errors import UserError
from mlproject.datasets import FashionMNIST
from mlproject import tracking
from mlproject.experiment import Experiment
from mlproject.recipe import Recipe, Stage
from mlproject.rehearsal import rehearse
from mlproject.search import fingerprint
from mlproject.settings import Settings
from mlproject.task import Task
from mlproject.training import device, winograd
from mlproject.training.features import FeatureCache

import click
import keras
import mlflow
import numpy as np
import pytest
from keras import layers

gc.freeze()  # otherwise garbage collection examines all imported objects: a third of a second for every new network
# A process that a script starts in the background ignores SIGINT, but tests interrupt fits with it.
signal.signal(signal.SIGINT, signal.default_int_handler)
PROJECT = Path(__file__).parent.parent


def tiny_build(hp, spec):
    """A convolutional network that learns the synthetic data set in seconds."""
    images = keras.Input(spec.shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(hp.Int("width", 4, 16), 3, strides=2, activation="relu", name="low")(x)
    x = layers.Conv2D(16, 3, strides=2, activation="relu", name="high")(x)
    return keras.Model(images, layers.Dense(spec.classes, activation="softmax")(layers.Flatten()(x)))


def tiny_recipe(hp):
    """One stage that trains all layers, for at most three epochs, so that a trial is short with any budget."""
    stage = Stage("training", hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"), max_epochs=3)
    return Recipe((stage,), 64, "adamw", random_translation=2)


def tiny_staged_recipe(hp):
    """Two stages, both on frozen features."""
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    return Recipe(
        (Stage("feature-extraction", rate, "high", 0.3, 3), Stage("fine-tuning", rate, "low", 0.7, 3)), 64, "adamw"
    )


TINY = Experiment(
    name="tiny",
    question="Does the machinery work?",
    comparison="tests",
    dataset=FashionMNIST(),
    labels="flat",
    build=tiny_build,
    recipe=tiny_recipe,
    best={"width": 8, "learning_rate": 2e-3},
)


def rehearse_one(task, journals, **settings):
    """Rehearse one experiment as `tune` does."""
    project = tracking.connect()
    identity = fingerprint.take(task, Settings(**settings).deciding, tracking.address())
    rehearse([task], [identity], project, journals)


@pytest.fixture(scope="session")
def fashion():
    """The synthetic stand-in for Fashion-MNIST."""
    return FashionMNIST().load("flat", "synthetic")


@pytest.fixture
def make_task(fashion, tmp_path):
    """Return a function that makes a Task of an experiment on the synthetic data."""

    def make(experiment=TINY, data=fashion, seed=0):
        train, validation = data.split(seed)
        return Task(experiment, data, data.spec(), FeatureCache(tmp_path / "features", data), seed, train, validation)

    return make


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An initialised SQLite store without runs: creating one takes seconds, copying it hardly any time."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def new_store(empty_database):
    """Return a function that puts an empty SQLite store into a folder, and returns its URI."""

    def put(folder, name="mlflow.db"):
        shutil.copy(empty_database, folder / name)
        return f"sqlite:///{folder}/{name}"

    return put


@pytest.fixture(autouse=True)
def nothing_handed_down():
    """Remove the run and the experiment of other tests or of `mlflow run`, which MLflow keeps in environment variables."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        os.environ.pop(name, None)


@pytest.fixture
def store(tmp_path, new_store, monkeypatch):
    """Connect to a fresh SQLite store, and yield its URI."""
    uri = new_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    tracking.use_comparison(tracking.connect(), "tests")
    yield uri
    while mlflow.active_run():
        mlflow.end_run()


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def process_kept(monkeypatch):
    """Restore what our commands change in this process: signal handlers, hooks, loggers and MLflow's address."""
    handlers = {number: signal.getsignal(number) for number in map(signal.Signals, signal.valid_signals() & {1, 2, 15})}
    uri = mlflow.get_tracking_uri()
    loggers = {one: (one.level, list(one.handlers)) for one in map(logging.getLogger, ("mlproject", "tensorflow", ""))}
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    yield
    mlflow.set_tracking_uri(uri)
    device.configure("float32")
    winograd.set_enabled(True)
    for one, (level, shown) in loggers.items():
        one.setLevel(level)
        one.handlers[:] = shown
    for number, handler in handlers.items():
        signal.signal(number, handler)


def parsed(*words):
    """Read a command line; returns the command that it names, and its options by name."""
    name, command, context = "mlproject", mlproject, None
    words = list(words)
    try:
        while True:
            context = command.make_context(name, words, parent=context)
            if not isinstance(command, click.Group):
                return command, context.params
            name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    except click.UsageError as error:
        raise UserError(error.format_message()) from error


def asked(*words):
    """The settings of `tune` with these options."""
    _, given = parsed("tune", *words)
    return Settings(**{name: value for name, value in given.items() if name != "names"})


@pytest.fixture
def run_here(process_kept, monkeypatch, capsys):
    """Return a function that runs a command in this process, which saves the seconds for importing TensorFlow and MLflow.

    The function returns exit code, standard output and standard error, as `command` does.
    """

    def run(*arguments, cwd, **environment):
        monkeypatch.chdir(cwd)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = commands.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run


class Bomb:
    """What makes a folder when it is unpickled, so that a test sees that it was."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def copy_experiments(folder):
    """Copy the shipped experiments into a folder, without their notebooks."""
    leave_out = shutil.ignore_patterns("__pycache__", "*.ipynb")
    shutil.copytree(PROJECT / "experiments", folder / "experiments", ignore=leave_out)


def all_runs(client):
    """All runs of a store, in whichever of MLflow's experiments they are."""
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def command(*arguments, cwd, **environment):
    """Run `python -m mlproject ...` as a user would; returns the completed process with its text output."""
    return subprocess.run(
        [sys.executable, "-m", "mlproject", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
