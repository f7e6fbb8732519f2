"""Each fine class compared with its superclass: how large the differences are, and how certain. Pure."""

import warnings

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.coarse_fine_pair import CoarseFinePair
from mlproject.report.content import F1, Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import MISSING, count, or_dash, p_value, signed, signed_interval, two_decimals

STAND_OUTS = 5  # classes in each direction that are described in sentences
SIGNIFICANCE = 0.05  # the share of false discoveries


def _most_confused(name: str, images: int) -> str:
    return f"{name} ({images})" if name else MISSING


COLUMNS = (
    text_column("fine class", "class"),
    text_column("superclass"),
    Column("F1 difference", "f1_difference", signed),
    Column("95% interval", ("f1_low", "f1_high"), signed_interval),
    Column("p, BH-adjusted", "p_adjusted", p_value),
    Column("F1", "f1", two_decimals),
    Column("superclass F1", "superclass_f1", two_decimals),
    Column("precision", "precision", two_decimals),
    Column("superclass precision", "superclass_precision", two_decimals),
    Column("recall", "recall", two_decimals),
    Column("superclass recall", "superclass_recall", two_decimals),
    Column("images", "support", count),
    Column("errors", "errors", count),
    Column("errors inside superclass", "errors_inside", count),
    Column("most often predicted as", ("most_confused_with", "most_confused"), _most_confused, number=False),
    Column("nearest in feature space", "nearest", or_dash, number=False),
    Column("sibling distance ratio", "siblings_ratio", two_decimals),
)
NOTE = (
    "F1 difference: of the fine class (fine model) minus its superclass (coarse model). Interval: bootstrap over the test images "
    "(2,000 resamples). p: from the bootstrap's standard error. Siblings: the other classes of the superclass; their distance "
    "ratio is their mean distance divided by that of all other classes, between mean features."
)


def class_differences(pair: CoarseFinePair) -> pd.DataFrame:
    """Compare each fine class with its superclass.

    Args:
        pair: the coarse and the fine model.

    Returns:
        A row for each fine class that has test images, the largest difference in F1 first: its scores (precision,
        recall, f1), those of its superclass (superclass_...), support, the differences with their intervals as
        `evaluation.class_differences` gives them, where its errors go, and its neighbours in the feature space.
    """
    scores = list(evaluation.SCORES)
    fine, coarse = pair.fine, pair.coarse
    superclass = coarse.table.iloc[pair.superclass_of].reset_index(drop=True)
    frame = fine.table[["class", "superclass", *scores, "support"]].copy()
    frame[[f"superclass_{score}" for score in scores]] = superclass[scores]
    differences = evaluation.class_differences(
        fine.predictions.labels, fine.predictions.predicted, coarse.predictions.predicted, pair.superclass_of
    )
    frame = pd.concat([frame, differences, _errors(pair), _neighbours(pair)], axis=1)
    frame = frame[frame["support"] > 0]  # without test images nothing is known about a class
    return frame.sort_values("f1_difference", ascending=False, kind="stable", ignore_index=True)


def stand_outs(differences: pd.DataFrame) -> pd.DataFrame:
    """The classes with the largest differences.

    Args:
        differences: as `class_differences` gives them.

    Returns:
        The rows of the `STAND_OUTS` classes furthest above their superclass, then of those furthest below.
    """
    above, below = differences[differences["f1_difference"] > 0], differences[differences["f1_difference"] < 0]
    return pd.concat([above.head(STAND_OUTS), below.tail(STAND_OUTS)[::-1]])


def section(context: ReportContext, differences: pd.DataFrame) -> Section:
    """How far the classes lie above and below their superclasses.

    Args:
        context: the comparison.
        differences: as `class_differences` gives them.

    Returns:
        The section.
    """
    above, below = differences[differences["f1_difference"] > 0], differences[differences["f1_difference"] < 0]
    verb = "has" if len(above) == 1 else "have"
    overall = (
        f"Of {len(differences)} fine classes, {len(above)} {verb} a higher F1 than their superclass "
        f"({(above['p_adjusted'] < SIGNIFICANCE).sum()} beyond chance) and {len(below)} a lower one "
        f"({(below['p_adjusted'] < SIGNIFICANCE).sum()} beyond chance). The median difference is "
        f"{signed(differences['f1_difference'].median())}. A lower F1 is to be expected, because the model of fine labels has "
        f"more classes to choose from. Of the claims beyond chance, at most about {SIGNIFICANCE:.0%} are false on average "
        "(Benjamini and Hochberg's adjustment, BH)."
    )
    title = "Fine classes and their superclasses, by difference in F1"
    table = Table(context.file_name("classes"), title, differences, COLUMNS, NOTE)
    charts = [_panel_chart(context, differences)]
    return Section("Each fine class compared with its superclass", [F1, overall], charts, [table])


def _panel_chart(context: ReportContext, differences: pd.DataFrame) -> Chart:
    extremes = "; ".join(
        f"{row['class']} {row['f1']:.2f} against {row['superclass']} {row['superclass_f1']:.2f}"
        for _, row in stand_outs(differences).iterrows()
    )
    return Chart(
        context.file_name("superclasses"),
        figures.superclass_panels(differences, context.title),
        f"F1 of the classes of each superclass, compared with the F1 of the superclass: {extremes}",
        "Points: F1 of the fine class, by the model of fine labels. Lines: F1 of the superclass, by the model of coarse labels. "
        "Bars: 95% intervals of the difference, each class by itself.",
    )


def _errors(pair: CoarseFinePair) -> pd.DataFrame:
    """Where the errors on each fine class go.

    errors counts its misclassified images, errors_inside those that stay in its superclass, and siblings_share is the
    share that would stay there if the errors were spread evenly over all other classes. most_confused images were
    predicted as most_confused_with.
    """
    predictions, classes = pair.fine.predictions, len(pair.superclass_of)
    confused = confusion_matrix(predictions.labels, predictions.predicted, labels=range(classes))
    np.fill_diagonal(confused, 0)
    siblings = pair.superclass_of[:, None] == pair.superclass_of[None, :]
    names = np.asarray(pair.fine.class_names, dtype=object)
    errors = pd.DataFrame(
        {
            "errors": confused.sum(axis=1),
            "errors_inside": (confused * siblings).sum(axis=1),
            "siblings_share": (siblings.sum(axis=1) - 1) / (classes - 1),
            "most_confused_with": names[confused.argmax(axis=1)],
            "most_confused": confused.max(axis=1),
        }
    )
    errors.loc[errors["errors"] == 0, "most_confused_with"] = ""
    return errors


def _neighbours(pair: CoarseFinePair) -> pd.DataFrame:
    """Where each fine class lies in the fine model's feature space, by the mean features of the classes.

    nearest is the closest class, nearest_is_sibling whether it has the same superclass, and siblings_ratio the mean
    distance to the siblings divided by the mean distance to all other classes. "" or NaN where this is not known.
    """
    superclass_of, centroids = pair.superclass_of, pair.fine.centroids
    classes = len(superclass_of)
    if centroids is None or len(centroids) != classes or classes < 2:
        return pd.DataFrame(
            {"nearest": "", "nearest_is_sibling": False, "siblings_ratio": np.nan}, index=range(classes)
        )
    centroids = centroids.astype(np.float64)
    distances = np.linalg.norm(centroids[:, None] - centroids[None, :], axis=2)
    np.fill_diagonal(distances, np.nan)  # a class without test images has NaN everywhere
    siblings = superclass_of[:, None] == superclass_of[None, :]
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # the mean of no distance is NaN
        to_siblings = np.nanmean(np.where(siblings, distances, np.nan), axis=1)
        ratio = to_siblings / np.nanmean(np.where(siblings, np.nan, distances), axis=1)
    nearest = np.nan_to_num(distances, nan=np.inf).argmin(axis=1)
    names = np.asarray(pair.fine.class_names, dtype=object)
    is_sibling = superclass_of[nearest] == superclass_of
    return pd.DataFrame({"nearest": names[nearest], "nearest_is_sibling": is_sibling, "siblings_ratio": ratio})
