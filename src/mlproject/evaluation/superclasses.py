"""Fine becomes coarse: predictions of fine classes are turned into predictions of their superclasses.

There are two rules. By argmax, the superclass of the most probable class is predicted. By sum, the probabilities of all
classes of a superclass are added, so that many improbable classes together can outweigh the most probable one.
"""

import numpy as np
from numpy.typing import NDArray

from mlproject.evaluation.checks import check_superclass_of, normalise_probabilities


def aggregate_by_argmax(probabilities: NDArray[np.floating], superclass_of: NDArray[np.integer]) -> NDArray[np.int64]:
    """Predict for each image the superclass of its most probable class.

    Args:
        probabilities: float, (images, classes).
        superclass_of: int, (classes,), for each class the index of its superclass.

    Returns:
        int64, (images,), the indices of the predicted superclasses.

    Raises:
        UserError: if the two arguments have different numbers of classes, or a probability is negative or not a number.
    """
    probabilities = normalise_probabilities(probabilities)
    superclass_of = check_superclass_of(superclass_of, probabilities.shape[1])
    return np.asarray(superclass_of[probabilities.argmax(axis=1)], dtype=np.int64)


def aggregate_by_sum(probabilities: NDArray[np.floating], superclass_of: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sum for each image the probabilities of the classes of each superclass.

    Args:
        probabilities: float, (images, classes).
        superclass_of: int, (classes,), for each class the index of its superclass.

    Returns:
        float64, (images, superclasses), the probabilities of the superclasses; each row sums to 1.

    Raises:
        UserError: if the two arguments have different numbers of classes, or a probability is negative or not a number.
    """
    probabilities = normalise_probabilities(probabilities)
    superclass_of = check_superclass_of(superclass_of, probabilities.shape[1])
    membership = np.eye(superclass_of.max() + 1)[superclass_of]
    return np.asarray(probabilities @ membership, dtype=np.float64)
