"""Config files and weight files of the original."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfnerf.errors import UserError
from tfnerf.evaluate.published import PAPER_CONFIGS
from tfnerf.fields.color_inputs import ColorInputs
from tfnerf.fields.mlp import RadianceField
from tfnerf.flags import read_flagfile
from tfnerf.original.config import convert, to_short_flagfile
from tfnerf.original.weights import network_settings, read_weights
from tfnerf.settings import NetworkSettings

PAPER_BLENDER = """
expname = blender_paper   ; a comment
basedir = ./logs
datadir = ./data/lego # another
dataset_type = blender
no_batching = True
use_viewdirs = True
white_bkgd = True
lrate_decay = 500
N_samples = 64
N_importance = 128
N_rand = 1024
testskip = 1
i_video = 1000
ft_path = "weights.npy"
"""


def converted(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "config.txt"
    path.write_text(text)
    return convert(path)


def test_a_config_of_the_paper_becomes_the_settings_of_the_paper(tmp_path: Path) -> None:
    conversion = converted(tmp_path, PAPER_BLENDER)
    paper = PAPER_CONFIGS["blender"]
    config = conversion.config
    assert config.rendering == paper.rendering
    assert config.scene.data_dir == "./data/lego"
    for name in ("white_background", "pixel_centers", "test_skip", "half_res"):
        assert getattr(config.scene, name) == getattr(paper.scene, name)
    for name in ("batching", "batch_size", "learning_rate", "learning_rate_decay_steps"):
        assert getattr(config.training, name) == getattr(paper.training, name)
    assert config.network == NetworkSettings(bottleneck_width=256)
    assert (config.run.output_dir, config.run.experiment) == ("./logs", "blender_paper")
    assert conversion.left_out == [
        "i_video = 1000 (python -m tfnerf.render)",
        "ft_path = weights.npy (python -m tfnerf.import_weights reads weights)",
    ]


def test_the_flagfile_of_a_conversion_reads_back(tmp_path: Path) -> None:
    config = converted(tmp_path, PAPER_BLENDER).config
    path = tmp_path / "flags.txt"
    path.write_text(to_short_flagfile(config))
    read = read_flagfile(path)
    assert (read.network, read.rendering, read.training) == (
        config.network,
        config.rendering,
        config.training,
    )
    assert read.scene.data_dir == str(Path.cwd() / "data" / "lego")


def test_what_a_config_leaves_out_is_as_the_original_has_it(tmp_path: Path) -> None:
    config = converted(tmp_path, "").config
    assert (config.scene.dataset, config.scene.factor, config.scene.ndc) == ("llff", 8, True)
    assert (config.rendering.num_coarse_samples, config.rendering.num_fine_samples) == (64, 0)
    assert not config.network.use_viewdirs and not config.scene.pixel_centers
    assert (config.training.batch_size, config.training.num_steps) == (4096, 1_000_000)
    assert converted(tmp_path, "dataset_type = blender").config.scene.test_skip == 8


def test_switches_and_spellings_of_config_files(tmp_path: Path) -> None:
    text = "[section]\n---\nno_ndc\nspherify: true\nlindisp=yes\n--white_bkgd = 1\ni_embed = -1"
    config = converted(tmp_path, text).config
    assert config.scene.spherify and config.rendering.lindisp and config.scene.white_background
    assert config.scene.ndc is False and config.network.position_frequencies == 0


def test_what_has_no_counterpart_is_listed(tmp_path: Path) -> None:
    text = "spherify = True\nN_importance = 64\nnetwidth_fine = 128\nmy_own = 7\nchunk = 4096"
    text += "\nllffhold = 0"
    assert converted(tmp_path, text).left_out == [
        "my_own = 7 (not known)",
        "chunk = 4096 (memory is bounded by --rays_per_chunk)",
        "netwidth_fine = 128 (the fine network is like the coarse one)",
        "NDC with spherify (NDC is for forward-facing scenes; it is off)",
        "llffhold = 0 (it holds the most central view out; here none is)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N_rand = many", "N_rand is 'many', expected an integer"),
        ("no_ndc = perhaps", "no_ndc is 'perhaps', expected true or false"),
        ("= 7", "line 1: found '= 7', expected key = value"),
        ("dataset_type = nowhere", "--dataset"),
        ("N_samples = 1", "--num_coarse_samples=1: expected at least 2"),
    ],
)
def test_a_config_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        converted(tmp_path, text)
    assert message in str(caught.value) and "config.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def small_weights(
    use_viewdirs: bool = True, direction_frequencies: int = 4, **shape: Any
) -> list[np.ndarray]:
    inputs = ColorInputs(direction_frequencies, use_viewdirs)
    field = RadianceField(net_depth=3, net_width=8, skip_layer=1, color_inputs=inputs, **shape)
    return field.get_weights()


def object_array(items: list[Any]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def save(path: Path, weights: list[np.ndarray]) -> Path:
    np.save(path, object_array(weights), allow_pickle=True)
    return path


def save_pickle(path: Path, content: bytes, count: int = 24) -> Path:
    """A .npy file of `count` objects whose pickle is `content`."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (count,)}
    )
    path.write_bytes(header.getvalue() + content)
    return path


@pytest.mark.parametrize("checkpoint", ["w64_viewdirs", "w64_noviewdirs"])
def test_golden_weight_files_are_read(golden: Callable[[str], Path], checkpoint: str) -> None:
    stored = np.load(golden(f"weights_{checkpoint}.npz"))
    for prefix, name in (("coarse", "model_"), ("fine", "model_fine_")):
        (path,) = golden(f"checkpoints/{checkpoint}").glob(f"{name}[0-9]*.npy")
        arrays = read_weights(path)
        names = sorted(name for name in stored if name.startswith(prefix))
        for array, name in zip(arrays, names, strict=True):
            np.testing.assert_array_equal(array, stored[name])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_ages_of_files_are_read(protocol: int, tmp_path: Path) -> None:
    weights = small_weights()
    weights[0] = np.asfortranarray(weights[0])
    weights[1] = weights[1].astype(">f8")
    content = pickle.dumps(object_array(weights), protocol=protocol)
    if protocol == 5:  # NumPy's own way for protocol 5 asks for a function that no original needs
        with pytest.raises(UserError, match="no weights of the original"):
            read_weights(save_pickle(tmp_path / "model.npy", content, len(weights)))
        return
    read = read_weights(save_pickle(tmp_path / "model.npy", content, len(weights)))
    for array, expected in zip(read, weights, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.float32


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"use_viewdirs": False},
        {"bottleneck_width": 5},
        {"position_frequencies": 0, "direction_frequencies": 2},
    ],
)
def test_the_shape_of_a_network_is_read_off_its_weights(shape: dict[str, Any]) -> None:
    settings = network_settings(small_weights(**shape), "model.npy")
    assert (settings.net_depth, settings.net_width, settings.skip_layer) == (3, 8, 1)
    assert settings.use_viewdirs == shape.get("use_viewdirs", True)
    assert settings.position_frequencies == shape.get("position_frequencies", 10)
    if settings.use_viewdirs:
        assert settings.bottleneck_width == shape.get("bottleneck_width", 8)
        assert settings.direction_frequencies == shape.get("direction_frequencies", 4)


def test_skips_at_either_end_of_the_trunk_are_read_off() -> None:
    for skip_layer in (0, 2, 3):
        field = RadianceField(net_depth=3, net_width=8, skip_layer=skip_layer)
        assert network_settings(field.get_weights(), "model.npy").skip_layer == skip_layer


def test_weights_of_no_such_network_are_refused() -> None:
    weights = small_weights()
    for wrong in (
        weights[:-1],
        weights[2:],
        [*weights[:2], weights[2][:, :-1], *weights[3:]],
        [weights[0][:-1], *weights[1:]],
        [],
        [np.zeros([2, 2, 2])] * 24,
    ):
        with pytest.raises(UserError, match=r"model\.npy: no weights of the original: found"):
            network_settings(wrong, "model.npy")


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


@pytest.mark.parametrize(
    "function", [os.system, eval, exec, __import__, np.load, np.fromfile, getattr, pickle.loads]
)
def test_a_hostile_file_is_refused_and_runs_nothing(
    function: Callable[..., Any], tmp_path: Path
) -> None:
    """What NumPy's own loader would run: each way to leave a mark leaves none."""
    mark = tmp_path / "mark"
    if function in (eval, exec):
        call = Call(function, f"open({str(mark)!r}, 'w').close()")
    else:
        call = Call(function, f"touch {mark}")
    for content in (object_array([call]), [call], call, {"a": call}):
        path = save_pickle(tmp_path / "model_000001.npy", pickle.dumps(content), 1)
        with pytest.raises(UserError, match=r"it asks for .*, which is refused"):
            read_weights(path)
    assert not mark.exists()


def test_the_hostile_file_works_on_a_trusting_loader(tmp_path: Path) -> None:
    """Without this the test above would prove nothing."""
    mark = tmp_path / "mark"
    content = pickle.dumps(object_array([Call(os.system, f"touch {mark}")]))
    np.load(save_pickle(tmp_path / "model_000001.npy", content, 1), allow_pickle=True)
    assert mark.exists()


def nested(depth: int) -> bytes:
    return b"\x80\x03" + b"]" * depth + b"a" * (depth - 1) + b"."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x03.",
        pickle.dumps([1, 2]),
        pickle.dumps(object_array([1.0, "text"]), protocol=3),
        pickle.dumps(object_array([np.array(["text"])]), protocol=3),
        pickle.dumps(object_array([np.full(3, np.nan)]), protocol=3),
        pickle.dumps(np.zeros(3), protocol=3),
        # A name that is allowed, with arguments that NumPy would act on.
        b"\x80\x03cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n(tR}b.",
        # A place in the memo that would set aside 16 GB; a text of 4 GB that is not there.
        b"\x80\x03]r" + struct.pack("<I", 2**31 - 1) + b".",
        b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b"short.",
        nested(5000),
    ],
)
def test_damaged_and_odd_files_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.npy: no weights of the original") as caught:
        read_weights(save_pickle(tmp_path / "model.npy", content, 1))
    assert "\n" not in str(caught.value)


def test_one_array_many_times_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(object_array([np.zeros(3, np.float32)] * 1000), protocol=3)
    with pytest.raises(UserError, match="found 1000 arrays, expected at most"):
        read_weights(save_pickle(tmp_path / "model.npy", content, 1000))


def test_a_size_that_lies_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps(object_array([np.zeros([3, 5], np.float32)]), protocol=3)
    lying = content.replace(b"K\x03K\x05\x86", b"K\xffK\xff\x86")
    assert lying != content
    with pytest.raises(UserError, match="found 60 bytes for an array of shape"):
        read_weights(save_pickle(tmp_path / "model.npy", lying, 1))


def test_files_that_are_not_there_or_no_npy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "model.npy")
    (tmp_path / "model.npy").write_text("text")
    with pytest.raises(UserError, match="no weights of the original"):
        read_weights(tmp_path / "model.npy")
    np.save(tmp_path / "model.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"found an array of float64 and shape \(3,\)"):
        read_weights(tmp_path / "model.npy")
    save(tmp_path / "model.npy", small_weights())
    cut = (tmp_path / "model.npy").read_bytes()[:-100]
    (tmp_path / "model.npy").write_bytes(cut)
    with pytest.raises(UserError, match="no weights of the original"):
        read_weights(tmp_path / "model.npy")
