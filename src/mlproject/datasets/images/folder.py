"""Images of a user's own as a data set: `dataset=ImageFolder("photos")`, or the option `images`."""

import os
import re
import unicodedata
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlproject.datasets.files import Arrays
from mlproject.datasets.images import check, layouts, pixels
from mlproject.datasets.images.decoding import GREY_16_BIT
from mlproject.datasets.images.entries import Entries
from mlproject.datasets.images.preparation import Preparation
from mlproject.datasets.loader import Loader
from mlproject.names import NAME

CACHE = Path(".cache", "images")
AUTO = "auto"
# What `auto` chooses: the median of the images' shorter sides, rounded down to a multiple of STEP, within these bounds.
SMALLEST_AUTO, LARGEST_AUTO, STEP = 32, 128, 32
GREY_MODES = {"1", "L", "LA", "F", *GREY_16_BIT}


class ImageFolder(Loader):
    """Images in folders, in a manifest, in Parquet files or in an .npz file; `layouts` says how they may be arranged.

    Nothing is read before it is asked for.

    Args:
        path: the folder or file. A relative path is relative to the folder in which the command runs.
        image_size: pixels a side of the images that networks see, or "auto" for the median of the images' shorter sides, rounded
            down to a multiple of 32, from 32 to 128.
        fit: "crop" cuts out the centre of images that are not square, "pad" adds a border.
        background: red, green and blue, 0 to 255, of the border and behind transparent pixels.
        name: names the data set; by default the name of the folder or file.
        cache: the folder in which decoded images are kept.

    Raises:
        UserError: a size, fit or background that is not accepted.
    """

    def __init__(
        self,
        path: Path | str,
        image_size: int | str = AUTO,
        fit: str = "crop",
        background: tuple[int, int, int] = (255, 255, 255),
        name: str = "",
        cache: Path = CACHE,
    ) -> None:
        self.path, self.image_size, self.fit, self.background = Path(path), image_size, fit, background
        self.name, self.cache = name or _default_name(self.path), cache
        size: Any = SMALLEST_AUTO if image_size == AUTO else image_size
        Preparation(size, 3, fit, background)  # refuses what is not accepted

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes two loaders the same data set."""
        return self.name, os.path.abspath(os.path.expanduser(self.path)), self.image_size, self.fit, self.background

    @cached_property
    def entries(self) -> Entries:
        """The images, as `layouts.find` finds them."""
        return layouts.find(self.path)

    @cached_property
    def scan(self) -> pd.DataFrame:
        """Digest and header of each image, as `pixels.scan` reads them."""
        return pixels.scan(self.entries)

    @cached_property
    def readable_images(self) -> pd.DataFrame:
        """What is known of the images whose headers can be read, as `check.readable_images` joins it."""
        return check.readable_images(self.entries, self.scan)

    @cached_property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """The names of the classes, sorted."""
        return sorted(self.entries.table["label"].unique())

    @cached_property
    def superclasses(self) -> Sequence[str]:  # type: ignore[override]
        """The names of the superclasses, sorted; empty without superclasses."""
        return sorted(set(self.entries.table["superclass"]) - {""})

    @cached_property
    def superclass_of(self) -> Sequence[int]:  # type: ignore[override]
        """For each class the index of its superclass; empty without superclasses."""
        if not self.superclasses:
            return ()
        superclass_by_class = dict(zip(self.entries.table["label"], self.entries.table["superclass"], strict=True))
        return [self.superclasses.index(superclass_by_class[name]) for name in self.classes]

    @cached_property
    def preparation(self) -> Preparation:  # type: ignore[override]
        """How the images become pixels of one shape."""
        size: Any = _median_size(self.readable_images) if self.image_size == AUTO else self.image_size
        channels = 1 if GREY_MODES.issuperset(self.readable_images["mode"]) else 3
        return Preparation(size, channels, self.fit, self.background)

    @property
    def shape(self) -> Sequence[int]:  # type: ignore[override]
        """Height, width and channels; grey only if all images are grey."""
        return self.preparation.shape

    def read(self, data_dir: Path | str | None) -> Arrays:
        """Decode the images, or find them decoded by an earlier command.

        Images are ordered by their digests, so that neither their names nor their folders matter.

        Args:
            data_dir: is not used.

        Returns:
            Images as memory-mapped arrays, and labels as indices into `classes`.

        Warns:
            UserWarning: images cannot be read; they are left out.

        Raises:
            UserError: the images cannot be trained with, or more than one in twenty cannot be read.
        """
        check.require_trainable(self.entries, self.scan, self.readable_images)
        located = self.readable_images.assign(position=np.flatnonzero(self.scan["error"] == ""))
        # Copies of an image have one digest, so whatever else distinguishes them decides their order.
        ordered = located.assign(last=located["split"] == "test").sort_values(
            ["last", "digest", "split", "label", "group"]
        )
        positions = ordered["position"].to_numpy()
        decoded = pixels.load(self.entries, positions, self.scan["digest"], self.preparation, self.cache)
        self._warn_of_unreadable(decoded.errors)
        return self._arrays(decoded)

    def _arrays(self, decoded: pixels.Pixels) -> Arrays:
        """The images that could be decoded; the training images come first."""
        table = self.readable_images.loc[self.entries.table.index[decoded.positions]]
        splits = table["split"]
        labels = table["label"].map({name: number for number, name in enumerate(self.classes)}).to_numpy(np.int64)
        train_count = int((splits != "test").sum())
        return Arrays(
            train_images=decoded.images[:train_count],
            train_labels=labels[:train_count],
            test_images=decoded.images[train_count:],
            test_labels=labels[train_count:],
            source=str(self.path),
            validation=_true_rows(splits == "validation"),
            groups=_group_numbers(table["group"].iloc[:train_count]),
            description=check.describe(self.entries, self.scan, self.readable_images),
            preparation=self.preparation.describe(),
        )

    def _warn_of_unreadable(self, undecodable: dict[int, str]) -> None:
        """Name images that cannot be read; raise UserError if there are too many."""
        errors = self.scan["error"].copy()
        for position, reason in undecodable.items():
            errors.iloc[position] = reason
        if summary := check.describe_unreadable(self.entries, errors):
            warnings.warn(f"{summary}; they are left out", stacklevel=2)


def _median_size(readable: pd.DataFrame) -> int:
    """The size that `auto` stands for."""
    shorter = readable[["width", "height"]].min(axis=1).median()
    return int(min(max(shorter // STEP * STEP, SMALLEST_AUTO), LARGEST_AUTO)) if len(readable) else SMALLEST_AUTO


def _default_name(path: Path) -> str:
    """The name of a folder, or of a file without its suffix, in the letters that names may have."""
    try:
        path = path.expanduser().absolute()
        name = path.stem if path.is_file() else path.resolve().name
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null byte: `layouts.find` will refuse it
        return "images"
    letters = "".join(
        character for character in unicodedata.normalize("NFKD", name) if not unicodedata.combining(character)
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", letters).strip("-._")[:60].rstrip("-._")
    return name if NAME.fullmatch(name) else "images"


def _true_rows(mask: "pd.Series[bool]") -> NDArray[np.int64] | None:
    """The rows that are True; None if there are none."""
    return np.flatnonzero(mask).astype(np.int64) if mask.any() else None


def _group_numbers(groups: "pd.Series[str]") -> NDArray[np.int64] | None:
    """A number for each group. Images without a group have numbers of their own. None if no image has a group."""
    if not (groups != "").any():
        return None
    own_names = pd.Series([f"\0{row}" for row in range(len(groups))], index=groups.index)
    return pd.factorize(groups.where(groups != "", own_names))[0].astype(np.int64)
