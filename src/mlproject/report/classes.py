"""Members that know the same classes, side by side: each class's F1, and the images only one member gets right. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.content import Chart, Column, Section, Table, count, decimals, listed, percent
from mlproject.report.members import Member

MOST_CLASSES = 25  # in the figure: those on which the members differ most
PICTURES = 8  # for each member
MOST_ROWS = 6  # of pictures


def sections(key: str, name: str, mark: str, members: Sequence[Member]) -> list[Section]:
    """Class by class and image by image; members: tested on the same images with the same labels."""
    known = [member for member in members if member.per_class is not None]
    if len(known) < 2 or any(member.class_names != known[0].class_names for member in known):
        return []
    return [_class_section(key, name, mark, known), _image_section(key, name, mark, known)]


def _class_section(key: str, name: str, mark: str, members: list[Member]) -> Section:
    scores = pd.DataFrame({member.title: member.per_class["f1"].to_numpy() for member in members})
    scores.index = pd.Index(members[0].class_names, name="class")
    scores = scores[members[0].per_class["support"].to_numpy() > 0]  # without test images nothing is known of a class
    order = (scores.max(axis=1) - scores.min(axis=1)).sort_values(ascending=False, kind="stable").index
    scores = scores.loc[order]
    shown = scores.head(MOST_CLASSES)
    widest, hardest = scores.iloc[0], scores.mean(axis=1).idxmin()
    spread = (
        f"The models differ most on {order[0]}: F1 {decimals(widest.max(), 2)} ({widest.idxmax()}) against "
        f"{decimals(widest.min(), 2)} ({widest.idxmin()})."
    )
    hard = f"The hardest class, on average, is {hardest} (F1 {decimals(scores.mean(axis=1).min(), 2)})."
    figure = figures.scores_by_class(shown, "F1", f"{name}{mark}")
    caption = f"{spread} {hard} Sorted by how much the models differ{mark}"
    caption += f"; the first {len(shown)} of {len(scores)} classes." if len(shown) < len(scores) else "."
    chart = Chart(f"{key}.class-scores", figure, f"F1 of each class by each model{mark}: {spread} {hard}", caption)
    columns = [Column("class", lambda r: r["class"], number=False)]
    columns += [Column(title, lambda r, title=title: decimals(r[title])) for title in scores.columns]
    table = Table(f"{key}.class-scores", f"F1 of each class{mark}", scores.reset_index(), tuple(columns))
    return Section(f"Class by class, side by side{mark}", [spread, hard, *_confusions(members)], [chart], [table])


def _confusions(members: list[Member]) -> list[str]:
    """The pair of classes, in either direction, that each member confuses most, and what share of its errors that is."""
    said = []
    for member in members:
        frame = evaluation.confused_pairs(member.labels, member.probabilities.argmax(axis=1), member.class_names)
        if frame.empty:
            continue
        both = frame.assign(pair=[tuple(sorted(pair)) for pair in zip(frame["true"], frame["predicted"], strict=True)])
        images = both.groupby("pair")["images"].sum()
        a, b = (member.class_names[index] for index in images.idxmax())
        said.append(
            f"{member.title} confuses {a} and {b} most: {images.max():,} images, {images.max() / images.sum():.0%} of its errors."
        )
    return said


def _image_section(key: str, name: str, mark: str, members: list[Member]) -> Section:
    right = np.stack([member.correct for member in members])
    alone = right & (right.sum(axis=0) == 1)
    rows = [
        {"right": f"{member.title} alone", "images": int(mask.sum())}
        for member, mask in zip(members, alone, strict=True)
    ]
    rows += [
        {"right": "all", "images": int(right.all(axis=0).sum())},
        {"right": "none", "images": int((~right.any(axis=0)).sum())},
    ]
    frame = pd.DataFrame(rows).assign(share=lambda f: f["images"] / right.shape[1])
    columns = (
        Column("right", lambda r: r["right"], number=False),
        Column("images", lambda r: count(r["images"])),
        Column("share of the test images", lambda r: percent(r["share"])),
    )
    table = Table(f"{key}.alone", f"Who is right about how many images{mark}", frame, columns)
    counts = listed([f"{row['images']:,} by {row['right']}" for row in rows[:-2]], limit=20)
    findings = [
        f"All {len(members)} models are right about {percent(frame['share'].iloc[-2])} of the images, none about "
        f"{percent(frame['share'].iloc[-1])}; recognised by one model only: {counts}."
    ]
    gallery = _gallery(members, alone)
    if not gallery:
        return Section(f"Image by image{mark}", findings, [], [table])
    figure = figures.gallery(gallery, "images that only one model recognises", f"{name}{mark}")
    alt = f"Images that only one model recognises{mark}: {counts}"
    caption = f"{findings[0]} Below each image its class and what another model says instead; the surest first{mark}."
    return Section(f"Image by image{mark}", findings, [Chart(f"{key}.alone", figure, alt, caption)], [table])


def _gallery(members: list[Member], alone: np.ndarray) -> list[tuple[str, list[tuple[np.ndarray, str]]]]:
    """For each member the images it alone gets right, the surest first, as far as any run has kept them."""
    pictures = {row: image for member in members for row, image in (member.images or {}).items()}
    rows = []
    for place, (member, mask) in enumerate(zip(members, alone, strict=True)):
        others = members[(place + 1) % len(members)]
        wrong = others.probabilities.argmax(axis=1)
        sure = sorted(np.flatnonzero(mask), key=lambda row: -member.probabilities[row].max())
        chosen = [row for row in sure if row in pictures][:PICTURES]
        texts = [f"{member.class_names[member.labels[row]]}, not {member.class_names[wrong[row]]}" for row in chosen]
        if chosen:
            heading = f"Only {member.title} is right; the other answer is {others.title}'s"
            rows.append((heading, [(pictures[row], text) for row, text in zip(chosen, texts, strict=True)]))
    return rows[:MOST_ROWS]
