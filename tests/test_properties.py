"""Property tests: for any bytes or text, the parsers return something valid or raise a UserError of one line.

Each property is tested on 150 inputs, the same in every run; MLPROJECT_EXAMPLES=10000 tests it on 10,000 new ones.
"""

import fnmatch
import gzip
import io
import math
import os
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlproject import arguments
from mlproject.datasets import CIFAR100, cifar100, fashion_mnist, files
from mlproject.discovery import find
from mlproject.errors import UserError

EXAMPLES = os.environ.get("MLPROJECT_EXAMPLES")
many = settings(
    max_examples=int(EXAMPLES or 150),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def accepts(call, *arguments):
    """Return the result of `call`, or None if it raises a UserError of one line; any other exception is a bug."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return call(*arguments)
    except UserError as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 2000
        return None


# Damage to a file: a list of edits (kind, position as a share of the length, bytes), made one after the other.
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "truncate", "append"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=40),
    ),
    max_size=4,
)


def damaged(content: bytes, edits) -> bytes:
    """Apply the edits to `content`; "delete" removes as many bytes as the edit has."""
    for kind, share, piece in edits:
        at = int(share * len(content))
        if kind == "overwrite":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "insert":
            content = content[:at] + piece + content[at:]
        elif kind == "delete":
            content = content[:at] + content[at + len(piece) :]
        elif kind == "truncate":
            content = content[:at]
        else:
            content += piece
    return content


# CIFAR-100, with 200 and 100 records instead of 50,000 and 10,000


@pytest.fixture
def small(monkeypatch):
    """Make the reader expect two training images and one test image of each class."""
    monkeypatch.setattr(cifar100, "RECORD_COUNTS", {"train.bin": 200, "test.bin": 100})


def records(count: int) -> bytes:
    """Make valid records of black images."""
    content = np.zeros((count, cifar100.RECORD_BYTES), np.uint8)
    content[:, 1] = np.arange(count) % 100
    content[:, 0] = cifar100.SUPERCLASS_OF[content[:, 1]]
    return content.tobytes()


CONTENTS = {
    "train.bin": records(200),
    "test.bin": records(100),
    "fine_label_names.txt": "\n".join(cifar100.CLASSES).encode(),
    "coarse_label_names.txt": "\n".join(cifar100.SUPERCLASSES).encode(),
}


def packed(contents, further=()) -> bytes:
    """Make an uncompressed tar archive of these files and of `further` members (TarInfo, content)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{cifar100.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member, content in further:
            archive.addfile(member)
            stream.write(content)
    return stream.getvalue()


ARCHIVE = packed(CONTENTS)


def read_archive(folder: Path, content: bytes):
    """Read these bytes as cifar-100-binary.tar.gz, and check that no other file is written into its folder."""
    (folder / "cifar-100-binary.tar.gz").write_bytes(content)
    arrays = accepts(CIFAR100().read, folder)
    assert [path.name for path in folder.iterdir()] == ["cifar-100-binary.tar.gz"]
    if arrays is not None:
        check_cifar(arrays)
    return arrays


def check_cifar(arrays):
    for images, labels, each in ((arrays[0], arrays[1], 2), (arrays[2], arrays[3], 1)):
        assert images.shape == (100 * each, 32, 32, 3) and images.dtype == np.uint8
        assert np.bincount(labels).tolist() == [each] * 100


def test_the_undamaged_archive_is_accepted(small, tmp_path):
    assert read_archive(tmp_path, gzip.compress(ARCHIVE)) is not None


@many
@given(edits=EDITS, member=st.sampled_from(sorted(CONTENTS)))
def test_a_damaged_member_gives_valid_data_or_a_user_error(small, tmp_path_factory, edits, member):
    folder = tmp_path_factory.mktemp("cifar")
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(damaged(content, edits) if name == member else content)
    (folder.parent / cifar100.FOLDER).unlink(missing_ok=True)
    (folder.parent / cifar100.FOLDER).symlink_to(folder)
    arrays = accepts(CIFAR100().read, folder.parent)
    if arrays is not None:
        check_cifar(arrays)


@many
@given(edits=EDITS)
def test_a_damaged_tar_gives_valid_data_or_a_user_error(small, tmp_path_factory, edits):
    read_archive(tmp_path_factory.mktemp("tar"), gzip.compress(damaged(ARCHIVE, edits), compresslevel=1))


# The headers are a thousandth of the archive, so random damage rarely hits them. They have a test of their own.
@many
@given(
    member=st.integers(0, 3),
    field=st.sampled_from(
        [(0, 100), (100, 108), (124, 136), (136, 148), (156, 157), (157, 257), (257, 265), (345, 500)]
    ),
    piece=st.binary(max_size=20),
    pax=st.one_of(st.none(), st.binary(max_size=300)),
)
def test_a_forged_header_gives_valid_data_or_a_user_error(small, tmp_path_factory, member, field, piece, pax):
    content = bytearray(ARCHIVE)
    starts = [ARCHIVE.index(f"{cifar100.FOLDER}/{name}".encode()) for name in CONTENTS]
    header = content[starts[member] : starts[member] + 512]
    first, last = field
    header[first:last] = piece[: last - first].ljust(last - first, b"\0")
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)  # the right checksum
    content[starts[member] : starts[member] + 512] = header
    if pax is not None:  # an extended header with any content before the first member
        extended = tarfile.TarInfo("pax")
        extended.type, extended.size = tarfile.XHDTYPE, len(pax)
        content[:0] = extended.tobuf() + pax.ljust(-len(pax) // 512 * -512, b"\0")
    read_archive(tmp_path_factory.mktemp("header"), gzip.compress(bytes(content), compresslevel=1))


@many
@given(edits=EDITS)
def test_a_damaged_gzip_stream_gives_valid_data_or_a_user_error(small, tmp_path_factory, edits):
    read_archive(tmp_path_factory.mktemp("gzip"), damaged(PACKED, edits))


PACKED = gzip.compress(ARCHIVE, mtime=0)
NAMES = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(["../train.bin", "/etc/passwd", "a/../../b", "..", "./x", "C:\\x", "train.bin/..", "~/x", "a\nb"]),
)


@many
@given(
    name=NAMES,
    kind=st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                          tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]),
    target=NAMES,
    size=st.one_of(st.just(0), st.integers(0, 2**40)),
)  # fmt: skip
@example(name="../train.bin", kind=tarfile.REGTYPE, target="x", size=0)
@example(name="train.bin", kind=tarfile.SYMTYPE, target="/etc/passwd", size=0)
@example(name="bomb", kind=tarfile.REGTYPE, target="", size=2**62)  # skipping it would take days
def test_only_plain_members_inside_the_folder_are_accepted(small, tmp_path_factory, name, kind, target, size):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    try:
        content = packed(CONTENTS, [(member, b"")])
    except UnicodeEncodeError:  # an archive cannot hold such a name
        return
    arrays = read_archive(tmp_path_factory.mktemp("members"), gzip.compress(content, compresslevel=1))
    parts = Path(name).parts
    if ".." in parts or name.startswith("/") or kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
        assert arrays is None


# Fashion-MNIST's IDX files


def idx(shape, value=0) -> bytes:
    """Make an IDX file, uncompressed, in which all entries have this value."""
    return np.array((0x0800 + len(shape), *shape), ">u4").tobytes() + bytes([value]) * math.prod(shape)


@many
@given(shape=st.sampled_from([(20,), (4, 3, 5)]), edits=EDITS, outside=EDITS)
def test_a_damaged_idx_file_gives_an_array_of_the_right_shape_or_a_user_error(tmp_path_factory, shape, edits, outside):
    path = tmp_path_factory.mktemp("idx") / "some-idx-ubyte.gz"
    path.write_bytes(damaged(gzip.compress(damaged(idx(shape, 7), edits)), outside))
    array = accepts(fashion_mnist.read_idx, path, shape)
    assert array is None or (array.shape == shape and array.dtype == np.uint8)
    if not edits and not outside:
        assert (array == 7).all()


@many
@given(content=st.binary(max_size=200))
def test_random_bytes_are_not_accepted_as_an_idx_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "some-idx-ubyte.gz"
    path.write_bytes(content)
    assert accepts(fashion_mnist.read_idx, path, (20,)) is None


# Parameters


def parsed(parser, text):
    """Return the parsed value, or NaN if the parser refuses the text and says what it accepts."""
    try:
        return parser(text)
    except ValueError as error:
        assert "accepted" in str(error) and len(str(error)) < 2000
        return math.nan


NUMBERS = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r"\A\s*[+-]?[0-9_]{1,400}(\.[0-9]*)?(e[0-9]{1,4})?\s*\Z"),
)


@many
@given(NUMBERS)
@example("9" * 5000)
@example("1e308")
@example("²")
@example("٣")
def test_numbers_are_in_their_range_or_refused(text):
    minutes, count, seed = (parsed(one, text) for one in (arguments.minutes, arguments.count, arguments.seed))
    assert math.isnan(minutes) or 0 < minutes <= arguments.MINUTES_LIMIT
    assert count is None or math.isnan(count) or 0 < count <= arguments.TRIALS_LIMIT and isinstance(count, int)
    assert math.isnan(seed) or (0 <= seed <= arguments.SEED_LIMIT and isinstance(seed, int))


EXPERIMENT_NAMES = ["cifar100-coarse-cnn", "cifar100-fine-cnn", "fashion-mnist-mlp"]


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    """Make a folder with one file of three experiments."""
    folder = tmp_path_factory.mktemp("experiments")
    names = ", ".join(map(repr, EXPERIMENT_NAMES))
    (folder / "some.py").write_text(
        "from mlproject.experiment import Experiment\n"
        "EXPERIMENTS = [Experiment(name, 'q', 'c', 'cifar100', 'fine', None, None, {}) for name in [" + names + "]]\n"
    )
    return folder


@many
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="cifar100-nmlp*?[]!,-. \n'\"$;", max_size=40),
        st.lists(st.sampled_from([*EXPERIMENT_NAMES, "*", "cifar*", "", " ", "[", "*-cnn"])).map(",".join),
    )
)
@example("*a" * 5000)
@example("[" * 3000)
def test_patterns_find_what_they_match_or_are_refused(experiments, patterns):
    found = accepts(find, patterns, experiments)
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    if found is not None:
        names = [one.name for one in found]
        assert names == [name for name in EXPERIMENT_NAMES if any(fnmatch.fnmatchcase(name, w) for w in wanted)]
        assert names


@many
@given(st.text(max_size=300))
@example("~no-such-user-anywhere/x")
@example("x" * 5000)
@example("\0")
def test_a_named_folder_exists_or_is_refused(text):
    folder = accepts(files.named_folder, text)
    assert folder is None or folder.is_dir()
