"""Hypotheses about why some fine classes differ so much from their superclass, from their errors. Pure."""

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.coarse_fine_pair import CoarseFinePair
from mlproject.report.content import Chart, Section
from mlproject.report.context import ReportContext
from mlproject.report.fine_classes import SIGNIFICANCE, stand_outs
from mlproject.report.formats import signed_interval
from mlproject.report.models import ClassEvaluation

FEW_ERRORS = 5  # with fewer errors, the section does not say where they go
PICTURES = 4  # of a class's misclassified images


def section(context: ReportContext, pair: CoarseFinePair, differences: pd.DataFrame) -> Section:
    """A sentence or two about each class that stands out, and some of its misclassified images.

    Args:
        context: the comparison.
        pair: the coarse and the fine model.
        differences: as `fine_classes.class_differences` gives them.

    Returns:
        The section; its figure is left out when the fine model's run kept no images.
    """
    classes = [row for _, row in stand_outs(differences).iterrows()]
    findings = [_hypothesis(row, differences) for row in classes]
    pictures = [found for row in classes if (found := _pictures(pair.fine, row))]
    charts = []
    if pictures:
        figure = figures.gallery(pictures, "misclassified images of the classes that differ most", context.title)
        headings = "; ".join(heading for heading, _ in pictures)
        caption = (
            f"Images that {pair.fine.title} misclassifies, from the classes that differ most from their superclass, "
            "the most confident mistakes first. On the right are images of the class they are mistaken for, "
            "classified correctly."
        )
        alt = f"Misclassified images of the classes that differ most: {headings}"
        charts.append(Chart(context.file_name("confused"), figure, alt, caption))
    elif pair.fine.images is None:
        findings.append("There are no example images, because the run of the fine model kept none.")
    return Section("Hypotheses about the classes that differ most", findings, charts, [])


def _pictures(fine: ClassEvaluation, row: pd.Series) -> figures.GalleryRow | None:
    """Images of a class predicted as the class it is most confused with, and correct predictions of the latter."""
    if not fine.images or row["most_confused"] < FEW_ERRORS:
        return None
    predictions, names = fine.predictions, fine.class_names
    one, other = names.index(row["class"]), names.index(row["most_confused_with"])
    kept = np.array(sorted(fine.images))
    kept = kept[kept < len(predictions.labels)]
    labels, predicted = predictions.labels[kept], predictions.predicted[kept]
    mistaken = kept[(labels == one) & (predicted == other)]
    confidence = predictions.probabilities[mistaken, other]
    mistaken = mistaken[np.argsort(-confidence, kind="stable")][:PICTURES]
    correct = kept[(labels == other) & (predicted == other)][:PICTURES]
    if not len(mistaken):
        return None
    images = [(fine.images[index], f"{names[one]}, predicted as {names[other]}") for index in mistaken]
    images += [(fine.images[index], f"{names[other]}, correct") for index in correct]
    return f"{row['most_confused']} images of {row['class']} are predicted as {row['most_confused_with']}", images


def _hypothesis(row: pd.Series, differences: pd.DataFrame) -> str:
    """How far a class lies from its superclass, how certain this is, and a possible reason."""
    above = row["f1_difference"] > 0
    difference = (
        f"{row['class']}: F1 {row['f1']:.2f}, {abs(row['f1_difference']):.2f} {'above' if above else 'below'} its "
        f"superclass {row['superclass']} ({row['superclass_f1']:.2f}; 95% interval of the difference "
        f"{signed_interval(row['f1_low'], row['f1_high'])})"
    )
    if row["p_adjusted"] >= SIGNIFICANCE:
        difference += f", although among {len(differences)} classes such a difference may be due to chance"
    reason = _why_above(row, differences) if above else _why_below(row)
    parts = (f"{difference}.", _where_errors_go(row), _where_it_lies(row), reason)
    return " ".join(part for part in parts if part)


def _where_errors_go(row: pd.Series) -> str:
    errors = f"The fine model misclassifies {row['errors']} of {row['support']:.0f} test images of this class"
    if row["errors"] < FEW_ERRORS:
        return f"{errors}."
    most = f"most often as {row['most_confused_with']} ({row['most_confused']} images)"
    inside, share = row["errors_inside"], row["errors_inside"] / row["errors"]
    return (
        f"{errors}, {inside} of them as another class of the superclass ({share:.0%}; it would be "
        f"{row['siblings_share']:.0%} if errors were spread evenly over all classes) and "
        f"{most if row['most_confused'] > 1 else 'never twice as the same class'}."
    )


def _where_it_lies(row: pd.Series) -> str:
    if not row["nearest"] or np.isnan(row["siblings_ratio"]):
        return ""
    kind = "a sibling" if row["nearest_is_sibling"] else "a class of another superclass"
    return (
        f"In the model's feature space, its nearest class is {row['nearest']}, {kind}; on average its siblings are "
        f"{row['siblings_ratio']:.2f} times as far away as the other classes."
    )


def _why_above(row: pd.Series, differences: pd.DataFrame) -> str:
    """A possible reason, from the looks and the scores of the siblings."""
    reasons = []
    if row["siblings_ratio"] >= 1:
        reasons.append("It may look unlike its siblings, which makes their superclass varied and hard to learn.")
    same_superclass = differences["superclass"] == row["superclass"]
    siblings = differences[same_superclass & (differences["class"] != row["class"])]
    if siblings.empty:
        return " ".join(reasons)
    weakest = siblings.loc[siblings["f1"].idxmin()]
    name, f1 = weakest["class"], weakest["f1"]
    if f1 < row["superclass_f1"]:
        reasons.append(f"Its siblings may lower the score of the superclass: {name} (F1 {f1:.2f}) is the hardest.")
    else:
        reasons.append(
            "All its siblings score above the superclass too, so the coarse model may find this superclass hard."
        )
    return " ".join(reasons)


def _why_below(row: pd.Series) -> str:
    """A possible reason, from the share of the errors that stay inside the superclass."""
    if row["errors"] < FEW_ERRORS:
        low_precision = row["precision"] < row["recall"]
        return "Other classes may be mistaken for it: its precision is lower than its recall." if low_precision else ""
    if row["errors_inside"] >= row["errors"] / 2:
        return (
            "It may be hard to distinguish from its siblings, which lowers the score of the fine class but not of the "
            "superclass."
        )
    low, _ = evaluation.accuracy_interval(np.arange(row["errors"]) < row["errors_inside"])
    if low > row["siblings_share"]:
        return (
            "It may resemble its siblings and, more often, classes outside the superclass, which lowers the scores of "
            "both the fine class and the superclass."
        )
    return "It may resemble other classes as much as its siblings, which lowers the score of the superclass, too."
