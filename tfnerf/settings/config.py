"""Everything that a run depends on."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from tfnerf.errors import UserError
from tfnerf.settings.flag import check_meaning
from tfnerf.settings.network import NetworkSettings
from tfnerf.settings.rendering import RenderSettings, SamplerKind
from tfnerf.settings.scene import SceneSettings
from tfnerf.settings.training import RunSettings, TrainingSettings


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on."""

    scene: SceneSettings = SceneSettings()  # noqa: RUF009 (frozen, as the next)
    network: NetworkSettings = NetworkSettings()  # noqa: RUF009
    rendering: RenderSettings = RenderSettings()  # noqa: RUF009
    training: TrainingSettings = TrainingSettings()  # noqa: RUF009
    run: RunSettings = RunSettings()  # noqa: RUF009

    def __post_init__(self) -> None:
        if self.rendering.sampler is None:
            sampler: SamplerKind = "grid" if self.network.field == "planes" else "hierarchical"
            resolved = dataclasses.replace(self.rendering, sampler=sampler)
            object.__setattr__(self, "rendering", resolved)
        if self.network.field == "planes" and self.rendering.sampler == "hierarchical":
            raise UserError("--sampler=hierarchical: --field=planes needs --sampler=grid")
        for name in ("shadow_hints", "highlights"):
            if getattr(self.network, name) and not self.scene.relightable:
                raise UserError(f"--{name}: needs --relightable")
        if self.network.highlights and not self.network.use_viewdirs:
            raise UserError("--highlights: needs --use_viewdirs")
        needs_viewdirs = self.scene.relightable or self.network.appearance_width
        if needs_viewdirs and not self.network.use_viewdirs and self.network.field == "mlp":
            flag = "--relightable" if self.scene.relightable else "--appearance_width"
            raise UserError(
                f"{flag}: --field=mlp has a branch for colours with --use_viewdirs only"
            )
        check_meaning([getattr(self, section) for section in SECTIONS])

    @property
    def depends_on_conditions(self) -> bool:
        """Whether there is a time, a light or an appearance beside rays."""
        scene = self.scene
        return (
            scene.time_model != "none" or scene.relightable or bool(self.network.appearance_width)
        )

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
