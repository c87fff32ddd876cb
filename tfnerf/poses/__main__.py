"""Finds where photographs were taken from, and writes a capture that can be trained on.

python -m tfnerf.poses --images=photos/ --output=captures/mine
python -m tfnerf.poses --images=walk.mp4 --output=captures/mine

A call that was stopped is taken up by the same call where it was.
"""

from __future__ import annotations

import logging
from pathlib import Path

from absl import flags

from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.files import absolute, sole_writer
from tfnerf.fingerprint import fingerprint
from tfnerf.poses.workplace import Request, Workplace

_log = logging.getLogger("tfnerf.poses")
_IMAGES = flags.DEFINE_string("images", None, "Folder of photographs, or a video.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write the capture into.", required=True)
_MASKS = flags.DEFINE_string(
    "masks",
    "",
    "Folder of masks, named as the photographs: where they are black nothing is matched, trained "
    "on or measured.",
)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames",
    100,
    "Frames taken from a video: the sharpest of as many parts; all of one that has fewer.",
    lower_bound=3,
)
_LENS = flags.DEFINE_enum(
    "lens",
    "RADIAL",
    [
        *("SIMPLE_PINHOLE", "RADIAL", "RADIAL_FISHEYE"),
        *("PINHOLE", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE"),
    ],
    "Model of the lens, the same for all images. The first three have one focal length, as cameras "
    "do; with two, cameras that are all at one height come out tilted.",
)


def main() -> None:
    """Writes images, transforms.json, points.ply and report.json."""
    command_line.import_tensorflow()
    from tfnerf.poses.capture import write_capture
    from tfnerf.poses.photographs import gather_images
    from tfnerf.poses.reconstruction import reconstruct

    source = _existing("images", _IMAGES.value)
    masks = _existing("masks", _MASKS.value) if _MASKS.value else None
    request = Request(
        str(source),
        None if masks is None else str(masks),
        _NUM_FRAMES.value if source.is_file() else None,
        _LENS.value,
        fingerprint([_listing(path) for path in (source, masks) if path is not None]),
    )
    workplace = Workplace(_path("output", _OUTPUT.value))
    workplace.begin(request)
    with sole_writer(workplace.folder):
        gathered = gather_images(workplace)
        found = reconstruct(workplace, gathered)
        report = write_capture(workplace, gathered, found)
    for line in report.lines():
        _log.info("%s", line)
    for doubt in report.doubts:
        _log.warning("in doubt: %s", doubt)
    _log.info("look at it:  python -m tfnerf.inspect --data_dir=%s", workplace.folder)
    _log.info(
        "train on it: python -m tfnerf.train --flagfile=configs/fast/%s --data_dir=%s%s",
        suitable_flags(report.forward_facing, request.lens),
        workplace.folder,
        f" --factor={report.factor}",
    )


def suitable_flags(forward_facing: bool, lens: str) -> str:
    """A file of configs/fast, and what else a capture through a lens needs to be trained on."""
    if not forward_facing:
        return "captures.txt"
    # NDC hold what is in front of a flat image, and a fisheye lens sees more.
    return "captures.txt --nondc" if "FISHEYE" in lens else "llff.txt --dataset=transforms"


def _path(flag: str, value: str) -> Path:
    try:
        return absolute(value)
    except UserError as error:
        raise UserError(f"--{flag}={error}") from None


def _existing(flag: str, value: str) -> Path:
    path = _path(flag, value)
    try:
        found = path.is_dir() or (flag == "images" and path.is_file())
    except OSError as error:
        raise UserError(f"--{flag}={value:.200}: {error.strerror}") from None
    if not found:
        kind = "folder or file" if flag == "images" else "folder"
        raise UserError(f"--{flag}={value}: no such {kind}")
    return path


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a file, or of the files of a folder that are not hidden."""
    try:
        # Folders do not count: the output may be one of them.
        files = [path]
        if path.is_dir():
            inside = sorted(path.iterdir())
            files = [file for file in inside if file.is_file() and file.name[0] != "."]
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise UserError(f"{path}: not readable: {error.strerror}") from None


if __name__ == "__main__":
    command_line.run(main)
