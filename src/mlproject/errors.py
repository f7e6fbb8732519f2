"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Bad input: one line that names the parameter or file, its value, what is accepted. Commands print it and exit with 2."""
