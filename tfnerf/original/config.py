"""The original's config files, `key = value` a line, as our settings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from tfnerf.errors import UserError
from tfnerf.flags import config_from_flags, define_flags
from tfnerf.settings import Config, flag_settings, flag_text

# What the original's options are if a file does not name them.
_DEFAULTS: dict[str, Any] = {
    "expname": "",
    "basedir": "./logs/",
    "datadir": "./data/llff/fern",
    "dataset_type": "llff",
    "netdepth": 8,
    "netwidth": 256,
    "netdepth_fine": 8,
    "netwidth_fine": 256,
    "N_rand": 4096,
    "lrate": 5e-4,
    "lrate_decay": 250,
    "no_batching": False,
    "random_seed": 0,
    "precrop_iters": 0,
    "precrop_frac": 0.5,
    "N_samples": 64,
    "N_importance": 0,
    "perturb": 1.0,
    "use_viewdirs": False,
    "i_embed": 0,
    "multires": 10,
    "multires_views": 4,
    "raw_noise_std": 0.0,
    "testskip": 8,
    "shape": "greek",
    "white_bkgd": False,
    "half_res": False,
    "factor": 8,
    "no_ndc": False,
    "lindisp": False,
    "spherify": False,
    "llffhold": 8,
    "i_print": 100,
    "i_img": 500,
    "i_weights": 10_000,
}

_WITHOUT_COUNTERPART = {
    "chunk": "memory is bounded by --rays_per_chunk",
    "netchunk": "memory is bounded by --rays_per_chunk",
    "no_reload": "give another --experiment to begin anew",
    "ft_path": "python -m tfnerf.import_weights reads weights",
    "render_only": "python -m tfnerf.render",
    "render_test": "python -m tfnerf.evaluate",
    "render_factor": "python -m tfnerf.render --resolution_factor",
    "i_testset": "python -m tfnerf.evaluate",
    "i_video": "python -m tfnerf.render",
}
_KINDS = {bool: "true or false", int: "an integer", float: "a number"}
_NUM_STEPS = 1_000_000
"""Hard-coded in the original."""


class Conversion(NamedTuple):
    """What became of a config file."""

    config: Config
    left_out: list[str]
    """What has no counterpart, one text per key."""


def convert(path: Path) -> Conversion:
    """Reads a config file of the original; what it leaves out is as the original has it.

    Raises:
      UserError: a line that is none, or a value that cannot be.
    """
    given = _read(path)
    values = dict(_DEFAULTS)
    left_out = []
    for key, text in given.items():
        if key in values:
            values[key] = _parse(key, text, path)
        else:
            reason = _WITHOUT_COUNTERPART.get(key, "not known")
            left_out.append(f"{key} = {text} ({reason})")
    for name in ("netdepth", "netwidth"):
        fine = values[f"{name}_fine"]
        if values["N_importance"] and fine != values[name]:
            left_out.append(f"{name}_fine = {fine} (the fine network is like the coarse one)")
    if values["spherify"] and not values["no_ndc"] and values["dataset_type"] == "llff":
        left_out.append("NDC with spherify (NDC is for forward-facing scenes; it is off)")
    if values["dataset_type"] == "llff" and values["llffhold"] == 0:
        left_out.append("llffhold = 0 (it holds the most central view out; here none is)")
    return Conversion(_config_of(values, path), left_out)


def to_short_flagfile(config: Config) -> str:
    """Only the flags that are not at their defaults."""
    defaults = {name: value for name, value, _ in flag_settings(Config())}
    return "".join(
        f"--{name}={flag_text(value)}\n"
        for name, value, _ in flag_settings(config)
        if value is not None and value != defaults[name]
    )


def _config_of(values: Mapping[str, Any], path: Path) -> Config:
    arguments = {**_common_flags(values, path), **_flags_of_dataset(values)}
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    try:
        flag_values(["", *(f"--{name}={flag_text(value)}" for name, value in arguments.items())])
        config = config_from_flags(flag_values)
    except (flags.Error, UserError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    # Folders stay as they were written: relative to where the command will be run.
    return dataclasses.replace(
        config,
        scene=dataclasses.replace(config.scene, data_dir=values["datadir"]),
        run=dataclasses.replace(config.run, output_dir=values["basedir"]),
    )


def _common_flags(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Our flags for what all data sets have."""
    arguments = {
        "dataset": values["dataset_type"],
        "data_dir": values["datadir"],
        "output_dir": values["basedir"],
        "experiment": values["expname"] or path.stem,
        "seed": values["random_seed"],
        "num_steps": _NUM_STEPS,
        "batch_size": values["N_rand"],
        "batching": "one_image" if values["no_batching"] else "all_images",
        "learning_rate": values["lrate"],
        "learning_rate_decay_steps": values["lrate_decay"] * 1000,
        "net_depth": values["netdepth"],
        "net_width": values["netwidth"],
        "position_frequencies": 0 if values["i_embed"] == -1 else values["multires"],
        "direction_frequencies": 0 if values["i_embed"] == -1 else values["multires_views"],
        "use_viewdirs": values["use_viewdirs"],
        "num_coarse_samples": values["N_samples"],
        "num_fine_samples": values["N_importance"],
        "jitter": values["perturb"] > 0,
        "density_noise_std": values["raw_noise_std"],
        "lindisp": values["lindisp"],
        "white_background": values["white_bkgd"],
        "pixel_centers": False,
        "log_every": values["i_print"],
        "eval_every": values["i_img"],
        "checkpoint_every": values["i_weights"],
    }
    if values["use_viewdirs"]:
        arguments["bottleneck_width"] = 256
    if values["no_batching"]:
        arguments["center_crop_steps"] = values["precrop_iters"]
        arguments["center_crop_fraction"] = values["precrop_frac"]
    return arguments


def _flags_of_dataset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Our flags for what one data set has; any other refuses them."""
    test_skip = max(values["testskip"], 1)
    if values["dataset_type"] == "llff":
        return {
            "factor": values["factor"],
            "spherify": values["spherify"],
            "holdout_every": values["llffhold"],
            "ndc": not values["no_ndc"] and not values["spherify"],
        }
    if values["dataset_type"] == "blender":
        half_res = values["half_res"]
        return {
            "test_skip": test_skip,
            "half_res": half_res,
            "resize_straight_alpha": half_res,
        }
    if values["dataset_type"] == "deepvoxels":
        return {"test_skip": test_skip, "shape": values["shape"]}
    return {}


def _read(path: Path) -> dict[str, str]:
    """Keys and values as text; a key alone is a switch."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable: {error}") from None
    given = {}
    for number, line in enumerate(lines, 1):
        line = re.sub(r"(^|\s)[#;].*", "", line).strip()
        if not line or re.fullmatch(r"\[.*\]|-{3,}", line):
            continue
        match = re.fullmatch(r"(?:--)?(\w+)\s*(?:[=:\s]\s*(\S.*)?)?", line)
        if match is None:
            raise UserError(f"{path}: line {number}: found {line!r}, expected key = value")
        given[match[1]] = (match[2] or "True").strip("\"'")
    return given


def _parse(key: str, text: str, path: Path) -> Any:
    kind = type(_DEFAULTS[key])
    parse: Callable[[str], Any] = _parse_bool if kind is bool else kind
    try:
        return parse(text)
    except ValueError:
        raise UserError(f"{path}: {key} is {text!r}, expected {_KINDS[kind]}") from None


def _parse_bool(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise ValueError(text)
    return values[text.lower()]
