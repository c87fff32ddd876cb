"""The models of a server: which versions there are, loading new ones, letting go of old ones.

A version is loaded and warmed up before the one that serves is let go, and one that fails never
displaces it. A version that requests are running on is closed when the last of them is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving.errors import RequestError, invalid
from serving.server.servable import Servable
from serving.version_folders import list_versions

_log = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus.State
_RETRY_SECONDS = 60.0
"""Until a version that failed is tried again although its files are the same."""


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

    def candidates(self) -> list[tuple[int, Path]]:
        """The versions in the folder that may be served, newest first."""
        try:
            found = [(int(path.name), path) for path in reversed(list_versions(self.base_path))]
        except OSError:
            return []
        return [each for each in found if not self.specific or each[0] in self.specific]

    @property
    def num_wanted(self) -> float:
        """How many of the candidates are to be served."""
        return math.inf if self.specific or not self.latest else self.latest


class _Version:
    """A version in one of the states that TF Serving knows."""

    def __init__(self, path: Path):
        self.path = path
        self.state = State.LOADING
        self.error = ""
        """Why it could not be loaded; empty: it could."""
        self.contents = _contents(path)
        self.tried = time.monotonic()
        self.servable: Servable | None = None
        self.num_running = 0

    def wants_loading(self, path: Path) -> bool:
        """It was released and is wanted again, or failed and may do better now."""
        if self.state != State.END:
            return False
        changed = self.contents != _contents(path)
        return not self.error or changed or time.monotonic() - self.tried > _RETRY_SECONDS


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
        self._said_empty = False

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
        """Loads the newest versions that do load, then releases what is no longer wanted."""
        candidates = self.config.candidates()
        if not candidates and not self._said_empty:
            fields = {"model": self.config.name, "base_path": str(self.config.base_path)}
            there = self.config.base_path.is_dir()
            _log.warning("found no versions" if there else "no such folder", extra=fields)
        self._said_empty = not candidates
        good: list[int] = []
        for number, path in candidates:
            if len(good) >= self.config.num_wanted:
                break
            with self._condition:
                version = self._versions.get(number)
            if version is None or version.wants_loading(path):
                version = self._load(number, path)
            if version.state == State.AVAILABLE:
                good.append(number)
        # Nothing is released before something takes its place.
        for number in self.available if good else []:
            if number not in good:
                self._unload(number)

    def close(self) -> None:
        """Lets go of everything, each version as soon as nothing runs on it."""
        for number in self.available:
            self._unload(number)

    def wait_until_closed(self, seconds: float) -> bool:
        """Waits until all that was released is freed; False if that takes longer."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._unloading(), seconds)

    def _unloading(self) -> bool:
        return any(version.state == State.UNLOADING for version in self._versions.values())

    def _load(self, number: int, path: Path) -> _Version:
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
                version.state = State.END
                version.error = f"{type(error).__name__}: {error}"
            _log.error("version cannot be loaded", extra={**fields, "error": version.error})
        else:
            with self._condition:
                version.servable, version.state = servable, State.AVAILABLE
            seconds = round(time.monotonic() - begin, 3)
            _log.info("version loaded", extra={**fields, "seconds": seconds})
        self._changed()
        return version

    def _unload(self, number: int) -> None:
        """Sends nobody to a version any more, and frees it when the last request is done."""
        with self._condition:
            version = self._versions[number]
            version.state = State.UNLOADING
        self._changed()
        free = threading.Thread(target=self._free, args=(number, version), daemon=True)
        free.start()

    def _free(self, number: int, version: _Version) -> None:
        with self._condition:
            self._condition.wait_for(lambda: version.num_running == 0)
        assert version.servable is not None
        version.servable.close()
        _log.info("version unloaded", extra={"model": self.config.name, "version": number})
        with self._condition:
            version.servable, version.state = None, State.END
            self._condition.notify_all()
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
        # Whoever may ask for other models must not reach the whole file system.
        self._roots = {config.base_path.resolve().parent for config in configs}
        self._lock = threading.Lock()
        self._updating = threading.Lock()
        self._stop = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._poll, name="models", daemon=True)

    def start(self) -> None:
        """Loads what is there, then watches."""
        self.update()
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Stops watching and lets go of everything; False if something still runs after that."""
        self._stop.set()
        if not self._updating.acquire(timeout=seconds):  # something is being loaded
            return False
        self._updating.release()
        if self._thread.is_alive():
            self._thread.join(seconds)
        for model in self.all():
            model.close()
        return all(model.wait_until_closed(seconds) for model in self.all())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever a version came or went."""
        self._listeners.append(listener)

    def all(self) -> list[Model]:
        """The models."""
        with self._lock:
            return list(self._models.values())

    def ready(self) -> bool:
        """Whether there is a model that answers."""
        return any(model.available for model in self.all())

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
        """Serves other models from now on; those that stay are not interrupted.

        Raises:
          ValueError: a model that serves is to move to a folder without a version that loads.
          PermissionError: a model lies beside none of those that the server began with.
          In both cases everything stays as it was.
        """
        with self._updating:
            before = {model.config.name: model for model in self.all()}
            after = self._loaded(configs, before)
            for config in configs:
                after[config.name].config = config
            with self._lock:
                self._models = after
            for model in after.values():
                model.update()
            _close_all(before, after)
        self._notify()

    def _loaded(self, configs: list[ModelConfig], before: dict[str, Model]) -> dict[str, Model]:
        """The models that there are already, and new ones, loaded, where a folder is another."""
        after: dict[str, Model] = {}
        for config in configs:
            self._check_place(config)
        for config in configs:
            old = before.get(config.name)
            if old is not None and old.config.base_path == config.base_path:
                after[config.name] = old
                continue
            after[config.name] = Model(config, self._notify)
            after[config.name].update()
            if old is not None and old.available and not after[config.name].available:
                _close_all(after, before)
                raise ValueError(
                    f"{config.name}: found no version that loads in {config.base_path}"
                )
        return after

    def _check_place(self, config: ModelConfig) -> None:
        """Raises PermissionError if a model lies where none did at the start."""
        place = config.base_path.resolve()
        if not any(place.is_relative_to(root) for root in self._roots):
            raise PermissionError(
                f"{config.name}: base_path {config.base_path} is outside of "
                f"{', '.join(map(str, sorted(self._roots)))}"
            )

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


def _close_all(models: Mapping[str, Model], but: Mapping[str, Model]) -> None:
    """Closes models, but not those that are also among others."""
    for model in models.values():
        if model not in but.values():
            model.close()


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
