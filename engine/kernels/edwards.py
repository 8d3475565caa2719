# mypy: allow-untyped-defs, no-check-untyped-defs
"""The twisted Edwards curve -x**2 + y**2 = 1 + d x**2 y**2 under ristretto255, and multiplication by a secret scalar.

A point is (X, Y, Z, T), x = X/Z, y = Y/Z, xy = T/Z, of operands. A cached point is (Y + X, Y - X, 2Z, 2dT), of
operands. Formulas: Hisil, Wong, Carter, Dawson, "Twisted Edwards curves revisited" (2008), section 3, for a = -1:
complete on the points of odd order plus torsion that occur here, so no case is special.

The scalar is the secret of a whole batch, so all points take the same steps: 63 signed digits of radix 16, each looked
up by reading the whole table. Which digit it is shows neither in the addresses nor in the instructions.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import constants
from engine.kernels.field import (
    ONE,
    ZERO,
    carry,
    choose,
    element,
    get,
    minus,
    multiply,
    plus,
    product,
    put,
    spread,
    square,
    words_of,
)
from engine.kernels.jit import helper, inlined

U = np.uint64
TWICE_D = words_of(2 * constants.D % constants.P)
TWO = words_of(2)
ENTRY = 20
DIGITS = 63
_0, _1, _63 = U(0), U(1), U(63)


@inlined
def cached(x, y, z, t, like):
    """Return the cached form of a point given as wide elements."""
    return carry(plus(y, x)), carry(minus(y, x)), carry(plus(z, z)), multiply(carry(t), element(TWICE_D, like))


@inlined
def _sum_parts(y_minus_x, y_plus_x, z, t, other):
    """Return E, F, G, H of the sum of a point, given by the operands of its formula, and a cached point."""
    a, b = product(y_minus_x, other[1]), product(y_plus_x, other[0])
    c, d = product(t, other[3]), product(z, other[2])
    return carry(minus(b, a)), carry(minus(d, c)), carry(plus(d, c)), carry(plus(b, a))


@inlined
def added(y_minus_x, y_plus_x, z, t, other):
    """Add a cached point; X, Y, Z, T of the sum as wide elements."""
    e, f, g, h = _sum_parts(y_minus_x, y_plus_x, z, t, other)
    return product(e, f), product(g, h), product(f, g), product(e, h)


@inlined
def add(p, q, like):
    """Add two points given as wide elements; wide elements."""
    x, y, z, t = p
    other = cached(q[0], q[1], q[2], q[3], like)
    return added(carry(minus(y, x)), carry(plus(y, x)), carry(z), carry(t), other)


@inlined
def _double_parts(x, y, z):
    """Return E, F, G, H of the double of (X, Y, Z). A sign common to F and H cancels in every coordinate."""
    xx, yy, zz, xy = square(x), square(y), square(z), product(x, y)
    return carry(plus(xy, xy)), carry(minus(plus(plus(zz, zz), xx), yy)), carry(minus(yy, xx)), carry(plus(xx, yy))


@inlined
def _finished(parts):
    """Return X, Y, Z as operands."""
    e, f, g, h = parts
    return multiply(e, f), multiply(g, h), multiply(f, g)


@helper
def doubled_times(x, y, z, count):
    for _ in range(count):
        x, y, z = _finished(_double_parts(x, y, z))
    return x, y, z


@inlined
def put_element(words, index, a):
    for i in range(5):
        put(words, index + i, a[i])


@inlined
def get_element(words, index, like):
    return (
        get(words, index, like),
        get(words, index + 1, like),
        get(words, index + 2, like),
        get(words, index + 3, like),
        get(words, index + 4, like),
    )


@inlined
def put_cached(words, index, a):
    put_element(words, index, a[0])
    put_element(words, index + 5, a[1])
    put_element(words, index + 10, a[2])
    put_element(words, index + 15, a[3])


@helper
def tabulate(point, table, like):
    """Fill a table with the cached multiples 1 to 8 of a point given as wide elements."""
    x, y, z, t = point
    first = cached(x, y, z, t, like)
    put_cached(table, 0, first)
    for i in range(1, 8):
        x, y, z, t = added(carry(minus(y, x)), carry(plus(y, x)), carry(z), carry(t), first)
        put_cached(table, ENTRY * i, cached(x, y, z, t, like))


@helper
def look_up(table, size, neutral):
    """Return the cached entry number `size` (1 to 8), or `neutral` for 0, having read all of them."""
    a, b, c, d = neutral
    like = a[0]
    for i in range(8):
        # size and i + 1 are below 16, so their difference wraps to a word with the top bit set unless it is zero.
        miss = size ^ U(i + 1)
        mask = spread(((miss | (_0 - miss)) >> _63) - _1, like)
        a = choose(mask, get_element(table, ENTRY * i, like), a)
        b = choose(mask, get_element(table, ENTRY * i + 5, like), b)
        c = choose(mask, get_element(table, ENTRY * i + 10, like), c)
        d = choose(mask, get_element(table, ENTRY * i + 15, like), d)
    return a, b, c, d


@inlined
def _before_addition(parts):
    """Return Y - X, Y + X, Z, T as operands."""
    e, f, g, h = parts
    x, y = product(e, f), product(g, h)
    return carry(minus(y, x)), carry(plus(y, x)), multiply(f, g), multiply(e, h)


@inlined
def _signed_sum(p, other, mask):
    """Return E, F, G, H of p plus a cached point, or minus it where the mask is set.

    Negating a point swaps its Y + X with its Y - X and negates T, which swaps F with G.
    """
    low, high, z, t = p
    y_plus_x, y_minus_x, twice_z, twice_dt = other
    a, b = product(low, choose(mask, y_plus_x, y_minus_x)), product(high, choose(mask, y_minus_x, y_plus_x))
    c, d = product(t, twice_dt), product(z, twice_z)
    down, up = carry(minus(d, c)), carry(plus(d, c))
    return carry(minus(b, a)), choose(mask, up, down), choose(mask, down, up), carry(plus(b, a))


@helper
def multiple(digits, table, like):
    """Return the point of a table times the number that the digits spell: X, Y, Z, T as wide elements."""
    one, zero = element(ONE, like), element(ZERO, like)
    neutral = one, one, element(TWO, like), zero
    p = one, one, one, zero
    for i in range(DIGITS - 1, 0, -1):
        x, y, z = _finished(_plus_digit(p, digits[i], table, neutral))
        x, y, z = doubled_times(x, y, z, 3)
        p = _before_addition(_double_parts(x, y, z))
    return _full(_plus_digit(p, digits[0], table, neutral))


@inlined
def _plus_digit(p, digit, table, neutral):
    """Return E, F, G, H of p, given as Y - X, Y + X, Z, T, plus a digit times the point of the table."""
    sign = U(np.int64(digit) >> 63)
    entry = look_up(table, (U(np.int64(digit)) ^ sign) - sign, neutral)
    return _signed_sum(p, entry, spread(sign, neutral[0][0]))


@inlined
def _full(parts):
    """Return X, Y, Z, T as wide elements."""
    e, f, g, h = parts
    return product(e, f), product(g, h), product(f, g), product(e, h)
