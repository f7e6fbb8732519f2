"""Models with the same classes, side by side: the F1 of each class, and the images only one model gets right. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.content import F1, Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, join_words, percent, two_decimals
from mlproject.report.models import ClassEvaluation

MOST_CLASSES = 25  # in the figure, which shows those on which the models differ most
PICTURES = 8  # for each model
MOST_ROWS = 6  # of pictures
IMAGE_COLUMNS = (
    text_column("classified correctly by", "right"),
    Column("images", "images", count),
    Column("share of the test images", "share", percent),
)


def sections(context: ReportContext, models: Sequence[ClassEvaluation]) -> list[Section]:
    """Compare the models class by class and image by image.

    Args:
        context: the comparison, or the numbered part of it that these models form.
        models: tested on the same images with the same labels.

    Returns:
        Two sections; none with fewer than two models, or if their classes have different names.
    """
    if len(models) < 2 or any(model.class_names != models[0].class_names for model in models):
        return []
    return [_class_section(context, models), _image_section(context, models)]


def _class_section(context: ReportContext, models: Sequence[ClassEvaluation]) -> Section:
    scores = _f1_scores(models)
    shown = scores.head(MOST_CLASSES)
    widest, averages = scores.iloc[0], scores.mean(axis=1)
    spread = (
        f"The models differ most on {scores.index[0]}: F1 {two_decimals(widest.max())} ({widest.idxmax()}) against "
        f"{two_decimals(widest.min())} ({widest.idxmin()})."
    )
    hardest = f"The hardest class on average is {averages.idxmin()} (F1 {two_decimals(averages.min())})."
    extent = f", and only the first {len(shown)} of {len(scores)} are shown" if len(shown) < len(scores) else ""
    caption = f"The classes are sorted by how much the models differ{extent}."
    figure = figures.f1_by_class(shown, context.title)
    name = context.file_name("class-scores")
    chart = Chart(name, figure, f"F1 of each class by each model: {spread} {hardest}", caption)
    columns = (text_column("class"), *(Column(title, title, two_decimals) for title in scores.columns))
    table = Table(name, "F1 of each class", scores.reset_index(), columns)
    return Section("Class by class", [F1, spread, hardest, *_confusion_findings(models)], [chart], [table])


def _f1_scores(models: Sequence[ClassEvaluation]) -> pd.DataFrame:
    """The F1 of each class (row) by each model (column), the class on which the models differ most first."""
    scores = pd.DataFrame({model.title: model.table["f1"].to_numpy() for model in models})
    scores.index = pd.Index(models[0].class_names, name="class")
    scores = scores[models[0].table["support"].to_numpy() > 0]  # without test images nothing is known about a class
    order = (scores.max(axis=1) - scores.min(axis=1)).sort_values(ascending=False, kind="stable").index
    return scores.loc[order]


def _confusion_findings(models: Sequence[ClassEvaluation]) -> list[str]:
    """The two classes that each model confuses most, in either direction, and their share of its errors."""
    models_by_pair: dict[str, list[str]] = {}
    for model in models:
        names = model.class_names
        frame = evaluation.confused_pairs(model.predictions.labels, model.predictions.predicted, names)
        if frame.empty:
            continue
        either_way = frame.assign(
            a=frame[["true", "predicted"]].min(axis=1), b=frame[["true", "predicted"]].max(axis=1)
        )
        images = either_way.groupby(["a", "b"])["images"].sum()
        a, b = images.index[int(images.argmax())]
        unit = "image" if images.max() == 1 else "images"
        share = f"{images.max():,} {unit}, {images.max() / images.sum():.0%} of its errors"
        models_by_pair.setdefault(f"{names[a]} and {names[b]}", []).append(f"{model.title} ({share})")
    return [
        f"{classes} are the two classes that {join_words(confused_by, limit=20)} "
        f"{'confuses' if len(confused_by) == 1 else 'confuse'} most often."
        for classes, confused_by in models_by_pair.items()
    ]


def _image_section(context: ReportContext, models: Sequence[ClassEvaluation]) -> Section:
    correct = np.stack([model.predictions.correct for model in models])
    alone = correct & (correct.sum(axis=0) == 1)
    counts = alone.sum(axis=1).tolist()
    rows = [{"right": "all models", "images": int(correct.all(axis=0).sum())}]
    rows += [{"right": f"{model.title} alone", "images": n} for model, n in zip(models, counts, strict=True)]
    if len(models) > 2:
        several_count = int(((correct.sum(axis=0) > 1) & ~correct.all(axis=0)).sum())
        rows += [{"right": "several models, but not all", "images": several_count}]
    rows += [{"right": "no model", "images": int((~correct.any(axis=0)).sum())}]
    frame = pd.DataFrame(rows).assign(share=lambda frame: frame["images"] / correct.shape[1])
    title = "Images, by the models that classify them correctly"
    table = Table(context.file_name("alone"), title, frame, IMAGE_COLUMNS, main=True)
    alone_in_words = join_words([f"{n:,} by {model.title}" for model, n in zip(models, counts, strict=True)], limit=20)
    gallery = _gallery_rows(models, alone)
    charts = []
    if gallery:
        figure = figures.gallery(gallery, "images that only one model classifies correctly", context.title)
        alt = f"Images that only one model classifies correctly: {alone_in_words}"
        caption = "Below each image: its class, and what another model predicts. The most confident come first."
        charts.append(Chart(context.file_name("alone"), figure, alt, caption))
    return Section("Image by image", charts=charts, tables=[table])


def _gallery_rows(models: Sequence[ClassEvaluation], alone: np.ndarray) -> list[figures.GalleryRow]:
    """For each model the images that it alone classifies correctly, the most confident first, if any run kept them."""
    pictures = {index: image for model in models for index, image in (model.images or {}).items()}
    rows = []
    for position, (model, mask) in enumerate(zip(models, alone, strict=True)):
        other = models[(position + 1) % len(models)]
        labels, mistaken, names = model.predictions.labels, other.predictions.predicted, model.class_names
        confidence = model.predictions.probabilities.max(axis=1)
        ranked = sorted(np.flatnonzero(mask), key=lambda index: -confidence[index])
        indices = [int(index) for index in ranked if index in pictures][:PICTURES]
        if indices:
            heading = f"Only {model.title} is correct; the other prediction is by {other.title}"
            images = [(pictures[i], f"{names[labels[i]]}, not {names[mistaken[i]]}") for i in indices]
            rows.append((heading, images))
    return rows[:MOST_ROWS]
