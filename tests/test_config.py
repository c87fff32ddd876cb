"""Flags, settings and flagfiles."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from absl import flags

from tfnerf.errors import UserError
from tfnerf.flags import config_from_flags, define_flags, read_flagfile, to_flagfile
from tfnerf.runs.begin import check_resumable
from tfnerf.settings import Config, RenderSettings, SceneSettings, TrainingSettings

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.txt"))


def config_of(*arguments: str) -> Config:
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    flag_values(["", *arguments])
    return config_from_flags(flag_values)


def test_a_flagfile_read_back_is_the_same(tmp_path: Path) -> None:
    config = config_of(
        "--dataset=llff",
        "--data_dir=somewhere",
        "--nouse_viewdirs",
        "--learning_rate=1e-3",
        "--nondc",
        "--near=0.5",
        "--far=8",
        "--bottleneck_width=256",
        "--batching=one_image",
    )
    path = tmp_path / "flags.txt"
    path.write_text("# a comment\n" + to_flagfile(config))
    assert read_flagfile(path) == config


def test_folders_become_absolute_and_defaults_are_resolved() -> None:
    config = config_of("--dataset=llff", "--data_dir=fern", "--output_dir=out")
    assert config.scene.data_dir == str(Path.cwd() / "fern")
    assert config.run.output_dir == str(Path.cwd() / "out")
    assert config.scene.ndc is True
    assert config_of("--dataset=llff", "--data_dir=fern", "--spherify").scene.ndc is False
    assert config_of("--dataset=blender", "--data_dir=lego").scene.ndc is False


def test_the_shipped_configs_are_valid() -> None:
    assert len(CONFIGS) >= 9
    for path in CONFIGS:
        read_flagfile(path)


def test_the_settings_of_d_nerf() -> None:
    config = read_flagfile(CONFIGS[0].parent / "paper" / "dnerf.txt")
    network, training = config.network, config.training
    assert config.scene.time_model == "deform" and config.scene.half_res and network.zero_canonical
    assert (network.deformation_depth, network.deformation_width) == (8, 256)
    assert (network.deformation_skip, network.deformation_frequencies) == (4, 10)
    assert (training.batching, training.batch_size) == ("one_image", 500)
    assert (training.num_steps, training.learning_rate_decay_steps) == (800_000, 500_000)
    assert (training.time_growth_steps, training.center_crop_steps) == (10_000, 500)
    assert config.rendering.density_noise_std == 0
    assert (config.rendering.num_coarse_samples, config.rendering.num_fine_samples) == (64, 128)


def test_the_published_settings() -> None:
    """The table of the paper's settings in the released code."""
    folder = CONFIGS[0].parent / "paper"
    for name, rays, steps, decay in (
        ("blender", 1024, 500_000, 500_000),
        ("llff", 4096, 200_000, 250_000),
        ("deepvoxels", 4096, 200_000, 200_000),
    ):
        config = read_flagfile(folder / f"{name}.txt")
        assert config.training.batch_size == rays
        assert config.training.num_steps == steps
        assert config.training.learning_rate_decay_steps == decay
        assert config.training.learning_rate == 5e-4
        assert (config.rendering.num_coarse_samples, config.rendering.num_fine_samples) == (64, 128)
        assert (config.network.net_depth, config.network.net_width) == (8, 256)
        assert not config.scene.pixel_centers
        assert config.scene.white_background == (name != "llff")
        assert config.rendering.density_noise_std == (name == "llff")
        assert config.network.use_viewdirs
        assert config.training.batching == ("all_images" if name == "llff" else "one_image")
        assert (config.scene.factor, config.scene.holdout_every) == (4 if name == "llff" else 1, 8)
        assert config.scene.test_skip == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: TrainingSettings(batch_size=0), "--batch_size=0: expected at least 1"),
        (lambda: TrainingSettings(learning_rate=0.0), "--learning_rate=0.0: expected more than 0"),
        (lambda: TrainingSettings(learning_rate=float("nan")), "--learning_rate=nan"),
        (lambda: TrainingSettings(center_crop_steps=5), "needs --batching=one_image"),
        (lambda: RenderSettings(num_coarse_samples=1), "--num_coarse_samples=1: expected at least"),
        (lambda: SceneSettings(near=4.0, far=2.0), "--near=4.0: expected less than --far=2.0"),
        (lambda: SceneSettings(dataset="blender", ndc=True), "--ndc: needs --dataset=llff"),
        (lambda: SceneSettings(factor=0), "--factor=0: expected at least 1"),
        (lambda: SceneSettings(far=float("inf")), "--far=inf: expected a finite number"),
        (lambda: SceneSettings(dataset="llff", near=1.0), "--near and --far: rays in NDC go"),
        (
            lambda: SceneSettings(dataset="llff", ndc=True, spherify=True),
            "--ndc: is for forward-facing scenes, found --spherify",
        ),
        (
            lambda: SceneSettings(dataset="blender", factor=2),
            "--factor: means something for --dataset=llff or transforms or colmap only",
        ),
        (lambda: RenderSettings(num_coarse_samples=2), "expected at least 3 to resample from"),
        (lambda: TrainingSettings(seed=2**32), "--seed=4294967296: expected at most 4294967295"),
    ],
)
def test_values_that_cannot_be_are_refused(settings: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        settings()  # type: ignore[operator]
    assert message in str(caught.value)


def test_bad_flagfiles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flags.txt"
    with pytest.raises(UserError, match="no such file"):
        read_flagfile(path)
    for text in ("--no_such_flag=1\n", "--batch_size=many\n", "--factor=0\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"flags\.txt: "):
            read_flagfile(path)


def test_a_run_goes_on_only_as_it_began(tmp_path: Path) -> None:
    path = tmp_path / "run" / "flags.txt"
    before = config_of("--dataset=builtin", "--learning_rate=1e-3")
    longer = dataclasses.replace(
        before, training=dataclasses.replace(before.training, num_steps=7, checkpoint_every=3)
    )
    check_resumable(longer, before, path)
    other = dataclasses.replace(
        before, training=dataclasses.replace(before.training, learning_rate=2e-3)
    )
    with pytest.raises(
        UserError, match=r"--learning_rate=0.002: the run in .* --learning_rate=0.001"
    ):
        check_resumable(other, before, path)


def test_a_field_comes_with_its_sampler() -> None:
    assert Config().rendering.sampler == "hierarchical"
    planes = Config().replaced(field="planes")
    assert planes.rendering.sampler == "grid"
    assert planes.replaced(field="mlp").rendering.sampler == "hierarchical"
    assert Config().replaced(sampler="grid").rendering.sampler == "grid"
    with pytest.raises(UserError, match="--field=planes needs --sampler=grid"):
        planes.replaced(sampler="hierarchical")
    with pytest.raises(UserError, match="--sampler=coarse: expected one of hierarchical, grid"):
        Config().replaced(sampler="coarse")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"plane_resolution": 9}, "--plane_resolution: means something for --field=planes only"),
        ({"field": "planes", "net_width": 9}, "--net_width: means something for --field=mlp only"),
        ({"num_samples": 9}, "--num_samples: means something for --sampler=grid only"),
        ({"field": "planes", "num_fine_samples": 9}, "means something for --sampler=hierarchical"),
        ({"sampler": "grid", "refine_steps": "9,3"}, "--refine_steps=9,3: expected whole numbers"),
        ({"sampler": "grid", "refine_steps": "0,3"}, "--refine_steps=0,3: expected whole numbers"),
        ({"sampler": "grid", "refine_steps": "1_0, 20"}, "--refine_steps=1_0, 20: expected whole"),
        ({"sampler": "grid", "refine_steps": "soon"}, "--refine_steps=soon: expected whole"),
        (
            {"field": "planes", "color_components": "16,4"},
            "--color_components=16,4: expected a numb",
        ),
        ({"field": "planes", "density_components": "0"}, "--density_components=0: expected a numb"),
        (
            {"field": "planes", "plane_proportions": "1,1,0"},
            "--plane_proportions=1,1,0: expected three numbers above 0 and up to 1",
        ),
        (
            {"field": "planes", "plane_proportions": "1,.,1"},
            "--plane_proportions=1,.,1: expected three numbers",
        ),
        ({"sampler": "grid", "even_share": 0.0}, "--even_share=0.0: expected more than 0"),
    ],
)
def test_flags_of_one_field_are_refused_for_another(flags: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config().replaced(**flags)


def test_refinement_is_a_function_of_the_step() -> None:
    config = Config().replaced(sampler="grid", refine_steps="10,20")
    assert [config.times_refined(step) for step in (0, 9, 10, 19, 20, 99)] == [0, 0, 1, 1, 2, 2]
    assert config.replaced(refine_steps="").times_refined(99) == 0
    assert Config().times_refined(10**6) == 0
