"""Experiment files as notebooks: all run on synthetic data, and the committed copies match the files."""

import re
import shutil
import tempfile
import types
from pathlib import Path

import mlflow
import nbformat
import pytest
from conftest import PROJECT, copy_experiments

from mlproject import notebooks
from mlproject.discovery import find, find_files
from mlproject.errors import UserError

SCRIPTS = find_files("*", PROJECT / "experiments")  # without those that wait for a user's images
LARGEST = 2_000_000  # bytes; GitHub and editors can still show a notebook of this size


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_committed_notebook_is_its_script_executed_without_errors(script):
    path = PROJECT / "experiments" / "notebooks" / f"{script.stem}.ipynb"
    committed = nbformat.read(path, as_version=4)
    nbformat.validate(committed)
    assert sources(committed) == sources(notebooks.convert(script)), "renew it with `make notebooks`"
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert "-synthetic" not in str(outputs), "executed on synthetic data"
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_leads_from_a_question_over_data_network_and_training_to_what_was_found(script):
    cells = notebooks.convert(script).cells
    assert re.match(r"# .*\?", cells[0].source)
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    parts = ["The data", "The network", "How it learns", "Training", "How it went", "What was found"]
    assert re.findall(rf"^## ({'|'.join(parts)})\b", text, re.MULTILINE) == parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the project's experiments."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT / "MLproject", folder)
    copy_experiments(folder)
    return folder


# All are executed when they are published; `test_the_committed_notebook_is_its_script_executed_without_errors` checks that.
@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_runs_under_mlflow_and_is_kept(script, folder, new_store, run_here):
    uri = new_store(folder, f"{script.stem}.db")
    options = ("--data", "synthetic", "--minutes", "0.02", "--output", "copies")
    done = run_here("notebook", "--experiment", script.stem, *options, cwd=folder, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    client = mlflow.MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("notebooks").experiment_id])
    assert found.info.run_name == script.stem
    assert found.info.status == "FINISHED" and found.data.params["data"] == "synthetic"
    kept = {Path(item.path).name for item in client.list_artifacts(found.info.run_id, "notebook")}
    assert kept == {f"{script.stem}.ipynb", f"{script.stem}.html"}
    copy = nbformat.read(folder / "copies" / f"{script.stem}.ipynb", as_version=4)
    assert sources(copy) == sources(notebooks.convert(script))
    outputs = [output for cell in copy.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert "synthetic" in "".join(output.get("text", "") for output in outputs)
    experiments = [one.name for one in find("*", PROJECT / "experiments") if one.name in script.read_text()]
    assert experiments and all((folder / "exports" / f"{name}-synthetic.keras").exists() for name in experiments)


def test_notebooks_are_run_and_kept_one_that_raises_up_to_the_failing_cell(run_here, tmp_path, new_store):
    (tmp_path / "experiments").mkdir()
    for name, last in (("broken", "raise ValueError('no further')"), ("whole", "print('done')")):
        (tmp_path / "experiments" / f"{name}.py").write_text(
            f"# %%\nEXPERIMENTS = []\nprint('so far')\n\n# %%\nif __name__ == '__main__':\n    {last}\n"
        )
    uri = new_store(tmp_path)
    options = ("--experiment", "broken,whole", "--output", "copies")
    done = run_here("notebook", *options, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 1 and "broken: failed: ValueError: no further" in done.stderr
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("notebooks").experiment_id])
    by_name = {run.info.run_name: run.info for run in runs}
    assert {name: run.status for name, run in by_name.items()} == {"broken": "FAILED", "whole": "FINISHED"}
    for name, run in by_name.items():
        kept = {Path(item.path).name for item in client.list_artifacts(run.run_id, "notebook")}
        assert kept == {f"{name}.ipynb", f"{name}.html"}
    kept = nbformat.read(client.download_artifacts(by_name["broken"].run_id, "notebook/broken.ipynb"), as_version=4)
    assert kept.cells[0].outputs[0].text == "so far\n"
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["whole.ipynb"]


def test_a_file_is_found_by_its_own_name_and_by_those_of_its_experiments():
    folder = PROJECT / "experiments"
    for pattern in ("cifar100_cnn", "cifar100_cnn.py", "cifar100-fine-cnn", "cifar100-*"):
        assert find_files(pattern, folder) == [folder / "cifar100_cnn.py"]


def test_a_file_that_waits_for_images_is_found_with_images_only():
    folder = PROJECT / "experiments"
    waiting = folder / "own_images.py"
    assert find_files("*", folder, images=True) == find_files("own_images", folder, images=True) == [waiting]
    assert waiting not in find_files("*", folder) and len(find_files("*", folder)) == 4
    assert find_files("cifar100_cnn", folder, images=True) == [folder / "cifar100_cnn.py"]
    for name in ("own_images", "own_images.py", "fine-tuned"):
        with pytest.raises(
            UserError, match=f"experiment='{name}' needs images of your own; accepted: with images=PATH"
        ):
            find_files(name, folder)


@pytest.mark.parametrize("sockets", [True, False], ids=["far from here", "on TCP"])
def test_a_notebook_runs_where_the_temporary_folder_cannot_hold_sockets(sockets, tmp_path, monkeypatch):
    long = tmp_path / ("scratch-" * 15)  # an address of a socket has about 100 bytes
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    if not sockets:  # as on Windows
        monkeypatch.setattr(notebooks, "socket", types.SimpleNamespace())
    script = tmp_path / "script.py"
    # As an editor on Windows writes it: a byte-order mark, and two characters at the end of a line.
    script.write_bytes("\ufeff# %% [markdown]\r\n# # Größe\r\n\r\n# %%\r\nprint('größer')\r\n".encode())
    notebook = notebooks.convert(script)
    assert sources(notebook) == [("markdown", "# Größe"), ("code", "print('größer')")]
    notebooks.execute(notebook, [])
    assert notebook.cells[1].outputs[0].text == "größer\n"
    assert not list(long.iterdir())


@pytest.mark.parametrize("content", ["# -*- coding: latin-1 -*-\n# %%\n'größer'\n", "# %%\n'größer'\n"])
def test_a_file_in_another_encoding_is_refused(content, tmp_path):
    script = tmp_path / "script.py"
    script.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"script\.py cannot become a notebook .*; accepted: a file in UTF-8"):
        notebooks.convert(script)
