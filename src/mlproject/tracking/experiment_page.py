"""What MLflow's UI shows of an MLflow experiment: its kind, its description, and views with chosen columns and axes.

MLflow 3.17 reads these from tags of the experiment. `mlflow.sharedViewState.KEY` holds, as JSON, what the button "Share" of its
UI would store, and the address of the experiment's page with `viewStateShareKey=KEY` opens that view.

One thing no tag decides: the UI has a mode, at first "GenAI" and then what the browser remembers, and in that mode every
experiment opens on an empty page for language models. The addresses that this project makes therefore ask for the other mode
(`TRAINING_MODE`). A UI without modes goes by the kind.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
from mlflow.entities import Experiment
from mlflow.utils.mlflow_tags import MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME, MLFLOW_RUN_NOTE

from mlproject.tracking import store

KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"
TRAINING_MODE = "workflowType=machine_learning"
VIEW = "mlflow.sharedViewState."
# The name of the view of the final models. The view of a search's trials has the id of the search as its name.
FINALS = "finals"
PRIMARY_METRIC = "test_accuracy"
# The columns, the first of which sorts. MLflow leaves out those that no run has, such as the mean where there is one seed.
SCORES = (
    *("test_accuracy", "test_accuracy_mean", "test_coarse_accuracy", "test_balanced_accuracy", "test_loss"),
    *("parameters", "train_seconds"),
)
TRIAL_SCORES = ("val_accuracy", "val_loss", "parameters", "train_seconds")
LONGEST_QUESTION = 500  # characters in the description, of which MLflow takes 20,000 in all


def mark_as_training(experiment: Experiment) -> None:
    """Say that an MLflow experiment has models to train, and which metric counts.

    Args:
        experiment: The MLflow experiment. What a user has set there stays.

    Raises:
        MlflowException: Whatever the store answers.
    """
    defaults = {KIND: TRAINING, MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME: PRIMARY_METRIC}
    _set_tags(experiment.experiment_id, {key: value for key, value in defaults.items() if key not in experiment.tags})


def describe_search(experiment_name: str, question: str, search: str, parameters: Sequence[str]) -> None:
    """Add a search to the description of the active run's MLflow experiment, and make the views that its links open.

    Args:
        experiment_name: The name of our experiment, which is searched.
        question: What it asks.
        search: The search's id, as in the tag "search".
        parameters: The hyperparameters, which become the axes of the plot of the trials, before the validation accuracy.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    active = mlflow.active_run()
    assert active is not None
    experiment_id = active.info.experiment_id
    views = {FINALS: _table_view("tags.role = 'final'", SCORES), search: _trials_view(search, parameters)}
    views_as_tags = {VIEW + key: json.dumps(view) for key, view in views.items()}

    def describe() -> None:
        current = mlflow.get_experiment(experiment_id).tags.get(MLFLOW_RUN_NOTE, "")
        text = _description(current, experiment_id, experiment_name, question, search)
        _set_tags(experiment_id, views_as_tags | {MLFLOW_RUN_NOTE: text})

    store.retry(describe)


def _description(current: str, experiment_id: str, name: str, question: str, search: str) -> str:
    """The description with a line for this experiment; the lines of others, and what a user wrote, stay."""
    page = f"#/experiments/{experiment_id}/runs?{TRAINING_MODE}&viewStateShareKey="
    finals_link = f"[Compare the final models]({page}{FINALS})"
    remaining = "\n".join(line for line in current.splitlines() if not line.startswith(f"- **{name}**"))
    paragraphs = [paragraph.strip("\n") for paragraph in remaining.split("\n\n") if paragraph.strip()]
    paragraphs += [] if finals_link in remaining else [finals_link]
    short = textwrap.shorten(str(question), LONGEST_QUESTION)  # on one line, which the next search finds and replaces
    return "\n\n".join(
        [*paragraphs, f"- **{name}**: {short} [Compare the trials of its latest search]({page}{search})"]
    )


def _table_view(query: str, scores: Sequence[str]) -> dict[str, Any]:
    """A view of the runs that match a query, the best first, with these metrics as columns."""
    return {
        "searchFilter": query,
        "orderByKey": f"metrics.`{scores[0]}`",
        "orderByAsc": False,
        "selectedColumns": ["attributes.`Models`", *(f"metrics.`{score}`" for score in scores)],
    }


def _trials_view(search: str, parameters: Sequence[str]) -> dict[str, Any]:
    """A view of a search's trials, with a plot whose axes are the hyperparameters and the validation accuracy."""
    section = {"uuid": "search", "name": "The search", "display": True, "isReordered": False, "columns": 1}
    plot = {
        "type": "PARALLEL",
        "uuid": "trials",
        "metricSectionId": section["uuid"],
        "deleted": False,
        "isGenerated": False,
        "selectedParams": list(parameters),
        "selectedMetrics": [TRIAL_SCORES[0]],
        "showAllRuns": True,
    }
    view = _table_view(f"tags.role = 'trial' and tags.search = '{search}'", TRIAL_SCORES)
    columns = view["selectedColumns"][1:] + [f"params.`{name}`" for name in parameters]
    return view | {
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [plot],
        "compareRunSections": [section],
    }


def _set_tags(experiment_id: str, tags: Mapping[str, str]) -> None:
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_experiment_tag(experiment_id, key, value)
