"""Do fine labels teach more than coarse ones? Coarse and fine members with the same test images, side by side. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import pairs
from mlproject.report.content import Chart, Column, Section, Table, count, decimals, interval, percent, signed
from mlproject.report.members import Member

STAND_OUTS = 5  # classes named in words in each direction
FEW_ERRORS = 5  # with fewer errors than this nothing is said of where they go


@dataclass(frozen=True, eq=False)
class _Question:
    """A coarse and a fine member that can be compared. `superclass_of`: int64 (fine classes,), indices of coarse ones."""

    coarse: Member
    fine: Member
    superclass_of: np.ndarray

    @cached_property
    def truth(self) -> np.ndarray:
        """The coarse labels of the test images, int64 (n,)."""
        return self.coarse.labels

    @cached_property
    def by_argmax(self) -> np.ndarray:
        """Whether the superclass of the fine model's likeliest class is right: bool (n,)."""
        return evaluation.generalise_argmax(self.fine.probabilities, self.superclass_of) == self.truth

    @cached_property
    def by_sum(self) -> np.ndarray:
        """Whether the superclass with the largest sum of the fine model's probabilities is right: bool (n,)."""
        return evaluation.generalise_sum(self.fine.probabilities, self.superclass_of).argmax(axis=1) == self.truth


def sections(key: str, name: str, mark: str, members: Sequence[Member], gaps: list[str]) -> list[Section]:
    """Two sections (accuracy; class by class) for every coarse and fine member with the same test images.

    What keeps a coarse or fine member from being compared is added to `gaps` in words.
    """
    coarse = [member for member in members if member.tag("labels") == "coarse"]
    fine = [member for member in members if member.tag("labels") == "fine"]
    for here, there, absent in ((coarse, fine, "fine"), (fine, coarse, "coarse")):
        if here and not there:
            gaps.append(f"No member with {absent} labels was found: {_listed(here)} cannot be set against one")
    made = []
    questions = [(c, f) for c in coarse for f in fine]
    for number, (c, f) in enumerate(questions, start=1):
        obstacle, question = _question(c, f)
        if obstacle:
            gaps.append(f"{c.title} against {f.title}: {obstacle}")
            continue
        prefix = key if len(questions) == 1 else f"{key}.{number}"
        made += [_accuracy_section(prefix, mark, question), _class_section(prefix, name, mark, question)]
    return made


def _question(coarse: Member, fine: Member) -> tuple[str, _Question | None]:
    """The pair made comparable, or in words why it is not."""
    if not pairs.same_images(coarse, fine):
        return "they were not tested on the same images", None
    lacking = [m.title for m in (coarse, fine) if m.labels is None or m.per_class is None]
    if lacking:
        return f"predictions or class table of {' and '.join(lacking)} missing", None
    index = {name: number for number, name in enumerate(coarse.per_class["class"])}
    unknown = sorted(set(fine.per_class["superclass"]) - set(index))
    if unknown:
        return f"the coarse model knows no class {unknown[0]!r}, a superclass of the fine one", None
    superclass_of = fine.per_class["superclass"].map(index).to_numpy()
    fits = len(superclass_of) == fine.probabilities.shape[1] and len(index) == coarse.probabilities.shape[1]
    if not fits or not np.array_equal(superclass_of[fine.labels], coarse.labels):
        return "the fine labels' superclasses are not the coarse labels", None
    return "", _Question(coarse, fine, superclass_of)


def _accuracy_section(key: str, mark: str, question: _Question) -> Section:
    coarse, fine = question.coarse, question.fine
    top5 = np.argsort(-fine.probabilities, axis=1, kind="stable")[:, :5] == fine.labels[:, None]
    rows = [
        _answer(f"{coarse.title}", "coarse", coarse.correct, question.truth),
        _answer(f"{fine.title}, superclass of its likeliest class", "coarse", question.by_argmax, question.truth),
        _answer(f"{fine.title}, probabilities summed", "coarse", question.by_sum, question.truth),
        _answer(f"{fine.title}, top-1", "fine", fine.correct, fine.labels),
        _answer(f"{fine.title}, top-5", "fine", top5.any(axis=1), fine.labels, guesses=5),
    ]
    names = (coarse.title, f"{fine.title} generalised by argmax", f"{fine.title} generalised by summed probabilities")
    differences = [
        pairs.row(names[1], question.by_argmax, names[0], coarse.correct),
        pairs.row(names[2], question.by_sum, names[0], coarse.correct),
        pairs.row(names[2], question.by_sum, names[1], question.by_argmax),
    ]
    answers, paired = pd.DataFrame(rows), pd.DataFrame(differences)
    tables = [
        Table(f"{key}.generalised", f"Coarse and fine labels, one test set{mark}", answers, _ANSWER_COLUMNS),
        Table(f"{key}.generalised-pairs", f"Paired differences{mark}", paired, pairs.COLUMNS, pairs.NOTE),
    ]
    chance = (
        f"Chance differs: always naming the most frequent class is right for {percent(rows[0]['chance'])} of the images "
        f"on coarse labels and {percent(rows[3]['chance'])} on fine ones; the two kinds of accuracy are not on one scale."
    )
    findings = [*(pairs.finding(row) for row in differences), chance]
    return Section(f"Coarse labels against fine labels generalised{mark}", findings, [], tables)


def _answer(model: str, labels: str, correct: np.ndarray, truth: np.ndarray, guesses: int = 1) -> dict:
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
)


def _class_section(key: str, name: str, mark: str, question: _Question) -> Section:
    frame = _class_frame(question)
    above, below = frame[frame["f1_difference"] > 0], frame[frame["f1_difference"] < 0]
    extremes = [row for _, row in pd.concat([above.head(STAND_OUTS), below.tail(STAND_OUTS)[::-1]]).iterrows()]
    overall = (
        f"Of {len(frame)} fine classes {len(above)} have a higher F1 than their superclass and {len(below)} a lower one; "
        f"the median difference is {signed(frame['f1_difference'].median())}."
    )
    alt = "; ".join(f"{r['class']} {r['f1']:.2f} against {r['superclass']} {r['superclass_f1']:.2f}" for r in extremes)
    caption = f"The fine classes whose F1 is furthest above and below that of their superclass{mark}. {overall}"
    figure = plots.generalisation_dumbbell(question.fine.per_class, question.coarse.per_class, title=f"{name}{mark}")
    title = f"Fine classes and their superclasses, by difference in F1{mark}"
    return Section(
        f"Class by class{mark}",
        [overall, *(_hypothesis(row, frame) for row in extremes)],
        [Chart(f"{key}.classes", figure, f"F1 of fine classes and of their superclasses{mark}: {alt}", caption)],
        [Table(f"{key}.classes", title, frame, _CLASS_COLUMNS, _CLASS_NOTE)],
    )


def _class_frame(question: _Question) -> pd.DataFrame:
    """A row for each fine class: its scores, those of its superclass, the differences, where its errors go."""
    scores = ["precision", "recall", "f1"]
    fine = question.fine.per_class
    superclass = question.coarse.per_class.iloc[question.superclass_of].reset_index(drop=True)
    frame = fine[["class", "superclass", *scores, "support"]].copy()
    frame[[f"superclass_{score}" for score in scores]] = superclass[scores]
    for score in scores:
        frame[f"{score}_difference"] = frame[score] - superclass[score]
    frame = pd.concat([frame, _errors(question)], axis=1)
    return frame.sort_values("f1_difference", ascending=False, kind="stable", ignore_index=True)


def _errors(question: _Question) -> pd.DataFrame:
    """For each fine class: how many of its images were missed, how many of these within its superclass, as what most.

    `siblings_share` is the share of the errors that would stay inside if they were spread evenly over all other classes.
    """
    classes = len(question.superclass_of)
    labels, predictions = question.fine.labels, question.fine.probabilities.argmax(axis=1)
    confused = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confused, (labels, predictions), 1)
    np.fill_diagonal(confused, 0)
    siblings = question.superclass_of[:, None] == question.superclass_of[None, :]
    top, names = confused.argmax(axis=1), question.fine.per_class["class"].to_numpy()
    taken_for = pd.DataFrame(
        {
            "errors": confused.sum(axis=1),
            "errors_inside": (confused * siblings).sum(axis=1),
            "siblings_share": (siblings.sum(axis=1) - 1) / (classes - 1),
            "most_confused_with": names[top],
            "most_confused": confused.max(axis=1),
        }
    )
    taken_for.loc[taken_for["errors"] == 0, "most_confused_with"] = ""
    return taken_for


def _confused_text(row: pd.Series) -> str:
    return f"{row['most_confused_with']} ({row['most_confused']})" if row["errors"] else "–"


_CLASS_COLUMNS = (
    Column("fine class", lambda r: r["class"], number=False),
    Column("superclass", lambda r: r["superclass"], number=False),
    Column("F1 difference", lambda r: signed(r["f1_difference"])),
    Column("F1", lambda r: decimals(r["f1"], 2)),
    Column("superclass F1", lambda r: decimals(r["superclass_f1"], 2)),
    Column("precision", lambda r: decimals(r["precision"], 2)),
    Column("superclass precision", lambda r: decimals(r["superclass_precision"], 2)),
    Column("recall", lambda r: decimals(r["recall"], 2)),
    Column("superclass recall", lambda r: decimals(r["superclass_recall"], 2)),
    Column("images", lambda r: count(r["support"])),
    Column("errors", lambda r: count(r["errors"])),
    Column("of them inside the superclass", lambda r: count(r["errors_inside"])),
    Column("most often taken for", _confused_text, number=False),
)
_CLASS_NOTE = (
    "A fine class is scored by the model trained on fine labels, its superclass by the one trained on coarse labels; the "
    "difference is the fine class's score less its superclass's. A single class rests on few test images: read with care."
)


def _hypothesis(row: pd.Series, frame: pd.DataFrame) -> str:
    """What stands out about one class, how sure it is, and a guess at the reason from where its errors go."""
    direction = "above" if row["f1_difference"] > 0 else "below"
    says = f"{row['class']}: F1 {row['f1']:.2f}, {abs(row['f1_difference']):.2f} {direction} its superclass "
    says += f"{row['superclass']} ({row['superclass_f1']:.2f})"
    if _within_chance(row):
        says += (
            f", though on {row['support']:.0f} images its recall does not differ from the superclass's beyond chance"
        )
    why = _why_above(row, frame) if row["f1_difference"] > 0 else _why_below(row)
    return f"{says}. {_where_errors_go(row)} {why}".strip()


def _within_chance(row: pd.Series) -> bool:
    """Whether the superclass's recall, taken as known, lies in the 95% interval of the class's own."""
    hits, images = round(row["recall"] * row["support"]), int(row["support"])
    if images == 0:
        return True
    low, high = evaluation.interval(np.arange(images) < hits)
    return low <= row["superclass_recall"] <= high


def _where_errors_go(row: pd.Series) -> str:
    errors = f"Errors on its {row['support']:.0f} images: {row['errors']}"
    if row["errors"] < FEW_ERRORS:
        return f"{errors}."
    return (
        f"{errors}, of them inside the superclass: {row['errors_inside']} ({row['errors_inside'] / row['errors']:.0%}; "
        f"evenly spread it would be {row['siblings_share']:.0%}); most often taken for {row['most_confused_with']} "
        f"({row['most_confused']}×)."
    )


def _why_above(row: pd.Series, frame: pd.DataFrame) -> str:
    siblings = frame[(frame["superclass"] == row["superclass"]) & (frame["class"] != row["class"])]
    if siblings.empty or siblings["f1"].min() >= row["superclass_f1"]:
        return ""
    weakest = siblings.loc[siblings["f1"].idxmin()]
    return f"Perhaps siblings hold the superclass back: {weakest['class']} (F1 {weakest['f1']:.2f}) is the hardest."


def _why_below(row: pd.Series) -> str:
    """A hedged reason, by the share of the errors that stay inside the superclass."""
    if row["errors"] < FEW_ERRORS:
        low_precision = row["precision"] < row["recall"]
        return "Perhaps other classes are taken for it: its precision is the lower score." if low_precision else ""
    if row["errors_inside"] >= row["errors"] / 2:
        return "Perhaps it is hard to tell from its siblings, which costs the fine class but not the superclass."
    low, _ = evaluation.interval(np.arange(row["errors"]) < row["errors_inside"])
    if low > row["siblings_share"]:
        return "Perhaps it resembles its siblings and, more often, classes outside the superclass, which costs both."
    return "Perhaps it resembles its siblings no more than other classes, which costs the superclass too."


def _listed(members: Sequence[Member]) -> str:
    return ", ".join(member.title for member in members)
