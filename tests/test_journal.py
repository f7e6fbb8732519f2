"""The journal is complete or absent, one process at a time uses it, and it says why a search is a new one."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mlproject import console, disk
from mlproject.errors import UserError
from mlproject.search import journal
from mlproject.search.journal import LOSSES, PREDICTIONS, Journal, Trial, open_journal, pack, seconds_left, unpack

WRITES = """
import sys
from pathlib import Path
from mlproject.search.journal import Journal, Trial
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
from mlproject.search.journal import open_journal
with open_journal(Path(sys.argv[1]), "tiny", {}):
    print("held", flush=True)
    input()
"""


def test_a_killed_writer_leaves_a_whole_journal(tmp_path, rng):
    path = tmp_path / "journal.json"
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "writing\n"
        time.sleep(0.05 + 0.2 * rng.random())
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert len(Journal.read(path).trials) >= 1


def test_two_writers_of_one_file_never_share_a_part(tmp_path):
    path = tmp_path / "file"
    with disk.atomic_write(path) as one, disk.atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert one != other and path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_what_was_kept_is_read_again(tmp_path):
    with open_journal(tmp_path, "tiny", {"settings": {"seed": 0}}) as first:
        first.trials.append(Trial("trial-01", {"rate": 1 / 3, "act": "relu"}, "completed", 0.9, 0.8, 0.7, 0.5))
        first.save()
    with open_journal(tmp_path, "tiny", {"settings": {"seed": 0}}) as second:
        assert (second.search, repr(second.trials)) == (first.search, repr(first.trials))  # NaN is not equal to NaN
    with open_journal(tmp_path, "tiny", {"settings": {"seed": 0}}, fresh=True) as third:
        assert third.search != first.search and not third.trials


def test_a_damaged_journal_is_set_aside(tmp_path, caplog):
    with open_journal(tmp_path, "tiny", {}) as first:
        first.path.write_text('{"made_of": {}, "trials": [')
        with pytest.raises(ValueError):
            Journal.read(first.path)
        first.path.rename(tmp_path / "damaged")
    (tmp_path / "damaged").rename(first.path)
    with open_journal(tmp_path, "tiny", {}) as second:
        assert second.search != first.search
    assert "is damaged" in caplog.text
    assert len(list(first.path.parent.glob("*.damaged-*"))) == 1


def test_two_processes_are_never_at_one_search(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAIT_SECONDS", 0.2)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(UserError, match="another process is at this search of tiny"),
        open_journal(tmp_path, "tiny", {}),
    ):
        pass
    with open_journal(tmp_path, "tiny", {"settings": {"seed": 1}}):  # another search
        pass
    holder.kill()
    holder.wait()
    with open_journal(tmp_path, "tiny", {}):
        pass


def test_a_journal_of_another_version_is_told_in_one_line_and_a_new_search_begins(tmp_path, capsys):
    old = tmp_path / "tiny" / "0123456789ab"
    old.mkdir(parents=True)
    (old / "journal.json").write_text('{"made_of": {}, "search": "a", "pace": null, "trials": [], "plan": null}')
    with caught(capsys) as said, open_journal(tmp_path, "tiny", {"settings": {"seed": 0}}) as new:
        assert not new.trials
    assert "a new search: the last one was made by another version of mlproject" in said()


def test_a_changed_setting_is_told_with_its_values(tmp_path, capsys):
    before, after = ({"settings": {"seed": seed}, "code": {"a.py": seed}} for seed in (0, 1))
    with caught(capsys) as said, open_journal(tmp_path, "tiny", before), open_journal(tmp_path, "tiny", after):
        pass
    assert "a new search: seed was 0, is 1; the code changed (a.py)" in said()


def test_outputs_are_packed_and_unpacked_and_take_little_room(rng):
    predictions, losses = rng.integers(300, size=6000), rng.random(6000, np.float32)
    for values, dtype in ((predictions, PREDICTIONS), (losses, LOSSES)):
        packed = pack(values, dtype)
        assert (unpack(packed, dtype) == values).all() and len(packed) < 30_000
    assert len(pack(rng.integers(10, size=6000), PREDICTIONS)) < 6000


def test_a_journal_with_the_fields_of_an_older_version_is_no_journal_of_this_one(tmp_path, capsys):
    with open_journal(tmp_path, "tiny", {"settings": {"seed": 0}}) as journal:
        journal.trials.append(Trial("trial-01", {}, "completed", 0.9))
    older = json.loads(journal.path.read_text())
    older["trials"][0]["correct"] = "AAAA"
    journal.path.write_text(json.dumps(older))
    with caught(capsys) as said, open_journal(tmp_path, "tiny", {"settings": {"seed": 1}}) as new:
        assert not new.trials
    assert "a new search: the last one was made by another version of mlproject" in said()
    with open_journal(tmp_path, "tiny", {"settings": {"seed": 0}}) as again:
        assert not again.trials


@contextlib.contextmanager
def caught(capsys):
    """Show the library's messages as a command would; yields a function that returns them."""
    console.show_messages()
    yield lambda: capsys.readouterr().out


def test_a_journal_says_what_a_search_may_still_take_of_its_budget(tmp_path):
    search = tmp_path, "tiny", {"settings": {"seed": 0}}
    assert seconds_left(*search, 600.0) == 600
    with open_journal(*search) as kept:
        kept.throughput = {"seconds": 30.0}
        kept.trials.append(Trial("trial-01", {}, "completed", minutes=2.0))
        kept.save()
        assert seconds_left(*search, 600.0) == 450  # asked while a process is at the search
        assert seconds_left(*search, 60.0) == 0
        kept.result = {"name": "tiny"}
    assert seconds_left(*search, 600.0) == 0
    kept.path.write_text("{")
    assert seconds_left(*search, 600.0) == 600 and kept.path.exists()  # whoever opens it sets it aside
