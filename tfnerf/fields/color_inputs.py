"""What colours depend on beside what is at a point: densities never do."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfnerf.fields.encoding import encoding_width, positional_encoding
from tfnerf.fields.field import Conditions, condition_of
from tfnerf.settings import Config


class ColorInputs(NamedTuple):
    """Which of view direction, light and appearance colours depend on, as numbers for a network."""

    direction_frequencies: int = 4
    """Of the encodings of view directions and of lights."""
    use_viewdirs: bool = True
    relightable: bool = False
    appearance_width: int = 0
    """Numbers of the code of each image; 0: there are no codes."""
    shadow_hints: bool = False
    """Whether it is known how much of the light arrives."""
    highlights: bool = False
    """Whether the direction halfway between light and camera is known (Blinn 1977)."""

    @classmethod
    def of(cls, config: Config) -> ColorInputs:
        """Those of a run."""
        network = config.network
        return cls(
            network.direction_frequencies,
            network.use_viewdirs,
            config.scene.relightable,
            network.appearance_width,
            network.shadow_hints,
            network.highlights,
        )

    @classmethod
    def taken_from(cls, config: dict[str, Any]) -> dict[str, Any]:
        """A field's configuration with these as one argument; earlier versions had each alone."""
        own = {name: config[name] for name in cls._fields if name in config}
        rest = {name: value for name, value in config.items() if name not in own}
        return {**rest, "color_inputs": cls(**config.get("color_inputs", own))}

    @property
    def width(self) -> int:
        """Numbers in all."""
        num_directions = int(self.use_viewdirs) + int(self.relightable) + int(self.highlights)
        encoded = encoding_width(3, self.direction_frequencies)
        return num_directions * encoded + self.appearance_width + int(self.shadow_hints)

    def __call__(self, viewdirs: tf.Tensor, conditions: Conditions | None) -> tf.Tensor:
        """These numbers, [M, width].

        Of a light only the direction counts in which it is.

        Args:
          viewdirs: [M, 3], unit vectors in world axes.
          conditions: of each row; "light" [M, 3], from the middle of the scene, or from where the
            light is looked for; "lit" [M], the share of it that arrives; "appearance" [M, A].
        """
        inputs = []
        if self.use_viewdirs:
            inputs.append(positional_encoding(viewdirs, self.direction_frequencies))
        if self.relightable:
            light = tf.math.l2_normalize(condition_of(conditions, "light"), -1)
            inputs.append(positional_encoding(light, self.direction_frequencies))
            if self.highlights:
                halfway = tf.math.l2_normalize(light - viewdirs, -1)
                inputs.append(positional_encoding(halfway, self.direction_frequencies))
        if self.shadow_hints:
            inputs.append(condition_of(conditions, "lit")[:, tf.newaxis])
        if self.appearance_width:
            inputs.append(condition_of(conditions, "appearance"))
        return inputs[0] if len(inputs) == 1 else tf.concat(inputs, -1)
