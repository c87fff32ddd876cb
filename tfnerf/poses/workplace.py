"""The folder that a capture is made in, and what is there while it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tfnerf.errors import UserError
from tfnerf.files import make_folder, read_json, write_file


@dataclasses.dataclass(frozen=True)
class Request:
    """What a capture is asked to be made of."""

    images: str
    """Folder of photographs, or a video."""
    masks: str | None
    num_frames: int | None
    """To take from a video; None: it is none."""
    lens: str
    """COLMAP's name of the model."""
    found: str
    """Fingerprint of the names, sizes and times of what it is to be made of."""


class Workplace:
    """A folder of a capture.

    Attributes:
      folder: of the capture.
      images: the images, upright.
      masks: their masks, as COLMAP names them: that of `a.jpg` is `a.jpg.png`.
      transforms: the poses; written last, so a capture that has it is complete.
      points: the points that were found in the images, PLY.
      report: JSON.
      database: features and matches, in a folder of COLMAP's files.
      sparse: reconstructions.
      left_out: which files were not taken as images, and why, JSON.
      lying: names of the images that were turned on their side to be taken, JSON.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.images = folder / "images"
        self.masks = folder / "masks"
        self.transforms = folder / "transforms.json"
        self.points = folder / "points.ply"
        self.report = folder / "report.json"
        self._colmap = folder / "colmap"
        self._request = self._colmap / "request.json"
        self.database = self._colmap / "database.db"
        self.sparse = self._colmap / "sparse"
        self.left_out = self._colmap / "left_out.json"
        self.lying = self._colmap / "lying.json"
        self.request: Request

    def begin(self, request: Request) -> None:
        """Takes a request, or takes it up again.

        Raises:
          UserError: the capture is complete, or was begun with another request, or something else
            is there.
        """
        self.request = request
        if self.transforms.exists():
            raise UserError(f"{self.transforms}: is there already; give another --output")
        begun = self._request.exists()
        if begun and self.images.exists():
            self._check_same(read_json(self._request))
            return
        if not begun and self.folder.exists() and not self._is_new():
            raise UserError(f"--output={self.folder}: not empty, expected a new folder")
        make_folder(self._colmap)
        write_file(self._request, json.dumps(dataclasses.asdict(request), indent=2))

    def _is_new(self) -> bool:
        """Whether nothing is there but what a call that was killed at once has left."""
        try:
            others = [path for path in self.folder.iterdir() if path != self._colmap]
            return not others and (not self._colmap.is_dir() or not any(self._colmap.iterdir()))
        except OSError as error:
            raise UserError(f"--output={self.folder}: not readable: {error.strerror}") from None

    def _check_same(self, before: dict[str, object]) -> None:
        if before.get("found") != self.request.found:
            raise UserError(
                f"--output={self.folder}: was begun with other photographs than are there now; "
                "give another"
            )
        for name, value in dataclasses.asdict(self.request).items():
            if before.get(name) != value:
                raise UserError(
                    f"--{name}={value}: {self.folder} was begun with {before.get(name)}; give "
                    "that to go on, or another --output"
                )
