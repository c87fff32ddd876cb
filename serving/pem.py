"""PEM files that flags name."""

from __future__ import annotations

from absl import flags

from tfnerf.errors import UserError
from tfnerf.files import with_home

_BEGIN = b"-----BEGIN "


def read_pem(flag: flags.FlagHolder[str | None]) -> bytes | None:
    """The contents of the file that a flag names, if it does.

    Raises:
      UserError: it cannot be read, or is no PEM file.
    """
    if not flag.value:
        return None
    try:
        contents = with_home(flag.value).read_bytes()
    except OSError as error:
        raise UserError(f"--{flag.name}={flag.value}: {error.strerror}") from None
    if _BEGIN not in contents:
        raise UserError(f"--{flag.name}={flag.value}: found no PEM, expected {_BEGIN.decode()}...")
    return contents
