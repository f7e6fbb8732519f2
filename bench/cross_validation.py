"""Measure how often intervals from cross-validation hold the accuracy that they are about, with a few hundred images.

    python bench/cross_validation.py --draws 60

Each of many drawn data sets (Gaussian classes, or groups of alike points as of one patient) is cross-validated with a
classifier of scikit-learn, which is then fitted on all points, and its accuracy on 4,000 others is the truth. The tables have
the share of the draws in which each interval holds the truth (coverage) and its mean width, both 0..1: by the kind of data, the
number of points, the classifier and the folds, and over all cases.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from mlproject.evaluation.cross_validated import cross_validated_interval, nadeau_bengio_error

Points = tuple[np.ndarray, np.ndarray, np.ndarray]  # features, labels and groups
Row = tuple[str, bool, float]
OTHERS = 4000
CLASSIFIERS = {"logistic": LogisticRegression(max_iter=100), "3 neighbours": KNeighborsClassifier(3)}
# Features, distance of the classes, and points in a group.
DATA = {"easy": (10, 2.5, 1), "hard": (10, 1.5, 1), "many features": (100, 3.0, 1), "groups of 5": (10, 2.5, 5)}


def draw(features: int, distance: float, group_size: int, random: np.random.Generator, points: int) -> Points:
    """Points of three classes. Those of a group are of one class and share half of their variance."""
    groups = np.arange(points) // group_size
    labels = random.integers(3, size=groups[-1] + 1)[groups]
    centres = np.zeros((3, features))
    centres[:, :3] = distance * np.eye(3)
    own, shared = random.normal(size=(points, features)), random.normal(size=(groups[-1] + 1, features))[groups]
    noise = own if group_size == 1 else np.sqrt(0.5) * (own + shared)
    return centres[labels] + noise, labels, groups


def intervals(correct: np.ndarray, folds: np.ndarray) -> dict[str, tuple[float, float]]:
    """The interval of each method: bool correct and int folds, both (repeats, points)."""
    accuracy, (repeats, points) = float(correct.mean()), correct.shape
    count = int(folds.max()) + 1
    scores = [correct[repeat][folds[repeat] == fold].mean() for repeat in range(repeats) for fold in range(count)]
    half = stats.t.ppf(0.975, len(scores) - 1) * nadeau_bengio_error(scores, 1 / (count - 1))
    wilson = stats.binomtest(round(accuracy * points), points).proportion_ci(method="wilson")
    return {
        "images (Wilson)": (wilson.low, wilson.high),
        "folds (Nadeau, Bengio)": (max(accuracy - half, 0), min(accuracy + half, 1)),
        "the wider one": cross_validated_interval(correct, folds),
    }


def one_draw(make: Callable[..., Points], points: int, kind: str, count: int, repeats: int, seed: int) -> list[Row]:
    """One data set: for each method whether its interval holds the truth, and its width."""
    random, splitter = np.random.default_rng(seed), StratifiedKFold
    features, labels, groups = make(random, points)
    if len(np.unique(groups)) < points:
        splitter = StratifiedGroupKFold
    correct, folds = np.zeros((repeats, points), bool), np.zeros((repeats, points), int)
    for repeat in range(repeats):
        split = splitter(count, shuffle=True, random_state=10 * seed + repeat).split(features, labels, groups)
        for fold, (train, held_out) in enumerate(split):
            fitted = clone(CLASSIFIERS[kind]).fit(features[train], labels[train])
            correct[repeat, held_out] = fitted.predict(features[held_out]) == labels[held_out]
            folds[repeat, held_out] = fold
    others, truth, _ = make(random, OTHERS)
    accuracy = clone(CLASSIFIERS[kind]).fit(features, labels).score(others, truth)
    return [(name, low <= accuracy <= high, high - low) for name, (low, high) in intervals(correct, folds).items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=60)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    designs = product(DATA.items(), (100, 300), CLASSIFIERS, ((5, 1), (10, 1), (5, 2)))
    for (name, described), points, kind, (count, repeats) in designs:
        make = partial(draw, *described)
        for seed in range(options.draws):
            given = (name, points, kind, f"{count} folds x {repeats}")
            rows += [(*given, *row) for row in one_draw(make, points, kind, count, repeats, seed)]
    table = pd.DataFrame(rows, columns=["data", "points", "classifier", "design", "method", "coverage", "width"])
    for by in ("data", "points", "classifier", "design"):
        print(table.groupby(["method", by])[["coverage", "width"]].mean().unstack("method").round(3).to_string(), "\n")
    print(table.groupby("method")[["coverage", "width"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
