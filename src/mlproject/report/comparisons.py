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

GRANULARITY = "Do fine labels teach a network more about the superclasses than coarse labels?"


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


def _comparison(context: ReportContext, models: list[ReportedModel], others: Sequence[ReportedModel]) -> Comparison:
    omissions = [omission for model in models for omission in model.omissions]
    if len(models) == 1:
        omissions.append(
            f"{models[0].title} is the only model of this comparison, so there is nothing to compare it with"
        )
    about, named = _topic(context, models), context
    context = replace(named, name=about.title)  # in the headings of figures
    measured = accuracy.measure(models)
    family = _family(models, others)
    whole = training_shares.share_of(models[0]) == max(map(training_shares.share_of, family))
    granular = granularity.sections(context, models, about.question, omissions, by_class=whole)
    sections: list[Section | None] = [*granular[:1]]
    if context.data_label == "":
        sections.append(published.section(context, about, models))
    if whole:
        sections.append(training_shares.section(context, about, family))
    sections += [accuracy.section(context, models, measured), seeds.section(context, models), *granular[1:]]
    groups = _comparable(models, omissions)
    for number, group in enumerate(groups, start=1):
        part = context.numbered(number, len(groups))
        sections.append(pairs.section(part, [model for model, _ in group], [predictions for _, predictions in group]))
        evaluated = [model.class_evaluation for model, _ in group if model.class_evaluation and whole]
        sections += classes.sections(part, evaluated)
    sections += [
        cost.section(context, models, measured),
        calibration.section(context, [model.predictions for model in models if model.predictions]),
        training_curves.section(context, models),
        images.section(context, models),
    ]
    made = [section for section in sections if section]
    return Comparison(named, about.title, about.question, models, made, omissions)


def _family(models: Sequence[ReportedModel], others: Sequence[ReportedModel]) -> list[ReportedModel]:
    """The models of this comparison, and those of the same one on other shares of the training images."""
    base, data = without_share(models[0].tag("comparison")), models[0].data
    return [one for one in others if without_share(one.tag("comparison")) == base and one.data == data]


def _topic(context: ReportContext, models: Sequence[ReportedModel]) -> topic.Topic:
    """What the newest version says that the comparison is about; in place of what none says, general words."""
    newest_first = sorted(models, key=lambda model: -model.registered.version)
    found = next((one for model in newest_first if (one := topic.from_tag(model.tag("topic"))).title), topic.Topic())
    kinds = {model.tag("labels") for model in models}
    usual = GRANULARITY if {"coarse", "fine"} <= kinds else "Which of these models is the most accurate?"
    return replace(found, title=found.title or context.name, question=found.question or usual)


def _comparable(
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
            if not pairs.same_images(model, first):
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
