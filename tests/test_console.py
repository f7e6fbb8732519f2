"""Which of the library's messages commands show, and where."""

import io
import logging
import os
import sys
import warnings

import pytest

from mlproject import console

logger = logging.getLogger("mlproject.tests")


@pytest.fixture(autouse=True)
def loggers_restored(monkeypatch):
    """Restore the loggers and Python's warnings after the test."""
    loggers = [logging.getLogger(name) for name in ("mlproject", "tensorflow", "matplotlib.font_manager", "")]
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    yield
    for one, level, handlers in before:
        one.setLevel(level)
        one.handlers[:] = handlers


def test_information_goes_to_stdout_and_warnings_to_stderr(capsys):
    console.show_messages()
    logger.info("trial-01  validation accuracy %.2f", 0.5)
    logger.debug("not shown")
    logger.warning("%s is damaged", "journal.json")
    logger.error("nothing is left")
    said = capsys.readouterr()
    assert said.out == "trial-01  validation accuracy 0.50\n"
    assert said.err == "warning: journal.json is damaged\nerror: nothing is left\n"


def test_messages_are_shown_once_however_often_it_is_called_and_reach_other_handlers(capsys, caplog):
    console.show_messages()
    console.show_messages(verbose=True)
    logger.debug("a detail")
    assert capsys.readouterr().out == "a detail\n" and caplog.messages == ["a detail"]


def test_python_warnings_take_one_line_on_stderr(capsys):
    console.show_messages()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("little time", stacklevel=1)
    assert capsys.readouterr().err == "warning: little time\n"


def test_messages_go_to_the_stream_of_the_moment(capsys, monkeypatch, tmp_path):
    console.show_messages()
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        logger.info("elsewhere")
    monkeypatch.undo()
    assert (tmp_path / "out").read_text() == "elsewhere\n" and capsys.readouterr().out == ""


def test_a_library_that_sets_up_logging_shows_no_message_twice(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])  # without pytest's own
    console.show_messages()
    logging.basicConfig()  # as absl does with Keras' first message
    logger.warning("once")
    logging.getLogger("another.library").warning("as Python shows it")
    logging.getLogger("another.library").info("not shown")
    assert capsys.readouterr().err == "warning: once\nas Python shows it\n"


def test_a_stream_that_takes_ascii_only_shows_other_characters_as_escape_sequences(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    console.show_messages()
    logger.info("größer als 猫")
    assert written.getvalue() == rb"gr\xf6\xdfer als \u732b" + os.linesep.encode()


def test_warnings_are_shown_even_if_python_was_told_to_raise_them(capsys, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        console.show_messages()
        warnings.warn("of a library", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: of a library\n"
    assert os.environ["PYTHONWARNINGS"] == "default"  # also for processes that this one starts


REMARKS = (
    "WARNING: All log messages before absl::InitializeLog()\nI0000 00:00:17.0  26436 port.cc:153] oneDNN\nno memory\n"
)


@pytest.mark.parametrize(("verbose", "shown"), [(False, "no memory\n"), (True, REMARKS)])
def test_remarks_during_an_import_are_shown_only_when_asked_for(verbose, shown, capfd, monkeypatch):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "MLFLOW_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "3")
    console.show_messages(verbose)
    with console.without_remarks():
        os.write(2, REMARKS.encode())
    assert capfd.readouterr().err == shown
    console.show_messages()


def test_the_line_that_activates_the_environment_is_told_where_the_shell_may_need_it(tmp_path, monkeypatch):
    environment = tmp_path / ".venv"
    monkeypatch.setattr(sys, "prefix", str(environment))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # as `make` starts the commands
    monkeypatch.chdir(tmp_path)
    assert console.how_to_activate() == ". .venv/bin/activate"
    monkeypatch.setenv("VIRTUAL_ENV", "/another")
    monkeypatch.chdir("/usr/lib")
    assert console.how_to_activate().endswith("/.venv/bin/activate")
    monkeypatch.setenv("VIRTUAL_ENV", str(environment))
    assert console.how_to_activate() == ""
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)  # no virtual environment
    monkeypatch.delenv("VIRTUAL_ENV")
    assert console.how_to_activate() == ""
