"""Do fine labels teach more than coarse ones? Coarse and fine members with the same test images, side by side. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import fine_classes, pairs
from mlproject.report.content import Chart, Column, Section, Table, count, decimals, interval, listed, percent
from mlproject.report.members import Member
from mlproject.report.questions import Question, ask


def sections(key: str, name: str, mark: str, members: Sequence[Member], gaps: list[str]) -> list[Section]:
    """For every coarse and fine member with the same test images their accuracies; for the first two also class by class.

    Members with the same seed are set against each other where there are such, else each against each. What keeps a
    coarse or fine member from being compared is added to `gaps` in words.
    """
    coarse = [member for member in members if member.tag("labels") == "coarse"]
    fine = [member for member in members if member.tag("labels") == "fine"]
    for here, there, absent in ((coarse, fine, "fine"), (fine, coarse, "coarse")):
        if here and not there:
            titles = listed([member.title for member in here])
            gaps.append(f"No member with {absent} labels was found: {titles} cannot be set against one")
    couples = [(c, f) for c in coarse for f in fine]
    couples = [(c, f) for c, f in couples if c.seed == f.seed] or couples
    made, questions = [], []
    for c, f in couples:
        obstacle, question = ask(c, f)
        if obstacle:
            gaps.append(f"{c.title} against {f.title}: {obstacle}")
        else:
            questions.append(question)
    for number, question in enumerate(questions, start=1):
        prefix = key if len(questions) == 1 else f"{key}.{number}"
        made.append(_accuracy_section(prefix, name, mark, question))
    if questions:
        made += fine_classes.sections(key, name, mark, questions[0])
    if len(questions) > 1:
        first = questions[0]
        gaps.append(
            f"Class by class only {first.coarse.title} and {first.fine.title} are shown, to keep the page short"
        )
    return made


def _accuracy_section(key: str, name: str, mark: str, question: Question) -> Section:
    coarse, fine = question.coarse, question.fine
    top5 = evaluation.among_likeliest(fine.labels, fine.probabilities, 5)
    classes, superclasses = fine.probabilities.shape[1], coarse.probabilities.shape[1]
    rows = [
        _answer(coarse.title, "coarse", coarse.probabilities.argmax(axis=1), question.truth, superclasses),
        _answer(
            f"{fine.title}, superclass of its likeliest class",
            "coarse",
            question.by_argmax,
            question.truth,
            superclasses,
        ),
        _answer(f"{fine.title}, probabilities summed", "coarse", question.by_sum, question.truth, superclasses),
        _answer(f"{fine.title}, top-1", "fine", fine.probabilities.argmax(axis=1), fine.labels, classes),
        _top5(f"{fine.title}, top-5", top5, fine.labels),
    ]
    answers = pd.DataFrame(rows)
    paired = pairs.compare(
        [
            (coarse.title, coarse.correct),
            (f"{fine.title} generalised by argmax", question.by_argmax == question.truth),
            (f"{fine.title} generalised by summed probabilities", question.by_sum == question.truth),
        ]
    )
    tables = [
        Table(
            f"{key}.generalised", f"Coarse and fine labels, one test set{mark}", answers, _ANSWER_COLUMNS, _ANSWER_NOTE
        ),
        Table(f"{key}.generalised-pairs", f"Paired differences{mark}", paired, pairs.COLUMNS, pairs.NOTE),
    ]
    chance = (
        f"Chance differs: always naming the most frequent class is right for {percent(rows[0]['chance'])} of the images "
        f"on coarse labels and {percent(rows[3]['chance'])} on fine ones; the two kinds of accuracy are not on one scale."
    )
    findings = [*pairs.findings(paired), chance]
    answered = [pairs.finding(row) for _, row in paired.iterrows() if coarse.title in (row["a"], row["b"])]
    chart = _chart(key, name, mark, answers[answers["labels"] == "coarse"], question)
    return Section(f"Coarse labels against fine labels generalised{mark}", findings, [chart], tables, answered)


def _chart(key: str, name: str, mark: str, answers: pd.DataFrame, question: Question) -> Chart:
    """The answers to the one question that coarse and fine labels share."""
    coarse = question.coarse
    superclasses = coarse.probabilities.shape[1]
    bars = answers.assign(name=answers["model"].str.replace(", ", ",\n"), synthetic=coarse.data == "synthetic")
    alt = "; ".join(f"{row.model} {percent(row.accuracy)}" for row in answers.itertuples())
    return Chart(
        f"{key}.generalised",
        plots.accuracy_bars(bars, f"{name}{mark}, {superclasses} superclasses"),
        f"Test accuracy on the superclasses{mark}: {alt}",
        f"How often the right one of {superclasses} superclasses is named, with 95% intervals{mark}. All are of the same "
        "images, so whether they differ is told by the paired differences below, not by whether intervals overlap.",
    )


def _answer(model: str, labels: str, predictions: np.ndarray, truth: np.ndarray, classes: int) -> dict:
    return _share(model, labels, predictions == truth, truth, 1) | evaluation.averages(truth, predictions, classes)


def _top5(model: str, hit: np.ndarray, truth: np.ndarray) -> dict:
    return _share(model, "fine", hit, truth, 5)


def _share(model: str, labels: str, correct: np.ndarray, truth: np.ndarray, guesses: int) -> dict:
    low, high = evaluation.interval(correct)
    most_frequent = np.sort(np.bincount(truth))[-guesses:].sum()
    return {
        "model": model,
        "labels": labels,
        "images": len(truth),
        "accuracy": correct.mean(),
        "low": low,
        "high": high,
        "chance": most_frequent / len(truth),
    }


_ANSWER_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("scored on", lambda r: f"{r['labels']} labels", number=False),
    Column("test images", lambda r: count(r["images"])),
    Column("accuracy", lambda r: percent(r["accuracy"])),
    Column("95% interval", lambda r: interval(r["low"], r["high"])),
    Column("chance", lambda r: percent(r["chance"])),
    Column("macro precision", lambda r: decimals(r["macro_precision"])),
    Column("macro recall", lambda r: decimals(r["macro_recall"])),
    Column("macro F1", lambda r: decimals(r["macro_f1"])),
    Column("weighted F1", lambda r: decimals(r["weighted_f1"])),
)
_ANSWER_NOTE = (
    "Summing the probabilities of a superclass's classes and naming the likeliest superclass errs least often if the "
    "probabilities are right (Bayes' rule for 0-1 loss on coarse labels). Top-5 has no single answer, so no precision."
)
