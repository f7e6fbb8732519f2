"""Labels and probabilities in, tables and statistics out. Pure: nothing is read, written or drawn here.

Throughout, n is the number of images, k the number of classes and s the number of superclasses. Probabilities may be of
any float type; float16, as they are kept in a run's artifacts, is widened to float64 and renormalised before use.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mlproject.errors import UserError

CONFIDENCE = 0.95
RESAMPLES = 10_000  # of a paired difference in accuracy
CLASS_RESAMPLES = 2_000  # of the scores of all classes at once, which cost more
CALIBRATION_BINS = 15  # as in Guo et al. 2017
# Keras' own epsilon, and about the smallest step of float16: below it a stored probability says nothing.
SMALLEST_PROBABILITY = 1e-7
SCORES = ("precision", "recall", "f1")


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
        metrics["test_top5_accuracy"] = float(among_likeliest(labels, probabilities, 5).mean())
    return metrics


def among_likeliest(labels: np.ndarray, probabilities: np.ndarray, most: int) -> np.ndarray:
    """Whether each image's class is among the `most` likeliest: bool (n,). Of equally likely classes the first counts first.

    labels: int (n,). probabilities: float (n, k).
    """
    return (np.argsort(-probabilities, axis=1, kind="stable")[:, :most] == labels[:, None]).any(axis=1)


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


def centroids(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Where each class lies in a feature space.

    features: float (n, ...), flattened to (n, d). labels: int (n,). classes: k.
    Gives the mean of each class, float32 (k, d), NaN for a class without images. Raises UserError if lengths don't match or a
    label is outside 0..k-1.
    """
    features = np.asarray(features, dtype=np.float32).reshape(len(features), -1)
    labels = _checked_labels("labels", labels, classes)
    _check_lengths("features", features, "labels", labels)
    means = np.full((classes, features.shape[1]), np.nan, np.float32)
    for label in np.unique(labels):
        means[label] = features[labels == label].mean(axis=0)
    return means


def averages(labels: np.ndarray, predictions: np.ndarray, classes: int) -> dict[str, float]:
    """Precision, recall and F1 over all classes: `macro_precision` ... (each class counts the same) and
    `weighted_precision` ... (each counts by its images).

    labels, predictions: int (n,). What is undefined for a class, like the precision of one never predicted, counts as 0.
    Raises UserError if lengths don't match or a label or prediction is outside 0..classes-1.
    """
    labels = _checked_labels("labels", labels, classes)
    predictions = _checked_labels("predictions", predictions, classes)
    _check_lengths("labels", labels, "predictions", predictions)
    found = {}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(
            labels, predictions, labels=np.arange(classes), average=average, zero_division=0
        )
        found |= {f"{average}_{name}": float(value) for name, value in zip(SCORES, scores[:3], strict=True)}
    return found


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> tuple[dict[str, float], pd.DataFrame]:
    """How far the probabilities can be believed: three figures, and the reliability curve.

    labels: int (n,). probabilities: float (n, k).
    Gives `ece`, the expected calibration error: the mean over the images of |accuracy - confidence| of the image's bin,
    15 bins of equal width over the confidence, which is the likeliest class's probability (Naeini et al., AAAI 2015; Guo
    et al., ICML 2017); `nll`, the mean negative log-likelihood in nats; `brier`, the mean over the images of the squared
    distance between the probabilities and the truth, 0..2 (Brier, Mon. Weather Rev. 78, 1950). And a row for each bin
    that holds images: low, high (its borders; a confidence on a border belongs to the bin below), images, confidence,
    accuracy (means). Raises UserError as `summary` does.
    """
    nll = summary(labels, probabilities)["test_loss"]
    probabilities = _renormalised(probabilities)
    rows = np.arange(len(labels))
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    borders = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.clip(np.digitize(confidence, borders, right=True) - 1, 0, CALIBRATION_BINS - 1)
    curve = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": correct})
    curve = curve.groupby("bin").agg(
        images=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )
    curve.insert(0, "low", borders[curve.index])
    curve.insert(1, "high", borders[curve.index + 1])
    ece = float(np.average((curve["accuracy"] - curve["confidence"]).abs(), weights=curve["images"]))
    # |p - y|^2 = |p|^2 - 2 p_y + 1, without a matrix of zeros and ones.
    brier = np.mean((probabilities**2).sum(axis=1) - 2 * probabilities[rows, labels] + 1)
    return {"ece": ece, "nll": nll, "brier": float(brier)}, curve.reset_index(drop=True)


def confused_pairs(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Every ordered pair of classes that was confused, the most frequent first.

    labels, predictions: int (n,). class_names: k names.
    Gives true, predicted (indices), class, taken_for (names), images (of the one taken for the other), share (of the
    true class's images). Raises UserError as `per_class` does.
    """
    classes = len(class_names)
    labels = _checked_labels("labels", labels, classes)
    predictions = _checked_labels("predictions", predictions, classes)
    _check_lengths("labels", labels, "predictions", predictions)
    confused = confusion_matrix(labels, predictions, labels=range(classes))
    support = confused.sum(axis=1)
    np.fill_diagonal(confused, 0)
    true, predicted = np.nonzero(confused)
    names = np.asarray(class_names, dtype=object)
    pairs = pd.DataFrame(
        {
            "true": true,
            "predicted": predicted,
            "class": names[true],
            "taken_for": names[predicted],
            "images": confused[true, predicted],
            "share": confused[true, predicted] / support[true],
        }
    )
    return pairs.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def paired_difference(correct_a: np.ndarray, correct_b: np.ndarray, seed: int = 0) -> dict[str, float]:
    """How much more accurate model a is than model b, both asked about the same images.

    correct_a, correct_b: bool (n,), in the same order of the images. seed: of the resampling.
    Gives `difference` (accuracy of a minus accuracy of b, -1..1); `low` and `high`, its 95 % interval by the paired
    bootstrap (percentiles of 10,000 resamples of the images; Efron and Tibshirani 1993, chapter 13); `score_low` and
    `score_high`, the same by Agresti and Min's adjusted Wald method for matched pairs (half an observation more in each
    cell of the 2 x 2 table: unlike the bootstrap it stays honest when few images or none tell the models apart;
    Stat. Med. 24 (2005) 729-740); and `p`, the exact McNemar test's two-sided p-value: the binomial test on the images
    only one of the two got right. Raises UserError if the lengths differ or are 0.
    """
    correct_a = _checked_correct("correct_a", correct_a)
    correct_b = _checked_correct("correct_b", correct_b)
    _check_lengths("correct_a", correct_a, "correct_b", correct_b)
    images = len(correct_a)
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(~correct_a & correct_b))
    low, high = _bootstrap(only_a, only_b, images, seed)
    score_low, score_high = _agresti_min(only_a, only_b, images)
    discordant = only_a + only_b
    p = stats.binomtest(only_a, discordant, 0.5).pvalue if discordant else 1.0
    return {
        "difference": (only_a - only_b) / images,
        "low": low,
        "high": high,
        "score_low": score_low,
        "score_high": score_high,
        "p": float(p),
    }


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order given: float64 (m,).

    Claims with an adjusted p below .05 are all true with probability .95 (Holm, Scand. J. Stat. 6 (1979) 65-70).
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(stepped, 1)[np.argsort(order)]


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p-values, in the order given: float64 (m,).

    Of the claims with an adjusted p below .05 no more than 5 % are expected to be false (J. R. Stat. Soc. B 57, 1995).
    """
    return stats.false_discovery_control(np.asarray(p, dtype=np.float64))


def class_differences(
    fine_labels: np.ndarray, fine_predictions: np.ndarray, coarse_predictions: np.ndarray, superclass_of: np.ndarray
) -> pd.DataFrame:
    """Scores of each fine class less those of its superclass: a row for each of the k fine classes, with intervals.

    fine_labels, fine_predictions: int (n,), a fine model's. coarse_predictions: int (n,), a coarse model's on the same
    images. superclass_of: int (k,).
    Gives for precision, recall and f1 `<score>_difference` with `<score>_low` and `<score>_high`, its 95 % interval by a
    bootstrap over the images (percentiles of 2,000 resamples, seed 0; both models are scored on the same resample, so that
    what an image does to both is accounted for); for f1 also `p`, two-sided, of the difference over its bootstrap
    standard error as a normal variable, and `p_adjusted` by Benjamini and Hochberg over the classes that have images; NaN for
    those that have none.
    Raises UserError if lengths don't match or an index is outside its range.
    """
    superclass_of = np.asarray(superclass_of, dtype=np.int64)
    classes = len(superclass_of)
    # The coarse model may know more superclasses than the fine classes have.
    superclasses = int(max(superclass_of.max(), np.max(coarse_predictions, initial=0))) + 1
    fine_labels = _checked_labels("fine_labels", fine_labels, classes)
    fine_predictions = _checked_labels("fine_predictions", fine_predictions, classes)
    coarse_predictions = _checked_labels("coarse_predictions", coarse_predictions, superclasses)
    _check_lengths("fine_labels", fine_labels, "fine_predictions", fine_predictions)
    _check_lengths("fine_labels", fine_labels, "coarse_predictions", coarse_predictions)
    # Images with the same three indices are alike: a resample is how many there are of each kind.
    answers = np.stack([fine_labels, fine_predictions, coarse_predictions])
    (truth, fine, coarse), kind = np.unique(answers, axis=1, return_inverse=True)
    fine_outcomes = _outcomes(truth, fine, classes)
    coarse_outcomes = _outcomes(superclass_of[truth], coarse, superclasses)

    def differences(draws: np.ndarray) -> np.ndarray:
        offsets = len(truth) * np.arange(len(draws))[:, None]
        counts = np.bincount((kind.ravel()[draws] + offsets).ravel(), minlength=len(truth) * len(draws))
        counts = counts.reshape(len(draws), -1)
        return _scores(counts, fine_outcomes) - _scores(counts, coarse_outcomes)[:, :, superclass_of]

    images, random = len(fine_labels), np.random.default_rng(0)
    found = differences(np.arange(images)[None])[:, 0]
    # In parts, so that the draws of all resamples are never in memory at once.
    parts = [differences(random.integers(images, size=(100, images))) for _ in range(CLASS_RESAMPLES // 100)]
    resampled = np.concatenate(parts, axis=1)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    table = {}
    for index, score in enumerate(SCORES):
        table |= {f"{score}_difference": found[index], f"{score}_low": low[index], f"{score}_high": high[index]}
    spread = resampled[2].std(axis=0, ddof=1)
    # Where no resample differs from the others nothing can be said of chance.
    z = np.divide(np.abs(found[2]), spread, out=np.zeros(classes), where=spread > 0)
    p = 2 * stats.norm.sf(z)
    seen = np.bincount(fine_labels, minlength=classes) > 0
    p_adjusted = np.full(classes, np.nan)
    p_adjusted[seen] = benjamini_hochberg(p[seen])
    return pd.DataFrame(table | {"p": p, "p_adjusted": p_adjusted})


def _outcomes(labels: np.ndarray, predictions: np.ndarray, classes: int) -> list[sparse.csr_array]:
    """Indicators (images, classes) of: hit, predicted so, truly so."""
    rows = np.arange(len(labels))
    kinds = (predictions == labels, predictions), (np.ones(len(labels)), predictions), (np.ones(len(labels)), labels)
    return [sparse.csr_array((values, (rows, columns)), (len(labels), classes)) for values, columns in kinds]


def _scores(counts: np.ndarray, outcomes: list[sparse.csr_array]) -> np.ndarray:
    """Precision, recall and F1, (3, resamples, classes), from how often each image counts, (resamples, images); 0/0 is 0."""
    hits, predicted, true = (np.asarray(counts @ outcome, dtype=np.float64) for outcome in outcomes)
    parts = (hits, predicted), (hits, true), (2 * hits, predicted + true)
    return np.stack([np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0) for part, whole in parts])


def _bootstrap(only_a: int, only_b: int, images: int, seed: int) -> tuple[float, float]:
    # An image is one of three kinds, so resampling the images is drawing how many there are of each.
    shares = np.array([only_a, only_b, images - only_a - only_b]) / images
    drawn = np.random.default_rng(seed).multinomial(images, shares, size=RESAMPLES)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / images, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


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
