# mypy: allow-untyped-defs, no-check-untyped-defs
"""Montgomery arithmetic, one number at a time: limbs of 52 bits, columns summed in 128 bits ten by ten.

A column is two words, and sums at most 3 * L products below 2**104: below 2**113 for L up to 160.
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
LANES, BLOCK = 1, 10
SUM = types.UniTuple(types.uint64, 2)
_WORD, _WIDE = ir.IntType(64), ir.IntType(128)
_MASK, _0 = U(2**52 - 1), U(0)


def _words(context, builder, kind, array, index, count=BLOCK):
    """Return pointers to `count` words from one of a flat array."""
    data = context.make_array(kind)(context, builder, array).data
    return [builder.gep(data, [builder.add(index, index.type(i))]) for i in range(count)]


def _limbs(context, builder, kind, array, index):
    """Load ten limbs, widened."""
    return [builder.zext(builder.load(p), _WIDE) for p in _words(context, builder, kind, array, index)]


def _columns(context, builder, kind, array, at):
    """Return pointers to the twenty columns from `at`."""
    words = _words(context, builder, kind, array, builder.add(at, at), 4 * BLOCK)
    return [builder.bitcast(word, _WIDE.as_pointer()) for word in words[::2]]


def _add(builder, pointer, *terms):
    total = builder.load(pointer)
    total.align = 8
    for term in terms:
        total = builder.add(total, term)
    builder.store(total, pointer).align = 8


@intrinsic
def _block(typing, columns, at, x, i, y, j):
    """Add the product of ten limbs of x from i and ten of y from j to the columns from `at`."""

    def generate(context, builder, signature, arguments):
        into = _columns(context, builder, signature.args[0], *arguments[:2])
        x = _limbs(context, builder, signature.args[2], *arguments[2:4])
        y = _limbs(context, builder, signature.args[4], *arguments[4:])
        for c in range(2 * BLOCK - 1):
            pairs = [(k, c - k) for k in range(BLOCK) if 0 <= c - k < BLOCK]
            _add(builder, into[c], *(builder.mul(x[k], y[m]) for k, m in pairs))
        return context.get_dummy_value()

    return types.void(columns, types.intp, x, types.intp, y, types.intp), generate


@intrinsic
def _square_block(typing, columns, at, x, i):
    """Add the square of ten limbs, products of different limbs made once and doubled."""

    def generate(context, builder, signature, arguments):
        into = _columns(context, builder, signature.args[0], *arguments[:2])
        x = _limbs(context, builder, signature.args[2], *arguments[2:])
        twice = [builder.add(limb, limb) for limb in x]
        for c in range(2 * BLOCK - 1):
            pairs = [(k, c - k) for k in range(BLOCK) if k <= c - k < BLOCK]
            _add(builder, into[c], *(builder.mul(x[k], x[m] if k == m else twice[m]) for k, m in pairs))
        return context.get_dummy_value()

    return types.void(columns, types.intp, x, types.intp), generate


@intrinsic
def _quotient_block(typing, columns, at, modulus, inverse, quotients):
    """Find the ten multiples of the modulus that clear ten columns, and add the product with its lowest ten limbs.

    Of the ten columns only their carry is left, which goes to the next.
    """

    def generate(context, builder, signature, arguments):
        into = _columns(context, builder, signature.args[0], *arguments[:2])
        n = _limbs(context, builder, signature.args[2], arguments[2], arguments[1].type(0))
        found = _words(context, builder, signature.args[4], arguments[4], arguments[1])
        mask, carry, q = ir.Constant(_WORD, 2**52 - 1), ir.Constant(_WIDE, 0), []
        for c in range(2 * BLOCK - 1):
            total = builder.load(into[c])
            total.align = 8
            for k in range(max(0, c - BLOCK + 1), min(c, BLOCK)):
                total = builder.add(total, builder.mul(q[k], n[c - k]))
            if c < BLOCK:
                total = builder.add(total, carry)
                word = builder.and_(builder.mul(builder.trunc(total, _WORD), arguments[3]), mask)
                builder.store(word, found[c])
                q.append(builder.zext(word, _WIDE))
                total = builder.add(total, builder.mul(q[c], n[0]))
                carry = builder.lshr(total, ir.Constant(_WIDE, 52))
            elif c == BLOCK:
                total = builder.add(total, carry)
            if c >= BLOCK:
                builder.store(total, into[c]).align = 8
        return context.get_dummy_value()

    return types.void(columns, types.intp, modulus, types.uint64, quotients), generate


@intrinsic
def _plus(typing, a, b):
    """Add two sums of 128 bits."""

    def generate(context, builder, signature, arguments):
        a, b = (_joined(builder, pair) for pair in arguments)
        return _split(context, builder, builder.add(a, b))

    return SUM(SUM, SUM), generate


@intrinsic
def _shifted(typing, total):
    """Shift a sum down by a limb."""

    def generate(context, builder, signature, arguments):
        return _split(context, builder, builder.lshr(_joined(builder, arguments[0]), ir.Constant(_WIDE, 52)))

    return SUM(SUM), generate


def _joined(builder, pair):
    low, high = (builder.zext(builder.extract_value(pair, i), _WIDE) for i in range(2))
    return builder.or_(low, builder.shl(high, ir.Constant(_WIDE, 64)))


def _split(context, builder, wide):
    high = builder.lshr(wide, ir.Constant(_WIDE, 64))
    return context.make_tuple(builder, SUM, [builder.trunc(wide, _WORD), builder.trunc(high, _WORD)])


@helper
def _collect(columns, i, total):
    """Add a sum to column i, whose words are 2 * i and 2 * i + 1."""
    columns[2 * i], columns[2 * i + 1] = _plus((columns[2 * i], columns[2 * i + 1]), total)


@overload(residues.add_product)
def add_product(columns, a, b, limbs, like):
    if like != types.uint64:
        return None

    def add(columns, a, b, limbs, like):
        for i in range(0, limbs, BLOCK):
            for j in range(0, limbs, BLOCK):
                _block(columns, i + j, a, i, b, j)

    return add


@overload(residues.add_square)
def add_square(columns, a, limbs, like):
    if like != types.uint64:
        return None

    def add(columns, a, limbs, like):
        for i in range(0, limbs, BLOCK):
            for j in range(i + BLOCK, limbs, BLOCK):
                _block(columns, i + j, a, i, a, j)
        residues.double(columns, limbs, like)
        for i in range(0, limbs, BLOCK):
            _square_block(columns, 2 * i, a, i)

    return add


@overload(residues.reduce)
def reduce(out, columns, modulus, limbs, quotients, like):
    if like != types.uint64:
        return None

    def clear(out, columns, modulus, limbs, quotients, like):
        for i in range(0, limbs, BLOCK):
            _quotient_block(columns, i, modulus, modulus[2 * limbs], quotients)
            for j in range(BLOCK, limbs, BLOCK):
                _block(columns, i + j, quotients, i, modulus, j)
        residues.carried(out, columns, limbs, limbs, like)

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
def carried(out, columns, first, count, like):
    if like != types.uint64:
        return None

    def carry_through(out, columns, first, count, like):
        carry = (_0, _0)
        for i in range(count):
            total = _plus(carry, (columns[2 * (first + i)], columns[2 * (first + i) + 1]))
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


@kernel(_ROWS, _PLACES, _PLACES, _PLACES, _ROWS, _MODULUS, _OUT)
def products(a, starts, stops, members, one, modulus, out):
    residues.product_rows(a, starts, stops, members, one, modulus, out, LANES, _0)


@kernel(_ROWS, _MODULUS, _OUT)
def join(a, modulus, out):
    residues.join_rows(a, modulus, out, LANES, _0)
