"""Whether the predicted probabilities can be trusted: calibration scores and reliability curves. Pure."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import decimals, percent
from mlproject.report.models import TestPredictions

NOTICEABLE = 0.02  # a smaller difference between mean confidence and accuracy counts as none
COLUMNS = (
    text_column("model"),
    Column("accuracy", "accuracy", percent),
    Column("mean confidence", "confidence", percent),
    Column("ECE", "ece", decimals),
    Column("NLL", "nll", decimals),
    Column("Brier", "brier", decimals),
)
NOTE = (
    "ECE: expected calibration error, with 15 bins of equal width over the confidence (the probability of the most "
    "probable class). NLL: mean negative log-likelihood in nats, which label smoothing increases. Brier: mean squared "
    "distance between the probabilities and the true label, from 0 to 2. Lower values are better for all three; "
    "compare only models with the same labels."
)


def section(context: ReportContext, predictions: Sequence[TestPredictions]) -> Section | None:
    """The calibration of each model and of the earlier stages of its fit.

    Args:
        context: the comparison.
        predictions: the test predictions of its models.

    Returns:
        The section; None when there are no predictions.
    """
    rows: list[dict[str, Any]] = []
    curves = {}
    for one in predictions:
        for stage in one.stages:
            scores, curves[stage.title] = evaluation.calibration(one.labels, stage.probabilities)
            accuracy = float((stage.predicted == one.labels).mean())
            confidence = float((stage.probabilities.max(axis=1) / stage.probabilities.sum(axis=1)).mean())
            rows.append({"model": stage.title, "accuracy": accuracy, "confidence": confidence, **scores})
    if not rows:
        return None
    summary = "; ".join(f"{row['model']} {decimals(row['ece'])}" for row in rows)
    caption = (
        "Above the diagonal a model is correct more often than its confidence says, below it less often. Expected "
        f"calibration error (ECE): {summary}. The larger a marker, the more test images have such a confidence."
    )
    figure = figures.reliability(curves, context.title)
    chart = Chart(
        context.file_name("reliability"), figure, f"Reliability curves. Expected calibration error: {summary}", caption
    )
    title = "Calibration on the test images"
    table = Table(context.file_name("calibration"), title, pd.DataFrame(rows), COLUMNS, NOTE)
    findings = [_finding(row["model"], row["confidence"], row["accuracy"]) for row in rows]
    return Section("Calibration: can the predicted probabilities be trusted?", findings, [chart], [table])


def _finding(model: str, confidence: float, accuracy: float) -> str:
    numbers = f"mean confidence {percent(confidence)}, accuracy {percent(accuracy)}"
    if abs(confidence - accuracy) < NOTICEABLE:
        return f"{model} is about as confident as it is accurate ({numbers})."
    if confidence > accuracy:
        return f"{model} is overconfident ({numbers})."
    return f"{model} is underconfident ({numbers}). Label smoothing and short training can cause this."
