"""tensorflow.serving.ModelService: which versions there are, and which models to serve."""

from __future__ import annotations

from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from serving.errors import RequestError, abort
from serving.server.models import Models
from serving.server.models_config import configs_of


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Tells of models and changes them.

    Args:
      models: of the server.
    """

    def __init__(self, models: Models):
        self._models = models

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The state of each version, newest first."""
        try:
            model, wanted = self._models.find(request.model_spec)
            found = [status for status in model.statuses() if wanted is None or status[0] == wanted]
            if not found:
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND,
                    f"Could not find any versions of model {request.model_spec.name}",
                )
        except RequestError as error:
            abort(context, error.code, error.message)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state, text in found:
            status = response.model_version_status.add(version=number, state=state)
            if text:
                status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                status.status.error_message = text
        return response

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        """Serves the models of the given config instead, once they are loaded."""
        try:
            self._models.reconfigure(configs_of(request.config))
        except PermissionError as error:
            abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except (ValueError, OSError) as error:
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return model_management_pb2.ReloadConfigResponse()
