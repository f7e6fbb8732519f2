"""What a user should know of a set of images before training on it."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

import pandas as pd

from mlproject.datasets.files import Description
from mlproject.datasets.images import splits
from mlproject.datasets.images.entries import SPLITS, Entries
from mlproject.errors import UserError, truncate

MAX_LISTED = 10  # how many of a kind are named
FEW_IMAGES = 10  # a class with fewer has two or so test images, and its scores say little
UNREADABLE_SHARE = 0.05  # of the images; with more, the folder is not what its user thinks it is
MAX_NAMED = 3  # unreadable files that a message names


def readable_images(entries: Entries, scan: pd.DataFrame) -> pd.DataFrame:
    """Join what is known of the images whose headers can be read.

    Args:
        entries: the images.
        scan: what `pixels.scan` found in them.

    Returns:
        Their rows of `entries.table` and of `scan`, with the splits that they will have: those of the table, or as
        `splits.assign` draws them.
    """
    table = entries.table.join(scan)[scan["error"] == ""]
    return table.assign(split=splits.assign(table, table["digest"])) if len(table) else table


def describe(entries: Entries, scan: pd.DataFrame, table: pd.DataFrame) -> Description:
    """Collect the facts of a set of images.

    Args:
        entries: the images.
        scan: what `pixels.scan` found in them.
        table: what `readable_images` made of both.

    Returns:
        The facts. Those of classes, splits and sizes count the images whose headers can be read.
    """
    facts = [
        ("layout", entries.layout),
        ("images", f"{len(table):,}"),
        ("classes", f"{entries.table['label'].nunique():,}"),
    ]
    if (entries.table["superclass"] != "").any():
        facts.append(("superclasses", f"{entries.table['superclass'].nunique():,}"))
    problems = _problems(entries, scan, table)
    if len(table):
        facts += [
            *_split_sizes(entries, table),
            *_class_sizes(entries, table),
            *_sizes_and_formats(table),
            ("constant answer", _constant_answer(table)),
        ]
    facts += [(fact, f"{len(names):,}") for fact, names in problems.items()]
    return Description(
        pd.DataFrame(facts, columns=["what", "value"]),
        {fact: _shorten(names) for fact, names in problems.items() if names},
    )


def require_trainable(entries: Entries, scan: pd.DataFrame, table: pd.DataFrame) -> None:
    """Refuse a set that nothing can be trained with.

    Args:
        entries: the images.
        scan: what `pixels.scan` found in them.
        table: what `readable_images` made of both.

    Raises:
        UserError: a class has no training images that can be read, too many images cannot be read, there are no test images, or a
            group is in two splits.
    """
    untrainable = sorted(set(entries.table["label"]) - set(table["label"][table["split"] == "train"]))
    if untrainable:
        names = ", ".join(f"'{name}'" for name in _shorten(untrainable))
        raise UserError(
            f"{entries.source}: no training image of {truncate(names)} can be read; accepted: readable images of every class"
        )
    describe_unreadable(entries, scan["error"])
    if not (table["split"] == "test").any():
        raise UserError(
            f"{entries.source} has no test images ({len(table)} images in all); accepted: more images, or a folder `test`"
        )
    splits.check_groups(entries.table)


def describe_unreadable(entries: Entries, errors: pd.Series) -> str:
    """Name images that cannot be read.

    Args:
        entries: the images.
        errors: for each image why it cannot be read, or ""; with the index of `entries.table`.

    Returns:
        How many they are, with the first of them; "" if there are none.

    Raises:
        UserError: they are more than one in twenty.
    """
    failures = errors[errors != ""]
    if failures.empty:
        return ""
    descriptions = _with_reasons(zip(entries.table["path"][errors != ""], failures, strict=True))
    examples = "; ".join(descriptions[:MAX_NAMED]) + (" ..." if len(failures) > MAX_NAMED else "")
    summary = f"{entries.source}: {len(failures)} of {len(errors)} images cannot be read ({examples})"
    if len(failures) > UNREADABLE_SHARE * len(errors):
        raise UserError(f"{summary}; accepted: at most {UNREADABLE_SHARE:.0%} of them")
    return summary


def _split_sizes(entries: Entries, table: pd.DataFrame) -> list[tuple[str, str]]:
    note = " (drawn from the others)" if not (entries.table["split"] == "test").any() else ""
    counts = table["split"].value_counts()
    return [
        (f"images in {split}", f"{counts[split]:,}{note if split == 'test' else ''}")
        for split in SPLITS
        if split in counts
    ]


def _class_sizes(entries: Entries, table: pd.DataFrame) -> list[tuple[str, str]]:
    counts = _class_counts(entries, table)
    smallest, largest = counts.index[-1], counts.index[0]
    ratio = f"{counts.iloc[0] / counts.iloc[-1]:,.1f}" if counts.iloc[-1] else "without limit"
    return [
        ("largest class", f"{truncate(largest)}: {counts.iloc[0]:,}"),
        ("smallest class", f"{truncate(smallest)}: {counts.iloc[-1]:,}"),
        ("largest / smallest", ratio),
    ]


def _class_counts(entries: Entries, table: pd.DataFrame) -> "pd.Series[int]":
    """The number of readable images of each class, the largest first."""
    counts = table["label"].value_counts().reindex(sorted(entries.table["label"].unique()), fill_value=0)
    return counts.sort_values(ascending=False, kind="stable")


def _sizes_and_formats(table: pd.DataFrame) -> list[tuple[str, str]]:
    by_area = table.assign(area=table["width"] * table["height"]).sort_values(["area", "width"], kind="stable")
    sizes = [
        f"{by_area['width'].iloc[index]} x {by_area['height'].iloc[index]}" for index in (0, len(by_area) // 2, -1)
    ]
    kinds = [
        (title, ", ".join(f"{kind} {count:,}" for kind, count in table[column].value_counts().items()))
        for title, column in (("formats", "format"), ("modes", "mode"))
    ]
    return [
        (f"{title} size", size) for title, size in zip(("smallest", "median", "largest"), sizes, strict=True)
    ] + kinds


def _constant_answer(table: pd.DataFrame) -> str:
    """How often the most frequent class of the training images is right."""
    train_counts = table["label"][table["split"] == "train"].value_counts()
    test_rows = table[table["split"] == "test"]
    judged_name, judged_rows = ("test images", test_rows) if len(test_rows) else ("images", table)
    if train_counts.empty:
        return "unknown, without training images"
    share = (judged_rows["label"] == train_counts.index[0]).mean()
    return f"'{truncate(train_counts.index[0])}', the largest training class, is right for {share:.1%} of the {judged_name}"


def _problems(entries: Entries, scan: pd.DataFrame, table: pd.DataFrame) -> dict[str, list[str]]:
    """What may be wrong, by its kind."""
    unreadable = scan["error"] != ""
    copies = _copies(table)
    same_split = copies["split"] == copies["split of first"]
    counts = _class_counts(entries, table)
    small_classes = counts[counts < FEW_IMAGES].sort_index()
    return {
        "unreadable files": _with_reasons(
            zip(entries.table["path"][unreadable], scan["error"][unreadable], strict=True)
        ),
        "passed over": _with_reasons(_rare_first(entries.passed_over)),
        "copies within a split": [_describe_pair(pair) for pair in copies[same_split].to_dict("records")],
        "copies in two splits": [_describe_pair(pair, "split") for pair in copies[~same_split].to_dict("records")],
        "copies with another label": [
            _describe_pair(pair, "label")
            for pair in copies[copies["label"] != copies["label of first"]].to_dict("records")
        ],
        f"classes below {FEW_IMAGES} images": [f"{truncate(name)}: {count}" for name, count in small_classes.items()],
    }


def _copies(table: pd.DataFrame) -> pd.DataFrame:
    """Each image that equals an earlier one byte by byte, beside the first of them."""
    columns = table[["digest", "path", "label", "split"]]
    first = columns.drop_duplicates("digest")
    copies = columns[columns["digest"].duplicated()]
    return copies.merge(first, on="digest", suffixes=("", " of first"))


def _describe_pair(pair: Mapping[Hashable, str], column: str = "") -> str:
    first, second = (
        truncate(pair[f"path{suffix}"]) + (f" ({truncate(pair[f'{column}{suffix}'])})" if column else "")
        for suffix in (" of first", "")
    )
    return f"{first} = {second}"


def _with_reasons(reasons: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{truncate(path)}: {reason}" for path, reason in reasons]


def _rare_first(passed_over: dict[str, str]) -> list[tuple[str, str]]:
    """The files with the rarest reason first, because the files listed first may be all that people see."""
    counts = Counter(passed_over.values())
    return sorted(passed_over.items(), key=lambda item: (counts[item[1]], item[0]))


def _shorten(names: list[str]) -> list[str]:
    rest = len(names) - MAX_LISTED
    return names if rest <= 0 else [*names[:MAX_LISTED], f"and {rest:,} more"]
