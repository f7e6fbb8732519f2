"""The SQLite file of a store: made once, checked before MLflow opens it, and brought up to date when it was moved."""

import logging
import os
import re
import shlex
import sqlite3
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path

from alembic.script import ScriptDirectory
from filelock import FileLock
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path

from mlproject.errors import UserError
from mlproject.location import SQLITE, address_of, require_plain_name, uri_of

INITIALISATION_TIMEOUT = 120  # seconds to wait for another process that creates the database
LOCK_TIMEOUT = 20  # seconds to wait for another process that writes, as MLflow does
# Where MLflow's database has paths of artifacts. They are absolute.
PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)

logger = logging.getLogger(__name__)


def prepare(database: Path) -> None:
    """Make the database if it is missing, and see that MLflow can use the one that is there.

    Args:
        database: The absolute path of the file.

    Raises:
        UserError: The file cannot be written, is no database of MLflow, or one of another version of MLflow.
    """
    _require_writable(database)
    require_plain_name(database.parent)
    _create(database)
    _require_matching_mlflow(database)
    _follow_move(database)


def remove_quoted_folder(uri: str) -> None:
    """Remove the empty folder that MLflow makes under the quoted name of a database's folder, such as `a%20b`.

    Args:
        uri: The URI of an SQLite file.
    """
    literal = Path(uri.removeprefix(SQLITE).partition("?")[0]).parent
    if "%" in str(literal) and literal.is_dir() and not os.listdir(literal):
        os.removedirs(literal)


def _require_writable(database: Path) -> None:
    target = database if database.exists() else database.parent
    if not target.exists() or not os.access(target, os.W_OK) or database.is_dir():
        raise UserError(
            f"MLFLOW_TRACKING_URI='{SQLITE}{database}' is not writable; accepted: a file in a writable folder"
        )


def _create(database: Path) -> None:
    """Create an empty database where there is none.

    MLflow's migrations corrupt a database when two processes run them at once. Therefore they run under a lock, on a
    temporary file, which gets the database's name when it is complete.
    """
    if database.exists() and database.stat().st_size:
        return
    with FileLock(f"{database}.lock", timeout=INITIALISATION_TIMEOUT):
        if database.exists() and database.stat().st_size:  # another process was first
            return
        part = database.with_name(f"{database.name}.{os.getpid()}.part")
        uri = uri_of(part)
        try:
            SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()  # type: ignore[no-untyped-call]
            os.replace(part, database)
        finally:
            part.unlink(missing_ok=True)
            remove_quoted_folder(uri)


def _require_matching_mlflow(database: Path) -> None:
    """Refuse what MLflow would misread: it adds its tables to any database, and advises an upgrade of a newer one."""
    address = address_of(uri_of(database))
    setting = f"MLFLOW_TRACKING_URI={address!r}"
    try:
        with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            query = "SELECT version_num FROM alembic_version" if "alembic_version" in tables else "SELECT NULL"
            (revision,) = connection.execute(query).fetchone() or (None,)
    except sqlite3.OperationalError:  # such as a lock: MLflow waits and says so
        return
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{setting} is no SQLite database ({error}); accepted: a database of MLflow, or a new file"
        ) from error
    if not tables:
        return
    if not {"experiments", "runs"} <= tables:
        examples = ", ".join(sorted(tables)[:3])
        raise UserError(
            f"{setting} is the database of another program (with tables such as {examples}); accepted: a database of MLflow, "
            "or a new file"
        )
    known, newest = _revisions()
    if revision != newest and revision in {*known, None}:
        raise UserError(
            f"{setting} was made by an older MLflow; accepted: copy the file, then run `mlflow db upgrade "
            f"{shlex.quote(address)}`"
        )
    if revision != newest:
        raise UserError(
            f"{setting} was made by a newer MLflow than {version('mlflow')}, which is installed here (revision {revision} "
            f"of its tables is unknown); accepted: that newer MLflow, or another database"
        )


@cache
def _revisions() -> tuple[frozenset[str], str]:
    """The revisions of its tables that the installed MLflow knows, and the newest of them: dozens of files, read once."""
    scripts = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    return frozenset(script.revision for script in scripts.walk_revisions()), str(scripts.get_current_head())


def _follow_move(database: Path) -> None:
    """Record the artifacts beside the database, where they are now, when both were moved or copied together.

    MLflow keeps the paths of artifacts as absolute ones. A folder of artifacts that was recorded elsewhere moved along if
    some of its runs or models are found beside the database, or if it is gone and nothing was kept in it. Of a copy, the
    comparisons that exist only in the old place stay there.
    """
    with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT)) as connection:
        for old, locations in _artifact_folders(connection).items():
            new = database.parent / old.name
            if old == new or (old.exists() and new.exists() and old.samefile(new)):
                continue
            present = {
                experiment for experiment in locations if _holds_artifacts(connection, experiment, new / experiment)
            }
            old_is_gone = not old.parent.exists()
            if present or (
                old_is_gone
                and not any(_ids(connection, "logged_models", "model_id", experiment) for experiment in locations)
            ):
                moved = {
                    experiment for experiment in locations if experiment in present or not (old / experiment).exists()
                }
                with connection:
                    for experiment in moved:
                        _record_move(connection, locations[experiment], experiment, new)
                logger.warning("the store was moved: its artifacts in %s are now recorded in %s", old, new)


def _artifact_folders(connection: sqlite3.Connection) -> dict[Path, dict[str, str]]:
    """The folders of artifacts with the numbers of MLflow's experiments in them, and where each is recorded."""
    folders: dict[Path, dict[str, str]] = {}
    for experiment_id, location in connection.execute("SELECT experiment_id, artifact_location FROM experiments"):
        folder = local_folder(location or "")
        if folder and folder.name == str(experiment_id):
            folders.setdefault(folder.parent, {})[str(experiment_id)] = location
    return folders


def _holds_artifacts(connection: sqlite3.Connection, experiment_id: str, folder: Path) -> bool:
    """Whether the folder has artifacts of the runs or models of an MLflow experiment."""
    return any((folder / name).is_dir() for name in _ids(connection, "runs", "run_uuid", experiment_id)) or any(
        (folder / "models" / name).is_dir() for name in _ids(connection, "logged_models", "model_id", experiment_id)
    )


def _ids(connection: sqlite3.Connection, table: str, column: str, experiment_id: str) -> list[str]:
    query = f"SELECT {column} FROM {table} WHERE experiment_id = ?"
    return [identifier for (identifier,) in connection.execute(query, (experiment_id,))]


def _record_move(connection: sqlite3.Connection, old: str, experiment_id: str, root: Path) -> None:
    """Replace the place of an MLflow experiment's artifacts, wherever it is the beginning of a path."""
    folder = root / experiment_id
    new = folder.as_uri() if old.startswith("file:") else folder.as_posix()
    for table, column in PATH_COLUMNS:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )


def local_folder(location: str) -> Path | None:
    """The folder that an artifact location of MLflow means.

    Args:
        location: A path or a URI, as MLflow's database has it.

    Returns:
        The folder; None when the artifacts are elsewhere, such as behind a server.
    """
    if re.match(r"(?!file:)[a-zA-Z][\w+.-]+:", location):  # one letter and a colon is a drive of Windows
        return None
    return Path(local_file_uri_to_path(location))  # type: ignore[no-untyped-call]
