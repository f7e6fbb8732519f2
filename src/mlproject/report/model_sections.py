"""What the report shows of each model alone: its results, its search and its network. Pure."""

import numpy as np
import pandas as pd

from mlproject import evaluation
from mlproject.report import networks, searches
from mlproject.report.artifacts import PLOTS
from mlproject.report.content import Chart, Column, ModelSection, Section, Table, text_column, text_table
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, listed, percent, two_decimals
from mlproject.report.models import ClassEvaluation, ReportedModel

MOST_PAIRS = 20  # of confused classes in the table


def build_sections(model: ReportedModel) -> ModelSection:
    """Describe one model: its results on the test images, its search, and its network.

    Args:
        model: the model.

    Returns:
        The sections for which there are artifacts.
    """
    sections = [_results(model), searches.section(model), _network(model.context, model.layers)]
    return ModelSection(model, [section for section in sections if section])


def _results(model: ReportedModel) -> Section:
    context = model.context
    findings = list(model.omissions)
    if "parameters" in model.metrics:
        findings.append(f"The network has {count(model.metrics['parameters'])} parameters.")
    if model.predictions is not None and model.predictions.other_seeds:
        others = list(model.predictions.other_seeds)
        findings.append(
            f"The registered network of {context.name} is that of seed {model.seed}; its winner was also fitted with "
            f"{'seeds' if len(others) > 1 else 'seed'} {listed(others)}."
        )
    results = _results_in_words(model)
    charts = []
    for plot, file in model.plots.items():
        caption = f"{PLOTS[plot]}: {context.name}. {results.get(plot, '')}".strip()
        charts.append(Chart(context.file_name(plot.replace("_", "-")), file, caption, caption))
    tables = [] if model.class_evaluation is None else _confusions(context, model.class_evaluation)
    return Section(f"Results on the test images: {context.name}", findings, charts, tables)


def _results_in_words(model: ReportedModel) -> dict[str, str]:
    """What each of the run's own plots shows, as far as the numbers behind it could be read."""
    results = {}
    if model.history is not None and len(model.history):
        results["learning_curves"] = _training_in_words(model.history["accuracy"])
    if model.class_table is not None and len(model.class_table):
        f1 = model.class_table[model.class_table["support"] > 0].set_index("class")["f1"]
        results["per_class"] = (
            f"The best class is {f1.idxmax()} (F1 {two_decimals(f1.max())}) and the worst is {f1.idxmin()} "
            f"({two_decimals(f1.min())})."
        )
    if model.class_evaluation is not None:
        results |= _mistakes_in_words(model.class_evaluation)
    return results


def _training_in_words(accuracy: pd.Series) -> str:
    first, last, epochs = accuracy.iloc[0], accuracy.iloc[-1], len(accuracy)
    if epochs > 1 and last > first:
        return (
            f"The training accuracy rose from {percent(first)} in the first epoch to {percent(last)} in the last of "
            f"{epochs} epochs."
        )
    return f"The training accuracy in the last of {epochs} epochs was {percent(last)}."


def _mistakes_in_words(model: ClassEvaluation) -> dict[str, str]:
    predictions, names, results = model.predictions, model.class_names, {}
    confused = evaluation.confused_pairs(predictions.labels, predictions.predicted, names)
    if len(confused):
        top = confused.iloc[0]
        results["confusion"] = (
            f"The most frequent mistake: {top['class']} predicted as {top['taken_for']}, in {top['images']} images "
            f"({top['share']:.0%} of the class)."
        )
    mistakes = np.flatnonzero(~predictions.correct)
    if len(mistakes):
        confidence = predictions.probabilities.max(axis=1)
        worst = mistakes[confidence[mistakes].argmax()]
        results["examples"] = (
            f"The most confident mistake: {names[predictions.labels[worst]]} predicted as "
            f"{names[predictions.predicted[worst]]} with a probability of {percent(float(confidence[worst]))}."
        )
    return results


def _confusions(context: ReportContext, model: ClassEvaluation) -> list[Table]:
    pairs = evaluation.confused_pairs(model.predictions.labels, model.predictions.predicted, model.class_names)
    if pairs.empty:
        return []
    columns = [
        text_column("class"),
        text_column("predicted as", "taken_for"),
        Column("images", "images", count),
        Column("share of the class", "share", percent),
    ]
    superclasses = model.table["superclass"].to_numpy()
    if (superclasses != "").any():
        inside = superclasses[pairs["true"]] == superclasses[pairs["predicted"]]
        pairs = pairs.assign(same_superclass=np.where(inside, "yes", "no"))
        columns.append(text_column("same superclass", "same_superclass"))
    shown = pairs.drop(columns=["true", "predicted"]).head(MOST_PAIRS)
    title = f"The {len(shown)} most frequent confusions of {len(pairs)}"
    return [Table(context.file_name("confused"), title, shown, tuple(columns))]


def _network(context: ReportContext, layers: pd.DataFrame | None) -> Section | None:
    if layers is None:
        return None
    findings, charts = [], []
    if {"layer", "depends_on_colours", "depends_on_classes"} <= set(layers):
        findings.append(networks.dependencies_in_words(layers))
    if set(layers) >= networks.DRAWN_FROM and len(layers):
        figure = networks.draw(layers, context.title)
        caption = f"The network of {context.name}, from the images to the probabilities. {findings[0]}"
        charts.append(Chart(context.file_name("network"), figure, caption, caption))
    table = networks.with_roles(layers) if "type" in layers else layers
    title = "The layers, and what they depend on"
    return Section(
        f"The network of {context.name}", findings, charts, [text_table(context.file_name("layers"), title, table)]
    )
