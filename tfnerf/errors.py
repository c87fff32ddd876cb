"""The one exception for mistakes that the user can mend."""


class UserError(Exception):
    """Something the user gave is wrong: a flag, a file, a folder.

    The message is one line that names the flag or file, what was found and what was expected.
    Commands print it and exit with status 1, without a traceback.
    """


def first_line(error: Exception) -> str:
    """What an error of a library says, as far as fits into one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and line != "Graph execution error:"]
    return telling[0] if telling else type(error).__name__
