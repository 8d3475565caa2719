# mypy: allow-untyped-defs, no-check-untyped-defs
"""Arithmetic modulo p = 2**255 - 19, one text for one number (uint64) and for eight (u64x8).

An element is a tuple of five limbs. It comes in two forms, and the tier says what their bounds are:
  operand  what `product` and `square` take;
  wide     what they return. Up to four wide elements may be summed without a carry, and such a sum may be subtracted
           from another or from a difference; a difference is never subtracted. A negated element counts as two.
           `carry` makes an operand of any of these.
An operand is no wide element, except fresh from `unpack`. Masks are words of all ones or all zeros.

The first group of functions is what a tier must bring, as overloads: see portable/field.py and simd/field.py.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import constants
from engine.kernels.jit import helper, inlined

U = np.uint64
_0, _1, _63 = U(0), U(1), U(63)


def product(a, b):
    """Multiply two operands; wide."""
    raise NotImplementedError


def square(a):
    """Square an operand; wide."""
    raise NotImplementedError


def carry(a):
    """Turn a wide element, or a sum of them, into an operand."""
    raise NotImplementedError


def minus(a, b):
    """Subtract wide elements, or sums of up to four of them; a difference."""
    raise NotImplementedError


def negated(a):
    """Return 0 - a for a single wide element; counts as two."""
    raise NotImplementedError


def unpack(w0, w1, w2, w3):
    """Return the element that the lower 255 bits of four words spell, both operand and wide."""
    raise NotImplementedError


def pack(a):
    """Return the canonical value, below p, of a wide element as four words."""
    raise NotImplementedError


def spread(word, like):
    """Return a word of the kind of `like`: the uint64 itself, or a vector that holds it in every lane."""
    raise NotImplementedError


def get(words, index, like):
    """Return the word of the kind of `like` from position `index`, counted in such words, of a flat uint64 array."""
    raise NotImplementedError


def put(words, index, word):
    """Write a word of either kind to position `index`, counted in words of its kind."""
    raise NotImplementedError


def get_rows(words, places, offset, like):
    """Return four words of each lane, `offset` words after its own position (of `places`, uint64) in a flat array."""
    raise NotImplementedError


def opaque(mask):
    """Return the mask so that the compiler knows nothing of it: else it may make a choice a branch on a secret."""
    raise NotImplementedError


# What follows is common to the tiers.


def words_of(number: int) -> tuple[np.uint64, ...]:
    """Return a field constant as the four words that `element` takes."""
    return tuple(U(number >> 64 * i & 2**64 - 1) for i in range(4))


ONE, ZERO = words_of(1), words_of(0)
SQRT_M1 = words_of(constants.SQRT_M1)


@helper
def element(number, like):
    """Return a constant in every lane, both operand and wide."""
    return unpack(
        spread(number[0], like),
        spread(number[1], like),
        spread(number[2], like),
        spread(number[3], like),
    )


@inlined
def plus(a, b):
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4])


@inlined
def multiply(a, b):
    return carry(product(a, b))


@inlined
def squared(a):
    return carry(square(a))


@inlined
def choose(mask, a, b):
    """Return a where the mask is set, else b; both of the same form."""
    mask = opaque(mask)
    return (
        b[0] ^ ((a[0] ^ b[0]) & mask),
        b[1] ^ ((a[1] ^ b[1]) & mask),
        b[2] ^ ((a[2] ^ b[2]) & mask),
        b[3] ^ ((a[3] ^ b[3]) & mask),
        b[4] ^ ((a[4] ^ b[4]) & mask),
    )


@helper
def zero_mask(w):
    """Return the mask of four canonical words being zero."""
    any_bit = w[0] | w[1] | w[2] | w[3]
    return ((any_bit | (_0 - any_bit)) >> _63) - _1


@helper
def odd_mask(a):
    """Return the mask of a wide element being negative in the sense of RFC 9496: odd when canonical."""
    return _0 - (pack(a)[0] & _1)


@helper
def equal_mask(a, b):
    return zero_mask(pack(minus(a, b)))


@helper
def absolute(a):
    """Return |a| in the sense of RFC 9496 for a single wide element; counts as two."""
    return choose(odd_mask(a), negated(a), a)


@helper
def squared_times(a, b, count):
    """Square two operands `count` times. Two chains at once keep the multipliers busy while one waits for carries."""
    for _ in range(count):
        a, b = squared(a), squared(b)
    return a, b


@helper
def power_250(a, b):
    """Return x**(2**250 - 1) and x**11 of two operands: a's pair, then b's."""
    a2, b2 = squared(a), squared(b)
    a8, b8 = squared_times(a2, b2, 2)
    a9, b9 = multiply(a8, a), multiply(b8, b)
    a11, b11 = multiply(a9, a2), multiply(b9, b2)
    u, v = multiply(squared(a11), a9), multiply(squared(b11), b9)  # 2**5 - 1
    s, t = squared_times(u, v, 5)
    u, v = multiply(s, u), multiply(t, v)  # 2**10 - 1
    s, t = squared_times(u, v, 10)
    x, y = multiply(s, u), multiply(t, v)  # 2**20 - 1
    s, t = squared_times(x, y, 20)
    x, y = multiply(s, x), multiply(t, y)  # 2**40 - 1
    s, t = squared_times(x, y, 10)
    u, v = multiply(s, u), multiply(t, v)  # 2**50 - 1
    s, t = squared_times(u, v, 50)
    x, y = multiply(s, u), multiply(t, v)  # 2**100 - 1
    s, t = squared_times(x, y, 100)
    x, y = multiply(s, x), multiply(t, y)  # 2**200 - 1
    s, t = squared_times(x, y, 50)
    return multiply(s, u), a11, multiply(t, v), b11


@helper
def inverse(a):
    """Return 1/a = a**(p - 2) of an operand, 0 for 0; an operand."""
    x, a11, _, _ = power_250(a, a)
    x, _ = squared_times(x, x, 5)
    return multiply(x, a11)


@helper
def power_p58(a, b):
    """Return x**((p - 5)/8) = x**(2**252 - 3) of two operands; operands."""
    x, _, y, _ = power_250(a, b)
    x, y = squared_times(x, y, 2)
    return multiply(x, a), multiply(y, b)


@helper
def sqrt_ratios(u0, v0, u1, v1, like):
    """SQRT_RATIO_M1 (RFC 9496, 4.2) of two u/v: for each the mask of being a square and the root, which counts as two.

    Both u are single wide elements, both v operands.
    """
    x0, x1 = carry(u0), carry(u1)
    cube0, cube1 = multiply(squared(v0), v0), multiply(squared(v1), v1)
    seven0, seven1 = multiply(squared(cube0), v0), multiply(squared(cube1), v1)
    power0, power1 = power_p58(multiply(x0, seven0), multiply(x1, seven1))
    r0, r1 = product(multiply(x0, cube0), power0), product(multiply(x1, cube1), power1)
    square0, r0 = _settled(u0, v0, r0, like)
    square1, r1 = _settled(u1, v1, r1, like)
    return square0, r0, square1, r1


@helper
def _settled(u, v, r, like):
    """Fix the fourth root of unity by which a candidate root r (wide) of u/v is off, and its sign."""
    check = product(v, squared(carry(r)))
    root = element(SQRT_M1, like)
    correct = equal_mask(check, u)
    flipped = zero_mask(pack(plus(check, u)))
    flipped_i = zero_mask(pack(plus(check, product(carry(u), root))))
    r = choose(flipped | flipped_i, product(carry(r), root), r)
    return correct | flipped, absolute(r)
