"""Addresses of pages in MLflow's UI, which show what a search has made."""

import json
from dataclasses import dataclass
from urllib.parse import quote

import mlflow
from mlflow.entities import Run

from mlproject.location import LOCAL_UI
from mlproject.tracking import store
from mlproject.tracking.experiment_page import FINALS, TRAINING_MODE


@dataclass(frozen=True)
class Links:
    """Addresses in MLflow's UI.

    Attributes:
        runs: The final models of the comparison, as a table with their scores.
        finals: The newest final run of each model of the comparison, side by side; "" when there is only one.
        trials: The search's trials, with a plot of hyperparameters against validation accuracy.
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
    root = _root(ui)
    run, finals = store.retry(lambda: _final_runs(run_id))
    page, mode = f"{root}/experiments/{run.info.experiment_id}", TRAINING_MODE
    search = run.data.tags.get("search", "")
    # Quoted, because terminals end an address at a quotation mark.
    ids, experiments = (quote(json.dumps(one, separators=(",", ":"))) for one in (finals, [run.info.experiment_id]))
    return Links(
        runs=f"{page}/runs?{mode}&viewStateShareKey={FINALS}",
        finals=f"{root}/compare-runs?runs={ids}&experiments={experiments}&{mode}" if len(finals) > 1 else "",
        trials=f"{page}/runs?{mode}&compareRunsMode=CHART&viewStateShareKey={search}",
        model=f"{root}/models/{name}/versions/{version}?{mode}",
    )


def run_page(run_id: str) -> str:
    """The address of a run's page.

    Args:
        run_id: The run.

    Returns:
        The address, at the server, or at `location.LOCAL_UI` for a store in a file.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    return page_of(store.retry(lambda: mlflow.get_run(run_id)))


def page_of(run: Run) -> str:
    """The address of the page of a run that is read already; see `run_page`."""
    return f"{_root()}/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _root(ui: str = "") -> str:
    """How the addresses of all pages begin."""
    server = store.address()
    return f"{(ui or (server if store.is_server(server) else LOCAL_UI)).rstrip('/')}/#"


def _final_runs(run_id: str) -> tuple[Run, list[str]]:
    """The run, and the newest final run of each experiment in the same MLflow experiment, in the order of their names."""
    run = mlflow.get_run(run_id)
    found = store.iterate_pages(
        mlflow.MlflowClient().search_runs,
        experiment_ids=[run.info.experiment_id],
        filter_string="tags.role = 'final' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time ASC"],
    )
    newest = {one.data.tags.get("experiment", ""): one.info.run_id for one in found}
    return run, [newest[name] for name in sorted(newest)]
