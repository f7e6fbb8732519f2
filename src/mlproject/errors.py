"""Errors that users can correct, and helpers that put values and exceptions into one-line messages."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Invalid input that the user can correct.

    The message is one line that names the parameter or file, the value found and what is accepted. Commands print it
    and exit with code 2.
    """


class StoreGoneError(BaseException):
    """The MLflow store has not answered for too long.

    The message says where the items that could not be logged are kept. The error ends the command like an interruption.
    It derives from BaseException so that no handler treats it as the failure of one trial, after which the search would
    go on.
    """


def truncate(value: object, limit: int = 200) -> str:
    """Make any value safe to quote in a one-line message.

    Args:
        value: the value to quote.
        limit: number of characters after which the text is cut off.

    Returns:
        The value as text of about `limit` characters, without line breaks and other control characters.
    """
    text = str(value)
    text = text if len(text) <= limit else f"{text[:limit]}..."
    return text if text.isprintable() else repr(text)[1:-1]


def counted(number: int, noun: str) -> str:
    """A number with its noun, as in "1 trial", "3 epochs" or "2 batches"."""
    ending = "" if number == 1 else "es" if noun.endswith("tch") else "s"
    return f"{number} {noun}{ending}"


def did_you_mean(wrong: Iterable[str], known: Iterable[str]) -> str:
    """The question "did you mean NAME? " for names that are misspelt or in other letter case, "" where nothing is similar."""
    folded = {name.casefold(): name for name in known}
    similar = [
        folded[similar_name]
        for word in wrong
        for similar_name in difflib.get_close_matches(word.casefold(), folded, n=1)
    ]
    return f"did you mean {', '.join(dict.fromkeys(similar))}? " if similar else ""


def last_line(text: str) -> str:
    """The last line of a process's error output, which holds the exception's message."""
    return (text.strip().splitlines() or ["no reason given"])[-1]


def first_line(error: BaseException) -> str:
    """Describe an exception in one line: its type and the first line of its message.

    TensorFlow's "Graph execution error" has its reason on the last line before the list of nodes.
    """
    message = str(error)
    if message.startswith("Graph execution error"):
        message = message.partition("\n\t [[")[0].rstrip().rpartition("\n")[2]
    return f"{type(error).__name__}: {message}".splitlines()[0]
