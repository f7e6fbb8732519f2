"""What makes two searches the same: the rule finds every module that decides numbers, and only its code counts."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from conftest import TINY, tiny_build

from mlproject import tracking
from mlproject.discovery import find
from mlproject.search import fingerprint
from mlproject.search.fingerprint import EXCUSED, PACKAGE, ROOTS, import_closure, is_excused, modules
from mlproject.search.given_trials import add_given_trials
from mlproject.search.journal import Trial, open_journal
from mlproject.settings import Settings

# Modules that decide numbers, and that were once forgotten or matter most.
DECIDING = (
    "mlproject/budget.py",
    "mlproject/datasets/dataset.py",
    "mlproject/datasets/splitting.py",
    "mlproject/experiment.py",
    "mlproject/final/refit.py",
    "mlproject/final/seeds.py",
    "mlproject/networks/applications.py",
    "mlproject/networks/cost.py",
    "mlproject/networks/walk.py",
    "mlproject/recipe.py",
    "mlproject/search/pruning.py",
    "mlproject/search/selection.py",
    "mlproject/search/trial_fit.py",
    "mlproject/search/tuner.py",
    "mlproject/task.py",
    "mlproject/training/batches.py",
    "mlproject/training/fit.py",
    "mlproject/training/schedule.py",
    "mlproject/tune.py",
)


def take(task, settings=None):
    return fingerprint.take(task, settings or {}, tracking.address())


@pytest.fixture
def experiment_file(tmp_path, monkeypatch):
    """Write an experiment's file with a helper module beside it; returns the folder of the project."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments"
    folder.mkdir()
    helper = "from conftest import tiny_build\n\ndef build(hp, spec):\n    return tiny_build(hp, spec)\n"
    (folder / "helper.py").write_text(helper)
    (folder / "one.py").write_text(
        "import dataclasses\nimport helper\nfrom conftest import TINY\nfrom mlproject.layers import conv_unit\n\n"
        "def build(hp, spec):\n    return helper.build(hp, spec)\n\n"
        'EXPERIMENTS = [dataclasses.replace(TINY, name="one", build=build)]\n'
    )
    return tmp_path


def test_every_module_of_the_closure_is_covered_or_excused():
    covered = modules(TINY)
    assert set(DECIDING) <= covered.keys()
    for path in import_closure([PACKAGE / root for root in ROOTS]):
        name = f"mlproject/{path.relative_to(PACKAGE).as_posix()}"
        assert (name in covered) != is_excused(path), name


def test_everything_excused_exists_and_has_a_reason():
    assert all((PACKAGE / name).exists() and reason for name, reason in EXCUSED.items())
    assert not [name for name in DECIDING if is_excused(PACKAGE.parent / name)]


def test_a_helper_module_beside_an_experiments_file_counts(experiment_file, make_task, store):
    def codes():
        (experiment,) = find("one", experiment_file / "experiments")
        return take(make_task(experiment))["code"]

    before = codes()
    assert {"experiments/one.py", "experiments/helper.py", "mlproject/layers.py"} <= before.keys()
    helper = experiment_file / "experiments" / "helper.py"
    helper.write_text(helper.read_text().replace("tiny_build(hp, spec)\n", "tiny_build(hp, spec) or None\n"))
    after = codes()
    assert [name for name in before if before[name] != after[name]] == ["experiments/helper.py"]


def test_a_users_module_does_not_hide_one_of_ours(experiment_file):
    folder = experiment_file / "experiments"
    (folder / "one.py").write_text("import layers\n" + (folder / "one.py").read_text())
    (folder / "layers.py").write_text("WIDTH = 3\n")
    (experiment,) = find("one", folder)
    found = modules(experiment)
    assert found["experiments/layers.py"] != found["mlproject/layers.py"]


@pytest.fixture
def copied(tmp_path):
    """A copy of the package's code, which a test may change."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "src" / "mlproject", ignore=shutil.ignore_patterns("__pycache__")))


# Of those that an older, hand-kept list lacked or that are imported in the most roundabout ways.
@pytest.mark.parametrize(
    "module",
    [f"mlproject/{name}.py" for name in ("datasets/dataset", "task", "networks/walk", "final/refit", "budget")],
)
def test_a_search_goes_on_when_docstrings_change_and_not_when_code_does(module, copied, tmp_path):
    """The journal belongs to a search that finished a trial with the unchanged code."""
    changed = copied.parent / module

    def opened():
        code = {name: fingerprint._code_digest(path) for name, path in modules(TINY, copied).items()}
        with open_journal(tmp_path / "journals", "tiny", {"code": code}) as journal:
            trials = len(journal.trials)
            if not trials:
                journal.trials.append(Trial("trial-01", {}, "completed"))
            return trials

    assert opened() == 0
    text = changed.read_text()
    changed.write_text(text.replace('"""', '"""Other words. ', 1) + "\n# A comment.\n")
    assert opened() == 1
    changed.write_text(text + "\nANOTHER_NUMBER = 1\n")
    assert opened() == 0


def test_a_changed_setting_or_space_is_another_search(make_task, store):
    def build(hp, spec):
        hp.Choice("activation", ["relu", "silu"])
        return tiny_build(hp, spec)

    before = take(make_task(), {"seed": 0})
    assert fingerprint.digest(before) == fingerprint.digest(take(make_task(), {"seed": 0}))
    wider = take(make_task(dataclasses.replace(TINY, build=build)), {"seed": 1})
    assert json.loads(json.dumps(wider)) == wider
    changes = fingerprint.differences(before, wider)
    assert changes[:2] == ["seed was 0, is 1", "the space changed (activation)"]
    assert "test_fingerprint.py" in changes[2]  # which has the other `build`


def test_the_content_of_given_trials_counts_and_their_path_does_not(make_task, store, tmp_path):
    def identity(name, content):
        (tmp_path / name).write_text(content)
        task = add_given_trials(make_task(), str(tmp_path / name), None)
        return take(task, Settings(trials=str(tmp_path / name)).deciding)

    one = identity("one.csv", "width\n5\n")
    assert fingerprint.digest(one) == fingerprint.digest(identity("two.csv", "width,learning_rate\n5,\n"))
    changes = fingerprint.differences(one, identity("one.csv", "width\n6\n"))
    assert len(changes) == 1 and changes[0].startswith("trials was ")


def test_the_text_of_an_experiments_file_may_change_and_its_code_may_not(experiment_file, make_task, store):
    file = experiment_file / "experiments" / "one.py"
    code = file.read_text()

    def digest(text):
        file.write_text(text)
        (experiment,) = find("one", file.parent)
        return fingerprint.digest(take(make_task(experiment)))

    assert digest(code) == digest("# %% [markdown]\n# Another thought.\n" + code)
    assert digest(code) != digest(code.replace("helper.build(hp, spec)\n", "helper.build(hp, spec) or None\n"))
