"""The cross-validated accuracy of the models that have one, beside their test accuracy. Pure."""

from typing import Any

import numpy as np
import pandas as pd

from mlproject.report.content import Column
from mlproject.report.formats import count, interval, percent
from mlproject.report.models import ReportedModel

METRICS = {
    "cv_accuracy": "cv_accuracy",
    "cv_balanced_accuracy": "cv_balanced_accuracy",
    "cv_low": "cv_accuracy_low",
    "cv_high": "cv_accuracy_high",
    "cv_images": "cv_images",
}
FIELDS = (*METRICS, "cv_chosen")
COLUMNS = (
    Column("cross-validated accuracy", "cv_accuracy", percent),
    Column("its 95% interval", ("cv_low", "cv_high"), interval),
    Column("its images", "cv_images", count),
)
NOTE = (
    " The cross-validated accuracy is that of as many fits as there are folds, each as long as the fit of the model, on the "
    "training images that they did not train on. Its interval covers the sampling error of these images and, roughly, that of "
    "the training images."
)
FEW_IMAGES = 1000  # test images: a 95 % interval of an accuracy of .9 on so many reaches 1.9 points to each side


def fields(model: ReportedModel) -> dict[str, Any]:
    """The cross-validated figures of a model.

    Args:
        model: the model.

    Returns:
        `FIELDS`: accuracies and ends of the interval (0..1), the number of images, and whether a search on the same folds chose
        the values (True, False, or NaN if that is not known). All NaN where the model was not cross-validated.
    """
    if "cv_accuracy" not in model.metrics:
        return dict.fromkeys(FIELDS, np.nan)
    values: dict[str, Any] = {name: model.metrics.get(metric, np.nan) for name, metric in METRICS.items()}
    search = model.search
    if search is None or search.ranked_trials.empty:
        return values | {"cv_chosen": np.nan}
    return values | {"cv_chosen": bool(search.refitted_trial["trial"] != search.trials["trial"].iloc[0])}


def findings(measured: pd.DataFrame) -> list[str]:
    """A sentence or more for each cross-validated model: how accurate it is, by how many images, and what to trust.

    Args:
        measured: a row for each model with model, images (of the test) and `FIELDS`.

    Returns:
        The sentences, together for each model.
    """
    return [_finding(row) for row in measured.to_dict("records") if not pd.isna(row["cv_accuracy"])]


def _finding(row: dict[Any, Any]) -> str:
    test_images, images = row["images"], row["cv_images"]
    text = (
        f"In cross-validation, {row['model']} classifies {percent(row['cv_accuracy'])} of {count(images)} training images "
        f"correctly, each by a fit that did not train on it (95% interval {interval(row['cv_low'], row['cv_high'])})"
    )
    if not pd.isna(test_images):
        text += f"; the test accuracy rests on {count(test_images)} images"
    text += "."
    if test_images < min(FEW_IMAGES, images):
        text += (
            f" With only {count(test_images)} test images, trust the cross-validated interval more: it rests on "
            f"{count(images)} images, and on fits to different training images."
        )
    if row["cv_chosen"] is True:
        text += " The search chose the hyperparameters on the same folds, so this accuracy is slightly optimistic."
    elif row["cv_chosen"] is False:
        text += " The values known before the search won it, so the choice did not make this accuracy optimistic."
    return text
