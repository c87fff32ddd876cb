"""`RenderClient` under the name that docs/serving.md has given it since the first release."""

from serving.client.rendering import RenderClient, RenderedView, VersionStatus

__all__ = ["RenderClient", "RenderedView", "VersionStatus"]
