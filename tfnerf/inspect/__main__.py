"""Looks at a scene before it is trained on, and says in words and one picture what it finds.

python -m tfnerf.inspect --data_dir=captures/mine
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from absl import flags

from tfnerf import command_line
from tfnerf.files import with_home, write_file
from tfnerf.flags import define_flags, scene_from_flags
from tfnerf.settings import SceneSettings

_ANY_RANGE = 1e-3, 1e3
"""Near and far where they cannot be told; what is found says which to set."""
_log = logging.getLogger("tfnerf.inspect")
_PICTURE = flags.DEFINE_string("picture", "inspect.png", "File to draw into.")


def main() -> None:
    """Prints what is found in a scene, and draws it."""
    command_line.import_tensorflow()
    from tfnerf.inspect.findings import inspect_scene
    from tfnerf.inspect.picture import draw
    from tfnerf.scenes import load_scene
    from tfnerf.scenes.captures import UnknownRangeError

    settings = _settings()
    print(f"{settings.data_dir or 'the built-in scene'}, read as --dataset={settings.dataset}:")
    try:
        inspection = inspect_scene(load_scene(settings))
    except UnknownRangeError as error:
        print(f"  !!  {error}")
        near, far = _ANY_RANGE
        scene = load_scene(dataclasses.replace(settings, near=near, far=far))
        inspection = inspect_scene(scene).with_range_to_try()
    for finding in inspection.findings:
        print(f"  {'ok ' if finding.sane else '!! '} {finding.text}")
    doubts = sum(not finding.sane for finding in inspection.findings)
    print(f"{doubts or 'no'} doubt{'' if doubts == 1 else 's'}")
    write_file(with_home(_PICTURE.value), draw(inspection))
    _log.info("cameras, rays and images: %s", _PICTURE.value)


def _settings() -> SceneSettings:
    """The flags, and of LLFF's scenes the smallest images if no others are asked for."""
    settings = scene_from_flags()
    if settings.dataset == "llff" and not flags.FLAGS["factor"].present:
        return dataclasses.replace(settings, factor=_smallest_there(Path(settings.data_dir)))
    return settings


def _smallest_there(folder: Path) -> int:
    """The largest N for which images_<N> is there: small images do, and none are to be made."""
    factors = [int(path.name[7:]) for path in folder.glob("images_*") if path.name[7:].isdigit()]
    return max(factors, default=1)


if __name__ == "__main__":
    define_flags(sections=["scene"])
    command_line.run(main)
