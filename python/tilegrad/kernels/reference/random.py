"""Counter-based random numbers: Philox4x32-10.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Block b of a
stream is philox(counter = offset + b, key), four 32-bit words, so any element can be drawn alone.
"""

import math

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import (
    BFLOAT16,
    laid_out_as,
    quiet,
    require_float,
    rounded,
    widen,
)

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF


def philox(counter, key):
    """Words (blocks, 4) uint32 of counter (blocks, 4) uint32 under key, a pair of 32-bit ints."""
    c0, c1, c2, c3 = counter.astype(np.uint64).T
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ np.uint64(k0),
            second & _MASK32,
            (first >> 32) ^ c3 ^ np.uint64(k1),
            first & _MASK32,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK32, (k1 + _KEY_STEPS[1]) & _MASK32
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(count, key, offset):
    """The first count 32-bit words of the stream of a 64-bit key from a 64-bit block offset."""
    blocks = np.arange(-(-count // 4), dtype=np.uint64) + np.uint64(offset & _MASK64)
    counter = np.zeros((blocks.size, 4), np.uint32)
    counter[:, 0], counter[:, 1] = blocks & _MASK32, blocks >> 32
    return philox(counter, (key & _MASK32, key >> 32 & _MASK32)).reshape(-1)[:count]


def _words64(count, key, offset):
    """The stream as 64-bit words, the low half first."""
    pairs = words(2 * count, key, offset).reshape(-1, 2).astype(np.uint64)
    return pairs[:, 1] << 32 | pairs[:, 0]


def _uniforms(count, dtype, key, offset):
    """count uniforms in [0, 1), of as many bits as the dtype's fraction holds exactly."""
    if dtype == np.float64:
        return (_words64(count, key, offset) >> 11) * 2.0**-53
    bits = 8 if dtype == BFLOAT16 else 11 if dtype == np.float16 else 24
    return rounded((words(count, key, offset) >> (32 - bits)) * 2.0**-bits, dtype)


def random_uniform(shape, dtype, key, offset):
    """Uniform in [0, 1): one word of 32 bits per element, two for float64."""
    dtype = np.dtype(dtype)
    require_float("random_uniform", dtype)
    return _uniforms(math.prod(shape), dtype, key, offset).reshape(shape)


@quiet
def random_normal(shape, dtype, key, offset):
    """Box-Muller: r = sqrt(-2 log(1 - u0)); elements 2i, 2i + 1 are r cos, r sin of 2 pi u1.

    u0, u1 are uniforms 2i, 2i + 1 of the dtype, float32 ones for the half types.
    """
    dtype = np.dtype(dtype)
    require_float("random_normal", dtype)
    count = math.prod(shape)
    source = dtype if dtype == np.float64 else np.dtype(np.float32)
    u = _uniforms(count + count % 2, source, key, offset).astype(np.float64).reshape(-1, 2)
    r, angle = np.sqrt(-2 * np.log(1 - u[:, 0])), 2 * np.pi * u[:, 1]
    z = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1)
    return rounded(rounded(z.reshape(-1)[:count], source), dtype).reshape(shape)


def _high_product(a, b):
    """The high 64 bits of a * b, by 32-bit halves (a an array, b an int)."""
    b0, b1 = np.uint64(b & _MASK32), np.uint64(b >> 32)
    a0, a1 = a & _MASK32, a >> 32
    middle = a1 * b0 + (a0 * b0 >> 32)
    return a1 * b1 + (middle >> 32) + (a0 * b1 + (middle & _MASK32) >> 32)


def random_int(shape, low, high, key, offset):
    """int64 in [low, high): low + floor(u (high - low) / 2**64), u 64 bits of the stream."""
    if high <= low:
        raise errors.ValueError(f"random_int: expected low < high, got [{low}, {high})")
    steps = _high_product(_words64(math.prod(shape), key, offset), high - low)
    return (steps + np.uint64(low & _MASK64)).view(np.int64).reshape(shape)


@quiet
def dropout(x, p, key, offset):
    """x / (1 - p) where the float32 uniform of the element's row-major index is >= p, else 0."""
    require_float("dropout", x.dtype)
    if not 0 <= p <= 1:
        raise errors.ValueError(f"dropout: expected p in [0, 1], got {p}")
    u = random_uniform(x.shape, np.float32, key, offset).astype(np.float64)
    scale = 1 / (1 - p) if p < 1 else 0
    return laid_out_as(x, np.where(u >= p, widen(x) * scale, 0))
