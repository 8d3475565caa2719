# mypy: allow-untyped-defs, no-check-untyped-defs
"""Montgomery arithmetic, one number at a time: limbs of 52 bits, columns summed in 128 bits (product scanning).

A column is two words, and sums at most 3 * L products below 2**104: below 2**113 for L up to 160.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from engine.kernels import residues
from engine.kernels.jit import helper, kernel, reads, writes
from engine.kernels.portable import field  # noqa: F401  how words are read, written and hidden

U = np.uint64
LANES = 1
SUM = types.UniTuple(types.uint64, 2)
_WORD, _WIDE = ir.IntType(64), ir.IntType(128)
_MASK, _0 = U(2**52 - 1), U(0)


def _joined(builder, pair):
    low, high = (builder.zext(builder.extract_value(pair, i), _WIDE) for i in range(2))
    return builder.or_(low, builder.shl(high, ir.Constant(_WIDE, 64)))


def _split(context, builder, wide):
    high = builder.lshr(wide, ir.Constant(_WIDE, 64))
    return context.make_tuple(builder, SUM, [builder.trunc(wide, _WORD), builder.trunc(high, _WORD)])


@intrinsic
def _dot(typing, total, x, start, y, end, count):
    """Add x[start] * y[end] + x[start + 1] * y[end - 1] + ..., `count` products, to a sum of 128 bits."""

    def generate(context, builder, signature, arguments):
        pair, x, start, y, end, count = arguments
        x, y = (
            builder.gep(context.make_array(kind)(context, builder, array).data, [index])
            for kind, array, index in ((signature.args[1], x, start), (signature.args[3], y, end))
        )
        sums = cgutils.alloca_once_value(builder, _joined(builder, pair))
        with cgutils.for_range(builder, count) as loop:
            factors = (builder.load(builder.gep(x, [loop.index])), builder.load(builder.gep(y, [builder.neg(loop.index)])))
            product = builder.mul(*(builder.zext(word, _WIDE) for word in factors))
            builder.store(builder.add(builder.load(sums), product), sums)
        return _split(context, builder, builder.load(sums))

    return SUM(SUM, x, types.intp, y, types.intp, types.intp), generate


@intrinsic
def _plus(typing, a, b):
    """Add two sums."""

    def generate(context, builder, signature, arguments):
        return _split(context, builder, builder.add(*(_joined(builder, pair) for pair in arguments)))

    return SUM(SUM, SUM), generate


@intrinsic
def _shifted(typing, total):
    """Shift a sum down by a limb."""

    def generate(context, builder, signature, arguments):
        return _split(context, builder, builder.lshr(_joined(builder, arguments[0]), ir.Constant(_WIDE, 52)))

    return SUM(SUM), generate


@helper
def _collect(columns, i, total):
    """Add a sum to column i, whose words are 2 * i and 2 * i + 1."""
    columns[2 * i], columns[2 * i + 1] = _plus((columns[2 * i], columns[2 * i + 1]), total)


@overload(residues.add_product)
def add_product(columns, a, b, limbs, like):
    if like != types.uint64:
        return None

    def add(columns, a, b, limbs, like):
        for i in range(2 * limbs - 1):
            start, stop = max(0, i - limbs + 1), min(i + 1, limbs)
            _collect(columns, i, _dot((_0, _0), a, start, b, i - start, stop - start))

    return add


@overload(residues.add_square)
def add_square(columns, a, limbs, like):
    if like != types.uint64:
        return None

    def add(columns, a, limbs, like):
        for i in range(2 * limbs - 1):
            start = max(0, i - limbs + 1)
            half = _dot((_0, _0), a, start, a, i - start, ((i + 1) >> 1) - start)
            total = _plus(half, half)
            if i & 1 == 0:
                total = _dot(total, a, i >> 1, a, i >> 1, 1)
            _collect(columns, i, total)

    return add


@overload(residues.reduce)
def reduce(out, columns, modulus, limbs, quotients, like):
    if like != types.uint64:
        return None

    def clear(out, columns, modulus, limbs, quotients, like):
        carry = (_0, _0)
        for i in range(limbs):
            total = _dot(carry, quotients, 0, modulus, i, i)
            total = _plus(total, (columns[2 * i], columns[2 * i + 1]))
            quotients[i] = total[0] * modulus[2 * limbs] & _MASK
            carry = _shifted(_dot(total, quotients, i, modulus, 0, 1))
        for i in range(limbs, 2 * limbs):
            total = _dot(carry, quotients, i - limbs + 1, modulus, limbs - 1, 2 * limbs - 1 - i)
            total = _plus(total, (columns[2 * i], columns[2 * i + 1]))
            out[i - limbs] = total[0] & _MASK
            carry = _shifted(total)

    return clear


@overload(residues.double)
def double(columns, limbs, like):
    if like != types.uint64:
        return None

    def add(columns, limbs, like):
        for i in range(2 * limbs):
            _collect(columns, i, (columns[2 * i], columns[2 * i + 1]))

    return add


@overload(residues.raise_column)
def raise_column(columns, j, word, like):
    if like != types.uint64:
        return None
    return lambda columns, j, word, like: _collect(columns, j, (word, _0))


@overload(residues.carried)
def carried(out, columns, limbs, like):
    if like != types.uint64:
        return None

    def carry_through(out, columns, limbs, like):
        carry = (_0, _0)
        for i in range(2 * limbs):
            total = _plus(carry, (columns[2 * i], columns[2 * i + 1]))
            out[i] = total[0] & _MASK
            carry = _shifted(total)

    return carry_through


@overload(residues.gather)
def gather(rows, places, buffer, like):
    if like != types.uint64:
        return None

    def copy(rows, places, buffer, like):
        for j in range(rows.shape[1]):
            buffer[j] = rows[places[0], j]

    return copy


@overload(residues.scatter)
def scatter(buffer, rows, first, like):
    if like != types.uint64:
        return None

    def copy(buffer, rows, first, like):
        for j in range(rows.shape[1]):
            rows[first, j] = buffer[j]

    return copy


_ROWS, _OUT, _MODULUS = reads(types.uint64, 2), writes(types.uint64, 2), reads(types.uint64, 1)
_DIGITS, _PLACES = reads(types.uint8, 2), reads(types.int64, 1)


@kernel(_ROWS, _ROWS, _MODULUS, _OUT)
def multiply(a, b, modulus, out):
    residues.multiply_rows(a, b, modulus, out, LANES, _0)


@kernel(_ROWS, types.int64, _MODULUS, _OUT)
def squares(a, count, modulus, out):
    residues.square_rows(a, count, modulus, out, LANES, _0)


@kernel(_ROWS, _ROWS, _MODULUS, _OUT)
def add(a, b, modulus, out):
    residues.add_rows(a, b, modulus, out, LANES, _0)


@kernel(_ROWS, _DIGITS, types.int64, _ROWS, _MODULUS, _OUT)
def powers(a, digits, bits, one, modulus, out):
    residues.power_rows(a, digits, bits, one, modulus, out, LANES, _0)


@kernel(_DIGITS, reads(types.uint64, 3), _MODULUS, _OUT)
def fixed_powers(digits, table, modulus, out):
    residues.fixed_power_rows(digits, table, modulus, out, LANES, _0)


@kernel(_ROWS, _PLACES, _PLACES, _ROWS, _MODULUS, _OUT)
def products(a, offsets, members, one, modulus, out):
    residues.product_rows(a, offsets, members, one, modulus, out, LANES, _0)


@kernel(_ROWS, _MODULUS, _OUT)
def join(a, modulus, out):
    residues.join_rows(a, modulus, out, LANES, _0)
