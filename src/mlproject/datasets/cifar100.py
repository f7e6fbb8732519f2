"""CIFAR-100 (Krizhevsky, 2009): 60,000 colour images of 32 x 32 pixels in 100 classes, five in each superclass.

`CIFAR100` reads the official binary archive from https://www.cs.toronto.edu/~kriz/cifar.html, or its unpacked folder. A
record has 3,074 bytes: the superclass, the class, then the red, the green and the blue plane, each row by row.
"""

import gzip
import hashlib
import tarfile
import warnings
from pathlib import Path, PurePosixPath

import numpy as np

from mlproject.datasets import files
from mlproject.datasets.files import Arrays
from mlproject.datasets.images.preparation import Preparation
from mlproject.datasets.loader import Loader
from mlproject.errors import UserError, truncate

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
ARCHIVE_BYTES = 168_513_733
ARCHIVE_SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
FOLDER = "cifar-100-binary"
SHAPE = (32, 32, 3)
RECORD_BYTES = 2 + 32 * 32 * 3
RECORD_COUNTS = {"train.bin": 50_000, "test.bin": 10_000}
NAME_LIST_BYTES = 4096  # more than either list of names has
TAR_OVERHEAD_BYTES = 1 << 20  # for the archive's headers, padding and small other files

# The published table (https://www.cs.toronto.edu/~kriz/cifar.html), in the archive's spelling.
CLASSES_OF_SUPERCLASS = {
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
SUPERCLASSES: tuple[str, ...] = tuple(sorted(CLASSES_OF_SUPERCLASS))
CLASSES: tuple[str, ...] = tuple(sorted(name for names in CLASSES_OF_SUPERCLASS.values() for name in names))
SUPERCLASS_OF = np.array(
    [
        SUPERCLASSES.index(next(superclass for superclass, names in CLASSES_OF_SUPERCLASS.items() if name in names))
        for name in CLASSES
    ]
)

# The files that list the names, in the order of the labels.
_NAME_LISTS = {"coarse_label_names.txt": SUPERCLASSES, "fine_label_names.txt": CLASSES}


def _size_limits() -> dict[str, int]:
    """The largest number of bytes to read from each file: the size of the official records, or a bound for a list."""
    record_limits = {name: count * RECORD_BYTES for name, count in RECORD_COUNTS.items()}
    return record_limits | dict.fromkeys(_NAME_LISTS, NAME_LIST_BYTES)


class CIFAR100(Loader):
    """CIFAR-100, for an experiment's file: `dataset=CIFAR100()`, with the labels "coarse" or "fine"."""

    name = "cifar100"
    classes = CLASSES
    shape = SHAPE
    preparation = Preparation(32, 3)
    superclasses = SUPERCLASSES
    superclass_of = SUPERCLASS_OF
    licence = (
        "none stated; its authors ask to cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
    )

    def read(self, data_dir: Path | str | None) -> Arrays:
        """Read all of CIFAR-100 with its fine labels.

        If the structure is as published but the archive is not the official one, the function warns and accepts it.

        Args:
            data_dir: the folder that holds the archive or its unpacked folder; None searches as `mlproject.datasets.files`
                describes and downloads the archive if no copy is found.

        Returns:
            Images uint8 (50,000 and 10,000, 32, 32, 3) and labels int64, indices into `CLASSES`.

        Raises:
            UserError: the files are missing, damaged or not as published (record counts, label ranges, class names, the
                superclass of each class), or the download failed.
        """
        path = files.locate(data_dir, (f"{FOLDER}.tar.gz", FOLDER), [files.keras_cache() / "datasets"])
        if path is None:
            path = files.download(URL, ARCHIVE_SHA256, files.keras_cache() / "datasets")
        contents = _read_folder(path) if path.is_dir() else _unpack(path)
        for name, expected in _NAME_LISTS.items():
            _check_names(f"{path}: {name}", contents[name], expected)
        # Each content is dropped as soon as it is parsed, so that memory does not hold 180 MB twice.
        train_images, train_labels = _parse(f"{path}: train.bin", contents.pop("train.bin"), RECORD_COUNTS["train.bin"])
        test_images, test_labels = _parse(f"{path}: test.bin", contents.pop("test.bin"), RECORD_COUNTS["test.bin"])
        if path.is_file() and not _is_official(path):
            warnings.warn(f"{path} is not the official archive; accepted because its structure is right", stacklevel=5)
        return Arrays(train_images, train_labels, test_images, test_labels, str(path))


def _is_official(path: Path) -> bool:
    """Whether the archive has the official size and checksum."""
    if path.stat().st_size != ARCHIVE_BYTES:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == ARCHIVE_SHA256


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The contents of the four files of the unpacked folder, by name."""
    contents = {}
    for name, limit in _size_limits().items():
        try:
            with (folder / name).open("rb") as file:
                contents[name] = file.read(limit + 1)
        except OSError as error:
            raise UserError(
                f"cannot read {folder / name} ({error.strerror}); accepted: a file as in {FOLDER}.tar.gz"
            ) from error
    return contents


def _unpack(path: Path) -> dict[str, bytes]:
    """The contents of the archive's four files, by name; nothing is written to the disk."""
    limits, contents = _size_limits(), {}
    try:
        with gzip.open(path) as unpacked:  # not tarfile's own gzip reader, which does not check the CRC
            max_bytes = sum(limits.values()) + TAR_OVERHEAD_BYTES
            stream = files.BoundedReader(unpacked, str(path), max_bytes)
            # The mode "r|" only calls `read`, although the annotation requires a complete file object.
            with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive:  # type: ignore[call-overload]
                for member in archive:
                    _check_member(path, member, max_bytes)
                    name = PurePosixPath(member.name).name
                    if name in limits and (content := archive.extractfile(member)):  # None for a folder
                        contents[name] = content.read(limits[name] + 1)
            while stream.read(1 << 20):  # The CRC is checked at the end of the file.
                pass
    except UserError:
        raise
    except Exception as error:  # gzip and tarfile raise many kinds on damaged headers, even plain ValueErrors
        raise UserError(
            f"{path} is truncated or damaged ({truncate(error)}); accepted: a whole {FOLDER}.tar.gz"
        ) from error
    missing = [name for name in limits if name not in contents]
    if missing:
        raise UserError(f"{path} lacks {missing[0]}; accepted: an archive with {', '.join(limits)}")
    return contents


def _check_member(path: Path, member: tarfile.TarInfo, max_bytes: int) -> None:
    """Refuse members outside the archive's folder, links and devices, and members that claim an impossible size."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise UserError(
            f"{path} holds the member '{truncate(member.name)}'; accepted: plain files and folders inside the archive"
        )
    if not 0 <= member.size <= max_bytes:  # tarfile would skip exabytes block by block
        raise UserError(
            f"{path} holds the member '{truncate(member.name)}' of {member.size} bytes;"
            f" accepted: at most {max_bytes} bytes in all"
        )


def _check_names(file_name: str, content: bytes, expected: tuple[str, ...]) -> None:
    """Refuse a list of names that is not the published one."""
    names = content.decode("utf-8", errors="replace").split()
    if tuple(names) != expected:
        unexpected = next((name for name in names if name not in expected), f"{len(names)} names")
        raise UserError(
            f"{file_name} is not the published list: found {unexpected!r}; accepted: the {len(expected)} names in order"
        )


def _parse(file_name: str, content: bytes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Check `content` and parse it into images uint8 (count, 32, 32, 3) and fine labels int64 (count,)."""
    if len(content) != count * RECORD_BYTES:
        actual_count = (
            f"{len(content) / RECORD_BYTES:g}" if len(content) < count * RECORD_BYTES else f"more than {count}"
        )
        raise UserError(f"{file_name} holds {actual_count} records; accepted: {count} records of {RECORD_BYTES} bytes")
    records = np.frombuffer(content, np.uint8).reshape(count, RECORD_BYTES)
    coarse, fine = records[:, 0], records[:, 1].astype(np.int64)
    files.check_labels(file_name, fine, CLASSES)
    wrong_records = np.flatnonzero(coarse != SUPERCLASS_OF[fine])
    if wrong_records.size:
        record, name = wrong_records[0], CLASSES[fine[wrong_records[0]]]
        accepted = SUPERCLASS_OF[fine[record]]
        raise UserError(
            f"{file_name} gives {name} (record {record}) the superclass {coarse[record]};"
            f" accepted: {accepted} ({SUPERCLASSES[accepted]}), as published"
        )
    planes = records[:, 2:].reshape(count, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), fine
