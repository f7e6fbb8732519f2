"""Calibration: whether the predicted probabilities are as high as the share of correct predictions."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlproject.evaluation.checks import normalise_probabilities
from mlproject.evaluation.scores import summary

CALIBRATION_BINS = 15  # as in Guo et al., ICML 2017


def calibration(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> tuple[dict[str, float], pd.DataFrame]:
    """Compute three measures of calibration, and the reliability curve.

    An image's confidence is the probability of its most probable class. The images are sorted by confidence into 15
    bins of equal width; a confidence on the border of two bins belongs to the lower one.

    Args:
        labels: int, (images,), the true classes.
        probabilities: float, (images, classes).

    Returns:
        The measures: `ece`, the expected calibration error (0..1), the mean over the images of |accuracy - confidence|
        of the image's bin (Naeini et al., AAAI 2015; Guo et al., ICML 2017); `nll`, the mean negative log-likelihood in
        nats; `brier`, the mean over the images of the squared Euclidean distance between the probabilities and the
        one-hot label, 0..2 (Brier, Mon. Weather Rev. 78, 1950).
        The curve: one row for each bin that holds images, with the columns low and high (its borders), images (their
        number), confidence and accuracy (means over them).

    Raises:
        UserError: if the shapes do not match, a label is not a class index, or a probability is negative or not a
            number.
    """
    nll = summary(labels, probabilities)["test_loss"]
    probabilities = normalise_probabilities(probabilities)
    rows = np.arange(len(labels))
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    borders = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.clip(np.digitize(confidence, borders, right=True) - 1, 0, CALIBRATION_BINS - 1)
    curve = (
        pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": correct})
        .groupby("bin")
        .agg(images=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean"))
    )
    curve.insert(0, "low", borders[curve.index])
    curve.insert(1, "high", borders[curve.index + 1])
    ece = float(np.average((curve["accuracy"] - curve["confidence"]).abs(), weights=curve["images"]))
    # |p - y|^2 = |p|^2 - 2 p_y + 1 for a one-hot y, which saves building the matrix of one-hot labels.
    brier = np.mean((probabilities**2).sum(axis=1) - 2 * probabilities[rows, labels] + 1)
    return {"ece": ece, "nll": nll, "brier": float(brier)}, curve.reset_index(drop=True)
