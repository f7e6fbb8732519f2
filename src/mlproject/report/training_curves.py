"""The training accuracy of a comparison's final fits, over time and beside the test accuracy. Pure."""

from collections.abc import Sequence

from mlproject.report import figures
from mlproject.report.content import Chart, Section
from mlproject.report.context import ReportContext
from mlproject.report.formats import brief_percent, join_words
from mlproject.report.models import ReportedModel

NOTICEABLE = 0.02  # a smaller difference between training and test accuracy is not mentioned


def section(context: ReportContext, models: Sequence[ReportedModel]) -> Section | None:
    """The learning curves of all final fits in one figure, with the validation curves of the winning trials.

    Args:
        context: the comparison.
        models: its models; those whose run recorded no seconds per epoch are left out.

    Returns:
        The section; None when no model is left.
    """
    histories = {
        model.title: model.history for model in models if model.history is not None and "seconds" in model.history
    }
    if not histories:
        return None
    final_accuracies = {title: history["accuracy"].iloc[-1] for title, history in histories.items()}
    summary = "; ".join(
        f"{title} {brief_percent(final_accuracies[title])} after {len(history)} epoch{'s' if len(history) > 1 else ''}"
        for title, history in histories.items()
    )
    caption = "Lines: accuracy on the training images, measured with augmentation and dropout on."
    validations = {
        model.title: model.search.winner_curve for model in models if model.search and len(model.search.winner_curve)
    }
    if validations:
        caption += " Dashed: accuracy on the validation images in the winning trial, a shorter fit on fewer images."
    if any(history["stage"].nunique() > 1 for history in histories.values()):
        caption += " A ring marks the end of a stage."
    figure = figures.learning_curves(histories, validations, context.title)
    alt = f"Training accuracy by minutes of training: {summary}"
    return Section(
        "Had training come to its end?",
        [f"Training accuracy at the end: {summary}.", *_generalisation_gaps(models, final_accuracies)],
        [Chart(context.file_name("training"), figure, alt, caption)],
    )


def _generalisation_gaps(models: Sequence[ReportedModel], final_accuracies: dict[str, float]) -> list[str]:
    """Which models are clearly more, and which clearly less, accurate on training images than on test images."""
    gaps = {
        model.title: final_accuracies[model.title] - float(model.predictions.correct.mean())
        for model in models
        if model.predictions is not None and model.title in final_accuracies
    }
    above = [title for title, gap in gaps.items() if gap > NOTICEABLE]
    below = [title for title, gap in gaps.items() if gap < -NOTICEABLE]
    sentences = []
    if above:
        sentences.append(
            f"The training accuracy of {join_words(above)} is more than 2 points above the test accuracy: a part of what was "
            "learned does not carry over to new images."
        )
    if below:
        sentences.append(
            f"The training accuracy of {join_words(below)} is more than 2 points below the test accuracy, which augmentation "
            "and dropout can cause; more epochs might help."
        )
    return sentences
