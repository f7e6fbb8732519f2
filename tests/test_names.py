"""Wrong names and paths are answered without Keras: experiments from the text of files, where their text tells all names."""

import subprocess
import sys

import pytest
from conftest import PROJECT

from mlproject.discovery import find
from mlproject.errors import UserError
from mlproject.names import check_spelling

FILE = 'A = Experiment(name="plain-cnn", labels="flat")\nEXPERIMENTS = [A, replace(A, name="plain-mlp")]\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tune --experiment fashion-mnist-mpl", "did you mean fashion-mnist-mlp? accepted: cifar100"),
        ("tune --images no/photos", "no/photos does not exist or cannot be reached; accepted: a folder with images"),
        ("tune --image-size 64", "image_size=64; accepted: together with images=PATH"),
        ("tune --data-dir no/data", "data_dir=no/data is not a folder; accepted: a folder that holds the data"),
        ("tune --weights no.h5", "weights=no.h5 is not a file; accepted: imagenet, none"),
        ("explain --images no/photos", "no/photos does not exist"),
        ("notebook cifar100_cnn --data-dir no/data", "data_dir=no/data is not a folder"),
        ("data fetch --data-dir no/data", "data_dir=no/data is not a folder"),
        ("data show --data-dir no/data", "data_dir=no/data is not a folder"),
        ("export a --format tflite", "format='tflite' is not a format; accepted: keras, saved_model, onnx"),
    ],
)
def test_wrong_names_and_paths_are_answered_without_importing_keras(line, said):
    done = command_without_keras(line, PROJECT)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done.stdout + done.stderr


@pytest.mark.parametrize("line", ["tune fashion-mnist-cnn", "explain", "notebook cifar100_cnn", "data fetch"])
def test_a_folder_without_experiments_is_answered_without_importing_keras(line, tmp_path):
    done = command_without_keras(line, tmp_path)
    said = f"no experiment files (*.py) in {tmp_path / 'experiments'}; run the command in the project's folder"
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done.stdout + done.stderr


def command_without_keras(line, folder):
    """Run a command in a process of its own, which fails in another way if it imports Keras."""
    code = "import sys; from mlproject.__main__ import main; code = main(); assert 'keras' not in sys.modules; sys.exit(code)"
    return subprocess.run([sys.executable, "-c", code, *line.split()], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("given", ["*", "plain-cnn", "plain-mlp,plain-*"])
def test_what_a_file_declares_is_accepted(given, tmp_path):
    (tmp_path / "plain.py").write_text(FILE)
    (tmp_path / "helper.py").write_text("WIDTH = 3")
    check_spelling(given, tmp_path)
    check_spelling("plain", tmp_path, files=True)


@pytest.mark.parametrize("given", ["plain-cn", "plain", "plain-cnn,other", "x*"])
def test_what_no_file_declares_is_refused(given, tmp_path):
    (tmp_path / "plain.py").write_text(FILE)
    with pytest.raises(UserError, match="matches no experiment; .*accepted: plain-cnn, plain-mlp"):
        check_spelling(given, tmp_path)


def test_experiments_that_wait_for_images_are_accepted_with_images_alone(tmp_path):
    lines = (
        'A = Experiment(name="plain-cnn", dataset=CIFAR100())',
        'B = Experiment(name="own", dataset=None)',
        'C = replace(B, name="own-deep")',
        'D = replace(B, name="own-cifar", dataset=CIFAR100())',
        'E = replace(E, name="itself")',
        "EXPERIMENTS = [A, B, C, D, E]",
    )
    (tmp_path / "mixed.py").write_text("\n".join(lines))
    usable = "plain-cnn, own-cifar, itself"
    with pytest.raises(UserError, match=f"accepted: {usable}, a list or a glob; with images=PATH also own, own-deep$"):
        check_spelling("other", tmp_path)
    with pytest.raises(UserError, match="accepted: plain-cnn, own, own-deep, own-cifar, itself, a list or a glob$"):
        check_spelling("other", tmp_path, images=True)
    with pytest.raises(UserError, match=r"own-deep, own-cifar, itself, mixed, mixed\.py, a list or a glob$"):
        check_spelling("other", tmp_path, files=True)  # as some of the file's experiments have data
    check_spelling("own-deep", tmp_path)  # `discovery.find` says what it needs


@pytest.mark.skipif(sys.platform == "win32", reason="makes a link, which Windows does not permit to everybody")
def test_the_hidden_files_of_editors_and_of_macos_are_passed_over(tmp_path):
    (tmp_path / "tiny.py").write_text("from conftest import TINY\n\nEXPERIMENTS = [TINY]\n")
    (tmp_path / ".#tiny.py").symlink_to("somebody@somewhere.1234")
    (tmp_path / "._tiny.py").write_bytes(b"\0EXPERIMENTS\0")
    check_spelling("tiny", tmp_path, files=True)
    assert [one.name for one in find("*", tmp_path)] == ["tiny"]


@pytest.mark.parametrize(
    "more",
    [
        "EXPERIMENTS += others",
        "EXPERIMENTS.append(B)",
        'EXPERIMENTS = [replace(A, name=f"cnn-{width}") for width in (1, 2)]',
        "EXPERIMENTS = [Experiment(**given)]",
        "from helper import EXPERIMENTS",
        "def broken(:",
    ],
)
def test_names_that_only_running_a_file_can_tell_are_left_to_it(more, tmp_path):
    (tmp_path / "plain.py").write_text(FILE + more)
    check_spelling("cnn-1", tmp_path)
