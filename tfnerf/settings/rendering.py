"""How rays become colours."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfnerf.errors import UserError
from tfnerf.settings.flag import Checked, flag

SamplerKind = Literal["hierarchical", "grid"]
"""Each is the name of a module of `tfnerf.volume.samplers`."""
_HIERARCHICAL = {"sampler": ("hierarchical",)}
_GRID = {"sampler": ("grid",)}


@dataclasses.dataclass(frozen=True)
class RenderSettings(Checked):
    """How rays become colours."""

    sampler: SamplerKind | None = flag(  # noqa: RUF009 (as the fields below)
        None,
        "Where along a ray to look; hierarchical: as in the paper, first with the coarse network; "
        "grid: where a grid of densities, kept up to date while training, says that something is. "
        "Default: hierarchical for --field=mlp, grid for --field=planes.",
    )
    num_coarse_samples: int = flag(
        64, "Samples per ray for the coarse network.", at_least=2, only_for=_HIERARCHICAL
    )
    num_fine_samples: int = flag(
        128,
        "More samples per ray for the fine network; 0: no fine network.",
        at_least=0,
        only_for=_HIERARCHICAL,
    )
    num_samples: int = flag(24, "Samples per ray.", at_least=1, only_for=_GRID)
    num_probes: int = flag(
        128, "Places on each ray where the grid is looked up.", at_least=2, only_for=_GRID
    )
    grid_resolution: int = flag(
        128, "Cells of the grid along each side of the box.", at_least=2, only_for=_GRID
    )
    grid_times: int = flag(
        16,
        "Spans of time, each of which has a grid of its own.",
        at_least=1,
        only_for={**_GRID, "time_model": ("deform",)},
    )
    even_share: float = flag(
        0.6,
        "Share of the samples that is spread evenly over what the grid calls occupied and light "
        "reaches, because it knows densities roughly.",
        above=0,
        at_most=1,
        only_for=_GRID,
    )
    lindisp: bool = flag(
        False, "Space samples evenly in disparity instead of depth, with a grid half of them."
    )
    density_noise_std: float = flag(
        0.0, "Standard deviation of noise on the raw density while training.", at_least=0
    )
    distortion_weight: float = flag(
        0.0,
        "Weight of a loss on how far along a ray what it sees is spread, against floaters in "
        "captures.",
        at_least=0,
        only_for=_GRID,
    )
    jitter: bool = flag(True, "Draw samples at random within their intervals while training.")
    rays_per_chunk: int | None = flag(
        None,
        "Rays that a device works on at a time; fewer need less memory. Default: as many as fit.",
        at_least=1,
        changeable=True,
    )
    picture_rays_per_chunk: int | None = flag(
        None,
        "The same for pictures, which need less memory per ray. Default: rays_per_chunk if that is "
        "given, else as many as fit.",
        at_least=1,
        changeable=True,
    )
    jit_compile: Literal["auto", "on", "off"] = flag(
        "auto", "Compile with XLA; auto: on GPUs, not on CPUs.", changeable=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_fine_samples and self.num_coarse_samples < 3:
            raise UserError(
                f"--num_coarse_samples={self.num_coarse_samples}: expected at least 3 to resample "
                "from"
            )

    @property
    def given_picture_rays_per_chunk(self) -> int | None:
        """What the flags say of the chunks of pictures; None: nothing."""
        picture = self.picture_rays_per_chunk
        return self.rays_per_chunk if picture is None else picture

    @property
    def has_coarse_network(self) -> bool:
        """Whether a network of its own says where the one of the final colours has to look."""
        return self.sampler in (None, "hierarchical") and self.num_fine_samples > 0
