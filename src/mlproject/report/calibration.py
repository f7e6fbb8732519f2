"""Whether the predicted probabilities can be trusted: calibration scores and reliability curves. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.content import Chart, Column, Section, Table, text_column
from mlproject.report.context import ReportContext
from mlproject.report.formats import decimals, join_words, percent
from mlproject.report.models import TestPredictions

NOTICEABLE = 0.02  # a smaller difference between mean confidence and accuracy counts as none
JUDGEMENTS = (
    "Underconfident (a mean confidence below the accuracy, as label smoothing and short training can cause)",
    "Overconfident (a mean confidence above the accuracy)",
    "About as confident as accurate (within 2 points)",
)
COLUMNS = (
    text_column("model"),
    Column("accuracy", "accuracy", percent),
    Column("mean confidence", "confidence", percent),
    Column("ECE", "ece", decimals),
    Column("NLL", "nll", decimals),
    Column("Brier", "brier", decimals),
)
NOTE = (
    "ECE: expected calibration error, 15 bins of equal width. NLL: mean negative log-likelihood in nats. Brier: mean squared "
    "distance between probabilities and truth, 0 to 2. Lower is better; compare models with the same labels only."
)


def section(context: ReportContext, predictions: Sequence[TestPredictions]) -> Section | None:
    """The calibration of each model and of the earlier stages of its fit.

    Args:
        context: the comparison.
        predictions: the test predictions of its models.

    Returns:
        The section; None when there are no predictions. It has no figure where no bin of confidences holds enough images.
    """
    rows: list[dict[str, Any]] = []
    curves = {}
    for model_predictions in predictions:
        for stage in model_predictions.stages:
            scores, curves[stage.title] = evaluation.calibration(model_predictions.labels, stage.probabilities)
            accuracy = float((stage.predicted == model_predictions.labels).mean())
            confidence = float((stage.probabilities.max(axis=1) / stage.probabilities.sum(axis=1)).mean())
            rows.append({"model": stage.title, "accuracy": accuracy, "confidence": confidence, **scores})
    if not rows:
        return None
    findings, charts = _findings(rows), []
    if any(curve["images"].max() >= figures.FEWEST_IN_BIN for curve in curves.values()):
        charts.append(_chart(context, rows, curves))
    else:
        findings.append(
            "The reliability curves are left out, because no bin of similar confidences holds "
            f"{figures.FEWEST_IN_BIN} test images."
        )
    title = "Calibration on the test images"
    table = Table(context.file_name("calibration"), title, pd.DataFrame(rows), COLUMNS, NOTE, main=True)
    return Section("Can the probabilities be trusted?", findings, charts, [table])


def _chart(context: ReportContext, rows: Sequence[dict[str, Any]], curves: Mapping[str, pd.DataFrame]) -> Chart:
    summary = "; ".join(f"{row['model']} {decimals(row['ece'])}" for row in rows)
    caption = (
        "Confidence: the probability of the likeliest class. On the diagonal, a model is right as often as it says. The larger a "
        f"marker, the more test images; bins of fewer than {figures.FEWEST_IN_BIN} are left out."
    )
    figure = figures.reliability(curves, context.title)
    alt = f"Reliability curves. Expected calibration error: {summary}"
    return Chart(context.file_name("reliability"), figure, alt, caption)


def _findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each judgement, with the models that it is about."""
    gaps = {row["model"]: row["confidence"] - row["accuracy"] for row in rows}
    below = [model for model, gap in gaps.items() if gap <= -NOTICEABLE]
    above = [model for model, gap in gaps.items() if gap >= NOTICEABLE]
    equal = [model for model in gaps if model not in (*below, *above)]
    groups = zip(JUDGEMENTS, (below, above, equal), strict=True)
    return [f"{judgement}: {join_words(models, limit=20)}." for judgement, models in groups if models]
