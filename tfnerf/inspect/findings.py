"""Does a scene look sane? What is found is said in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.lenses import are_square
from tfnerf.geometry.poses import MIN_CONVERGENCE, looking_at, meeting_point
from tfnerf.images import sharpness
from tfnerf.inspect.matching import (
    Fit,
    Matches,
    fit,
    match_views,
    small_gray,
    with_flipped_axes,
    with_inverted_poses,
    with_more_distortion,
)
from tfnerf.scenes import Scene, Views

_MIN_MATCHES = 50
"""Fewer points in common tell nothing."""
_MIN_SHARE = 0.3
"""Of matched points whose rays meet; chance alone makes up to 0.2."""
_DISTORTIONS = (-0.3, -0.2, -0.15, -0.1, -0.05, 0.05, 0.1, 0.15, 0.2, 0.3)
_BETTER = 0.92
"""Gaps smaller by this factor are a better fit."""
_OUTSIDE = 0.02
"""Fraction of the points that may lie before near or beyond far."""
_WASTED = 3.0
"""Rays so many times as long as the scene is deep waste samples."""
_BLURRED = 0.2
"""Sharpness of a blurred image against the median."""
_SAME = 0.06
"""Largest difference of images that are the same but for their compression."""


class Finding(NamedTuple):
    """Something that was looked at."""

    sane: bool
    text: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A scene and what was found out about it."""

    scene: Scene
    findings: list[Finding]
    points: np.ndarray
    """[P, 3], points that views have in common, scene coordinates."""
    sharpness: np.ndarray
    """[V] of the training views, 1 for the median."""
    range_to_try: tuple[float, float] | None
    """Near and far around what views have in common, scene units; None where that is too little."""

    def with_range_to_try(self) -> Inspection:
        """The same of a scene with that near and far, if they are known."""
        if self.range_to_try is None:
            return self
        near, far = self.range_to_try
        return dataclasses.replace(self, scene=dataclasses.replace(self.scene, near=near, far=far))


def inspect_scene(scene: Scene) -> Inspection:
    """Looks at the photographs and cameras of a scene."""
    views = scene.train
    grays = [small_gray(image, views.white_level) for image in views.images]
    matches = match_views(views, grays)
    found = fit(matches, matches.cameras)
    relative = _sharpness(grays)
    seen = _seen_between(found)
    findings = [
        _sizes(scene),
        *_pixels(scene.train.cameras),
        _held_out(scene),
        _directions(views),
        _agreement(scene, matches, found),
        *_depths(scene, found, seen),
        *_lens(matches, found),
        _blur(views, relative),
        _duplicates(views, grays),
    ]
    to_try = None if seen is None else _range_around(seen)
    return Inspection(scene, findings, found.points[found.fitting], relative, to_try)


def _sizes(scene: Scene) -> Finding:
    cameras = scene.train.cameras
    half = cameras.width / 2 / float(cameras.focal[:, 0].mean())
    perspective = cameras.lens == "perspective"
    angle = 2 * np.degrees(np.arctan(half) if perspective else half)
    text = (
        f"{len(cameras)} training views of {cameras.width} x {cameras.height} pixels, "
        f"{angle:.0f} degrees wide"
    )
    if not 5 < angle < (120 if perspective else 361):
        return Finding(False, f"{text}: is the focal length right?")
    return Finding(True, text)


def _pixels(cameras: Cameras) -> list[Finding]:
    """Are they square?"""
    across, down = cameras.focal.mean(0).tolist()
    if cameras.lens == "equirectangular" or are_square(across, down):
        return []
    return [
        Finding(
            False,
            f"focal lengths of {across:.6g} across and {down:.6g} down mean pixels that are not "
            "square: found by a program, from cameras at one height, they tilt all poses; find "
            "these again with one focal length (--lens=RADIAL or RADIAL_FISHEYE of tfnerf.poses)",
        )
    ]


def _held_out(scene: Scene) -> Finding:
    held_out = scene.held_out
    if held_out is None:
        return Finding(False, "no views are held out, so nothing will tell how good the result is")
    return Finding(True, f"{len(held_out)} views held out: {_some(held_out.names)}")


def _directions(views: Views) -> Finding:
    """Do the cameras look at something, or away from it?"""
    poses = views.cameras.camera_to_world.astype(np.float64)
    center, convergence = meeting_point(poses)
    if convergence < MIN_CONVERGENCE:
        return Finding(True, "the cameras look the same way (a forward-facing capture)")
    distances = np.linalg.norm(center - poses[:, :, 3], axis=-1)
    away = [name for name, looks in zip(views.names, looking_at(poses, center)) if not looks]
    if 2 * len(away) > len(poses):
        return Finding(True, "the cameras look outwards, or past each other, as in a room")
    text = f"the cameras are {distances.min():.2f} to {distances.max():.2f} from what they look at"
    if away:
        return Finding(False, f"{text}, but {len(away)} look the other way: {_some(away)}")
    return Finding(True, text)


def _agreement(scene: Scene, matches: Matches, found: Fit) -> Finding:
    """Do rays through the same point meet?"""
    num_matches = len(found.gap)
    if num_matches < _MIN_MATCHES:
        return Finding(
            False,
            f"only {num_matches} points found that neighbouring views have in common, too few to "
            "check the poses with: little texture, little overlap, or poses of other images",
        )
    text = f"{found.share:.0%} of {num_matches} points that views have in common fit the poses"
    if found.share >= _MIN_SHARE:
        return Finding(True, text)
    cameras = matches.cameras
    for other, meaning in (
        (
            with_flipped_axes(cameras),
            "if y points down and z forwards (OpenCV, COLMAP): flip these axes",
        ),
        (
            with_inverted_poses(cameras, scene.scene_to_world),
            "if the file holds world_to_camera: invert its matrices",
        ),
    ):
        share = fit(matches, other).share
        if share > max(_MIN_SHARE, 2 * found.share):
            return Finding(False, f"only {text}, and {share:.0%} {meaning}")
    return Finding(False, f"only {text}: are they those of these images, in this order?")


def _seen_between(found: Fit) -> tuple[float, float] | None:
    """How near and how far what views have in common is; None where that is too little."""
    depths = found.depths[found.fitting].ravel()
    if len(depths) < _MIN_MATCHES or found.share < _MIN_SHARE:
        return None
    nearest, farthest = np.percentile(depths, [1, 99])
    return float(nearest), float(farthest)


def _range_around(seen: tuple[float, float]) -> tuple[float, float]:
    """Near and far for what is seen between these depths."""
    return 0.8 * seen[0], 1.25 * seen[1]


def _depths(scene: Scene, found: Fit, seen: tuple[float, float] | None) -> list[Finding]:
    """Do near and far enclose what is seen?"""
    if seen is None:
        return [Finding(True, f"near {scene.near:g} and far {scene.far:g} could not be checked")]
    depths = found.depths[found.fitting].ravel()
    nearest, farthest = seen
    text = f"what is seen lies {nearest:.2f} to {farthest:.2f} from the cameras"
    if scene.ndc is not None:
        before = (depths < scene.ndc.near).mean()
        text += f" (scene units); in NDC rays go from {scene.ndc.near:g} to infinity"
        return [
            Finding(bool(before < _OUTSIDE), text + (": too near" if before >= _OUTSIDE else ""))
        ]
    text += f" (scene units); rays go from {scene.near:.2f} to {scene.far:.2f}"
    near, far = _range_around(seen)
    advice = f"try --near={near:.3g} --far={far:.3g}"
    outside = ((depths < scene.near) | (depths > scene.far)).mean()
    if outside > _OUTSIDE:
        return [Finding(False, f"{text}, which misses {outside:.0%} of it: {advice}")]
    if scene.far - scene.near > _WASTED * (farthest - nearest):
        return [Finding(True, f"{text}: more than is needed; for sharper results {advice}")]
    return [Finding(True, text)]


def _lens(matches: Matches, found: Fit) -> list[Finding]:
    """Would another lens fit better?"""
    if found.fitting.sum() < _MIN_MATCHES or found.share < _MIN_SHARE:
        return []
    if matches.cameras.lens == "equirectangular":  # which has no coefficients
        return []
    given = matches.cameras.distortion
    has = f"k1 is {given[:, 0].mean():.3g}" if given.any() else "no lens distortion given"

    def gap(k1: float) -> float:
        """Median over the points that fit as it is."""
        return float(
            np.median(fit(matches, with_more_distortion(matches.cameras, k1)).gap[found.fitting])
        )

    as_given = gap(0.0)
    best = min(_DISTORTIONS, key=gap)
    if gap(best) < _BETTER * as_given:
        k1 = given[:, 0].mean() + best
        return [
            Finding(
                False,
                f"{has}, but k1 near {k1:.2f} fits better: distortion is left in the images; "
                "calibrate the lens, or undistort the images",
            )
        ]
    return [Finding(True, f"{has}, and no other k1 fits better")]


def _sharpness(grays: Sequence[np.ndarray]) -> np.ndarray:
    """Variance of the Laplacian of each image, 1 for their median."""
    variances = np.array([sharpness(gray) for gray in grays])
    return variances / max(float(np.median(variances)), 1e-12)


def _blur(views: Views, relative: np.ndarray) -> Finding:
    blurred = [name for name, value in zip(views.names, relative) if value < _BLURRED]
    if blurred:
        return Finding(False, f"{len(blurred)} images look blurred or empty: {_some(blurred)}")
    return Finding(True, "no image is much less sharp than the others")


def _duplicates(views: Views, grays: Sequence[np.ndarray]) -> Finding:
    """The same photograph twice teaches nothing, and weighs what it shows double."""
    flat = np.stack([gray.ravel() for gray in grays])
    twice = [
        f"{views.names[i]} = {views.names[j]}"
        for i in range(len(flat))
        for j in np.flatnonzero(np.abs(flat[i + 1 :] - flat[i]).max(-1) < _SAME) + i + 1
    ]
    if twice:
        return Finding(False, f"{len(twice)} images are there twice: {_some(twice)}")
    return Finding(True, "no image is there twice")


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
