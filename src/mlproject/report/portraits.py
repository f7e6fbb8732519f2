"""Each final model by itself: its plots, its confusions, its search, its network, and where it comes from. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlproject import evaluation, pretrained
from mlproject.report import networks, searches
from mlproject.report.content import Chart, Column, Section, Table, count, decimals, percent, text_table
from mlproject.report.members import PLOTS, Member

MOST_PAIRS = 20  # of confused classes in the table


@dataclass(frozen=True, eq=False)
class Portrait:
    """What is shown of one model beside the comparisons."""

    member: Member
    sections: list[Section]


def portray(member: Member) -> Portrait:
    """Sections about one model: what it does on the test images, how its hyperparameters were found, how it is built."""
    sections = [_results(member), searches.section(member), _network(member)]
    return Portrait(member, [section for section in sections if section])


def _results(member: Member) -> Section:
    facts = list(member.gaps)
    if "parameters" in member.model.metrics:
        facts.append(f"The network has {count(member.model.metrics['parameters'])} parameters.")
    found = _found(member)
    charts = []
    for plot, file in member.plots.items():
        title = f"{PLOTS[plot]}: {member.title}{member.mark}"
        says = f"{title}. {found.get(plot, '')}".strip()
        charts.append(Chart(f"{member.key}.{plot.replace('_', '-')}", file, says, says))
    return Section(f"On the test images: {member.title}{member.mark}", facts, charts, _confused(member))


def _found(member: Member) -> dict[str, str]:
    """What each of the run's own plots shows, in words, as far as the numbers behind it could be read."""
    found = {}
    if member.history is not None and len(member.history):
        history = member.history
        accuracy = history["accuracy"]
        found["learning_curves"] = (
            f"Training accuracy rose from {percent(accuracy.iloc[0])} in the first to {percent(accuracy.iloc[-1])} in the "
            f"last of {len(history)} epochs."
            if len(history) > 1 and accuracy.iloc[-1] > accuracy.iloc[0]
            else f"Training accuracy in the last of {len(history)} epochs: {percent(accuracy.iloc[-1])}."
        )
    if member.per_class is not None and len(member.per_class):
        f1 = member.per_class[member.per_class["support"] > 0].set_index("class")["f1"]
        found["per_class"] = (
            f"Best is {f1.idxmax()} (F1 {decimals(f1.max(), 2)}), worst {f1.idxmin()} ({decimals(f1.min(), 2)})."
        )
    if member.labels is not None and member.per_class is not None:
        pairs = evaluation.confused_pairs(member.labels, member.probabilities.argmax(axis=1), member.class_names)
        if len(pairs):
            top = pairs.iloc[0]
            found["confusion"] = (
                f"Most often {top['class']} is taken for {top['taken_for']}: {top['images']} images, "
                f"{top['share']:.0%} of the class."
            )
        wrong = np.flatnonzero(~member.correct)
        if len(wrong):
            worst = wrong[member.probabilities[wrong].max(axis=1).argmax()]
            found["examples"] = (
                f"The surest mistake: {member.class_names[member.labels[worst]]} taken for "
                f"{member.class_names[member.probabilities[worst].argmax()]} with "
                f"{percent(float(member.probabilities[worst].max()))}."
            )
    return found


def _confused(member: Member) -> list[Table]:
    if member.labels is None or member.per_class is None:
        return []
    pairs = evaluation.confused_pairs(member.labels, member.probabilities.argmax(axis=1), member.class_names)
    columns = [
        Column("class", lambda r: r["class"], number=False),
        Column("taken for", lambda r: r["taken_for"], number=False),
        Column("images", lambda r: count(r["images"])),
        Column("share of the class", lambda r: percent(r["share"])),
    ]
    superclasses = member.per_class["superclass"].to_numpy()
    if (superclasses != "").any():
        inside = superclasses[pairs["true"]] == superclasses[pairs["predicted"]]
        pairs = pairs.assign(same_superclass=np.where(inside, "yes", "no"))
        columns.append(Column("same superclass", lambda r: r["same_superclass"], number=False))
    if pairs.empty:
        return []
    shown = pairs.drop(columns=["true", "predicted"]).head(MOST_PAIRS)
    title = f"The {len(shown)} most confused pairs of {len(pairs)}{member.mark}"
    return [Table(f"{member.key}.confused", title, shown, tuple(columns))]


def _network(member: Member) -> Section | None:
    layers = member.layers
    if layers is None:
        return None
    name = f"{member.title}{member.mark}"
    findings, charts = [], []
    if {"layer", "depends_on_colours", "depends_on_classes"} <= set(layers):
        findings.append(networks.sentence(layers))
    if set(layers) >= networks.DRAWN_FROM and len(layers):
        figure = networks.draw(layers, name)
        caption = f"The network of {name}, from the images to the probabilities. {networks.sentence(layers)}"
        charts.append(Chart(f"{member.key}.network", figure, caption, caption))
    table = networks.with_roles(layers) if "type" in layers else layers
    title = f"The layers, and what they depend on{member.mark}"
    return Section(f"The network of {name}", findings, charts, [text_table(f"{member.key}.layers", title, table)])


def provenance(members: Sequence[Member]) -> list[Table]:
    """Where every model comes from and the command that makes it again; and on what it was made."""
    frame = pd.DataFrame([_origin(member) for member in members]).fillna("").replace("", "not recorded")
    runs = ("model", "version", "alias", "run", "data", "labels", "seed", "commit")
    origins = ("model", "data set", "data digest", "test images' digest", "repeat it")
    return [
        Table("provenance", "Runs", frame, tuple(map(_origin_column, runs))),
        Table("data", "Data and commands", frame[list(origins)], tuple(map(_origin_column, origins))),
        *_environments(members),
    ]


def _origin_column(name: str) -> Column:
    return Column(name, lambda row: row[name], number=False, link="url" if name == "run" else "")


def _environments(members: Sequence[Member]) -> list[Table]:
    """Versions and machines: a column for each set of members that share them all."""
    described: dict[tuple, list[str]] = {}
    for member in members:
        if member.environment is not None:
            facts = {name: str(fact) for name, fact in member.environment.items()}
            described.setdefault(tuple(facts.items()), []).append(member.title)
    if not described:
        return []
    columns = {", ".join(titles): dict(facts) for facts, titles in described.items()}
    frame = pd.DataFrame(columns).fillna("").rename_axis("what").reset_index()
    return [text_table("environments", "Machines and versions", frame)]


def _origin(member: Member) -> dict[str, str]:
    model = member.model
    return {
        "model": f"{model.name}{member.mark}",
        "version": str(model.version),
        "alias": model.alias,
        "run": model.run_id,
        "url": model.url,
        "data": member.data,
        "data set": member.tag("dataset"),
        "labels": member.tag("labels"),
        "data digest": member.tag("dataset.digest"),
        "test images' digest": member.tag("test.digest"),
        "commit": member.tag("git.commit"),
        "seed": member.seed,
        "repeat it": _command(member),
    }


def _command(member: Member) -> str:
    """The command that runs this search and final fit again."""
    params = member.model.params
    wanted = {"experiment": member.tag("experiment") or member.model.name}
    wanted |= {"data": member.tag("data")} if member.mark and member.data else {}
    wanted |= {name: params[name] for name in ("tuner", "budget_minutes") if params.get(name)}
    if params.get("max_trials") not in (None, "", "None", "0"):
        wanted["max_trials"] = params["max_trials"]
    wanted |= {"values": params["values"]} if params.get("values") else {}
    wanted |= {"seed": member.seed} if member.seed else {}
    wanted |= {"deterministic": "true"} if params.get("deterministic") == "True" else {}
    weights = params.get("weights")
    usual = weights in ((None, *pretrained.NAMES) if member.data == "real" else (None, "none"))
    # Of a file only the name is logged.
    wanted |= {} if usual else {"weights": weights if weights == "none" else f"FOLDER/{weights}"}
    given = "".join(f" -P {shlex.quote(f'{name}={value}')}" for name, value in wanted.items())
    return f"mlflow run . -e tune --env-manager local{given}"
