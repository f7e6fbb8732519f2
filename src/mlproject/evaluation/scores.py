"""How well a model predicts: accuracy, loss, and precision, recall and F1 by class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mlproject.evaluation.balanced import balanced_accuracy, image_losses, macro_f1
from mlproject.evaluation.checks import check_correct, check_labels, check_same_length, normalise_probabilities

CONFIDENCE = 0.95  # the level of all intervals
SCORES = ("precision", "recall", "f1")


def summary(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Compute accuracies, macro F1 and loss on the test set, under the names of the metrics that are logged.

    Args:
        labels: int, (images,), the true classes.
        probabilities: float, (images, classes).

    Returns:
        `test_accuracy`, `test_balanced_accuracy` (the mean recall) and `test_macro_f1`, all 0..1, the latter two over the
        classes that have test images; `test_loss`, the mean negative log-likelihood in nats, where each probability is clipped
        to at least 1e-7; and, for more than 5 classes, `test_top5_accuracy` (0..1).

    Raises:
        UserError: if the shapes do not match, a label is not a class index, or a probability is negative or not a
            number.
    """
    probabilities = normalise_probabilities(probabilities)
    classes = probabilities.shape[1]
    labels = check_labels("labels", labels, classes)
    check_same_length("labels", labels, "probabilities", probabilities)
    predictions = probabilities.argmax(axis=1)
    metrics = {
        "test_accuracy": float(np.mean(predictions == labels)),
        "test_balanced_accuracy": balanced_accuracy(labels, predictions),
        "test_macro_f1": macro_f1(labels, predictions),
        "test_loss": float(image_losses(labels, probabilities).mean()),
    }
    if classes > 5:
        metrics["test_top5_accuracy"] = float(in_top_k(labels, probabilities, 5).mean())
    return metrics


def in_top_k(labels: NDArray[np.integer], probabilities: NDArray[np.floating], k: int) -> NDArray[np.bool_]:
    """Tell for each image whether its true class is among the `k` most probable classes.

    Among equally probable classes the one with the lower index ranks higher.

    Args:
        labels: int, (images,), the true classes.
        probabilities: float, (images, classes).
        k: how many of the most probable classes count.

    Returns:
        bool, (images,).
    """
    most_probable = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return np.asarray((most_probable == labels[:, None]).any(axis=1), dtype=np.bool_)


def accuracy_interval(correct: NDArray[np.bool_]) -> tuple[float, float]:
    """Compute the 95 % confidence interval of an accuracy by Wilson's score method.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, as implemented in SciPy.

    Args:
        correct: bool, (images,), whether each prediction is correct.

    Returns:
        The interval's ends (low, high), 0..1.

    Raises:
        UserError: if there are no images or the values are not of type bool.
    """
    correct = check_correct("correct", correct)
    return wilson_interval(int(correct.sum()), len(correct))


def wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the share hits / images by Wilson's score method, as SciPy implements it.

    Args:
        hits: 0 to images.
        images: at least 1.

    Returns:
        The interval's ends (low, high), 0..1.
    """
    interval = stats.binomtest(hits, images).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _wilson_intervals(
    hits: NDArray[np.integer], images: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's interval of each share hits / images; NaN where there are no images."""
    ends = np.full((2, len(hits)), np.nan)
    for index in np.flatnonzero(images):
        ends[:, index] = wilson_interval(int(hits[index]), int(images[index]))
    return ends[0], ends[1]


def per_class(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    class_names: Sequence[str],
    superclasses: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compute precision, recall with an interval, F1 and support of every class.

    Args:
        labels: int, (images,), the true classes.
        predictions: int, (images,), the predicted classes.
        class_names: one name for each class.
        superclasses: for each class the name of its superclass, or None if the classes have none.

    Returns:
        One row for each class, in the order of the class indices, with the columns class, superclass ("" if the classes
        have none), precision, recall, f1 (0..1; the undefined precision of a class that is never predicted is 0), support
        (number of images whose true class it is), and recall_low and recall_high, the 95 % Wilson interval of the recall. A
        class without images has no scores: they are NaN.

    Raises:
        UserError: if lengths do not match or a label or prediction is not a class index.
    """
    classes = len(class_names)
    labels, predictions = _check_pairs(labels, predictions, classes)
    superclasses = [""] * classes if superclasses is None else list(superclasses)
    check_same_length("superclasses", superclasses, "class_names", class_names)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=0
    )
    low, high = _wilson_intervals(np.bincount(labels[predictions == labels], minlength=classes), support)
    table = pd.DataFrame(
        {
            "class": list(class_names),
            "superclass": superclasses,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "support": support,
            "recall_low": low,
            "recall_high": high,
        }
    )
    table.loc[support == 0, list(SCORES)] = np.nan
    return table


def averages(labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int) -> dict[str, float]:
    """Average precision, recall and F1 over the classes that have images.

    Args:
        labels: int, (images,), the true classes.
        predictions: int, (images,), the predicted classes.
        classes: the number of classes.

    Returns:
        `macro_precision`, `macro_recall` and `macro_f1`, in which every class has the same weight, and
        `weighted_precision`, `weighted_recall` and `weighted_f1`, in which the number of a class's images is its
        weight. All are 0..1. The undefined precision of a class that is never predicted counts as 0.

    Raises:
        UserError: if lengths do not match or a label or prediction is not a class index.
    """
    labels, predictions = _check_pairs(labels, predictions, classes)
    averaged: dict[str, float] = {}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(
            labels, predictions, labels=np.unique(labels), average=average, zero_division=0
        )
        averaged |= {f"{average}_{name}": float(value) for name, value in zip(SCORES, scores[:3], strict=True)}
    return averaged


def confused_pairs(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], class_names: Sequence[str]
) -> pd.DataFrame:
    """List every ordered pair of classes that the model confuses, the most frequent confusion first.

    Args:
        labels: int, (images,), the true classes.
        predictions: int, (images,), the predicted classes.
        class_names: one name for each class.

    Returns:
        One row for each pair, with the columns true and predicted (class indices), class and taken_for (their names),
        images (how many of class `true` are predicted to be `predicted`) and share (0..1, of the images of class
        `true`).

    Raises:
        UserError: if lengths do not match or a label or prediction is not a class index.
    """
    classes = len(class_names)
    labels, predictions = _check_pairs(labels, predictions, classes)
    counts = confusion_matrix(labels, predictions, labels=range(classes))
    support = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    true, predicted = np.nonzero(counts)
    names = np.asarray(class_names, dtype=object)
    pairs = pd.DataFrame(
        {
            "true": true,
            "predicted": predicted,
            "class": names[true],
            "taken_for": names[predicted],
            "images": counts[true, predicted],
            "share": counts[true, predicted] / support[true],
        }
    )
    return pairs.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def _check_pairs(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Check that both hold a class index for each image; returns them as arrays."""
    labels = check_labels("labels", labels, classes)
    predictions = check_labels("predictions", predictions, classes)
    check_same_length("labels", labels, "predictions", predictions)
    return labels, predictions
