"""What a final run logs of its model: predictions, tables, plots, example images, and the tags of the registered version."""

import warnings
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlproject import evaluation, plots, tracking
from mlproject.datasets import Dataset, ImageFolder
from mlproject.datasets.images.sheet import data_sheet
from mlproject.errors import first_line
from mlproject.experiment import Value, hyperparameters
from mlproject.facts import all_facts
from mlproject.names import without_share
from mlproject.networks import explain
from mlproject.search.result import SearchResult
from mlproject.search.space import describe_space
from mlproject.task import Task

MISTAKES_BYTES = 64 << 20  # of misclassified images: all of the shipped data sets' that can be expected
WEAKEST = 3  # classes that a model card names
CORRECT_EXAMPLES = 3  # images of each class that are kept beside all misclassified ones


def log_artifacts(
    task: Task, search: SearchResult, history: pd.DataFrame, probabilities: np.ndarray, features: np.ndarray
) -> None:
    """Log everything that a report may need of a final model into the active run.

    Args:
        task: the experiment with its data.
        search: the search whose winner was refitted.
        history: a row for each epoch of the final fit.
        probabilities: float16 (n, classes), the predictions for the test images.
        features: float (n, ...), what the last layer with weights makes the predictions of.
    """
    data = task.data
    centroids = evaluation.centroids(features, data.test_labels, len(data.class_names))
    log_predictions("evaluation/predictions.npz", data, probabilities)
    for path, table in make_tables(task, search.values, search.trials, history, probabilities).items():
        tracking.log_table(table, path)
    tracking.log_arrays("evaluation/features.npz", centroids=centroids)
    tracking.log_table(all_facts(data), "data/facts.csv")
    tracking.log_figure(data_sheet(data, data.name), "data/examples.png")
    _log_images(data, probabilities)
    for path, figure in draw_plots(task, history, probabilities).items():
        tracking.log_figure(figure, path)


def log_predictions(path: str, data: Dataset, probabilities: np.ndarray) -> None:
    """Log predictions for the test images, (n, classes), with the labels, as the .npz artifact `path`."""
    tracking.log_arrays(path, labels=data.test_labels, probabilities=probabilities)


def superclass_accuracy(data: Dataset, probabilities: np.ndarray) -> dict[str, float]:
    """How often a model names the right superclass.

    Args:
        data: the data set.
        probabilities: float (n, classes), the predictions for the test images.

    Returns:
        `test_coarse_accuracy` for the superclass of the likeliest class, and `test_coarse_accuracy_sum` for the likeliest sum
        of a superclass's probabilities. A model of the superclasses has the first alone. Nothing without superclasses.
    """
    superclass_of = data.superclass_of
    if data.labels == "coarse":
        return {"test_coarse_accuracy": float(np.mean(probabilities.argmax(axis=1) == data.test_labels))}
    if superclass_of is None:
        return {}
    truth = superclass_of[data.test_labels]
    by_argmax = evaluation.aggregate_by_argmax(probabilities, superclass_of)
    by_sum = evaluation.aggregate_by_sum(probabilities, superclass_of).argmax(axis=1)
    return {
        "test_coarse_accuracy": float(np.mean(by_argmax == truth)),
        "test_coarse_accuracy_sum": float(np.mean(by_sum == truth)),
    }


def weakest_classes(data: Dataset, probabilities: np.ndarray) -> str:
    """The classes of the lowest recall on the test images, in words; those without test images have none.

    Args:
        data: the data set.
        probabilities: float (n, classes), the predictions for the test images.

    Returns:
        Such as "Shirt 42 %, Coat 61 %".
    """
    lowest = _per_class_scores(data, probabilities).dropna(subset=["recall"]).nsmallest(WEAKEST, "recall")
    recalls = zip(lowest["class"], lowest["recall"], strict=True)
    return ", ".join(f"{name} {100 * recall:.0f} %" for name, recall in recalls)


def version_tags(task: Task, seed: object) -> dict[str, str]:
    """The tags of the registered version, by which a report knows what it compares; `seed` is that of the search."""
    experiment, data = task.experiment, task.data
    tags = {
        "experiment": experiment.name,
        "comparison": experiment.comparison,
        "question": experiment.question,
        "topic": experiment.topic.tag,
        "dataset": data.name,
        "labels": experiment.labels,
        "data": task.data_kind,
        "dataset.digest": data.whole_digest or data.digest,
        "test.digest": data.test_digest,
        "git.commit": tracking.git_commit(),
        "seed": str(seed),
    }
    on_images = without_share(experiment.comparison) == without_share(data.name)  # by `Experiment.with_images`
    if isinstance(experiment.dataset, ImageFolder) and on_images:
        tags["images"] = str(experiment.dataset.path)
    return tags


def make_tables(
    task: Task, values: Mapping[str, Value], trials: pd.DataFrame, history: pd.DataFrame, probabilities: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Make the tables that a final run logs.

    Args:
        task: the experiment with its data.
        values: the hyperparameters of the final model.
        trials: a row for each trial.
        history: a row for each epoch of the final fit.
        probabilities: float (n, classes), the predictions for the test images.

    Returns:
        The tables by their paths among the artifacts.
    """
    tables = {
        "evaluation/per_class.csv": _per_class_scores(task.data, probabilities),
        "evaluation/history.csv": history,
        "search/trials.csv": trials,
        "search/values.csv": _values_table(task, values),
    }
    try:
        tables["explain/layers.csv"] = explain.layer_table(
            partial(task.experiment.network, hyperparameters(values)), task.spec
        )
    except Exception as error:  # a network for these colours or classes alone is no reason to lose its fit
        warnings.warn(f"its layers are not explained: {first_line(error)}", stacklevel=2)
    return tables


def _per_class_scores(data: Dataset, probabilities: np.ndarray) -> pd.DataFrame:
    return evaluation.per_class(data.test_labels, probabilities.argmax(axis=1), data.class_names, data.superclasses)


def _values_table(task: Task, values: Mapping[str, Value]) -> pd.DataFrame:
    """A row for each hyperparameter: the best-known value, the winner's, and the range that was searched."""
    try:
        ranges = describe_space(task)
    except Exception:  # a best-known network that cannot be built is no reason to lose a fit
        ranges = {}
    no_range = {"searched": "", "sampling": ""}
    rows = [
        {"hyperparameter": name, "best_known": task.experiment.best.get(name, ""), "winner": value}
        | dict[str, Value](ranges.get(name, no_range))
        for name, value in values.items()
    ]
    return pd.DataFrame(rows, dtype=object)  # keeps 2 layers from becoming 2.0


def _log_images(data: Dataset, probabilities: np.ndarray) -> None:
    """Log the images that a report may show: misclassified ones, and a few correct ones of each class.

    All mistakes are kept if they fit into `MISTAKES_BYTES`, else those of the highest confidence.
    """
    correct = probabilities.argmax(axis=1) == data.test_labels
    mistakes = np.flatnonzero(~correct)
    by_confidence = mistakes[np.argsort(-probabilities[mistakes].max(axis=1), kind="stable")]
    mistakes = by_confidence[: MISTAKES_BYTES // data.test_images[0].nbytes]
    examples = [
        np.flatnonzero(correct & (data.test_labels == label))[:CORRECT_EXAMPLES]
        for label in np.unique(data.test_labels)
    ]
    shown_rows = np.sort(np.concatenate([mistakes, *examples])).astype(np.int32)
    tracking.log_arrays("evaluation/images.npz", rows=shown_rows, images=data.test_images[shown_rows])


def draw_plots(task: Task, history: pd.DataFrame, probabilities: np.ndarray) -> dict[str, Figure]:
    """Draw the figures that a final run logs.

    Args:
        task: the experiment with its data.
        history: a row for each epoch of the final fit.
        probabilities: float (n, classes), the predictions for the test images.

    Returns:
        The figures by their paths among the artifacts.
    """
    data, title = task.data, task.title
    labels, names, predictions = data.test_labels, data.class_names, probabilities.argmax(axis=1)
    return {
        "plots/learning_curves.png": plots.learning_curves(history, title),
        "plots/per_class.png": plots.per_class_bars(_per_class_scores(data, probabilities), title),
        "plots/confusion.png": plots.confusion_matrix(labels, predictions, names, data.superclasses, title),
        "plots/examples.png": plots.examples(data.test_images, labels, probabilities, names, title),
    }
