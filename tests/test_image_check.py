"""`data check` says what a user's images are, what is odd about them, and whether anything can be trained with them."""

import dataclasses
import shlex
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import PROJECT, parsed
from PIL import Image

from mlproject.commands import data
from mlproject.datasets.images import check, layouts, pixels
from mlproject.datasets.images.sheet import contact_sheet, data_sheet
from mlproject.errors import UserError


def paint(path, colour, size=(8, 8)):
    """Write an image of one colour; equal arguments make equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def odd_set(tmp_path):
    """Splits with copies within and across them, one with another label, damaged files, and files that are no images."""
    folder = tmp_path / "zoo"
    for number in range(12):
        paint(folder / "train" / "cat" / f"{number}.png", (number, 0, 0), (8 + number, 8))
    for number in range(4):
        paint(folder / "train" / "dog" / f"{number}.jpg", (0, 0, 60 * number))
    for number in range(3):
        paint(folder / "test" / "dog" / f"{number}.png", (0, number, 99), (20, 30))
    paint(folder / "train" / "cat" / "copy.png", (3, 0, 0), (11, 8))
    paint(folder / "test" / "cat" / "leak.png", (5, 0, 0), (13, 8))
    paint(folder / "train" / "dog" / "wrong.png", (7, 0, 0), (15, 8))
    (folder / "train" / "dog" / "text.png").write_text("no image")
    (folder / "train" / "notes.txt").write_text("notes")
    (folder / "train" / "cat" / "empty.png").touch()
    return folder


def look(path):
    """Find and scan images, without the warnings of which test_image_layouts.py has tests."""
    with warnings.catch_warnings(action="ignore"):
        entries = layouts.find(path)
    scan = pixels.scan(entries)
    return entries, scan, check.readable_images(entries, scan)


def test_the_facts_of_an_odd_set_name_what_is_odd(odd_set):
    described = check.describe(*look(odd_set))
    assert dict(described.table.itertuples(index=False)) == {
        "layout": "SPLIT/CLASS/image",
        "images": "22",
        "classes": "2",
        "images in train": "18",
        "images in test": "4",
        "largest class": "cat: 14",
        "smallest class": "dog: 8",
        "largest / smallest": "1.8",
        "smallest size": "8 x 8",
        "median size": "13 x 8",
        "largest size": "20 x 30",
        "formats": "PNG 18, JPEG 4",
        "modes": "RGB 22",
        "constant answer": "'cat', the largest training class, is right for 25.0% of the test images",
        "unreadable files": "1",
        "passed over": "2",
        "copies within a split": "2",
        "copies in two splits": "1",
        "copies with another label": "1",
        "classes below 10 images": "1",
    }
    (unreadable,) = described.lists.pop("unreadable files")
    assert unreadable.startswith("train/dog/text.png: it is no ")
    assert described.lists == {
        "passed over": [
            "train/cat/empty.png: is empty",
            "train/notes.txt: has no suffix of an accepted image",
        ],
        "copies within a split": ["train/cat/3.png = train/cat/copy.png", "train/cat/7.png = train/dog/wrong.png"],
        "copies in two splits": ["test/cat/leak.png (test) = train/cat/5.png (train)"],
        "copies with another label": ["train/cat/7.png (cat) = train/dog/wrong.png (dog)"],
        "classes below 10 images": ["dog: 8"],
    }


def test_long_lists_are_cut_and_begin_with_the_rarest_reason(tmp_path):
    for number in range(3000):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{number}.txt").touch()
    for label in ("a", "z"):
        paint(tmp_path / label / "1.png", "red")
        paint(tmp_path / label / "2.png", "red")
    (tmp_path / "z" / "empty.png").touch()
    described = check.describe(*look(tmp_path))
    named = described.lists["passed over"]
    assert named[0] == "z/empty.png: is empty" and len(named) == 11 and named[-1] == "and 2,991 more"
    # All copies fall into one split when the splits are drawn.
    assert described.lists["copies with another label"] == ["a/1.png (a) = z/1.png (z)", "a/1.png (a) = z/2.png (z)"]
    assert "copies in two splits" not in described.lists


def test_a_set_without_a_readable_image_is_described_and_refused(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_text("no image")
    entries, scan, readable = look(tmp_path)
    assert dict(check.describe(entries, scan, readable).table.itertuples(index=False))["unreadable files"] == "2"
    for refuse, given in ((check.require_trainable, (scan, readable)), (contact_sheet, (scan, "a set"))):
        with pytest.raises(UserError, match="can be (read|decoded); accepted: "):
            refuse(entries, *given)


def test_a_group_in_two_splits_is_refused(tmp_path):
    for number in range(4):
        paint(tmp_path / f"{number}.png", (number, 0, 0))
    table = pd.DataFrame({"path": [f"{number}.png" for number in range(4)], "label": list("abab"), "group": "g"})
    table.assign(split=["train", "train", "test", "test"]).to_csv(tmp_path / "all.csv", index=False)
    with pytest.raises(UserError, match="group=g is in the splits test and train"):
        check.require_trainable(*look(tmp_path / "all.csv"))


@pytest.mark.parametrize(("classes", "columns", "heading"), [(3, 1, "each class"), (45, 2, "40 of 45 classes")])
def test_the_sheet_shows_images_of_all_over_a_class(tmp_path, classes, columns, heading):
    for label in range(classes):
        for number in range(9 if label == 0 else 1):
            paint(tmp_path / f"class_{label:02}" / f"{number}.png", (255 - 20 * number, label, 0))
    (tmp_path / "class_01" / "damaged.png").write_bytes((tmp_path / "class_01" / "0.png").read_bytes()[:50])
    figure = contact_sheet(*look(tmp_path)[:2], "my set")
    assert figure.get_suptitle() == f"my set: examples of {heading}"
    names = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert len(figure.axes) == columns and names == [f"class {label:02}" for label in range(min(classes, 40))]
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    middles = canvas[36::72, 36::72]
    assert middles.shape == (-(-len(names) // columns), 8, 3)
    reds = [255 - 20 * number for number in (0, 1, 2, 3, 4, 5, 6, 8)]
    assert middles[0, :, 0].tolist() == reds  # the first and the last image, and six between them
    assert middles[2].tolist() == [[255, 2, 0], *[[255, 255, 255]] * 7]


def test_a_sheet_of_large_images_takes_little_memory(fashion):
    large = fashion.train_images[:30].repeat(30, axis=1).repeat(30, axis=2)
    few = dataclasses.replace(fashion, train_images=large, train_labels=fashion.train_labels[:30])
    canvas = data_sheet(few, "large").axes[0].images[0].get_array()
    assert canvas.shape == (10 * 236, 8 * 236, 3)  # images of 210 pixels, with gaps of 26


def test_a_sheet_shows_images_with_opacity_in_colour(fashion):
    red = np.broadcast_to(np.array([255, 0, 0, 9], np.uint8), (10, 8, 8, 4))
    few = dataclasses.replace(fashion, train_images=red, train_labels=np.arange(10))
    canvas = np.asarray(data_sheet(few, "red").axes[0].images[0].get_array())
    assert canvas[4, 4].tolist() == [255, 0, 0]


def test_the_command_prints_the_facts_and_writes_the_sheet(odd_set, tmp_path, run_here):
    done = run_here("data", "check", odd_set, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nlayout                     SPLIT/CLASS/image\n" in f"\n{done.stdout}"
    assert "\n  train/cat/7.png (cat) = train/dog/wrong.png (dog)\n" in done.stdout
    assert f"\nexamples: reports/data/zoo.png\ntrain with them: mlproject tune --images {odd_set}\n" in done.stdout
    with Image.open(tmp_path / "reports" / "data" / "zoo.png") as sheet:
        assert sheet.format == "PNG"


def test_the_command_says_why_nothing_can_be_trained(odd_set, tmp_path, run_here):
    for path in (odd_set / "train" / "dog").glob("*"):
        path.write_text("no image")
    done = run_here("data", "check", odd_set, cwd=tmp_path)
    assert done.returncode == 1 and "unreadable files           6" in done.stdout
    assert done.stderr.endswith(
        f"{odd_set}: no training image of 'dog' can be read; accepted: readable images of every class\n"
    )
    few = tmp_path / "few"
    for label in "ab":
        paint(few / label / "1.png", "red" if label == "a" else "blue")
    done = run_here("data", "check", few, cwd=tmp_path)
    assert done.returncode == 1 and "few has no test images (2 images in all); accepted: " in done.stderr
    (few / "a" / "2.png").write_text("no image")
    done = run_here("data", "check", few, cwd=tmp_path)
    assert done.returncode == 1 and "few: 1 of 3 images cannot be read (a/2.png: it is no " in done.stderr
    done = run_here("data", "check", tmp_path / "nothing", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_check_does_without_tensorflow(odd_set, tmp_path):
    code = (
        "import sys; from mlproject.__main__ import main; code = main(sys.argv[1:]);"
        "assert not {'tensorflow', 'keras', 'mlflow'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", odd_set], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_mlflow_run_and_the_installed_program_reach_the_command(monkeypatch, capsys):
    entry = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]["check"]
    assert list(entry["parameters"]) == ["images"]
    for path in ("some folder", "-x", "--data"):
        words = shlex.split(entry["command"].format(images=shlex.quote(path)))
        assert words[:3] == ["python", "-m", "mlproject"]
        command, given = parsed(*words[3:])
        assert command is data.check and given == {"images": path}
    script = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]["mlproject"]
    program = EntryPoint("mlproject", script, "console_scripts").load()
    monkeypatch.setattr(sys, "argv", ["mlproject", "data", "check", "--help"])
    with pytest.raises(SystemExit, match="0"):
        program()
    assert "PATH" in capsys.readouterr().out
