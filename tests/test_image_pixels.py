"""All images of a set in a memory-mapped file: in order, decoded once, never half written, and checked when found."""

import io
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mlproject.datasets import mapped
from mlproject.datasets.images import pixels
from mlproject.datasets.images.decoding import decode
from mlproject.datasets.images.entries import COLUMNS, Entries
from mlproject.datasets.images.preparation import Preparation
from mlproject.errors import UserError

GREY = Preparation(8, 1)


def png(seed, shape=(8, 8)):
    """A PNG file with grey noise."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


class Files:
    """Files in a folder, and how often each was read."""

    def __init__(self, folder, contents):
        self.paths = [folder / f"{number:03}.png" for number in range(len(contents))]
        for path, content in zip(self.paths, contents, strict=True):
            path.write_bytes(content)
        self.read = []
        table = pd.DataFrame("", index=range(len(contents)), columns=list(COLUMNS))
        table["path"] = [path.name for path in self.paths]
        self.entries = Entries(folder, "test", table, self._read, {})

    def _read(self, position):
        self.read.append(position)
        return self.paths[position].read_bytes()


@pytest.fixture
def files(tmp_path):
    """Forty images: number 7 is no image, and number 20 is truncated behind its header."""
    contents = [png(seed) for seed in range(40)]
    contents[7], contents[20] = b"no image", png(20)[:60]
    folder = tmp_path / "files"
    folder.mkdir()
    return Files(folder, contents)


def load(files, folder, positions=None, preparation=GREY):
    digests = pixels.scan(files.entries)["digest"]
    files.read.clear()
    return pixels.load(files.entries, np.arange(40) if positions is None else positions, digests, preparation, folder)


def check(files, found, positions):
    """All but the two damaged images are there, in order."""
    assert found.positions.tolist() == [position for position in positions if position not in (7, 20)]
    assert found.positions.dtype == np.int64 and found.errors.keys() == {7, 20} & set(positions)
    assert "no JPEG" in found.errors.get(7, "no JPEG") and "damaged" in found.errors.get(20, "damaged")
    expected = np.stack([decode(files.paths[position].read_bytes(), GREY) for position in found.positions])
    np.testing.assert_array_equal(found.images, expected)
    assert isinstance(found.images, np.memmap) and not found.images.flags.writeable


def test_a_scan_reads_each_file_once(files):
    files.entries.table.index += 100
    files.paths[3].unlink()
    found = pixels.scan(files.entries)
    assert sorted(files.read) == list(range(40))
    assert list(found.index) == list(files.entries.table.index)
    assert found.iloc[0][1:].tolist() == ["PNG", "L", 8, 8, ""]
    assert found["digest"].nunique() == 40 and found["digest"].iloc[3] == ""
    assert list(np.flatnonzero(found["error"])) == [3, 7]
    assert "can't be read" in found["error"].iloc[3] and "no JPEG" in found["error"].iloc[7]


def test_arrays_have_digests_that_differ_by_shape():
    contents = [np.zeros(shape, np.uint8) for shape in ((4, 3), (3, 4), (4, 3))]
    table = pd.DataFrame("", index=range(3), columns=list(COLUMNS))
    found = pixels.scan(Entries(Path("x.npz"), "test", table, lambda position: contents[position], {}))
    assert found["digest"].iloc[0] == found["digest"].iloc[2] != found["digest"].iloc[1]
    assert found.iloc[0][1:].tolist() == ["array", "L", 3, 4, ""]


def test_images_are_decoded_once_and_in_order(files, tmp_path):
    positions = np.random.default_rng(0).permutation(40)
    check(files, load(files, tmp_path / "cache", positions), positions)
    assert len(files.read) == 40
    check(files, load(files, tmp_path / "cache", positions), positions)
    assert len(files.read) == pixels.CHECKED_ROWS
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_another_order_content_or_preparation_is_another_file(files, tmp_path):
    load(files, tmp_path)
    check(files, load(files, tmp_path, np.arange(40)[::-1]), np.arange(40)[::-1])
    assert load(files, tmp_path, preparation=Preparation(4, 3)).images.shape == (38, 4, 4, 3)
    files.paths[0].write_bytes(png(99))
    check(files, load(files, tmp_path), np.arange(40))
    assert len(list(tmp_path.glob("*.npy"))) == 4


def damage_value(path):
    with path.open("rb+") as stream:
        stream.seek(128)
        stream.write(bytes(64))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 20),
        lambda path: path.write_bytes(b""),
        damage_value,
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("[1"),
        lambda path: path.with_suffix(".json").write_text("[1]"),
        lambda path: path.with_suffix(".json").write_text('{"99": "x", "98": "y"}'),
    ],
)
def test_a_damaged_file_is_made_anew(damage, files, tmp_path, caplog):
    load(files, tmp_path)
    (path,) = tmp_path.glob("*.npy")
    damage(path)
    check(files, load(files, tmp_path), range(40))
    assert "decoded again" in caplog.text
    caplog.clear()
    check(files, load(files, tmp_path), range(40))
    assert not caplog.text


KILLED = """
import sys, time
from pathlib import Path
import numpy as np, pandas as pd
from mlproject.datasets import mapped
from mlproject.datasets.images import pixels
from mlproject.datasets.images.preparation import Preparation
from mlproject.datasets.images.entries import COLUMNS, Entries

def read(position):
    if position == 39:
        print("reading", flush=True)
        time.sleep(60)
    return Path(sys.argv[1], f"{position:03}.png").read_bytes()

entries = Entries(Path("x"), "test", pd.DataFrame("", index=range(40), columns=list(COLUMNS)), read, {})
digests = pd.Series(sys.argv[3].split(","))
pixels.load(entries, np.arange(40), digests, Preparation(8, 1), Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_nothing_that_looks_complete(files, tmp_path):
    cache = tmp_path / "cache"
    digests = ",".join(pixels.scan(files.entries)["digest"])
    call = [sys.executable, "-c", KILLED, files.entries.source, cache, digests]
    with subprocess.Popen(call, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
    assert [path.suffix for path in cache.iterdir()] == [".part"]
    check(files, load(files, cache), range(40))


def test_what_a_killed_process_left_of_other_images_is_removed_later(files, tmp_path):
    old, new = (tmp_path / f"images-{name}.npy.1-0123abcd.part" for name in ("old", "new"))
    old.touch()
    new.touch()
    os.utime(old, (0, 0))  # as if it had been killed long ago
    load(files, tmp_path)
    assert not old.exists() and new.exists()


def test_two_at_once_both_succeed(files, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load(files, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        check(files, one, range(40))
    assert len(found) == 2 and not list(tmp_path.glob("*.part"))


def test_too_little_space_is_refused_before_anything_is_read(files, tmp_path):
    digests = pixels.scan(files.entries)["digest"]
    files.read.clear()
    with pytest.raises(UserError, match=f"cannot be written into {tmp_path}/cache .*10066329600000 bytes") as caught:
        pixels.load(files.entries, np.zeros(200_000, int), digests, Preparation(4096, 3), tmp_path / "cache")
    assert "\n" not in str(caught.value) and not files.read


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of file sizes")
def test_a_disk_that_gets_full_is_one_line(files, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    digests = pixels.scan(files.entries)["digest"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written into") as caught:
            pixels.load(files.entries, np.arange(40), digests, Preparation(64, 3), tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value) and not list((tmp_path / "cache").iterdir())


def test_a_file_that_changed_or_vanished_since_the_scan_is_named(files, tmp_path):
    digests = pixels.scan(files.entries)["digest"]
    files.paths[5].write_bytes(png(5, (9, 9)))
    with pytest.raises(UserError, match=r"005\.png has changed"):
        pixels.load(files.entries, np.arange(40), digests, GREY, tmp_path / "cache")
    files.paths[5].unlink()
    with pytest.raises(UserError, match=r"005\.png can't be read any more \(No such file or directory\); accepted: "):
        pixels.load(files.entries, np.arange(40), digests, GREY, tmp_path / "cache")

    def read_damaged(position):
        raise OSError("train.parquet is damaged (ArrowInvalid)")  # as shards.py says it

    with pytest.raises(UserError, match=r"can't be read any more \(train\.parquet is damaged \(ArrowInvalid\)\)"):
        pixels.load(replace(files.entries, read=read_damaged), np.arange(40), digests, GREY, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_no_image_at_all_is_refused(files, tmp_path):
    digests = pixels.scan(files.entries)["digest"]
    with pytest.raises(UserError, match="none of 2 images could be decoded; the first: .*no JPEG"):
        pixels.load(files.entries, [7, 20], digests, GREY, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_only_a_few_images_wait_to_be_written():
    """The first image takes long, and the others don't run ahead of it."""
    started, ahead = threading.Event(), []
    content = png(0)

    def read(position):
        if position == 0 and not started.is_set():
            started.set()
            time.sleep(0.3)
            ahead.append(len(read_positions))
        read_positions.append(position)
        return content

    read_positions = []
    count = 100 * pixels.CHUNK * (os.cpu_count() or 1)
    entries = Entries(Path("x"), "test", pd.DataFrame("", index=range(count), columns=list(COLUMNS)), read, {})
    assert len(pixels.scan(entries)) == count
    assert ahead[0] <= pixels.CHUNK * pixels.CHUNKS_AHEAD * (os.cpu_count() or 1)


def resident_bytes(name):
    """A line of Linux' account of this process' memory."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_release_gives_the_memory_of_the_file_back(tmp_path):
    size = 2**25
    np.save(tmp_path / "large.npy", np.ones(size, np.uint8))
    images = np.load(tmp_path / "large.npy", mmap_mode="r")
    for view in (images, images[100:-100:2], np.asarray(images)[5:]):
        before = resident_bytes("RssFile")
        assert images.sum(dtype=np.int64) == size
        assert resident_bytes("RssFile") > before + size / 2
        mapped.release(view)
        assert resident_bytes("RssFile") < before + size / 4
    assert images.sum(dtype=np.int64) == size


def test_release_leaves_other_arrays_alone(tmp_path):
    mapped.release(np.ones(5000))
    np.save(tmp_path / "copy.npy", np.zeros(10_000, np.uint8))
    copied = np.load(tmp_path / "copy.npy", mmap_mode="c")
    copied += 1
    mapped.release(copied)
    mapped.release(copied[:5])
    assert copied.sum() == 10_000
