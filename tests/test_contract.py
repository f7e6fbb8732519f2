"""The contract of a data set: what a user's own reader may return and declare, and how everything else is refused."""

import dataclasses
import re
import warnings

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from PIL import Image

from mlproject.datasets import CIFAR100, KINDS, FashionMNIST, Loader, contract, files, synthetic
from mlproject.datasets.declaration import check_declaration
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError
from mlproject.task import prepare

CLASSES = ("ash", "beech", "oak")
SHAPE = (8, 6, 3)
_RNG = np.random.default_rng(0)
IMAGES, TEST_IMAGES = _RNG.integers(0, 256, (24, *SHAPE), np.uint8), _RNG.integers(0, 256, (6, *SHAPE), np.uint8)
LABELS, TEST_LABELS = np.arange(24) % 3, np.arange(6) % 3
NAMES = np.array(CLASSES)


def arrays(**changes):
    """What a reader returns, with some of it changed."""
    return files.Arrays(IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, "here")._replace(**changes)


def load(returned, labels="flat", kind="real", **defined):
    """Load a data set of one's own.

    `returned` is what `read` returns, or `read` itself; `defined` replaces attributes of its class, or removes those that are
    None.
    """

    def read(self, data_dir):
        return returned(data_dir) if callable(returned) else returned

    attributes = {"name": "leaves", "classes": CLASSES, "shape": SHAPE, "read": read} | defined
    made = type("Leaves", (Loader,), {name: value for name, value in attributes.items() if value is not None})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return made().load(labels, kind)


def refused(message, *arguments, **options):
    """Check that loading is refused by one line that begins with this text."""
    with pytest.raises(UserError) as error:
        load(*arguments, **options)
    assert str(error.value).startswith(f"data set leaves: {message}"), str(error.value)
    assert "\n" not in str(error.value) and "accepted: " in str(error.value)


# What is accepted

LABELS_ACCEPTED = {
    "column": lambda y: y[:, None],
    "column of uint8, as in CIFAR-10 of Keras": lambda y: y[:, None].astype(np.uint8),
    "one-hot float32, as of to_categorical": lambda y: np.eye(3, dtype=np.float32)[y],
    "one-hot int8": lambda y: np.eye(3, dtype=np.int8)[y],
    "one-hot bool, as of get_dummies": lambda y: pd.get_dummies(NAMES[y]).to_numpy(),
    "one-hot frame": lambda y: pd.get_dummies(NAMES[y]),
    "one-hot list": lambda y: np.eye(3, dtype=int)[y].tolist(),
    "names": lambda y: NAMES[y],
    "names as objects": lambda y: NAMES[y].astype(object),
    "names as bytes": lambda y: NAMES[y].astype(np.bytes_),
    "names of variable width": lambda y: NAMES[y].astype(np.dtypes.StringDType()),
    "names in a list": lambda y: NAMES[y].tolist(),
    "names in a column": lambda y: NAMES[y][:, None],
    "names in a series": lambda y: pd.Series(NAMES[y]),
    "names as categories": lambda y: pd.Categorical(NAMES[y]),
    "uint8": lambda y: y.astype(np.uint8),
    "int16": lambda y: y.astype(np.int16),
    "uint64": lambda y: y.astype(np.uint64),
    "big-endian": lambda y: y.astype(">i8"),
    "not contiguous": lambda y: np.repeat(y, 2)[::2],
    "whole floats": lambda y: y.astype(np.float64),
    "objects": lambda y: y.astype(object),
    "list": lambda y: y.tolist(),
    "tuple": lambda y: tuple(y.tolist()),
}


@pytest.mark.parametrize("change", LABELS_ACCEPTED.values(), ids=LABELS_ACCEPTED.keys())
def test_labels_with_one_meaning_are_accepted(change):
    data = load(arrays(train_labels=change(LABELS), test_labels=change(TEST_LABELS)))
    for found, wanted in ((data.train_labels, LABELS), (data.test_labels, TEST_LABELS)):
        assert found.dtype == np.int64 and found.dtype.isnative and found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted)
    assert data.digest == load(arrays()).digest and data.train_strata is data.train_labels


def _objects(images):
    boxed = np.empty(len(images), object)
    boxed[:] = list(images)
    return boxed


IMAGES_ACCEPTED = {
    "int64": lambda x: x.astype(np.int64),
    "int16": lambda x: x.astype(np.int16),
    "big-endian": lambda x: x.astype(">u4"),
    "list": lambda x: x.tolist(),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "array of arrays": _objects,
    "list of photographs": lambda x: [Image.fromarray(one) for one in x],
    "Fortran order": np.asfortranarray,
    "channels moved": lambda x: np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@pytest.mark.parametrize("change", IMAGES_ACCEPTED.values(), ids=IMAGES_ACCEPTED.keys())
def test_images_with_one_meaning_are_accepted(change):
    data = load(arrays(train_images=change(IMAGES), test_images=change(TEST_IMAGES)))
    for found, wanted in ((data.train_images, IMAGES), (data.test_images, TEST_IMAGES)):
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted)
    assert data.digest == load(arrays()).digest


@pytest.mark.parametrize("shape", [(8, 6, 1), (8, 6), [8, 6, 1], np.array([8, 6])])
@pytest.mark.parametrize("channel", [True, False])
def test_grey_images_need_no_channel(shape, channel):
    grey, test_grey = (images[..., :1] if channel else images[..., 0] for images in (IMAGES, TEST_IMAGES))
    data = load(arrays(train_images=grey, test_images=test_grey), shape=shape)
    assert data.spec().shape == (8, 6, 1)
    np.testing.assert_array_equal(data.train_images, IMAGES[..., :1])
    assert load(None, shape=shape, kind="synthetic").spec().shape == (8, 6, 1)


def test_what_has_the_right_form_is_not_copied(tmp_path):
    given = arrays()
    data = load(given)
    assert data.train_images is given.train_images and data.train_labels is given.train_labels
    assert data.test_images is given.test_images and data.test_labels is given.test_labels
    grey = np.ascontiguousarray(IMAGES[..., 0])
    data = load(arrays(train_images=grey, test_images=TEST_IMAGES[..., 0]), shape=(8, 6))
    assert np.shares_memory(data.train_images, grey)
    column = np.ascontiguousarray(LABELS[:, None])
    assert np.shares_memory(load(arrays(train_labels=column)).train_labels, column)
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = load(arrays(train_images=mapped))
    assert np.shares_memory(data.train_images, mapped) and data.digest == load(arrays()).digest


def test_two_classes_may_be_true_and_false():
    labels = {"train_labels": LABELS == 1, "test_labels": TEST_LABELS == 1}
    data = load(arrays(**labels), classes=("leaf", "needle"))
    np.testing.assert_array_equal(data.train_labels, LABELS == 1)


@pytest.mark.parametrize("names", [list(CLASSES), np.array(CLASSES), [np.str_(name) for name in CLASSES]])
def test_class_names_become_a_tuple_of_texts(names):
    data = load(arrays(), classes=names)
    assert data.class_names == CLASSES and {type(name) for name in data.class_names} == {str}
    assert data.digest == load(arrays()).digest


@pytest.mark.parametrize("superclass_of", [(0, 0, 1), [0, 0, 1], np.array([0, 0, 1], np.uint8)])
def test_superclasses_may_be_declared_as_lists(superclass_of):
    declared = {"superclasses": ["smooth", "lobed"], "superclass_of": superclass_of}
    coarse = load(arrays(), "coarse", **declared)
    fine = load(arrays(), "fine", **declared)
    assert coarse.class_names == fine.superclass_names == ("smooth", "lobed")
    assert coarse.train_labels.dtype == np.int64 and fine.superclasses == ["smooth", "smooth", "lobed"]
    np.testing.assert_array_equal(coarse.test_labels, TEST_LABELS == 2)


def test_a_source_may_be_a_path(tmp_path):
    assert load(arrays(source=tmp_path)).source == str(tmp_path)


def test_a_class_without_test_images_is_warned_of():
    one = {"test_images": TEST_IMAGES[TEST_LABELS != 1], "test_labels": TEST_LABELS[TEST_LABELS != 1]}
    with pytest.raises(UserWarning, match="leaves: test_labels lacks the classes beech; they get no scores"):
        load(arrays(**one))


# What is refused

PIXELS = "accepted: integers from 0 to 255, best as uint8"
WHOLE = "accepted: whole numbers from 0 to 2, indices into its classes"
RAGGED = [IMAGES[0], IMAGES[1][:5], *IMAGES[2:]]
IMAGES_REFUSED = [
    (
        "pixels / 255",
        IMAGES / np.float32(255),
        "holds float32 from 0 to 1, which look like pixels / 255: multiply by 255,",
    ),
    ("pixels / 255 in half precision", (IMAGES / 255).astype(np.float16), "holds float16 from 0 to 1, which look like"),
    (
        "pixels / 127.5 - 1",
        IMAGES / 127.5 - 1,
        "holds float64 from -1 to 1, which look like pixels / 127.5 - 1: add 1,",
    ),
    ("standardised", (IMAGES - 128.0) / 60, "holds float64 from -2.13333 to 2.11667; " + PIXELS),
    ("whole floats", IMAGES.astype(np.float32), "holds float32 from 0 to 255: round and convert to uint8; " + PIXELS),
    ("big-endian floats", (IMAGES / 255).astype(">f4"), "holds >f4 from 0 to 1, which look like pixels / 255"),
    ("a NaN", np.where(IMAGES == 7, np.nan, IMAGES), "holds NaN (float64); " + PIXELS),
    ("infinity", np.where(IMAGES == 7, np.inf, IMAGES), "holds float64 from 0 to inf; " + PIXELS),
    ("negative", IMAGES.astype(np.int16) - 128, "holds values from -128 to 127; " + PIXELS),
    ("16 bits", IMAGES.astype(np.uint16) * 257, "holds values from 0 to 65535; " + PIXELS),
    ("truncated pixels / 255", (IMAGES / 255).astype(np.uint8), "holds no value above 1; " + PIXELS),
    ("black", np.zeros_like(IMAGES), "holds no value above 0; " + PIXELS),
    ("one value", np.full_like(IMAGES, 128), "holds nothing but the value 128; accepted: images that differ"),
    ("booleans", IMAGES > 128, "is bool; " + PIXELS),
    ("complex", IMAGES.astype(complex), "is complex128; " + PIXELS),
    ("texts", IMAGES.astype(str), "is <U3; " + PIXELS),
    ("another size", IMAGES[:, :4], "has the shape (24, 4, 6, 3); accepted: (n, 8, 6, 3), n images of the shape"),
    ("height and width swapped", IMAGES.transpose(0, 2, 1, 3), "has the shape (24, 6, 8, 3); accepted: (n, 8, 6, 3)"),
    ("channels first", IMAGES.transpose(0, 3, 1, 2), "has the shape (24, 3, 8, 6), with the channels first: use"),
    (
        "images last, as in SVHN",
        np.moveaxis(IMAGES, 0, -1),
        "has the shape (8, 6, 3, 24), with the images along the last",
    ),
    ("rows", IMAGES.reshape(24, -1), "has the shape (24, 144), with a row of pixels for each image: reshape it"),
    ("no channel for three", IMAGES[..., 0], "has the shape (24, 8, 6); accepted: (n, 8, 6, 3)"),
    ("opacity", np.concatenate([IMAGES, IMAGES[..., :1]], 3), "has the shape (24, 8, 6, 4); accepted: (n, 8, 6, 3)"),
    ("labels", LABELS, "has the shape (24,); accepted: (n, 8, 6, 3)"),
    ("no images", IMAGES[:0], "is empty (shape (0, 8, 6, 3)); accepted: at least one"),
    ("an empty list", [], "is empty (shape (0,)); accepted: at least one"),
    ("ragged", RAGGED, "has entries of the shapes (8, 6, 3) and (5, 6, 3); accepted: an array, whose entries all"),
    ("a ragged array", _objects(RAGGED), "has entries of the shapes (8, 6, 3) and (5, 6, 3); accepted: an array"),
    ("ragged rows", [[[1, 2], [3]], [[4], [5, 6]]], "is no array (ValueError: setting an array element"),
    ("fewer", IMAGES[:20], "holds 20 images, but train_labels 24 labels; accepted: a label for each image"),
    ("a generator", (one for one in IMAGES), "holds generator; accepted: an array of numbers"),
    ("nothing", None, "holds NoneType; accepted: an array of numbers"),
    ("a mask", np.ma.masked_less(IMAGES, 9), "has masked or missing values; accepted: a value for every image"),
]
LABELS_REFUSED = [
    ("from 1 on", LABELS + 1, "holds 1 to 3, so its labels begin at 1: subtract 1; " + WHOLE),
    ("floats from 1 on", LABELS + 1.0, "holds 1 to 3, so its labels begin at 1: subtract 1; " + WHOLE),
    (
        "a column from 1 on, as in SVHN",
        (LABELS + 1).astype(np.uint8)[:, None],
        "holds 1 to 3, so its labels begin at 1",
    ),
    ("too large", LABELS + (LABELS == 2), "holds 3; " + WHOLE),
    ("much too large", LABELS.astype(np.uint64) + np.uint64(2**63), "holds 9223372036854775810; " + WHOLE),
    ("negative", LABELS - 1, "holds -1; " + WHOLE),
    ("fractions", LABELS / 2, "holds 0.5; " + WHOLE),
    ("a NaN", np.where(LABELS == 1, np.nan, LABELS), "holds nan; " + WHOLE),
    ("infinity", np.where(LABELS == 1, np.inf, LABELS), "holds inf; " + WHOLE),
    ("complex", LABELS.astype(complex), "is complex128; " + WHOLE),
    ("soft", np.full((24, 3), 1 / 3), "holds the row [0.3333333333333333, 0.3333333333333333, 0.3333333333333333] for"),
    ("smoothed", np.eye(3)[LABELS] * 0.8 + 0.1, "holds the row ["),
    ("two 1 in a row", np.eye(3, dtype=int)[LABELS] | [1, 0, 0], "holds the row [1, 1, 0] for image 1; accepted: rows"),
    ("no 1 in a row", np.eye(3)[LABELS] * (LABELS != 1)[:, None], "holds the row [0.0, 0.0, 0.0] for image 1;"),
    ("a NaN in a row", np.where(np.eye(3)[LABELS] > 0, np.nan, 0), "holds the row [nan, 0.0, 0.0] for image 0;"),
    ("one-hot of four", np.eye(4)[LABELS], "has the shape (24, 4); accepted: (n,) or (n, 1), or one-hot (n, 3)"),
    ("a row", LABELS[None], "has the shape (1, 24); accepted: (n,) or (n, 1)"),
    ("images", IMAGES, "has the shape (24, 8, 6, 3); accepted: (n,) or (n, 1)"),
    (
        "another name",
        np.where(LABELS == 1, "birch", NAMES[LABELS]),
        "holds 'birch', which is not in its classes; accepted: ash",
    ),
    (
        "Windows lines",
        [f"{CLASSES[label]}\r" for label in LABELS],
        r"holds 'ash\r', which is not in its classes; accepted: ash",
    ),
    (
        "digits as text",
        LABELS.astype(str),
        "holds '0', which is not in its classes; accepted: ash, beech, oak, or the indices",
    ),
    (
        "broken bytes",
        np.where(LABELS == 1, b"\xff", NAMES[LABELS].astype("S")),
        "holds '\ufffd', which is not in its classes",
    ),
    ("a name is missing", [None, *NAMES[LABELS][1:]], "holds NoneType, str_; accepted: an array of numbers, or names"),
    (
        "a missing value",
        pd.array([None, *LABELS[1:]], "Int64"),
        "has masked or missing values; accepted: a value for every image",
    ),
    ("a class is missing", LABELS % 2, "lacks the classes oak; accepted: images of every class"),
    ("a class is missing at the start", LABELS % 2 + 1, "lacks the classes ash; accepted: images of every class"),
    ("empty", LABELS[:0], "is empty (shape (0,)); accepted: at least one"),
    ("ragged", [[0], *([[1, 2]] * 23)], "has entries of the shapes (1,) and (2,); accepted: an array"),
]


@pytest.mark.parametrize(
    ("images", "message"), [row[1:] for row in IMAGES_REFUSED], ids=[row[0] for row in IMAGES_REFUSED]
)
def test_images_without_one_meaning_are_refused(images, message):
    refused(f"train_images {message}", arrays(train_images=images))


@pytest.mark.parametrize(
    ("labels", "message"), [row[1:] for row in LABELS_REFUSED], ids=[row[0] for row in LABELS_REFUSED]
)
def test_labels_without_one_meaning_are_refused(labels, message):
    refused(f"train_labels {message}", arrays(train_labels=labels))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": TEST_IMAGES[:, :, :4]}, "test_images has the shape (6, 8, 4, 3); accepted: (n, 8, 6, 3)"),
        ({"test_images": TEST_IMAGES / 255}, "test_images holds float64 from 0 to 1, which look like pixels / 255"),
        ({"test_images": TEST_IMAGES[:5]}, "test_images holds 5 images, but test_labels 6 labels; accepted"),
        ({"test_images": []}, "test_images is empty (shape (0,)); accepted"),
        ({"test_labels": TEST_LABELS + 1}, "test_labels holds 1 to 3, so its labels begin at 1: subtract 1; " + WHOLE),
        ({"test_labels": NAMES[TEST_LABELS] + "s"}, "test_labels holds 'ashs', which is not in its classes; accepted"),
        ({"source": None}, "source is None; accepted: a text or path"),
        ({"description": "leaves"}, "description is 'leaves'; accepted: None, or a files.Description"),
        ({"preparation": "crop"}, "preparation is crop; accepted: None, a Preparation for images of shape (8, 6, 3)"),
        ({"preparation": {"size": IMAGES}}, "preparation is {'size': array("),
        ({"preparation": Preparation(8, 3)}, "preparation is The images have 8 x 8 pixels"),
    ],
)
def test_the_test_part_is_checked_alike(changes, message):
    refused(message, arrays(**changes))


@pytest.mark.parametrize(
    ("defined", "message"),
    [
        ({"classes": None}, "it lacks classes; accepted: a Loader that defines name, classes, shape and read"),
        ({"shape": None}, "it lacks shape; accepted"),
        ({"read": "leaves.npz"}, "read is leaves.npz; accepted: a method read(self, data_dir)"),
        ({"classes": ()}, "classes holds 0 names; accepted: at least 2"),
        ({"classes": ("ash",)}, "classes holds 1 names; accepted: at least 2"),
        ({"classes": ("ash", "oak", "ash")}, "classes holds 'ash' more than once; accepted: different names"),
        ({"classes": (0, 1, 2)}, "classes holds 0; accepted: names as text"),
        ({"classes": ("ash", b"beech", "oak")}, "classes holds b'beech'; accepted: names as text"),
        ({"classes": ("ash", "", "oak")}, "classes holds ''; accepted: names that are not empty"),
        ({"classes": ("ash", "beech\r", "oak")}, r"classes holds 'beech\r'; accepted: names that are not empty"),
        ({"classes": ("\ufeffash", "beech", "oak")}, r"classes holds '\ufeffash'; accepted: names that are not empty"),
        ({"classes": ("ash\nbeech", "oak")}, r"classes holds 'ash\nbeech'; accepted: names that are not empty"),
        ({"classes": "ash"}, "classes is a str; accepted: a tuple or list of names"),
        ({"classes": set(CLASSES)}, "classes is a set; accepted: a tuple or list of names"),
        ({"classes": {"ash": 0, "oak": 1}}, "classes is a dict; accepted: a tuple or list of names"),
        ({"shape": 64}, "shape is 64; accepted: (height, width, channels) or (height, width), integers"),
        ({"shape": (8,)}, "shape is (8,); accepted: (height, width, channels)"),
        ({"shape": (24, 8, 6, 3)}, "shape is (24, 8, 6, 3); accepted: (height, width, channels)"),
        ({"shape": (None, None, 3)}, "shape is (None, None, 3); accepted: (height, width, channels)"),
        ({"shape": (8.0, 6.0, 3)}, "shape is (8.0, 6.0, 3); accepted: (height, width, channels)"),
        ({"shape": (8, 6, 0)}, "shape is (8, 6, 0); accepted: (height, width, channels)"),
        ({"shape": (1, 28, 28)}, "shape is (1, 28, 28); accepted: (height, width, channels)"),
        ({"shape": (3, 32, 32)}, "shape is (3, 32, 32), which begins with the channels; accepted: (height, width"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_declarations_without_meaning_are_refused(kind, defined, message):
    refused(message, arrays(), kind=kind, **defined)


@pytest.mark.parametrize(
    ("defined", "message"),
    [
        ({"superclass_of": None}, "superclass_of is float64 of shape (0,); accepted: for each of the 3 classes"),
        ({"superclasses": None}, "it has superclass_of without superclasses; accepted: both, or neither"),
        ({"superclasses": ("smooth", "smooth")}, "superclasses holds 'smooth' more than once; accepted"),
        ({"superclasses": ("smooth",)}, "superclasses holds 1 names; accepted: at least 2"),
        (
            {"superclass_of": (0, 1)},
            "superclass_of is int64 of shape (2,); accepted: for each of the 3 classes an index",
        ),
        (
            {"superclass_of": (0, 0, 2)},
            "superclass_of holds 0 to 2; accepted: for each of the 3 classes an index from 0 to 1",
        ),
        ({"superclass_of": (-1, 0, 1)}, "superclass_of holds -1 to 1; accepted: for each"),
        (
            {"superclass_of": (0, 0, 0)},
            "superclass_of gives the superclass 'lobed' no class; accepted: at least one class",
        ),
        ({"superclass_of": (0.0, 0.0, 1.0)}, "superclass_of is float64 of shape (3,); accepted: for each"),
        ({"superclass_of": {"ash": 0}}, "superclass_of is object of shape (); accepted: for each"),
        ({"superclass_of": [[0, 1], [2]]}, "superclass_of is object of shape (); accepted: for each"),
    ],
)
@pytest.mark.parametrize("labels", ["coarse", "fine"])
def test_superclasses_without_meaning_are_refused(labels, defined, message):
    declared = {"superclasses": ("smooth", "lobed"), "superclass_of": (0, 0, 1)} | defined
    refused(message, arrays(), labels, **declared)


def _raises(error):
    def read(data_dir):
        raise error

    return read


READ = "Leaves.read"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (tuple(arrays()), f"{READ} returned a tuple; accepted: files.Arrays(train_images, train_labels, test_images,"),
        (((IMAGES, LABELS), (TEST_IMAGES, TEST_LABELS)), f"{READ} returned a tuple; accepted: files.Arrays("),
        (arrays()._asdict(), f"{READ} returned a dict; accepted: files.Arrays("),
        (None, f"{READ} returned nothing; accepted: files.Arrays("),
        (_raises(KeyError("train_images")), f"{READ} failed (KeyError: 'train_images'); accepted: a method"),
        (
            _raises(ValueError("two\nlines")),
            f"{READ} failed (ValueError: two); accepted: a method read(self, data_dir)",
        ),
        (_raises(MemoryError()), f"{READ} failed (MemoryError: ); accepted: a method read(self, data_dir)"),
        (lambda: arrays(), f"{READ} failed (TypeError: "),
    ],
)
def test_a_reader_that_fails_or_returns_something_else_is_refused(returned, message):
    refused(message, returned)


def test_the_line_of_a_readers_file_that_fails_is_named(tmp_path, monkeypatch):
    (tmp_path / "my_leaves.py").write_text(
        "from mlproject.datasets import Loader\n\nclass Leaves(Loader):\n"
        "    name, classes, shape = 'leaves', ('ash', 'oak'), (8, 6, 3)\n\n"
        "    def read(self, data_dir):\n        return open('none.npz')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from my_leaves import Leaves

    with pytest.raises(UserError, match=r"Leaves.read failed in line 7 \(FileNotFoundError: .*'none.npz'\); accepted"):
        Leaves().load("flat")


def test_a_reader_of_a_notebook_that_fails_is_refused_alike():
    cell = {"__name__": "a module without a file"}
    exec(
        "from mlproject.datasets import Loader\n\nclass Leaves(Loader):\n"
        "    name, classes, shape = 'leaves', ('ash', 'oak'), (8, 6, 3)\n\n"
        "    def read(self, data_dir):\n        return open('none.npz')\n",
        cell,
    )
    with pytest.raises(UserError, match=r"Leaves.read failed \(FileNotFoundError: .*'none.npz'\); accepted"):
        cell["Leaves"]().load("flat")


def test_a_reader_that_is_a_dataclass_may_not_lose_its_hash():
    class Leaves(Loader):
        name, classes, shape = "leaves", CLASSES, SHAPE

        def read(self, data_dir):
            return arrays()

    kept, lost = dataclasses.dataclass(eq=False)(Leaves), dataclasses.dataclass(type("Lost", (Leaves,), {}))
    assert prepare([dataclasses.replace(TINY, dataset=kept())])[0].data.name == "leaves"
    with pytest.raises(UserError, match="dataset=.*Lost.* of tiny has no hash; accepted: .* dataclass with eq=False"):
        prepare([dataclasses.replace(TINY, dataset=lost())])


def test_a_readers_own_message_is_kept():
    with pytest.raises(UserError, match=re.escape("leaves.npz is not found")):
        load(_raises(UserError("leaves.npz is not found")))


def test_a_class_with_one_training_image_stays_in_training():
    data = load(arrays(train_images=IMAGES[:22], train_labels=np.r_[LABELS[:21] % 2, 2]))
    train, validation = data.split(0)
    assert 21 in train and set(data.train_labels[validation]) == {0, 1}


def test_an_own_validation_split_and_groups_are_brought_into_their_form():
    data = load(arrays(validation=[5, 1], groups=NAMES[LABELS]))
    assert data.split(7)[1].tolist() == data.validation.tolist() == [1, 5] and data.validation.dtype == np.int64
    assert data.groups.dtype == np.int64 and data.groups.tolist() == LABELS.tolist()
    of_variable_width = NAMES[LABELS].astype(np.dtypes.StringDType())
    assert load(arrays(groups=of_variable_width)).groups.tolist() == LABELS.tolist()
    assert load(arrays(groups=np.arange(24, dtype=np.int32) // 6)).groups.tolist() == (np.arange(24) // 6).tolist()
    with pytest.raises(
        UserWarning, match="data set leaves: validation holds all training images of beech; trials never"
    ):
        load(arrays(validation=np.flatnonzero(LABELS == 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": [3, 24]}, "validation holds 24; accepted: rows of training images, 0 to 23"),
        ({"validation": [-1]}, "validation holds -1"),
        ({"validation": [3, 4, 3]}, "validation holds 3 2 times"),
        ({"validation": range(24)}, "validation holds all 24 training images"),
        ({"validation": []}, "validation is empty"),
        ({"validation": LABELS == 1}, "validation is bool of shape (24,)"),
        (
            {"groups": np.arange(23)},
            "groups is int64 of shape (23,); accepted: a whole number or a name for each of 24",
        ),
        ({"groups": np.arange(24) / 2}, "groups is float64 of shape (24,)"),
        ({"groups": np.ones(24, int)}, "groups holds one group only"),
    ],
)
def test_a_validation_split_or_groups_without_a_meaning_are_refused(changes, message):
    refused(message, arrays(**changes))


@pytest.mark.parametrize("loader", [CIFAR100(), FashionMNIST()])
def test_the_synthetic_arrays_fulfil_the_contract_as_they_are(loader):
    declared = check_declaration(loader)
    made = synthetic.make(declared)
    assert all(one is other for one, other in zip(made, contract.check(declared, made), strict=True))


EXPERIMENT = """
import numpy as np
from mlproject.datasets import Arrays, Loader
from mlproject.experiment import Experiment
from mlproject.recipe import Recipe, Stage

class Leaves(Loader):
    name, classes, shape = "leaves", ("ash", "oak"), (8, 8, 3)

    def read(self, data_dir):
        images, labels = np.random.rand(6, 8, 8, 3), np.arange(6) % 2
        return Arrays(images, labels, images, labels, "here")

EXPERIMENTS = [Experiment(
    name="leaves-cnn", question="?", comparison="leaves", dataset=Leaves(), labels="flat",
    build=lambda hp, spec: None, recipe=lambda hp: Recipe((Stage("training", 0.1),), 32, "adamw"), best={},
)]
"""


def test_tune_refuses_a_broken_data_set_in_one_line_before_it_makes_a_run(run_here, store, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "leaves.py").write_text(EXPERIMENT)
    done = run_here("tune", "--experiment", "leaves-cnn", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert re.match("error: data set leaves: train_images holds float64 from .* which look like", done.stderr)
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_a_data_set_given_by_name_as_before_is_refused_with_the_new_form(run_here, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "leaves.py").write_text(
        EXPERIMENT.replace("dataset=Leaves()", "dataset='fashion-mnist'")
    )
    done = run_here("explain", "--experiment", "leaves-cnn", cwd=tmp_path)
    assert done.returncode == 2 and "dataset='fashion-mnist' of leaves-cnn; accepted: a Loader" in done.stderr


def test_a_preparation_is_kept_if_it_makes_images_of_the_declared_shape():
    square = {"train_images": IMAGES[:, :6], "test_images": TEST_IMAGES[:, :6]}
    kept = load(arrays(**square), shape=(6, 6, 3), preparation=Preparation(6, 3, "pad")).preparation
    assert Preparation.from_description(kept) == Preparation(6, 3, "pad")
    assert load(arrays(**square, preparation=Preparation(6, 3, "pad")), shape=(6, 6, 3)).preparation == kept
    assert load(arrays()).preparation is None
    refused("preparation is The images have 6 x 6 pixels", arrays(), preparation=Preparation(6, 3))
    refused("preparation is {'size': 8}; accepted: None, or a Preparation", arrays(), preparation={"size": 8})
