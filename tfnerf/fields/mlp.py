"""The network of the paper (section 5.3, figure 7)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnerf.fields.color_inputs import ColorInputs
from tfnerf.fields.deformation import Deformation
from tfnerf.fields.encoding import encoding_width, positional_encoding
from tfnerf.fields.field import Conditions, Field, condition_of
from tfnerf.settings import Config


@keras.saving.register_keras_serializable(package="tfnerf")
class RadianceField(Field):
    """Position and view direction to colour and density.

    Colours end in a sigmoid and densities in a ReLU. In a scene that moves points are looked up
    where they are in the canonical one.

    `weights` are in the order of the original's weight files: the trunk, the bottleneck, the view
    layer, colour, density; without view directions the trunk and one output layer. Those of a
    deformation come last.

    Args:
      net_depth: hidden layers of the trunk.
      net_width: their width; the view layer has half of it.
      skip_layer: after the layer of this index the encoded position is put in front of its output.
      bottleneck_width: of the layer before the view direction enters; None: net_width.
      position_frequencies: of the encoding of positions.
      color_inputs: what colours depend on beside the position; without view directions nothing.
      mixed_precision: hidden layers compute in bfloat16; the encoding and the outputs never do.
      deformation: how points move with the condition "time"; None: they stand still.

    Example:
      >>> field = RadianceField()
      >>> density, features = field(tf.zeros([1024, 3]))
      >>> density.shape, field.color(features, tf.zeros([1024, 3])).shape
      (TensorShape([1024]), TensorShape([1024, 3]))
      >>> field.count_params()
      595844
    """

    def __init__(
        self,
        net_depth: int = 8,
        net_width: int = 256,
        skip_layer: int = 4,
        bottleneck_width: int | None = None,
        position_frequencies: int = 10,
        color_inputs: ColorInputs = ColorInputs(),
        mixed_precision: bool = False,
        deformation: Deformation | None = None,
        name: str | None = None,
    ):
        # The model itself is float32: Keras would otherwise cast positions before their encoding.
        super().__init__(name=name, dtype="float32")
        self._config = {
            "net_depth": net_depth,
            "net_width": net_width,
            "skip_layer": skip_layer,
            "bottleneck_width": bottleneck_width,
            "position_frequencies": position_frequencies,
            "color_inputs": color_inputs._asdict(),
            "mixed_precision": mixed_precision,
        }
        self.skip_layer = skip_layer
        self.position_frequencies = position_frequencies
        self.use_viewdirs = color_inputs.use_viewdirs
        self.has_shadow_hints = color_inputs.shadow_hints
        self._color_inputs = color_inputs

        hidden_dtype = "mixed_bfloat16" if mixed_precision else "float32"
        position_width = encoding_width(3, position_frequencies)
        width = position_width
        self.trunk = []
        for layer in range(net_depth):
            self.trunk.append(_dense(f"trunk_{layer}", width, net_width, hidden_dtype, "relu"))
            width = net_width + (position_width if layer == skip_layer else 0)
        if self.use_viewdirs:
            bottleneck = bottleneck_width or net_width
            view_width = bottleneck + self._color_inputs.width
            self.bottleneck = _dense("bottleneck", width, bottleneck, hidden_dtype)
            self.view = _dense("view", view_width, net_width // 2, hidden_dtype, "relu")
            self.rgb = _dense("rgb", net_width // 2, 3, "float32")
            self.density = _dense("density", width, 1, "float32")
        else:
            self.output_layer = _dense("output", width, 4, "float32")
        self.deformation = deformation
        self.built = True

    def call(
        self,
        points: tf.Tensor,
        conditions: Conditions | None = None,
        density_noise: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Density and features; see `Field.call`."""
        if self.deformation is not None:
            points += self.deformation(points, condition_of(conditions, "time"))
        raw_density, features = self._raw_density(points)
        if density_noise is not None:
            raw_density += density_noise
        return tf.nn.relu(raw_density), features

    def color(
        self, features: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> tf.Tensor:
        """Features to colours; see `Field.color`."""
        # Without the check of the shape, which does nothing else, TensorFlow fuses the sigmoid with
        # the layer before it on CPUs, and results round differently than those of earlier versions.
        raw_color = self._raw_color(features, viewdirs, conditions)
        return tf.sigmoid(tf.ensure_shape(raw_color, [None, 3]))

    def raw(self, points: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        """What the original's networks, which know no conditions, return before any activation.

        Args:
          points: [M, 3].
          viewdirs: [M, 3], unit vectors; not used without view directions.

        Returns:
          [M, 4] float32: colour before its sigmoid, density before its ReLU.
        """
        density, features = self._raw_density(points)
        return tf.concat([self._raw_color(features, viewdirs), density[:, tf.newaxis]], -1)

    def _raw_density(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Density [M] before its ReLU, and the features [M, F] that colours are made of."""
        encoded = positional_encoding(points, self.position_frequencies)
        hidden = encoded
        for index, layer in enumerate(self.trunk):
            hidden = layer(hidden)
            if index == self.skip_layer:
                hidden = tf.concat([tf.cast(encoded, hidden.dtype), hidden], -1)
        if self.use_viewdirs:
            return self.density(hidden)[:, 0], hidden
        raw = self.output_layer(hidden)
        return raw[:, 3], raw[:, :3]

    def _raw_color(
        self, features: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> tf.Tensor:
        """Colour [M, 3] before its sigmoid."""
        if not self.use_viewdirs:
            return features
        bottleneck = self.bottleneck(features)
        inputs = tf.cast(self._color_inputs(viewdirs, conditions), bottleneck.dtype)
        return self.rgb(self.view(tf.concat([bottleneck, inputs], -1)))

    @property
    def floats_per_point(self) -> int:
        """Twice the outputs of all layers: before and after their activation."""
        return 2 * sum(int(weight.shape[0]) for weight in self.weights if len(weight.shape) == 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        config = {**self._config, "name": self.name}
        if self.deformation is not None:
            config["deformation"] = keras.saving.serialize_keras_object(self.deformation)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RadianceField:
        """The inverse of `get_config`."""
        config = ColorInputs.taken_from(config)
        if "deformation" in config:
            config["deformation"] = keras.saving.deserialize_keras_object(config["deformation"])
        return cls(**config)


def _dense(
    name: str, inputs: int, outputs: int, dtype: str, activation: str | None = None
) -> keras.layers.Dense:
    """A layer with its weights made: Glorot-uniform kernel, zero bias."""
    layer = keras.layers.Dense(outputs, activation=activation, dtype=dtype, name=name)
    layer.build([None, inputs])
    return layer


def make_field(config: Config, step: int, name: str) -> RadianceField:
    """A new network; its shape is the same at every step."""
    network = config.network
    return RadianceField(
        network.net_depth,
        network.net_width,
        network.skip_layer,
        network.bottleneck_width,
        network.position_frequencies,
        ColorInputs.of(config),
        network.mixed_precision,
        _make_deformation(config),
        name=name,
    )


def _make_deformation(config: Config) -> Deformation | None:
    """None if nothing moves."""
    if config.scene.time_model == "none":
        return None
    network = config.network
    return Deformation(
        network.deformation_depth,
        network.deformation_width,
        network.deformation_skip,
        network.deformation_frequencies,
        network.zero_canonical,
        name="deformation",
    )
