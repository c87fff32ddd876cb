"""The one exception for mistakes that the user can mend."""


class UserError(Exception):
    """Something the user gave is wrong: a flag, a file, a folder.

    The message is one line that names the flag or file, what was found and what was expected.
    Commands print it and exit with status 1, without a traceback.
    """
