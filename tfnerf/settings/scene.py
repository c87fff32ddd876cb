"""Which scene to read and how."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfnerf.errors import UserError
from tfnerf.settings.flag import Checked, flag

Dataset = Literal[
    "auto", "builtin", "blender", "llff", "deepvoxels", "transforms", "colmap", "tiny_nerf"
]
"""Each but auto is the name of a module of `tfnerf.scenes`."""
TimeModel = Literal["none", "deform"]
_BUILTIN = {"dataset": ("builtin",)}
_CAPTURES = ("transforms", "colmap")


@dataclasses.dataclass(frozen=True)
class SceneSettings(Checked):
    """Which scene to read and how."""

    dataset: Dataset = flag(  # noqa: RUF009 (as the fields below)
        "auto",
        "Format of the scene; auto: told from the files in data_dir; builtin: a scene that needs "
        "no files, which auto is without data_dir.",
    )
    data_dir: str = flag("", "Folder of the scene.", changeable=True)
    shape: str = flag(
        "greek", "Which object of the data set.", only_for={"dataset": ("deepvoxels",)}
    )
    half_res: bool = flag(
        False, "Train on images of half the size.", only_for={"dataset": ("blender",)}
    )
    resize_straight_alpha: bool = flag(
        False,
        "Halve colour and alpha apart, as the original does, and set on the background "
        "afterwards; this fringes edges. Off: background first.",
        only_for={"dataset": ("blender",)},
    )
    white_background: bool = flag(
        False, "Set transparent images on white; otherwise their alpha is dropped."
    )
    test_skip: int = flag(
        1, "Use every Nth test view.", at_least=1, only_for={"dataset": ("blender", "deepvoxels")}
    )
    factor: int = flag(
        1,
        "Shrink the images by this factor.",
        at_least=1,
        only_for={"dataset": ("llff", "transforms", "colmap")},
    )
    spherify: bool = flag(
        False, "The cameras surround the scene and look inwards.", only_for={"dataset": ("llff",)}
    )
    holdout_every: int = flag(
        8,
        "Every Nth view is held out for testing, from the first on; 0: none.",
        at_least=0,
        only_for={"dataset": ("llff", "transforms", "colmap")},
    )
    ndc: bool | None = flag(
        None,
        "Sample in normalised device coordinates; for forward-facing scenes only. "
        "Default: on for llff without --spherify, and for captures whose cameras look the same way "
        "and say what they see; off otherwise.",
    )
    near: float | None = flag(
        None, "Depth where rays begin, in scene units; default: what the data set says.", at_least=0
    )
    far: float | None = flag(
        None, "Depth where rays end, in scene units; default: what the data set says.", above=0
    )
    time_model: TimeModel = flag(  # noqa: RUF009 (as the next)
        "none",
        "How a scene changes in time; none: it stands still; deform: frames say their time; before "
        "the networks of --field=mlp each point is moved to where it is in a scene that stands "
        "still, and the lines of --field=planes become planes of place and time.",
        only_for={"dataset": ("blender", "builtin", *_CAPTURES)},
    )
    relightable: bool = flag(
        False,
        "Colours depend on where the light is, which frames say (pl_pos, light_direction).",
        only_for={"dataset": ("blender", "builtin")},
    )
    builtin_motion: bool = flag(
        False, "Three of the solids move, and each view has its time.", only_for=_BUILTIN
    )
    builtin_lights: bool = flag(
        False, "Each view has a light of its own, which casts shadows.", only_for=_BUILTIN
    )
    builtin_tints: bool = flag(
        False, "Each view has a tint and an exposure of its own.", only_for=_BUILTIN
    )
    builtin_patterns: bool = flag(
        False,
        "The solids are painted with patterns, by which tfnerf.poses finds where a video of them "
        "was taken from.",
        only_for=_BUILTIN,
    )
    builtin_size: int = flag(
        64, "Height and width of the views, pixels.", at_least=1, only_for=_BUILTIN
    )
    builtin_views: int | None = flag(
        None,
        "Training views; default: 60, or 120 where no two show the same.",
        at_least=1,
        only_for=_BUILTIN,
    )
    pixel_centers: bool = flag(
        True, "Rays pass through pixel centres; off: corners, as in the original."
    )

    def __post_init__(self) -> None:
        if self.dataset == "auto" and not self.data_dir:
            object.__setattr__(self, "dataset", "builtin")
        super().__post_init__()
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise UserError(f"--near={self.near}: expected less than --far={self.far}")
        if self.ndc and self.dataset not in ("llff", *_CAPTURES):
            raise UserError(
                f"--ndc: needs --dataset=llff, transforms or colmap, found --dataset={self.dataset}"
            )
        if self.ndc and self.spherify:
            raise UserError("--ndc: is for forward-facing scenes, found --spherify")
        self.require_depths_of(ndc=bool(self.uses_ndc))

    def require_depths_of(self, *, ndc: bool) -> None:
        """Raises UserError if near or far is given, but rays are in NDC."""
        if ndc and (self.near is not None or self.far is not None):
            raise UserError("--near and --far: rays in NDC go from 0 to 1; give --nondc too")

    @property
    def uses_ndc(self) -> bool | None:
        """Whether rays are warped to normalised device coordinates; None: the data says."""
        if self.ndc is not None or self.dataset in _CAPTURES:
            return self.ndc
        return self.dataset == "llff" and not self.spherify
