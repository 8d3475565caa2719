# mypy: allow-untyped-defs, no-check-untyped-defs
"""Transforms modulo x**N + 1 in eight lanes, N at least 64, p below 2**50 (Harvey, "Faster arithmetic for
number-theoretic transforms", 2014, with a radix of 2**52).

Bounds. `scaled` takes any y < 2**52 and gives a number below 2p. Forward, numbers stay below 4p < 2**52: x is brought
below 2p before x + t and x - t + 2p. Inverse, they stay below 2p: x + y < 4p is brought below 2p, and x - y + 2p < 4p
goes through `scaled`. A row is passed over three steps at a time, so that it is read from beyond the first cache a few
times only; its last six steps are taken on 64 numbers in registers, transposed in between.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.kernels.jit import helper, inlined, kernel, reads, writes
from engine.kernels.portable.ring import quotient
from engine.kernels.simd.vector import broadcast, constant, fused, load, store, u64x8

U = np.uint64
_SEVEN, _EIGHT = types.UniTuple(u64x8, 7), types.UniTuple(u64x8, 8)
_TABLE, _VALUES = reads(types.uint64, 2), writes(types.uint64, 2)
_MASK, _12, _52 = U(2**52 - 1), U(12), U(52)
_MOST = 1 << 12  # products that fit in an accumulator of 64 bits


def _fused(half):
    @intrinsic
    def apply(typing, total, a, b):
        def generate(context, builder, signature, arguments):
            return fused(builder, half, *arguments)

        return u64x8(u64x8, u64x8, u64x8), generate

    return apply


low, high = _fused("l"), _fused("h")


def _least(builder, a, b):
    return builder.select(builder.icmp_unsigned("<", a, b), a, b)


def _scaled(builder, y, w, w_quotient, minus):
    """Return y*w modulo p, below 2p, for y < 2**52: y*w - q*p modulo 2**52, where minus = 2**52 - p."""
    q = fused(builder, "h", constant(0), y, w_quotient)
    wide = fused(builder, "l", fused(builder, "l", constant(0), y, w), q, minus)
    return builder.and_(wide, constant(2**52 - 1))


def _apart(builder, x, y, w, w_quotient, twice, minus):
    """Take a step forward on two vectors, below 4p before and after."""
    x, t = _least(builder, x, builder.sub(x, twice)), _scaled(builder, y, w, w_quotient, minus)
    return builder.add(x, t), builder.add(builder.sub(x, t), twice)


def _together(builder, x, y, w, w_quotient, twice, minus):
    """Take a step back, below 2p before and after."""
    total, difference = builder.add(x, y), builder.add(builder.sub(x, y), twice)
    return _least(builder, total, builder.sub(total, twice)), _scaled(builder, difference, w, w_quotient, minus)


def _exposed(step, results, count):
    """Make an intrinsic of a step on vectors."""
    kind = types.UniTuple(u64x8, results) if results > 1 else u64x8

    def generate(context, builder, signature, arguments):
        found = step(builder, *arguments)
        return context.make_tuple(builder, kind, found) if results > 1 else found

    return kind(*[u64x8] * count), generate


@intrinsic
def least(typing, a, b):
    """Return the smaller number in each lane."""
    return _exposed(_least, 1, 2)


@intrinsic
def scaled(typing, y, w, w_quotient, minus):
    return _exposed(_scaled, 1, 4)


@intrinsic
def apart(typing, x, y, w, w_quotient, twice, minus):
    return _exposed(_apart, 2, 6)


@intrinsic
def together(typing, x, y, w, w_quotient, twice, minus):
    return _exposed(_together, 2, 6)


def _three_steps(step, levels):
    """Make an intrinsic that takes three steps on eight vectors; the i-th pair of level k has power 2**k - 1 + i."""

    @intrinsic
    def apply(typing, vectors, powers, quotients, twice, minus):
        def generate(context, builder, signature, arguments):
            v, w, q = (cgutils.unpack_tuple(builder, argument) for argument in arguments[:3])
            for k in levels:
                for i in range(8):
                    if not i & 4 >> k:
                        power, pair = 2**k - 1 + (i >> 3 - k), i + (4 >> k)
                        v[i], v[pair] = step(builder, v[i], v[pair], w[power], q[power], *arguments[3:])
            return context.make_tuple(builder, signature.return_type, v)

        return _EIGHT(_EIGHT, _SEVEN, _SEVEN, u64x8, u64x8), generate

    return apply


steps_apart, steps_together = _three_steps(_apart, (0, 1, 2)), _three_steps(_together, (2, 1, 0))


@intrinsic
def transposed(typing, rows):
    """Return the columns of eight vectors, exchanging squares of 1, 2 and 4."""

    def generate(context, builder, signature, arguments):
        lines = cgutils.unpack_tuple(builder, arguments[0])
        for d in (1, 2, 4):
            kept = [8 + lane - d if lane & d else lane for lane in range(8)]
            moved = [8 + lane if lane & d else lane + d for lane in range(8)]
            for i in range(8):
                if not i & d:
                    pair = lines[i], lines[i + d]
                    lines[i], lines[i + d] = (_shuffled(builder, pair, order) for order in (kept, moved))
        return context.make_tuple(builder, signature.return_type, lines)

    return _EIGHT(_EIGHT), generate


def _shuffled(builder, pair, order):
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(ir.IntType(32), 8), order))


@inlined
def eight(words, at, distance):
    """Return eight vectors of a row, each `distance` words after the last."""
    first = load(words, at), load(words, at + distance), load(words, at + 2 * distance), load(words, at + 3 * distance)
    at += 4 * distance
    c, d = load(words, at + 2 * distance), load(words, at + 3 * distance)
    return (*first, load(words, at), load(words, at + distance), c, d)


@inlined
def put_eight(words, at, distance, v):
    a, b, c, d, e, f, g, h = v
    store(words, at, a), store(words, at + distance, b)
    store(words, at + 2 * distance, c), store(words, at + 3 * distance, d)
    at += 4 * distance
    store(words, at, e), store(words, at + distance, f)
    store(words, at + 2 * distance, g), store(words, at + 3 * distance, h)


@inlined
def powers(row, m, i):
    """Return what three steps from factor i of m need, the same for all lanes."""
    first = broadcast(row[m + i]), broadcast(row[2 * (m + i)]), broadcast(row[2 * (m + i) + 1])
    at = 4 * (m + i)
    return (*first, broadcast(row[at]), broadcast(row[at + 1]), broadcast(row[at + 2]), broadcast(row[at + 3]))


@inlined
def lane_powers(row, i):
    """Return what the last three steps need, on factors i to i + 7 of N/8, one in each lane; see `ntt._by_lane`."""
    at = row.size // 8 + i
    first = load(row, at), load(row, 2 * at), load(row, 2 * at + 8)
    return (*first, load(row, 4 * at), load(row, 4 * at + 8), load(row, 4 * at + 16), load(row, 4 * at + 24))


@helper
def eighths(size):
    """Return how many factors the passes of three steps split x**N + 1 into, before those of one and of six."""
    m = 1
    while size // m >= 512:
        m *= 8
    return m


@helper
def forward_row(w, q, row, p):
    twice, minus, size = broadcast(U(2) * p), broadcast(U(2**52) - p), row.size
    m = 1
    while m < eighths(size):
        distance = size // m // 8
        for i in range(m):
            a, b = powers(w, m, i), powers(q, m, i)
            for j in range(8 * i * distance, (8 * i + 1) * distance, 8):
                put_eight(row, j, distance, steps_apart(eight(row, j, distance), a, b, twice, minus))
        m *= 8
    while m < size // 64:
        distance = size // m // 2
        for i in range(m):
            a, b = broadcast(w[m + i]), broadcast(q[m + i])
            for j in range(2 * i * distance, (2 * i + 1) * distance, 8):
                x, y = apart(load(row, j), load(row, j + distance), a, b, twice, minus)
                store(row, j, x), store(row, j + distance, y)
        m *= 2
    for i in range(m):
        v = steps_apart(eight(row, 64 * i, 8), powers(w, m, i), powers(q, m, i), twice, minus)
        v = steps_apart(transposed(v), lane_powers(w, 8 * i), lane_powers(q, 8 * i), twice, minus)
        put_eight(row, 64 * i, 8, v)
    for j in range(0, size, 8):
        x = load(row, j)
        x = least(x, x - twice)
        store(row, j, least(x, x - p))


@helper
def inverse_row(w, q, row, p):
    twice, minus, size = broadcast(U(2) * p), broadcast(U(2**52) - p), row.size
    m = size // 64
    for i in range(m):
        v = steps_together(eight(row, 64 * i, 8), lane_powers(w, 8 * i), lane_powers(q, 8 * i), twice, minus)
        v = steps_together(transposed(v), powers(w, m, i), powers(q, m, i), twice, minus)
        put_eight(row, 64 * i, 8, v)
    while m > eighths(size):
        m //= 2
        distance = size // m // 2
        for i in range(m):
            a, b = broadcast(w[m + i]), broadcast(q[m + i])
            for j in range(2 * i * distance, (2 * i + 1) * distance, 8):
                x, y = together(load(row, j), load(row, j + distance), a, b, twice, minus)
                store(row, j, x), store(row, j + distance, y)
    while m > 1:
        m //= 8
        distance = size // m // 8
        for i in range(m):
            a, b = powers(w, m, i), powers(q, m, i)
            for j in range(8 * i * distance, (8 * i + 1) * distance, 8):
                put_eight(row, j, distance, steps_together(eight(row, j, distance), a, b, twice, minus))
    for j in range(0, size, 8):
        x = scaled(load(row, j), broadcast(w[0]), broadcast(q[0]), minus)
        store(row, j, least(x, x - p))


@kernel(_TABLE, types.uint64, _VALUES)
def forward(table, p, values):
    for r in range(values.shape[0]):
        forward_row(table[2], table[3], values[r], p)


@kernel(_TABLE, types.uint64, _VALUES)
def inverse(table, p, values):
    for r in range(values.shape[0]):
        inverse_row(table[6], table[7], values[r], p)


@inlined
def reduced(lower, upper, p, shift, shift_quotient, one_quotient):
    """Return lower + upper * 2**52 modulo p, below p, for lower < 2**64 and upper < 2**61; shift = 2**52 mod p.

    The part above 2**104 is below 2**9 and goes through `scaled` twice. The sum is below 6p < 2**53.
    """
    minus, w, q = broadcast(U(2**52) - p), broadcast(shift), broadcast(shift_quotient)
    upper = upper + (lower >> _52)
    top = scaled(scaled(upper >> _52, w, q, minus), w, q, minus)
    total = (
        top
        + scaled(upper & _MASK, w, q, minus)
        + scaled(lower & _MASK, broadcast(U(1)), broadcast(one_quotient), minus)
    )
    total = least(total, total - U(4) * p)
    total = least(total, total - U(2) * p)
    return least(total, total - p)


@kernel(reads(types.uint64, 1), types.int64, types.int64, reads(types.uint64, 3), types.uint64, writes(types.uint64, 2))
def dot(factors, first, step, pairs, p, out):
    """Products are below 2**100, their upper halves below 2**48: 2**12 of them fit, then a reduction is due."""
    shift = U(2**52) % p
    a, b, count, size = quotient(shift, p) >> _12, quotient(U(1), p) >> _12, pairs.shape[0], pairs.shape[2]
    flat, result, zero = pairs.reshape(pairs.size), out.reshape(out.size), broadcast(U(0))
    out[:] = U(0)
    for begin in range(0, count, _MOST):
        for j in range(0, size, 8):
            lower, upper, other_lower, other_upper = zero, zero, zero, zero
            for k in range(begin, min(begin + _MOST, count)):
                factor = load(factors, first + k * step + j)
                x, y = load(flat, 2 * k * size + j), load(flat, (2 * k + 1) * size + j)
                lower, upper = low(lower, factor, x), high(upper, factor, x)
                other_lower, other_upper = low(other_lower, factor, y), high(other_upper, factor, y)
            x = load(result, j) + reduced(lower, upper, p, shift, a, b)
            y = load(result, size + j) + reduced(other_lower, other_upper, p, shift, a, b)
            store(result, j, least(x, x - p)), store(result, size + j, least(y, y - p))
