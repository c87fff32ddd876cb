"""Pictures and how good they are."""

from __future__ import annotations

import math
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from small import small_scene

from tfnerf.errors import UserError
from tfnerf.evaluate.metrics import psnr, psnr_of, ssim
from tfnerf.evaluate.quality import held_out_sheet
from tfnerf.images import color_depth, to_8bit, write_png
from tfnerf.volume.image_renderer import Image


def test_8bit_values_are_rounded_and_clipped() -> None:
    values = np.array([-0.1, 0, 0.001, 0.5, 0.9999, 1, 7])
    np.testing.assert_array_equal(to_8bit(values), [0, 0, 0, 128, 255, 255, 255])
    every = np.arange(256)
    np.testing.assert_array_equal(to_8bit(every / 255), every)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((5, 7), np.uint8),
        ((5, 7), np.uint16),
        ((5, 7, 3), np.uint8),
        ((5, 7, 4), np.uint8),
    ],
)
def test_png_read_back_is_the_same(
    tmp_path: Path, rng: np.random.Generator, shape: tuple, kind: type
) -> None:
    pixels = rng.integers(0, np.iinfo(kind).max, shape).astype(kind)
    write_png(tmp_path / "image.png", pixels)
    np.testing.assert_array_equal(imageio.imread(tmp_path / "image.png"), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


def test_a_png_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_png(tmp_path / "nowhere" / "image.png", np.zeros([2, 2], np.uint8))


def test_near_is_brighter_than_far() -> None:
    colors = color_depth(np.array([[2.0, 4.0, 6.0]]), 2.0, 6.0).astype(int).sum(-1)[0]
    assert colors[0] > colors[1] > colors[2]


def test_nothing_is_as_dark_as_the_far_plane() -> None:
    scene = small_scene(1, 2, 2)
    zeros = np.zeros([2, 2], np.float32)
    opacity = np.float32([[1, 0], [0, 0]])
    image = Image(np.zeros([2, 2, 3], np.float32), 2 * opacity, zeros, opacity, zeros)
    sheet = held_out_sheet(scene, image, np.zeros([2, 2, 3], np.float32)).astype(int)
    depth = sheet[2:, :2].sum(-1)
    assert depth[0, 0] > depth[0, 1] == depth[1, 1]


def test_psnr() -> None:
    image = np.full([4, 4, 3], 0.5, np.float32)
    assert math.isclose(psnr(image, image + 0.1), 20, abs_tol=1e-4)
    assert psnr(image, image) == math.inf
    assert psnr_of(1.0) == 0


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, window by window."""
    offsets = np.arange(11) - 5
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(kernel, kernel) / kernel.sum() ** 2
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            for channel in range(3):
                x, y = (m[row : row + 11, column : column + 11, channel] for m in (a, b))
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
                cov = (window * x * y).sum() - mx * my
                c1, c2 = 0.01**2, 0.03**2
                values.append(
                    (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
                )
    return float(np.mean(values))


def test_ssim_equals_its_definition(rng: np.random.Generator) -> None:
    a = rng.random([14, 13, 3]).astype(np.float32)
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32)
    assert math.isclose(ssim(a, b), slow_ssim(a.astype(float), b.astype(float)), abs_tol=1e-4)
    assert math.isclose(ssim(a, a), 1, abs_tol=1e-6)
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(a[:10], b[:10])


def test_masked_pixels_are_not_measured(rng: np.random.Generator) -> None:
    """Whatever is wrong behind a mask, PSNR and SSIM are those of the rest."""
    truth = rng.uniform(size=[40, 50, 3]).astype(np.float32)
    image = np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32)
    mask = np.ones([40, 50], bool)
    mask[:, 30:] = False
    wrong = image.copy()
    wrong[~mask] = 1 - truth[~mask]
    assert psnr(wrong, truth, mask) == pytest.approx(psnr(image[:, :30], truth[:, :30]), abs=1e-6)
    filled = np.where(mask[..., None], image, truth)
    # Windows that reach behind the mask see there what should be there.
    by_window = ssim(filled[:, :40], truth[:, :40], mask[:, :40])
    assert by_window == pytest.approx(ssim(filled, truth, mask))
    assert by_window > ssim(image[:, :30], truth[:, :30])
    assert np.isnan(ssim(image, truth, np.zeros_like(mask)))
