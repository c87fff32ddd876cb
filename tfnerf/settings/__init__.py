"""The settings of a run, as frozen dataclasses that every floor may read.

Each field is at once a setting and a command line flag: `tfnerf.flags` makes the flags from the
fields, so a name, its type, its default, its bounds and its help text are written once, here.
"""

from tfnerf.settings.config import SECTIONS, Config, flag_settings, means_something
from tfnerf.settings.flag import choices_of, flag_text
from tfnerf.settings.network import FieldKind, NetworkSettings
from tfnerf.settings.rendering import RenderSettings, SamplerKind
from tfnerf.settings.scene import Dataset, SceneSettings, TimeModel
from tfnerf.settings.training import RunSettings, TrainingSettings

__all__ = [
    "SECTIONS",
    "Config",
    "Dataset",
    "FieldKind",
    "NetworkSettings",
    "RenderSettings",
    "RunSettings",
    "SamplerKind",
    "SceneSettings",
    "TimeModel",
    "TrainingSettings",
    "choices_of",
    "flag_settings",
    "flag_text",
    "means_something",
]
