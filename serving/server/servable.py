"""A version of a model, loaded and run as TF Serving does it: through the C++ loader and a Session.

`tf.saved_model.load` is not used because it loads models that TF Serving cannot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

_TAGS = [tf.saved_model.SERVING]
_WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
_MAX_WARM_UPS = 1000
DEFAULT_SIGNATURE = "serving_default"
"""What a request without the name of a signature means."""


class Servable:
    """A loaded version.

    Args:
      path: its folder.

    Raises:
      Exception: of TensorFlow, of many kinds, if it cannot be loaded.
    """

    def __init__(self, path: Path):
        self.path = path
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            loaded = tf.compat.v1.saved_model.loader.load(self._session, _TAGS, str(path))
        except BaseException:
            self._session.close()
            raise
        self.signatures: Mapping[str, Any] = {
            name: signature
            for name, signature in loaded.signature_def.items()
            if not name.startswith("__")
        }
        """SignatureDefs by name."""
        self._callables: dict[tuple[str, tuple[str, ...]], Callable[..., list[np.ndarray]]] = {}
        self._lock = threading.Lock()

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
        seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature; may be called from several threads at once.

        Args:
          signature: its name.
          inputs: arrays by the names of the inputs, all of them.
          outputs: names of the outputs wanted; none: all.
          seconds: that it may take; None: as long as it takes.

        Raises:
          tf.errors.OpError: it fails; DeadlineExceededError: it takes too long, and was stopped.
        """
        definition = self.signatures[signature]
        names = tuple(outputs) or tuple(definition.outputs)
        feeds = sorted(definition.inputs)
        # 0 would be no limit.
        milliseconds = 0 if seconds is None else max(1, int(1e3 * seconds))
        options = tf.compat.v1.RunOptions(timeout_in_ms=milliseconds)
        values = self._callable(signature, names)(
            *(inputs[name] for name in feeds), options=options
        )
        return dict(zip(names, values))

    def warm_up(self) -> int:
        """Runs the requests that came with the version, and returns how many there were.

        Raises:
          Exception: one of them fails, so the version is not fit to serve.
        """
        path = self.path / _WARM_UP
        if not path.is_file():
            return 0
        records = tf.data.TFRecordDataset(str(path)).take(_MAX_WARM_UPS).as_numpy_iterator()
        logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
        for log in logs:
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                raise ValueError(f"{path}: found a request of kind {kind}, expected predict_log")
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.run(request.model_spec.signature_name or DEFAULT_SIGNATURE, inputs)
        return len(logs)

    def close(self) -> None:
        """Frees the memory; nothing may be running."""
        self._callables.clear()
        self._session.close()

    def _callable(self, signature: str, outputs: tuple[str, ...]) -> Callable:
        """What skips the look-up of names on each call."""
        key = signature, outputs
        with self._lock:
            if key not in self._callables:
                definition = self.signatures[signature]
                self._callables[key] = self._session.make_callable(
                    [definition.outputs[name].name for name in outputs],
                    [definition.inputs[name].name for name in sorted(definition.inputs)],
                    accept_options=True,
                )
            return self._callables[key]
