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

from engine.kernels.jit import helper, inlined, kernel, reads, scratch, writes
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
def eight_below(typing, vectors, bound):
    """Bring numbers below twice the bound under it."""

    def generate(context, builder, signature, arguments):
        found = [_least(builder, v, builder.sub(v, arguments[1])) for v in cgutils.unpack_tuple(builder, arguments[0])]
        return context.make_tuple(builder, signature.return_type, found)

    return _EIGHT(_EIGHT, u64x8), generate


@intrinsic
def eight_scaled(typing, vectors, w, w_quotient, minus):
    def generate(context, builder, signature, arguments):
        found = [_scaled(builder, v, *arguments[1:]) for v in cgutils.unpack_tuple(builder, arguments[0])]
        return context.make_tuple(builder, signature.return_type, found)

    return _EIGHT(_EIGHT, u64x8, u64x8, u64x8), generate


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
        put_eight(row, 64 * i, 8, eight_below(eight_below(v, twice), broadcast(p)))


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
    for j in range(0, size, 64):
        v = eight_scaled(eight(row, j, 8), broadcast(w[0]), broadcast(q[0]), minus)
        put_eight(row, j, 8, eight_below(v, broadcast(p)))


@kernel(_TABLE, types.uint64, _VALUES)
def forward(table, p, values):
    for r in range(values.shape[0]):
        forward_row(table[2], table[3], values[r], p)


@kernel(_TABLE, types.uint64, _VALUES)
def inverse(table, p, values):
    for r in range(values.shape[0]):
        inverse_row(table[6], table[7], values[r], p)


@inlined
def reduced(lower, upper, p, constants):
    """Return lower + upper * 2**52 modulo p, below p, for lower < 2**64 and upper < 2**61.

    The constants are 2**52 mod p, its quotient and that of 1. What is above 2**104 is below 2**9 and goes through
    `scaled` twice. The sum is below 6p < 2**53.
    """
    shift, shift_quotient, one_quotient = constants
    minus, w, q = broadcast(U(2**52) - p), broadcast(shift), broadcast(shift_quotient)
    upper = upper + (lower >> _52)
    top = scaled(scaled(upper >> _52, w, q, minus), w, q, minus)
    middle = scaled(upper & _MASK, w, q, minus)
    bottom = scaled(lower & _MASK, broadcast(U(1)), broadcast(one_quotient), minus)
    total = top + middle + bottom
    total = least(total, total - U(4) * p)
    total = least(total, total - U(2) * p)
    return least(total, total - p)


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of an element, which need not exist."""

    def generate(context, builder, signature, arguments):
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@helper
def put_sum(result, at, total, p, constants):
    """Add a reduced sum to what is there."""
    total = load(result, at) + reduced(total[0], total[1], p, constants)
    store(result, at, least(total, total - p))


@inlined
def put_sums(out, at, size, rows, totals, p, constants):
    """Put reduced sums where there are rows, `size` words apart."""
    s, t, u, v, w, x, y, z = totals
    put_sum(out, at, s, p, constants), put_sum(out, at + 8, t, p, constants)
    if rows > 1:
        put_sum(out, at + size, u, p, constants), put_sum(out, at + size + 8, v, p, constants)
    if rows > 2:
        put_sum(out, at + 2 * size, w, p, constants), put_sum(out, at + 2 * size + 8, x, p, constants)
    if rows > 3:
        put_sum(out, at + 3 * size, y, p, constants), put_sum(out, at + 3 * size + 8, z, p, constants)


@inlined
def with_product(total, a, b):
    return low(total[0], a, b), high(total[1], a, b)


@inlined
def with_products(sums, a, b, rows, at):
    """Add products of two vectors of a factor and of each of four rows, which lie one after the other."""
    s, t, u, v, w, x, y, z = sums
    s, t = with_product(s, a, load(rows, at)), with_product(t, b, load(rows, at + 8))
    u, v = with_product(u, a, load(rows, at + 16)), with_product(v, b, load(rows, at + 24))
    w, x = with_product(w, a, load(rows, at + 32)), with_product(x, b, load(rows, at + 40))
    y, z = with_product(y, a, load(rows, at + 48)), with_product(z, b, load(rows, at + 56))
    return s, t, u, v, w, x, y, z


@helper
def gather(rows, at, step, count, size, present, near):
    """Bring a piece of four rows of each k together; there are zeros where there is no row.

    Where they lie they are a power of two apart, which leaves each cache a few places only for all of them.
    """
    for k in range(count):
        for row in range(4):
            place, first = 64 * k + 16 * row, at + k * step + row * size
            if row < present:
                store(near, place, load(rows, first)), store(near, place + 8, load(rows, first + 8))
            else:
                store(near, place, broadcast(U(0))), store(near, place + 8, broadcast(U(0)))


@helper
def sum_of_products(factors, at, along, ahead, near, count):
    """Return the sums over k of two vectors of a factor times two of each of four rows."""
    zero = (broadcast(U(0)), broadcast(U(0)))
    totals = (zero, zero, zero, zero, zero, zero, zero, zero)
    for k in range(count):
        prefetch(factors, at + ahead), prefetch(factors, at + ahead + 8)
        totals = with_products(totals, load(factors, at), load(factors, at + 8), near, 64 * k)
        at += along
    return totals


@kernel(reads(types.uint64, 1), reads(types.int64, 1), reads(types.uint64, 3), types.uint64, writes(types.uint64, 3))
def add_products(factors, places, rows, p, out):
    """Go piece by piece, so that a piece of the rows stays near while factors stream past, once for four rows.

    Products are below 2**100, their upper halves below 2**48: 2**12 of them fit, then a reduction is due.
    """
    shift = U(2**52) % p
    constants = shift, quotient(shift, p) >> _12, quotient(U(1), p) >> _12
    count, width, size = rows.shape
    flat, result, near = rows.reshape(rows.size), out.reshape(out.size), scratch(64 * min(count, _MOST))
    for begin in range(0, count, _MOST):
        some, start = min(_MOST, count - begin), places[0] + begin * places[2]
        for row in range(0, width, 4):
            for j in range(0, size, 16):
                gather(flat, (begin * width + row) * size + j, width * size, some, size, width - row, near)
                for i in range(out.shape[0]):
                    at = start + i * places[1] + (j >> 4) * places[3]
                    totals = sum_of_products(factors, at, places[2], places[3], near, some)
                    put_sums(result, (i * width + row) * size + j, size, width - row, totals, p, constants)
