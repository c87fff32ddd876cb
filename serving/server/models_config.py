"""Which models to serve: from a models.config of TF Serving, or one from flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.models import ModelConfig
from tfnerf.errors import UserError, first_line


def read_models_config(path: Path) -> list[ModelConfig]:
    """Reads a models.config.

    Raises:
      UserError: it is not there, or is something else.
    """
    try:
        content = text_format.Parse(
            path.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig()
        )
        return configs_of(content)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, ValueError, text_format.ParseError) as error:
        raise UserError(f"{path}: no models.config: {first_line(error)}") from None


def configs_of(content: Any) -> list[ModelConfig]:
    """The models of a ModelServerConfig.

    Raises:
      ValueError: it holds what cannot be served.
    """
    if content.WhichOneof("config") != "model_config_list":
        raise ValueError("expected a model_config_list")
    configs = [_config_of(config) for config in content.model_config_list.config]
    if not configs:
        raise ValueError("expected at least one model")
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise ValueError(f"found a model twice: {', '.join(names)}")
    return configs


def _config_of(config: Any) -> ModelConfig:
    if not config.name or not config.base_path:
        raise ValueError("expected a name and a base_path for each model")
    if config.model_platform not in ("", "tensorflow"):
        raise ValueError(f"{config.name}: model_platform is {config.model_platform!r}")
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific" and not policy.specific.versions:
        raise ValueError(f"{config.name}: specific names no versions, expected at least one")
    latest = {None: 1, "latest": policy.latest.num_versions or 1, "all": 0, "specific": 0}[kind]
    return ModelConfig(
        name=config.name,
        base_path=Path(config.base_path),
        latest=latest,
        specific=tuple(policy.specific.versions) if kind == "specific" else (),
        labels=dict(config.version_labels),
    )
