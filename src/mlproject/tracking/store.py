"""Creates and opens the MLflow store, and writes to it through an outbox that waits while it does not answer."""

import logging
import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import mlflow
import requests
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList

from mlproject.errors import StoreGoneError, UserError, truncate
from mlproject.location import DEFAULT_STORE, address_of, canonical, database_of, given_uri, without_password
from mlproject.tracking import database, races
from mlproject.tracking.outbox import DEFAULT_PATIENCE, Item, Outbox, Result, root_cause

# The environment variables that MLflow reads before each request to a server.
REQUEST_TIMEOUT, REQUEST_RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
SERVER_TIMEOUT = 10  # seconds for a tracking server's answer; MLflow retries once, the outbox more often
FILE_TIMEOUT = 120  # seconds for a request with a file, which the server may have to pass on to other storage first
DEFAULT_EXPERIMENT_ID = "0"  # MLflow's experiment "Default": `mlflow run` logs into it unless it is given another one
OUR_TAG = "mlproject"  # of the MLflow experiments that this project logs into; setting it tests whether it may

Entity = TypeVar("Entity")


def connect() -> None:
    """Open the store that MLFLOW_TRACKING_URI names, test it, and deliver what earlier processes could not log.

    The default is `mlflow.db` in the working folder. The test of a database is a write. `MLPROJECT_PATIENCE` sets how
    many seconds `retry` keeps trying.

    Raises:
        UserError: The store cannot be reached or written, or MLPROJECT_PATIENCE is not a number of seconds.
    """
    global _outbox
    patience = _read_patience()
    os.environ.setdefault(REQUEST_TIMEOUT, str(SERVER_TIMEOUT))
    os.environ.setdefault(REQUEST_RETRIES, "1")
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # they log tracebacks; the outbox logs one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    given = given_uri()
    database_file, uri, shown_address = database_of(given), canonical(given), address_of(given)
    _require_same_registry(uri)
    try:
        if database_file:
            database.prepare(database_file)
        mlflow.set_tracking_uri(uri)
        _test_access(uri)
        if database_file:
            database.remove_quoted_folder(given)
            database.remove_quoted_folder(uri)
        _outbox = Outbox(shown_address, _deliver, is_transient, patience)
        _outbox.recover()
    except UserError:
        raise
    except Exception as error:  # from a database driver, a socket or MLflow: whichever layer fails first
        # The layers above a broken connection quote their requests at length. Other errors say most in the outermost words.
        reason = root_cause(error) if is_transient(error) else truncate(" ".join(str(error).split()))
        raise UserError(
            f"MLFLOW_TRACKING_URI={shown_address!r} cannot be used: {without_password(reason)}; accepted: sqlite:///FILE in "
            "a writable folder, or the http address of a running MLflow server, with MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD if it has users"
        ) from error


def _require_same_registry(uri: str) -> None:
    """Refuse a registry in another place: MLflow looks up there the models that runs have logged here."""
    registry_uri = os.environ.get("MLFLOW_REGISTRY_URI")
    if registry_uri and canonical(registry_uri) != uri:
        raise UserError(
            f"MLFLOW_REGISTRY_URI={address_of(registry_uri)!r} is not the store of the runs, {address_of(uri)!r}; accepted: "
            "the same address, or none: unset MLFLOW_REGISTRY_URI"
        )


def _read_patience() -> float:
    text = os.environ.get("MLPROJECT_PATIENCE") or str(DEFAULT_PATIENCE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(
            f"MLPROJECT_PATIENCE={truncate(text)!r} is not accepted; accepted: a number of seconds, "
            f"such as {DEFAULT_PATIENCE:g}"
        )
    return seconds


def address() -> str:
    """The address of the store in use.

    Returns:
        The address, as `location.address_of` spells it: a store remains the same when its password changes.
    """
    return address_of(mlflow.get_tracking_uri())


def is_server(uri: str) -> bool:
    """Whether a store is an MLflow server, and not a database or a folder."""
    return uri.startswith(("http://", "https://"))


def _test_access(uri: str) -> None:
    """Read from a server; write a tag into a database.

    Nothing is written to a server: if it has user accounts, MLflow's experiment 0 may be read-only or deleted.
    """
    if is_server(uri):
        mlflow.MlflowClient().search_experiments(max_results=1)
        return
    races.repeat(partial(mlflow.MlflowClient().set_experiment_tag, DEFAULT_EXPERIMENT_ID, OUR_TAG, "true"))


def _deliver(item: Item) -> None:
    """Deliver an item of the outbox: metrics, parameters and tags of a run, or the run's end. This is idempotent."""
    client, run_id = mlflow.MlflowClient(), item["run_id"]
    if "status" in item:
        client.set_terminated(run_id, item["status"], item["end_time"])
    else:
        metrics = [Metric(*metric) for metric in item["metrics"]]
        params = [Param(*param) for param in item["params"]]
        tags = [RunTag(*tag) for tag in item["tags"]]
        client.log_batch(run_id, metrics, params, tags)


def is_transient(error: BaseException | None) -> bool:
    """Whether the same call may succeed later: no connection, an overloaded server, a locked database or a full disk.

    Args:
        error: The exception. Its causes are examined as well.

    Returns:
        False for errors that repeat, such as a missing file, and for None.
    """
    if isinstance(error, requests.HTTPError) and error.response is not None:  # the answer to a request with a file
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    permanent = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError | PermissionError
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        if status in (429, 502, 503, 504):
            return True
    if error is None or isinstance(error, permanent | StoreGoneError):
        return False
    return isinstance(error, OSError) or is_transient(error.__cause__ or error.__context__)


# The outbox of this process. The store is process-wide, like MLflow's own state. `connect` replaces the outbox when it
# has opened a store. Other modules use it through `send`, `retry` and `retry_file_transfer`.
_outbox = Outbox(DEFAULT_STORE, _deliver, is_transient)


def send(item: Item) -> None:
    """Write to the store now, or later if it does not answer; see `Outbox.send`.

    Args:
        item: Metrics, parameters and tags of a run, or the run's end, as `_deliver` reads them.
    """
    _outbox.send(item)


def retry(call: Callable[[], Result]) -> Result:
    """Make a call to the store, and repeat it while the store does not answer or another process was faster.

    See `Outbox.retry` and `races.repeat`.

    Args:
        call: The call. It may be made several times.

    Returns:
        The result of `call`.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """
    return _outbox.retry(partial(races.repeat, call))


def retry_file_transfer(call: Callable[[], Result]) -> Result:
    """Make a call that sends or fetches files: like `retry`, with the longer time limit `FILE_TIMEOUT` per request.

    Args:
        call: The call. It may be made several times.

    Returns:
        The result of `call`.

    Raises:
        StoreGoneError: The store has not answered for too long.
    """

    def call_with_longer_timeout() -> Result:
        usual_timeout = os.environ.get(REQUEST_TIMEOUT, str(SERVER_TIMEOUT))
        os.environ[REQUEST_TIMEOUT] = str(max(int(usual_timeout), FILE_TIMEOUT))
        try:
            return call()
        finally:
            os.environ[REQUEST_TIMEOUT] = usual_timeout

    return retry(call_with_longer_timeout)


def iterate_pages(query: Callable[..., PagedList[Entity]], **arguments: Any) -> Iterator[Entity]:
    """All results of one of MLflow's paged queries.

    Args:
        query: A search method of MlflowClient.
        **arguments: The method's arguments, except `page_token`.

    Yields:
        The results of one page after another.
    """
    page = query(**arguments)
    yield from page
    while page.token:
        page = query(page_token=page.token, **arguments)
        yield from page
