"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Bad input: one line that names the parameter or file, its value, what is accepted. Commands print it and exit with 2."""


def shown(value: object, most: int = 200) -> str:
    """The value as part of a one-line message: without line breaks and other control characters, of at most `most` characters."""
    text = str(value)
    text = text if len(text) <= most else f"{text[:most]}..."
    return text if text.isprintable() else repr(text)[1:-1]


def first_line(error: BaseException) -> str:
    """What went wrong, in one line: the exception's type and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


class StoreGoneError(BaseException):
    """The MLflow store has not answered for too long; the message says where what could not be logged is kept.

    It ends the command as an interruption does: no handler that lets a search outlive a failed trial may take it for one.
    """
