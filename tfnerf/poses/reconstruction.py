"""COLMAP's steps from images to poses: features, matches, structure from motion."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycolmap

from tfnerf.errors import UserError, first_line
from tfnerf.files import make_folder
from tfnerf.poses.photographs import Gathered, one_word
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
_WORD_ITERATIONS = 10
"""Of looking for them. COLMAP's own 300 take minutes, and images are found alike as well."""
_REFINEMENT_STEPS = 10
"""Of the last adjustment. A hundred come out the same."""
_FINEST_ERROR = 0.01
"""Pixels, the least that is taken for usual: exact points would leave no loss at all."""
_IMAGES_AT_A_TIME, _PAIRS_AT_A_TIME = 4, 50
_SEED = 0
_STDERR = 2


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
    best, *others = sorted(found, key=lambda one: -len(one.names))
    return [_refined(best), *others]


def _find_features(workplace: Workplace, gathered: Gathered) -> None:
    reader = pycolmap.ImageReaderOptions(camera_model=workplace.request.lens)
    if gathered.has_masks:
        reader.mask_path = workplace.masks
    options = pycolmap.FeatureExtractionOptions(max_image_size=_IMAGE_SIZE, use_gpu=False)
    options.sift.max_num_features = _NUM_FEATURES

    def extract(names: list[str], token: pycolmap.CancellationToken) -> None:
        pycolmap.extract_features(
            workplace.database,
            workplace.images,
            image_names=names,
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=options,
            cancellation_token=token,
        )

    for names in _parts("features", gathered.names, _IMAGES_AT_A_TIME, "image"):
        known = _camera_of(workplace.database)
        if known is not None:  # COLMAP would give these images another one
            reader.existing_camera_id = known
        _in_background(functools.partial(extract, names))


def _camera_of(database: Path) -> int | None:
    """The number of the camera that images of an earlier call have, if there was one."""
    if not database.exists():
        return None
    with pycolmap.Database.open(database) as opened:
        cameras = opened.read_all_cameras()
    return cameras[0].camera_id if cameras else None


def _match(workplace: Workplace, gathered: Gathered) -> None:
    options = pycolmap.FeatureMatchingOptions(use_gpu=False)
    chosen = workplace.database.with_name("pairs.txt")
    pairing = pycolmap.ImportedPairingOptions(match_list_path=chosen)
    all_pairs = _in_background(lambda _: _pairs(workplace, gathered))
    for pairs in _parts("matches", all_pairs, _PAIRS_AT_A_TIME, "pair"):
        chosen.write_text("".join(f"{one} {other}\n" for one, other in pairs), encoding="utf-8")
        _in_background(
            lambda token: pycolmap.match_image_pairs(
                workplace.database,
                matching_options=options,
                pairing_options=pairing,
                cancellation_token=token,
            )
        )
    chosen.unlink(missing_ok=True)


def _pairs(workplace: Workplace, gathered: Gathered) -> list[tuple[str, str]]:
    """Names of the images that are compared."""
    for name in gathered.names:
        if name != one_word(name):  # taken by a version that kept such names
            raise UserError(
                f"{workplace.images / name}: COLMAP cannot compare names with spaces or "
                "#; give another --output"
            )
    count = len(gathered.names)
    options: Any
    generate: Any
    if gathered.in_order:
        options = pycolmap.SequentialPairingOptions(overlap=_OVERLAP, loop_detection=True)
        generate = pycolmap.SequentialPairGenerator
    elif count <= _EXHAUSTIVE:
        options = pycolmap.ExhaustivePairingOptions()
        generate = pycolmap.ExhaustivePairGenerator
    else:
        options = pycolmap.VocabTreePairingOptions(num_images=_ALIKE)
        generate = pycolmap.VocabTreePairGenerator
    if hasattr(options, "vocab_tree_path"):
        options.vocab_tree_path = _vocabulary(workplace)
    with pycolmap.Database.open(workplace.database) as database:
        names = {image.image_id: image.name for image in database.read_all_images()}
        pairs = generate(options, database).all_pairs()
    different = dict.fromkeys((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1])
    return [(names[one], names[other]) for one, other in different]


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
    options.num_iterations, options.num_rounds = _WORD_ITERATIONS, 1
    with _silenced():  # faiss warns of how few words there are, which are enough
        _in_background(lambda _: index.build(options, words))
    aside = path.with_suffix(".unfinished")
    index.write(aside)
    aside.replace(path)
    return path


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps what a library prints away from the terminal; its errors are raised all the same."""
    shown = os.dup(_STDERR)
    hidden = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(hidden, _STDERR)
        yield
    finally:
        os.dup2(shown, _STDERR)
        os.close(hidden)
        os.close(shown)


def _map(workplace: Workplace, gathered: Gathered) -> list[Found]:
    shutil.rmtree(workplace.sparse, ignore_errors=True)
    make_folder(workplace.sparse)
    options = pycolmap.IncrementalPipelineOptions(random_seed=_SEED)
    with progress_bar("poses", len(gathered.names), "image") as progress:
        count = _until_all(len(gathered.names), progress)
        found: dict[int, pycolmap.Reconstruction] = _in_background(
            lambda token: pycolmap.incremental_mapping(
                workplace.database,
                workplace.images,
                workplace.sparse,
                options,
                initial_image_pair_callback=functools.partial(count, 2),
                next_image_callback=functools.partial(count, 1),
                cancellation_token=token,
            )
        )
    return [_as_found(one, workplace.sparse / str(number)) for number, one in found.items()]


def _as_found(reconstruction: pycolmap.Reconstruction, folder: Path) -> Found:
    names = [reconstruction.images[image].name for image in reconstruction.reg_image_ids()]
    return Found(folder, names, reconstruction.compute_mean_reprojection_error())


def _refined(found: Found) -> Found:
    """Adjusts cameras and points once more, in the files too, so that bad matches count little.

    While it adds images COLMAP weighs each error by its square, and a few wrong matches move all
    cameras. Poses come out twice as exact with a loss that grows more slowly beyond the error that
    most points have.
    """
    reconstruction = pycolmap.Reconstruction(found.folder)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    usual_error = np.median([point.error for point in reconstruction.points3D.values()])
    options.ceres.loss_function_scale = max(_FINEST_ERROR, float(usual_error))
    options.ceres.solver_options.max_num_iterations = _REFINEMENT_STEPS
    all_images = pycolmap.BundleAdjustmentConfig()
    for image in reconstruction.reg_image_ids():
        all_images.add_image(image)
    all_images.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    adjuster = pycolmap.create_default_bundle_adjuster(options, all_images, reconstruction)
    if not _in_background(lambda _: adjuster.solve()).is_solution_usable():
        return found
    reconstruction.update_point_3d_errors()
    reconstruction.write(found.folder)
    return _as_found(reconstruction, found.folder)


def _until_all(total: int, progress: Callable[[int], object]) -> Callable[[int], None]:
    """Counts images that are placed; COLMAP may place some again, in another reconstruction."""
    left = total

    def count(placed: int) -> None:
        nonlocal left
        placed = min(placed, left)
        left -= placed
        progress(placed)

    return count


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


def _parts(description: str, items: list[Any], size: int, unit: str) -> Iterator[list[Any]]:
    """Some items at a time, with a bar that counts those that are done.

    COLMAP does not tell how far it is, and its database must not be read by another copy of SQLite
    in this process while it writes: one would take the other's locks away.
    """
    with progress_bar(description, len(items), unit) as progress:
        for start in range(0, len(items), size):
            part = items[start : start + size]
            yield part
            progress(len(part))
