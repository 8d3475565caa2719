# mypy: allow-untyped-defs, no-check-untyped-defs
"""Montgomery arithmetic, one number at a time: limbs of 52 bits, columns summed in 128 bits (product scanning).

A column sums at most 2 * L products below 2**104: below 2**113 for L up to 256.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
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
def _plus_product(typing, total, x, y):
    """Add x * y to a sum of 128 bits."""

    def generate(context, builder, signature, arguments):
        product = builder.mul(*(builder.zext(word, _WIDE) for word in arguments[1:]))
        return _split(context, builder, builder.add(_joined(builder, arguments[0]), product))

    return SUM(SUM, types.uint64, types.uint64), generate


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
def _column(total, x, y, i, start, stop):
    """Add x[j] * y[i - j] for j from start to stop."""
    for j in range(start, stop):
        total = _plus_product(total, x[j], y[i - j])
    return total


@helper
def _square_column(total, x, i, start):
    """Add the products of column i of a square, those of different limbs twice; `start` is its first limb."""
    half = _column((_0, _0), x, x, i, start, (i + 1) >> 1)
    total = _plus(total, _plus(half, half))
    if i & 1 == 0:
        total = _plus_product(total, x[i >> 1], x[i >> 1])
    return total


@helper
def _cleared(total, multiples, modulus, limbs, i):
    """Finish column i, below L: find the multiple of the modulus that clears it and carry."""
    total = _plus(total, _column((_0, _0), multiples, modulus, i, 0, i))
    multiples[i] = total[0] * modulus[limbs] & _MASK
    return _shifted(_plus_product(total, multiples[i], modulus[0]))


@helper
def _finished(out, total, multiples, modulus, limbs, i):
    """Finish column i, from L on: write its limb and carry."""
    total = _plus(total, _column((_0, _0), multiples, modulus, i, i - limbs + 1, limbs))
    out[i - limbs] = total[0] & _MASK
    return _shifted(total)


@overload(residues.product)
def product(out, a, b, modulus, columns, like):
    if like != types.uint64:
        return None

    def multiply(out, a, b, modulus, columns, like):
        # `out` may be a or b: limb i - L is written after the last column that reads it.
        limbs = modulus.size - 1
        total = (_0, _0)
        for i in range(limbs):
            total = _cleared(_column(total, a, b, i, 0, i + 1), columns, modulus, limbs, i)
        for i in range(limbs, 2 * limbs):
            total = _finished(out, _column(total, a, b, i, i - limbs + 1, limbs), columns, modulus, limbs, i)

    return multiply


@overload(residues.square)
def square(out, a, modulus, columns, like):
    if like != types.uint64:
        return None

    def multiply(out, a, modulus, columns, like):
        limbs = modulus.size - 1
        total = (_0, _0)
        for i in range(limbs):
            total = _cleared(_square_column(total, a, i, 0), columns, modulus, limbs, i)
        for i in range(limbs, 2 * limbs - 1):
            total = _finished(out, _square_column(total, a, i, i - limbs + 1), columns, modulus, limbs, i)
        out[limbs - 1] = total[0]

    return multiply


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


@kernel(_ROWS, _DIGITS, _ROWS, _MODULUS, _OUT)
def powers(a, digits, one, modulus, out):
    residues.power_rows(a, digits, one, modulus, out, LANES, _0)


@kernel(_DIGITS, reads(types.uint64, 3), _MODULUS, _OUT)
def fixed_powers(digits, table, modulus, out):
    residues.fixed_power_rows(digits, table, modulus, out, LANES, _0)


@kernel(_ROWS, _PLACES, _PLACES, _ROWS, _MODULUS, _OUT)
def products(a, offsets, members, one, modulus, out):
    residues.product_rows(a, offsets, members, one, modulus, out, LANES, _0)
