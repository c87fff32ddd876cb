"""What is at a point: the kind of field and its shape."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfnerf.errors import UserError
from tfnerf.settings.flag import Checked, flag, numbers_in

FieldKind = Literal["mlp", "planes"]
"""Each is the name of a module of `tfnerf.fields`."""
_MLP = {"field": ("mlp",)}
_PLANES = {"field": ("planes",)}
_MOVING_MLP = {**_MLP, "time_model": ("deform",)}
_MOVING_PLANES = {**_PLANES, "time_model": ("deform",)}


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Checked):
    """What is at a point: the kind of field and its shape."""

    field: FieldKind = flag(  # noqa: RUF009 (as the fields below)
        "mlp",
        "Kind of field; mlp: the networks of the paper, a coarse and a fine one; planes: factored "
        "planes and lines, which learn a hundred times faster and take more memory.",
    )
    net_depth: int = flag(8, "Hidden layers of the trunk.", at_least=1, only_for=_MLP)
    net_width: int = flag(256, "Width of the hidden layers.", at_least=2, only_for=_MLP)
    skip_layer: int = flag(
        4,
        "The encoded position enters again after the layer of this index.",
        at_least=0,
        only_for=_MLP,
    )
    bottleneck_width: int | None = flag(
        None,
        "Width of the layer before the view direction enters; default: net_width.",
        at_least=1,
        only_for=_MLP,
    )
    position_frequencies: int = flag(
        10, "Frequencies of the positional encoding of positions.", at_least=0, only_for=_MLP
    )
    direction_frequencies: int = flag(
        4, "Frequencies of the positional encoding of view directions.", at_least=0
    )
    use_viewdirs: bool = flag(True, "Colours depend on the view direction.")
    mixed_precision: bool = flag(
        False,
        "Hidden layers compute in bfloat16; for devices that are faster at it, CPUs with AMX too.",
        only_for=_MLP,
    )
    plane_resolution: int = flag(
        300, "Cells along each side of the box, in the end.", at_least=2, only_for=_PLANES
    )
    first_plane_resolution: int = flag(128, "The same at first.", at_least=2, only_for=_PLANES)
    plane_proportions: str = flag(
        "1,1,1",
        "Shares of plane_resolution that there are along x, along y and along z. Forward-facing "
        "scenes need fewer in depth, which in NDC is z: 1,1,0.4.",
        only_for=_PLANES,
    )
    density_components: str = flag(
        "8",
        "Components of density of each plane and its line; three numbers: of xy and z, of xz and "
        "y, of yz and x. Forward-facing scenes need most in the first.",
        only_for=_PLANES,
    )
    color_components: str = flag(
        "16", "The same for the features that colours are made of.", only_for=_PLANES
    )
    decoder_width: int = flag(
        64, "Width of the hidden layers that make colours.", at_least=1, only_for=_PLANES
    )
    colors_per_ray: int = flag(
        1,
        "Colours that are made for each ray, of what lies in as many parts of it, one behind the "
        "other; 2 is nearly as good as one for each sample, and nearly as fast as 1.",
        at_least=1,
        at_most=64,
        only_for=_PLANES,
    )

    deformation_depth: int = flag(
        4, "Hidden layers of the network that moves points.", at_least=1, only_for=_MOVING_MLP
    )
    deformation_width: int = flag(64, "Their width.", at_least=1, only_for=_MOVING_MLP)
    deformation_skip: int = flag(
        2,
        "The encoded position enters them again after the layer of this index.",
        at_least=0,
        only_for=_MOVING_MLP,
    )
    deformation_frequencies: int = flag(
        4,
        "Frequencies of the encodings of positions and times in it; more follow faster motion.",
        at_least=0,
        only_for=_MOVING_MLP,
    )
    zero_canonical: bool = flag(
        False, "Nothing is moved at time 0, as in D-NeRF.", only_for=_MOVING_MLP
    )
    time_resolution: int = flag(
        9, "Moments that the planes have, linear between.", at_least=3, only_for=_MOVING_PLANES
    )
    shadow_hints: bool = flag(
        False,
        "Colours know how much of the light the grid lets through to what is seen, so that shadows "
        "are sharp under lights that were never photographed; with --relightable.",
        only_for={"sampler": ("grid",)},
    )
    highlights: bool = flag(
        False,
        "Colours know the direction halfway between light and camera, around which highlights are; "
        "with --relightable.",
    )
    appearance_width: int = flag(
        0,
        "Numbers of a code for each training image, that its colours depend on: for exposure and "
        "weather that change; 0: no codes.",
        at_least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("density_components", "color_components"):
            text = getattr(self, name)
            numbers = numbers_in(text)
            if len(numbers) not in (1, 3) or min(numbers) < 1:
                raise UserError(f"--{name}={text}: expected a number above 0, or three: 16,4,4")
        if len(self.plane_shares) != 3 or not all(0 < share <= 1 for share in self.plane_shares):
            raise UserError(
                f"--plane_proportions={self.plane_proportions}: expected three numbers above 0 and "
                "up to 1, such as 1,1,0.4"
            )

    @property
    def plane_shares(self) -> tuple[float, ...]:
        """The numbers of `plane_proportions`: along x, y and z."""
        return numbers_in(self.plane_proportions, float)
