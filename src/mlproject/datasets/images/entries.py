"""What is known of a set of images before any of them is decoded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlproject.datasets.images.decoding import Content

COLUMNS = ("path", "label", "superclass", "split", "group")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Entries:
    """The images of a set, in the order in which they were found.

    Attributes:
        source: the folder or file that the user named.
        layout: how the images are arranged, in words for people, such as "CLASS/image".
        table: a row for each image, with the text columns `COLUMNS`: path, as people know it (relative to the source, or
            "row 17"); label, the name of its class; superclass, "" where there is none; split, one of `SPLITS`, "" where
            none is given; group, "" where there is none. Images of one group never fall into two splits.
        read: gives the content of the image in a row, by the row's position.
        passed_over: for each file that is no image of the set, its path and the reason.
    """

    source: Path
    layout: str
    table: pd.DataFrame
    read: Callable[[int], Content]
    passed_over: dict[str, str]
