"""The data sets: readers with files made here in the official formats, downloads from a real server, synthetic sets."""

import gzip
import hashlib
import io
import math
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import train_test_split

from mlproject.datasets import CIFAR100, FashionMNIST, cifar100, fashion_mnist, files, synthetic
from mlproject.datasets.dataset import from_arrays
from mlproject.datasets.declaration import Declaration, check_declaration
from mlproject.datasets.files import Arrays
from mlproject.errors import UserError

NEEDS_REAL_DATA = pytest.mark.skipif(
    not os.environ.get("MLPROJECT_DATA"), reason="set MLPROJECT_DATA to a folder with the real data to run this"
)


@pytest.fixture
def no_data_anywhere(tmp_path, monkeypatch):
    """No data folder is named, and Keras' cache and Debian's folder are empty. Returns the cache."""
    monkeypatch.delenv("MLPROJECT_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    return tmp_path / "keras"


# CIFAR-100


def _cifar_records(count):
    """Records with the official labels; the red plane holds the record's number (modulo 256), the green one the row."""
    records = np.zeros((count, cifar100.RECORD_BYTES), np.uint8)
    records[:, 1] = np.arange(count) % 100
    records[:, 0] = cifar100.SUPERCLASS_OF[records[:, 1]]
    records[:, 2 : 2 + 1024] = (np.arange(count) % 256)[:, None]
    records[:, 2 + 1024 : 2 + 2048] = np.repeat(np.arange(32), 32)
    return records


@pytest.fixture(scope="module")
def cifar_folder(tmp_path_factory):
    """An unpacked archive with all the official counts; returns the folder around cifar-100-binary."""
    folder = tmp_path_factory.mktemp("cifar") / cifar100.FOLDER
    folder.mkdir()
    for name, count in cifar100.RECORD_COUNTS.items():
        _cifar_records(count).tofile(folder / name)
    (folder / "fine_label_names.txt").write_text("\n".join(cifar100.CLASSES) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(cifar100.SUPERCLASSES) + "\n")
    return folder.parent


@pytest.fixture(scope="module")
def cifar_archive(cifar_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "cifar-100-binary.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(cifar_folder / cifar100.FOLDER, cifar100.FOLDER)
    return path


@pytest.fixture
def with_content(cifar_folder, tmp_path):
    """Return a function that copies the unpacked folder with other content in one file, or without it if that is None."""

    def make(name, content):
        folder = tmp_path / "damaged" / cifar100.FOLDER
        folder.mkdir(parents=True)
        for path in (cifar_folder / cifar100.FOLDER).iterdir():
            if path.name != name:
                (folder / path.name).symlink_to(path)
        if content is not None:
            (folder / name).write_bytes(content)
        return folder.parent

    return make


def test_the_table_has_20_superclasses_of_5_classes_numbered_alphabetically():
    assert len(cifar100.SUPERCLASSES) == 20 and len(cifar100.CLASSES) == 100
    assert np.bincount(cifar100.SUPERCLASS_OF).tolist() == [5] * 20
    assert cifar100.CLASSES[:3] == ("apple", "aquarium_fish", "baby")
    assert [cifar100.SUPERCLASSES[i] for i in cifar100.SUPERCLASS_OF[:3]] == ["fruit_and_vegetables", "fish", "people"]


def test_the_archive_is_read_as_planes_with_a_warning_that_it_is_not_the_official_one(cifar_archive):
    with pytest.warns(UserWarning, match="not the official archive"):
        fine = CIFAR100().load("fine", data_dir=cifar_archive.parent)
    assert fine.train_images.shape == (50_000, 32, 32, 3) and fine.test_images.shape == (10_000, 32, 32, 3)
    assert fine.train_images.dtype == np.uint8 and fine.train_labels.dtype == np.int64
    assert (fine.train_images[257, :, :, 0] == 1).all()  # red: the record's number
    assert (fine.train_images[257, :, :, 1] == np.arange(32)[:, None]).all()  # green: the row
    assert fine.train_labels[:3].tolist() == [0, 1, 2]
    assert fine.source == str(cifar_archive) and not fine.synthetic


def test_the_coarse_and_the_fine_view_differ_in_labels_only_and_share_one_split(cifar_folder):
    fine = CIFAR100().load("fine", data_dir=cifar_folder)
    coarse = CIFAR100().load("coarse", data_dir=cifar_folder)
    assert fine.class_names == cifar100.CLASSES and fine.superclass_names == coarse.class_names
    assert (fine.superclass_of[fine.test_labels] == coarse.test_labels).all()
    assert coarse.superclass_of is None and coarse.superclass_names == () and coarse.superclasses is None
    assert fine.superclasses[fine.class_names.index("skunk")] == "medium_mammals"
    assert fine.test_digest == coarse.test_digest and fine.digest != coarse.digest
    for one, other in zip(fine.split(7), coarse.split(7), strict=True):
        assert (one == other).all()


def test_a_truncated_or_damaged_archive_is_refused(cifar_archive, tmp_path):
    content = cifar_archive.read_bytes()
    flipped = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]  # in the CRC
    for damaged in (content[: len(content) // 2], flipped, b"no gzip"):
        (tmp_path / cifar_archive.name).write_bytes(damaged)
        with pytest.raises(UserError, match=f"{cifar_archive.name} is truncated or damaged"):
            CIFAR100().load("fine", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["../train.bin", "/train.bin", "link"])
def test_an_archive_with_members_outside_its_folder_is_refused(tmp_path, name):
    member = tarfile.TarInfo(name)
    if name == "link":
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as archive:
        archive.addfile(member, io.BytesIO())
    with pytest.raises(UserError, match=f"holds the member '{name}'"):
        CIFAR100().load("fine", data_dir=tmp_path)


def test_an_archive_that_lacks_a_file_is_refused(tmp_path):
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz"):
        pass
    with pytest.raises(UserError, match="lacks train.bin"):
        CIFAR100().load("fine", data_dir=tmp_path)


def test_wrong_record_counts_are_refused(with_content):
    with pytest.raises(UserError, match=r"test.bin holds 9999 records; accepted: 10000 records"):
        CIFAR100().load("fine", data_dir=with_content("test.bin", bytes(9999 * cifar100.RECORD_BYTES)))


def test_a_missing_file_of_the_folder_is_refused(with_content):
    with pytest.raises(UserError, match=r"cannot read .*test.bin \(No such file"):
        CIFAR100().load("fine", data_dir=with_content("test.bin", None))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, 100, "holds label 100; accepted: 0 to 99"),
        (1, 7, r"holds 99 records of class 5 \(bed\); accepted: 100 records of each class"),
        (0, 3, r"gives bed \(record 5\) the superclass 3; accepted: 6 \(household_furniture\)"),
    ],
)
def test_labels_that_are_not_the_published_ones_are_refused(with_content, column, value, message):
    records = _cifar_records(10_000)
    records[5, column] = value
    with pytest.raises(UserError, match=message):
        CIFAR100().load("coarse", data_dir=with_content("test.bin", records.tobytes()))


def test_other_class_names_are_refused(with_content):
    names = "\n".join(cifar100.CLASSES).replace("apple", "banana")
    with pytest.raises(UserError, match="fine_label_names.txt is not the published list: found 'banana'"):
        CIFAR100().load("fine", data_dir=with_content("fine_label_names.txt", names.encode()))


# Fashion-MNIST


def _idx(shape, values):
    header = np.array((0x0800 + len(shape), *shape), ">u4").tobytes()
    return gzip.compress(header + np.broadcast_to(values, shape).astype(np.uint8).tobytes(), 1)


@pytest.fixture(scope="module")
def fashion_folder(tmp_path_factory):
    """The four files in the official format and counts; image i is filled with i modulo 256."""
    folder = tmp_path_factory.mktemp("fashion") / fashion_mnist.FOLDER
    folder.mkdir()
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        numbers = np.arange(count)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(_idx((count, 28, 28), numbers[:, None, None] % 256))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(_idx((count,), numbers % 10))
    return folder.parent


def test_fashion_mnist_is_read_with_a_channel_and_a_warning_that_it_is_not_official(fashion_folder):
    with pytest.warns(UserWarning, match="not official"):
        data = FashionMNIST().load("flat", data_dir=fashion_folder)
    assert data.train_images.shape == (60_000, 28, 28, 1) and data.test_images.shape == (10_000, 28, 28, 1)
    assert (data.test_images[257] == 1).all() and data.test_labels[:3].tolist() == [0, 1, 2]
    assert data.class_names[8] == "Bag" and data.superclass_of is None


def test_the_spec_holds_mean_and_deviation_of_the_training_pixels(fashion_folder):
    with pytest.warns(UserWarning):
        data = FashionMNIST().load("flat", data_dir=fashion_folder)
    spec = data.spec(weights=Path("w.h5"))
    assert (spec.shape, spec.classes, spec.weights) == ((28, 28, 1), 10, Path("w.h5"))
    values = np.arange(60_000) % 256
    np.testing.assert_allclose((spec.mean[0], spec.std[0]), (values.mean(), values.std()), rtol=1e-12)


def test_data_are_found_in_the_named_folder_then_in_keras_cache_then_in_debians(
    fashion_folder, no_data_anywhere, monkeypatch
):
    def source(data_dir=None):
        with pytest.warns(UserWarning):
            return FashionMNIST().load("flat", data_dir=data_dir).source

    monkeypatch.setattr(fashion_mnist, "DEBIAN", fashion_folder)
    assert source() == str(fashion_folder / "fashion-mnist")
    (no_data_anywhere / "datasets").mkdir(parents=True)
    (no_data_anywhere / "datasets" / "fashion-mnist").symlink_to(fashion_folder / "fashion-mnist")
    assert source() == str(no_data_anywhere / "datasets" / "fashion-mnist")
    monkeypatch.setenv("MLPROJECT_DATA", str(fashion_folder))
    assert source() == str(fashion_folder / "fashion-mnist")
    assert source(fashion_folder / "fashion-mnist") == str(fashion_folder / "fashion-mnist")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-labels-idx1-ubyte.gz", _idx((60_000,), 3)[:-20], "truncated or damaged"),
        ("train-labels-idx1-ubyte.gz", b"no gzip", "truncated or damaged"),
        ("t10k-labels-idx1-ubyte.gz", _idx((9_999,), 3), "holds only 10007 bytes unpacked; accepted: 10008"),
        ("t10k-labels-idx1-ubyte.gz", _idx((10**6,), 3), "holds more than 10008 bytes"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(bytes(10_008)), "magic number 0x0000 and shape"),
        ("t10k-labels-idx1-ubyte.gz", _idx((10_000,), 10), "holds label 10; accepted: 0 to 9"),
        ("t10k-labels-idx1-ubyte.gz", _idx((10_000,), 0), r"holds 10000 records of class 0 \(T-shirt/top\)"),
        ("t10k-images-idx3-ubyte.gz", _idx((10_000, 14, 56), 0), r"shape \(10000, 14, 56\); accepted: 0x0803"),
        ("t10k-images-idx3-ubyte.gz", None, "lacks fashion-mnist/t10k-images-idx3-ubyte.gz"),
    ],
    # The bytes cannot serve as names: gzip writes the time into them, and all processes must collect the same names.
    ids=["truncated", "no-gzip", "short", "long", "magic", "label", "classes", "shape", "missing"],
)
def test_damaged_fashion_mnist_files_are_refused_by_name(fashion_folder, tmp_path, name, content, message):
    for path in (fashion_folder / "fashion-mnist").iterdir():
        if path.name != name:
            (tmp_path / path.name).symlink_to(path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        FashionMNIST().load("flat", data_dir=tmp_path)
    assert name in str(error.value) and "\n" not in str(error.value)


# Names and folders


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flat",), "unknown labels 'flat' of data set cifar100; accepted: coarse, fine"),
        (("fine", "fake"), "unknown kind of data 'fake'; accepted: real, synthetic"),
    ],
)
def test_unknown_names_are_refused_with_the_list_of_accepted_ones(arguments, message):
    with pytest.raises(UserError, match=message):
        CIFAR100().load(*arguments)


def test_a_named_folder_that_is_missing_or_lacks_the_data_is_refused_though_the_data_are_elsewhere(
    fashion_folder, no_data_anywhere, tmp_path, monkeypatch
):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", fashion_folder)
    with pytest.raises(UserError, match=f"data_dir={tmp_path}/none is not a folder"):
        FashionMNIST().load("flat", data_dir=tmp_path / "none")
    with pytest.raises(UserError, match=f"{tmp_path} lacks fashion-mnist/train-images-idx3-ubyte.gz"):
        FashionMNIST().load("flat", data_dir=tmp_path)
    monkeypatch.setenv("MLPROJECT_DATA", str(tmp_path / "none"))
    with pytest.raises(UserError, match=f"MLPROJECT_DATA={tmp_path}/none is not a folder"):
        FashionMNIST().load("flat")


# Downloads

BODY = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server():
    """The address of a server: /whole/ sends BODY, /hang/ half of it and then waits, /cut/ half of it, /none/ a 404."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            what = self.path.split("/")[1]
            self.send_response(404 if what == "none" else 200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY if what == "whole" else BODY[: len(BODY) // 2])
            if what == "hang":
                done.wait(60)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        done.set()
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("what", "checksum", "reason"),
    [("whole", "0" * 64, "hash does not match"), ("cut", SHA256, "got only"), ("none", SHA256, "Not Found")],
)
def test_a_failed_download_says_why_and_leaves_nothing(server, tmp_path, what, checksum, reason):
    with pytest.raises(
        UserError, match=f"cannot download {server}/{what}/data .*{reason}.*by hand into {tmp_path}"
    ) as error:
        files.download(f"{server}/{what}/data", checksum, tmp_path)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_loading_without_files_and_without_network_is_refused_in_one_line(no_data_anywhere, monkeypatch):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(fashion_mnist, "URL", f"http://127.0.0.1:{closed.getsockname()[1]}/")
        folder = no_data_anywhere / "datasets" / "fashion-mnist"
        message = rf"cannot download .*/train-images-idx3-ubyte.gz \(.*refused\); accepted: .* by hand into {folder}"
        with pytest.raises(UserError, match=message):
            FashionMNIST().load("flat")


def test_a_killed_download_leaves_nothing_that_looks_complete_and_the_next_one_clears_up(server, tmp_path):
    code = "import sys; from mlproject.datasets import files; files.download(*sys.argv[1:3], files.Path(sys.argv[3]))"
    arguments = [f"{server}/hang/data", SHA256, str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in tmp_path.iterdir()):
            assert process.poll() is None and time.monotonic() < deadline, "the download never began"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    (part,) = tmp_path.iterdir()
    assert part.name.endswith(".part")
    os.utime(part, (0, 0))  # as if the download had been long ago
    assert files.download(f"{server}/whole/data", SHA256, tmp_path).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# Synthetic data


@pytest.mark.parametrize(
    ("loader", "labels", "shape"), [(CIFAR100(), "fine", (32, 32, 3)), (FashionMNIST(), "flat", (28, 28, 1))]
)
def test_synthetic_data_have_the_real_shapes_and_balanced_classes_and_name_their_source(loader, labels, shape):
    data = loader.load(labels, kind="synthetic")
    assert data.synthetic and data.source == "synthetic, seed 0"
    assert data.train_images.shape[1:] == data.test_images.shape[1:] == shape
    assert data.train_images.dtype == np.uint8 and data.train_labels.dtype == np.int64
    for part in (data.train_labels, data.test_labels):
        assert len(set(np.bincount(part, minlength=len(data.class_names)))) == 1
    assert len(data.digest) <= 36 and len(data.test_digest) <= 36


def test_other_classes_under_the_name_of_a_shipped_data_set_have_synthetic_data():
    declared = replace(check_declaration(CIFAR100()), classes=("a", "b"), superclasses=(), superclass_of=np.arange(2))
    assert set(synthetic.make(declared).train_labels) == {0, 1}


def test_the_same_seed_gives_the_same_synthetic_data_and_another_seed_others():
    declared = check_declaration(FashionMNIST())
    one, same, other = (synthetic.make(declared, seed) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(one[:4], same[:4], strict=True))
    assert (one.train_images != other.train_images).any() and other.source == "synthetic, seed 4"


@pytest.mark.parametrize(("loader", "labels"), [(CIFAR100(), "fine"), (CIFAR100(), "coarse"), (FashionMNIST(), "flat")])
def test_a_classifier_tells_the_synthetic_classes_apart_except_for_the_confused_pairs(loader, labels):
    data = loader.load(labels, kind="synthetic")

    def features(images):  # the means of blocks of 4 x 4 pixels
        count, height, width, channels = images.shape
        return images.reshape(count, height // 4, 4, width // 4, 4, channels).mean(axis=(2, 4)).reshape(count, -1)

    model = LinearDiscriminantAnalysis(solver="lsqr").fit(features(data.train_images), data.train_labels)
    predicted = model.predict(features(data.test_images))
    wrong = Counter(
        frozenset((data.class_names[a], data.class_names[b]))
        for a, b in zip(data.test_labels, predicted, strict=True)
        if a != b
    )
    confused = {frozenset(pair) for pair in synthetic.CONFUSED_PAIRS[loader.name]}
    if labels == "coarse":
        confused = {frozenset(("aquatic_mammals", "fish"))}
    assert np.mean(predicted == data.test_labels) > 0.6
    assert {pair for pair, _ in wrong.most_common(len(confused))} == confused


# A user's own data set


def test_the_documented_data_set_is_read_and_has_a_synthetic_stand_in(tmp_path, rng):
    page = (PROJECT / "docs" / "how-to" / "add-a-data-set.md").read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def read(" in block]
    module = {}
    exec(example, module)
    leaves = module["Leaves"]()
    with pytest.raises(UserError, match="leaves.npz"):
        leaves.load("flat", data_dir=tmp_path)
    images, labels = rng.integers(0, 256, (60, 64, 64, 3), np.uint8), np.arange(60) % 3
    np.savez(
        tmp_path / "leaves.npz",
        train_images=images[:45], train_labels=labels[:45], test_images=images[45:], test_labels=labels[45:],
    )  # fmt: skip
    real = leaves.load("flat", data_dir=tmp_path)
    assert (real.test_images == images[45:]).all() and real.class_names == ("ash", "beech", "oak")
    stand_in = leaves.load("flat", kind="synthetic")
    for data in (real, stand_in):
        assert data.spec().shape == (64, 64, 3) and data.spec().classes == 3
        assert sum(map(len, data.split(0))) == len(data.train_images) and set(data.test_labels) == {0, 1, 2}


# Splits and digests


def test_a_split_is_stratified_sorted_and_depends_on_the_seed_alone():
    data = CIFAR100().load("fine", kind="synthetic")
    train, validation = data.split(1)
    assert train.dtype == validation.dtype == np.int64
    assert sorted([*train, *validation]) == list(range(4000))
    assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()
    assert np.bincount(data.train_labels[validation]).tolist() == [4] * 100
    again, other = data.split(1)[1], data.split(2)[1]
    assert (validation == again).all() and (validation != other).any()


def test_a_sample_of_a_split_keeps_the_proportions_of_the_classes():
    data = FashionMNIST().load("flat", kind="synthetic")
    train, _ = data.split(0)
    rows = data.sample(train, 0.25, seed=0)
    assert np.isin(rows, train).all() and (np.diff(rows) > 0).all()
    counts, whole = np.bincount(data.train_labels[rows]), np.bincount(data.train_labels[train])
    assert np.abs(counts - whole / 4).max() <= 1
    assert not np.array_equal(rows, data.sample(train, 0.25, seed=1))
    assert len(data.sample(train, 1e-9, seed=0)) == 1
    np.testing.assert_array_equal(data.sample(train, 1.0, seed=0), train)


@pytest.mark.parametrize(("seed", "fraction"), [(-1, 0.1), (2**32, 0.1), (0, 1.5), (0, 0.0)])
def test_a_split_that_cannot_be_made_is_refused(seed, fraction):
    with pytest.raises(
        UserError, match=f"cannot split fashion-mnist with seed {seed} and validation fraction {fraction}"
    ):
        FashionMNIST().load("flat", kind="synthetic").split(seed, fraction)


def of_strata(strata, **fields):
    """A data set without content beside its labels."""
    strata, images = np.asarray(strata, np.int64), np.zeros((len(strata), 2, 2, 1), np.uint8)
    names = tuple(f"class {number}" for number in range(strata.max() + 1))
    arrays = Arrays(images, strata, images, strata, "nowhere", **fields)
    declared = Declaration("unequal", names, (2, 2, 1), (), np.arange(len(names)))
    return from_arrays(declared, "flat", arrays, synthetic=False)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=30), st.integers(0, 2**32 - 1), st.sampled_from((0.1, 0.3)))
def test_classes_of_any_sizes_are_split_and_sampled(sizes, seed, fraction):
    assume(sum(sizes) >= 2 * len(sizes))
    strata = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    data = of_strata(strata)
    train, validation = data.split(seed, fraction)
    assert sorted([*train, *validation]) == list(range(len(strata)))
    assert len(validation) == min(math.ceil(fraction * len(strata)), sum(sizes) - len(sizes))
    in_train, in_validation = (np.bincount(strata[rows], minlength=len(sizes)) for rows in (train, validation))
    assert in_train.all()
    try:
        expected = train_test_split(np.arange(len(strata)), test_size=fraction, random_state=seed, stratify=strata)
        assert (validation == np.sort(expected[1])).all() and (train == np.sort(expected[0])).all()
    except ValueError:  # which scikit-learn refuses
        several = np.array(sizes) > 1
        assert in_validation[several].all() or len(validation) < several.sum()
        assert (validation == data.split(seed, fraction)[1]).all()
    for share in (1e-9, 0.3, 1.0):
        rows = data.sample(train, share, seed)
        assert len(rows) == max(1, round(share * len(train))) and np.isin(rows, train).all()


def test_a_large_class_among_small_ones_is_validated_in_proportion():
    validation = of_strata([0] * 1000 + list(range(1, 201)) * 2).split(3)[1]
    assert (len(validation), (validation < 1000).sum()) == (140, 100)  # 40 of 200 small classes give an image


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 1000))
def test_groups_are_never_divided(groups, classes, seed):
    rng = np.random.default_rng(seed)
    strata = np.r_[np.arange(classes), rng.integers(classes, size=20 * classes)]
    of_image = rng.integers(groups, size=len(strata))
    data = of_strata(strata, groups=of_image)
    try:
        train, validation = data.split(seed)
    except UserError:  # each group holds all images of a class
        left = [np.unique(strata[of_image != group]) for group in range(groups)]
        assert not any(len(classes_left) == classes for classes_left in left)
        return
    assert not set(of_image[train]) & set(of_image[validation])
    assert sorted([*train, *validation]) == list(range(len(strata))) and set(strata[train]) == set(range(classes))


def test_many_groups_are_split_in_the_proportions_of_the_classes(rng):
    strata = rng.choice(4, 4000, p=(0.7, 0.2, 0.08, 0.02))
    data = of_strata(strata, groups=np.arange(4000) // 5)
    first, second = (np.bincount(strata[data.split(seed)[1]]) for seed in (0, 1))
    np.testing.assert_allclose(first, np.bincount(strata) / 10, atol=4)
    assert not np.array_equal(data.split(0)[1], data.split(1)[1])
    np.testing.assert_allclose(second, first, atol=8)


def test_an_own_validation_split_is_kept_for_any_seed():
    data = of_strata([0, 0, 1, 1, 2, 2], validation=np.array([1, 4]))
    for seed in (0, 1):
        train, validation = data.split(seed)
        assert (train.tolist(), validation.tolist()) == ([0, 2, 3, 5], [1, 4])


@given(st.lists(st.integers(1, 40), min_size=2, max_size=10), st.integers(0, 1000))
def test_shares_of_the_training_images_are_stratified_and_nested(sizes, seed):
    data = of_strata(np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)))
    data = replace(data, train_images=np.arange(sum(sizes)))  # which tell the rows
    earlier = set()
    for share in (0.1, 0.2, 0.75, 1):
        part = data.with_train_share(share, seed)
        assert np.bincount(part.train_labels).tolist() == [math.ceil(share * size) for size in sizes]
        assert earlier <= (earlier := set(part.train_images.tolist())) and (np.diff(part.train_images) > 0).all()
        np.testing.assert_array_equal(part.train_labels, data.train_labels[part.train_images])
        assert (part.digest == data.digest) == (share == 1) and part.test_digest == data.test_digest
        assert (part.whole_digest or part.digest) == data.digest  # whatever the seed of the draw


def test_a_share_keeps_groups_whole_and_an_own_validation_split_complete():
    data = of_strata([0, 1] * 20, groups=np.arange(40) // 4, validation=np.arange(36, 40))
    part = data.with_train_share(0.5, 0)
    assert np.bincount(part.groups).tolist().count(4) == len(set(part.groups)) == 6
    assert data.is_intact() and part.is_intact()  # as workers of a cluster ask before they train
    train, validation = part.split(0)
    assert len(train) == 20 and set(part.groups[validation]) == {9}
    with pytest.raises(
        UserError, match=r"train_share=0\.1 leaves unequal no image of class 1; accepted: a larger share"
    ):
        of_strata([0, 0, 0, 1], groups=np.array([0, 1, 2, 3])).with_train_share(0.1, 0)


def test_a_share_leaves_a_class_in_an_own_validation_split_alone_where_it_is():
    part = of_strata([0, 0, 1, 1, 2], validation=np.array([4])).with_train_share(0.5, 0)
    train, validation = part.split(0)
    assert (part.train_labels[train].tolist(), part.train_labels[validation].tolist()) == ([0, 1], [2])


def test_without_a_class_of_two_images_nothing_can_be_validated():
    with pytest.raises(UserError, match="cannot split unequal with seed 0 .*: no class has two images; accepted"):
        of_strata(range(5)).split(0)


# The real data


@NEEDS_REAL_DATA
@pytest.mark.filterwarnings("ignore:.*not the official archive")
def test_the_real_sets_have_the_known_statistics():
    data = CIFAR100().load("fine")
    spec = data.spec()
    np.testing.assert_allclose(np.divide(spec.mean, 255), (0.50708, 0.48655, 0.44092), atol=1e-5)
    np.testing.assert_allclose(np.divide(spec.std, 255), (0.26733, 0.25644, 0.27615), atol=1e-5)
    spec = FashionMNIST().load("flat").spec()
    np.testing.assert_allclose((spec.mean[0] / 255, spec.std[0] / 255), (0.2860, 0.3530), atol=1e-4)
