"""The settings of a run, as frozen dataclasses that every floor may read.

Each field is at once a setting and a command line flag: `tfnerf.flags` makes the flags from the
fields, so a name, its type, its default, its bounds and its help text are written once, here.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tfnerf.errors import UserError

Dataset = Literal[
    "auto", "builtin", "blender", "llff", "deepvoxels", "transforms", "colmap", "tiny_nerf"
]
"""Each but auto is the name of a module of `tfnerf.scenes`."""
FieldKind = Literal["mlp", "planes"]
"""Each is the name of a module of `tfnerf.fields`."""
SamplerKind = Literal["hierarchical", "grid"]
"""Each is the name of a module of `tfnerf.volume.samplers`."""


def _flag(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    only_for: Mapping[str, tuple[str, ...]] | None = None,
    changeable: bool = False,
) -> Any:
    """A field that is a flag.

    Args:
      default: its value if it is not given.
      help: for `--help`.
      at_least: lower bound.
      above: exclusive lower bound.
      at_most: upper bound.
      only_for: values of other flags that it means something for, by the names of these flags;
        None: all.
      changeable: a resumed run may give it another value.
    """
    kinds = [kind for kinds in (only_for or {}).values() for kind in kinds]
    metadata = {
        "help": ", ".join(kinds) + ": " + help if kinds else help,
        "only_for": only_for or {},
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "changeable": changeable,
    }
    return dataclasses.field(default=default, metadata=metadata)


_CAPTURES = ("transforms", "colmap")
_MLP = {"field": ("mlp",)}
_PLANES = {"field": ("planes",)}
_HIERARCHICAL = {"sampler": ("hierarchical",)}
_GRID = {"sampler": ("grid",)}


class _Checked:
    """Checks every field of a settings dataclass against its choices and bounds."""

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _check(field.name, getattr(self, field.name), types[field.name], field.metadata)
        _check_meaning([self])


def _check_meaning(sections: list[Any]) -> None:
    """Raises UserError if a flag is given that means nothing for the value of another one.

    Args:
      sections: settings; flags that depend on one of another section are passed over.
    """
    values = {
        field.name: (field, getattr(section, field.name))
        for section in sections
        for field in dataclasses.fields(section)
    }
    for name, (field, value) in values.items():
        for other, kinds in field.metadata["only_for"].items():
            unknown = other not in values or values[other][1] is None
            if value != field.default and not unknown and values[other][1] not in kinds:
                raise UserError(
                    f"--{name}: means something for --{other}={' or '.join(kinds)} only, "
                    f"found --{other}={values[other][1]}"
                )


def choices_of(kind: Any) -> tuple[str, ...]:
    """The values that a type `Literal[...]`, or one that may also be None, allows; else none."""
    kinds = [kind, *typing.get_args(kind)]
    return next((typing.get_args(one) for one in kinds if typing.get_origin(one) is Literal), ())


def _check(name: str, value: Any, kind: Any, bounds: typing.Mapping[str, Any]) -> None:
    """Raises UserError if `value` is not one that the flag `name` may have."""
    if value is None:
        return
    choices = choices_of(kind)
    if choices and value not in choices:
        raise UserError(f"--{name}={value}: expected one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{name}={value}: expected a finite number")
    if bounds["at_least"] is not None and not value >= bounds["at_least"]:
        raise UserError(f"--{name}={value}: expected at least {bounds['at_least']}")
    if bounds["above"] is not None and not value > bounds["above"]:
        raise UserError(f"--{name}={value}: expected more than {bounds['above']}")
    if bounds["at_most"] is not None and not value <= bounds["at_most"]:
        raise UserError(f"--{name}={value}: expected at most {bounds['at_most']}")


@dataclasses.dataclass(frozen=True)
class SceneSettings(_Checked):
    """Which scene to read and how."""

    dataset: Dataset = _flag(  # noqa: RUF009 (as the fields below)
        "auto",
        "Format of the scene; auto: told from the files in data_dir; builtin: a scene that needs "
        "no files, which auto is without data_dir.",
    )
    data_dir: str = _flag("", "Folder of the scene.", changeable=True)
    shape: str = _flag(
        "greek", "Which object of the data set.", only_for={"dataset": ("deepvoxels",)}
    )
    half_res: bool = _flag(
        False, "Train on images of half the size.", only_for={"dataset": ("blender",)}
    )
    resize_straight_alpha: bool = _flag(
        False,
        "Halve colour and alpha apart, as the original does, and set on the background "
        "afterwards; this fringes edges. Off: background first.",
        only_for={"dataset": ("blender",)},
    )
    white_background: bool = _flag(
        False, "Set transparent images on white; otherwise their alpha is dropped."
    )
    test_skip: int = _flag(
        1, "Use every Nth test view.", at_least=1, only_for={"dataset": ("blender", "deepvoxels")}
    )
    factor: int = _flag(
        1,
        "Shrink the images by this factor.",
        at_least=1,
        only_for={"dataset": ("llff", "transforms", "colmap")},
    )
    spherify: bool = _flag(
        False, "The cameras surround the scene and look inwards.", only_for={"dataset": ("llff",)}
    )
    holdout_every: int = _flag(
        8,
        "Every Nth view is held out for testing, from the first on; 0: none.",
        at_least=0,
        only_for={"dataset": ("llff", "transforms", "colmap")},
    )
    ndc: bool | None = _flag(
        None,
        "Sample in normalised device coordinates; for forward-facing scenes only. "
        "Default: on for llff without --spherify, and for captures whose cameras look the same way "
        "and say what they see; off otherwise.",
    )
    near: float | None = _flag(
        None, "Depth where rays begin, in scene units; default: what the data set says.", at_least=0
    )
    far: float | None = _flag(
        None, "Depth where rays end, in scene units; default: what the data set says.", above=0
    )
    pixel_centers: bool = _flag(
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
        if self.uses_ndc and (self.near is not None or self.far is not None):
            raise UserError("--near and --far: rays in NDC go from 0 to 1; give --nondc too")

    @property
    def uses_ndc(self) -> bool | None:
        """Whether rays are warped to normalised device coordinates; None: the data says."""
        if self.ndc is not None or self.dataset in _CAPTURES:
            return self.ndc
        return self.dataset == "llff" and not self.spherify


@dataclasses.dataclass(frozen=True)
class NetworkSettings(_Checked):
    """What is at a point: the kind of field and its shape."""

    field: FieldKind = _flag(  # noqa: RUF009 (as the fields below)
        "mlp",
        "Kind of field; mlp: the networks of the paper, a coarse and a fine one; planes: factored "
        "planes and lines, which learn a hundred times faster and take more memory.",
    )
    net_depth: int = _flag(8, "Hidden layers of the trunk.", at_least=1, only_for=_MLP)
    net_width: int = _flag(256, "Width of the hidden layers.", at_least=2, only_for=_MLP)
    skip_layer: int = _flag(
        4,
        "The encoded position enters again after the layer of this index.",
        at_least=0,
        only_for=_MLP,
    )
    bottleneck_width: int | None = _flag(
        None,
        "Width of the layer before the view direction enters; default: net_width.",
        at_least=1,
        only_for=_MLP,
    )
    position_frequencies: int = _flag(
        10, "Frequencies of the positional encoding of positions.", at_least=0, only_for=_MLP
    )
    direction_frequencies: int = _flag(
        4, "Frequencies of the positional encoding of view directions.", at_least=0
    )
    use_viewdirs: bool = _flag(True, "Colours depend on the view direction.")
    mixed_precision: bool = _flag(
        False,
        "Hidden layers compute in bfloat16; for devices that are faster at it, CPUs with AMX too.",
        only_for=_MLP,
    )
    plane_resolution: int = _flag(
        300, "Cells along each side of the box, in the end.", at_least=2, only_for=_PLANES
    )
    first_plane_resolution: int = _flag(128, "The same at first.", at_least=2, only_for=_PLANES)
    density_components: str = _flag(
        "8",
        "Components of density of each plane and its line; three numbers: of xy and z, of xz and "
        "y, of yz and x. Forward-facing scenes need most in the first.",
        only_for=_PLANES,
    )
    color_components: str = _flag(
        "16", "The same for the features that colours are made of.", only_for=_PLANES
    )
    decoder_width: int = _flag(
        64, "Width of the hidden layers that make colours.", at_least=1, only_for=_PLANES
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("density_components", "color_components"):
            text = getattr(self, name)
            if re.fullmatch(r"[1-9]\d*(,[1-9]\d*,[1-9]\d*)?", text) is None:
                raise UserError(f"--{name}={text}: expected a number above 0, or three: 16,4,4")


@dataclasses.dataclass(frozen=True)
class RenderSettings(_Checked):
    """How rays become colours."""

    sampler: SamplerKind | None = _flag(  # noqa: RUF009 (as the fields below)
        None,
        "Where along a ray to look; hierarchical: as in the paper, first with the coarse network; "
        "grid: where a grid of densities, kept up to date while training, says that something is. "
        "Default: hierarchical for --field=mlp, grid for --field=planes.",
    )
    num_coarse_samples: int = _flag(
        64, "Samples per ray for the coarse network.", at_least=2, only_for=_HIERARCHICAL
    )
    num_fine_samples: int = _flag(
        128,
        "More samples per ray for the fine network; 0: no fine network.",
        at_least=0,
        only_for=_HIERARCHICAL,
    )
    num_samples: int = _flag(24, "Samples per ray.", at_least=1, only_for=_GRID)
    num_probes: int = _flag(
        128, "Places on each ray where the grid is looked up.", at_least=2, only_for=_GRID
    )
    grid_resolution: int = _flag(
        128, "Cells of the grid along each side of the box.", at_least=2, only_for=_GRID
    )
    even_share: float = _flag(
        0.6,
        "Share of the samples that is spread evenly over what the grid calls occupied and light "
        "reaches, because it knows densities roughly.",
        above=0,
        at_most=1,
        only_for=_GRID,
    )
    lindisp: bool = _flag(False, "Space samples evenly in disparity instead of depth.")
    density_noise_std: float = _flag(
        0.0, "Standard deviation of noise on the raw density while training.", at_least=0
    )
    distortion_weight: float = _flag(
        0.0,
        "Weight of a loss on how far along a ray what it sees is spread, against floaters in "
        "captures.",
        at_least=0,
        only_for=_GRID,
    )
    jitter: bool = _flag(True, "Draw samples at random within their intervals while training.")
    rays_per_chunk: int | None = _flag(
        None,
        "Rays that a device works on at a time; fewer need less memory. Default: as many as fit.",
        at_least=1,
        changeable=True,
    )
    picture_rays_per_chunk: int | None = _flag(
        None,
        "The same for pictures, which need less memory per ray. Default: rays_per_chunk if that is "
        "given, else as many as fit.",
        at_least=1,
        changeable=True,
    )
    jit_compile: Literal["auto", "on", "off"] = _flag(
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


@dataclasses.dataclass(frozen=True)
class TrainingSettings(_Checked):
    """How the networks are trained."""

    seed: int = _flag(
        0, "Determines the initial weights and every batch.", at_least=0, at_most=2**32 - 1
    )
    num_steps: int = _flag(200_000, "Steps in all.", at_least=1, changeable=True)
    batch_size: int = _flag(1024, "Rays a step, over all devices together.", at_least=1)
    refine_steps: str = _flag(
        "500,1000,2000,3000",
        "Steps after which the box shrinks to what is in it, planes get finer and, from the first "
        "one on, rays that meet nothing are left out.",
        only_for=_GRID,
    )
    draws_per_ray: int = _flag(
        1,
        "Rays that are drawn for each one of batch_size once those that meet nothing are left out.",
        at_least=1,
        only_for=_GRID,
    )
    batching: Literal["all_images", "one_image"] = _flag(
        "all_images", "Rays of a step come from all images, or from one picked at random."
    )
    center_crop_steps: int = _flag(
        0, "one_image: the first steps see only the centre of the images.", at_least=0
    )
    center_crop_fraction: float = _flag(
        0.5, "Side of that centre, as a fraction of the image's.", above=0, at_most=1
    )
    sparsity_weight: float = _flag(
        0.0,
        "Weight of a loss on the size of density components, which empties space that few views "
        "see.",
        at_least=0,
        only_for=_PLANES,
    )
    smoothness_weight: float = _flag(
        0.0,
        "Weight of a loss on differences between neighbouring cells of planes, for scenes with few "
        "views.",
        at_least=0,
        only_for=_PLANES,
    )
    learning_rate: float = _flag(5e-4, "Initial learning rate of Adam.", above=0)
    learning_rate_decay_steps: int = _flag(
        250_000, "The learning rate falls by a factor of ten in this many steps.", at_least=1
    )
    learning_rate_warmup_steps: int = _flag(
        0, "The learning rate rises from zero over this many steps.", at_least=0
    )
    distribution: Literal["auto", "mirrored", "multi_worker", "none"] = _flag(
        "auto",
        "tf.distribute strategy; auto: multi_worker where TF_CONFIG is set, mirrored where there "
        "are several GPUs, none otherwise.",
        changeable=True,
    )
    log_every: int = _flag(
        100, "Steps between lines of metrics.jsonl.", at_least=1, changeable=True
    )
    checkpoint_every: int = _flag(1000, "Steps between checkpoints.", at_least=1, changeable=True)
    checkpoint_minutes: float = _flag(
        10.0,
        "Minutes after which a checkpoint is saved even if checkpoint_every steps are not done; "
        "0: whatever the time.",
        at_least=0,
        changeable=True,
    )
    keep_checkpoints: int = _flag(3, "Checkpoints kept.", at_least=1, changeable=True)
    eval_every: int = _flag(
        5000, "Steps between held-out views for TensorBoard; 0: none.", at_least=0, changeable=True
    )
    num_eval_views: int = _flag(
        3,
        "Held-out views measured at the end, spread over the split; 0: none.",
        at_least=0,
        changeable=True,
    )
    profile_steps: str = _flag(
        "",
        "A,B: write a TensorBoard profile of the steps from A done to B done; default: none.",
        changeable=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.center_crop_steps and self.batching != "one_image":
            raise UserError(
                f"--center_crop_steps={self.center_crop_steps}: needs --batching=one_image, "
                f"found --batching={self.batching}"
            )
        if self.profile_steps and self.profiled_steps is None:
            raise UserError(
                f"--profile_steps={self.profile_steps}: expected two whole numbers, the first "
                "less than the second, such as 100,110"
            )

        if self.refine_steps and not self.refined_at:
            raise UserError(
                f"--refine_steps={self.refine_steps}: expected whole numbers in increasing order, "
                "such as 500,1000"
            )

    @property
    def refined_at(self) -> tuple[int, ...]:
        """The steps of `refine_steps`; none if they are not whole, positive and increasing."""
        if re.fullmatch(r"\d+(,\d+)*", self.refine_steps) is None:
            return ()
        steps = tuple(int(step) for step in self.refine_steps.split(","))
        return steps if all(a < b for a, b in zip((0, *steps), steps)) else ()

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """The steps of `profile_steps`; None if it names none."""
        match = re.fullmatch(r"(\d+),(\d+)", self.profile_steps)
        if match is None or int(match[1]) >= int(match[2]):
            return None
        return int(match[1]), int(match[2])


@dataclasses.dataclass(frozen=True)
class RunSettings(_Checked):
    """Where the run folder is."""

    output_dir: str = _flag("runs", "Folder of run folders.", changeable=True)
    experiment: str = _flag("default", "Name of the run folder in it.", changeable=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experiment in ("", ".", "..") or "/" in self.experiment:
            raise UserError(f"--experiment={self.experiment}: expected the name of a folder")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on."""

    scene: SceneSettings = SceneSettings()
    network: NetworkSettings = NetworkSettings()
    rendering: RenderSettings = RenderSettings()
    training: TrainingSettings = TrainingSettings()
    run: RunSettings = RunSettings()

    def __post_init__(self) -> None:
        if self.rendering.sampler is None:
            sampler: SamplerKind = "grid" if self.network.field == "planes" else "hierarchical"
            resolved = dataclasses.replace(self.rendering, sampler=sampler)
            object.__setattr__(self, "rendering", resolved)
        if self.network.field == "planes" and self.rendering.sampler == "hierarchical":
            raise UserError("--sampler=hierarchical: --field=planes needs --sampler=grid")
        _check_meaning([getattr(self, section) for section in SECTIONS])

    @property
    def refined_at(self) -> tuple[int, ...]:
        """Steps after which the field becomes finer; none where there is no grid."""
        return self.training.refined_at if self.rendering.sampler == "grid" else ()

    def times_refined(self, step: int) -> int:
        """How often the field was refined when a step is done."""
        return sum(refined <= step for refined in self.refined_at)

    def replaced(self, **values: Any) -> Config:
        """The same with other values of some flags, by their names.

        Another field comes with the sampler that suits it, unless one is given.

        Raises:
          UserError: a value that its flag cannot have.
          TypeError: there is no such flag.
        """
        if "field" in values:
            values.setdefault("sampler", None)
        sections = {}
        for name, section in SECTIONS.items():
            own = {field.name for field in dataclasses.fields(section)} & values.keys()
            changes = {flag: values.pop(flag) for flag in own}
            sections[name] = dataclasses.replace(getattr(self, name), **changes)
        if values:
            raise TypeError(f"found no flag named {', '.join(values)}")
        return Config(**sections)


SECTIONS: dict[str, Any] = typing.get_type_hints(Config)
"""The settings of each field of `Config`."""


def flag_settings(config: Config) -> Iterator[tuple[str, Any, bool]]:
    """Name, value, and whether a resumed run may change it."""
    for section in SECTIONS:
        settings = getattr(config, section)
        for field in dataclasses.fields(settings):
            yield field.name, getattr(settings, field.name), field.metadata["changeable"]


def means_something(config: Config) -> set[str]:
    """The names of the flags that matter for the values that others have."""
    fields = {
        field.name: (field, getattr(getattr(config, section), field.name))
        for section in SECTIONS
        for field in dataclasses.fields(getattr(config, section))
    }
    return {
        name
        for name, (field, _) in fields.items()
        if all(fields[other][1] in kinds for other, kinds in field.metadata["only_for"].items())
    }


def flag_text(value: Any) -> str:
    """A value as it is written behind a flag."""
    return str(value).lower() if isinstance(value, bool) else str(value)
