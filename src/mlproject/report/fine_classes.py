"""Each fine class beside its superclass: how much they differ, how surely, and what might be the reason. Pure."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from mlproject import evaluation
from mlproject.report import figures
from mlproject.report.content import (
    Chart,
    Column,
    Section,
    Table,
    count,
    decimals,
    listed,
    p_value,
    percent,
    points,
    signed,
    signed_interval,
)
from mlproject.report.questions import Question

STAND_OUTS = 5  # classes put into words in each direction
FEW_ERRORS = 5  # with fewer errors than this nothing is said of where they go
LEVEL = 0.05  # of false discoveries
PICTURES = 4  # of a class's images taken for another


def sections(key: str, name: str, mark: str, question: Question) -> list[Section]:
    """How the classes differ from their superclasses; what might be why; recall of both models on each fine class."""
    frame = _frame(question)
    above, below = frame[frame["f1_difference"] > 0], frame[frame["f1_difference"] < 0]
    stand_out = pd.concat([above.head(STAND_OUTS), below.tail(STAND_OUTS)[::-1]])
    return [
        _difference_section(key, name, mark, frame, stand_out),
        _why_section(key, name, mark, question, frame, stand_out),
        _recall_section(key, name, mark, question),
    ]


def _frame(question: Question) -> pd.DataFrame:
    """A row for each fine class: its scores, those of its superclass, the differences, where its errors go, its neighbours."""
    scores = list(evaluation.SCORES)
    fine, coarse = question.fine, question.coarse
    superclass = coarse.per_class.iloc[question.superclass_of].reset_index(drop=True)
    frame = fine.per_class[["class", "superclass", *scores, "support"]].copy()
    frame[[f"superclass_{score}" for score in scores]] = superclass[scores]
    differences = evaluation.class_differences(
        fine.labels, fine.probabilities.argmax(axis=1), coarse.probabilities.argmax(axis=1), question.superclass_of
    )
    frame = pd.concat([frame, differences, _errors(question), _neighbours(question)], axis=1)
    frame = frame[frame["support"] > 0]  # of a class without test images nothing is known
    return frame.sort_values("f1_difference", ascending=False, kind="stable", ignore_index=True)


def _errors(question: Question) -> pd.DataFrame:
    """For each fine class: how many of its images were missed, how many of these within its superclass, as what most.

    `siblings_share` is the share of the errors that would stay inside if they were spread evenly over all other classes.
    """
    classes = len(question.superclass_of)
    labels, predictions = question.fine.labels, question.fine.probabilities.argmax(axis=1)
    confused = confusion_matrix(labels, predictions, labels=range(classes))
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


def _neighbours(question: Question) -> pd.DataFrame:
    """Where each fine class lies in the fine model's feature space, by the centroids of the test images' features.

    nearest, whether it is a sibling, and `siblings_ratio`: the mean distance to its siblings over that to all other
    classes, below 1 when the siblings are the nearer. Without centroids, or siblings, what is missing is "" or NaN.
    """
    of, centroids = question.superclass_of, question.fine.centroids
    names = question.fine.per_class["class"].to_numpy()
    unknown = pd.DataFrame({"nearest": "", "nearest_is_sibling": False, "siblings_ratio": np.nan}, index=range(len(of)))
    if centroids is None or len(centroids) != len(of) or len(of) < 2:
        return unknown
    centroids = centroids.astype(np.float64)
    distances = np.linalg.norm(centroids[:, None] - centroids[None, :], axis=2)
    np.fill_diagonal(distances, np.nan)  # of a class without test images nothing is known either
    same = of[:, None] == of[None, :]
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a mean of nothing is not known: NaN
        to_siblings = np.nanmean(np.where(same, distances, np.nan), axis=1)
        ratio = to_siblings / np.nanmean(np.where(same, np.nan, distances), axis=1)
    distances = np.nan_to_num(distances, nan=np.inf)
    nearest = distances.argmin(axis=1)
    is_sibling = of[nearest] == of
    return pd.DataFrame({"nearest": names[nearest], "nearest_is_sibling": is_sibling, "siblings_ratio": ratio})


def _difference_section(key: str, name: str, mark: str, frame: pd.DataFrame, stand_out: pd.DataFrame) -> Section:
    above, below = frame[frame["f1_difference"] > 0], frame[frame["f1_difference"] < 0]
    sure = frame["p_adjusted"] < LEVEL
    overall = (
        f"Of {len(frame)} fine classes {len(above)} have a higher F1 than their superclass and {len(below)} a lower one; "
        f"the median difference is {signed(frame['f1_difference'].median())}."
    )
    beyond = (
        f"Beyond chance (Benjamini-Hochberg over the {len(frame)}, {LEVEL:.0%} false discoveries) are "
        f"{(sure & (frame['f1_difference'] > 0)).sum()} above and {(sure & (frame['f1_difference'] < 0)).sum()} below."
    )
    extremes = "; ".join(
        f"{r['class']} {r['f1']:.2f} against {r['superclass']} {r['superclass_f1']:.2f}"
        for _, r in stand_out.iterrows()
    )
    pairs = frame.assign(first=frame["f1"], second=frame["superclass_f1"])
    dumbbells = figures.dumbbells(
        pairs,
        ("fine class, model trained on fine labels", "its superclass, model trained on coarse labels"),
        ("Fine class easier than its superclass", "Fine class harder than its superclass"),
        "F1 of a fine class and of its superclass",
        f"{name}{mark}",
    )
    lowest = below.iloc[-1] if len(below) else None
    furthest = "" if lowest is None else f": {lowest['class']} in {lowest['superclass']}"
    charts = [
        Chart(
            f"{key}.classes",
            dumbbells,
            f"F1 of fine classes and of their superclasses{mark}: {extremes}",
            f"The fine classes whose F1 is furthest above and below that of their superclass{mark}. {overall}",
        ),
        Chart(
            f"{key}.superclasses",
            figures.superclass_panels(frame, f"{name}{mark}"),
            f"F1 of the classes of each superclass against its own{mark}: {overall}",
            f"A superclass in each panel, first the one with the class furthest below it{mark}{furthest}. "
            "The bars are 95% intervals of the differences, each class by itself: where one does not reach the line, the class "
            "differs from its superclass.",
        ),
    ]
    title = f"Fine classes and their superclasses, by difference in F1{mark}"
    table = Table(f"{key}.classes", title, frame, _CLASS_COLUMNS, _CLASS_NOTE)
    return Section(
        f"Each fine class beside its superclass{mark}", [overall, beyond], charts, [table], [f"{overall} {beyond}"]
    )


def _confused_text(row: pd.Series) -> str:
    return f"{row['most_confused_with']} ({row['most_confused']})" if row["errors"] else "–"


_CLASS_COLUMNS = (
    Column("fine class", lambda r: r["class"], number=False),
    Column("superclass", lambda r: r["superclass"], number=False),
    Column("F1 difference", lambda r: signed(r["f1_difference"])),
    Column("95% interval", lambda r: signed_interval(r["f1_low"], r["f1_high"])),
    Column("p, BH-adjusted", lambda r: p_value(r["p_adjusted"])),
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
    Column("nearest in feature space", lambda r: r["nearest"] or "–", number=False),
    Column("siblings' distance, others' = 1", lambda r: decimals(r["siblings_ratio"], 2)),
)
_CLASS_NOTE = (
    "A fine class is scored by the model trained on fine labels, its superclass by the one trained on coarse labels; the "
    "difference is the fine class's score less its superclass's. Interval: bootstrap over the test images (2,000 resamples, "
    "both models scored on each). p: difference over its bootstrap standard error, adjusted by Benjamini and Hochberg. The "
    "CSV has intervals for precision and recall too. Distances are between the classes' mean features."
)


def _why_section(
    key: str, name: str, mark: str, question: Question, frame: pd.DataFrame, stand_out: pd.DataFrame
) -> Section:
    findings = [_hypothesis(row, frame) for _, row in stand_out.iterrows()]
    rows = [picture for _, row in stand_out.iterrows() if (picture := _pictures(question, row))]
    charts = []
    if rows:
        figure = figures.gallery(rows, "what the fine classes that stand out are taken for", f"{name}{mark}")
        alt = f"Misread images of the classes that stand out{mark}: " + "; ".join(heading for heading, _ in rows)
        caption = (
            f"Images of the classes that stand out{mark} which {question.fine.title} takes for another, the surest mistakes "
            "first, and on the right images of that other class which it gets right."
        )
        charts.append(Chart(f"{key}.confused", figure, alt, caption))
    elif question.fine.images is None:
        findings.append("Example images are missing: the fine model's run has kept none.")
    return Section(f"Why? Hypotheses for the classes that stand out{mark}", findings, charts, [])


def _pictures(question: Question, row: pd.Series) -> tuple[str, list[tuple[np.ndarray, str]]] | None:
    """Images of the class taken for the one it is most confused with, beside images of that one rightly recognised."""
    fine, names = question.fine, question.fine.class_names
    if not fine.images or row["most_confused"] < FEW_ERRORS:
        return None
    one, other = names.index(row["class"]), names.index(row["most_confused_with"])
    predictions = fine.probabilities.argmax(axis=1)
    kept = np.array(sorted(fine.images))
    kept = kept[kept < len(predictions)]
    taken = kept[(fine.labels[kept] == one) & (predictions[kept] == other)]
    taken = taken[np.argsort(-fine.probabilities[taken, other], kind="stable")][:PICTURES]
    right = kept[(fine.labels[kept] == other) & (predictions[kept] == other)][:PICTURES]
    if not len(taken):
        return None
    pictures = [(fine.images[index], f"{names[one]}, taken for {names[other]}") for index in taken]
    pictures += [(fine.images[index], f"{names[other]}, recognised") for index in right]
    return f"{row['class']} is taken for {row['most_confused_with']} in {row['most_confused']} images", pictures


def _hypothesis(row: pd.Series, frame: pd.DataFrame) -> str:
    """What stands out about one class, how sure it is, and a guess at the reason from where its errors go."""
    direction = "above" if row["f1_difference"] > 0 else "below"
    says = f"{row['class']}: F1 {row['f1']:.2f}, {abs(row['f1_difference']):.2f} {direction} its superclass "
    says += f"{row['superclass']} ({row['superclass_f1']:.2f}; interval of the difference "
    says += f"{signed_interval(row['f1_low'], row['f1_high'])})"
    if row["p_adjusted"] >= LEVEL:
        says += f", though over {len(frame)} classes such a difference may be chance"
    why = _why_above(row, frame) if row["f1_difference"] > 0 else _why_below(row)
    return " ".join(part for part in (f"{says}.", _where_errors_go(row), _where_it_lies(row), why) if part)


def _where_errors_go(row: pd.Series) -> str:
    errors = f"Errors on its {row['support']:.0f} images: {row['errors']}"
    if row["errors"] < FEW_ERRORS:
        return f"{errors}."
    most = f"most often taken for {row['most_confused_with']} ({row['most_confused']}×)"
    return (
        f"{errors}, of them inside the superclass: {row['errors_inside']} ({row['errors_inside'] / row['errors']:.0%}; "
        f"evenly spread it would be {row['siblings_share']:.0%}); "
        f"{most if row['most_confused'] > 1 else 'never twice taken for the same class'}."
    )


def _where_it_lies(row: pd.Series) -> str:
    if not row["nearest"] or np.isnan(row["siblings_ratio"]):
        return ""
    kin = "a sibling" if row["nearest_is_sibling"] else "of another superclass"
    return (
        f"In the model's feature space its nearest class is {row['nearest']}, {kin}; its siblings lie at "
        f"{row['siblings_ratio']:.2f} of the other classes' mean distance."
    )


def _why_above(row: pd.Series, frame: pd.DataFrame) -> str:
    reasons = []
    if row["siblings_ratio"] >= 1:
        reasons.append(
            "Perhaps it looks unlike its siblings, so that a superclass of such mixed looks is harder to learn."
        )
    siblings = frame[(frame["superclass"] == row["superclass"]) & (frame["class"] != row["class"])]
    if siblings.empty:
        return " ".join(reasons)
    weakest = siblings.loc[siblings["f1"].idxmin()]
    if weakest["f1"] < row["superclass_f1"]:
        reasons.append(
            f"Perhaps siblings hold the superclass back: {weakest['class']} (F1 {weakest['f1']:.2f}) is the hardest."
        )
    else:
        reasons.append(
            "Its siblings all score above the superclass too: perhaps it is the coarse model that finds this superclass hard."
        )
    return " ".join(reasons)


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


def _recall_section(key: str, name: str, mark: str, question: Question) -> Section:
    """On the images of each fine class: how often each model names the right superclass."""
    coarse_right = question.coarse.correct
    fine_right = question.by_sum == question.truth
    rows: list[dict[str, Any]] = []
    for index, (class_name, superclass) in enumerate(
        zip(question.fine.per_class["class"], question.fine.per_class["superclass"], strict=True)
    ):
        of_class = question.fine.labels == index
        if of_class.any():
            a, b = fine_right[of_class], coarse_right[of_class]
            recalls = {"images": int(of_class.sum()), "fine_recall": a.mean(), "coarse_recall": b.mean()}
            rows.append({"class": class_name, "superclass": superclass} | recalls | evaluation.paired_difference(a, b))
    frame = pd.DataFrame(rows).sort_values("difference", ascending=False, kind="stable", ignore_index=True)
    frame["p_adjusted"] = evaluation.benjamini_hochberg(frame["p"])
    sure = frame["p_adjusted"] < LEVEL
    gains, losses = frame[frame["difference"] > 0], frame[frame["difference"] < 0]
    overall = (
        f"On the images of {len(gains)} of {len(frame)} fine classes {question.fine.title}, its probabilities summed, names the "
        f"right superclass more often than {question.coarse.title}, on those of {len(losses)} less often; beyond chance "
        f"(Benjamini-Hochberg) are {(sure & (frame['difference'] > 0)).sum()} and {(sure & (frame['difference'] < 0)).sum()}."
    )
    ends = (("gained", gains), ("lost", losses))
    extremes = " ".join(f"Most is {what} on {_furthest(rows)}." for what, rows in ends if len(rows))
    figure = figures.dumbbells(
        frame.assign(first=frame["fine_recall"], second=frame["coarse_recall"]),
        ("model trained on fine labels, probabilities summed", "model trained on coarse labels"),
        ("Right more often with fine labels", "Right less often with fine labels"),
        "recall of the superclass on each fine class's images",
        f"{name}{mark}",
    )
    alt = f"Recall of the superclass on each fine class's images{mark}: {extremes}"
    title = f"Recall of the superclass on each fine class's images{mark}"
    return Section(
        f"Which images gain from fine labels?{mark}",
        [text for text in (overall, extremes) if text],
        [Chart(f"{key}.recall", figure, alt, f"Recall of the superclass{mark}. {overall} {extremes}")],
        [Table(f"{key}.recall", title, frame, _RECALL_COLUMNS, _RECALL_NOTE)],
        [overall],
    )


def _furthest(frame: pd.DataFrame) -> str:
    """The class with the largest difference and its recalls, or all classes that share it."""
    sizes = frame["difference"].abs()
    rows = frame[np.isclose(sizes, sizes.max())]
    if len(rows) > 1:
        return f"{listed(rows['class'])}, {decimals(100 * sizes.max(), 2)} points each"
    (row,) = rows.to_dict("records")
    return f"{row['class']} ({percent(row['coarse_recall'])} to {percent(row['fine_recall'])})"


_RECALL_COLUMNS = (
    Column("fine class", lambda r: r["class"], number=False),
    Column("superclass", lambda r: r["superclass"], number=False),
    Column("images", lambda r: count(r["images"])),
    Column("fine labels, summed", lambda r: percent(r["fine_recall"])),
    Column("coarse labels", lambda r: percent(r["coarse_recall"])),
    Column("difference, points", lambda r: points(r["difference"])),
    Column("95% interval, points", lambda r: f"{points(r['score_low'])} to {points(r['score_high'])}"),
    Column("McNemar p", lambda r: p_value(r["p"])),
    Column("p, BH-adjusted", lambda r: p_value(r["p_adjusted"])),
)
_RECALL_NOTE = (
    "Both models are asked for the superclass of the same images. Interval: Agresti and Min, for matched pairs; p: exact "
    "McNemar test, adjusted by Benjamini and Hochberg over all classes."
)
