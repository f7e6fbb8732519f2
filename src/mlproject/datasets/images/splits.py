"""Sets test images aside by what they show, so that a later image moves none of the earlier ones.

A number in [0, 1) is computed from an image's content, or from its group's name. Images below `TEST_FRACTION` are test images.
"""

import hashlib

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mlproject.errors import UserError, truncate

TEST_FRACTION = 0.2
HEX_DIGITS = 13  # 52 bits, which a float holds exactly


def assign(table: pd.DataFrame, digests: pd.Series) -> pd.Series:
    """Give each image a split.

    Splits that the table gives are kept. If it gives no test images, they are drawn from its training images, or from all
    images if it gives no splits at all. About a fifth of the groups are drawn, where an image without a group is a group of
    its own. Images with the same content stay together: an image that is in two groups joins them, and joined groups are
    drawn only if each of them would be drawn alone. So a new image moves earlier ones only if it joins groups.

    There is one exception. In each class, the group with the largest number stays in training, so that no class is without
    training images. This matters only for classes with a handful of groups.

    Args:
        table: a row for each image with the text columns label, split and group, as in `entries.Entries`. Either all rows
            have a split or none has.
        digests: for each row a text that differs for each content. Images that can't be read are left out by the caller.

    Returns:
        For each row "train", "validation" or "test", with the index of `table`.
    """
    splits = table["split"].to_numpy(dtype=object, copy=True)
    splits[splits == ""] = "train"
    if not (splits == "test").any():
        rows = np.flatnonzero(splits == "train")
        drawn = _drawn_images(table["label"].iloc[rows], digests.iloc[rows], table["group"].iloc[rows])
        splits[rows[drawn]] = "test"
    return pd.Series(splits, index=table.index, name="split")


def check_groups(table: pd.DataFrame) -> None:
    """Refuse given splits that tear a group apart.

    Args:
        table: as for `assign`.

    Raises:
        UserError: images of one group are in two splits.
    """
    grouped = table[(table["group"] != "") & (table["split"] != "")]
    splits = grouped.groupby("group", sort=False)["split"].unique()
    torn_groups = splits[splits.map(len) > 1]
    if len(torn_groups):
        names = " and ".join(sorted(torn_groups.iloc[0]))
        raise UserError(
            f"group={truncate(torn_groups.index[0])} is in the splits {names} ({len(torn_groups)} such groups); "
            "accepted: all images of a group in one split"
        )


def _drawn_images(labels: pd.Series, digests: pd.Series, groups: pd.Series) -> np.ndarray:
    """Which images become test images, bool (n,)."""
    images = pd.DataFrame(
        {"label": labels.to_numpy(), "digest": digests.to_numpy(), "group": groups.to_numpy()}, dtype=object
    )
    images["unit"] = _unit_numbers(images)
    has_group = images["group"] != ""
    numbers = images["group"].where(has_group, images["digest"]).map(_hashed_number)
    # A copy without a group belongs to the group of its original, and has no say.
    numbers = numbers.where(has_group | ~has_group.groupby(images["unit"]).transform("any"), 0.0)
    images["number"] = numbers.groupby(images["unit"]).transform("max")
    largest_rows = images.groupby("label")["number"].idxmax()
    stays_in_training = images["unit"].isin(images["unit"].loc[largest_rows])
    return ((images["number"] < TEST_FRACTION) & ~stays_in_training).to_numpy()


def _unit_numbers(images: pd.DataFrame) -> np.ndarray:
    """Number the images so that those with the same content or group have the same number, also by way of others."""
    digests, _ = pd.factorize(images["digest"])
    groups, names = pd.factorize(images["group"].where(images["group"] != "", None))  # -1 where there is none
    has_group = groups >= 0
    content_count = len(images)
    edges = (digests[has_group], content_count + groups[has_group])
    size = content_count + len(names)
    graph = coo_array((np.ones(has_group.sum(), dtype=np.int8), edges), shape=(size, size))
    _, components = connected_components(graph, directed=False)
    return np.asarray(components[digests])


def _hashed_number(text: str) -> float:
    """A number in [0, 1) that looks random and is always the same for a text."""
    return float(
        int(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HEX_DIGITS], 16) / 16**HEX_DIGITS
    )
