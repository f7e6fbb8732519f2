"""Members -> comparisons: who is compared with whom, the tables, and sentences chosen by rules from the numbers. Pure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlproject import evaluation, plots
from mlproject.report import calibration, classes, figures, granularity, pairs
from mlproject.report.content import (
    Chart,
    Column,
    Comparison,
    Section,
    Table,
    count,
    decimals,
    interval,
    listed,
    percent,
)
from mlproject.report.members import Member, data_mark, slugs

# Of a search; seeds are set against the same ones.
SETTINGS = ("budget_minutes", "max_trials", "tuner", "values", "deterministic", "weights", "weights_digest")


def compare(members: Sequence[Member]) -> list[Comparison]:
    """One comparison for each pair of (comparison tag, kind of data) among the members, real data first.

    Real and synthetic members thus never meet. Members without a comparison tag are in none.
    """
    groups: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        if member.tag("comparison"):
            groups.setdefault((member.tag("comparison"), member.data), []).append(member)
    ordered = sorted(groups, key=lambda group: (group[1] != "real", group))
    keys = slugs([f"{name} {data if data != 'real' else ''}" for name, data in ordered])
    return [_comparison(*group, key, groups[group]) for group, key in zip(ordered, keys, strict=True)]


def _comparison(name: str, data: str, key: str, members: list[Member]) -> Comparison:
    mark, gaps = data_mark(data), [gap for member in members for gap in member.gaps]
    if len(members) == 1:
        gaps.append(f"{members[0].title} is the only member found: there is nothing to compare it with")
    sections = [_accuracy_section(key, name, mark, members), _seeds_section(key, mark, members)]
    sections += granularity.sections(key, name, mark, members, gaps)
    groups = _comparable(members, gaps)
    for number, group in enumerate(groups, start=1):
        prefix = key if len(groups) == 1 else f"{key}.{number}"
        sections += [_pairs_section(prefix, mark, group), *classes.sections(prefix, name, mark, group)]
    sections += [calibration.section(key, name, mark, members), _training_section(key, name, mark, members)]
    return Comparison(name, key, mark, members, [section for section in sections if section], gaps)


def _comparable(members: list[Member], gaps: list[str]) -> list[list[Member]]:
    """Members that answered the same question on the same images, in groups of two and more."""
    groups: list[list[Member]] = []
    for member in members:
        if member.correct is None:
            continue
        for group in groups:
            same_labels = member.tag("labels") == group[0].tag("labels")
            if same_labels and pairs.same_images(member, group[0]) and np.array_equal(member.labels, group[0].labels):
                group.append(member)
                break
            if same_labels:
                alike = pairs.same_images(member, group[0])
                told = "have other labels for the same images" if alike else "were not tested on the same images"
                gaps.append(f"{group[0].title} and {member.title} {told}: no paired comparison")
        else:
            groups.append([member])
    return [group for group in groups if len(group) > 1 or group[0].stages]


def _accuracy_section(key: str, name: str, mark: str, members: list[Member]) -> Section:
    frame = pd.DataFrame([row for member in members for row in _rows(member)])
    frame = frame.sort_values(["labels", "accuracy"], ascending=[True, False], kind="stable", ignore_index=True)
    measured, charts = frame.dropna(subset=["low"]), []
    if len(measured):
        bars = measured.assign(name=measured["model"] + _labelled(measured), synthetic=members[0].data == "synthetic")
        alt = "; ".join(f"{row.name} {percent(row.accuracy)}" for row in bars.itertuples(index=False))
        caption = " ".join([*_leaders(measured), f"Accuracy on the test images with 95% intervals{mark}."])
        if measured["labels"].nunique() > 1:
            caption += (
                " Models with different labels answer different questions: compare only within one kind of labels."
            )
        figure = plots.accuracy_bars(bars, f"{name}{mark}")
        charts.append(Chart(f"{key}.accuracy", figure, f"Test accuracy{mark}: {alt}", caption))
    tables = [
        Table(
            f"{key}.accuracy",
            f"Accuracy{mark}",
            frame.drop(columns=[*_COST, "digest"]),
            _ACCURACY_COLUMNS,
            _ACCURACY_NOTE,
        ),
        Table(
            f"{key}.averages", f"Averages over the classes{mark}", _averages(members), _AVERAGE_COLUMNS, _AVERAGE_NOTE
        ),
        Table(f"{key}.cost", f"Cost{mark}", frame[["model", *_COST]], _COST_COLUMNS, _COST_NOTE),
    ]
    return Section(
        f"Accuracy and cost{mark}", _findings(frame), charts, [table for table in tables if len(table.frame)]
    )


def _leaders(measured: pd.DataFrame) -> list[str]:
    """Which model is ahead, for each kind of labels of the same images that more than one was tested on."""
    said = []
    for (labels, _), rivals in measured.groupby(["labels", "digest"]):
        if len(rivals) > 1:
            best = rivals[rivals["accuracy"] == rivals["accuracy"].max()]
            verb = "has" if len(best) == 1 else "share"
            where = f" on {labels} labels" if measured["labels"].nunique() > 1 else ""
            if measured.loc[measured["labels"] == labels, "digest"].nunique() > 1:
                where += " of those tested on the same images"
            said.append(
                f"{listed(best['model'])} {verb} the highest accuracy{where}, {percent(best['accuracy'].max())}."
            )
    return said


def _labelled(frame: pd.DataFrame) -> pd.Series:
    """What to add to the models' names in a figure: their labels, where these differ."""
    return " (" + frame["labels"] + " labels)" if frame["labels"].nunique() > 1 else pd.Series("", frame.index)


def _rows(member: Member) -> list[dict]:
    """A row for the member, before it one for each earlier stage of its fit."""
    metrics = member.model.metrics
    row = {"model": member.title, "version": member.model.version, "labels": member.tag("labels")}
    row["digest"] = member.tag("test.digest")
    row |= dict.fromkeys(("classes", "images", "accuracy", "low", "high", "top5_accuracy", "chance"), np.nan)
    row |= {name: metrics.get(name, np.nan) for name in ("test_loss", "val_accuracy", *_COST)}
    row["milliseconds"] = 1000 / metrics.get("prediction_images_per_second", np.nan)
    row["trials"] = np.nan if member.trials is None else len(member.trials)
    if member.correct is None:
        row["accuracy"] = metrics.get("test_accuracy", np.nan)
        row["top5_accuracy"] = metrics.get("test_top5_accuracy", np.nan)
        return [row]
    stages = list(member.stages)
    return [
        row
        | _measured(member, title, probabilities)
        | (_until(member, stages[: place + 1]) if place < len(stages) else {})
        for place, (title, probabilities) in enumerate(member.answers)
    ]


def _measured(member: Member, title: str, probabilities: np.ndarray) -> dict:
    correct = probabilities.argmax(axis=1) == member.labels
    low, high = evaluation.interval(correct)
    summary = evaluation.summary(member.labels, probabilities)
    return {
        "model": title,
        "classes": probabilities.shape[1],
        "images": len(member.labels),
        "accuracy": summary["test_accuracy"],
        "low": low,
        "high": high,
        "top5_accuracy": summary.get("test_top5_accuracy", np.nan),
        "chance": np.bincount(member.labels).max() / len(member.labels),
        "test_loss": summary["test_loss"],
    }


def _until(member: Member, stages: list[str]) -> dict:
    """What is different in the row of an earlier stage: minutes up to its end, and nothing that was measured at the end only."""
    history = member.history
    seconds = history.loc[history["stage"].isin(stages), "seconds"].sum() if "seconds" in history else np.nan
    return {"train_seconds": seconds, "val_accuracy": np.nan, "images_per_second": np.nan}


_COST = ["parameters", "train_seconds", "search_seconds", "trials", "images_per_second", "milliseconds", "model_bytes"]
_ACCURACY_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("labels", lambda r: r["labels"], number=False),
    Column("classes", lambda r: count(r["classes"])),
    Column("test images", lambda r: count(r["images"])),
    Column("accuracy", lambda r: percent(r["accuracy"])),
    Column("95% interval", lambda r: interval(r["low"], r["high"])),
    Column("chance", lambda r: percent(r["chance"])),
    Column("top-5 accuracy", lambda r: percent(r["top5_accuracy"])),
    Column("loss", lambda r: decimals(r["test_loss"])),
    Column("validation accuracy", lambda r: percent(r["val_accuracy"])),
)
_ACCURACY_NOTE = (
    "Intervals: Wilson, 95%; they cover the luck of the test images, not that of the training seed. Chance is the accuracy "
    "of always naming the most frequent class. Validation accuracy is the winning trial's, which trained for less time and on "
    "fewer images."
)
_COST_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("parameters", lambda r: count(r["parameters"])),
    Column("on disk, MB", lambda r: decimals(r["model_bytes"] / 1e6, 1)),
    Column("training, minutes", lambda r: decimals(r["train_seconds"] / 60, 1)),
    Column("search, minutes", lambda r: decimals(r["search_seconds"] / 60, 1)),
    Column("trials", lambda r: count(r["trials"])),
    Column("images/s, training", lambda r: count(r["images_per_second"])),
    Column("prediction, ms/image", lambda r: decimals(r["milliseconds"], 2)),
)
_COST_NOTE = (
    "Minutes, images per second and milliseconds are those of the machine that ran the search, whatever else it was doing; "
    "prediction in batches."
)


def _averages(members: list[Member]) -> pd.DataFrame:
    rows = [
        {"model": title, "labels": member.tag("labels")}
        | evaluation.averages(member.labels, probabilities.argmax(axis=1), probabilities.shape[1])
        for member in members
        for title, probabilities in member.answers
    ]
    return pd.DataFrame(rows)


AVERAGES = tuple(
    Column(f"{average} {score.replace('f1', 'F1')}", lambda r, name=f"{average}_{score}": decimals(r[name]))
    for average in ("macro", "weighted")
    for score in evaluation.SCORES
)
_AVERAGE_COLUMNS = (
    Column("model", lambda r: r["model"], number=False),
    Column("labels", lambda r: r["labels"], number=False),
    *AVERAGES,
)
_AVERAGE_NOTE = (
    "Macro: every class counts the same; weighted: by its number of test images. The two agree when these are equal."
)


def _findings(frame: pd.DataFrame) -> list[str]:
    findings = []
    for row in frame.dropna(subset=["low"]).itertuples():
        says = f"{row.model} classifies {percent(row.accuracy)} of {row.images:,.0f} test images correctly "
        says += f"(95% interval {interval(row.low, row.high)}); chance is {percent(row.chance)}"
        if row.high < row.chance:
            says += ": it is below chance"
        elif row.low <= row.chance:
            says += ": it cannot be told from chance"
        findings.append(f"{says}.")
    whole = frame.dropna(subset=["parameters", "train_seconds", "val_accuracy"]).sort_values("parameters")
    if len(whole) > 1 and whole["parameters"].nunique() > 1:
        small, large = whole.iloc[0], whole.iloc[-1]
        findings.append(
            f"{small['model']} is the smallest with {count(small['parameters'])} parameters and "
            f"{decimals(small['train_seconds'] / 60, 1)} minutes of training; {large['model']} the largest with "
            f"{count(large['parameters'])} and {decimals(large['train_seconds'] / 60, 1)} minutes."
        )
    timed = whole.dropna(subset=["milliseconds"]).sort_values("milliseconds")
    if len(timed) > 1:
        fast, slow = timed.iloc[0], timed.iloc[-1]
        findings.append(
            f"{fast['model']} predicts fastest with {decimals(fast['milliseconds'], 2)} ms an image, {slow['model']} slowest "
            f"with {decimals(slow['milliseconds'], 2)}."
        )
    return findings


def _seeds_section(key: str, mark: str, members: list[Member]) -> Section | None:
    """Mean and spread of each experiment that was searched with several seeds and else the same settings, on the same data."""
    alike: dict[tuple[str, ...], dict[str, Member]] = {}
    for member in sorted(members, key=lambda one: one.model.version):  # the newest version of a seed counts
        if "test_accuracy" in member.model.metrics:
            settings = [member.model.params.get(name, "") for name in SETTINGS]
            key_of = (member.tag("experiment"), member.tag("dataset.digest"), *settings)
            alike.setdefault(key_of, {})[member.seed] = member
    rows = []
    for (experiment, _, budget, *_), seeds in alike.items():
        if len(seeds) < 2:
            continue
        accuracies = pd.Series([member.model.metrics["test_accuracy"] for member in seeds.values()])
        spread = accuracies.agg(["mean", "std", "min", "max"]).to_dict()
        names = ", ".join(sorted(seeds, key=lambda seed: (len(seed), seed)))
        commits = len({member.tag("git.commit") for member in seeds.values()})
        rows.append({"experiment": experiment, "budget": budget, "seeds": names, "commits": commits, **spread})
    if not rows:
        return None
    findings = [
        f"{row['experiment']}: {len(row['seeds'].split(', '))} seeds reach {percent(row['mean'])} on average, standard "
        f"deviation {decimals(100 * row['std'], 2)} points ({percent(row['min'])} to {percent(row['max'])})."
        for row in rows
    ]
    columns = (
        Column("experiment", lambda r: r["experiment"], number=False),
        Column("budget, minutes", lambda r: r["budget"]),
        Column("seeds", lambda r: r["seeds"], number=False),
        Column("commits", lambda r: count(r["commits"])),
        Column("mean accuracy", lambda r: percent(r["mean"])),
        Column("standard deviation, points", lambda r: decimals(100 * r["std"], 2)),
        Column("least", lambda r: percent(r["min"])),
        Column("most", lambda r: percent(r["max"])),
    )
    note = "The seed decides the split, the trials and the initial weights, so the spread is that of search and fit together; "
    note += "of versions of more than one commit it is that of the changes between these, too."
    table = Table(f"{key}.seeds", f"Seeds{mark}", pd.DataFrame(rows), columns, note)
    return Section(f"How much the seed matters{mark}", findings, [], [table])


def _pairs_section(key: str, mark: str, members: list[Member]) -> Section:
    labels = members[0].labels
    answers = [
        (title, probabilities.argmax(axis=1) == labels) for member in members for title, probabilities in member.answers
    ]
    frame = pairs.compare(answers)
    table = Table(f"{key}.pairs", f"Paired differences in accuracy{mark}", frame, pairs.COLUMNS, pairs.NOTE)
    return Section(f"Pair by pair{mark}", pairs.findings(frame), [], [table], _conclusions(frame, members))


def _conclusions(frame: pd.DataFrame, members: list[Member]) -> list[str]:
    """Who leads, beyond chance or not; and who of those level with it is the cheapest."""
    finished = {member.title: member.model.metrics for member in members}
    between = frame[frame["a"].isin(finished) & frame["b"].isin(finished)]
    if between.empty:
        return pairs.findings(frame)
    said = pairs.findings(between)
    leader = next(title for title in between["a"] if title not in set(between["b"]))
    level = [row["b"] for _, row in between.iterrows() if row["a"] == leader and not pairs.decided(row)]
    sizes = {title: finished[title]["parameters"] for title in (leader, *level) if "parameters" in finished[title]}
    smallest = min(sizes, key=sizes.get, default=leader)
    if level and smallest != leader and sizes.get(leader, 0) > sizes[smallest]:
        said.append(
            f"Of those that cannot be told apart from {leader}, {smallest} is the smallest, with {count(sizes[smallest])} "
            f"parameters to {count(sizes[leader])}."
        )
    stages = [row for _, row in frame.iterrows() if any(_same_network(row, member) for member in members)]
    return said + [pairs.finding(row) for row in stages]


def _same_network(row: pd.Series, member: Member) -> bool:
    """Whether the row sets the finished network against one of its own earlier stages."""
    return member.title in (row["a"], row["b"]) and {row["a"], row["b"]} <= {title for title, _ in member.answers}


def _training_section(key: str, name: str, mark: str, members: list[Member]) -> Section | None:
    histories = {m.title: m.history for m in members if m.history is not None and "seconds" in m.history}
    if not histories:
        return None
    ends = {title: history["accuracy"].iloc[-1] for title, history in histories.items()}
    minutes = {title: history["seconds"].sum() / 60 for title, history in histories.items()}
    says = "; ".join(
        f"{title} {percent(ends[title])} after {len(histories[title])} epochs in {decimals(minutes[title], 1)} minutes"
        for title in histories
    )
    rings = any(history["stage"].nunique() > 1 for history in histories.values())
    caption = f"Training accuracy at the end{mark}: {says}. Measured while training, with augmentation and dropout on."
    caption += " A ring marks the end of a stage." if rings else ""
    figure = figures.learning_curves(histories, f"{name}{mark}")
    chart = Chart(f"{key}.training", figure, f"Training accuracy by minutes{mark}: {says}", caption)
    return Section(f"Learning curves of the final fits{mark}", _generalisation_gaps(members, ends), [chart], [])


def _generalisation_gaps(members: list[Member], ends: dict[str, float]) -> list[str]:
    """Which members do better, and which worse, on test images than they did on training images."""
    scored = [member for member in members if member.summary and member.title in ends]
    ahead = [m.title for m in scored if m.summary["test_accuracy"] - ends[m.title] > 0.02]
    behind = [m.title for m in scored if ends[m.title] - m.summary["test_accuracy"] > 0.02]
    said = []
    if behind:
        said.append(
            f"The training accuracy of {listed(behind)} ends more than 2 points above the test accuracy: that much of what was "
            "learnt does not carry over to new images. Whether more epochs, more regularisation or more images would help most, "
            "these curves do not tell."
        )
    if ahead:
        said.append(
            f"The training accuracy of {listed(ahead)} ends more than 2 points below the test accuracy, with augmentation and "
            "dropout on: perhaps more epochs would help."
        )
    return said
