"""The store itself: made, opened, and written to through an outbox that outlives its absence."""

import logging
import math
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlflow
import requests
from filelock import FileLock
from mlflow.entities import Metric, Param, RunTag
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlproject.errors import StoreGoneError, UserError, shown
from mlproject.tracking.outbox import PATIENCE, Answer, Outbox

DEFAULT_STORE = "sqlite:///mlflow.db"
SERVER_TIMEOUT = 10  # seconds for a tracking server's answer; one retry at once, the outbox makes the others
FILE_TIMEOUT = 120  # the same where a file goes through it, which it may have to pass on to other storage first
INITIALISATION_TIMEOUT = 120  # seconds to wait for another process that makes the store
DEFAULT_EXPERIMENT_ID = "0"  # MLflow's experiment "Default", where `mlflow run` logs when it is not told otherwise
TAG = "mlproject"  # its tag, which we set to see whether a database can be written


def connect() -> None:
    """Open the store named by MLFLOW_TRACKING_URI (default: mlflow.db in this folder) and try it: a database by a write.

    Delivers what earlier processes could not. Raises UserError when the store cannot be reached or written, or when
    MLPROJECT_PATIENCE is no number of seconds.
    """
    global outbox
    patience = _patience()
    os.environ.setdefault(MLFLOW_HTTP_REQUEST_TIMEOUT.name, str(SERVER_TIMEOUT))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    for noisy in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # their tracebacks; the outbox says it in a line
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE
    named = without_password(uri)
    # Behind a question mark stand options of the driver, as in sqlite:///mlflow.db?timeout=60.
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None
    if database:
        _demand_writable(database)
    try:
        if database:
            _initialise(database)
        mlflow.set_tracking_uri(uri)
        _try(uri)
        outbox = Outbox(named, _deliver, passing, patience)
        outbox.recover()
    except Exception as error:  # a database driver, a socket or MLflow itself: whichever layer fails first
        reason = without_password(" ".join(str(error).split()))[:200]
        raise UserError(
            f"MLFLOW_TRACKING_URI={named!r} cannot be used: {reason}; accepted: sqlite:///FILE in a writable folder, "
            "or the http address of a running MLflow server"
        ) from error


def _patience() -> float:
    text = os.environ.get("MLPROJECT_PATIENCE") or str(PATIENCE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(
            f"MLPROJECT_PATIENCE={shown(text)!r} is not accepted; a number of seconds is, such as {PATIENCE:g}"
        )
    return seconds


def without_password(uri: str) -> str:
    """The address for messages and reports."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def address() -> str:
    """The address of the store in use, without a password: another one does not make it another store."""
    return without_password(mlflow.get_tracking_uri())


def _initialise(database: Path) -> None:
    """Make an empty store in one piece where there is none: MLflow's migrations, run by two processes at once, leave a ruin."""
    if database.exists() and database.stat().st_size:
        return
    with FileLock(f"{database}.lock", timeout=INITIALISATION_TIMEOUT):
        if database.exists() and database.stat().st_size:  # another process was first
            return
        part = database.with_name(f"{database.name}.{os.getpid()}.part")
        try:
            SqlAlchemyStore(f"sqlite:///{part}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
            os.replace(part, database)
        finally:
            part.unlink(missing_ok=True)


def _try(uri: str) -> None:
    """Ask a server; in a database set a tag that is always the same, again where another process made its row at the same moment.

    On a server with users MLflow's experiment 0 may be read alone, or be deleted.
    """
    if uri.startswith("http"):
        mlflow.MlflowClient().search_experiments(max_results=1)
        return
    write = partial(mlflow.MlflowClient().set_experiment_tag, DEFAULT_EXPERIMENT_ID, TAG, "true")
    try:
        write()
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":  # which is how a row that is there already comes back
            raise
        write()


def _deliver(item: dict) -> None:
    """Deliver an item of the outbox: metrics, parameters and tags of a run, or its end. Twice does no harm."""
    client, run_id = mlflow.MlflowClient(), item["run_id"]
    if "status" in item:
        client.set_terminated(run_id, item["status"], item["end_time"])
    else:
        metrics = [Metric(*metric) for metric in item["metrics"]]
        params, tags = ([make(*pair) for pair in item[key]] for make, key in ((Param, "params"), (RunTag, "tags")))
        client.log_batch(run_id, metrics, params, tags)


def passing(error: BaseException | None) -> bool:
    """Whether a failure of the store may be over soon: no connection, an overloaded server, a locked database, a full disk."""
    if isinstance(error, requests.HTTPError) and error.response is not None:  # the answer to a file
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    permanent = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError | PermissionError
    if isinstance(error, MlflowException) and error.get_http_status_code() in (429, 502, 503, 504):
        return True
    if error is None or isinstance(error, permanent | StoreGoneError):
        return False
    return isinstance(error, OSError) or passing(error.__cause__ or error.__context__)


outbox = Outbox(DEFAULT_STORE, _deliver, passing)


def transfer(call: Callable[[], Answer]) -> Answer:
    """What `call` gives, which sends or fetches files: as `outbox.insist`, with the time that these may take."""

    def unhurried() -> Answer:
        usual = MLFLOW_HTTP_REQUEST_TIMEOUT.get()
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(max(usual, FILE_TIMEOUT))
        try:
            return call()
        finally:
            MLFLOW_HTTP_REQUEST_TIMEOUT.set(usual)

    return outbox.insist(unhurried)


def _demand_writable(database: Path) -> None:
    target = database if database.exists() else database.absolute().parent
    if not target.exists() or not os.access(target, os.W_OK):
        raise UserError(
            f"MLFLOW_TRACKING_URI='sqlite:///{database}' is not writable; accepted: a file in a writable folder"
        )


def pages(query, **arguments):
    """All results of a paged query."""
    page = query(**arguments)
    yield from page
    while page.token:
        page = query(page_token=page.token, **arguments)
        yield from page
