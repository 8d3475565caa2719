# mypy: allow-untyped-defs, no-check-untyped-defs
"""The field modulo p = 2**255 - 19, one number at a time: radix 2**51, products in 128 bits (Bernstein's radix).

wide     limbs below 2**51 + 2**18, of a difference too; below 2**54 in a sum of four.
operand  a wide element or a sum: limbs below 2**54, so `carry` has nothing to do here.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from engine.kernels import field
from engine.kernels.jit import helper, hidden

U = np.uint64
ELEMENT = types.UniTuple(types.uint64, 5)
_MASK = U(2**51 - 1)
_0, _1, _2, _3, _12, _13 = (U(i) for i in (0, 1, 2, 3, 12, 13))
_19, _25, _26, _38, _39, _51 = (U(i) for i in (19, 25, 26, 38, 39, 51))
_8P0, _8P = U(8 * (2**51 - 19)), U(8 * (2**51 - 1))
_WIDE, _WORD = ir.IntType(128), ir.IntType(64)


def _limbs(builder, value):
    return [builder.extract_value(value, i) for i in range(5)]


def _reduced(context, builder, kind, columns):
    """Carry columns through in 128 bits; the last carry comes back 19-fold.

    A column is a sum of 5 products of limbs below 2**54, at most 4 of them times 19: below 2**115. So the top carry is
    below 2**64, 19-fold below 2**69, and one more carry from limb 0 leaves limb 1 below 2**51 + 2**18, the others
    lower.
    """
    shift, mask = ir.Constant(_WIDE, 51), ir.Constant(_WORD, 2**51 - 1)

    def above(column):
        return builder.zext(builder.trunc(builder.lshr(column, shift), _WORD), _WIDE)

    for k in range(1, 5):
        columns[k] = builder.add(columns[k], above(columns[k - 1]))
    limbs = [builder.and_(builder.trunc(column, _WORD), mask) for column in columns]
    back = builder.mul(above(columns[4]), ir.Constant(_WIDE, 19))
    back = builder.add(back, builder.zext(limbs[0], _WIDE))
    limbs[0] = builder.and_(builder.trunc(back, _WORD), mask)
    limbs[1] = builder.add(limbs[1], builder.trunc(builder.lshr(back, shift), _WORD))
    return context.make_tuple(builder, kind, limbs)


def _columns(builder, x, y):
    wide = [builder.zext(limb, _WIDE) for limb in x]
    plain = [builder.zext(limb, _WIDE) for limb in y]
    folded = [builder.zext(builder.mul(limb, ir.Constant(_WORD, 19)), _WIDE) for limb in y]
    columns = []
    for k in range(5):
        terms = [builder.mul(wide[i], plain[k - i] if i <= k else folded[k - i + 5]) for i in range(5)]
        total = terms[0]
        for term in terms[1:]:
            total = builder.add(total, term)
        columns.append(total)
    return columns


@intrinsic
def _product(typing, a, b):
    def generate(context, builder, signature, arguments):
        x, y = (_limbs(builder, argument) for argument in arguments)
        return _reduced(context, builder, signature.return_type, _columns(builder, x, y))

    return ELEMENT(ELEMENT, ELEMENT), generate


@intrinsic
def _square(typing, a):
    """Multiply different limbs once, with one of them doubled (below 2**55)."""

    def generate(context, builder, signature, arguments):
        x = _limbs(builder, arguments[0])
        plain = [builder.zext(limb, _WIDE) for limb in x]
        twice = [builder.zext(builder.add(limb, limb), _WIDE) for limb in x]
        folded = [builder.zext(builder.mul(limb, ir.Constant(_WORD, 19)), _WIDE) for limb in x]
        columns = [None] * 5
        for i in range(5):
            for j in range(i, 5):
                term = builder.mul(plain[i] if i == j else twice[i], plain[j] if i + j < 5 else folded[j])
                k = (i + j) % 5
                columns[k] = builder.add(columns[k], term) if columns[k] else term
        return _reduced(context, builder, signature.return_type, columns)

    return ELEMENT(ELEMENT), generate


@overload(field.product)
def product(a, b):
    return (lambda a, b: _product(a, b)) if a == b == ELEMENT else None


@overload(field.square)
def square(a):
    return (lambda a: _square(a)) if a == ELEMENT else None


@overload(field.carry)
def carry(a):
    return (lambda a: a) if a == ELEMENT else None


@helper
def _carried(v0, v1, v2, v3, v4):
    """Carry limbs below 2**56 all at once; they end below 2**51 + 2**10."""
    return (
        (v0 & _MASK) + (v4 >> _51) * _19,
        (v1 & _MASK) + (v0 >> _51),
        (v2 & _MASK) + (v1 >> _51),
        (v3 & _MASK) + (v2 >> _51),
        (v4 & _MASK) + (v3 >> _51),
    )


@helper
def _minus(a, b):
    # The limbs of 8p exceed those of a sum of four, the most that is ever subtracted.
    return _carried(a[0] + _8P0 - b[0], a[1] + _8P - b[1], a[2] + _8P - b[2], a[3] + _8P - b[3], a[4] + _8P - b[4])


@overload(field.minus)
def minus(a, b):
    return (lambda a, b: _minus(a, b)) if a == b == ELEMENT else None


@overload(field.negated)
def negated(a):
    return (lambda a: _minus((_0, _0, _0, _0, _0), a)) if a == ELEMENT else None


@overload(field.unpack)
def unpack(w0, w1, w2, w3):
    if w0 != types.uint64:
        return None

    def split(w0, w1, w2, w3):
        return (
            w0 & _MASK,
            (w0 >> _51 | w1 << _13) & _MASK,
            (w1 >> _38 | w2 << _26) & _MASK,
            (w2 >> _25 | w3 << _39) & _MASK,
            (w3 >> _12) & _MASK,
        )

    return split


@helper
def _rippled(v0, v1, v2, v3, v4):
    """Bring the bits from 255 up back 19-fold, then carry through, clearing what was carried."""
    v0, v4 = v0 + (v4 >> _51) * _19, v4 & _MASK
    v1, v0 = v1 + (v0 >> _51), v0 & _MASK
    v2, v1 = v2 + (v1 >> _51), v1 & _MASK
    v3, v2 = v3 + (v2 >> _51), v2 & _MASK
    v4, v3 = v4 + (v3 >> _51), v3 & _MASK
    return v0, v1, v2, v3, v4


@overload(field.pack)
def pack(a):
    if a != ELEMENT:
        return None

    def join(a):
        # As in simd/field.py: two ripples make the limbs exact, and adding 19 reaches 2**255 just if the value is >= p.
        v0, v1, v2, v3, v4 = _rippled(a[0], a[1], a[2], a[3], a[4])
        v0, v1, v2, v3, v4 = _rippled(v0, v1, v2, v3, v4)
        over = (v4 + ((v3 + ((v2 + ((v1 + ((v0 + _19) >> _51)) >> _51)) >> _51)) >> _51)) >> _51
        v0 = v0 + over * _19
        v1, v0 = v1 + (v0 >> _51), v0 & _MASK
        v2, v1 = v2 + (v1 >> _51), v1 & _MASK
        v3, v2 = v3 + (v2 >> _51), v2 & _MASK
        v4, v3 = (v4 + (v3 >> _51)) & _MASK, v3 & _MASK
        return v0 | v1 << _51, v1 >> _13 | v2 << _38, v2 >> _26 | v3 << _25, v3 >> _39 | v4 << _12

    return join


@overload(field.spread)
def spread(word, like):
    return (lambda word, like: word) if like == types.uint64 else None


@overload(field.get)
def get(words, index, like):
    return (lambda words, index, like: words[index]) if like == types.uint64 else None


@overload(field.put)
def put(words, index, word):
    if word != types.uint64:
        return None

    def write(words, index, word):
        words[index] = word

    return write


@overload(field.get_rows)
def get_rows(words, places, offset, like):
    if like != types.uint64:
        return None

    def read(words, places, offset, like):
        i = places[0] + offset
        return words[i], words[i + _1], words[i + _2], words[i + _3]

    return read


@intrinsic
def _opaque(typing, mask):
    return types.uint64(types.uint64), hidden("r")


@overload(field.opaque)
def opaque(mask):
    return (lambda mask: _opaque(mask)) if mask == types.uint64 else None
