"""CIFAR-100 (Krizhevsky, 2009): 60,000 colour images of 32 x 32 pixels in 100 classes, five to a superclass.

Read from the official binary archive, https://www.cs.toronto.edu/~kriz/cifar.html, or its unpacked folder. A record
is 3,074 bytes: superclass, class, then the red, green and blue plane, each row by row.
"""

import gzip
import hashlib
import tarfile
import warnings
from pathlib import Path, PurePosixPath

import numpy as np

from mlproject.datasets import files
from mlproject.datasets.files import Arrays
from mlproject.errors import UserError, shown

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
ARCHIVE_BYTES = 168_513_733
ARCHIVE_SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
FOLDER = "cifar-100-binary"
SHAPE = (32, 32, 3)
RECORD = 2 + 32 * 32 * 3
RECORDS = {"train.bin": 50_000, "test.bin": 10_000}
TAR_OVERHEAD = 1 << 20  # bytes of headers, padding and small further files that an archive may hold beside the four

# The published table (https://www.cs.toronto.edu/~kriz/cifar.html), in the archive's spelling.
TABLE = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
# Label i is the i-th name in alphabetical order, for classes and for superclasses.
SUPERCLASSES: tuple[str, ...] = tuple(sorted(TABLE))
CLASSES: tuple[str, ...] = tuple(sorted(name for five in TABLE.values() for name in five))
SUPERCLASS_OF = np.array([next(i for i, s in enumerate(SUPERCLASSES) if name in TABLE[s]) for name in CLASSES])

_NAMES = {"coarse_label_names.txt": SUPERCLASSES, "fine_label_names.txt": CLASSES}


def _limits() -> dict[str, int]:
    """The most that is read of each file: what it must hold (anything longer than 4096 bytes is no list of these names)."""
    return {name: count * RECORD for name, count in RECORDS.items()} | dict.fromkeys(_NAMES, 4096)


def read(data_dir: Path | str | None) -> Arrays:
    """All of CIFAR-100 with its fine labels.

    Images uint8 (50,000 and 10,000, 32, 32, 3); labels int64, indices into `CLASSES`. Raises UserError when the files
    are missing, damaged or do not hold what the official ones hold: record counts, label ranges, class names, the
    published table. Warns when all that is right but the archive is not the official one.
    """
    path = files.locate(data_dir, (f"{FOLDER}.tar.gz", FOLDER), [files.keras_cache() / "datasets"])
    if path is None:
        path = files.download(URL, ARCHIVE_SHA256, files.keras_cache() / "datasets")
    contents = _read_folder(path) if path.is_dir() else _unpack(path)
    for name, expected in _NAMES.items():
        _check_names(f"{path}: {name}", contents[name], expected)
    train_images, train_labels = _records(f"{path}: train.bin", contents.pop("train.bin"), RECORDS["train.bin"])
    test_images, test_labels = _records(f"{path}: test.bin", contents.pop("test.bin"), RECORDS["test.bin"])
    if path.is_file() and not _is_official(path):
        warnings.warn(f"{path} is not the official archive; accepted because its structure is right", stacklevel=3)
    return Arrays(train_images, train_labels, test_images, test_labels, str(path))


def _is_official(path: Path) -> bool:
    if path.stat().st_size != ARCHIVE_BYTES:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == ARCHIVE_SHA256


def _read_folder(folder: Path) -> dict[str, bytes]:
    contents = {}
    for name, limit in _limits().items():
        try:
            with (folder / name).open("rb") as file:
                contents[name] = file.read(limit + 1)
        except OSError as error:
            raise UserError(
                f"cannot read {folder / name} ({error.strerror}); accepted: a file as in {FOLDER}.tar.gz"
            ) from error
    return contents


def _unpack(path: Path) -> dict[str, bytes]:
    """The archive's four files, read into memory; nothing is written. (tarfile's own gzip reader checks no CRC.)"""
    limits, contents = _limits(), {}
    try:
        with gzip.open(path) as packed:
            most = sum(limits.values()) + TAR_OVERHEAD
            stream = files.Bounded(packed, str(path), most)
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive:
                for member in archive:
                    _refuse_unsafe(path, member, most)
                    name = PurePosixPath(member.name).name
                    if member.isfile() and name in limits:
                        contents[name] = archive.extractfile(member).read(limits[name] + 1)
            while stream.read(1 << 20):  # to the end, where the CRC is
                pass
    except UserError:
        raise
    except Exception as error:  # gzip and tarfile raise many kinds on damaged headers, plain ValueErrors among them
        raise UserError(
            f"{path} is truncated or damaged ({shown(error)}); accepted: a whole {FOLDER}.tar.gz"
        ) from error
    missing = [name for name in limits if name not in contents]
    if missing:
        raise UserError(f"{path} lacks {missing[0]}; accepted: an archive with {', '.join(limits)}")
    return contents


def _refuse_unsafe(path: Path, member: tarfile.TarInfo, most: int) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise UserError(
            f"{path} holds the member '{shown(member.name)}'; accepted: plain files and folders inside the archive"
        )
    if not 0 <= member.size <= most:  # tarfile would pass over the claimed exabytes block by block
        raise UserError(
            f"{path} holds the member '{shown(member.name)}' of {member.size} bytes; accepted: at most {most} in all"
        )


def _check_names(where: str, content: bytes, expected: tuple[str, ...]) -> None:
    found = content.decode("utf-8", errors="replace").split()
    if tuple(found) != expected:
        odd = next((name for name in found if name not in expected), f"{len(found)} names")
        raise UserError(
            f"{where} is not the published list: found {odd!r}; accepted: the {len(expected)} names in order"
        )


def _records(where: str, content: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (count, 32, 32, 3) and fine labels int64 (count,) of the records in `content`, checked."""
    if len(content) != count * RECORD:
        found = f"{len(content) / RECORD:g}" if len(content) < count * RECORD else f"more than {count}"
        raise UserError(f"{where} holds {found} records; accepted: {count} records of {RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD)
    coarse, fine = records[:, 0], records[:, 1].astype(np.int64)
    files.check_labels(where, fine, CLASSES)
    wrong = np.flatnonzero(coarse != SUPERCLASS_OF[fine])
    if wrong.size:
        record, name = wrong[0], CLASSES[fine[wrong[0]]]
        accepted = SUPERCLASS_OF[fine[record]]
        raise UserError(
            f"{where} gives {name} (record {record}) the superclass {coarse[record]};"
            f" accepted: {accepted} ({SUPERCLASSES[accepted]}), as published"
        )
    planes = records[:, 2:].reshape(count, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), fine
