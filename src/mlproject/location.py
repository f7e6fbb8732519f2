"""Where the store is: one address for one store, however MLFLOW_TRACKING_URI spells it.

This module does not import MLflow, which takes seconds, so that commands can refuse a missing store at once.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from mlproject.errors import UserError

SQLITE = "sqlite:///"
DEFAULT_STORE = f"{SQLITE}mlflow.db"
LOCAL_UI = "http://127.0.0.1:5000"  # where `mlproject ui` shows a store in a file


def given_uri() -> str:
    """The store that MLFLOW_TRACKING_URI names; by default `mlflow.db` in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def existing_uri() -> str:
    """The store that MLFLOW_TRACKING_URI names, `mlflow.db` in the working folder by default. Nothing is created.

    Returns:
        Its URI, as `canonical` spells it.

    Raises:
        UserError: It is a file that does not exist.
    """
    if reason := why_missing():
        raise UserError(reason)
    return canonical(given_uri())


def why_missing() -> str:
    """Why the store that MLFLOW_TRACKING_URI names cannot be read yet.

    Returns:
        One line that names the file that does not exist, and what is accepted; "" for a file that exists, and for a server.

    Raises:
        UserError: The URI names an SQLite database that is no file.
    """
    file = database_of(given_uri())
    if file is None or file.exists():
        return ""
    return (
        f"{file} does not exist, so there are no runs and models yet; accepted: a folder in which `mlproject tune` has "
        "run, or MLFLOW_TRACKING_URI=URI"
    )


def canonical(uri: str) -> str:
    """The spelling of a store's URI that this project hands to MLflow.

    `mlflow run` hands its default store down as an absolute path with percent signs (`sqlite:////a%20b/mlflow.db`), while
    `python -m mlproject` opens the relative `sqlite:///mlflow.db`.

    Args:
        uri: The URI as a user or `mlflow run` gives it.

    Returns:
        For an SQLite file the absolute path, in which only "%" and "?" are quoted; for other stores the URI without
        slashes at its end.
    """
    database = database_of(uri)
    if database is None:
        return uri.strip().rstrip("/")
    _, question_mark, options = uri.strip().partition("?")  # options of the driver, as in mlflow.db?timeout=60
    return f"{uri_of(database)}{question_mark}{options}"


def uri_of(database: Path) -> str:
    """The URI of an SQLite file, from which SQLAlchemy reads the same path again.

    Args:
        database: The file's path.

    Returns:
        The URI, in which only "%" and "?" are quoted: MLflow makes an empty folder of the quoted name.
    """
    return SQLITE + database.as_posix().replace("%", "%25").replace("?", "%3F")


def database_of(uri: str) -> Path | None:
    """The file of an SQLite store.

    Args:
        uri: The URI of any store.

    Returns:
        The absolute path, without symbolic links in its folder; None for other stores.

    Raises:
        UserError: The URI names an SQLite database that is no file.
    """
    uri = uri.strip()
    if not re.match(r"sqlite(\+\w+)?:", uri):
        return None
    try:
        name = make_url(uri).database or ""
    except ArgumentError:
        name = ""
    if name in ("", ":memory:") or name.startswith("file:") or not re.match(r"sqlite(\+\w+)?:///", uri):
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri!r} names no database file, so nothing would be kept; accepted: sqlite:///FILE, "
            f"such as {DEFAULT_STORE}"
        )
    database = Path(name).absolute()
    return database.parent.resolve() / database.name


def address_of(uri: str) -> str:
    """The address of a store, for messages and for what is kept beside the searches.

    A store keeps its address when its password, the options of its driver, or the place of the whole checkout change.

    Args:
        uri: The store's URI.

    Returns:
        `sqlite:///` and the path, relative to the working folder where the database is in it; for other stores the URI
        without user name and password.
    """
    database = database_of(uri)
    if database is None:
        return without_password(uri.strip().rstrip("/"))
    folder = Path.cwd().resolve()
    return SQLITE + (database.relative_to(folder) if database.is_relative_to(folder) else database).as_posix()


def without_password(uri: str) -> str:
    """The address with user name and password replaced by stars, for messages and reports.

    Args:
        uri: The address of a store.

    Returns:
        The address, which is safe to show.
    """
    return re.sub(r"//[^/@]*@", "//***@", uri)


def require_plain_name(folder: Path) -> None:
    """Refuse a folder whose name MLflow misreads: it takes %20 for a space, and keeps artifacts in a folder of that name.

    Args:
        folder: The folder of an SQLite store.

    Raises:
        UserError: The path has a percent sign before two hexadecimal digits.
    """
    escape = re.search("%[0-9a-fA-F]{2}", str(folder))
    if escape:
        raise UserError(
            f"the folder {folder} cannot keep an MLflow store, because MLflow reads {escape[0]!r} as {unquote(escape[0])!r}; "
            "accepted: a path without a percent sign before two hexadecimal digits"
        )
