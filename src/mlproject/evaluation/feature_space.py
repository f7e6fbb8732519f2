"""Where the classes lie in a network's feature space."""

import numpy as np
from numpy.typing import NDArray

from mlproject.evaluation.checks import check_labels, check_same_length


def centroids(features: NDArray[np.floating], labels: NDArray[np.integer], classes: int) -> NDArray[np.float32]:
    """Compute the mean feature vector of each class.

    Args:
        features: float, (images, ...); the axes after the first are flattened into one.
        labels: int, (images,), the true classes.
        classes: the number of classes.

    Returns:
        float32, (classes, features); the row of a class without images is NaN.

    Raises:
        UserError: if lengths do not match or a label is not a class index.
    """
    features = np.asarray(features, dtype=np.float32).reshape(len(features), -1)
    labels = check_labels("labels", labels, classes)
    check_same_length("features", features, "labels", labels)
    means = np.full((classes, features.shape[1]), np.nan, np.float32)
    for label in np.unique(labels):
        means[label] = features[labels == label].mean(axis=0)
    return means
