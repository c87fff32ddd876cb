"""Lenses: which way light came that fell on a place of the image plane.

Places of the image plane are pixels from the principal point divided by the focal length, x to the
right and y down. Directions are in camera axes, x to the right, y up, the camera looks along -z.
N is the number of places.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf

LensKind = Literal["perspective", "fisheye", "equirectangular"]
"""perspective: a pinhole behind a lens that bends light (Brown 1966, OpenCV's full model);
fisheye: the angle to the axis makes the distance from the centre (Kannala and Brandt 2006, OpenCV's
fisheye model); equirectangular: places are longitude and latitude, in radians."""
_NEWTON_STEPS = 8
_MIN_RADIUS = 1e-8
_SQUARE = 0.02
"""By how much the sides of square pixels may differ: images are shrunk to whole pixels."""


def are_square(focal_x: float, focal_y: float) -> bool:
    """Whether focal lengths, in pixels across and down, are those of pixels that are square.

    Those of cameras are. Where all cameras are at one height, both cannot be told from photographs
    (critical motions: Sturm 1997), and whoever looks for both finds them wrong.
    """
    return abs(focal_x / focal_y - 1) < _SQUARE


def directions_through(plane: tf.Tensor, distortion: tf.Tensor | None, lens: LensKind) -> tf.Tensor:
    """Directions of light.

    Args:
      plane: [N, 2].
      distortion: [N, 4 or 8], as `distort` or, of a fisheye lens, as `fisheye_radius` takes it;
        None: the lens does not bend light.
      lens: its kind.

    Returns:
      [N, 3]; z is -1 for perspective lenses, others look behind them too and give unit vectors.
    """
    if lens == "equirectangular":
        longitude, latitude = plane[:, 0], -plane[:, 1]
        flat = tf.cos(latitude)
        x, z = flat * tf.sin(longitude), -flat * tf.cos(longitude)
        return tf.stack([x, tf.sin(latitude), z], -1)
    if lens == "fisheye":
        radius = tf.norm(plane, axis=-1)
        angle = radius if distortion is None else fisheye_angle(radius, distortion)
        per_radius = tf.where(
            radius > _MIN_RADIUS, tf.sin(angle) / tf.maximum(radius, _MIN_RADIUS), 1.0
        )
        x, y = plane[:, 0] * per_radius, plane[:, 1] * per_radius
        return tf.stack([x, -y, -tf.cos(angle)], -1)
    if distortion is not None:
        plane = undistort(plane, distortion)
    return tf.stack([plane[:, 0], -plane[:, 1], -tf.ones_like(plane[:, 0])], -1)


def distort(points: tf.Tensor, distortion: tf.Tensor) -> tf.Tensor:
    """Where the lens moves points of the image plane (Brown 1966, as in OpenCV).

    Args:
      points: [N, 2].
      distortion: [N, 4 or 8], k1, k2, p1, p2 and, if there are eight, k3, k4, k5, k6.

    Returns:
      [N, 2]
    """
    x, y = points[:, 0], points[:, 1]
    radial, _ = _radial(x * x + y * y, distortion)
    p1, p2 = distortion[:, 2], distortion[:, 3]
    r2 = x * x + y * y
    return tf.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
        ],
        -1,
    )


def _radial(r2: tf.Tensor, distortion: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """By how much points at a squared radius [N] move outwards, and its derivative by r2."""
    k1, k2 = distortion[:, 0], distortion[:, 1]
    if distortion.shape[-1] == 4:
        return 1 + r2 * (k1 + r2 * k2), k1 + 2 * k2 * r2
    k3, k4, k5, k6 = tf.unstack(distortion[:, 4:], axis=-1)
    above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    above_slope = k1 + r2 * (2 * k2 + 3 * r2 * k3)
    below_slope = k4 + r2 * (2 * k5 + 3 * r2 * k6)
    radial = above / below
    return radial, (above_slope - radial * below_slope) / below


def undistort(points: tf.Tensor, distortion: tf.Tensor) -> tf.Tensor:
    """The inverse of `distort`, by Newton's method.

    Args:
      points: [N, 2].
      distortion: as for `distort`.

    Returns:
      [N, 2]
    """
    p1, p2 = distortion[:, 2], distortion[:, 3]
    solution = points
    for _ in range(_NEWTON_STEPS):
        x, y = solution[:, 0], solution[:, 1]
        radial, slope = _radial(x * x + y * y, distortion)
        slope *= 2
        dxdx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
        dydy = radial + slope * y * y + 2 * p2 * x + 6 * p1 * y
        cross = slope * x * y + 2 * p1 * x + 2 * p2 * y
        error = distort(solution, distortion) - points
        determinant = dxdx * dydy - cross * cross
        solution -= (
            tf.stack(
                [
                    dydy * error[:, 0] - cross * error[:, 1],
                    dxdx * error[:, 1] - cross * error[:, 0],
                ],
                -1,
            )
            / determinant[:, tf.newaxis]
        )
    return solution


def fisheye_radius(angle: tf.Tensor, distortion: tf.Tensor) -> tf.Tensor:
    """How far from the centre of the plane a fisheye lens shows light, [N].

    Args:
      angle: [N], radians from the optical axis.
      distortion: [N, 4], k1, k2, k3, k4 of OpenCV's fisheye model.
    """
    k1, k2, k3, k4 = tf.unstack(distortion, axis=-1)
    a2 = angle * angle
    return angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))


def fisheye_angle(radius: tf.Tensor, distortion: tf.Tensor) -> tf.Tensor:
    """The inverse of `fisheye_radius`, by Newton's method."""
    k1, k2, k3, k4 = tf.unstack(distortion, axis=-1)
    angle = tf.minimum(radius, np.pi)
    for _ in range(_NEWTON_STEPS):
        a2 = angle * angle
        slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
        angle -= (fisheye_radius(angle, distortion) - radius) / slope
    return angle


def plane_of(directions: np.ndarray, lens: LensKind) -> np.ndarray:
    """Where light falls on the image plane if the lens bends nothing, the distortion left out.

    Args:
      directions: [N, 3], float64, of any length.
      lens: its kind.

    Returns:
      [N, 2]; not finite where a perspective lens sees nothing because it is behind it.
    """
    x, y, z = directions.T
    if lens == "equirectangular":
        return np.stack([np.arctan2(x, -z), -np.arctan2(y, np.hypot(x, z))], -1)
    if lens == "fisheye":
        aside = np.hypot(x, y)
        per_aside = np.arctan2(aside, -z) / np.maximum(aside, _MIN_RADIUS)
        return np.stack([x * per_aside, -y * per_aside], -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(z < 0, -z, np.nan)
        return np.stack([x / depth, -y / depth], -1)
