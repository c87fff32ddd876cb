"""How the networks are trained, and where the run is kept."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfnerf.errors import UserError
from tfnerf.settings.flag import Checked, flag, numbers_in

_PLANES = {"field": ("planes",)}
_MOVING_PLANES = {**_PLANES, "time_model": ("deform",)}
_GRID = {"sampler": ("grid",)}


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Checked):
    """How the networks are trained."""

    seed: int = flag(
        0, "Determines the initial weights and every batch.", at_least=0, at_most=2**32 - 1
    )
    num_steps: int = flag(200_000, "Steps in all.", at_least=1, changeable=True)
    batch_size: int = flag(1024, "Rays a step, over all devices together.", at_least=1)
    refine_steps: str = flag(
        "500,1000,2000,3000",
        "Steps after which the box shrinks to what is in it, planes get finer and, from the first "
        "one on, rays that meet nothing are left out.",
        only_for=_GRID,
    )
    draws_per_ray: int = flag(
        1,
        "Rays that are drawn for each one of batch_size once those that meet nothing are left out.",
        at_least=1,
        only_for=_GRID,
    )
    batching: Literal["all_images", "one_image"] = flag(
        "all_images", "Rays of a step come from all images, or from one picked at random."
    )
    center_crop_steps: int = flag(
        0, "one_image: the first steps see only the centre of the images.", at_least=0
    )
    center_crop_fraction: float = flag(
        0.5, "Side of that centre, as a fraction of the image's.", above=0, at_most=1
    )
    time_growth_steps: int = flag(
        0,
        "one_image: the earliest views are trained on first, and the others come in by their time "
        "over so many steps, as in D-NeRF.",
        at_least=0,
        only_for={"time_model": ("deform",)},
    )
    sparsity_weight: float = flag(
        0.0,
        "Weight of a loss on the size of density components, which empties space that few views "
        "see.",
        at_least=0,
        only_for=_PLANES,
    )
    smoothness_weight: float = flag(
        0.0,
        "Weight of a loss on differences between neighbouring cells of planes, for scenes with few "
        "views.",
        at_least=0,
        only_for=_PLANES,
    )
    time_smoothness_weight: float = flag(
        0.0,
        "Weight of a loss on jerks of planes in time, for scenes with few times.",
        at_least=0,
        only_for=_MOVING_PLANES,
    )
    learning_rate: float = flag(5e-4, "Initial learning rate of Adam.", above=0)
    learning_rate_decay: Literal["exponential", "cosine"] = flag(
        "exponential",
        "How the learning rate falls; cosine: it stays high for longer and is down to a fiftieth "
        "after learning_rate_decay_steps, which suits runs that are planned to end there.",
    )
    learning_rate_decay_steps: int = flag(
        250_000,
        "Steps in which the learning rate falls by a factor of ten; of a cosine, to the end.",
        at_least=1,
    )
    learning_rate_warmup_steps: int = flag(
        0, "The learning rate rises from zero over this many steps.", at_least=0
    )
    distribution: Literal["auto", "mirrored", "multi_worker", "none"] = flag(
        "auto",
        "tf.distribute strategy; auto: multi_worker where TF_CONFIG is set, mirrored where there "
        "are several GPUs, none otherwise.",
        changeable=True,
    )
    log_every: int = flag(100, "Steps between lines of metrics.jsonl.", at_least=1, changeable=True)
    checkpoint_every: int = flag(1000, "Steps between checkpoints.", at_least=1, changeable=True)
    checkpoint_minutes: float = flag(
        10.0,
        "Minutes after which a checkpoint is saved even if checkpoint_every steps are not done; "
        "0: whatever the time.",
        at_least=0,
        changeable=True,
    )
    keep_checkpoints: int = flag(3, "Checkpoints kept.", at_least=1, changeable=True)
    eval_every: int = flag(
        5000, "Steps between held-out views for TensorBoard; 0: none.", at_least=0, changeable=True
    )
    num_eval_views: int = flag(
        3,
        "Held-out views measured at the end, spread over the split; 0: none.",
        at_least=0,
        changeable=True,
    )
    profile_steps: str = flag(
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
        if self.time_growth_steps and self.batching != "one_image":
            raise UserError(
                f"--time_growth_steps={self.time_growth_steps}: needs --batching=one_image, "
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
        steps = numbers_in(self.refine_steps)
        return steps if all(a < b for a, b in zip((0, *steps), steps)) else ()

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """The steps of `profile_steps`; None if it names none."""
        steps = numbers_in(self.profile_steps)
        return steps if len(steps) == 2 and 0 <= steps[0] < steps[1] else None


@dataclasses.dataclass(frozen=True)
class RunSettings(Checked):
    """Where the run folder is."""

    output_dir: str = flag("runs", "Folder of run folders.", changeable=True)
    experiment: str = flag("default", "Name of the run folder in it.", changeable=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experiment in ("", ".", "..") or "/" in self.experiment:
            raise UserError(f"--experiment={self.experiment}: expected the name of a folder")
