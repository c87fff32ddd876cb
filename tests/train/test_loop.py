"""What workers compare before they train together."""

from __future__ import annotations

import pytest
from small import small_config

from tfnerf.train.loop import _checksum


def test_workers_may_have_the_scene_in_folders_of_their_own() -> None:
    one, other = (
        small_config(dataset="blender", data_dir=f"/{name}/lego", output_dir=f"/{name}/runs")
        for name in ("a", "b")
    )
    assert _checksum(one) == _checksum(other)


@pytest.mark.parametrize(
    "change",
    [
        {"half_res": True},
        {"near": 1.5},
        {"white_background": True},
        {"net_width": 17},
        {"num_fine_samples": 9},
        {"seed": 2},
    ],
)
def test_all_that_changes_results_has_to_be_alike(change: dict) -> None:
    config = small_config(dataset="blender", data_dir="/a/lego")
    assert _checksum(config) != _checksum(config.replaced(**change))
