"""Labels and probabilities in, tables and statistics out. Pure: nothing is read, written or drawn here.

Throughout, n is the number of images, k the number of classes and s the number of superclasses. Probabilities may be of
any float type; float16, as they are kept in a run's artifacts, is widened to float64 and renormalised before use.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from mlproject.errors import UserError

CONFIDENCE = 0.95
# Keras' own epsilon, and about the smallest step of float16: below it a stored probability says nothing.
SMALLEST_PROBABILITY = 1e-7


def summary(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy and loss on the test set, under the names they are logged by.

    labels: int (n,). probabilities: float (n, k).
    Gives `test_accuracy` and `test_loss` (mean negative log-likelihood in nats, each probability clipped to at least
    1e-7), and for k > 5 also `test_top5_accuracy`.
    Raises UserError if shapes don't match, a label is outside 0..k-1 or a probability is negative or not a number.
    """
    probabilities = _renormalised(probabilities)
    classes = probabilities.shape[1]
    labels = _checked_labels("labels", labels, classes)
    _check_lengths("labels", labels, "probabilities", probabilities)
    of_the_truth = probabilities[np.arange(len(labels)), labels]
    metrics = {
        "test_accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "test_loss": float(-np.log(np.clip(of_the_truth, SMALLEST_PROBABILITY, 1.0)).mean()),
    }
    if classes > 5:
        top5 = top_k_accuracy_score(labels, probabilities, k=5, labels=np.arange(classes))
        metrics["test_top5_accuracy"] = float(top5)
    return metrics


def interval(correct: np.ndarray) -> tuple[float, float]:
    """The 95 % interval (low, high) of an accuracy, by Wilson's score method.

    correct: bool (n,), one entry per image.
    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, as in SciPy. Raises UserError if there are no images.
    """
    correct = _checked_correct("correct", correct)
    accuracy = stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(CONFIDENCE, method="wilson")
    return float(accuracy.low), float(accuracy.high)


def per_class(
    labels: np.ndarray,
    predictions: np.ndarray,
    class_names: Sequence[str],
    superclasses: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Precision, recall, F1 and support of every class, in the order of the class indices.

    labels, predictions: int (n,). class_names: k names. superclasses: for each of the k classes its superclass's name,
    or None where there are none.
    Gives the columns class, superclass ("" where none), precision, recall, f1 (0..1), support (images of the class).
    What is undefined, like the precision of a class never predicted, is 0.
    Raises UserError if lengths don't match or a label or prediction is outside 0..k-1.
    """
    classes = len(class_names)
    labels = _checked_labels("labels", labels, classes)
    predictions = _checked_labels("predictions", predictions, classes)
    _check_lengths("labels", labels, "predictions", predictions)
    superclasses = [""] * classes if superclasses is None else list(superclasses)
    _check_lengths("superclasses", superclasses, "class_names", class_names)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=0
    )
    return pd.DataFrame(
        {
            "class": list(class_names),
            "superclass": superclasses,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "support": support,
        }
    )


def generalise_argmax(probabilities: np.ndarray, superclass_of: np.ndarray) -> np.ndarray:
    """The superclass of the likeliest class: int64 (n,).

    probabilities: float (n, k). superclass_of: int (k,), for each class the index of its superclass.
    Raises UserError if the two disagree about k.
    """
    probabilities = _renormalised(probabilities)
    return _checked_superclasses(superclass_of, probabilities)[probabilities.argmax(axis=1)]


def generalise_sum(probabilities: np.ndarray, superclass_of: np.ndarray) -> np.ndarray:
    """The probabilities of the superclasses: float64 (n, s), each the sum over its classes; rows sum to 1.

    probabilities: float (n, k). superclass_of: int (k,), for each class the index of its superclass.
    Raises UserError if the two disagree about k.
    """
    probabilities = _renormalised(probabilities)
    superclass_of = _checked_superclasses(superclass_of, probabilities)
    membership = np.eye(superclass_of.max() + 1)[superclass_of]
    return probabilities @ membership


def centroids(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each class lies in a feature space, and how far its images scatter around that place.

    features: float (n, ...), flattened to (n, d). labels: int (n,). classes: k.
    Gives the mean of each class, float32 (k, d), and the root mean squared Euclidean distance of its images from that mean,
    float32 (k,); both are NaN for a class without images. Raises UserError if lengths don't match or a label is outside 0..k-1.
    """
    features = np.asarray(features, dtype=np.float32).reshape(len(features), -1)
    labels = _checked_labels("labels", labels, classes)
    _check_lengths("features", features, "labels", labels)
    means = np.full((classes, features.shape[1]), np.nan, np.float32)
    spread = np.full(classes, np.nan, np.float32)
    for label in np.unique(labels):
        mine = features[labels == label]
        means[label] = mine.mean(axis=0)
        spread[label] = np.sqrt(np.mean(np.sum((mine - means[label]) ** 2, axis=1)))
    return means, spread


def paired_difference(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, float]:
    """How much more accurate model a is than model b, both asked about the same images.

    correct_a, correct_b: bool (n,), in the same order of the images.
    Gives `difference` (accuracy of a minus accuracy of b, -1..1); `low` and `high`, its 95 % interval by Agresti and
    Min's adjusted Wald method for matched pairs (half an observation more in each cell of the 2 x 2 table: unlike the
    plain one it stays honest when few images or none tell the models apart; Stat. Med. 24 (2005) 729-740); and `p`, the
    exact McNemar test's two-sided p-value: the binomial test on the images only one of the two got right.
    Raises UserError if the lengths differ or are 0.
    """
    correct_a = _checked_correct("correct_a", correct_a)
    correct_b = _checked_correct("correct_b", correct_b)
    _check_lengths("correct_a", correct_a, "correct_b", correct_b)
    images = len(correct_a)
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(~correct_a & correct_b))
    low, high = _agresti_min(only_a, only_b, images)
    discordant = only_a + only_b
    p = stats.binomtest(only_a, discordant, 0.5).pvalue if discordant else 1.0
    return {"difference": (only_a - only_b) / images, "low": low, "high": high, "p": float(p)}


def _agresti_min(only_a: int, only_b: int, images: int) -> tuple[float, float]:
    only_a, only_b, images = only_a + 0.5, only_b + 0.5, images + 2
    centre = (only_a - only_b) / images
    spread = np.sqrt(only_a + only_b - (only_a - only_b) ** 2 / images) / images
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * spread
    return float(max(centre - half, -1)), float(min(centre + half, 1))


def _renormalised(probabilities: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.size == 0:
        raise UserError(f"probabilities: shape {probabilities.shape}; accepted is (images, classes), neither of them 0")
    totals = probabilities.sum(axis=1, keepdims=True)
    if not (np.isfinite(totals).all() and (probabilities >= 0).all() and (totals > 0).all()):
        raise UserError("probabilities: a row is negative, all zero or not a number; accepted are finite shares of 1")
    return probabilities / totals


def _checked_labels(name: str, labels: np.ndarray, classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{name}: {labels.dtype} of shape {labels.shape}; accepted is one integer for each image")
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise UserError(f"{name}: {outside[0]}; accepted are class indices 0 to {classes - 1}")
    return labels


def _checked_superclasses(superclass_of: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    superclass_of = np.asarray(superclass_of, dtype=np.int64)
    classes = probabilities.shape[1]
    if superclass_of.shape != (classes,) or superclass_of.min() < 0:
        raise UserError(
            f"superclass_of: shape {superclass_of.shape}; accepted is one index for each of {classes} classes"
        )
    return superclass_of


def _checked_correct(name: str, correct: np.ndarray) -> np.ndarray:
    correct = np.asarray(correct)
    if correct.dtype != bool or correct.ndim != 1 or len(correct) == 0:
        raise UserError(f"{name}: {correct.dtype} of shape {correct.shape}; accepted is one bool for each image")
    return correct


def _check_lengths(name_a: str, a: Sequence, name_b: str, b: Sequence) -> None:
    if len(a) != len(b):
        raise UserError(f"{name_a}: {len(a)} of them for {len(b)} {name_b}; accepted are equally many")
