"""COLMAP's steps from images to poses: features, matches, structure from motion."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycolmap

from tfnerf.errors import UserError, first_line
from tfnerf.files import make_folder
from tfnerf.poses.photographs import Gathered
from tfnerf.poses.workplace import Workplace
from tfnerf.progress import progress_bar

_IMAGE_SIZE = 1000
"""Longest side, in pixels, of what features are looked for in."""
_NUM_FEATURES = 4096
"""Of an image, at most."""
_EXHAUSTIVE = 120
"""Up to so many images are compared all with all; of more each with those that look alike."""
_ALIKE = 40
"""Images that each is compared with then."""
_OVERLAP = 10
"""Frames after a frame of a video that it is compared with, and the same doubled step by step."""
_WORDS_FROM = 200_000
"""Descriptors that the vocabulary, by which images are found alike, is made of."""
_NUM_WORDS = 2048
_POLL_SECONDS = 0.2
_SEED = 0


class Found(NamedTuple):
    """A reconstruction."""

    folder: Path
    """With COLMAP's files of it."""
    names: list[str]
    """Of the images in it."""
    error: float
    """Mean reprojection error, pixels."""


def reconstruct(workplace: Workplace, gathered: Gathered) -> list[Found]:
    """Finds out where images were taken from.

    What is in the database of an earlier call is not done again.

    Returns:
      Reconstructions, that of most images first; they know nothing of each other.

    Raises:
      UserError: the images have too little in common.
    """
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    pycolmap.set_random_seed(_SEED)
    _find_features(workplace, gathered)
    _match(workplace, gathered)
    found = _map(workplace, gathered)
    if not found:
        raise UserError(
            f"--images={workplace.request.images}: found no two images that fit together; they "
            "need more overlap, more texture or less blur"
        )
    return sorted(found, key=lambda one: -len(one.names))


def _find_features(workplace: Workplace, gathered: Gathered) -> None:
    reader = pycolmap.ImageReaderOptions(camera_model=workplace.request.lens)
    if gathered.has_masks:
        reader.mask_path = workplace.masks
    known = _camera_of(workplace.database)
    if known is not None:  # of a call that was stopped; COLMAP would give the rest another one
        reader.existing_camera_id = known
    options = pycolmap.FeatureExtractionOptions(max_image_size=_IMAGE_SIZE, use_gpu=False)
    options.sift.max_num_features = _NUM_FEATURES
    with _progress(workplace.database, "features", "descriptors", len(gathered.names), "image"):
        _in_background(
            lambda token: pycolmap.extract_features(
                workplace.database,
                workplace.images,
                image_names=gathered.names,
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=options,
                cancellation_token=token,
            )
        )


def _camera_of(database: Path) -> int | None:
    """The number of the camera that images of an earlier call have, if there was one."""
    if not database.exists():
        return None
    with pycolmap.Database.open(database) as opened:
        cameras = opened.read_all_cameras()
    return cameras[0].camera_id if cameras else None


def _match(workplace: Workplace, gathered: Gathered) -> None:
    count = len(gathered.names)
    options = pycolmap.FeatureMatchingOptions(use_gpu=False)
    pairing: Any
    match: Any
    if gathered.in_order:
        pairing = pycolmap.SequentialPairingOptions(overlap=_OVERLAP, loop_detection=True)
        num_pairs = count * 2 * _OVERLAP
        match = pycolmap.match_sequential
    elif count <= _EXHAUSTIVE:
        pairing = pycolmap.ExhaustivePairingOptions()
        num_pairs = count * (count - 1) // 2
        match = pycolmap.match_exhaustive
    else:
        pairing = pycolmap.VocabTreePairingOptions(num_images=_ALIKE)
        num_pairs = count * _ALIKE
        match = pycolmap.match_vocabtree
    if hasattr(pairing, "vocab_tree_path"):
        pairing.vocab_tree_path = _vocabulary(workplace)
    with _progress(workplace.database, "matches", "two_view_geometries", num_pairs, "pair"):
        _in_background(
            lambda token: match(
                workplace.database,
                matching_options=options,
                pairing_options=pairing,
                cancellation_token=token,
            )
        )


def _vocabulary(workplace: Workplace) -> Path:
    """A file of visual words made of the features of these very images, so none is fetched."""
    path = workplace.database.with_name("vocabulary.bin")
    if path.exists():
        return path
    with pycolmap.Database.open(workplace.database) as database:
        images = database.read_all_images()
        descriptors = [database.read_descriptors(image.image_id) for image in images]
    data = np.concatenate([some.data for some in descriptors])
    chosen = np.random.default_rng(_SEED).permutation(len(data))[:_WORDS_FROM]
    words = pycolmap.FeatureDescriptorsFloat()
    words.type, words.data = descriptors[0].type, data[np.sort(chosen)].astype(np.float32)
    index = pycolmap.VisualIndex.create(data.shape[1], 64)
    options = pycolmap.VisualIndex.BuildOptions()
    options.num_visual_words = min(_NUM_WORDS, len(chosen) // 8)
    _in_background(lambda _: index.build(options, words))
    aside = path.with_suffix(".unfinished")
    index.write(aside)
    aside.replace(path)
    return path


def _map(workplace: Workplace, gathered: Gathered) -> list[Found]:
    shutil.rmtree(workplace.sparse, ignore_errors=True)
    make_folder(workplace.sparse)
    options = pycolmap.IncrementalPipelineOptions(random_seed=_SEED)
    with progress_bar("poses", len(gathered.names), "image") as progress:
        found: dict[int, pycolmap.Reconstruction] = _in_background(
            lambda token: pycolmap.incremental_mapping(
                workplace.database,
                workplace.images,
                workplace.sparse,
                options,
                initial_image_pair_callback=functools.partial(_count, progress, 2),
                next_image_callback=functools.partial(_count, progress, 1),
                cancellation_token=token,
            )
        )
    return [
        Found(
            workplace.sparse / str(number),
            [one.images[image].name for image in one.reg_image_ids()],
            one.compute_mean_reprojection_error(),
        )
        for number, one in found.items()
    ]


def _count(progress: Callable[[int], object], count: int) -> None:
    progress(count)


def _in_background(work: Callable[[pycolmap.CancellationToken], Any]) -> Any:
    """Does COLMAP's work in a thread, so that Ctrl-C ends it in order."""
    token = pycolmap.CancellationToken()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work(token))
        except Exception as error:  # raised where it is waited for
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        token.cancel()
        thread.join()
        raise
    if isinstance(outcome[0], Exception):
        raise UserError(f"COLMAP: {first_line(outcome[0])}") from outcome[0]
    return outcome[0]


@contextlib.contextmanager
def _progress(
    database: Path, description: str, table: str, total: int, unit: str
) -> Iterator[None]:
    """A bar that counts the rows of a table of the database."""
    done = threading.Event()
    with progress_bar(description, total, unit) as progress:

        def watch() -> None:
            before = 0
            while not done.wait(_POLL_SECONDS):
                now = min(_num_rows(database, table), total)
                progress(max(0, now - before))
                before = max(before, now)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _num_rows(database: Path, table: str) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
            return int(reader.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    except sqlite3.Error:  # not there yet, or locked for the moment
        return 0
