"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Bad input: one line that names the parameter or file, its value, and what is accepted. The command prints it and exits with 2."""
