"""A misspelt experiment is answered from the text of the files, and only where their text tells all names."""

import subprocess
import sys

import pytest
from conftest import PROJECT

from mlproject.discovery import find
from mlproject.errors import UserError
from mlproject.names import check_spelling

FILE = 'A = Experiment(name="plain-cnn", labels="flat")\nEXPERIMENTS = [A, replace(A, name="plain-mlp")]\n'


def test_a_misspelt_name_is_answered_without_importing_keras():
    code = "import sys; from mlproject.__main__ import main; code = main(); assert 'keras' not in sys.modules; sys.exit(code)"
    command = [sys.executable, "-c", code, "tune", "--experiment", "fashion-mnist-mpl"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean fashion-mnist-mlp? accepted: cifar100" in done.stderr, done.stderr


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
