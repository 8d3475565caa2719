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
_PLACES = np.array([[0, i] for i in range(_BLOCKS)], dtype=np.uint64).byteswap().ravel()
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


def _narrow(instruction):
    @intrinsic
    def apply(typing, a, b):
        """Compute modulo 2**32 in sixteen lanes."""

        def generate(context, builder, signature, arguments):
            a, b = (builder.bitcast(argument, _NARROW) for argument in arguments)
            return builder.bitcast(getattr(builder, instruction)(a, b), VECTOR)

        return u64x8(u64x8, u64x8), generate

    return apply


narrow_add, narrow_subtract = _narrow("add"), _narrow("sub")


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


@inlined
def every(step, s, key):
    """Take one round of AES on eight vectors, whose latencies hide one another."""
    a, b, c, d, e, f, g, h = s
    first = step(a, key), step(b, key), step(c, key), step(d, key)
    return (*first, step(e, key), step(f, key), step(g, key), step(h, key))


@inlined
def eight(words, at, distance):
    """Return eight vectors of an array, each `distance` after the last."""
    first = load(words, at), load(words, at + distance), load(words, at + 2 * distance), load(words, at + 3 * distance)
    at += 4 * distance
    return (
        *first,
        load(words, at),
        load(words, at + distance),
        load(words, at + 2 * distance),
        load(words, at + 3 * distance),
    )


@inlined
def encrypted(high, low, schedule, at):
    """Return the stream of the 32 counters from high, low, a multiple of 32; the schedule starts at word `at`.

    So the counters differ in the last byte of a block only, and no sum is needed.
    """
    first = swapped(broadcast(high) & load(_EVEN, 0) | broadcast(low) & load(_ODD, 0)) ^ load(schedule, at)
    s = every(xor, eight(_PLACES, 0, 8), first)
    for i in range(at + 8, at + _KEY - 8, 8):
        s = every(aes_round, s, load(schedule, i))
    return every(aes_last, s, load(schedule, at + _KEY - 8))


@inlined
def xor(a, b):
    return a ^ b


@inlined
def combine(words, at, masks, operation):
    a, b, c, d, e, f, g, h = masks
    s, t, u, v, w, x, y, z = eight(words, at, 16)
    store(words, at, operation(s, a)), store(words, at + 16, operation(t, b))
    store(words, at + 32, operation(u, c)), store(words, at + 48, operation(v, d))
    store(words, at + 64, operation(w, e)), store(words, at + 80, operation(x, f))
    store(words, at + 96, operation(y, g)), store(words, at + 112, operation(z, h))


@inlined
def wide_add(a, b):
    return a + b


@inlined
def wide_subtract(a, b):
    return a - b


@inlined
def combine_all(words, at, masks, minus, wide):
    """Add a step of masks to the words from `at` on, or subtract them, modulo 2**64 or 2**32."""
    if wide and minus:
        combine(words, at, masks, wide_subtract)
    elif wide:
        combine(words, at, masks, wide_add)
    elif minus:
        combine(words, at, masks, narrow_subtract)
    else:
        combine(words, at, masks, narrow_add)


@helper
def combine_some(words, at, masks, minus, wide):
    """Do the same where only a part of the step lies in the array."""
    step = np.zeros(_STEP, np.uint32)
    first, last = max(at, 0), min(at + _STEP, words.size)
    step[first - at : last - at] = words[first:last]
    combine_all(step, 0, masks, minus, wide)
    words[first:last] = step[first - at : last - at]


@helper
def pass_over(words, start, stop, schedules, negative, high, low, wide):
    """Add the masks of all keys to the words in [start, stop), in steps from `start`; high, low is its counter."""
    for key in range(negative.size):
        for at in range(start, stop, _STEP):
            word = low + (U(at - start) >> U(2))
            masks = encrypted(high + U(word < low), word, schedules, key * _KEY)
            if at >= 0 and at + _STEP <= words.size:
                combine_all(words, at, masks, negative[key], wide)
            else:
                combine_some(words, at, masks, negative[key], wide)


@kernel(reads(types.uint32, 2), reads(types.boolean, 1), reads(types.uint64, 1), types.boolean, writes(types.uint32, 1))
def add(keys, negative, counter, wide, words):
    """Steps begin at counters that are multiples of 32, so the first may begin before the words."""
    staging, schedules = scratch(8), scratch(keys.shape[0] * _KEY)
    for i in range(keys.shape[0]):
        expand(keys[i], schedules[i * _KEY : (i + 1) * _KEY], staging)
    first = counter[1] & ~U(_BLOCKS - 1)
    begin = -4 * np.int64(counter[1] - first)
    for start in range(begin, words.size, _PIECE):
        low = first + (U(start - begin) >> U(2))
        stop = min(start + _PIECE, words.size)
        pass_over(words, start, stop, schedules, negative, counter[0] + U(low < first), low, wide)
