"""Folders and tables of images: what becomes an image of which class, and what is refused in one line."""

import contextlib
import json
import os
import socket
import tempfile
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_properties import EDITS, accepts, damaged, many

from mlproject.datasets.images import layouts
from mlproject.datasets.images.entries import COLUMNS
from mlproject.errors import UserError

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
LONG = "x" * 251
SAME_NAMES_EQUAL = os.name == "posix" and os.uname().sysname == "Linux"  # macOS and Windows merge or refuse them
PIPE, LOOP = "a/pipe.png", "a/loop"


def plant(folder, files):
    """Make files (each holds its own name), folders ("a/"), links ("a/1.png -> ../b/1.png") and empty files ("a/1.png!")."""
    for name in files:
        name, _, target = name.partition(" -> ")
        path = folder / name.removesuffix("!")
        path.parent.mkdir(parents=True, exist_ok=True)
        if target:
            path.symlink_to(target)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(b"" if name.endswith("!") else os.fsencode(name))


def summary(entries):
    """The entries as {path: "split:superclass>label"}, without what is empty."""
    rows = entries.table.itertuples()
    return {
        row.path: f"{row.split}:" * bool(row.split) + f"{row.superclass}>" * bool(row.superclass) + row.label
        for row in rows
    }


def complete(case):
    """A case with what it leaves out: nothing is passed over, and no warning is expected."""
    return case + ({}, "")[len(case) - 2 :]


def find(path):
    """Find the entries, check what holds for all of them, and return them with the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        entries = layouts.find(path)
    assert tuple(entries.table.columns) == COLUMNS and list(entries.table.index) == list(range(len(entries.table)))
    assert entries.table.map(lambda value: isinstance(value, str)).all().all()
    return entries, " | ".join(str(one.message) for one in caught)


AB = ["a/1.png", "b/1.png"]
A_B = {"a/1.png": "a", "b/1.png": "b"}
AB2 = {"a/1.png": "a", "a/2.png": "a", "b/1.png": "b", "b/2.png": "b"}
# name: files, then the entries or a part of the error; then what is passed over (a part of the reason), and a part of the warning
TREES = {
    "classes": ([*AB2], AB2, {}, ""),
    "superclasses": (["x/a/1.png", "y/b/1.png"], {"x/a/1.png": "x>a", "y/b/1.png": "y>b"}),
    "splits": (
        ["train/a/1.png", "train/b/1.png", "test/b/1.png"],
        {"test/b/1.png": "test:b", "train/a/1.png": "train:a", "train/b/1.png": "train:b"},
    ),
    "splits in capitals, val": (
        ["Train/a/1.png", "Train/b/1.png", "VAL/a/1.png"],
        {"Train/a/1.png": "train:a", "Train/b/1.png": "train:b", "VAL/a/1.png": "validation:a"},
    ),
    "splits valid": (["train/a/1.png", "train/b/1.png", "valid/a/1.png"], {"valid/a/1.png": "validation:a"}),
    "splits validation": (["train/a/1.png", "train/b/1.png", "validation/a/1.png"], {"train/a/1.png": "train:a"}),
    "splits and superclasses": (
        ["train/x/a/1.png", "train/y/b/1.png", "test/x/a/1.png"],
        {"test/x/a/1.png": "test:x>a", "train/x/a/1.png": "train:x>a", "train/y/b/1.png": "train:y>b"},
    ),
    "train alone": (["train/a/1.png", "train/b/1.png"], {"train/a/1.png": "train:a", "train/b/1.png": "train:b"}),
    "test without train": (["test/a/1.png", "test/b/1.png"], "only the split 'test'; accepted: training images"),
    "test has another class": (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "'train' lacks the classes 'c'"),
    "val and validation": (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "folders 'val', 'valid'; accepted: one"),
    "splits beside others": (["train/a/1.png", "test/b/1.png", "new/c/1.png"], "and 'new', which are not"),
    "splits without classes": (["train/1.png", "test/1.png"], "without folders of classes"),
    "unlabelled test images": (["train/a/1.png", "train/b/1.png", "test/1.png"],
        {"train/a/1.png": "train:a", "train/b/1.png": "train:b"}, {"test/1.png": "beside"}, "passed over: 'test/1.png'"),
    "a class called train": (["train/1.png", "bus/1.png"], {"bus/1.png": "bus", "train/1.png": "train"}),
    "capital suffixes": (["a/1.PNG", "b/1.JpEg"], {"a/1.PNG": "a", "b/1.JpEg": "b"}),
    "hidden": ([*AB, "a/.2.png", ".git/c/1.png", "a/._1.png"], A_B, {"a/.2.png": "hidden", ".git": "hidden"}),
    "system files": ([*AB, "__MACOSX/c/1.png", "a/Thumbs.db", "b/desktop.ini", ".DS_Store"], A_B,
        {"__MACOSX": "operating system", "a/Thumbs.db": "operating", "b/desktop.ini": "operating", ".DS_Store": "hid"}),
    "empty file": ([*AB, "a/2.png!"], A_B, {"a/2.png": "is empty"}),
    "other suffix": ([*AB, "a/notes.txt", "a/no_suffix", "README.md"], A_B,
        {"a/notes.txt": "no suffix", "a/no_suffix": "no suffix", "README.md": "no suffix"},
        "files without the suffix of an accepted image, which are passed over: 'README.md', 'a/no_suffix', 'a/notes.txt'"),
    "beside classes": ([*AB, "logo.png"], A_B, {"logo.png": "beside"}, "passed over: 'logo.png'"),
    "images without folder": (["1.png", "2.png"], "no images in folders of classes, but 2 images without one"),
    "link to a file outside": ([*AB, "a/2.png -> ../../outside.png"], A_B, {"a/2.png": "leaves the folder"},
        "set has links that leave it, which are passed over: 'a/2.png'"),
    "link to a folder outside": ([*AB, "c -> ../other"], A_B, {"c": "leaves the folder"}),
    "absolute link": ([*AB, "a/2.png -> /etc/passwd"], A_B, {"a/2.png": "leaves the folder"}),
    "broken link": ([*AB, "a/2.png -> nothing"], A_B, {"a/2.png": "leads nowhere"}),
    "link to itself": ([*AB, "a/2.png -> 2.png"], A_B, {"a/2.png": "leads nowhere"}),
    "link to a counted file": ([*AB, "b/2.png -> ../a/1.png"], A_B, {"b/2.png": "found already"}),
    "link to a counted class": ([*AB, "c -> a"], A_B, {"c": "found already"}),
    "link to a hidden file": ([*AB, ".store/x", "a/2.png -> ../.store/x", "b/2.png -> ../.store/x"],
        A_B | {"a/2.png": "a"}, {".store": "hidden", "b/2.png": "found already"}),
    "link to a hidden folder": ([*AB, ".c/1.png", "c -> .c"], A_B | {"c/1.png": "c"}, {".c": "hidden"}),
    "loop": ([*AB, f"{LOOP} -> ..", "b/loop -> .."], A_B, {LOOP: "found already", "b/loop": "found already"}),
    "mutual loop": ([*AB, ".p/q -> ../.r", ".r/s -> ../.p", "c -> .p"], A_B, {"c/q/s": "found already"}),
    "two spellings of Unicode": ([f"{NFC}/1.png", f"{NFD}/2.png", "b/1.png"],
        {"b/1.png": "b", f"{NFC}/1.png": NFC, f"{NFD}/2.png": NFC}),
    "scripts, blanks, emoji": (["猫 と犬/1.png", "👩‍👩‍👧/1.png", "קוף/1.png", "a b  c/1.png"],
        {"猫 と犬/1.png": "猫 と犬", "👩‍👩‍👧/1.png": "👩‍👩‍👧", "קוף/1.png": "קוף", "a b  c/1.png": "a b  c"}),
    "long names": ([f"{LONG}abcd/{LONG}.png", "b/1.png"], {"b/1.png": "b", f"{LONG}abcd/{LONG}.png": LONG + "abcd"}),
    "newline in a class": (["a\nb/1.png", "b/1.png"], r"'a\\nb' of a\\nb/1.png holds the character U\+000A"),
    "terminal's escape in a class": (["a\x1b[31m/1.png", "b/1.png"], r"holds the character U\+001B"),
    "newline in a file's name": (["a/1\n.png", "b/1.png"], {"a/1\n.png": "a", "b/1.png": "b"}),
    "a class that is not UTF-8": (["a\udce9/1.png", "b/1.png"], r"folder a\\xe9 has a name that is not UTF-8"),
    "a file that is not UTF-8": (["a/\udce9.png", "b/1.png"], {"a/\\xe9.png": "a", "b/1.png": "b"}),
    "formulas and markup as classes": (["=1+1/1.png", "<b>/1.png"], {"<b>/1.png": "<b>", "=1+1/1.png": "=1+1"}),
    "numbers as classes": (["007/1.png", "7/1.png"], {"007/1.png": "007", "7/1.png": "7"}),
    "case": (["Cat/1.png", "cat/1.png"], "labels 'Cat' and 'cat' differ only in letter case"),
    "case in two splits": (["train/Cat/1.png", "train/b/1.png", "test/cat/1.png"], "'cat' and 'Cat' differ only in letter"),
    "blank": (["cat /1.png", "cat/1.png"], "labels 'cat' and 'cat ' differ only in letter case or in blanks"),
    "one blank name": (["cat /1.png", "b/1.png"], {"b/1.png": "b", "cat /1.png": "cat"}),
    "a name of blanks": ([" /1.png", "b/1.png"], "the label ' ' of  /1.png is empty"),
    "words that lower case tells apart": (["masse/1.png", "maße/1.png"], {"masse/1.png": "masse", "maße/1.png": "maße"}),
    "empty class": ([*AB, "c/", "d/notes.txt"], A_B, {"c": "no images", "d": "no images"}, "passed over: 'c', 'd'"),
    "one class": (["a/1.png", "a/2.png"], "one class only, 'a'; accepted: at least two"),
    "one class and an empty one": (["a/1.png", "b/"], "one class only, 'a'"),
    "one superclass": (["x/a/1.png", "x/b/1.png"], "all classes in one folder, 'x'; accepted: .*/set/x$"),
    "one superclass in splits": (["train/x/a/1.png", "train/x/b/1.png"], "one superclass only, 'x'"),
    "same class in superclasses": (["x/ripe/1.png", "y/ripe/1.png", "y/raw/1.png"],
        {"x/ripe/1.png": "x>x/ripe", "y/raw/1.png": "y>raw", "y/ripe/1.png": "y>y/ripe"}),
    "idle level": (["a/images/1.png", "b/images/1.png"], "every folder holds one folder 'images'"),
    "mixed depth": ([*AB, "x/c/1.png"], "a/1.png lies in a folder fewer than x/c/1.png"),
    "images beside superclasses' classes": (["x/a/1.png", "x/1.png", "y/b/1.png"], "x/1.png lies in a folder fewer"),
    "too deep": (["x/a/deep/1.png", "y/b/1.png"], "x/a/deep/1.png lies in too many folders; accepted: CLASS/image"),
    "too deep in splits": (["train/x/a/d/1.png", "train/y/b/1.png"], "train/x/a/d/1.png lies in too many"),
    "one image": (["a/1.png", "a/2.png", "b/1.png"], {"b/1.png": "b"}, {}, "in one split only: 'b'"),
    "nothing": (["a/"], "holds no images in folders of classes; accepted: a folder"),
    "only links that leave": (["a/1.png -> /etc/passwd"], r"\(1 files passed over; a/1.png is a link that leaves"),
    "a manifest beside images": ([*AB, "manifest.csv"], A_B, {"manifest.csv": "no suffix"}),
    "a manifest without folders": (["1.png", "labels.csv"], "but the table .*/set/labels.csv: give this path"),
    "a hidden manifest beside it": (["1.png", "labels.csv", "._labels.csv"], "but the table .*/set/labels.csv: give this path"),
    "tables in a folder": (["data/a.csv", "data/b.csv"], "but tables in .*/set/data: give this path"),
    "several tables": (["a.csv", "b.csv"], "but the tables 'a.csv', 'b.csv': give the path of one"),
    "damaged parquet": (["train.parquet"], "train.parquet cannot be read .*accepted: a Parquet file"),
}  # fmt: skip


@pytest.mark.skipif(not SAME_NAMES_EQUAL, reason="file systems of other systems refuse some of the names")
@pytest.mark.parametrize("case", TREES, ids=str)
def test_folders_become_entries_or_are_refused_in_one_line(tmp_path, case):
    files, expected, passed_over, warning = complete(TREES[case])
    (tmp_path / "other").mkdir()
    (tmp_path / "outside.png").write_bytes(b"outside")
    folder = tmp_path / "set"
    folder.mkdir()
    plant(folder, files)
    if isinstance(expected, str):
        refused(folder, expected)
        return
    entries, warned = find(folder)
    assert expected.items() <= summary(entries).items()
    assert set(summary(entries)) <= {
        os.fsencode(name.partition(" ->")[0]).decode("utf-8", "backslashreplace") for name in files
    } | {"c/1.png"}
    for path, reason in passed_over.items():
        assert reason in entries.passed_over[path]
    assert not set(entries.passed_over) & set(entries.table["path"])
    assert warning in warned


def test_a_few_other_files_are_passed_over_without_a_warning(tmp_path):
    plant(tmp_path, [*(f"{label}/{number}.png" for label in "ab" for number in range(10)), "notes.txt"])
    entries, warned = find(tmp_path)
    assert len(entries.table) == 20 and entries.passed_over.keys() == {"notes.txt"} and not warned


def refused(path, message):
    """Check that the path is refused in one line."""
    with warnings.catch_warnings(action="ignore"), pytest.raises(UserError, match=message) as error:
        layouts.find(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 2500


def test_every_image_is_read_at_its_position(tmp_path):
    plant(tmp_path, ["b/1.png", "a/2.png", "a/1.png", "a/10.png"])
    entries, _ = find(tmp_path)
    assert [entries.read(position) for position in range(4)] == [path.encode() for path in entries.table["path"]]


def test_pipes_and_sockets_are_never_opened(tmp_path, monkeypatch):
    plant(tmp_path, AB)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(tmp_path / "b")  # the name of a socket must be short
        one.bind("socket.png")
    entries, _ = find(tmp_path)
    assert entries.passed_over == {"a/pipe.png": "is no regular file", "b/socket.png": "is no regular file"}


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_closed_folder_is_passed_over_with_a_warning():
    with tempfile.TemporaryDirectory() as temporary:  # pytest's own folder is closed for other users
        folder = Path(temporary)
        plant(folder, [*AB, "c/1.png"])
        folder.chmod(0o755)
        (folder / "c").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # the superuser may read every folder, but "nobody" may not
            entries, warned = find(folder)
        finally:
            os.seteuid(user)
            (folder / "c").chmod(0o700)
    assert summary(entries) == A_B
    assert (
        entries.passed_over == {"c": "cannot be read (Permission denied)"}
        and "cannot be read, which are passed over: 'c'" in warned
    )


def test_thousands_of_classes_are_found_and_a_warning_about_them_is_short(tmp_path):
    plant(tmp_path, [f"class {number:04}/1.png" for number in range(3000)])
    entries, warned = find(tmp_path)
    assert entries.table["label"].nunique() == 3000 and "and 2995 more" in warned and len(warned) < 500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: "", "the path of the images is empty"),
        (lambda folder: folder / "nothing", "nothing does not exist"),
        (lambda folder: "x" * 10000, "does not exist"),
        (lambda folder: "a\0b", "does not exist"),
        (lambda folder: "~nobody-at-all/x", "does not exist"),
        (lambda folder: os.devnull, "neither a folder nor a regular file"),
        (lambda folder: folder, "holds no images in folders of classes; accepted"),
        (lambda folder: write(folder / "a.zip", b"PK"), "a.zip is a file of another kind; accepted: a folder"),
        (lambda folder: write(folder / "a.png", b"x"), "a.png is a file of another kind"),
        (lambda folder: write(folder / "a.npz", b"x"), "a.npz cannot be read .*accepted: NPZ"),
        (lambda folder: write(folder / "a.npz", b""), "a.npz cannot be read .*accepted: NPZ"),
        (lambda folder: write(folder / "a.parquet", b"PAR1"), "a.parquet cannot be read .*accepted: a Parquet file"),
        (lambda folder: write(folder / "a.csv", b""), "a.csv is empty; accepted: a table"),
        (lambda folder: write(folder / "a.csv", b"\0\1\2"), "a.csv is no text"),
    ],
)
def test_a_path_without_images_is_refused_in_one_line(tmp_path, make, message):
    refused(make(tmp_path), message)


def write(path, content):
    """Write a file, and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# name: the manifest, then the entries or a part of the error; then what is passed over, and a part of the warning
MANIFESTS = {
    "plain": ("path,label\na/1.png,x\nb/1.png,y\n", {"a/1.png": "x", "b/1.png": "y"}),
    "all columns": (
        "path,label,superclass,split,group\na/1.png,x,s,train,g\nb/1.png,y,t,Train,g\na/2.png,x,s,VAL,\n",
        {"a/1.png": "train:s>x", "b/1.png": "train:t>y", "a/2.png": "validation:s>x"},
    ),
    "capitals and blanks in the header": ("Path, LABEL\na/1.png,x\nb/1.png, y\n", {"a/1.png": "x", "b/1.png": "y"}),
    "semicolons": ("path;label\na/1.png;x,1\nb/1.png;y\n", {"a/1.png": "x,1", "b/1.png": "y"}),
    "tabs": ("label\tpath\nx\ta/1.png\ny\tb/1.png\n", {"a/1.png": "x", "b/1.png": "y"}),
    "quoted semicolons": ('"path";"label"\n"a/1.png";"x;1"\n"b/1.png";"y"\n', {"a/1.png": "x;1", "b/1.png": "y"}),
    "quoted tabs": ('"path"\t"label"\n"a/1.png"\t"x"\n"b/1.png"\t"y"\n', {"a/1.png": "x", "b/1.png": "y"}),
    "open quote in the header": ('"path,label\na/1.png,x\n', "has the columns"),
    "byte-order mark": ("\ufeffpath,label\na/1.png,x\nb/1.png,y\n", {"a/1.png": "x", "b/1.png": "y"}),
    "UTF-16": ("path\tlabel\na/1.png\té\nb/1.png\ty\n".encode("utf-16"), {"a/1.png": "é", "b/1.png": "y"}),
    "Windows": ("path,label\r\na/1.png,é\r\nb/1.png,“y”\r\n".encode("cp1252"), {"a/1.png": "é", "b/1.png": "“y”"}, {},
        "is not UTF-8; it is read as cp1252"),
    "Latin-1": (b"path,label\na/1.png,\xe9\x81\nb/1.png,y\n", r"holds the character U\+0081"),
    "blank lines": ("\n\npath,label\n\na/1.png,x\n\nb/1.png,y\n\n", {"a/1.png": "x", "b/1.png": "y"}),
    "quotes": ('path,label\n"a/1.png","x ""1"", 2"\nb/1.png,y', {"a/1.png": 'x "1", 2', "b/1.png": "y"}),
    "leading zeros, NA": ("path,label\na/1.png,007\nb/1.png,NA\n", {"a/1.png": "007", "b/1.png": "NA"}),
    "floats": ("path,label\na/1.png,1.0\nb/1.png,1e3\n", {"a/1.png": "1.0", "b/1.png": "1e3"}),
    "other columns": ("id,path,label\n1,a/1.png,x\n2,b/1.png,y\n", {"a/1.png": "x", "b/1.png": "y"}),
    "dots": ("path,label\n../set/a/1.png,x\n./b/1.png,y\n", {"../set/a/1.png": "x", "./b/1.png": "y"}),
    "out of the folder": ("path,label\n../outside.png,x\nb/1.png,y\n", {"../outside.png": "x", "b/1.png": "y"}),
    "backslashes": ("path,label\na\\1.png,x\n.\\b\\1.png,y\n", {"a\\1.png": "x", ".\\b\\1.png": "y"}),
    "no such column": ("file,label\na/1.png,x\n", "has the columns 'file', 'label'; accepted: the columns path, label"),
    "no header": ("a/1.png,x\nb/1.png,y\n", "has the columns 'a/1.png', 'x'; accepted"),
    "column twice": ("path,label,Label\na/1.png,x,y\n", "the column label more than once"),
    "header only": ("path,label\n", "has no rows"),
    "ragged": ("path,label\na/1.png,x,z\nb/1.png,y\n", "line 2 has 3 values; accepted: 2"),
    "short row": ("path,label\na/1.png\nb/1.png,y\n", "line 2 has 1 values; accepted: 2"),
    "open quote": ('path,label\na/1.png,"x\nb/1.png,y\n', "line 3 cannot be read as CSV"),
    "huge field": (f"path,label\na/1.png,{'x' * 200_000}\n", "line 2 cannot be read as CSV"),
    "long label": (f"path,label\na/1.png,{'x' * 256}\nb/1.png,y\n", "has 256 characters"),
    "no label": ("path,label\na/1.png,\nb/1.png,y\n", "line 2 has no label"),
    "no path": ("path,label\na/1.png,x\n,y\n", "line 3 has no path"),
    "two dots as label": ("path,label\na/1.png,..\nb/1.png,y\n", r"label '\.\.' of a/1.png is a folder"),
    "line break in a label": ('path,label\na/1.png,"x\ny"\nb/1.png,y\n', r"label 'x\\ny' of a/1.png holds"),
    "case": ("path,label\na/1.png,Cat\nb/1.png,cat\n", "'Cat' and 'cat' differ only"),
    "blanks": ("path,label\na/1.png,cat\nb/1.png,cat \n", "'cat' and 'cat ' differ only"),
    "one class": ("path,label\na/1.png,cat\nb/1.png,cat\n", "one class only, 'cat'"),
    "unknown split": ("path,label,split\na/1.png,x,train\nb/1.png,y,tset\n", "the split 'tset'; accepted: train, training, val"),
    "training and testing": ("path,label,split\na/1.png,x,training\nb/1.png,y,Training\na/2.png,x,testing\n",
        {"a/1.png": "train:x", "b/1.png": "train:y", "a/2.png": "test:x"}),
    "some splits": ("path,label,split\na/1.png,x,train\nb/1.png,y,\n", "b/1.png has no split; accepted: a split for every"),
    "only test": ("path,label,split\na/1.png,x,test\nb/1.png,y,test\n", "only the split 'test'"),
    "no train of a class": ("path,label,split\na/1.png,x,train\nb/1.png,y,test\n", "'train' lacks the classes 'y'"),
    "empty splits": ("path,label,split\na/1.png,x,\nb/1.png,y,\n", {"a/1.png": "x", "b/1.png": "y"}),
    "some superclasses": ("path,label,superclass\na/1.png,x,s\nb/1.png,y,\n", "b/1.png has no superclass"),
    "two superclasses": ("path,label,superclass\na/1.png,x,s\nb/1.png,x,t\na/2.png,y,t\n", "'x' has the superclasses 's', 't'"),
    "one superclass": ("path,label,superclass\na/1.png,x,s\nb/1.png,y,s\n", "one superclass only, 's'"),
    "twice": ("path,label\na/1.png,x\nb/1.png,y\n./a/1.png,x\n", {"a/1.png": "x", "b/1.png": "y"},
        {"line 4: ./a/1.png": "named in line 2"}),
    "contradiction": ("path,label\na/1.png,x\nb/1.png,y\na/1.png,y\n", "a/1.png the label 'x' in line 2 and 'y' in line 4"),
    "all missing": ("path,label\nc/1.png,x\nc/2.png,y\n", "2 of 2 files are missing or empty, among them 'c/1.png', 'c/2.png'"),
    "half missing": ("path,label\na/1.png,x\nc/1.png,x\n", "1 of 2 files are missing or empty, .*; accepted: at most 5%"),
    "a folder, a web address": ("path,label\na,x\nhttp://x/1.png,y\n", "2 of 2 files are missing"),
    "null byte": (b"path,label\na\0,x\n", "is no text"),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS, ids=str)
def test_manifests_become_entries_or_are_refused_in_one_line(tmp_path, case):
    content, expected, passed_over, warning = complete(MANIFESTS[case])
    plant(tmp_path / "set", [*AB2])
    (tmp_path / "outside.png").write_bytes(b"outside")
    path = write(tmp_path / "set" / "Manifest.CSV", content)
    if isinstance(expected, str):
        refused(path, expected)
        return
    entries, warned = find(path)
    assert summary(entries) == expected and warning in warned
    assert {name: reason in entries.passed_over[name] for name, reason in passed_over.items()} == dict.fromkeys(
        passed_over, True
    )
    assert all(entries.read(position) for position in range(len(expected)))


def test_a_few_missing_files_are_passed_over_and_named(tmp_path):
    names = [f"{label}/{number}.png" for label in "ab" for number in range(50)]
    plant(tmp_path, [*names[1:-1], f"{names[-1]}!"])
    path = write(tmp_path / "all.csv", "path,label\n" + "".join(f"{name},{name[0]}\n" for name in names))
    entries, warned = find(path)
    assert list(entries.table["path"]) == names[1:-1] and "2 of 100 files are missing or empty" in warned
    assert entries.passed_over == {"line 2: a/0.png": "does not exist or is no file", "line 101: b/49.png": "is empty"}


@pytest.mark.parametrize(("stored", "named"), [(NFC, f"../{NFD}"), (NFD, f"../{NFC}"), (NFD, f"..\\{NFC}")])
def test_a_manifest_finds_files_by_absolute_paths_and_in_another_form_of_unicode(tmp_path, stored, named):
    plant(tmp_path, [f"{stored}.png", "b.png"])
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables" / "all.tsv", f"path\tlabel\n{tmp_path / 'b.png'}\tx\n{named}.png\ty\n")
    entries, _ = find(path)
    assert [entries.read(0), entries.read(1)] == [b"b.png", f"{stored}.png".encode()]


def test_a_group_is_the_same_in_another_spelling(tmp_path):
    plant(tmp_path, AB2)
    rows = f"a/1.png,x,{NFC}\na/2.png,x, {NFD} \na/1.png,x,{NFC} \nb/1.png,y, \n"
    entries, _ = find(write(tmp_path / "all.csv", f"path,label,group\n{rows}"))
    assert list(entries.table["group"]) == [NFC, NFC, ""]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"path": ["a/1.png", "b/1.png"], "label": ["x", "y"]}, {"a/1.png": "x", "b/1.png": "y"}),
        ({"path": ["a/1.png", "b/1.png"], "label": [7, 8]}, {"a/1.png": "7", "b/1.png": "8"}),
        ({"path": ["a/1.png", "b/1.png"], "label": pd.Categorical(["x", "y"])}, {"a/1.png": "x", "b/1.png": "y"}),
        ({"path": ["a/1.png", "b/1.png"], "label": [0.5, 1]}, "the column label holds double; accepted: text or whole"),
        ({"path": [1, 2], "label": ["x", "y"]}, "the column path holds int64; accepted: text"),
        ({"path": ["a/1.png", "b/1.png"], "label": ["x", None]}, "row 2 has no label"),
        ({"path": ["a/1.png", "b/1.png"], "label": [True, False]}, "the column label holds bool"),
        ({"path": ["a/1.png", "b/1.png"], "name": ["x", "y"]}, "has the columns 'path', 'name'"),
    ],
)
def test_manifests_in_parquet_become_entries_or_are_refused_in_one_line(tmp_path, columns, expected):
    plant(tmp_path, AB)
    path = tmp_path / "set.parquet"
    pd.DataFrame(columns).to_parquet(path)
    if isinstance(expected, str):
        refused(path, expected)
    else:
        assert summary(find(path)[0]) == expected


LABELS = st.lists(st.text(max_size=12), min_size=2, max_size=6)


@pytest.mark.parametrize("kind", ["csv", "parquet", "tree"])
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(labels=LABELS)
def test_labels_come_back_as_they_were_or_are_refused_in_one_line(tmp_path, kind, labels):
    """pandas writes any text as labels; what is accepted comes back the same, but for the form of Unicode and blanks."""
    names = [f"{number}.png" for number in range(len(labels))]
    folder = tmp_path / "property"
    if kind == "tree":
        labels = [label.replace("/", "-").replace("\0", "-").strip(".") or "-" for label in labels]
        folder = tmp_path / f"tree {abs(hash(tuple(labels)))}"
        names = [f"{label}/{name}" for label, name in zip(labels, names, strict=True)]
    plant(folder, names)
    path = folder
    if kind != "tree":
        path = folder / f"set.{kind}"
        table = pd.DataFrame({"path": names, "label": labels})
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    try:
        entries, _ = find(path)
    except UserError as error:
        assert "\n" not in str(error)
        plain = [unicodedata.normalize("NFC", label).strip() for label in labels]
        odd = [one for one in plain if not one or one in (".", "..") or one.startswith(".") or not one.isprintable()]
        lower = {one.lower() for one in plain}
        splits = {"train", "test", "val", "valid", "validation", "training", "testing"}
        assert odd or len(lower) < 2 or len(lower) < len(set(labels)) or lower & splits or "\r" in "".join(labels)
        return
    given_names = dict(zip(names, labels, strict=True))
    for found, label in zip(entries.table["path"], entries.table["label"], strict=True):
        assert label == unicodedata.normalize("NFC", given_names[found]).strip()
    assert len(entries.table) == len(names) or kind == "tree"


def image_set(path, labels, label="label", image="image", names=None, rows=2, **others):
    """Write a Parquet file as Hugging Face's `datasets` does; each image holds "path: number"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": f"{path.name} {number}".encode(), "path": f"{number}.png"} for number in range(len(labels))]
    table = pa.table({image: images, label: labels, **others})
    if names:
        features = {column: {"names": given, "_type": "ClassLabel"} for column, given in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows)
    return path


def emptied(path):
    """A Parquet file without its rows."""
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    return path


def test_parquet_parts_give_splits_names_and_every_image(tmp_path):
    names = {"fine_label": ["cat", "dog", "oak"], "coarse_label": ["animal", "plant"]}
    for part, labels in (("train-00000-of-00002", [0, 1, 2, 0, 0]), ("train-00001-of-00002", [2]), ("test", [1, 0])):
        coarse = [label // 2 for label in labels]
        image_set(tmp_path / f"{part}.parquet", labels, "fine_label", "img", names, coarse_label=coarse)
    entries, _ = find(tmp_path)
    assert entries.layout == "images in 3 Parquet files"
    found = entries.table["split"] + ":" + entries.table["superclass"] + ">" + entries.table["label"]
    assert list(found) == [
        *("test:animal>dog", "test:animal>cat", "train:animal>cat", "train:animal>dog", "train:plant>oak"),
        *("train:animal>cat", "train:animal>cat", "train:plant>oak"),
    ]
    contents = [entries.read(position).decode() for position in (7, 0, 3, 6, 2, 1)]
    first, second = "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"
    assert contents == [f"{second} 0", "test.parquet 0", f"{first} 1", f"{first} 4", f"{first} 0", "test.parquet 1"]
    assert entries.table["path"].iloc[3] == f"{first} row 2" and entries.table["path"].is_unique


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda f: image_set(f / "a.parquet", ["x", "y"]), ["x", "y"]),
        (lambda f: image_set(f / "a.parquet", [3, 11]), ["3", "11"]),
        (lambda f: image_set(f / "train.parquet", [0, 1], "labels", "picture", {"labels": ["x", "y"]}), ["x", "y"]),
        (lambda f: image_set(f / "data" / "train.parquet", [0, 1]).parent, ["0", "1"]),
        (lambda f: image_set(f / "a.parquet", [0, 1], names={"label": [7, None]}), ["0", "1"]),
        (lambda f: image_set(f / "a.parquet", [0, 2], names={"label": ["x", "y"]}), "row 2 has the label 2; accepted: 0 to 1"),
        (lambda f: image_set(f / "a.parquet", [0, -1], names={"label": ["x", "y"]}), "row 2 has the label -1"),
        (lambda f: image_set(f / "a.parquet", [0, None]), "row 2 has the label None; accepted: text or a whole number"),
        (lambda f: image_set(f / "a.parquet", [0.5, 1.5]), "row 1 has the label 0.5"),
        (lambda f: image_set(f / "a.parquet", [0, 0]), "one class only, '0'"),
        (lambda f: emptied(image_set(f / "a.parquet", [0, 1])), "a.parquet holds no images; accepted: images of at least two"),
        (lambda f: image_set(f / "a.parquet", [0, 1], "age"), "has the columns 'image', 'age'; accepted: labels in one of"),
        (lambda f: image_set(f / "a.parquet", [0, 1], image="one", two=[{"bytes": b"x"}] * 2), "2 columns of images, 'one'"),
        (lambda f: image_set(f / "test-00000-of-00001.parquet", [0, 1]).parent, "only the split 'test'"),
        (lambda f: image_set(f / "train-00000-of-00003.parquet", [0, 1]).parent, "1 of the 3 files of 'train'"),
        (lambda f: [image_set(f / f"{name}.parquet", [0, 1]) for name in ("train", "more")][0].parent, "name of more"),
    ],
)  # fmt: skip
def test_parquet_files_with_images_become_entries_or_are_refused_in_one_line(tmp_path, make, expected):
    path = make(tmp_path)
    if isinstance(expected, str):
        refused(path, expected)
        return
    entries, _ = find(path)
    assert list(entries.table["label"]) == expected and entries.read(1).endswith(b" 1")


def test_an_image_without_bytes_is_empty(tmp_path):
    table = pa.table(
        {"image": [{"bytes": None, "path": "1.png"}, None, {"bytes": b"x", "path": ""}], "label": [0, 1, 0]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    entries, _ = find(tmp_path / "a.parquet")
    assert [entries.read(position) for position in range(3)] == [b"", b"", b"x"]


GREY, RGB = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)
FITTING = {"x_train": GREY, "y_train": [0, 1], "x_test": GREY, "y_test": [1, 0]}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (FITTING, ["0", "1", "1", "0"]),
        (FITTING | {"class_names": ["cat", "dog"]}, ["cat", "dog", "dog", "cat"]),
        (FITTING | {"y_train": [[0], [1]], "x_train": RGB, "x_test": RGB}, ["0", "1", "1", "0"]),
        (FITTING | {"y_train": ["a", "é"], "y_test": ["a", "a"]}, ["a", "é", "a", "a"]),
        (FITTING | {"more": [1]}, ["0", "1", "1", "0"]),
        ({"x_train": GREY}, "lacks y_train, x_test, y_test; accepted: the arrays x_train"),
        (FITTING | {"x_train": GREY / 255}, "x_train is float64 of shape"),
        (FITTING | {"x_train": np.zeros((2, 3, 9, 9), np.uint8)}, r"x_train is uint8 of shape \(2, 3, 9, 9\)"),
        (FITTING | {"x_test": GREY[:0], "y_test": []}, r"x_test is uint8 of shape \(0, 4, 4\)"),
        (FITTING | {"y_test": [1]}, "x_test holds 2 images, but y_test 1 labels"),
        (FITTING | {"y_test": [0.0, 1.0]}, "y_test is float64"),
        (FITTING | {"y_test": [0, 2], "class_names": ["cat", "dog"]}, "y_test holds 0 to 2; accepted: 0 to 1"),
        (FITTING | {"class_names": [1, 2]}, "class_names is int64"),
        (
            FITTING | {"y_test": np.array(["a", None], dtype=object)},
            "a.npz cannot be read .*; accepted: NPZ without pickled objects",
        ),
        (FITTING | {"y_train": [0, 0]}, "'train' lacks the classes '1'"),
    ],
)
def test_arrays_become_entries_or_are_refused_in_one_line(tmp_path, arrays, expected):
    np.savez(tmp_path / "a.npz", **arrays)
    if isinstance(expected, str):
        refused(tmp_path / "a.npz", expected)
        return
    entries, _ = find(tmp_path / "a.npz")
    assert list(entries.table["label"]) == expected
    assert list(entries.table["split"]) == ["train", "train", "test", "test"]
    assert entries.passed_over.keys() == arrays.keys() & {"more"}
    np.testing.assert_array_equal(entries.read(3), np.asarray(arrays["x_test"])[1])


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """A file of each kind that is read as a whole."""
    folder = tmp_path_factory.mktemp("whole")
    plant(folder, ["a.png", "b.png"])
    manifest = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"], "split": "train"})
    manifest.to_csv(folder / "set.csv", index=False)
    manifest.to_parquet(folder / "manifest.parquet")
    image_set(folder / "images.parquet", [0, 1] * 9, names={"label": ["x", "y"]}, rows=5)
    np.savez(folder / "plain.npz", **FITTING)
    np.savez_compressed(folder / "compressed.npz", **FITTING)
    return folder


@pytest.mark.parametrize("name", ["set.csv", "manifest.parquet", "images.parquet", "plain.npz", "compressed.npz"])
@many
@given(edits=EDITS)
def test_damaged_files_are_read_or_refused_in_one_line(whole_files, name, edits):
    path = write(whole_files / f"damaged {name}", damaged((whole_files / name).read_bytes(), edits))
    entries = accepts(layouts.find, path)
    for position in range(len(entries.table) if entries else 0):
        with contextlib.suppress(OSError):
            assert isinstance(entries.read(position), bytes | np.ndarray)
