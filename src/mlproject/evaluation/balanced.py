"""Scores in which every class has the same weight, and the loss of each image: what a search may optimise."""

import numpy as np
from numpy.typing import NDArray

# Keras clips probabilities at the same value. It is close to the smallest step of float16 (6e-8), the type in which
# probabilities are stored, so a smaller value would only reflect rounding.
SMALLEST_PROBABILITY = 1e-7


def balanced_accuracy(labels: NDArray[np.integer], predictions: NDArray[np.integer]) -> float:
    """Compute the mean recall of the classes that have images.

    Args:
        labels: int, (images,), the true classes; at least one.
        predictions: int, (images,), the predicted classes.

    Returns:
        The mean, 0..1. Always predicting one of k classes gives 1 / k.
    """
    sizes = np.bincount(labels)
    hits = np.bincount(labels[predictions == labels], minlength=len(sizes))
    return float(np.mean(hits[sizes > 0] / sizes[sizes > 0]))


def macro_f1(labels: NDArray[np.integer], predictions: NDArray[np.integer]) -> float:
    """Compute the mean F1 of the classes that have images.

    Args:
        labels: int, (images,), the true classes; at least one.
        predictions: int, (images,), the predicted classes.

    Returns:
        The mean, 0..1; the F1 of a class without a correct prediction is 0.
    """
    hits, sizes = f1_parts(labels, predictions)
    return float(mean_f1(hits, sizes))


def f1_parts(
    labels: NDArray[np.integer], predictions: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count for each class with images what its F1 is made of.

    Args:
        labels: int, (images,), the true classes.
        predictions: int, (images,), the predicted classes.

    Returns:
        float64, (classes with images,), twice: the correct predictions, and the true plus the predicted images.
    """
    present, class_indices = np.unique(labels, return_inverse=True)
    hits = np.bincount(class_indices[predictions == labels], minlength=len(present)).astype(np.float64)
    predicted = np.bincount(predictions, minlength=int(present[-1]) + 1)[present]
    return hits, (np.bincount(class_indices) + predicted).astype(np.float64)


def mean_f1(hits: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average F1 over the last axis.

    Args:
        hits: float64, (..., classes), the correct predictions.
        sizes: float64, (..., classes), the true plus the predicted images, at least 1.

    Returns:
        float64, (...), 0..1.
    """
    return np.asarray(np.mean(2 * hits / sizes, axis=-1), dtype=np.float64)


def image_losses(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the negative log-likelihood of each image's true class.

    Args:
        labels: int, (images,), the true classes.
        probabilities: float, (images, classes); each row is divided by its sum.

    Returns:
        float64, (images,), in nats; probabilities are clipped to at least 1e-7. NaN where a probability is NaN.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    true_class_probabilities = probabilities[np.arange(len(labels)), labels] / probabilities.sum(axis=1)
    return np.asarray(-np.log(np.clip(true_class_probabilities, SMALLEST_PROBABILITY, 1.0)), dtype=np.float64)


def validation_scores(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Compute the four scores that a search may optimise, under their names in `mlproject.objectives`.

    Args:
        labels: int, (images,), the true classes.
        probabilities: float, (images, classes).

    Returns:
        `val_accuracy`, `val_balanced_accuracy` and `val_macro_f1`, 0..1, and `val_loss`, the mean negative log-likelihood in
        nats. There is no label smoothing in it, so that trials with different label smoothing can be compared.
    """
    predictions = probabilities.argmax(axis=1)
    return {
        # In float32, so that the value equals that of Keras' metric.
        "val_accuracy": float(np.float32(np.sum(predictions == labels)) / np.float32(len(labels))),
        "val_balanced_accuracy": balanced_accuracy(labels, predictions),
        "val_macro_f1": macro_f1(labels, predictions),
        "val_loss": float(image_losses(labels, probabilities).mean()),
    }


def score_standard_error(
    objective: str, labels: NDArray[np.integer], predictions: NDArray[np.integer], losses: NDArray[np.floating]
) -> float:
    """Estimate the standard error of a validation score, as far as it comes from the limited number of images.

    Args:
        objective: one of the names that `validation_scores` returns.
        labels: int, (images,), the true classes.
        predictions: int, (images,), the predicted classes.
        losses: float, (images,), the loss of each image; needed for val_loss only.

    Returns:
        The binomial standard error of an accuracy; that of the mean of independent recalls for the balanced accuracy; that of
        a mean for the loss; NaN for macro F1, which has no such formula.
    """
    if objective == "val_loss":
        return float(np.std(losses) / np.sqrt(len(losses)))
    if objective == "val_macro_f1":
        return float("nan")
    groups = np.zeros_like(labels) if objective == "val_accuracy" else np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(groups)
    recalls = np.bincount(groups[predictions == labels], minlength=len(sizes)) / sizes
    return float(np.sqrt(np.sum(recalls * (1 - recalls) / sizes)) / len(sizes))
