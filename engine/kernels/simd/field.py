# mypy: allow-untyped-defs, no-check-untyped-defs
"""The field modulo p = 2**255 - 19 in eight lanes: radix 2**52, products by IFMA.

IFMA multiplies the low 52 bits of its operands and ignores the rest. That is a trap (a limb of 2**52 counts as 0), and
here a tool: a carry moves the bits above the 52nd on to the next limb and need not clear them behind.

  operand  limbs 0-3 any words whose bits from the 52nd up have been carried on already; limb 4 below 2**47 + 2**10.
           The limb's worth is its low 52 bits, so an operand must not be added to anything.
  wide     limbs below 2**56, negated below 2**57, in a sum of four below 2**58; after a difference or two still
           below 2**60. `carry` and `pack` take limbs up to 2**62.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload

from engine.kernels import field
from engine.kernels.constants import P
from engine.kernels.jit import helper, hidden
from engine.kernels.simd.vector import broadcast, constant, fused, load, load_rows, store, u64x8

U = np.uint64
ELEMENT = types.UniTuple(u64x8, 5)
_MASK, _TOP = U(2**52 - 1), U(2**47 - 1)
_12, _16, _24, _28, _36, _40, _47, _52, _19 = (U(i) for i in (12, 16, 24, 28, 36, 40, 47, 52, 19))


def _bias(floor: int) -> tuple[np.uint64, ...]:
    """Return a multiple of p whose limbs all lie in [floor, floor + 2**52): added, it keeps a difference positive."""
    rest = -sum(floor << 52 * i for i in range(5)) % P
    return tuple(U(floor + (rest >> 52 * i & 2**52 - 1)) for i in range(5))


_B, _N = _bias(2**58), _bias(2**56)


def _limbs(builder, value):
    return [builder.extract_value(value, i) for i in range(5)]


def _folded(context, builder, kind, columns):
    """Fold columns 5-9, worth 2**260 = 608 mod p and more, into columns 0-4.

    A column is a sum of at most 5 low and 4 high halves: below 9 * 2**52 < 2**56. Each of the upper five is carried on
    to the next, and its low 52 bits times 608 go to two columns. The last, the square of limb 4 shifted by 52 bits, is
    below 2**42 + 2**20, so 608 times it is below 2**52: it has no upper half. Results are below 2**56.
    """
    upper = columns[5:]
    for k in range(1, 5):
        upper[k] = builder.add(upper[k], builder.lshr(upper[k - 1], constant(52)))
    limbs = columns[:5]
    for k in range(5):
        limbs[k] = fused(builder, "l", limbs[k], upper[k], constant(608))
    for k in range(4):
        limbs[k + 1] = fused(builder, "h", limbs[k + 1], upper[k], constant(608))
    return context.make_tuple(builder, kind, limbs)


@intrinsic
def _product(typing, a, b):
    def generate(context, builder, signature, arguments):
        x, y = (_limbs(builder, argument) for argument in arguments)
        columns = [constant(0)] * 10
        for i in range(5):
            for j in range(5):
                columns[i + j] = fused(builder, "l", columns[i + j], x[i], y[j])
                columns[i + j + 1] = fused(builder, "h", columns[i + j + 1], x[i], y[j])
        return _folded(context, builder, signature.return_type, columns)

    return ELEMENT(ELEMENT, ELEMENT), generate


@intrinsic
def _square(typing, a):
    """Sum the products of different limbs once, double them, add the squares of limbs."""

    def generate(context, builder, signature, arguments):
        x = _limbs(builder, arguments[0])
        columns = [constant(0)] * 10
        for i in range(5):
            for j in range(i):
                columns[i + j] = fused(builder, "l", columns[i + j], x[i], x[j])
                columns[i + j + 1] = fused(builder, "h", columns[i + j + 1], x[i], x[j])
        columns = [builder.add(column, column) for column in columns]
        for i in range(5):
            columns[2 * i] = fused(builder, "l", columns[2 * i], x[i], x[i])
            columns[2 * i + 1] = fused(builder, "h", columns[2 * i + 1], x[i], x[i])
        return _folded(context, builder, signature.return_type, columns)

    return ELEMENT(ELEMENT), generate


@intrinsic
def _carry(typing, a):
    """Limbs below 2**62 in. Bits from 255 up (below 2**15) come back 19-fold, so limb 4 ends below 2**47 + 2**10."""

    def generate(context, builder, signature, arguments):
        limbs = _limbs(builder, arguments[0])
        limbs[0] = fused(builder, "l", limbs[0], builder.lshr(limbs[4], constant(47)), constant(19))
        limbs[4] = builder.and_(limbs[4], constant(2**47 - 1))
        for k in range(1, 5):
            limbs[k] = builder.add(limbs[k], builder.lshr(limbs[k - 1], constant(52)))
        return context.make_tuple(builder, signature.return_type, limbs)

    return ELEMENT(ELEMENT), generate


@overload(field.product)
def product(a, b):
    return (lambda a, b: _product(a, b)) if a == b == ELEMENT else None


@overload(field.square)
def square(a):
    return (lambda a: _square(a)) if a == ELEMENT else None


@overload(field.carry)
def carry(a):
    return (lambda a: _carry(a)) if a == ELEMENT else None


@helper
def _minus(a, b):
    return (
        a[0] + _B[0] - b[0],
        a[1] + _B[1] - b[1],
        a[2] + _B[2] - b[2],
        a[3] + _B[3] - b[3],
        a[4] + _B[4] - b[4],
    )


@overload(field.minus)
def minus(a, b):
    return (lambda a, b: _minus(a, b)) if a == b == ELEMENT else None


@helper
def _negated(a):
    return (_N[0] - a[0], _N[1] - a[1], _N[2] - a[2], _N[3] - a[3], _N[4] - a[4])


@overload(field.negated)
def negated(a):
    return (lambda a: _negated(a)) if a == ELEMENT else None


@overload(field.unpack)
def unpack(w0, w1, w2, w3):
    if w0 != u64x8:
        return None

    def split(w0, w1, w2, w3):
        return (
            w0 & _MASK,
            (w0 >> _52 | w1 << _12) & _MASK,
            (w1 >> _40 | w2 << _24) & _MASK,
            (w2 >> _28 | w3 << _36) & _MASK,
            (w3 >> _16) & _TOP,
        )

    return split


@helper
def _rippled(v0, v1, v2, v3, v4):
    """Bring the bits from 255 up back 19-fold, then carry through, clearing what was carried."""
    v0, v4 = v0 + (v4 >> _47) * _19, v4 & _TOP
    v1, v0 = v1 + (v0 >> _52), v0 & _MASK
    v2, v1 = v2 + (v1 >> _52), v1 & _MASK
    v3, v2 = v3 + (v2 >> _52), v2 & _MASK
    v4, v3 = v4 + (v3 >> _52), v3 & _MASK
    return v0, v1, v2, v3, v4


@overload(field.pack)
def pack(a):
    if a != ELEMENT:
        return None

    def join(a):
        # After the first ripple limb 4 is below 2**47 + 2**10; after the second all limbs are exact: had limb 4 passed
        # 2**47, the rest of it is below 2**10, and 19 more cannot carry up to it again.
        v0, v1, v2, v3, v4 = _rippled(a[0], a[1], a[2], a[3], a[4])
        v0, v1, v2, v3, v4 = _rippled(v0, v1, v2, v3, v4)
        # The value is below 2**255 < 2p; it is at least p exactly if adding 19 reaches 2**255.
        over = (v4 + ((v3 + ((v2 + ((v1 + ((v0 + _19) >> _52)) >> _52)) >> _52)) >> _52)) >> _47
        v0 = v0 + over * _19
        v1, v0 = v1 + (v0 >> _52), v0 & _MASK
        v2, v1 = v2 + (v1 >> _52), v1 & _MASK
        v3, v2 = v3 + (v2 >> _52), v2 & _MASK
        v4, v3 = (v4 + (v3 >> _52)) & _TOP, v3 & _MASK
        return v0 | v1 << _52, v1 >> _12 | v2 << _40, v2 >> _24 | v3 << _28, v3 >> _36 | v4 << _16

    return join


@overload(field.spread)
def spread(word, like):
    return (lambda word, like: broadcast(word)) if like == u64x8 else None


@overload(field.get)
def get(words, index, like):
    return (lambda words, index, like: load(words, 8 * index)) if like == u64x8 else None


@overload(field.put)
def put(words, index, word):
    return (lambda words, index, word: store(words, 8 * index, word)) if word == u64x8 else None


@overload(field.get_rows)
def get_rows(words, places, offset, like):
    return (lambda words, places, offset, like: load_rows(words, places, offset)) if like == u64x8 else None


@intrinsic
def _opaque(typing, mask):
    return u64x8(u64x8), hidden("v")


@overload(field.opaque)
def opaque(mask):
    return (lambda mask: _opaque(mask)) if mask == u64x8 else None
