"""The results of a report for programs: what results.json holds of each comparison and each final model. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import provenance
from mlproject.report.content import Comparison
from mlproject.report.models import OPTIONAL_FACTS, REQUIRED_FACTS, ReportedModel

# The tables of a comparison that hold accuracies and their differences, by the end of their names.
TABLES = ("accuracy", "pairs", "generalised", "generalised-pairs", "shares", "refits")


def collect(comparisons: Sequence[Comparison], models: Sequence[ReportedModel]) -> dict[str, list[dict[str, Any]]]:
    """Describe the comparisons, and each model with what a reader needs to check and repeat its figures.

    Args:
        comparisons: the comparisons of the report.
        models: the models of the report.

    Returns:
        `comparisons` and `models`, in types that JSON has. Each comparison has its name, data, question and answers, and `tables`
        by name, as lists of rows (see the CSV files of the same names). Each model has its name, `metrics` by name (mean and n,
        the number of seeds; std with several seeds; test accuracies also low, high and images), the seeds, the winner's
        hyperparameters, the minutes, the commit, the versions of the packages, the machine, and the command that repeats it.
    """
    return {
        "comparisons": [_comparison_record(comparison) for comparison in comparisons],
        "models": [_model_record(model) for model in models],
    }


def _comparison_record(comparison: Comparison) -> dict[str, Any]:
    tables = [table for section in comparison.sections for table in section.tables]
    return {
        "comparison": comparison.context.name,
        "data": comparison.models[0].data,
        "question": comparison.question,
        "answers": comparison.answers,
        "tables": {table.name: _rows(table.frame) for table in tables if table.name.rsplit(".", 1)[-1] in TABLES},
    }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, with None for what is no finite number: JSON has neither NaN nor infinity."""
    finite = frame.replace([np.inf, -np.inf], np.nan)
    records = finite.astype(object).where(finite.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in records]


def _model_record(model: ReportedModel) -> dict[str, Any]:
    metrics, environment = model.metrics, model.environment or {}
    return {
        "model": model.registered.name,
        "version": model.registered.version,
        "experiment": model.tag("experiment"),
        "comparison": model.tag("comparison"),
        "data": model.data,
        "dataset_digest": model.tag("dataset.digest"),
        "labels": model.tag("labels"),
        "seeds": model.fit_seeds,
        "metrics": {
            name: _metric_record(model, name) for name in sorted(metrics) if name.startswith("test_") and _is_mean(name)
        },
        "hyperparameters": _winner(model),
        "minutes": {
            "budget": _number(model.params.get("budget_minutes")),
            "search": _minutes(metrics.get("search_seconds")),
            "training": _minutes(metrics.get("train_seconds")),
        },
        "trials": len(model.search.trials) if model.search else None,
        "parameters": _number(metrics.get("parameters")),
        "commit": model.tag("git.commit"),
        "python": environment.get("python"),
        "packages": {
            name: version for name, version in environment.items() if name not in (*REQUIRED_FACTS, *OPTIONAL_FACTS)
        },
        "machine": provenance.machine_name(environment) if environment else None,
        "cpus": environment.get("cpus"),
        "repeat": provenance.repeat_command(model),
    }


def _is_mean(name: str) -> bool:
    """Whether a metric is no mean, deviation or end of an interval of another one."""
    return not name.endswith(("_mean", "_std", "_low", "_high"))


def _metric_record(model: ReportedModel, name: str) -> dict[str, float | None]:
    """The mean of a metric over the seeds; of an accuracy with its interval over images and seeds. None stands for NaN."""
    metrics = model.metrics
    record = {"mean": metrics.get(f"{name}_mean", metrics[name]), "n": int(metrics.get("seeds", 1))}
    if f"{name}_std" in metrics:
        record["std"] = metrics[f"{name}_std"]
    if name == "test_accuracy" and model.predictions:
        accuracy = evaluation.crossed_accuracy(model.predictions.correct_by_seed)
        seeds, images = model.predictions.correct_by_seed.shape
        record |= {"mean": accuracy.mean, "n": seeds, "low": accuracy.low, "high": accuracy.high, "images": images}
        if seeds > 1:
            record["std"] = float(model.predictions.correct_by_seed.mean(axis=1).std(ddof=1))
    return {key: value if np.isfinite(value) else None for key, value in record.items()}


def _winner(model: ReportedModel) -> dict[str, str]:
    """The hyperparameters of the final fit, as text."""
    if model.search is None or model.search.values is None:
        return {}
    values = model.search.values.set_index("hyperparameter")["winner"]
    return {str(name): str(value) for name, value in values.items()}


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None or np.isnan(seconds) else round(seconds / 60, 2)


def _number(value: Any) -> float | None:
    number = pd.to_numeric(value, errors="coerce")
    return None if value is None or pd.isna(number) else float(number)
