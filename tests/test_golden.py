"""Agreement with numbers that the original code computed, array by array.

Tolerances are those that the README of the golden set suggests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_networks import load_nerf

from tfnerf.evaluate.metrics import psnr_of
from tfnerf.fields.encoding import encoding_width, positional_encoding
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import NDC, Cameras, Rays
from tfnerf.geometry.paths import circle_path, orbit_path, orbit_pose, spiral_path
from tfnerf.geometry.poses import average_pose
from tfnerf.images import to_8bit
from tfnerf.scenes import Scene, load_scene, to_colors
from tfnerf.scenes.llff import depth_range, normalize, read_poses_bounds
from tfnerf.scenes.paths import path_cameras
from tfnerf.settings import RenderSettings, SceneSettings
from tfnerf.train.schedule import DecayWithWarmup
from tfnerf.volume.compositing import composite
from tfnerf.volume.image_renderer import ImageRenderer
from tfnerf.volume.samplers import make_sampler
from tfnerf.volume.samples import Draws
from tfnerf.volume.sampling import (
    inverse_transform_samples,
    resample_depths,
    stratified_depths,
)
from tfnerf.volume.scene_renderer import Rendering, SceneRenderer

Golden = Callable[[str], Path]


def close(actual: object, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance)


def renderer_of(
    model: NeRF,
    near: float,
    far: float,
    settings: RenderSettings,
    white_background: object,
    warp: NDC | None = None,
) -> SceneRenderer:
    """With rays through the corners of pixels, as in the original."""
    sampler = make_sampler(model, near, far, settings)
    return SceneRenderer(model, sampler, warp, bool(white_background), pixel_centers=False)


def lengths_of(depths: np.ndarray, lengths: tf.Tensor) -> tf.Tensor:
    """Of the original's intervals, [N, S]: from sample to sample, the last one endless."""
    last = np.full_like(depths[:, :1], 1e10)
    return np.concatenate([np.diff(depths), last], -1) * lengths[:, None]


def test_golden_positional_encoding(golden: Golden) -> None:
    g = np.load(golden("posenc.npz"))
    close(positional_encoding(g["x"], 10), g["x_enc"], 1e-6)
    close(positional_encoding(g["d"], 4), g["d_enc"], 1e-6)
    assert [encoding_width(3, 10), encoding_width(3, 4)] == g["out_dims"].tolist()


@pytest.mark.parametrize("name", ["cam0", "cam1", "cam2"])
def test_golden_rays(golden: Golden, name: str) -> None:
    g = np.load(golden("rays.npz"))
    height, width = int(g[f"{name}_H"]), int(g[f"{name}_W"])
    rays = whole_image_rays(g[f"{name}_c2w"], height, width, float(g[f"{name}_focal"]))
    close(rays.origins, g[f"{name}_rays_o"].reshape(-1, 3), 1e-6)
    close(rays.directions, g[f"{name}_rays_d"].reshape(-1, 3), 1e-6)
    if f"{name}_ndc_o" in g:
        warped = NDC(height, width, float(g[f"{name}_focal"])).warp(rays)
        close(warped.origins, g[f"{name}_ndc_o"].reshape(-1, 3), 1e-5)
        close(warped.directions, g[f"{name}_ndc_d"].reshape(-1, 3), 1e-5)


def test_golden_ndc(golden: Golden) -> None:
    g = np.load(golden("rays.npz"))
    ndc = NDC(int(g["ndc_H"]), int(g["ndc_W"]), float(g["ndc_focal"]), float(g["ndc_near"]))
    warped = ndc.warp(rays_of(g["ndc_rays_o"], g["ndc_rays_d"]))
    close(warped.origins, g["ndc_out_o"], 1e-5)
    close(warped.directions, g["ndc_out_d"], 1e-5)


def test_golden_orbit_poses(golden: Golden) -> None:
    g = np.load(golden("rays.npz"))
    for (theta, phi, radius), pose in zip(g["spherical_args"], g["spherical_poses"]):
        # The original counts angles below the horizon as positive.
        close(orbit_pose(np.radians(theta), -np.radians(phi), radius), pose[:3], 1e-5)


@pytest.mark.parametrize("samples", ["det128", "det64", "rand128"])
def test_golden_inverse_transform_samples(golden: Golden, samples: str) -> None:
    g = np.load(golden("sample_pdf.npz"))
    expected, stable = g[f"samples_{samples}"], g[f"{samples}_stable"] == 1
    spaced = tf.linspace(0.0, 1.0, expected.shape[1])
    uniforms = g["u"] if samples == "rand128" else tf.broadcast_to(spaced, expected.shape)
    actual = inverse_transform_samples(g["bins"], g["weights"], uniforms).numpy()
    close(actual[stable], expected[stable], 2e-4)
    widest = np.diff(g["bins"]).max()
    assert np.abs(actual - expected).max() <= widest


def test_golden_compositing(golden: Golden) -> None:
    g = np.load(golden("composite.npz"))
    raw = g["raw"]
    depths = stratified_depths(
        g["near"][:, None], g["far"][:, None], *raw.shape[:2], uniforms=g["t_rand"]
    )
    close(depths, g["z_vals"], 1e-6)
    lengths = tf.norm(g["rays_d"], axis=-1)
    for white, noise, prefix in ((False, 0, ""), (True, 0, ""), (True, g["noise"], "noise_")):
        density = tf.nn.relu(raw[..., 3] + g["raw_noise_std"].astype(np.float32) * noise)
        seen = composite(
            tf.sigmoid(raw[..., :3]), density, g["z_vals"], lengths_of(g["z_vals"], lengths)
        )
        seen = seen.on_white() if white else seen
        rgb = "noise_rgb_white" if prefix else "rgb_white" if white else "rgb_black"
        close(seen.rgb, g[rgb], 1e-6)
        close(seen.weights, g[f"{prefix}weights"], 1e-6)
        close(seen.opacity, g[f"{prefix}acc"], 1e-6)
        close(seen.depth, g[f"{prefix}depth"], 2e-6)
        check_disparity(seen.disparity.numpy(), g[f"{prefix}disp"], 1e-6)


def check_disparity(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Where the original's disparity of an empty ray is NaN, here it is 0 on purpose."""
    empty = np.isnan(expected)
    assert (actual[empty] == 0).all()
    error = np.abs(actual - expected)[~empty] / (1e-3 + np.abs(expected[~empty]))
    assert error.max(initial=0) <= tolerance


@pytest.mark.parametrize("checkpoint", ["w64_viewdirs", "w64_noviewdirs"])
def test_golden_network(golden: Golden, checkpoint: str) -> None:
    g = np.load(golden("network.npz"))
    nerf = load_nerf(golden, checkpoint)
    for field, name in ((nerf.coarse, "coarse"), (nerf.fine, "fine")):
        raw = field.raw(g["pts"], g["dirs"])
        close(raw, g[f"{checkpoint}_raw_{name}"], 5e-5)


RENDER_CASES = "abcdefghi"


class RenderCase:
    """One of the renders of the golden set."""

    def __init__(self, golden: Golden, case: str):
        self._arrays = np.load(golden("render.npz"))
        self._case = case
        self.model = load_nerf(golden, str(self["checkpoint"]), with_fine=bool(self["has_fine"]))
        self.settings = RenderSettings(
            num_coarse_samples=int(self["N_samples"]),
            num_fine_samples=int(self["N_importance"]),
            lindisp=bool(self["lindisp"]),
        )
        self.rays = rays_of(self["rays_o"], self["rays_d"])
        self.warp = None
        if self["ndc"]:
            self.warp = NDC(int(self["H"]), int(self["W"]), float(self["focal"]))
        std = np.float32(self["raw_noise_std"])
        noise = [self.get(name) for name in ("noise0", "noise")]
        coarse, fine = (None if n is None else std * n for n in noise)
        # Without a fine network there is one noise, that of the network which gives the colours.
        coarse, fine = (coarse, fine) if self["has_fine"] else (None, coarse)
        self.draws = Draws(self.get("t_rand"), self.get("u"), coarse, fine)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[f"{self._case}_{name}"]

    def get(self, name: str) -> np.ndarray | None:
        return self._arrays.get(f"{self._case}_{name}")

    def renderer(self) -> SceneRenderer:
        near, far = float(self["near"]), float(self["far"])
        return renderer_of(self.model, near, far, self.settings, self["white_bkgd"], self.warp)

    def render(self, *, jit_compile: bool) -> Rendering:
        @tf.function(jit_compile=jit_compile)
        def render() -> Rendering:
            return self.renderer().render(self.rays, self.draws)

        return render()


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("case", RENDER_CASES)
def test_golden_render(golden: Golden, case: str, jit_compile: bool) -> None:
    g = RenderCase(golden, case)
    rendering = g.render(jit_compile=jit_compile)
    stable = g["stable"] == 1
    fine = rendering.final
    close(fine.rgb.numpy()[stable], g["rgb"][stable], 2e-4)
    close(fine.opacity.numpy()[stable], g["acc"][stable], 2e-4)
    close(fine.depth.numpy()[stable], g["depth"][stable], 1e-3)
    check_disparity(fine.disparity.numpy()[stable], g["disp"][stable], 3e-4)
    close(fine.rgb.numpy()[~stable], g["rgb"][~stable], 5e-2)
    close(fine.opacity.numpy()[~stable], g["acc"][~stable], 5e-2)
    if g.get("rgb0") is not None:
        coarse = rendering.preview
        close(coarse.rgb.numpy()[stable], g["rgb0"][stable], 1e-4)
        close(coarse.opacity.numpy()[stable], g["acc0"][stable], 1e-4)
        check_disparity(coarse.disparity.numpy()[stable], g["disp0"][stable], 3e-4)


@pytest.mark.parametrize("case", [case for case in RENDER_CASES if case != "d"])
def test_golden_resampling_of_renders(golden: Golden, case: str) -> None:
    g = RenderCase(golden, case)
    coarse = g.render(jit_compile=False).preview
    depths = stratified_depths(
        float(g["near"]),
        float(g["far"]),
        len(g["rays_o"]),
        g.settings.num_coarse_samples,
        lindisp=g.settings.lindisp,
        uniforms=g.draws.jitter,
    )
    samples = resample_depths(
        depths, coarse.weights, g.settings.num_fine_samples, uniforms=g.draws.resampling
    ).numpy()
    stable = g["z_samples_stable"] == 1
    error = np.abs(samples - g["z_samples"])[stable]
    assert error.max() <= 1e-3
    assert np.mean(error <= 2e-4) >= 0.99
    deviation = samples.std(-1)
    close(deviation[g["zstd_stable"] == 1], g["z_std"][g["zstd_stable"] == 1], 1e-3)


@pytest.mark.parametrize("case", "abdeh")
def test_golden_raw_and_weights_of_renders(golden: Golden, case: str) -> None:
    g = RenderCase(golden, case)
    field = g.model.coarse if g.settings.num_fine_samples == 0 else g.model.final
    depths = g["z_vals"]
    rays = g.rays if g.warp is None else g.warp.warp(g.rays)
    points = rays.origins[:, None] + rays.directions[:, None] * depths[..., None]
    viewdirs = tf.repeat(rays.viewdirs, depths.shape[1], axis=0)
    raw = field.raw(tf.reshape(points, [-1, 3]), viewdirs)
    close(tf.reshape(raw, g["raw"].shape), g["raw"], 1e-3)
    noise = 0 if g.draws.density_noise is None else g.draws.density_noise
    seen = composite(
        tf.sigmoid(g["raw"][..., :3]),
        tf.nn.relu(g["raw"][..., 3] + noise),
        depths,
        lengths_of(depths, tf.norm(rays.directions, axis=-1)),
    )
    seen = seen.on_white() if g["white_bkgd"] else seen
    close(seen.weights, g["weights"], 3e-6)
    close(seen.rgb, g["rgb"], 3e-6)


def test_golden_whole_image(golden: Golden) -> None:
    g = np.load(golden("render.npz"))
    model = load_nerf(golden, str(g["j_checkpoint"]))
    settings = RenderSettings(
        num_coarse_samples=int(g["j_N_samples"]),
        num_fine_samples=int(g["j_N_importance"]),
        rays_per_chunk=8,
    )
    near, far = float(g["j_near"]), float(g["j_far"])
    scene_renderer = renderer_of(model, near, far, settings, g["j_white_bkgd"])
    renderer = ImageRenderer(scene_renderer, settings)
    height, width, focal = int(g["j_H"]), int(g["j_W"]), float(g["j_focal"])
    image = renderer(Cameras.pinhole(g["j_c2w"][None], height, width, focal), 0)
    stable = g["j_stable"] == 1
    close(image.rgb[stable], g["j_rgb"][stable], 2e-4)
    close(image.opacity[stable], g["j_acc"][stable], 2e-4)
    check_disparity(image.disparity[stable], g["j_disp"][stable], 3e-4)


def test_golden_view_directions_of_another_camera(golden: Golden) -> None:
    """The original's c2w_staticcam: rays of one camera with the view directions of another."""
    g = np.load(golden("render.npz"))
    size = int(g["j_H"]), int(g["j_W"]), float(g["j_focal"])
    rays = whole_image_rays(g["j_c2w_staticcam"], *size)
    rays = rays._replace(viewdirs=whole_image_rays(g["j_c2w"], *size).viewdirs)
    settings = RenderSettings(
        num_coarse_samples=int(g["j_N_samples"]), num_fine_samples=int(g["j_N_importance"])
    )
    model, near, far = (
        load_nerf(golden, str(g["j_checkpoint"])),
        float(g["j_near"]),
        float(g["j_far"]),
    )
    seen = renderer_of(model, near, far, settings, g["j_white_bkgd"]).render(rays).final
    stable = g["j_static_stable"].reshape(-1) == 1
    close(seen.rgb.numpy()[stable], g["j_static_rgb"].reshape(-1, 3)[stable], 2e-4)
    close(seen.opacity.numpy()[stable], g["j_static_acc"].reshape(-1)[stable], 2e-4)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def losses_of(g: np.lib.npyio.NpzFile, model: NeRF) -> tuple[tf.Tensor, tf.Tensor]:
    """Fine and coarse mean squared error on the golden batch."""
    settings = RenderSettings(num_coarse_samples=64, num_fine_samples=128)
    renderer = renderer_of(model, float(g["near"]), float(g["far"]), settings, g["white_bkgd"])
    seen = renderer.render(rays_of(g["rays_o"], g["rays_d"]))
    return (
        tf.reduce_mean((seen.final.rgb - g["target"]) ** 2),
        tf.reduce_mean((seen.preview.rgb - g["target"]) ** 2),
    )


def test_golden_loss_gradients_and_adam_steps(golden: Golden) -> None:
    g = np.load(golden("gradients.npz"))
    model = load_nerf(golden, str(g["checkpoint"]))
    schedule = DecayWithWarmup(float(g["lrate"]), int(g["decay_steps"]))
    optimizer = keras.optimizers.Adam(schedule)
    variables = model.trainable_variables
    names = [f"{net}_{index:02d}" for net in ("coarse", "fine") for index in range(24)]
    for step in range(4):
        with tf.GradientTape() as tape:
            fine, coarse = losses_of(g, model)
            loss = fine + coarse
        total, *errors, psnr_fine, psnr_coarse = g["loss"][step]
        np.testing.assert_allclose([loss, fine, coarse], [total, *errors], rtol=1e-4)
        close([psnr_of(float(fine)), psnr_of(float(coarse))], [psnr_fine, psnr_coarse], 1e-3)
        if step == 3:
            break
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        if step == 0:
            for name, gradient in zip(names, gradients):
                assert relative_error(gradient.numpy(), g[f"grad_{name}"]) < 1e-2, name
        np.testing.assert_allclose(schedule(optimizer.iterations), g["lr_used"][step], rtol=1e-6)
        optimizer.apply(gradients, variables)
        for name, variable in zip(names, variables):
            expected = g[f"w{step + 1}_{name}"]
            assert relative_error(variable.numpy(), expected) < 1e-3, name
            error = np.abs(variable.numpy() - expected)
            assert np.percentile(error, 99.9) < 2e-4, name
            assert error.max() < 3e-3, name


def test_golden_gradients_at_the_stored_samples(
    golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the original's fine samples put in, gradients agree more closely than with our own."""
    g = np.load(golden("gradients.npz"))
    model = load_nerf(golden, str(g["checkpoint"]))
    monkeypatch.setattr(
        "tfnerf.volume.samplers.hierarchical.resample_depths",
        lambda *_, **__: tf.constant(g["z_samples_step0"]),
    )
    with tf.GradientTape() as tape:
        loss = sum(losses_of(g, model))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    names = [f"{net}_{index:02d}" for net in ("coarse", "fine") for index in range(24)]
    for name, gradient in zip(names, gradients):
        assert relative_error(gradient.numpy(), g[f"grad_{name}"]) < 2e-3, name


def test_golden_learning_rates_and_metrics(golden: Golden) -> None:
    g = np.load(golden("schedule.npz"))
    for decay_steps in (250, 500):
        schedule = DecayWithWarmup(float(g["lrate"]), decay_steps * 1000)
        rates = [float(schedule(step)) for step in g["steps"]]
        np.testing.assert_allclose(rates, g[f"lr_decay{decay_steps}"], rtol=1e-6)
    finite = np.isfinite(g["psnr"])
    close([psnr_of(float(mse)) for mse in g["mse"][finite]], g["psnr"][finite], 2e-5)
    assert np.isinf(psnr_of(0.0))
    # On purpose: the original truncates to 8 bits, here values are rounded.
    rounded = to_8bit(g["to8b_in"]).astype(int)
    assert set(np.unique(rounded - g["to8b_out"])) <= {0, 1}


LLFF_VARIANTS = {
    "": {},
    "spherify_": {"spherify": True},
    "norecenter_": {"recenter": False},
    "nobd_": {"bounds_scale": None},
}


def fern_folder(real_data: Callable[[str], Path]) -> Path:
    return real_data("nerf_llff_data/fern")


@pytest.mark.parametrize("variant", LLFF_VARIANTS)
def test_golden_llff_poses(golden: Golden, real_data: Callable[[str], Path], variant: str) -> None:
    g = np.load(golden("llff.npz"))
    poses, bounds, _ = read_poses_bounds(fern_folder(real_data) / "poses_bounds.npy")
    normalized = normalize(poses, bounds, **LLFF_VARIANTS[variant])
    close(normalized.poses, g[f"{variant}poses"][:, :, :4], 1e-5)
    if f"{variant}bds" in g:
        np.testing.assert_allclose(normalized.bounds, g[f"{variant}bds"], rtol=1e-6)
    if variant == "spherify_":
        path = circle_path(normalized.poses)
    else:
        path = spiral_path(normalized.poses, normalized.bounds.min(), normalized.bounds.max())
    close(path, g[f"{variant}render_poses"][:, :, :4], 1e-5)


def test_golden_spiral_of_a_scene(golden: Golden, real_data: Callable[[str], Path]) -> None:
    g = np.load(golden("llff.npz"))
    scene = load_scene(
        SceneSettings(dataset="llff", data_dir=str(fern_folder(real_data)), factor=int(g["factor"]))
    )
    path = path_cameras(scene, SceneSettings(), "spiral", len(g["render_poses"]))
    close(path.camera_to_world, g["render_poses"][:, :, :4], 1e-5)


def test_golden_llff_scene(golden: Golden, real_data: Callable[[str], Path]) -> None:
    g = np.load(golden("llff.npz"))
    folder = fern_folder(real_data)
    poses, bounds, _ = read_poses_bounds(folder / "poses_bounds.npy")
    normalized = normalize(poses, bounds)
    nearest, farthest = normalized.bounds.min(), normalized.bounds.max()
    flat = spiral_path(normalized.poses, nearest, farthest, 60, flat=True)
    close(flat, g["zflat_render_poses"][:, :, :4], 1e-5)
    np.testing.assert_allclose(depth_range(normalized.bounds), g["no_ndc_near_far"], rtol=1e-6)
    center = average_pose(normalized.poses)[:, 3]
    distances = np.linalg.norm(normalized.poses[:, :, 3] - center, axis=-1)
    assert distances.argmin() == g["i_test_auto"]

    settings = SceneSettings(
        dataset="llff", data_dir=str(folder), factor=int(g["factor"]), holdout_every=8
    )
    scene = load_scene(settings)
    height, width, focal = g["hwf"]
    cameras = scene.train.cameras
    assert (cameras.height, cameras.width) == (height, width)
    np.testing.assert_allclose(cameras.focal, focal, rtol=1e-6)
    index_of = {name: index for index, name in enumerate(_all_names(scene))}
    assert [index_of[name] for name in scene.splits["test"].names] == g["i_test_hold8"].tolist()
    assert [index_of[name] for name in scene.train.names] == g["i_train_hold8"].tolist()
    everything = load_scene(
        SceneSettings(
            dataset="llff", data_dir=str(folder), factor=int(g["factor"]), holdout_every=0
        )
    ).train
    colors = to_colors(everything.images, everything.white_level, white_background=False).numpy()
    assert colors.shape == tuple(g["images_shape"])
    view, row, column = g["pix"].T
    close(colors[view, row, column], g["pix_rgb"], 1e-6)
    close(colors[0, 100:108, 200:212], g["image0_crop"], 1e-6)
    close(colors.mean((0, 1, 2), dtype=np.float64), g["images_mean"], 1e-6)


def _all_names(scene: Scene) -> list[str]:
    return sorted(name for views in scene.splits.values() for name in views.names)


class BlenderExcerpt:
    """The frames that the original loaded, as far as the scene at hand has them.

    Attributes:
      folder: a scene that lists only these.
      loaded: [V] bool, which of the images in the golden arrays are there.
    """

    def __init__(self, g: np.lib.npyio.NpzFile, source: Path, folder: Path):
        self.folder = folder
        present = []
        for split in ("train", "val", "test"):
            skip = 1 if split == "train" else int(g["testskip"])
            content = json.loads((source / f"transforms_{split}.json").read_text())
            frames = {frame["file_path"]: frame for frame in content["frames"]}
            wanted = [str(path) for path in g[f"file_path_{split}"][::skip]]
            present += [path in frames for path in wanted]
            content["frames"] = [frames[path] for path in wanted if path in frames]
            (folder / f"transforms_{split}.json").write_text(json.dumps(content))
            for frame in content["frames"]:
                target = (folder / frame["file_path"]).with_suffix(".png")
                target.parent.mkdir(exist_ok=True)
                shutil.copy((source / frame["file_path"]).with_suffix(".png"), target)
        self.loaded = np.array(present)


@pytest.mark.parametrize("size", ["full", "half"])
def test_golden_blender_scene(
    golden: Golden, real_data: Callable[[str], Path], tmp_path: Path, size: str
) -> None:
    g = np.load(golden("blender.npz"))
    excerpt = BlenderExcerpt(g, real_data(f"nerf_synthetic/{g['scene']}"), tmp_path)
    settings = SceneSettings(
        dataset="blender",
        data_dir=str(excerpt.folder),
        half_res=size == "half",
        resize_straight_alpha=True,
        white_background=True,
    )
    scene = load_scene(settings, ("train", "val", "test"))
    cameras = [scene.splits[split].cameras for split in ("train", "val", "test")]
    poses = np.concatenate([camera.camera_to_world for camera in cameras])
    close(poses, g["poses"][excerpt.loaded, :3], 1e-6)
    height, width, focal = g[f"{size}_hwf"]
    for camera in cameras:
        assert (camera.height, camera.width) == (height, width)
        np.testing.assert_allclose(camera.focal, focal, rtol=1e-6)
    level = scene.train.white_level
    images = np.concatenate([scene.splits[split].images for split in ("train", "val", "test")])
    white = to_colors(images, level, white_background=True).numpy()
    view, row, column = g["pix"].T
    here = excerpt.loaded[view]
    view = (np.cumsum(excerpt.loaded) - 1)[view][here]
    shrink = 2 if size == "half" else 1
    place = view, row[here] // shrink, column[here] // shrink
    assert here.sum() >= len(g["pix"]) // 2
    close(images[place] / level, g[f"{size}_pix_rgba"][here], 1e-6)
    close(white[place], g[f"{size}_pix_white"][here], 1e-6)
    if excerpt.loaded.all():
        close(white.mean((0, 1, 2), dtype=np.float64), g[f"{size}_white_mean"], 1e-6)
    top, left = g[f"{size}_crop_origin"]
    crop = g[f"{size}_crop_rgba"]
    close(images[0, top:, left:][: len(crop), : len(crop)] / level, crop, 1e-6)
    close(orbit_path(), g["render_poses"][:, :3], 1e-5)


@pytest.mark.parametrize("checkpoint", ["w64_viewdirs", "w64_noviewdirs"])
def test_golden_weight_files_agree_with_the_arrays(golden: Golden, checkpoint: str) -> None:
    """Our networks hand out their weights in the order of the original's files."""
    nerf = load_nerf(golden, checkpoint)
    stored = np.load(golden(f"weights_{checkpoint}.npz"))
    for prefix, field in (("coarse", nerf.coarse), ("fine", nerf.fine)):
        names = sorted(name for name in stored if name.startswith(prefix))
        for name, weight in zip(names, field.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, stored[name])


def rays_of(origins: np.ndarray, directions: np.ndarray) -> Rays:
    directions = tf.constant(directions)
    viewdirs = directions / tf.norm(directions, axis=-1, keepdims=True)
    return Rays(tf.constant(origins), directions, viewdirs)


def whole_image_rays(pose: np.ndarray, height: int, width: int, focal: float) -> Rays:
    """Rays of all pixels, row by row."""
    pixels = np.arange(height * width)
    camera = Cameras.pinhole(pose[None], height, width, focal)
    return camera.rays(np.zeros_like(pixels), pixels // width, pixels % width, pixel_centers=False)
