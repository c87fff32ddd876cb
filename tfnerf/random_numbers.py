"""Random numbers as pure functions of a seed and a step.

Everything starts from integers, because TensorFlow draws different floats with and without XLA
from one seed, but the same integers.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

import tensorflow as tf

_FEISTEL_ROUNDS = 6
_PHILOX, _BLOCK = 1, 4
"""TensorFlow's number of the algorithm (Salmon et al. 2011), and the numbers of its blocks."""
_VECTOR = 64
"""More floats than vector instructions take at a time, and a multiple of them."""
_MAX_STREAMS = 1024
"""Streams per seed. Fixed, so that a new stream changes the numbers of no other."""


class Stream(enum.IntEnum):
    """What the numbers are for; each has a sequence of its own, and its number never changes."""

    JITTER = 0
    RESAMPLING = 1
    COARSE_NOISE = 2
    FINE_NOISE = 3
    VIEW = 4
    GRID = 5


def random_bits(
    count: int, seed: int, step: tf.Tensor, stream: Stream, first: tf.Tensor | int = 0
) -> tf.Tensor:
    """Uniform uint32 [count]: those of a stream from the number `first` on, and no others."""
    seeds = tf.stack([tf.constant(seed * _MAX_STREAMS + stream, tf.int64), tf.cast(step, tf.int64)])
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seeds)
    # Philox makes blocks of four numbers, and the counter says of which block.
    first = tf.cast(first, tf.int64)
    block, offset = first // _BLOCK, first % _BLOCK
    counter += tf.stack([tf.cast(block, tf.uint64), tf.constant(0, tf.uint64)])
    numbers = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[count + _BLOCK - 1], key=key, counter=counter, alg=_PHILOX, dtype=tf.uint32
    )
    return numbers[offset : offset + count]


class BatchRows(NamedTuple):
    """Some rows of the random numbers of a batch, the same whoever asks for them."""

    seed: int
    """Of the run."""
    step: tf.Tensor
    """Scalar int."""
    batch_size: int
    """How many rows there are in all."""
    first: tf.Tensor
    """Scalar int, index of the first row wanted."""
    num_rows: int
    """N, how many rows are wanted."""

    def uniforms(self, width: int, stream: Stream) -> tf.Tensor:
        """Uniform float32 [N, width] in [0, 1), all multiples of 2^-24."""
        numbers = self._uniforms(self.num_rows * width, stream, self.first, width)
        return tf.reshape(numbers, [self.num_rows, width])

    def normals(self, width: int, stream: Stream) -> tf.Tensor:
        """Standard normal float32 [N, width] (Box and Muller 1958)."""
        count = self.num_rows * width
        # Vector instructions round the logarithm differently than what does the odd rest, so that
        # there must not be a rest, or numbers would depend on how devices share a batch.
        padded = -(-count // _VECTOR) * _VECTOR
        first = self._uniforms(padded, stream, self.first, width)
        second = self._uniforms(padded, stream, self.first + self.batch_size, width)
        numbers = tf.sqrt(-2 * tf.math.log(1 - first)) * tf.cos(2 * math.pi * second)
        return tf.reshape(numbers[:count], [self.num_rows, width])

    def _uniforms(self, count: int, stream: Stream, row: tf.Tensor, width: int) -> tf.Tensor:
        """So many numbers [count], from the first one of a row on."""
        first = tf.cast(row, tf.int64) * width
        bits = random_bits(count, self.seed, self.step, stream, first)
        return tf.cast(tf.bitwise.right_shift(bits, _uint32(8)), tf.float32) * 2.0**-24


def permute(indices: tf.Tensor, size: int, key: tf.Tensor) -> tf.Tensor:
    """Where a random permutation of range(size) puts the given indices.

    A Feistel network permutes the next larger power of four; whatever falls outside the range is
    permuted again until it falls inside. Nothing of the size of the range is stored.

    Args:
      indices: [N] int64, from 0 to size - 1.
      size: at most 2^32.
      key: [N] or scalar uint32, picks the permutation.

    Returns:
      [N] int64, from 0 to size - 1.
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = _uint32((1 << half_bits) - 1)
    round_keys = [_mix(key + _uint32(r * 0x9E3779B9)) for r in range(1, _FEISTEL_ROUNDS + 1)]

    def shuffle(value: tf.Tensor) -> tf.Tensor:
        left = tf.bitwise.right_shift(value, _uint32(half_bits))
        right = tf.bitwise.bitwise_and(value, mask)
        for round_key in round_keys:
            scrambled = tf.bitwise.bitwise_and(_mix(tf.bitwise.bitwise_xor(right, round_key)), mask)
            left, right = right, tf.bitwise.bitwise_xor(left, scrambled)
        return tf.bitwise.bitwise_or(tf.bitwise.left_shift(left, _uint32(half_bits)), right)

    def outside(value: tf.Tensor) -> tf.Tensor:
        return tf.cast(value, tf.int64) >= size

    value = tf.while_loop(
        lambda value: tf.reduce_any(outside(value)),
        lambda value: [tf.where(outside(value), shuffle(value), value)],
        [shuffle(tf.cast(indices, tf.uint32))],
    )[0]
    return tf.cast(value, tf.int64)


def permutation_key(seed: int, number: tf.Tensor) -> tf.Tensor:
    """A key for `permute`: another for each seed and each number. Returns uint32 like `number`."""
    return _mix(_mix(_uint32(seed & 0xFFFFFFFF)) + tf.cast(number, tf.uint32))


def _mix(value: tf.Tensor) -> tf.Tensor:
    """A bijection of uint32 that turns each input bit into changes all over (Wellons 2018)."""
    value = tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _uint32(16)))
    value = value * _uint32(0x7FEB352D)
    value = tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _uint32(15)))
    value = value * _uint32(0x846CA68B)
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _uint32(16)))


def _uint32(value: int) -> tf.Tensor:
    return tf.constant(value & 0xFFFFFFFF, tf.uint32)
