# mypy: allow-untyped-defs, no-check-untyped-defs
"""expand_message_xmd with SHA-512 (RFC 9380, 5.3.1; FIPS 180-4), eight messages of one length at a time, to 64 bytes.

The output is one digest, so two hashes make it: b0 = H(128 zero bytes, message, 00 40, 00, DST') and b1 = H(b0, 01,
DST'). All but the message and b0 is the same for every row and laid out once, padding included.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numba.core import types

from engine.kernels.field import get, put
from engine.kernels.jit import helper, inlined, kernel, reads, scratch, writes
from engine.kernels.simd import field  # noqa: F401  what get and put are made of
from engine.kernels.simd.vector import broadcast

U = np.uint64
LANES, BLOCK = 8, 128
_0, _8 = U(0), U(8)
_AFTER_MESSAGE, _AFTER_B0 = np.array([0, 64, 0], dtype=np.uint8), np.array([1], dtype=np.uint8)


def _primes(count: int) -> list[int]:
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return primes


def _cube_root(n: int) -> int:
    low, high = 0, 1 << n.bit_length() // 3 + 1
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= n else (low, middle)
    return low


# The first 64 bits after the point of the square roots of 8 primes, of the cube roots of 80 (FIPS 180-4, 4.2.3, 5.3.5).
INITIAL = np.array([isqrt(p << 128) % 2**64 for p in _primes(8)], dtype=np.uint64)
ROUND = np.array([_cube_root(p << 192) % 2**64 for p in _primes(80)], dtype=np.uint64)


@inlined
def rotated(x, count):
    return x >> U(count) | x << U(64 - count)


@inlined
def one_round(a, b, c, d, e, f, g, h, word):
    """Return the new values of d and h."""
    first = h + word + (rotated(e, 14) ^ rotated(e, 18) ^ rotated(e, 41)) + (g ^ (e & (f ^ g)))
    second = (rotated(a, 28) ^ rotated(a, 34) ^ rotated(a, 39)) + (a & b | c & (a | b))
    return d + first, first + second


@helper
def compress(state, words, like):
    """Hash the block in the first 16 of 80 words into the state of 8 words."""
    for i in range(16, 80):
        x, y = get(words, i - 15, like), get(words, i - 2, like)
        x = rotated(x, 1) ^ rotated(x, 8) ^ x >> U(7)
        y = rotated(y, 19) ^ rotated(y, 61) ^ y >> U(6)
        put(words, i, get(words, i - 16, like) + x + get(words, i - 7, like) + y)
    a, b, c, d = get(state, 0, like), get(state, 1, like), get(state, 2, like), get(state, 3, like)
    e, f, g, h = get(state, 4, like), get(state, 5, like), get(state, 6, like), get(state, 7, like)
    for i in range(0, 80, 8):
        d, h = one_round(a, b, c, d, e, f, g, h, get(words, i, like) + ROUND[i])
        c, g = one_round(h, a, b, c, d, e, f, g, get(words, i + 1, like) + ROUND[i + 1])
        b, f = one_round(g, h, a, b, c, d, e, f, get(words, i + 2, like) + ROUND[i + 2])
        a, e = one_round(f, g, h, a, b, c, d, e, get(words, i + 3, like) + ROUND[i + 3])
        h, d = one_round(e, f, g, h, a, b, c, d, get(words, i + 4, like) + ROUND[i + 4])
        g, c = one_round(d, e, f, g, h, a, b, c, get(words, i + 5, like) + ROUND[i + 5])
        f, b = one_round(c, d, e, f, g, h, a, b, get(words, i + 6, like) + ROUND[i + 6])
        e, a = one_round(b, c, d, e, f, g, h, a, get(words, i + 7, like) + ROUND[i + 7])
    for i, value in enumerate((a, b, c, d, e, f, g, h)):
        put(state, i, get(state, i, like) + value)


@helper
def laid_out(skipped, between, prime, before):
    """Return the padded words of a hash input: `skipped` zero bytes, `between`, `prime`; `before` bytes precede."""
    length = skipped + between.size + prime.size
    text = np.zeros((length + 17 + BLOCK - 1) // BLOCK * BLOCK, np.uint8)
    text[skipped : skipped + between.size] = between
    text[skipped + between.size : length] = prime
    text[length] = 128
    bits = (length + before) * 8
    for i in range(8):
        text[text.size - 1 - i] = bits >> 8 * i & 255
    words = np.zeros(text.size // 8, np.uint64)
    for i in range(text.size):
        words[i >> 3] = words[i >> 3] << _8 | U(text[i])
    return words


@helper
def message_word(messages, row, column):
    """Return 8 bytes of a message, the first on top; zeros after its end."""
    word = _0
    for i in range(8 * column, 8 * column + 8):
        word = word << _8 | (U(messages[row, i]) if i < messages.shape[1] else _0)
    return word


@helper
def start(state, like):
    for i in range(8):
        put(state, i, like ^ INITIAL[i])


@kernel(reads(types.uint8, 2), reads(types.uint8, 1), writes(types.uint8, 2))
def expand(messages, prime, out):
    like = broadcast(_0)
    state, zero_state, words, staging = scratch(8 * LANES), scratch(8 * LANES), scratch(80 * LANES), scratch(LANES)
    first = laid_out(messages.shape[1], _AFTER_MESSAGE, prime, BLOCK)
    second = laid_out(64, _AFTER_B0, prime, 0)
    start(zero_state, like)
    words[:] = _0
    compress(zero_state, words, like)
    for row in range(0, messages.shape[0], LANES):
        state[:] = zero_state
        for block in range(0, first.size, 16):
            for i in range(16):
                for lane in range(LANES):
                    mine = message_word(messages, min(row + lane, messages.shape[0] - 1), block + i)
                    staging[lane] = mine | first[block + i]
                put(words, i, get(staging, 0, like))
            compress(state, words, like)
        words[: 8 * LANES] = state
        start(state, like)
        for block in range(0, second.size, 16):
            for i in range(8 if block == 0 else 0, 16):
                put(words, i, like ^ second[block + i])
            compress(state, words, like)
        for lane in range(min(LANES, messages.shape[0] - row)):
            for i in range(64):
                out[row + lane, i] = state[LANES * (i >> 3) + lane] >> U(56 - 8 * (i & 7)) & U(255)
