"""Repeats a call that failed only because another process wrote the same thing into the store at the same moment.

MLflow looks whether a row is there, and inserts it if it is not. When several processes are the first ones at once, all of them
find nothing, and the database takes the row of one. MLflow 3.17 answers the others in three ways. The same call then succeeds:

* BAD_REQUEST with the words of the database, for a data set, for tags of experiments, models and versions, and for aliases;
* "Model Version creation error", when a version has lost three times in a row;
* PERMISSION_DENIED, on a server with users, which makes an experiment or a model first and records its owner's rights afterwards.

It resolves the other races itself: for the names of experiments and registered models, and for what runs log.
"""

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow.exceptions import MlflowException

# As psycopg, SQLite and the other drivers say that a row is there, and as SQLAlchemy says that it is gone.
ROW_CONFLICT = re.compile("UniqueViolation|IntegrityError|expected to update")
PAUSES = (0.1, 0.4, 1.0, 2.0)  # seconds before each repetition, on average
PAUSES_IF_DENIED = (0.5,)  # most denials are true

Result = TypeVar("Result")


def repeat(call: Callable[[], Result]) -> Result:
    """Make a call to the store, and make it again while another process was faster.

    Args:
        call: The call. It may be made several times.

    Returns:
        The result of `call`.

    Raises:
        MlflowException: Any other failure, or the same one after the last repetition.
    """
    repetitions = 0
    while True:
        try:
            return call()
        except MlflowException as error:
            pauses = _pauses(error)
            if repetitions >= len(pauses):
                raise
            time.sleep(pauses[repetitions] * random.uniform(0.5, 1.5))
            repetitions += 1


def _pauses(error: MlflowException) -> tuple[float, ...]:
    """The pauses before the repetitions of a call that failed with this error."""
    if error.error_code == "PERMISSION_DENIED":
        return PAUSES_IF_DENIED
    lost_race = error.error_code == "BAD_REQUEST" and ROW_CONFLICT.search(error.message)
    return PAUSES if lost_race or "Model Version creation error" in error.message else ()
