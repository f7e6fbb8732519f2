"""Can the probabilities be believed? Figures and reliability curves of a comparison's members. Pure."""

from collections.abc import Sequence

import pandas as pd

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.content import Chart, Column, Section, Table, decimals, percent
from mlproject.report.members import Member

NOTICEABLE = 0.02  # mean confidence this far from the accuracy is put into words


def section(key: str, name: str, mark: str, members: Sequence[Member]) -> Section | None:
    """The section, None when no member has predictions. Earlier stages of a fit stand beside the finished networks."""
    rows, curves = [], {}
    for member in members:
        for title, probabilities in member.answers:
            scores, curves[title] = evaluation.calibration(member.labels, probabilities)
            accuracy = float((probabilities.argmax(axis=1) == member.labels).mean())
            confidence = float((probabilities.max(axis=1) / probabilities.sum(axis=1)).mean())
            rows.append({"model": title, "accuracy": accuracy, "confidence": confidence, **scores})
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    said = "; ".join(f"{row['model']} ECE {decimals(row['ece'])}" for row in rows)
    caption = (
        f"Above the diagonal a model is right more often than it says, below less often{mark}. {said}. The larger a mark, "
        "the more images have such a confidence."
    )
    chart = Chart(
        f"{key}.reliability", figures.reliability(curves, f"{name}{mark}"), f"Reliability curves{mark}: {said}", caption
    )
    table = Table(f"{key}.calibration", f"Calibration on the test images{mark}", frame, _COLUMNS, _NOTE)
    return Section(f"Can the probabilities be believed?{mark}", [_finding(row) for row in rows], [chart], [table])


def _finding(row: dict) -> str:
    gap = row["confidence"] - row["accuracy"]
    numbers = f"mean confidence {percent(row['confidence'])}, accuracy {percent(row['accuracy'])}"
    if abs(gap) < NOTICEABLE:
        return f"{row['model']} is about as sure as it is right ({numbers})."
    if gap > 0:
        return f"{row['model']} is surer than it is right ({numbers})."
    return f"{row['model']} is right more often than it is sure ({numbers}), as label smoothing and short training can make it."


_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("accuracy", lambda r: percent(r["accuracy"])),
    Column("mean confidence", lambda r: percent(r["confidence"])),
    Column("ECE", lambda r: decimals(r["ece"])),
    Column("NLL", lambda r: decimals(r["nll"])),
    Column("Brier", lambda r: decimals(r["brier"])),
)
_NOTE = (
    "ECE: expected calibration error, 15 bins of equal width over the confidence (probability of the likeliest class). NLL: "
    "mean negative log-likelihood in nats, which label smoothing raises. Brier: mean squared distance between probabilities "
    "and truth, 0 to 2. Lower is better in all three; compare only models of the same labels."
)
