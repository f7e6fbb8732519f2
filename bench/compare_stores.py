"""Compare the models of two MLflow stores: their test predictions, image by image, and their trials.

    python bench/compare_stores.py sqlite:////before/mlflow.db sqlite:////after/mlflow.db          (takes seconds)

Use it to check a change of the code that must not change results. Run the same deterministic command before and after the
change, each in a folder of its own, for instance

    python -m mlproject tune --data synthetic --deterministic true --budget-minutes 0.5

and compare the two stores. The table has a row for each registered model: the number of test images, on how many of them the
two champions predict the same class, both test accuracies, and whether all trials have the same values and validation
accuracies. The exit code is 1 if anything differs.
"""

import argparse
import sys
from pathlib import Path

from mlproject import process

import mlflow
import numpy as np
import pandas as pd


def champions(client: mlflow.MlflowClient) -> dict[str, str]:
    """The run of each registered model's champion, by the model's name."""
    names = sorted(model.name for model in client.search_registered_models())
    return {name: client.get_model_version_by_alias(name, "champion").run_id for name in names}


def artifact(client: mlflow.MlflowClient, run_id: str, path: str) -> Path:
    """A local copy of a run's artifact."""
    return Path(client.download_artifacts(run_id, path))


def trials(client: mlflow.MlflowClient, run_id: str) -> pd.DataFrame:
    """The trials of the search behind a final run, without what a clock measured."""
    table = pd.read_csv(artifact(client, run_id, "search/trials.csv"))
    return table.drop(columns=["seconds", "minutes", "ms_per_image"])


def compare(before: mlflow.MlflowClient, after: mlflow.MlflowClient) -> pd.DataFrame:
    """A row for each model that one of the stores has."""
    runs = [champions(client) for client in (before, after)]
    rows = []
    for name in sorted(runs[0].keys() | runs[1].keys()):
        if not all(name in one for one in runs):
            rows.append({"model": name, "same": False})
            continue
        sides = [(client, one[name]) for client, one in zip((before, after), runs, strict=True)]
        stored = [np.load(artifact(*side, "evaluation/predictions.npz")) for side in sides]
        predictions = [one["probabilities"].argmax(axis=1) for one in stored]
        accuracies = [np.mean(one == kept["labels"]) for one, kept in zip(predictions, stored, strict=True)]
        agree = int(np.sum(predictions[0] == predictions[1]))
        same_trials = trials(*sides[0]).equals(trials(*sides[1]))
        rows.append(
            {
                "model": name,
                "images": len(predictions[0]),
                "same predictions": agree,
                "accuracy before": accuracies[0],
                "after": accuracies[1],
                "same trials": same_trials,
                "same": agree == len(predictions[0]) and same_trials,
            }
        )
    return pd.DataFrame(rows)


def main() -> int:
    """Print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the store's address, such as sqlite:////folder/mlflow.db")
    parser.add_argument("after")
    options = parser.parse_args()
    # Each store is the tracking store and the registry, so the registry must be named as well.
    table = compare(*(mlflow.MlflowClient(uri, registry_uri=uri) for uri in (options.before, options.after)))
    print(table.to_string(index=False))
    return 0 if len(table) and table["same"].all() else 1


if __name__ == "__main__":
    sys.excepthook = process.report_in_one_line
    sys.exit(main())
