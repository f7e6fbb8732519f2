"""Groups models into comparisons and collects the sections of each. Pure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlproject import topic
from mlproject.names import without_share
from mlproject.report import (
    accuracy,
    calibration,
    classes,
    cost,
    granularity,
    images,
    pairs,
    published,
    seeds,
    training_curves,
    training_shares,
)
from mlproject.report.content import Comparison, Section
from mlproject.report.context import ReportContext, data_label_of, slugs
from mlproject.report.models import ReportedModel, TestPredictions

GRANULARITY_QUESTION = "Do fine labels teach a network more about the superclasses than coarse labels?"


def compare(models: Sequence[ReportedModel]) -> list[Comparison]:
    """Group the models by their comparison and their kind of data, so that real and synthetic data never mix.

    Args:
        models: the models of the report; those without a tag `comparison` are in no comparison.

    Returns:
        The comparisons, those on real data first.
    """
    groups: dict[tuple[str, str], list[ReportedModel]] = {}
    for model in models:
        if model.tag("comparison"):
            groups.setdefault((model.tag("comparison"), model.data), []).append(model)
    ordered = sorted(groups, key=lambda group: (group[1] != "real", group))
    keys = slugs([f"{name} {data if data != 'real' else ''}" for name, data in ordered])
    contexts = [ReportContext(key, name, data_label_of(data)) for key, (name, data) in zip(keys, ordered, strict=True)]
    return [_comparison(context, groups[group], models) for context, group in zip(contexts, ordered, strict=True)]


def _comparison(context: ReportContext, models: list[ReportedModel], all_models: Sequence[ReportedModel]) -> Comparison:
    omissions = [omission for model in models for omission in model.omissions]
    if len(models) == 1:
        omissions.append(
            f"{models[0].title} is the only model of this comparison, so there is nothing to compare it with"
        )
    comparison_topic, original_context = _topic(context, models), context
    context = replace(original_context, name=comparison_topic.title)  # in the headings of figures
    measured = accuracy.measure(models)
    family = _family(models, all_models)
    has_largest_share = training_shares.share_of(models[0]) == max(map(training_shares.share_of, family))
    granularity_sections = granularity.sections(
        context, models, comparison_topic.question, omissions, by_class=has_largest_share
    )
    sections: list[Section | None] = [*granularity_sections[:1]]
    if context.data_label == "":
        sections.append(published.section(context, comparison_topic, models))
    if has_largest_share:
        sections.append(training_shares.section(context, comparison_topic, family))
    sections += [accuracy.section(context, models, measured), seeds.section(context, models), *granularity_sections[1:]]
    groups = _comparable_groups(models, omissions)
    for number, group in enumerate(groups, start=1):
        group_context = context.numbered(number, len(groups))
        sections.append(
            pairs.section(group_context, [model for model, _ in group], [predictions for _, predictions in group])
        )
        evaluations = [model.class_evaluation for model, _ in group if model.class_evaluation and has_largest_share]
        sections += classes.sections(group_context, evaluations)
    sections += [
        cost.section(context, models, measured),
        calibration.section(context, [model.predictions for model in models if model.predictions]),
        training_curves.section(context, models),
        images.section(context, models),
    ]
    shown_sections = [section for section in sections if section]
    return Comparison(
        original_context, comparison_topic.title, comparison_topic.question, models, shown_sections, omissions
    )


def _family(models: Sequence[ReportedModel], all_models: Sequence[ReportedModel]) -> list[ReportedModel]:
    """The models of this comparison, and those of the same one on other shares of the training images."""
    base, data = without_share(models[0].tag("comparison")), models[0].data
    return [model for model in all_models if without_share(model.tag("comparison")) == base and model.data == data]


def _topic(context: ReportContext, models: Sequence[ReportedModel]) -> topic.Topic:
    """What the model that was registered last says that the comparison is about; in place of what none says, general words."""
    newest_first = sorted(models, key=lambda model: -model.registered.created)
    declared = next(
        (candidate for model in newest_first if (candidate := topic.from_tag(model.tag("topic"))).title), topic.Topic()
    )
    kinds = {model.tag("labels") for model in models}
    default_question = (
        GRANULARITY_QUESTION if {"coarse", "fine"} <= kinds else "Which of these models is the most accurate?"
    )
    return replace(declared, title=declared.title or context.name, question=declared.question or default_question)


def _comparable_groups(
    models: Sequence[ReportedModel], omissions: list[str]
) -> list[list[tuple[ReportedModel, TestPredictions]]]:
    """Groups of models with the same labels for the same test images, without groups that have nothing to compare.

    A model alone forms a group when its fit had earlier stages. Reasons why two models with the same kind of labels
    are in different groups are added to `omissions`.
    """
    groups: list[list[tuple[ReportedModel, TestPredictions]]] = []
    for model in models:
        if model.predictions is None:
            continue
        for group in groups:
            first, predictions = group[0]
            if model.tag("labels") != first.tag("labels"):
                continue
            if not pairs.have_same_images(model, first):
                reason = "were not tested on the same images"
            elif not np.array_equal(model.predictions.labels, predictions.labels):
                reason = "have different labels for the same images"
            else:
                group.append((model, model.predictions))
                break
            omissions.append(f"{first.title} and {model.title} {reason}, so they are not compared in pairs")
        else:
            groups.append([(model, model.predictions)])
    return [group for group in groups if len(group) > 1 or len(group[0][1].stages) > 1]
