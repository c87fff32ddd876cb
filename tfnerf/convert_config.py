"""Prints a config file of the original as a flagfile, and what of it has no counterpart.

python -m tfnerf.convert_config config_lego.txt > lego.txt
"""

from __future__ import annotations

from pathlib import Path

from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.original.config import convert, to_short_flagfile


def main(*paths: str) -> None:
    """Prints a flagfile."""
    if len(paths) != 1:
        raise UserError(f"expected the path of one config file, found {len(paths)}")
    path = Path(paths[0])
    conversion = convert(path)
    print(f"# From {path.name} of the original.")
    print(to_short_flagfile(conversion.config), end="")
    if conversion.left_out:
        print("# Without a counterpart:")
    for text in conversion.left_out:
        print(f"#   {text}")


if __name__ == "__main__":
    command_line.run(main, with_arguments=True)
