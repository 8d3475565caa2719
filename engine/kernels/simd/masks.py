# mypy: allow-untyped-defs, no-check-untyped-defs
"""AES-256 in counter mode by VAES: four blocks a vector, eight vectors at a time, added where the words lie.

Round keys are made without a table. `aeskeygenassist` has no vector form and none is needed: the last round of AES,
under the key 0, substitutes bytes and shifts rows, and rows of a block whose four columns are equal stay as they are.
So time depends on sizes and on the counter only.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.kernels.jit import helper, inlined, kernel, reads, scratch, writes
from engine.kernels.simd.vector import VECTOR, broadcast, load, store, u64x8

U = np.uint64
_STEP = 128  # words of 32 bits in eight vectors
_BLOCKS = 32  # in eight vectors
_PIECE = 1 << 12  # words that all keys pass over before the next, a multiple of _STEP
_KEY = 15 * 8  # words of 64 bits of a key schedule, each round key four times
_OFFSETS = np.array([[0, 4 * i, 0, 4 * i + 1, 0, 4 * i + 2, 0, 4 * i + 3] for i in range(8)], dtype=np.uint64).ravel()
_EVEN, _ODD = np.resize(np.array([2**64 - 1, 0], np.uint64), 8), np.resize(np.array([0, 2**64 - 1], np.uint64), 8)
_ROUND_CONSTANTS = np.array([1 << i for i in range(7)], dtype=np.uint32)
_NARROW = ir.VectorType(ir.IntType(32), 16)


def _cipher(name):
    @intrinsic
    def apply(typing, state, key):
        def generate(context, builder, signature, arguments):
            kind = ir.FunctionType(VECTOR, [VECTOR] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.aesni.{name}.512")
            return builder.call(function, arguments)

        return u64x8(u64x8, u64x8), generate

    return apply


aes_round, aes_last = _cipher("aesenc"), _cipher("aesenclast")


@intrinsic
def narrow_add(typing, a, b):
    """Add modulo 2**32 in sixteen lanes."""

    def generate(context, builder, signature, arguments):
        a, b = (builder.bitcast(argument, _NARROW) for argument in arguments)
        return builder.bitcast(builder.add(a, b), VECTOR)

    return u64x8(u64x8, u64x8), generate


@intrinsic
def swapped(typing, a):
    """Reverse the bytes of each word: a counter is big-endian (SP 800-38A, B.1)."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(VECTOR, [VECTOR])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.bswap.v8i64"), arguments)

    return u64x8(u64x8), generate


@helper
def substituted(word, staging):
    """Return SubWord of FIPS 197, 5.2."""
    twice = U(word) << U(32) | U(word)
    store(staging, 0, aes_last(broadcast(twice), broadcast(U(0))))
    return np.uint32(staging[0] & U(2**32 - 1))


@helper
def expand(key, schedule, staging):
    """Lay out the 15 round keys of a key of 8 words (FIPS 197, 5.2), each in every block of a vector."""
    words = np.empty(60, np.uint32)
    words[:8] = key
    for i in range(8, 60):
        word = words[i - 1]
        if i % 8 == 0:  # RotWord, on little-endian words
            word = substituted(word >> np.uint32(8) | word << np.uint32(24), staging) ^ _ROUND_CONSTANTS[i // 8 - 1]
        elif i % 8 == 4:
            word = substituted(word, staging)
        words[i] = words[i - 8] ^ word
    for i in range(_KEY):
        at = 4 * (i // 8) + 2 * (i % 2)
        schedule[i] = U(words[at + 1]) << U(32) | U(words[at])


@helper
def counters(high, low, staging):
    """Lay out the counters of 32 blocks, modulo 2**128, each as its two words; a carry is rare and not worth a vector."""
    if low + U(_BLOCKS) < low:
        for i in range(_BLOCKS):
            word = low + U(i)
            staging[2 * i], staging[2 * i + 1] = high + U(word < low), word
    else:
        base = broadcast(high) & load(_EVEN, 0) | broadcast(low) & load(_ODD, 0)
        for i in range(0, 2 * _BLOCKS, 8):
            store(staging, i, base + load(_OFFSETS, i))


@inlined
def every(step, s, key):
    """Take one round of AES on eight vectors, whose latencies hide one another."""
    a, b, c, d, e, f, g, h = s
    first = step(a, key), step(b, key), step(c, key), step(d, key)
    return (*first, step(e, key), step(f, key), step(g, key), step(h, key))


@inlined
def first_round(a, key):
    return swapped(a) ^ key


@helper
def encrypt(staging, schedule, at):
    """Turn counters into the stream, under the schedule that starts at word `at`."""
    first = load(staging, 0), load(staging, 8), load(staging, 16), load(staging, 24)
    s = (*first, load(staging, 32), load(staging, 40), load(staging, 48), load(staging, 56))
    s = every(first_round, s, load(schedule, at))
    for i in range(at + 8, at + _KEY - 8, 8):
        s = every(aes_round, s, load(schedule, i))
    a, b, c, d, e, f, g, h = every(aes_last, s, load(schedule, at + _KEY - 8))
    store(staging, 0, a), store(staging, 8, b), store(staging, 16, c), store(staging, 24, d)
    store(staging, 32, e), store(staging, 40, f), store(staging, 48, g), store(staging, 56, h)


@helper
def combine(words, at, staging, minus, wide):
    """Add 512 bytes of stream to the words from `at` on, or subtract them: x - m = ~(~x + m)."""
    flip = broadcast(U(0) - U(minus))
    if wide:
        for i in range(0, 64, 8):
            store(words, at + 2 * i, (load(words, at + 2 * i) ^ flip) + load(staging, i) ^ flip)
    else:
        for i in range(0, 64, 8):
            store(words, at + 2 * i, narrow_add(load(words, at + 2 * i) ^ flip, load(staging, i)) ^ flip)


@helper
def pass_over(words, start, stop, schedules, negative, high, low, wide, staging):
    """Add the masks of all keys to whole steps of the words; (high, low) is the counter of block start/4."""
    for key in range(negative.size):
        for at in range(start, stop, _STEP):
            word = low + (U(at - start) >> U(2))
            counters(high + U(word < low), word, staging)
            encrypt(staging, schedules, key * _KEY)
            combine(words, at, staging, negative[key], wide)


@kernel(reads(types.uint32, 2), reads(types.boolean, 1), reads(types.uint64, 1), types.boolean, writes(types.uint32, 1))
def add(keys, negative, counter, wide, words):
    staging, schedules = scratch(64), scratch(keys.shape[0] * _KEY)
    for i in range(keys.shape[0]):
        expand(keys[i], schedules[i * _KEY : (i + 1) * _KEY], staging)
    high, whole = counter[0], words.size // _STEP * _STEP
    for start in range(0, whole, _PIECE):
        low = counter[1] + (U(start) >> U(2))
        stop = min(start + _PIECE, whole)
        pass_over(words, start, stop, schedules, negative, high + U(low < counter[1]), low, wide, staging)
    if whole < words.size:
        rest = np.empty(_STEP, np.uint32)
        rest[: words.size - whole] = words[whole:]
        low = counter[1] + (U(whole) >> U(2))
        pass_over(rest, 0, _STEP, schedules, negative, high + U(low < counter[1]), low, wide, staging)
        words[whole:] = rest[: words.size - whole]
