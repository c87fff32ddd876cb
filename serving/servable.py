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

_TAGS = [tf.saved_model.SERVING]


class Servable:
    """A loaded version.

    Args:
      path: its folder; the name is the number of the version.

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
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature; may be called from several threads at once.

        Args:
          signature: its name.
          inputs: arrays by the names of the inputs, all of them.
          outputs: names of the outputs wanted; none: all.
        """
        definition = self.signatures[signature]
        names = tuple(outputs) or tuple(definition.outputs)
        feeds = sorted(definition.inputs)
        values = self._callable(signature, names)(*(inputs[name] for name in feeds))
        return dict(zip(names, values))

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
                )
            return self._callables[key]
