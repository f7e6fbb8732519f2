"""Hypotheses about why some fine classes differ so much from their superclass, from their errors. Pure."""

import numpy as np
import pandas as pd

from mlproject.evaluation.scores import wilson_interval
from mlproject.report import figures
from mlproject.report.coarse_fine_pair import CoarseFinePair
from mlproject.report.content import Chart, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.fine_classes import SIGNIFICANCE, stand_outs
from mlproject.report.formats import MISSING, signed, signed_interval
from mlproject.report.models import ClassEvaluation

FEW_ERRORS = 5  # with fewer errors, the table does not say where they go
PICTURES = 4  # of a class's misclassified images

COLUMNS = (
    text_column("class"),
    text_column("F1 against the superclass's", "seen"),
    text_column("may mean", "suggests"),
    text_column("errors", "evidence"),
    text_column("nearest in feature space", "space"),
    text_column("picture"),
)
NOTE = (
    "F1: of the class by the fine model, of its superclass by the coarse model. Even: the share of errors inside the superclass "
    "if they were spread evenly over all classes. Siblings: the other classes of the superclass. Feature space: the numbers "
    "from which the last layer makes its predictions; distances are between the means of the classes."
)


def section(context: ReportContext, pair: CoarseFinePair, differences: pd.DataFrame) -> Section:
    """A table of the classes that stand out, and some of their misclassified images.

    Args:
        context: the comparison.
        pair: the coarse and the fine model.
        differences: as `fine_classes.class_differences` gives them.

    Returns:
        The section; its figure is left out when the fine model's run kept no images.
    """
    rows, pictures = [], []
    for _, row in stand_outs(differences).iterrows():
        gallery_row = _gallery_row(pair.fine, row)
        if gallery_row:
            pictures.append(gallery_row)
        rows.append(_hypothesis(row, differences) | {"picture": f"row {len(pictures)}" if gallery_row else MISSING})
    if not rows:
        return Section("Why some classes may differ most")
    charts, findings = [], []
    if pictures:
        figure = figures.gallery(pictures, "misclassified images of the classes that differ most", context.title)
        caption = "Left: the most confident mistakes. Right: correct images of the class that they are mistaken for."
        alt = f"Misclassified images of the classes that differ most: {'; '.join(heading for heading, _ in pictures)}"
        charts.append(Chart(context.file_name("confused"), figure, alt, caption))
    elif pair.fine.images is None:
        findings.append("There are no example images, because the run of the fine model kept none.")
    table = Table(
        context.file_name("hypotheses"), "Hypotheses, not causes", pd.DataFrame(rows), COLUMNS, NOTE, main=True
    )
    return Section("Why some classes may differ most", findings, charts, [table])


def _gallery_row(fine: ClassEvaluation, row: pd.Series) -> figures.GalleryRow | None:
    """Images of a class predicted as the class it is most confused with, and correct predictions of the latter."""
    if not fine.images or row["most_confused"] < FEW_ERRORS:
        return None
    predictions, names = fine.predictions, fine.class_names
    true_class, predicted_class = names.index(row["class"]), names.index(row["most_confused_with"])
    indices = np.array(sorted(fine.images))
    indices = indices[indices < len(predictions.labels)]
    labels, predicted = predictions.labels[indices], predictions.predicted[indices]
    mistaken = indices[(labels == true_class) & (predicted == predicted_class)]
    confidence = predictions.probabilities[mistaken, predicted_class]
    mistaken = mistaken[np.argsort(-confidence, kind="stable")][:PICTURES]
    correct = indices[(labels == predicted_class) & (predicted == predicted_class)][:PICTURES]
    if not len(mistaken):
        return None
    images = [(fine.images[index], f"{names[true_class]}, predicted as {names[predicted_class]}") for index in mistaken]
    images += [(fine.images[index], f"{names[predicted_class]}, correct") for index in correct]
    return f"{row['most_confused']} images of {row['class']} are predicted as {row['most_confused_with']}", images


def _hypothesis(row: pd.Series, differences: pd.DataFrame) -> dict[str, str]:
    """How far a class lies from its superclass, how certain this is, and a possible reason."""
    above = row["f1_difference"] > 0
    chance = ", may be chance" if row["p_adjusted"] >= SIGNIFICANCE else ""
    return {
        "class": f"{row['class']} ({row['superclass']})",
        "seen": (
            f"{row['f1']:.2f} against {row['superclass_f1']:.2f} ({signed(row['f1_difference'])}; 95% interval "
            f"{signed_interval(row['f1_low'], row['f1_high'])}{chance})"
        ),
        "suggests": _reason_above(row, differences) if above else _reason_below(row),
        "evidence": _errors_in_words(row),
        "space": _neighbour_in_words(row),
    }


def _errors_in_words(row: pd.Series) -> str:
    errors = f"{row['errors']} of {row['support']:.0f} images"
    if row["errors"] < FEW_ERRORS:
        return errors
    inside_share = row["errors_inside"] / row["errors"]
    most_confused = (
        f"{row['most_confused']} as {row['most_confused_with']}" if row["most_confused"] > 1 else "no class twice"
    )
    return f"{errors}, {inside_share:.0%} inside the superclass (even: {row['siblings_share']:.0%}); {most_confused}"


def _neighbour_in_words(row: pd.Series) -> str:
    if not row["nearest"] or np.isnan(row["siblings_ratio"]):
        return MISSING
    kind = "a sibling" if row["nearest_is_sibling"] else "no sibling"
    return f"{row['nearest']}, {kind}; mean distance to siblings: {row['siblings_ratio']:.2f} of that to other classes"


def _reason_above(row: pd.Series, differences: pd.DataFrame) -> str:
    """A possible reason, from the looks and the scores of the siblings."""
    reasons = ["It looks unlike its siblings."] if row["siblings_ratio"] >= 1 else []
    same_superclass = differences["superclass"] == row["superclass"]
    siblings = differences[same_superclass & (differences["class"] != row["class"])]
    if not siblings.empty:
        weakest = siblings.loc[siblings["f1"].idxmin()]
        if weakest["f1"] < row["superclass_f1"]:
            reasons.append(
                f"Siblings lower its superclass's score, most of all {weakest['class']} (F1 {weakest['f1']:.2f})."
            )
        else:
            reasons.append("The coarse model finds this superclass hard: all siblings score above it.")
    return " ".join(reasons)


def _reason_below(row: pd.Series) -> str:
    """A possible reason, from the share of the errors that stay inside the superclass."""
    if row["errors"] < FEW_ERRORS:
        return "Others are mistaken for it: low precision." if row["precision"] < row["recall"] else MISSING
    if row["errors_inside"] >= row["errors"] / 2:
        return "It is hard to tell from its siblings, which lowers the fine score only."
    low, _ = wilson_interval(row["errors_inside"], row["errors"])
    if low > row["siblings_share"]:
        return "It resembles its siblings and, more often, classes outside, which lowers both scores."
    return "It resembles other classes as much as its siblings, which lowers both scores."
