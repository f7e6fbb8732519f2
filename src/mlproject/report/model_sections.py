"""What the report shows of each model alone: its results, its search and its network. Pure."""

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import networks, searches
from mlproject.report.content import Chart, Column, ModelSection, Section, Table, text_column, text_table
from mlproject.report.context import ReportContext
from mlproject.report.formats import count, join_words, two_decimals
from mlproject.report.models import ClassEvaluation, ReportedModel

MOST_PAIRS = 20  # of confused classes in the table


def build_sections(model: ReportedModel) -> ModelSection:
    """Describe one model: its results on the test images, its search, and its network.

    Args:
        model: the model.

    Returns:
        The sections for which there are artifacts.
    """
    sections = [_results_section(model), searches.section(model), _network_section(model.context, model.layers)]
    return ModelSection(model, [section for section in sections if section])


def _results_section(model: ReportedModel) -> Section | None:
    context, class_evaluation = model.context, model.class_evaluation
    findings: list[str] = []
    charts: list[Chart] = []
    tables: list[Table] = []
    if not model.tag("comparison"):  # whose head would have them
        findings += model.omissions
    if model.predictions is not None and model.predictions.other_seeds:
        other_seeds = list(model.predictions.other_seeds)
        findings.append(
            f"What follows describes {context.name} with seed {model.fit_seed}; it was also fitted with "
            f"{'seeds' if len(other_seeds) > 1 else 'seed'} {join_words(other_seeds)}."
        )
    if class_evaluation is not None:
        charts += [_class_chart(context, class_evaluation), *_confusion_charts(context, class_evaluation)]
        tables = _confusion_tables(context, class_evaluation)
    if model.examples_of_predictions is not None:
        alt = f"The most confident correct predictions and mistakes of {context.name}."
        caption = "Percentages: the confidence, which is the probability of the predicted class."
        charts.append(Chart(context.file_name("examples"), model.examples_of_predictions, alt, caption))
    return Section("Results on the test images", findings, charts, tables) if findings or charts else None


def _class_chart(context: ReportContext, model: ClassEvaluation) -> Chart:
    f1 = model.table[model.table["support"] > 0].set_index("class")["f1"]
    caption = (
        f"F1 is the highest for {f1.idxmax()} ({two_decimals(f1.max())}) and the lowest for {f1.idxmin()} "
        f"({two_decimals(f1.min())})."
    )
    figure = plots.per_class_bars(model.table, context.title)
    return Chart(context.file_name("per-class"), figure, f"Scores of each class by {context.name}. {caption}", caption)


def _confusion_charts(context: ReportContext, model: ClassEvaluation) -> list[Chart]:
    """The confusion matrix; of many classes with superclasses, that of the superclasses, and what is confused inside them."""
    labels, predicted, names = model.predictions.labels, model.predictions.predicted, model.class_names
    superclasses = model.table["superclass"].tolist()
    is_grouped = all(superclasses) and len(names) > plots.MANY_CLASSES
    charts = []
    if is_grouped:
        groups = sorted(set(superclasses))
        group_of = np.array([groups.index(superclass) for superclass in superclasses])
        figure = plots.sibling_confusions(labels, predicted, names, superclasses, context.title)
        caption = "Inside each superclass: of the images of a class (row), the % predicted as each sibling or as another class."
        charts = [
            Chart(context.file_name("siblings"), figure, f"Confusions inside superclasses by {context.name}", caption)
        ]
        labels, predicted, names, superclasses = group_of[labels], group_of[predicted], groups, []
    shown_superclasses = superclasses if any(superclasses) else None
    figure = plots.confusion_matrix(labels, predicted, names, shown_superclasses, context.title)
    caption = (
        "Of the images of each superclass (row), the % whose predicted class belongs to each superclass (column)."
        if is_grouped
        else "Of the images of each class (row), the % predicted as each class (column)."
    )
    alt = f"Confusion matrix of {context.name}"
    return [Chart(context.file_name("confusion"), figure, alt, caption), *charts]


def _confusion_tables(context: ReportContext, model: ClassEvaluation) -> list[Table]:
    pairs = evaluation.confused_pairs(model.predictions.labels, model.predictions.predicted, model.class_names)
    if pairs.empty:
        return []
    columns = [
        text_column("class"),
        text_column("predicted as", "taken_for"),
        Column("images", "images", count),
        Column("share of the class", "share", "{:.0%}".format),
    ]
    superclasses = model.table["superclass"].to_numpy()
    if (superclasses != "").any():
        inside = superclasses[pairs["true"]] == superclasses[pairs["predicted"]]
        pairs = pairs.assign(same_superclass=np.where(inside, "yes", "no"))
        columns.append(text_column("same superclass", "same_superclass"))
    shown = pairs.drop(columns=["true", "predicted"]).head(MOST_PAIRS)
    all_shown = len(shown) == len(pairs)
    title = "All confusions of classes" if all_shown else f"The {len(shown)} most frequent confusions of {len(pairs)}"
    return [Table(context.file_name("confused"), title, shown, tuple(columns))]


def _network_section(context: ReportContext, layers: pd.DataFrame | None) -> Section | None:
    if layers is None:
        return None
    findings, charts = [], []
    if {"layer", "depends_on_colours", "depends_on_classes"} <= set(layers):
        findings.append(networks.dependencies_in_words(layers))
    if set(layers) >= networks.DRAWN_COLUMNS and len(layers):
        figure = networks.draw(layers, context.title)
        alt = f"The network of {context.name}, from the images to the probabilities."
        caption = "Weights: how many a layer has. Output: height × width × channels, or how many numbers there are."
        charts.append(Chart(context.file_name("network"), figure, alt, caption))
    table = networks.with_roles(layers) if "type" in layers else layers
    tables = [text_table(context.file_name("layers"), "The layers, and what they depend on", table)]
    return Section("The network", findings, charts, tables, folded=True)
