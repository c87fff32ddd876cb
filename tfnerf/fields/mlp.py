"""The networks (section 5.3, figure 7): a coarse and a fine radiance field."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnerf.fields.encoding import encoding_width, positional_encoding
from tfnerf.settings import NetworkSettings


@keras.saving.register_keras_serializable(package="tfnerf")
class RadianceField(keras.Model):
    """Position and view direction to colour and density, before their activations.

    `weights` are in the order of the original's weight files: the trunk, the bottleneck, the view
    layer, colour, density; without view directions the trunk and one output layer.

    Args:
      net_depth: hidden layers of the trunk.
      net_width: their width; the view layer has half of it.
      skip_layer: after the layer of this index the encoded position is put in front of its output.
      bottleneck_width: of the layer before the view direction enters; None: net_width.
      position_frequencies: of the encoding of positions.
      direction_frequencies: of the encoding of view directions.
      use_viewdirs: whether colours depend on the view direction.
      mixed_precision: hidden layers compute in bfloat16; the encoding and the outputs never do.

    Example:
      >>> field = RadianceField()
      >>> field(tf.zeros([1024, 64, 3]), tf.zeros([1024, 3])).shape
      TensorShape([1024, 64, 4])
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
        direction_frequencies: int = 4,
        use_viewdirs: bool = True,
        mixed_precision: bool = False,
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
            "direction_frequencies": direction_frequencies,
            "use_viewdirs": use_viewdirs,
            "mixed_precision": mixed_precision,
        }
        self.skip_layer = skip_layer
        self.position_frequencies = position_frequencies
        self.direction_frequencies = direction_frequencies
        self.use_viewdirs = use_viewdirs

        hidden_dtype = "mixed_bfloat16" if mixed_precision else "float32"
        position_width = encoding_width(3, position_frequencies)
        width = position_width
        self.trunk = []
        for layer in range(net_depth):
            self.trunk.append(_dense(f"trunk_{layer}", width, net_width, hidden_dtype, "relu"))
            width = net_width + (position_width if layer == skip_layer else 0)
        if use_viewdirs:
            bottleneck = bottleneck_width or net_width
            view_width = bottleneck + encoding_width(3, direction_frequencies)
            self.bottleneck = _dense("bottleneck", width, bottleneck, hidden_dtype)
            self.view = _dense("view", view_width, net_width // 2, hidden_dtype, "relu")
            self.rgb = _dense("rgb", net_width // 2, 3, "float32")
            self.density = _dense("density", width, 1, "float32")
        else:
            self.output_layer = _dense("output", width, 4, "float32")
        self.built = True

    def call(self, positions: tf.Tensor, viewdirs: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the field.

        Args:
          positions: [N, S, 3], S samples on each of N rays, in the coordinates of the rays.
          viewdirs: [N, 3], unit vectors; not used without view directions.

        Returns:
          [N, S, 4] float32: colour before its sigmoid, density before its ReLU.
        """
        num_samples = tf.shape(positions)[1]
        points = tf.reshape(positions, [-1, 3])  # one large matrix product a layer
        encoded = positional_encoding(points, self.position_frequencies)
        hidden = encoded
        for index, layer in enumerate(self.trunk):
            hidden = layer(hidden)
            if index == self.skip_layer:
                hidden = tf.concat([tf.cast(encoded, hidden.dtype), hidden], -1)
        if self.use_viewdirs:
            directions = positional_encoding(viewdirs, self.direction_frequencies)
            directions = tf.repeat(directions, num_samples, axis=0)
            bottleneck = self.bottleneck(hidden)
            directions = tf.cast(directions, bottleneck.dtype)
            rgb = self.rgb(self.view(tf.concat([bottleneck, directions], -1)))
            raw = tf.concat([rgb, self.density(hidden)], -1)
        else:
            raw = self.output_layer(hidden)
        return tf.reshape(raw, [-1, num_samples, 4])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        return {**self._config, "name": self.name}


def _dense(
    name: str, inputs: int, outputs: int, dtype: str, activation: str | None = None
) -> keras.layers.Dense:
    """A layer with its weights made: Glorot-uniform kernel, zero bias."""
    layer = keras.layers.Dense(outputs, activation=activation, dtype=dtype, name=name)
    layer.build([None, inputs])
    return layer


@keras.saving.register_keras_serializable(package="tfnerf")
class NeRF(keras.Model):
    """The coarse network, that finds where to look, and the fine one, that looks there.

    Args:
      coarse: evaluated at stratified samples.
      fine: evaluated at these and at the resampled ones; None: the coarse network serves for both.

    Example:
      >>> nerf = NeRF(RadianceField(), RadianceField())
      >>> nerf.count_params()
      1191688
    """

    def __init__(
        self, coarse: RadianceField, fine: RadianceField | None = None, name: str | None = None
    ):
        super().__init__(name=name, dtype="float32")
        self.coarse = coarse
        self.fine = fine
        self.built = True

    @classmethod
    def from_settings(cls, settings: NetworkSettings, *, with_fine: bool) -> NeRF:
        """New networks of the given shape."""
        arguments: dict[str, Any] = {
            "net_depth": settings.net_depth,
            "net_width": settings.net_width,
            "skip_layer": settings.skip_layer,
            "bottleneck_width": settings.bottleneck_width,
            "position_frequencies": settings.position_frequencies,
            "direction_frequencies": settings.direction_frequencies,
            "use_viewdirs": settings.use_viewdirs,
            "mixed_precision": settings.mixed_precision,
        }
        coarse = RadianceField(**arguments, name="coarse")
        fine = RadianceField(**arguments, name="fine") if with_fine else None
        return cls(coarse, fine)

    @property
    def finest(self) -> RadianceField:
        """The network that final colours come from."""
        return self.coarse if self.fine is None else self.fine

    def call(self, positions: tf.Tensor, viewdirs: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the network that final colours come from; see `RadianceField.call`."""
        return self.finest(positions, viewdirs)

    def get_config(self) -> dict[str, Any]:
        """The networks, serialized."""
        serialize = keras.saving.serialize_keras_object
        return {
            "coarse": serialize(self.coarse),
            "fine": None if self.fine is None else serialize(self.fine),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NeRF:
        """The inverse of `get_config`."""
        deserialize = keras.saving.deserialize_keras_object
        fine = config["fine"]
        return cls(
            deserialize(config["coarse"]),
            None if fine is None else deserialize(fine),
            name=config["name"],
        )
