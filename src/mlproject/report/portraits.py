"""Each final model by itself: its plots, its search, its layers, and where it comes from. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mlproject.report.content import Table, count, decimals, percent, text_table
from mlproject.report.members import Member

TRIAL_COLUMNS = ("trial", "status", "val_accuracy", "seconds", "minutes", "reason")


@dataclass(frozen=True, eq=False)
class Portrait:
    """What is shown of one model beside the comparisons."""

    member: Member
    facts: list[str]
    tables: list[Table]


def portray(member: Member) -> Portrait:
    """The sentences and tables about one model: its search, the winner's hyperparameters, every trial, every layer."""
    wanted = {}
    if member.trials is not None:
        if len(member.ranked_trials):
            wanted["winner"] = ("The winner's hyperparameters", _winner(member))
        wanted["trials"] = ("All trials of the search", member.trials)
    if member.layers is not None:
        wanted["layers"] = ("The layers, and what they depend on", member.layers)
    tables = [text_table(f"{member.key}.{name}", f"{title}{member.mark}", t) for name, (title, t) in wanted.items()]
    return Portrait(member, _facts(member), tables)


def _winner(member: Member) -> pd.DataFrame:
    """The hyperparameters of the best trial, a row each; those that this trial did not have are left out."""
    best = member.ranked_trials.iloc[0].drop(list(TRIAL_COLUMNS), errors="ignore")
    return pd.DataFrame({"hyperparameter": best.index, "value": best.to_numpy()})[(best != "").to_numpy()]


def _facts(member: Member) -> list[str]:
    metrics, facts = member.model.metrics, [*member.gaps]
    if member.trials is not None:
        ranked, tried = member.ranked_trials, len(member.trials)
        says = f"The search completed {len(ranked)} of {tried} trials; {tried - len(ranked)} failed."
        if len(ranked):
            value = pd.to_numeric(ranked["val_accuracy"]).iloc[0]
            says += f" The best, {ranked['trial'].iloc[0]}, reached {percent(value)} on validation images."
        facts.append(says)
    if "search_seconds" in metrics and "train_seconds" in metrics:
        search, training = decimals(metrics["search_seconds"] / 60, 1), decimals(metrics["train_seconds"] / 60, 1)
        facts.append(f"The search took {search} minutes, the final fit {training} minutes of training.")
    if "parameters" in metrics:
        facts.append(f"The network has {count(metrics['parameters'])} parameters.")
    return facts


def provenance(members: Sequence[Member]) -> Table:
    """Where every model comes from and the command that makes it again: a row for each model."""
    frame = pd.DataFrame([_origin(member) for member in members]).fillna("").replace("", "not recorded")
    return text_table("provenance", "Runs, data and commands", frame)


def _origin(member: Member) -> dict[str, str]:
    model = member.model
    return {
        "model": f"{model.name}{member.mark}",
        "version": str(model.version),
        "alias": model.alias,
        "run": model.run_id,
        "data": member.data,
        "data set": member.tag("dataset"),
        "labels": member.tag("labels"),
        "data digest": member.tag("dataset.digest"),
        "test images' digest": member.tag("test.digest"),
        "commit": member.tag("git.commit"),
        "seed": _seed(member),
        "repeat it": _command(member),
    }


def _seed(member: Member) -> str:
    return member.tag("seed") or member.model.params.get("seed", "")


def _command(member: Member) -> str:
    """The command that runs this search and final fit again."""
    wanted = [f"experiment={member.tag('experiment') or member.model.name}"]
    wanted += [f"data={member.tag('data')}"] if member.mark and member.data else []
    wanted += [f"seed={_seed(member)}"] if _seed(member) else []
    return "mlflow run . -e tune " + " ".join(f"-P {shlex.quote(parameter)}" for parameter in wanted)
