"""Addresses of pages in MLflow's UI, which show what a search has made."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import mlflow
from mlflow.entities import Run

from mlproject.location import LOCAL_UI
from mlproject.tracking import store
from mlproject.tracking.experiment_page import FINALS, TRAINING_MODE
from mlproject.tracking.queries import find_existing_run
from mlproject.tracking.selection import comparison_key, select


@dataclass(frozen=True)
class Links:
    """Addresses in MLflow's UI.

    Attributes:
        runs: The final models of the comparison, as a table with their scores.
        finals: The final runs of the version and of the champions of the other models that it is compared with, side by side;
            "" when there are no others.
        trials: The search's trials, with a plot of hyperparameters against validation accuracy; "" when the run does not name
            its search.
        model: The registered version.
    """

    runs: str
    finals: str
    trials: str
    model: str


def links_of(name: str, version: int, run_id: str, ui: str = "") -> Links:
    """Make the addresses of the pages that belong to a registered version.

    Args:
        name: The registered model's name.
        version: The version's number.
        run_id: The final run that made it.
        ui: The address at which MLflow's UI is served. By default it is the store's own address if that is a server,
            and else `location.LOCAL_UI`.

    Returns:
        The addresses.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    run, finals = store.retry(lambda: (mlflow.get_run(run_id), _final_runs(name, version)))
    page = f"{_root(ui)}/experiments/{run.info.experiment_id}"
    return Links(
        runs=f"{page}/runs?{TRAINING_MODE}&viewStateShareKey={FINALS}",
        finals=comparison_page(finals, ui),
        trials=trials_page(run, ui),
        model=version_page(name, version, ui),
    )


def experiments_page(ui: str = "") -> str:
    """The address of the list of MLflow's experiments.

    Args:
        ui: As for `links_of`.

    Returns:
        The address.
    """
    return f"{_root(ui)}/experiments?{TRAINING_MODE}"


def run_page(run_id: str) -> str:
    """The address of a run's page.

    Args:
        run_id: The run.

    Returns:
        The address, at the server, or at `location.LOCAL_UI` for a store in a file.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    return page_of_run(store.retry(lambda: mlflow.get_run(run_id)))


def page_of_run(run: Run) -> str:
    """The address of the page of a run that is read already; see `run_page`."""
    return f"{_root()}/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def comparison_page(runs: Sequence[Run], ui: str = "") -> str:
    """The address of the page that compares runs.

    Args:
        runs: The runs, in the order in which the page shows them.
        ui: As for `links_of`.

    Returns:
        The address; "" for fewer than two runs.
    """
    if len(runs) < 2:
        return ""
    run_ids, experiment_ids = [run.info.run_id for run in runs], [run.info.experiment_id for run in runs]
    # Quoted, because terminals end an address at a quotation mark.
    ids, experiments = (
        quote(json.dumps(list(dict.fromkeys(identifiers)), separators=(",", ":")))
        for identifiers in (run_ids, experiment_ids)
    )
    return f"{_root(ui)}/compare-runs?runs={ids}&experiments={experiments}&{TRAINING_MODE}"


def trials_page(run: Run, ui: str = "") -> str:
    """The address of the page that compares the trials of a search.

    Args:
        run: A run of the search, such as its final one.
        ui: As for `links_of`.

    Returns:
        The address; "" where the run does not name its search.
    """
    search = run.data.tags.get("search", "")
    page = f"{_root(ui)}/experiments/{run.info.experiment_id}/runs?{TRAINING_MODE}"
    return f"{page}&compareRunsMode=CHART&viewStateShareKey={search}" if search else ""


def version_page(name: str, version: int, ui: str = "") -> str:
    """The address of the page of a registered version; the arguments are those of `links_of`."""
    return f"{_root(ui)}/models/{name}/versions/{version}?{TRAINING_MODE}"


def _root(ui: str = "") -> str:
    """How the addresses of all pages begin."""
    server = store.address()
    return f"{(ui or (server if store.is_server(server) else LOCAL_UI)).rstrip('/')}/#"


def _final_runs(name: str, version: int) -> list[Run]:
    """The final run of the version, and those of the other models' champions that it is compared with, in the order of names."""
    reported = mlflow.MlflowClient().get_model_version(name, str(version))
    champions = [champion for champion, _ in select((), (), "models", "champions")]
    compared = {
        champion.name: champion for champion in champions if comparison_key(champion) == comparison_key(reported)
    }
    versions = compared | {name: reported}
    runs = (find_existing_run(versions[model].run_id or "") for model in sorted(versions))
    return [run for run in runs if run]
