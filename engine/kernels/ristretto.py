# mypy: allow-untyped-defs, no-check-untyped-defs
"""ristretto255 (RFC 9496) over the field and curve of this folder, for one row or eight; no branch on any value.

Points go in and out as (X, Y, Z, T) of wide elements; x from `decode` counts as two, everything else as one.
"""

from __future__ import annotations

import numpy as np

from engine.kernels import constants, edwards
from engine.kernels.edwards import get_element, put_element
from engine.kernels.field import (
    ONE,
    SQRT_M1,
    ZERO,
    absolute,
    carry,
    choose,
    element,
    get,
    minus,
    multiply,
    negated,
    odd_mask,
    pack,
    plus,
    product,
    put,
    sqrt_ratios,
    square,
    squared,
    unpack,
    words_of,
    zero_mask,
)
from engine.kernels.jit import helper

D = words_of(constants.D)
MINUS_ONE = words_of(constants.P - 1)
SQRT_AD_MINUS_ONE = words_of(constants.SQRT_AD_MINUS_ONE)
INVSQRT_A_MINUS_D = words_of(constants.INVSQRT_A_MINUS_D)
ONE_MINUS_D_SQ = words_of(constants.ONE_MINUS_D_SQ)
D_MINUS_ONE_SQ = words_of(constants.D_MINUS_ONE_SQ)
STATE = 41
_1, FULL = np.uint64(1), np.uint64(2**64 - 1)


@helper
def decode_pair(v, w, like):
    """Decode two encodings of four words (4.3.1): a mask of validity and a point, garbage where invalid, for each."""
    ok_v, u1, u2, d1 = _decoding(v, like)
    ok_w, s1, s2, d2 = _decoding(w, like)
    one = element(ONE, like)
    square_v, root_v, square_w, root_w = sqrt_ratios(
        one, multiply(carry(d1), squared(u2)), one, multiply(carry(d2), squared(s2)), like
    )
    ok, p = _decoded(v, u1, u2, d1, root_v, like)
    ok2, q = _decoded(w, s1, s2, d2, root_w, like)
    return ok_v & square_v & ok, p, ok_w & square_w & ok2, q


@helper
def _decoding(w, like):
    """Return the mask of s being canonical and nonnegative, the operands 1 - s*s and 1 + s*s, and the difference v."""
    s = unpack(w[0], w[1], w[2], w[3])
    c = pack(s)
    canonical = zero_mask((w[0] ^ c[0], w[1] ^ c[1], w[2] ^ c[2], w[3] ^ c[3]))
    one, ss = element(ONE, like), square(s)
    u1, u2 = carry(minus(one, ss)), carry(plus(one, ss))
    v = minus(negated(product(element(D, like), squared(u1))), square(u2))
    return canonical & ((w[0] & _1) - _1), u1, u2, v


@helper
def _decoded(w, u1, u2, v, root, like):
    invsqrt = carry(root)
    s = unpack(w[0], w[1], w[2], w[3])
    den_x = multiply(invsqrt, u2)
    den_y = multiply(multiply(invsqrt, den_x), carry(v))
    x = absolute(product(carry(plus(s, s)), den_x))
    y = product(u1, den_y)
    t = product(carry(x), carry(y))
    return (odd_mask(t) | zero_mask(pack(y))) ^ FULL, (x, y, element(ONE, like), t)


@helper
def encode(point, like):
    """Return the four words of the encoding (4.3.2)."""
    u1, u2, v = _encoding(point)
    one = element(ONE, like)
    _, root, _, _ = sqrt_ratios(one, v, one, v, like)
    return _encoded(point, u1, u2, root, like)


@helper
def encode_pair(p, q, like):
    """Return the four words of the encodings of two points."""
    p1, p2, v = _encoding(p)
    q1, q2, w = _encoding(q)
    one = element(ONE, like)
    _, root_v, _, root_w = sqrt_ratios(one, v, one, w, like)
    return _encoded(p, p1, p2, root_v, like), _encoded(q, q1, q2, root_w, like)


@helper
def _encoding(point):
    """Return the operands u1 = (Z + Y)(Z - Y), u2 = XY and u1 * u2**2."""
    x0, y0, z0, _ = point
    u1 = multiply(carry(plus(z0, y0)), carry(minus(z0, y0)))
    u2 = multiply(carry(x0), carry(y0))
    return u1, u2, multiply(u1, squared(u2))


@helper
def _encoded(point, u1, u2, root, like):
    x0, y0, z0, t0 = point
    x, y, t = carry(x0), carry(y0), carry(t0)
    one, i = element(ONE, like), element(SQRT_M1, like)
    invsqrt = carry(root)
    den1, den2 = product(invsqrt, u1), product(invsqrt, u2)
    z_inv = multiply(multiply(carry(den1), carry(den2)), t)
    rotate = odd_mask(product(t, z_inv))
    x, y = choose(rotate, product(y, i), product(x, one)), choose(rotate, product(x, i), product(y, one))
    den_inv = choose(rotate, product(carry(den1), element(INVSQRT_A_MINUS_D, like)), den2)
    flip = odd_mask(product(carry(x), z_inv))
    return pack(absolute(product(carry(den_inv), carry(choose(flip, plus(z0, y), minus(z0, y))))))


@helper
def one_way(w, like):
    """Derive an element from eight uniform words (4.3.4)."""
    t0, t1 = unpack(w[0], w[1], w[2], w[3]), unpack(w[4], w[5], w[6], w[7])
    r0, u0, v0 = _mapping(t0, like)
    r1, u1, v1 = _mapping(t1, like)
    square0, s0, square1, s1 = sqrt_ratios(u0, carry(v0), u1, carry(v1), like)
    p, q = _mapped(t0, r0, v0, square0, s0, like), _mapped(t1, r1, v1, square1, s1, like)
    return edwards.add(p, q, like)


@helper
def _mapping(t, like):
    """Return r, u and v of MAP, wide."""
    one = element(ONE, like)
    r = product(element(SQRT_M1, like), squared(t))
    u = product(carry(plus(r, one)), element(ONE_MINUS_D_SQ, like))
    d = element(D, like)
    minus_one = element(MINUS_ONE, like)
    v = product(carry(minus(minus_one, product(carry(r), d))), carry(plus(r, d)))
    return r, u, v


@helper
def _mapped(t, r, v, was_square, root, like):
    other = product(carry(root), t)
    s = carry(choose(was_square, root, choose(odd_mask(other), other, negated(other))))
    one, minus_one = element(ONE, like), element(MINUS_ONE, like)
    c = choose(was_square, minus_one, carry(r))
    n = product(multiply(c, carry(plus(r, minus_one))), element(D_MINUS_ONE_SQ, like))
    sv, ss = product(s, carry(v)), square(s)
    w0, w1 = carry(plus(sv, sv)), multiply(carry(minus(n, v)), element(SQRT_AD_MINUS_ONE, like))
    w2, w3 = carry(minus(one, ss)), carry(plus(one, ss))
    return product(w0, w3), product(w2, w1), product(w1, w3), product(w0, w2)


# Encoding the doubles of many points takes one inversion in all (Montgomery's trick) instead of a square root for each:
# Hamburg's double-and-compress as in curve25519-dalek, `RistrettoPoint::double_and_compress_batch`. Each point leaves a
# state of STATE words: e, f, g, h; eg and fh; their product, 1 where it is 0; the running product before it; the mask
# of it being 0, as for the identity, whose encoding is then all zeros.


@helper
def put_state(states, index, point, running, like):
    """Write the state of a point whose double is to be encoded; return the running product with it."""
    x, y, z, t = carry(point[0]), carry(point[1]), carry(point[2]), carry(point[3])
    xx, yy, zz, dtt, xy = square(x), square(y), square(z), product(squared(t), element(D, like)), product(x, y)
    e, f, g, h = plus(xy, xy), plus(zz, dtt), plus(yy, xx), minus(zz, dtt)
    eg, fh = multiply(carry(e), carry(g)), multiply(carry(f), carry(h))
    efgh = product(eg, fh)
    zero = zero_mask(pack(efgh))
    efgh = carry(choose(zero, element(ONE, like), efgh))
    put_element(states, index, e)
    put_element(states, index + 5, f)
    put_element(states, index + 10, g)
    put_element(states, index + 15, h)
    put_element(states, index + 20, eg)
    put_element(states, index + 25, fh)
    put_element(states, index + 30, efgh)
    put_element(states, index + 35, running)
    put(states, index + 40, zero)
    return multiply(running, efgh)


@helper
def encode_state(states, index, inverted, like):
    """Return the encoding of the double, and the inverse of the running product before it from the one with it."""
    e, f = get_element(states, index, like), get_element(states, index + 5, like)
    g, h = get_element(states, index + 10, like), get_element(states, index + 15, like)
    eg, fh = get_element(states, index + 20, like), get_element(states, index + 25, like)
    own = multiply(inverted, get_element(states, index + 35, like))
    own = choose(get(states, index + 40, like), element(ZERO, like), own)
    z_inv, t_inv = multiply(eg, own), multiply(fh, own)
    i = element(SQRT_M1, like)
    rotate = odd_mask(product(eg, z_inv))
    # Rotated, g would become -e. Its sign only matters in h - g, for the result is made nonnegative.
    e, g = choose(rotate, g, e), choose(rotate, e, g)
    h = choose(rotate, product(carry(f), i), h)
    add = rotate ^ odd_mask(product(multiply(carry(h), carry(e)), z_inv))
    difference = carry(choose(add, plus(h, g), minus(h, g)))
    magic = multiply(choose(rotate, i, element(INVSQRT_A_MINUS_D, like)), multiply(carry(g), t_inv))
    s = absolute(product(difference, magic))
    return pack(s), multiply(inverted, get_element(states, index + 30, like))
