# mypy: allow-untyped-defs, no-check-untyped-defs
"""Montgomery arithmetic in eight lanes: radix 2**52, products by IFMA, ten rows of a product at a time.

A number is L vectors of a flat buffer, vector j holding limb j of eight numbers, L a multiple of ten. Limbs are below
2**52 in memory. A column sums at most 6 * L halves below 2**52 of products, and two limbs: below 2**62 for L up to 160,
so columns are carried once, at the end. `engine.kernels.residues` says what the numbers' own bounds are.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload

from engine.kernels import residues
from engine.kernels.jit import helper, kernel, reads, writes
from engine.kernels.simd import field  # noqa: F401  how vectors are read, written and hidden
from engine.kernels.simd.vector import broadcast, constant, fused, load, pointer, shuffled, store, u64x8

U = np.uint64
LANES, BLOCK = 8, 10
ROWS = types.UniTuple(u64x8, BLOCK)
_MASK, _0, _52 = U(2**52 - 1), U(0), U(52)


def _at(context, builder, kind, array, index, count):
    """Return pointers to `count` vectors from vector number `index` of a flat array."""
    first = pointer(context, builder, kind, array, builder.mul(index, index.type(8)))
    return [builder.gep(first, [index.type(i)]) for i in range(count)]


def _load(builder, where):
    value = builder.load(where)
    value.align = 8
    return value


def _accumulate(builder, where, value):
    builder.store(builder.add(_load(builder, where), value), where).align = 8


def _limbs(builder, value):
    return [builder.extract_value(value, i) for i in range(BLOCK)]


@intrinsic
def _sweep(typing, columns, at, x, start, y, pending):
    """Multiply ten limbs of x from `start` by the ten limbs y; add ten columns to those from `at`, pass on the rest.

    `pending` holds the sums of the columns from `at` that are under way; what is returned, those ten columns further.
    """

    def generate(context, builder, signature, arguments):
        into = _at(context, builder, signature.args[0], arguments[0], arguments[1], BLOCK)
        xs = _at(context, builder, signature.args[2], arguments[2], arguments[3], BLOCK)
        y, window = _limbs(builder, arguments[4]), _limbs(builder, arguments[5])
        for j in range(BLOCK):
            x = _load(builder, xs[j])
            window.append(constant(0))
            for k in range(BLOCK):
                window[k] = fused(builder, "l", window[k], x, y[k])
            for k in range(BLOCK):
                window[k + 1] = fused(builder, "h", window[k + 1], x, y[k])
            _accumulate(builder, into[j], window.pop(0))
        return context.make_tuple(builder, signature.return_type, window)

    return ROWS(columns, types.intp, x, types.intp, ROWS, ROWS), generate


@intrinsic
def _quotients(typing, columns, at, modulus, inverse):
    """Find the ten multiples of the modulus that clear ten columns; return them, and the sums due ten columns further.

    With q the low 52 bits of c * inverse, c + q * n0 is a multiple of 2**52: the low half of q * n0 fills up the low
    bits of c, unless they are zero. So the carry out of it is (c + 2**52 - 1) >> 52 plus the high half.
    """

    def generate(context, builder, signature, arguments):
        c = [_load(builder, p) for p in _at(context, builder, signature.args[0], arguments[0], arguments[1], BLOCK)]
        zero = arguments[1].type(0)
        n = [_load(builder, p) for p in _at(context, builder, signature.args[2], arguments[2], zero, BLOCK)]
        c += [constant(0)] * BLOCK
        q = []
        for k in range(BLOCK):
            q.append(fused(builder, "l", constant(0), c[k], arguments[3]))
            carry = builder.lshr(builder.add(c[k], constant(2**52 - 1)), constant(52))
            c[k + 1] = builder.add(c[k + 1], carry)
            for m in range(1, BLOCK):
                c[k + m] = fused(builder, "l", c[k + m], q[k], n[m])
            for m in range(BLOCK):
                c[k + m + 1] = fused(builder, "h", c[k + m + 1], q[k], n[m])
        return context.make_tuple(builder, signature.return_type, q + c[BLOCK:])

    return types.UniTuple(u64x8, 2 * BLOCK)(columns, types.intp, modulus, u64x8), generate


@intrinsic
def _half_square(typing, columns, at, y):
    """Multiply each two different limbs of y once; add ten columns to those from `at`, return the next ten."""

    def generate(context, builder, signature, arguments):
        into = _at(context, builder, signature.args[0], arguments[0], arguments[1], BLOCK)
        y, window = _limbs(builder, arguments[2]), [constant(0)] * 2 * BLOCK
        for j in range(BLOCK):
            for k in range(j):
                window[j + k] = fused(builder, "l", window[j + k], y[j], y[k])
                window[j + k + 1] = fused(builder, "h", window[j + k + 1], y[j], y[k])
        for k in range(BLOCK):
            _accumulate(builder, into[k], window[k])
        return context.make_tuple(builder, signature.return_type, window[BLOCK:])

    return ROWS(columns, types.intp, ROWS), generate


@intrinsic
def _double(typing, columns, x, j):
    """Double columns 2j and 2j + 1 and add the square of limb j."""

    def generate(context, builder, signature, arguments):
        j = arguments[2]
        low, high = _at(context, builder, signature.args[0], arguments[0], builder.add(j, j), 2)
        x = _load(builder, _at(context, builder, signature.args[1], arguments[1], j, 1)[0])
        for half, place in (("l", low), ("h", high)):
            column = _load(builder, place)
            total = fused(builder, half, builder.add(column, column), x, x)
            builder.store(total, place).align = 8
        return context.get_dummy_value()

    return types.void(columns, x, types.intp), generate


@intrinsic
def _ten(typing, x, start):
    """Return ten limbs."""

    def generate(context, builder, signature, arguments):
        limbs = [_load(builder, p) for p in _at(context, builder, signature.args[0], *arguments, BLOCK)]
        return context.make_tuple(builder, signature.return_type, limbs)

    return ROWS(x, types.intp), generate


@intrinsic
def _flush(typing, columns, at, pending):
    """Add ten sums to the columns from `at`."""

    def generate(context, builder, signature, arguments):
        into = _at(context, builder, signature.args[0], *arguments[:2], BLOCK)
        for place, value in zip(into, _limbs(builder, arguments[2]), strict=True):
            _accumulate(builder, place, value)
        return context.get_dummy_value()

    return types.void(columns, types.intp, ROWS), generate


@helper
def _nothing():
    z = broadcast(_0)
    return (z, z, z, z, z, z, z, z, z, z)


@overload(residues.add_product)
def add_product(columns, a, b, limbs, like):
    if like != u64x8:
        return None

    def add(columns, a, b, limbs, like):
        for i in range(0, limbs, BLOCK):
            rows, pending = _ten(b, i), _nothing()
            for j in range(0, limbs, BLOCK):
                pending = _sweep(columns, i + j, a, j, rows, pending)
            _flush(columns, i + limbs, pending)

    return add


@overload(residues.add_square)
def add_square(columns, a, limbs, like):
    if like != u64x8:
        return None

    def add(columns, a, limbs, like):
        for i in range(0, limbs, BLOCK):
            rows = _ten(a, i)
            pending = _half_square(columns, 2 * i, rows)
            for j in range(i + BLOCK, limbs, BLOCK):
                pending = _sweep(columns, i + j, a, j, rows, pending)
            _flush(columns, i + limbs, pending)
        for j in range(limbs):
            _double(columns, a, j)

    return add


@overload(residues.reduce)
def reduce(out, columns, modulus, limbs, quotients, like):
    if like != u64x8:
        return None

    def clear(out, columns, modulus, limbs, quotients, like):
        inverse = load(modulus, 2 * LANES * limbs)
        for i in range(0, limbs, BLOCK):
            found = _quotients(columns, i, modulus, inverse)
            q, pending = found[:BLOCK], found[BLOCK:]
            for k in range(BLOCK):
                store(quotients, LANES * (i + k), q[k])
            for j in range(BLOCK, limbs, BLOCK):
                pending = _sweep(columns, i + j, modulus, j, q, pending)
            _flush(columns, i + limbs, pending)
        residues.carried(out, columns, limbs, limbs, like)

    return clear


@overload(residues.double)
def double(columns, limbs, like):
    if like != u64x8:
        return None

    def add(columns, limbs, like):
        for j in range(2 * limbs):
            column = load(columns, LANES * j)
            store(columns, LANES * j, column + column)

    return add


@overload(residues.raise_column)
def raise_column(columns, j, word, like):
    if like != u64x8:
        return None
    return lambda columns, j, word, like: store(columns, LANES * j, load(columns, LANES * j) + word)


@overload(residues.carried)
def carried(out, columns, first, count, like):
    if like != u64x8:
        return None

    def carry_through(out, columns, first, count, like):
        carry = broadcast(_0)
        for j in range(count):
            total = load(columns, LANES * (first + j)) + carry
            store(out, LANES * j, total & _MASK)
            carry = total >> _52

    return carry_through


_ROUNDS = ((1, (0, 8, 2, 10, 4, 12, 6, 14)), (2, (0, 1, 8, 9, 4, 5, 12, 13)), (4, (0, 1, 2, 3, 8, 9, 10, 11)))


@intrinsic
def _transposed(typing, block):
    """Turn eight vectors of a matrix' rows into its columns: three rounds of shuffles."""

    def generate(context, builder, signature, arguments):
        v = [builder.extract_value(arguments[0], i) for i in range(8)]
        for step, low in _ROUNDS:
            high = [lane + step for lane in low]
            for i in range(8):
                if not i & step:
                    v[i], v[i + step] = (shuffled(builder, v[i], v[i + step], order) for order in (low, high))
        return context.make_tuple(builder, signature.return_type, v)

    return types.UniTuple(u64x8, 8)(types.UniTuple(u64x8, 8)), generate


@overload(residues.gather)
def gather(rows, places, buffer, like):
    if like != u64x8:
        return None

    def transpose(rows, places, buffer, like):
        limbs, flat = rows.shape[1], rows.reshape(-1)  # of one number, or of both of a pair
        p0, p1, p2, p3 = places[0] * limbs, places[1] * limbs, places[2] * limbs, places[3] * limbs
        p4, p5, p6, p7 = places[4] * limbs, places[5] * limbs, places[6] * limbs, places[7] * limbs
        for block in range(0, limbs, 8):
            j = min(block, limbs - 8)
            columns = _transposed(
                (
                    *(load(flat, p0 + j), load(flat, p1 + j), load(flat, p2 + j), load(flat, p3 + j)),
                    *(load(flat, p4 + j), load(flat, p5 + j), load(flat, p6 + j), load(flat, p7 + j)),
                )
            )
            for k in range(8):
                store(buffer, LANES * (j + k), columns[k])

    return transpose


@overload(residues.scatter)
def scatter(buffer, rows, first, like):
    if like != u64x8:
        return None

    def transpose(buffer, rows, first, like):
        limbs, flat = rows.shape[1], rows.reshape(-1)
        count = min(LANES, rows.shape[0] - first)
        for block in range(0, limbs, 8):
            j = min(block, limbs - 8)
            at = LANES * j
            lines = _transposed(
                (
                    *(load(buffer, at), load(buffer, at + 8), load(buffer, at + 16), load(buffer, at + 24)),
                    *(load(buffer, at + 32), load(buffer, at + 40), load(buffer, at + 48), load(buffer, at + 56)),
                )
            )
            for lane in range(8):
                if lane < count:
                    store(flat, (first + lane) * limbs + j, lines[lane])

    return transpose


_ROWS, _OUT, _MODULUS, _DIGITS = (
    reads(types.uint64, 2),
    writes(types.uint64, 2),
    reads(types.uint64, 1),
    reads(types.uint8, 2),
)
_PLACES = reads(types.int64, 1)


@kernel(_ROWS, _ROWS, _MODULUS, _OUT)
def multiply(a, b, modulus, out):
    residues.multiply_rows(a, b, modulus, out, LANES, broadcast(_0))


@kernel(_ROWS, types.int64, _MODULUS, _OUT)
def squares(a, count, modulus, out):
    residues.square_rows(a, count, modulus, out, LANES, broadcast(_0))


@kernel(_ROWS, _ROWS, _MODULUS, _OUT)
def add(a, b, modulus, out):
    residues.add_rows(a, b, modulus, out, LANES, broadcast(_0))


@kernel(_ROWS, _DIGITS, types.int64, _ROWS, _MODULUS, _OUT)
def powers(a, digits, bits, one, modulus, out):
    residues.power_rows(a, digits, bits, one, modulus, out, LANES, broadcast(_0))


@kernel(_DIGITS, reads(types.uint64, 3), _MODULUS, _OUT)
def fixed_powers(digits, table, modulus, out):
    residues.fixed_power_rows(digits, table, modulus, out, LANES, broadcast(_0))


@kernel(_ROWS, _PLACES, _PLACES, _PLACES, _ROWS, _MODULUS, _OUT)
def products(a, starts, stops, members, one, modulus, out):
    residues.product_rows(a, starts, stops, members, one, modulus, out, LANES, broadcast(_0))


@kernel(_ROWS, _MODULUS, _OUT)
def join(a, modulus, out):
    residues.join_rows(a, modulus, out, LANES, broadcast(_0))
