"""The journal: whole or not there, one process at a time, and clear about what makes two searches the same."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest
from conftest import TINY, tiny_build

from mlproject import disk, journal
from mlproject.errors import UserError
from mlproject.experiment import find
from mlproject.journal import Journal, Trial, opened
from mlproject.search import made_of

WRITES = """
import sys
from pathlib import Path
from mlproject.journal import Journal, Trial
kept = Journal(Path(sys.argv[1]), {})
while True:
    kept.trials.append(Trial(f"trial-{len(kept.trials)}", {"units": 512}))
    kept.save()
    if len(kept.trials) == 1:
        print("writing", flush=True)
"""
HOLDS = """
import sys
from pathlib import Path
from mlproject.journal import opened
with opened(Path(sys.argv[1]), "tiny", {}):
    print("held", flush=True)
    input()
"""


def test_a_killed_writer_leaves_a_whole_journal(tmp_path, rng):
    path = tmp_path / "journal.json"
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "writing\n"
        time.sleep(0.05 + 0.2 * rng.random())
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert len(Journal.read(path).trials) >= 1


def test_two_writers_of_one_file_never_share_a_part(tmp_path):
    path = tmp_path / "file"
    with disk.whole(path) as one, disk.whole(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert one != other and path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_what_was_kept_is_read_again(tmp_path):
    with opened(tmp_path, "tiny", {"settings": {"seed": 0}}) as first:
        first.trials.append(Trial("trial-01", {"rate": 1 / 3, "act": "relu"}, "completed", 0.9))
        first.save()
    with opened(tmp_path, "tiny", {"settings": {"seed": 0}}) as second:
        assert (second.search, second.trials) == (first.search, first.trials)
    with opened(tmp_path, "tiny", {"settings": {"seed": 0}}, fresh=True) as third:
        assert third.search != first.search and not third.trials


def test_a_damaged_journal_is_set_aside(tmp_path, capsys):
    with opened(tmp_path, "tiny", {}) as first:
        first.path.write_text('{"made_of": {}, "trials": [')
        with pytest.raises(ValueError):
            Journal.read(first.path)
        first.path.rename(tmp_path / "damaged")
    (tmp_path / "damaged").rename(first.path)
    with opened(tmp_path, "tiny", {}) as second:
        assert second.search != first.search
    assert "is damaged" in capsys.readouterr().err
    assert len(list(first.path.parent.glob("*.damaged-*"))) == 1


def test_two_processes_are_never_at_one_search(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAIT_SECONDS", 0.2)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another process is at this search of tiny"), opened(tmp_path, "tiny", {}):
        pass
    with opened(tmp_path, "tiny", {"settings": {"seed": 1}}):  # another search
        pass
    holder.kill()
    holder.wait()
    with opened(tmp_path, "tiny", {}):
        pass


def test_a_changed_setting_or_space_is_another_search_and_says_so(make_task, store, tmp_path, capsys):
    def build(hp, spec):
        hp.Choice("activation", ["relu", "silu"])
        return tiny_build(hp, spec)

    before = made_of(make_task(), {"seed": 0})
    assert journal.digest(before) == journal.digest(made_of(make_task(), {"seed": 0}))
    wider = made_of(make_task(dataclasses.replace(TINY, build=build)), {"seed": 1})
    assert json.loads(json.dumps(wider)) == wider
    with opened(tmp_path, "tiny", before), opened(tmp_path, "tiny", wider):
        said = capsys.readouterr().out
    assert "a new search: seed was 0, is 1; the space changed (activation)" in said


def test_text_of_an_experiments_file_may_change_and_its_code_may_not(make_task, store, tmp_path):
    file = tmp_path / "experiments" / "one.py"
    file.parent.mkdir()

    def digest(text):
        file.write_text(text)
        (experiment,) = find("one", file.parent)
        return journal.digest(made_of(make_task(experiment), {}))

    code = (
        "from conftest import TINY, tiny_build\nimport dataclasses\n"
        "def build(hp, spec):\n    return tiny_build(hp, spec)\n"
        "EXPERIMENTS = [dataclasses.replace(TINY, name='one', build=build)]\n"
    )
    assert digest(code) == digest("# %% [markdown]\n# Another thought.\n" + code)
    assert digest(code) != digest(code.replace("tiny_build(hp, spec)\n", "tiny_build(hp, spec) or None\n"))
