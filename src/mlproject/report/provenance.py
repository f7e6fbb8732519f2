"""Where the models of a report come from: runs, data, commands, machines and versions. Pure."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from mlproject import settings
from mlproject.names import without_share
from mlproject.report.content import LOCALLY, Column, Table, is_local, text_table
from mlproject.report.context import with_data_label
from mlproject.report.formats import join_words
from mlproject.report.models import ReportedModel

RUN_COLUMNS = ("model", "version", "alias", "run", "data", "labels", "seeds", "commit")
# Under these names earlier runs recorded VGG16's ImageNet weights.
FORMER_FILES = ("vgg16_imagenet_notop.weights.h5", "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5")
DATA_COLUMNS = ("model", "data set", "data digest", "test images' digest", "repeat it")
HASH_COLUMNS = ("run", "commit", "data digest", "test images' digest")  # but no commands, which are to be copied
HASHES_NOTE = "Run ids, commits and digests are cut to eight characters; the CSV file has them in full."
# Columns that link to MLflow's UI, and those with the addresses.
LINK_COLUMNS = {"version": "version_url", "run": "url"}
LINKS_NOTE = f" Versions and run ids link to MLflow's UI {LOCALLY}."


def tables(models: Sequence[ReportedModel]) -> list[Table]:
    """The tables of the report's last section.

    Args:
        models: all models of the report.

    Returns:
        The runs; the data sets with the commands that repeat the runs; and, where it was recorded, the machines.
    """
    frame = pd.DataFrame([_origin_row(model) for model in models]).fillna("").replace("", "not recorded")
    local = any(is_local(model.registered.url) for model in models)
    return [
        Table(
            "provenance",
            "Runs",
            frame,
            tuple(map(_column, RUN_COLUMNS)),
            HASHES_NOTE + (LINKS_NOTE if local else ""),
            main=True,
        ),
        Table("data", "Data and commands", frame[list(DATA_COLUMNS)], tuple(map(_column, DATA_COLUMNS))),
        *_environment_tables(models),
    ]


def describe_training(models: Sequence[ReportedModel]) -> str:
    """Say how the models were trained, as far as it was recorded.

    Args:
        models: all models of the report.

    Returns:
        Words that follow a date: the machines, the commits, the numbers of seeds, and the minutes.
    """
    machines = _machine_names(models)
    commits = dict.fromkeys(brief_hash(model.tag("git.commit")) for model in models if model.tag("git.commit"))
    seeds = sorted({len(model.fit_seeds) for model in models})
    budgets = pd.to_numeric(pd.Series([model.params.get("budget_minutes", "") for model in models]), errors="coerce")
    minutes = sorted(set(budgets.dropna()))
    phrases = [f"with models trained on {join_words(machines)}"] if machines else []
    phrases += [f"commit {join_words(list(commits))}"] if commits else []
    phrases.append(f"{' or '.join(map(str, seeds))} {'seed' if seeds == [1] else 'seeds'} for each model")
    if minutes:
        unit = "minute" if minutes == [1] else "minutes"
        phrases.append(f"a budget of {' or '.join(f'{budget:g}' for budget in minutes)} {unit}")
    return "".join(f", {phrase}" for phrase in phrases)


def brief_hash(text: str) -> str:
    """A text whose hashes are cut to eight characters."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24,}", r"\1", text)


def machines_differ(models: Sequence[ReportedModel]) -> bool:
    """Whether the models were trained on different machines or with different precisions, as far as it was recorded."""
    return len(_machine_names(models)) > 1


def _machine_names(models: Sequence[ReportedModel]) -> list[str]:
    """Each machine that trained a model, once: its GPU or its CPU, the precision if it is not float32, and its CPUs."""
    environments = [model.environment for model in models if model.environment]
    return list(dict.fromkeys(map(machine_name, environments)))


def machine_name(environment: Mapping[str, object]) -> str:
    """A machine in words: its GPU or its CPU, the precision if it is not float32, and the number of its CPUs."""
    device = environment.get("gpu") or environment.get("cpu") or environment["platform"]
    precision = f", {environment['precision']}" if "precision" in environment else ""
    return f"{device}{precision} ({environment['cpus']} {'CPU' if environment['cpus'] == 1 else 'CPUs'})"


def repeat_command(model: ReportedModel) -> str:
    """The command that repeats the search and the final fit of a model.

    Args:
        model: the model.

    Returns:
        A line for the shell. Of pretrained weights from a file only the file's name is known, so the folder is FOLDER. Of
        trials that a user gave, and of a file of ImageNet weights that was used with synthetic data, not even the name is
        known, so the file is FILE.
    """
    experiment, images = model.tag("experiment") or model.registered.name, model.tag("images")
    arguments = {"experiment": experiment}
    if images:
        arguments = {"experiment": experiment.removeprefix(f"{model.tag('dataset')}-"), "images": images}
    options = settings.options_to_repeat(model.params)
    if "train_share" in options:
        arguments["experiment"] = without_share(arguments["experiment"])
    arguments |= options | ({"seed": model.seed} if model.seed else {})
    if model.data not in ("real", ""):
        arguments["data"] = model.data
    if model.params.get("trials_digest"):
        arguments["trials"] = "FILE"
    weights = model.params.get("weights", "")
    default_weights = ("", "imagenet", *FORMER_FILES) if model.data == "real" else ("", "none")
    if weights not in default_weights:
        arguments["weights"] = {"none": "none", "imagenet": "FILE"}.get(weights, f"FOLDER/{weights}")
    return settings.command_line(arguments, "mlflow run . -e tune --env-manager local")


def _column(name: str) -> Column:
    return Column(
        name, name, brief_hash if name in HASH_COLUMNS else str, number=False, link=LINK_COLUMNS.get(name, "")
    )


def _origin_row(model: ReportedModel) -> dict[str, str]:
    registered = model.registered
    return {
        "model": with_data_label(registered.name, model.context.data_label),
        "version": str(registered.version),
        "version_url": registered.version_url,
        "alias": registered.alias,
        "run": registered.run_id,
        "url": registered.url,
        "data": model.data,
        "data set": model.tag("dataset"),
        "labels": model.tag("labels"),
        "data digest": model.tag("dataset.digest"),
        "test images' digest": model.tag("test.digest"),
        "commit": model.tag("git.commit"),
        "seeds": ", ".join(model.fit_seeds),
        "repeat it": repeat_command(model),
    }


def _environment_tables(models: Sequence[ReportedModel]) -> list[Table]:
    """Versions and machines, with one column for all models that share them."""
    titles: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for model in models:
        if model.environment is not None:
            facts = tuple((name, str(fact)) for name, fact in model.environment.items())
            titles.setdefault(facts, []).append(model.title)
    if not titles:
        return []
    columns = {
        "all models" if len(sharing_models) == len(models) > 1 else ", ".join(sharing_models): dict(facts)
        for facts, sharing_models in titles.items()
    }
    frame = pd.DataFrame(columns).fillna("").rename_axis("what").reset_index()
    return [text_table("environments", "Machines and versions", frame)]
