"""Random numbers as functions of seed and step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.random_numbers import (
    BatchRows,
    Stream,
    permutation_key,
    permute,
    random_bits,
)

STEP = tf.constant(9, tf.int64)


@pytest.mark.parametrize(
    ("seed", "stream", "bits"),
    [
        (0, Stream.JITTER, [2864952418, 3885268098, 2011279010]),
        (0, Stream.VIEW, [2110636414, 1046416350, 3872853429]),
        (1, Stream.JITTER, [4000978900, 1440258100, 1788165648]),
        (1, Stream.RESAMPLING, [225640092, 2439001052, 2945153769]),
        (1, Stream.COARSE_NOISE, [4068914946, 2785131149, 852960350]),
        (1, Stream.FINE_NOISE, [3579945065, 2988509296, 4100577671]),
        (2**32 - 1, Stream.VIEW, [859503195, 4206305882, 183613611]),
    ],
)
def test_drawn_numbers_stay_what_they_are(seed: int, stream: Stream, bits: list[int]) -> None:
    """A resumed run draws what the run that began it would have drawn."""
    np.testing.assert_array_equal(random_bits(3, seed, STEP, stream), np.uint32(bits))


def test_permutations_stay_what_they_are() -> None:
    permuted = permute(tf.range(5, dtype=tf.int64), 1000, permutation_key(7, STEP))
    np.testing.assert_array_equal(permuted, [157, 732, 449, 614, 592])


def test_numbers_of_a_stream_are_fixed() -> None:
    """A new stream takes the next number; these never change."""
    numbers = {"JITTER": 0, "RESAMPLING": 1, "COARSE_NOISE": 2, "FINE_NOISE": 3, "VIEW": 4}
    assert {stream.name: int(stream) for stream in Stream if stream.name in numbers} == numbers


@pytest.mark.parametrize("size", [1, 2, 3, 64, 1000, 4097])
def test_permute_is_a_permutation(size: int) -> None:
    key = permutation_key(3, tf.constant(7, tf.int64))
    permuted = permute(tf.range(size, dtype=tf.int64), size, key).numpy()
    assert sorted(permuted) == list(range(size))


def test_permute_differs_by_key_and_leaves_no_pattern() -> None:
    size = 10_000
    indices = tf.range(size, dtype=tf.int64)
    one, other = (
        permute(indices, size, permutation_key(0, tf.constant(number, tf.int64))).numpy()
        for number in (0, 1)
    )
    assert np.mean(one == other) < 0.01
    for permuted in (one, other):
        assert abs(np.corrcoef(np.arange(size), permuted)[0, 1]) < 0.05
        assert abs(np.corrcoef(permuted[:-1], permuted[1:])[0, 1]) < 0.05


def test_permute_takes_the_largest_range() -> None:
    size = 2**32
    indices = tf.constant([0, 1, size - 1], tf.int64)
    permuted = permute(indices, size, permutation_key(0, tf.constant(0, tf.int64))).numpy()
    assert len(set(permuted)) == 3
    assert permuted.min() >= 0 and permuted.max() < size


def rows(num_rows: int, seed: int = 1, step: int = 5, first: int = 0, of: int = 0) -> BatchRows:
    return BatchRows(
        seed, tf.constant(step, tf.int64), of or num_rows, tf.constant(first), num_rows
    )


@pytest.mark.parametrize("kind", ["uniforms", "normals"])
def test_numbers_depend_on_seed_step_and_stream(kind: str) -> None:
    def numbers(seed: int, step: int, stream: Stream) -> bytes:
        return getattr(rows(100, seed, step), kind)(1, stream).numpy().tobytes()

    drawn = {
        numbers(seed, step, stream)
        for seed in (0, 1)
        for step in (0, 1)
        for stream in (Stream.JITTER, Stream.RESAMPLING)
    }
    assert len(drawn) == 8
    assert numbers(0, 0, Stream.JITTER) == numbers(0, 0, Stream.JITTER)


@pytest.mark.parametrize("kind", ["uniforms", "normals"])
@pytest.mark.parametrize("width", [1, 3, 64])
def test_some_rows_are_those_of_the_whole(kind: str, width: int) -> None:
    """However devices share a batch, each draws its own rows of the same numbers."""
    whole = getattr(rows(30), kind)(width, Stream.JITTER).numpy()
    assert whole.shape == (30, width)
    for first, count in ((0, 7), (7, 13), (20, 10), (29, 1)):
        part = getattr(rows(count, first=first, of=30), kind)(width, Stream.JITTER)
        np.testing.assert_array_equal(part, whole[first : first + count])


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_bits_are_those_of_tensorflow(seed: int) -> None:
    key = tf.constant([seed * 1024 + Stream.JITTER, 9], tf.int64)
    whole = tf.random.stateless_uniform([50], key, None, None, tf.uint32, alg="philox").numpy()
    for first, count in ((0, 50), (1, 5), (4, 8), (17, 33)):
        np.testing.assert_array_equal(
            random_bits(count, seed, STEP, Stream.JITTER, first), whole[first : first + count]
        )


def test_uniforms_are_uniform_and_normals_normal() -> None:
    u = np.sort(rows(20_000).uniforms(1, Stream.JITTER).numpy().ravel())
    assert u.min() >= 0 and u.max() < 1
    # Kolmogorov-Smirnov distance, 1.63 / sqrt(n) at one per cent.
    assert np.abs(u - (np.arange(u.size) + 0.5) / u.size).max() < 1.63 / np.sqrt(u.size)
    z = rows(20_000).normals(1, Stream.FINE_NOISE).numpy()
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03
    assert np.isfinite(z).all()


def test_uniforms_are_the_same_with_xla() -> None:
    def draw(step: tf.Tensor) -> tf.Tensor:
        part = BatchRows(2, step, 64, tf.constant(11), 32)
        return part.uniforms(8, Stream.RESAMPLING)

    plain, compiled = tf.function(draw)(STEP), tf.function(draw, jit_compile=True)(STEP)
    np.testing.assert_array_equal(plain, compiled)
