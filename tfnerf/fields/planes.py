"""A field of factored planes and lines (TensoRF: Chen et al. 2022).

A box of space is described by three planes, each with a line at a right angle to it. What is at a
point is the sum over the three pairs of plane value times line value, component by component:

    xy * z  +  xz * y  +  yz * x

In a scene that moves each line becomes a plane too, of its place and of time (HexPlane: Cao and
Johnson 2023):

    xy * zt  +  xz * yt  +  yz * xt
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnerf.fields.box import Box
from tfnerf.fields.color_inputs import ColorInputs
from tfnerf.fields.factors import interpolated, resampled, squared_steps
from tfnerf.fields.field import Conditions, Field, Loss, RateGroup, condition_of
from tfnerf.settings import Config, TrainingSettings
from tfnerf.settings.flag import numbers_in

_PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
"""The two axes of each plane, and the one of its line."""
_INITIAL_SPREAD = 0.1
"""Standard deviation of planes and lines at first."""
_DENSITY_SHIFT = -10.0
"""Added before the softplus, so that everything begins transparent: otherwise what is in front of
the cameras would explain the photographs first."""
_DENSITY_PER_BOX = 75.0
"""What a softplus of 1 means: so much density per side of the first box."""
_NUM_FEATURES = 27
"""What the components of a colour are mixed down to."""
_FACTOR_RATE, _DECODER_RATE = 40.0, 2.0
"""Learning rates: 0.02 and 0.001 where that of the run is the default one."""
_BETA_2 = 0.99


@keras.saving.register_keras_serializable(package="tfnerf")
class Planes(Field):
    """Density from planes and lines; colour from features that are composited along the ray.

    A small network that knows the view direction makes colours of the features, one or a few per
    ray. Outside of the box is nothing.

    Args:
      resolution: R, cells along each side of the box; or three numbers: along x, y and z.
      density_components: of each of the three pairs of plane and line.
      color_components: the same for the features of colours.
      decoder_width: of the two hidden layers that make colours.
      color_inputs: what colours depend on beside the position.
      colors_per_ray: P, parts of each ray whose features are composited for a colour.
      num_times: T, moments that lines have, evenly spaced over the condition "time" from 0 to 1;
        1: nothing moves, and there is no such condition.

    Example:
      >>> field = Planes(resolution=32)
      >>> density, features = field(tf.zeros([1024, 3]))
      >>> density.shape, features.shape
      (TensorShape([1024]), TensorShape([1024, 72]))
    """

    def __init__(
        self,
        resolution: int | Sequence[int],
        density_components: Sequence[int] = (8, 8, 8),
        color_components: Sequence[int] = (16, 16, 16),
        decoder_width: int = 64,
        color_inputs: ColorInputs = ColorInputs(),
        colors_per_ray: int = 1,
        num_times: int = 1,
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32")
        self.resolution = (resolution,) * 3 if isinstance(resolution, int) else tuple(resolution)
        self._config = {
            "resolution": resolution if isinstance(resolution, int) else list(resolution),
            "density_components": list(density_components),
            "color_components": list(color_components),
            "decoder_width": decoder_width,
            "color_inputs": color_inputs._asdict(),
            "colors_per_ray": colors_per_ray,
            "num_times": num_times,
        }
        self.colors_per_ray = colors_per_ray
        self.num_times = num_times
        self.density_components = tuple(density_components)
        self.has_shadow_hints = color_inputs.shadow_hints
        self._color_inputs = color_inputs
        self._channels = [sum(pair) for pair in zip(density_components, color_components)]
        # Six variables: a part of a larger one would have a gradient of the size of the whole.
        self.planes = [
            self._factor(
                f"plane_{'xyz'[i]}{'xyz'[j]}", [self.resolution[i], self.resolution[j], channels]
            )
            for (i, j, _), channels in zip(_PAIRS, self._channels)
        ]
        self.lines = [
            self._line(f"line_{'xyz'[k]}", [self.resolution[k], num_times, channels])
            for (_, _, k), channels in zip(_PAIRS, self._channels)
        ]
        is_density = [
            np.arange(channels) < split
            for channels, split in zip(self._channels, density_components)
        ]
        self._density_part = np.concatenate(is_density).astype(np.float32)[:, np.newaxis]
        self.box = Box(name="box")
        self.density_scale = self.add_weight(
            shape=[], dtype="float64", initializer="ones", trainable=False, name="density_scale"
        )
        self.decoder = self._decoder(sum(color_components), decoder_width)
        self.built = True

    def _factor(self, name: str, shape: Sequence[int]) -> keras.Variable:
        return self.add_weight(
            shape=shape, initializer=keras.initializers.RandomNormal(0, _INITIAL_SPREAD), name=name
        )

    def _line(self, name: str, shape: Sequence[int]) -> keras.Variable:
        """Over all times [R, T, C]; it begins the same at all of them."""
        num_places, num_times, channels = shape
        random = keras.initializers.RandomNormal(0, _INITIAL_SPREAD)

        def same_at_all_times(_: Sequence[int], dtype: Any = None) -> tf.Tensor:
            return tf.tile(random([num_places, 1, channels], dtype), [1, num_times, 1])

        return self.add_weight(shape=shape, initializer=same_at_all_times, name=name)

    def _decoder(self, num_components: int, width: int) -> list[keras.layers.Dense]:
        """Mixes components, then makes a colour of them and of the view direction."""
        known = _NUM_FEATURES + self._color_inputs.width
        widths = [(num_components, _NUM_FEATURES), (known, width), (width, width), (width, 3)]
        layers = [
            keras.layers.Dense(_NUM_FEATURES, use_bias=False, name="features"),
            keras.layers.Dense(width, activation="relu", name="decoder_0"),
            keras.layers.Dense(width, activation="relu", name="decoder_1"),
            keras.layers.Dense(3, activation="sigmoid", name="rgb"),
        ]
        for layer, (inputs, _) in zip(layers, widths):
            layer.build([None, inputs])
        return layers

    def place(self, box: np.ndarray) -> None:
        """Says where the field is, before it is trained.

        Args:
          box: [2, 3], its lowest and its highest corner, in the coordinates of the field.
        """
        self.box.corners.assign(box)
        self.density_scale.assign(_DENSITY_PER_BOX / np.max(box[1] - box[0]))

    def call(
        self,
        points: tf.Tensor,
        conditions: Conditions | None = None,
        density_noise: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Density and features; see `Field.call`."""
        inside = self.box.to_unit(points)
        time = tf.zeros_like(inside[:, 0])
        if self.num_times > 1:
            # Outside of the moments, by rounding, the lookup would be 0.
            time = tf.clip_by_value(condition_of(conditions, "time"), 0.0, 1.0)
        products = [
            interpolated(plane.value, inside[:, i], inside[:, j])
            * interpolated(line.value, inside[:, k], time)
            for (i, j, k), plane, line in zip(_PAIRS, self.planes, self.lines)
        ]
        features = tf.concat(products, -1)
        # One product of matrices is faster than cutting the components of density out.
        raw = tf.matmul(features, self._density_part)[:, 0]
        if density_noise is not None:
            raw += density_noise
        is_inside = tf.reduce_all((inside >= 0) & (inside <= 1), -1)
        density = tf.where(is_inside, self._density(raw), 0.0)
        return density, features

    def _density(self, raw: tf.Tensor) -> tf.Tensor:
        """Density of sums of components."""
        return tf.nn.softplus(raw + _DENSITY_SHIFT) * tf.cast(self.density_scale, tf.float32)

    def color(
        self, features: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> tf.Tensor:
        """Composited features to colours; see `Field.color`."""
        mix, *layers = self.decoder
        of_pairs = tf.split(features, self._channels, axis=-1)
        of_colors = [pair[:, split:] for pair, split in zip(of_pairs, self.density_components)]
        hidden = mix(tf.concat(of_colors, -1))
        if self._color_inputs.width:
            hidden = tf.concat([hidden, self._color_inputs(viewdirs, conditions)], -1)
        for layer in layers:
            hidden = layer(hidden)
        return hidden

    @property
    def moments(self) -> np.ndarray:
        """Those that lines have; none where nothing moves."""
        return np.linspace(0, 1, self.num_times) if self.num_times > 1 else np.zeros(0)

    def densities_on_grid(self, resolution: int, time: float | None = None) -> tf.Tensor:
        """Densities at the centres of the cells of a grid over the box, [G, G, G].

        Along planes and lines the field is linear, so that all of them are three matrix products.

        Args:
          resolution: G, cells along each side.
          time: from 0 to 1; None where nothing moves.
        """
        times = np.array([0.0 if time is None else time])
        centers = (np.arange(resolution) + 0.5) / resolution
        total = tf.zeros([resolution] * 3)
        for axes, plane, line, split in zip(
            _PAIRS, self.planes, self.lines, self.density_components
        ):
            along_plane = resampled(plane.value[..., :split], [centers, centers])
            along_line = resampled(line.value[..., :split], [centers, times])[:, 0]
            product = tf.reshape(along_plane, [-1, split]) @ tf.transpose(along_line)
            total += tf.transpose(tf.reshape(product, [resolution] * 3), np.argsort(axes))
        return self._density(total)

    def refine(self, coarse: Planes, box: np.ndarray) -> None:
        """Takes over what a field of another resolution has learned, in a part of its box.

        Args:
          coarse: the field.
          box: [2, 3], the part.
        """
        old = coarse.box.corners.numpy()
        low, high = (box - old[0]) / (old[1] - old[0])
        places = [np.linspace(low[axis], high[axis], self.resolution[axis]) for axis in range(3)]
        for (i, j, k), plane, line, old_plane, old_line in zip(
            _PAIRS, self.planes, self.lines, coarse.planes, coarse.lines
        ):
            plane.assign(resampled(old_plane.value, [places[i], places[j]]))
            line.assign(resampled(old_line.value, [places[k]]))
        for layer, old_layer in zip(self.decoder, coarse.decoder):
            layer.set_weights(old_layer.get_weights())
        self.density_scale.assign(coarse.density_scale.value)
        self.box.corners.assign(box)

    def penalties(self, settings: TrainingSettings, rate_share: tf.Tensor | float) -> list[Loss]:
        """Those that the settings give a weight; see `Field.penalties`.

        That on roughness fades with the learning rate, as in the paper's released code: at first it
        keeps out what no photograph asks for, in the end it would take away detail.
        """
        penalties = []
        if settings.sparsity_weight:
            penalties.append(Loss("sparsity", settings.sparsity_weight, self.sparsity()))
        if settings.smoothness_weight:
            weight = settings.smoothness_weight * rate_share
            penalties.append(Loss("roughness", weight, self.roughness()))
        if settings.time_smoothness_weight:
            penalties.append(Loss("jerkiness", settings.time_smoothness_weight, self.jerkiness()))
        return penalties

    def sparsity(self) -> tf.Tensor:
        """Mean size of the density components of planes and lines; scalar."""
        sizes = [
            tf.reduce_mean(tf.abs(factor.value[..., :split]))
            for factors in (self.planes, self.lines)
            for factor, split in zip(factors, self.density_components)
        ]
        return tf.add_n(sizes)

    def roughness(self) -> tf.Tensor:
        """Mean squared difference between neighbours on planes, along both axes; scalar.

        The total variation of the paper, squared as in its released code.
        """
        # As tensors: on several devices a gradient of our own is given no variables.
        planes = [tf.convert_to_tensor(plane.value) for plane in self.planes]
        return tf.add_n([squared_steps(plane) for plane in planes])

    def jerkiness(self) -> tf.Tensor:
        """Mean squared second difference between moments of what changes in time; scalar.

        0 where everything moves evenly (K-Planes: Fridovich-Keil et al. 2023, equation 5).
        """
        changes = [line.value[:, 1:] - line.value[:, :-1] for line in self.lines]
        return tf.add_n(
            [tf.reduce_mean(tf.square(change[:, 1:] - change[:, :-1])) for change in changes]
        )

    def rate_groups(self) -> list[RateGroup]:
        """Planes and lines learn faster than the network behind them."""
        decoder = [weight for layer in self.decoder for weight in layer.trainable_variables]
        return [
            RateGroup([*self.planes, *self.lines], _FACTOR_RATE, beta_2=_BETA_2),
            RateGroup(decoder, _DECODER_RATE, beta_2=_BETA_2),
        ]

    @property
    def num_cells_per_side(self) -> int:
        """Of the planes, along the side that has most."""
        return max(self.resolution)

    @property
    def floats_per_point(self) -> int:
        """The six values that are looked up, their products, and as many gradients."""
        return 2 * 3 * sum(self._channels)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this field again."""
        return {**self._config, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Planes:
        """The inverse of `get_config`."""
        return cls(**ColorInputs.taken_from(config))


def make_field(config: Config, step: int, name: str) -> Planes:
    """A field with the resolution that it has after a step."""
    network = config.network
    return Planes(
        _resolution(config, step),
        _of_each_pair(network.density_components),
        _of_each_pair(network.color_components),
        network.decoder_width,
        ColorInputs.of(config),
        network.colors_per_ray,
        1 if config.scene.time_model == "none" else network.time_resolution,
        name=name,
    )


def _of_each_pair(components: str) -> list[int]:
    """One number of components, or three, as those of the three pairs."""
    numbers = list(numbers_in(components))
    return numbers if len(numbers) == len(_PAIRS) else numbers * len(_PAIRS)


def _resolution(config: Config, step: int) -> list[int]:
    """Along x, y and z: from the first resolution to the last one, by the same factor each time."""
    last = config.network.plane_resolution
    first = min(config.network.first_plane_resolution, last)
    times = len(config.refined_at)
    share = config.times_refined(step) / times if times else 1.0
    longest = first * (last / first) ** share
    return [max(2, round(longest * side)) for side in config.network.plane_shares]
