"""Two models compared on the same images by any score: a paired permutation test."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mlproject.errors import UserError
from mlproject.evaluation.balanced import f1_parts, mean_f1
from mlproject.evaluation.checks import check_same_length

PERMUTATIONS = 9_999  # With 2,000 no p-value could stay below .05 after Holm's adjustment for more than 100 trials.
PERMUTATIONS_AT_ONCE = 250  # bounds the memory, because a permutation takes 8 bytes for each image
ROUNDING = 1e-12  # Differences that are equal in theory may differ by this much.

# From exchanges, float64 (permutations, differing images) of 0 and 1, to the difference of the scores, (permutations,).
Difference = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def permutation_test(
    objective: str, labels: NDArray[np.integer], outputs_a: NDArray[Any], outputs_b: NDArray[Any]
) -> float:
    """Test whether two models differ in a score, by exchanging their outputs image by image.

    If the models were equally good, it would not matter which of them made which output of an image. So the outputs of each
    image are exchanged at random (9,999 times, seed 0), and the difference of the scores is computed again. Sources: Noreen,
    Computer-Intensive Methods for Testing Hypotheses (1989); Yeh, COLING 2000, 947-953, for F1.

    Args:
        objective: "val_balanced_accuracy", "val_macro_f1" or "val_loss".
        labels: int, (images,), the true classes.
        outputs_a: of one model, (images,): the predicted classes, int; for val_loss the loss of each image, float.
        outputs_b: the same of the other model, with the images in the same order.

    Returns:
        The two-sided p-value (b + 1) / (n + 1), where b of n permutations have a difference at least as large.

    Raises:
        UserError: if the objective is another one, or the lengths differ.
    """
    check_same_length("outputs_a", outputs_a, "labels", labels)
    check_same_length("outputs_b", outputs_b, "labels", labels)
    differing = np.flatnonzero(outputs_a != outputs_b)
    if objective == "val_macro_f1":
        difference = _macro_f1_difference(labels, outputs_a, outputs_b, differing)
    elif objective == "val_balanced_accuracy":
        weights = 1 / (np.bincount(labels)[labels] * len(np.unique(labels)))
        gains = weights * ((outputs_a == labels).astype(np.float64) - (outputs_b == labels))
        difference = _difference_of_sums(gains[differing])
    elif objective == "val_loss":
        losses_a, losses_b = (np.asarray(outputs, np.float64)[differing] for outputs in (outputs_a, outputs_b))
        difference = _difference_of_sums((losses_a - losses_b) / len(labels))
    else:
        raise UserError(f"objective={objective!r}; accepted: val_balanced_accuracy, val_macro_f1, val_loss")
    observed = abs(difference(np.zeros((1, len(differing))))[0])
    rng, at_least_as_large = np.random.default_rng(0), 0
    for start in range(0, PERMUTATIONS, PERMUTATIONS_AT_ONCE):
        size = (min(PERMUTATIONS_AT_ONCE, PERMUTATIONS - start), len(differing))
        exchanged = rng.integers(2, size=size, dtype=np.uint8).astype(np.float64)
        at_least_as_large += int(np.sum(np.abs(difference(exchanged)) >= observed - ROUNDING))
    return (at_least_as_large + 1) / (PERMUTATIONS + 1)


def _difference_of_sums(terms: NDArray[np.float64]) -> Difference:
    """The difference of two scores that are sums over images, from the differences of the terms: an exchange negates one."""
    return lambda exchanged: terms.sum() - 2 * exchanged @ terms


def _macro_f1_difference(
    labels: NDArray[np.integer],
    predictions_a: NDArray[np.integer],
    predictions_b: NDArray[np.integer],
    differing: NDArray[np.intp],
) -> Difference:
    """The difference of two macro F1, from what the F1 of each class is made of."""
    classes = np.unique(labels)
    (hits_a, sizes_a), (hits_b, sizes_b) = (
        f1_parts(labels, predictions) for predictions in (predictions_a, predictions_b)
    )
    truth, a, b = (values[differing] for values in (labels, predictions_a, predictions_b))
    # What each exchange adds to the counts of model a, and takes away from those of model b.
    new_hits = _indicator(truth, b == truth, classes) - _indicator(truth, a == truth, classes)
    new_sizes = _indicator(b, np.isin(b, classes), classes) - _indicator(a, np.isin(a, classes), classes)

    def difference(exchanged: NDArray[np.float64]) -> NDArray[np.float64]:
        hits, sizes = exchanged @ new_hits, exchanged @ new_sizes
        return mean_f1(hits_a + hits, sizes_a + sizes) - mean_f1(hits_b - hits, sizes_b - sizes)

    return difference


def _indicator(
    values: NDArray[np.integer], counted: NDArray[np.bool_], classes: NDArray[np.integer]
) -> sparse.csr_array:
    """A matrix (images, classes) with 1 where an image counts and its value is the class."""
    rows = np.flatnonzero(counted)
    columns = np.searchsorted(classes, values[rows])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), (len(values), len(classes)))
