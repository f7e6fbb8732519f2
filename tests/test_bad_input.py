"""Bad input gives exit code 2 and one line that names the value and what is accepted. Nothing is trained or logged."""

import gzip
import re
import socket
import subprocess

import pytest
from conftest import PROJECT, copy_experiments


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project folder with the shipped experiments and nothing else."""
    folder = tmp_path_factory.mktemp("project")
    copy_experiments(folder)
    return folder


@pytest.fixture
def refusal(run_here):
    """Return a function that runs a command, checks that it is refused and writes no files, and returns its one line."""

    def refuse(folder, *arguments, **environment):
        before = sorted(folder.iterdir())
        done = run_here(*arguments, cwd=folder, **environment)
        assert done.returncode == 2, done.stdout + done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in done.stderr and "trial-01" not in done.stdout
        assert sorted(folder.iterdir()) == before
        return line

    return refuse


def test_a_truncated_archive_is_refused_before_training(refusal, folder, tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(bytes(10_000))[:-20])
    line = refusal(folder, "tune", "--experiment", "fashion-mnist-mlp", "--data-dir", tmp_path)
    assert "-ubyte.gz" in line and "truncated or damaged" in line


def test_a_patience_that_is_no_number_is_refused(refusal, folder):
    line = refusal(folder, "tune", "fashion-mnist-mlp", "--data", "synthetic", MLPROJECT_PATIENCE="5m")
    assert "MLPROJECT_PATIENCE='5m'" in line and "seconds" in line


def test_a_server_that_does_not_answer_is_refused(refusal, folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        uri = f"http://me:secret@{address}"
        line = refusal(folder, "report", MLFLOW_TRACKING_URI=uri, MLFLOW_HTTP_REQUEST_TIMEOUT="1")
    assert f"http://***@{address}" in line and "secret" not in line


def test_an_output_that_is_no_folder_is_refused(refusal, folder):
    line = refusal(
        folder,
        "notebook",
        "--experiment",
        "fashion-mnist-mlp",
        "--output",
        folder / "experiments" / "fashion_mnist_mlp.py",
    )
    assert "output=" in line and "writable folder" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [("import no_such_module\n", "no_such_module"), ("EXPERIMENTS = [3]\n", "TypeError: EXPERIMENTS")],
)
def test_a_file_that_is_broken_is_named_and_the_others_still_work(refusal, run_here, tmp_path, content, said):
    copy_experiments(tmp_path)
    (tmp_path / "experiments" / "broken.py").write_text(content)
    line = refusal(tmp_path, "explain", "--experiment", "*")
    assert "broken.py" in line and said in line
    done = run_here("explain", "--experiment", "fashion-mnist-mlp", cwd=tmp_path)
    assert done.returncode == 0 and "probabilities" in done.stdout and "broken.py" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tune", "experiment=fashion-mnist-cnn"], 'experiment=... is not accepted; accepted: ARGS="-P NAME=VALUE'),
        (["tune", "experiment=fashion-mnist-cnn"], '; type: make tune ARGS="-P experiment=fashion-mnist-cnn"'),
        (["ui", "port=5001"], "KILLS=, WORKERS=.  Stop."),  # no line with ARGS, which this target does not accept
        (["test", "ARGS=-k"], "ARGS=... is not accepted with test; accepted: demo, tune, report, notebooks"),
        (["tunes"], "No rule to make target 'tunes'"),
    ],
)
def test_make_refuses_what_it_does_not_know(given, said):
    done = subprocess.run(["make", "-n", *given], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr, done.stderr


def test_make_alone_lists_all_targets():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    done = subprocess.run(["make", "--no-print-directory"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(targets)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["report", "ARGS=-P models=a"], "-e report -P models=a"),
        (["ui", "HOST=0.0.0.0", "PORT=5001"], "mlproject ui --host 0.0.0.0 --port 5001"),
        (["torture", "KILLS=200", "WORKERS=2"], "python tests/torture.py --kills 200 --workers 2"),
    ],
)
def test_make_hands_down_what_it_is_given(given, said):
    done = subprocess.run(["make", "-n", *given], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert said in done.stdout
