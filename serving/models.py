"""The models of a server: which versions there are, loading new ones, letting go of old ones.

A version is loaded and warmed up before the one that serves is let go, and one that fails never
displaces it. A version that requests are running on is closed when the last of them is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving.servable import Servable
from serving.status import RequestError, invalid
from serving.version_folders import list_versions

_log = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus.State


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model to serve."""

    name: str
    base_path: Path
    latest: int = 1
    """How many of the newest versions; 0: all."""
    specific: tuple[int, ...] = ()
    """Only these versions, if there are any."""
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Names for versions."""

    def aspired(self) -> dict[int, Path]:
        """The versions in the folder that are to be served."""
        try:
            found = {int(path.name): path for path in list_versions(self.base_path)}
        except OSError:
            return {}
        if self.specific:
            wanted = [number for number in self.specific if number in found]
        else:
            wanted = sorted(found)[-self.latest :]
        return {number: found[number] for number in wanted}


class _Version:
    """A version in one of the states that TF Serving knows."""

    def __init__(self, path: Path):
        self.path = path
        self.state = State.LOADING
        self.error = ""
        self.contents = _contents(path)
        self.servable: Servable | None = None
        self.num_running = 0


class Model:
    """The versions of a model; safe for threads.

    Args:
      config: which.
      changed: called when a version came or went.
    """

    def __init__(self, config: ModelConfig, changed: Callable[[], None] = lambda: None):
        self.config = config
        self._changed = changed
        self._versions: dict[int, _Version] = {}
        self._condition = threading.Condition()

    @property
    def available(self) -> list[int]:
        """Numbers of the versions that answer, oldest first."""
        with self._condition:
            return self._available()

    def _available(self) -> list[int]:
        return sorted(n for n, v in self._versions.items() if v.state == State.AVAILABLE)

    def statuses(self) -> list[tuple[int, int, str]]:
        """Number, state and error of each version, newest first."""
        with self._condition:
            return [(n, v.state, v.error) for n, v in sorted(self._versions.items(), reverse=True)]

    @contextlib.contextmanager
    def serving(self, number: int | None = None) -> Iterator[tuple[int, Servable]]:
        """A version to run requests on, that stays open meanwhile.

        Args:
          number: of the version; None: the newest.

        Raises:
          RequestError: it does not answer.
        """
        with self._condition:
            available = self._available()
            if not available or (number is not None and number not in available):
                raise not_found(self.config.name, number)
            number = available[-1] if number is None else number
            version = self._versions[number]
            version.num_running += 1
        assert version.servable is not None
        try:
            yield number, version.servable
        finally:
            with self._condition:
                version.num_running -= 1
                self._condition.notify_all()

    def update(self) -> None:
        """Loads what is new in the folder, then lets go of what is no longer wanted."""
        aspired = self.config.aspired()
        for number, path in sorted(aspired.items()):
            if self._wants_loading(number, path):
                self._load(number, path)
        with self._condition:
            good = [n for n in aspired if self._state(n) == State.AVAILABLE]
            # Nothing is let go of before something takes its place.
            old = [n for n in self._available() if n not in aspired] if good else []
        for number in old:
            self._unload(number)

    def close(self) -> None:
        """Lets go of everything."""
        for number in self.available:
            self._unload(number)

    def _state(self, number: int) -> int | None:
        version = self._versions.get(number)
        return None if version is None else version.state

    def _wants_loading(self, number: int, path: Path) -> bool:
        """New, or failed and changed since."""
        with self._condition:
            version = self._versions.get(number)
            if version is None:
                return True
            return version.state == State.END and version.contents != _contents(path)

    def _load(self, number: int, path: Path) -> None:
        version = _Version(path)
        with self._condition:
            self._versions[number] = version
        begin = time.monotonic()
        fields = {"model": self.config.name, "version": number}
        try:
            servable = Servable(path)
            try:
                servable.warm_up()
            except BaseException:
                servable.close()
                raise
        except Exception as error:  # whatever is wrong with it, the others go on
            with self._condition:
                version.state, version.error = State.END, str(error)
            _log.error("version cannot be loaded", extra={**fields, "error": str(error)})
        else:
            with self._condition:
                version.servable, version.state = servable, State.AVAILABLE
            seconds = round(time.monotonic() - begin, 3)
            _log.info("version loaded", extra={**fields, "seconds": seconds})
        self._changed()

    def _unload(self, number: int) -> None:
        with self._condition:
            version = self._versions[number]
            version.state = State.UNLOADING
            self._condition.wait_for(lambda: version.num_running == 0)
            version.state = State.END
        assert version.servable is not None
        version.servable.close()
        version.servable = None
        _log.info("version unloaded", extra={"model": self.config.name, "version": number})
        self._changed()


class Models:
    """All models, kept up to date by a thread.

    Args:
      configs: of the models.
      poll_seconds: between looks at their folders.
    """

    def __init__(self, configs: list[ModelConfig], poll_seconds: float):
        self._poll_seconds = poll_seconds
        self._models = {config.name: Model(config, self._notify) for config in configs}
        self._lock = threading.Lock()
        self._updating = threading.Lock()
        self._stop = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._poll, name="models", daemon=True)

    def start(self) -> None:
        """Loads what is there, then watches."""
        self.update()
        self._thread.start()

    def stop(self) -> None:
        """Stops watching and lets go of everything."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for model in self.all():
            model.close()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever a version came or went."""
        self._listeners.append(listener)

    def all(self) -> list[Model]:
        """The models."""
        with self._lock:
            return list(self._models.values())

    def ready(self) -> bool:
        """Whether each model has a version that answers."""
        models = self.all()
        return bool(models) and all(model.available for model in models)

    @contextlib.contextmanager
    def serving(self, spec: Any) -> Iterator[tuple[int, Servable]]:
        """The version that a ModelSpec names; see `Model.serving`."""
        model, number = self.find(spec)
        with model.serving(number) as found:
            yield found

    def find(self, spec: Any) -> tuple[Model, int | None]:
        """The model and the version that a ModelSpec names; None: the newest.

        Raises:
          RequestError: there is no such model or label.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        with self._lock:
            model = self._models.get(spec.name)
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        if model is None:
            raise not_found(spec.name, number)
        if choice == "version_label":
            if spec.version_label not in model.config.labels:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            number = model.config.labels[spec.version_label]
        return model, number

    def reconfigure(self, configs: list[ModelConfig]) -> None:
        """Serves other models from now on; those that stay are not interrupted."""
        with self._updating:
            wanted = {config.name: config for config in configs}
            with self._lock:
                gone = [m for name, m in self._models.items() if name not in wanted]
                kept = {name: m for name, m in self._models.items() if name in wanted}
                moved = [
                    m for name, m in kept.items() if m.config.base_path != wanted[name].base_path
                ]
                for model in moved:
                    del kept[model.config.name]
                for name, config in wanted.items():
                    if name in kept:
                        kept[name].config = config
                    else:
                        kept[name] = Model(config, self._notify)
                self._models = kept
            for model in self.all():
                model.update()
            for model in gone + moved:
                model.close()
        self._notify()

    def update(self) -> None:
        """Looks at the folders once."""
        with self._updating:
            for model in self.all():
                model.update()

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            try:
                self.update()
            except Exception:  # the next look may go better, and this one must not end them all
                _log.exception("looking for versions failed")

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


def not_found(name: str, number: int | None) -> RequestError:
    """As TF Serving says it."""
    what = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return RequestError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {what}")


def _contents(path: Path) -> list[tuple[str, int, int]]:
    """Tells whether a version has changed: names, sizes and times of its files."""
    try:
        files = [(file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file()]
    except OSError:
        return []
    return [(str(file), status.st_size, status.st_mtime_ns) for file, status in files]
