"""ristretto255 in Python integers, line by line after RFC 9496: the definition of what `engine.kernels.group` runs.

A point is a tuple (x, y, z, t) in extended coordinates, x/z and y/z affine, xy = zt. Elements and scalars are
rows of 4 little-endian words, digits int8 of shape (63,), least significant first, radix 16.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from engine.kernels.constants import (
    D_MINUS_ONE_SQ,
    GENERATOR,
    INVSQRT_A_MINUS_D,
    ONE_MINUS_D_SQ,
    ORDER,
    SQRT_AD_MINUS_ONE,
    SQRT_M1,
    D,
    P,
)

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Point = tuple[int, int, int, int]
IDENTITY: Point = (0, 1, 1, 0)


def expand(messages: Bytes, dst: Bytes, out: Bytes) -> None:
    """expand_message_xmd with SHA-512 (RFC 9380, 5.3.1) of each row to 64 bytes, the DST already in its primed form."""
    prime = dst.tobytes()
    zero_block = hashlib.sha512(bytes(128))
    for i, message in enumerate(messages):
        first = zero_block.copy()
        first.update(message.tobytes() + b"\x00\x40\x00" + prime)
        out[i] = np.frombuffer(hashlib.sha512(first.digest() + b"\x01" + prime).digest(), dtype=np.uint8)


def map(uniform: Words, out: Words) -> None:
    """The one-way map (RFC 9496, 4.3.4) of each row of 64 bytes."""
    for i, row in enumerate(uniform):
        out[i] = _words(encode(one_way(row.tobytes())))


def map_multiply(uniform: Words, digits: NDArray[np.int8], out: Words) -> None:
    """The one-way map of each row, times twice the number that the digits spell."""
    scalar = 2 * _number(digits)
    for i, row in enumerate(uniform):
        out[i] = _words(encode(times(scalar, one_way(row.tobytes()))))


def multiply(points: Words, digits: NDArray[np.int8], out: Words, valid: NDArray[np.bool_]) -> None:
    """Twice the number that the digits spell times each point; rows that are no element or the identity give zeros."""
    scalar = 2 * _number(digits)
    for i, row in enumerate(points):
        point = decode(row.tobytes())
        valid[i] = point is not None and encode(point) != 0
        out[i] = _words(encode(times(scalar, point))) if point is not None and valid[i] else 0


def multiply_each(points: Words, halves: Words, out: Words, valid: NDArray[np.bool_]) -> None:
    """Twice each half, a number below 2**253, times its point; rows that are no element or the identity give zeros."""
    for i, (row, half) in enumerate(zip(points, halves, strict=True)):
        point = decode(row.tobytes())
        valid[i] = point is not None and encode(point) != 0
        scalar = 2 * int.from_bytes(half.tobytes(), "little")
        out[i] = _words(encode(times(scalar, point))) if point is not None and valid[i] else 0


def multiply_base(scalars: Words, table: NDArray[np.uint64], out: Words) -> None:
    """Each scalar below 2**253 times the generator; the table is of use to the faster tiers only."""
    for i, row in enumerate(scalars):
        out[i] = _words(encode(times(int.from_bytes(row.tobytes(), "little"), generator())))


def check(points: Words, valid: NDArray[np.bool_]) -> None:
    """Say which rows are canonical encodings."""
    valid[:] = [decode(row.tobytes()) is not None for row in points]


def add(a: Words, b: Words, out: Words, valid: NDArray[np.bool_]) -> None:
    """The sum of each pair of rows; valid says where both are elements, elsewhere the sum is zeros."""
    for i, pair in enumerate(zip(a, b, strict=True)):
        p, q = (decode(row.tobytes()) for row in pair)
        valid[i] = p is not None and q is not None
        out[i] = 0 if p is None or q is None else _words(encode(plus(p, q)))


def sums(points: Words, offsets: NDArray[np.int64], out: Words, valid: NDArray[np.bool_]) -> None:
    """The sum of the rows from each offset to the next; valid says where all of them are elements."""
    for i in range(len(offsets) - 1):
        total = IDENTITY
        valid[i] = True
        for row in points[offsets[i] : offsets[i + 1]]:
            point = decode(row.tobytes())
            valid[i] &= point is not None
            total = plus(total, point or IDENTITY)
        out[i] = _words(encode(total)) if valid[i] else 0


def _words(element: int) -> Words:
    return np.frombuffer(element.to_bytes(32, "little"), dtype="<u8")


def _number(digits: NDArray[np.int8]) -> int:
    return sum(int(digit) << 4 * i for i, digit in enumerate(digits))


def generator() -> Point:
    point = decode(GENERATOR)
    assert point is not None
    return point


def negative(x: int) -> bool:
    return x % P % 2 == 1


def absolute(x: int) -> int:
    return -x % P if negative(x) else x % P


def sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    """SQRT_RATIO_M1 (4.2): whether u/v is a square, and the nonnegative root of u/v, else of SQRT_M1 * u/v."""
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    correct, flipped, flipped_i = (check == w % P for w in (u, -u, -u * SQRT_M1))
    if flipped or flipped_i:
        r = r * SQRT_M1 % P
    return correct or flipped, absolute(r)


def decode(encoding: bytes) -> Point | None:
    """Decode (4.3.1); None for anything but the canonical encoding of an element."""
    s = int.from_bytes(encoding, "little")
    if s >= P or negative(s):
        return None
    ss = s * s % P
    u1, u2 = (1 - ss) % P, (1 + ss) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    was_square, invsqrt = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = invsqrt * u2 % P
    den_y = invsqrt * den_x * v % P
    x = absolute(2 * s * den_x)
    y = u1 * den_y % P
    t = x * y % P
    if not was_square or negative(t) or y == 0:
        return None
    return x, y, 1, t


def encode(point: Point) -> int:
    """Encode (4.3.2)."""
    x0, y0, z0, t0 = point
    u1 = (z0 + y0) * (z0 - y0) % P
    u2 = x0 * y0 % P
    _, invsqrt = sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = invsqrt * u1 % P, invsqrt * u2 % P
    z_inv = den1 * den2 * t0 % P
    if negative(t0 * z_inv):
        x, y, den_inv = y0 * SQRT_M1 % P, x0 * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    else:
        x, y, den_inv = x0, y0, den2
    if negative(x * z_inv):
        y = -y
    return absolute(den_inv * (z0 - y))


def one_way(uniform: bytes) -> Point:
    """Element derivation (4.3.4)."""
    halves = (int.from_bytes(uniform[i : i + 32], "little") % 2**255 for i in (0, 32))
    return plus(*(elligator(t % P) for t in halves))


def elligator(t: int) -> Point:
    """MAP (4.3.4)."""
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    was_square, s = sqrt_ratio(u, v)
    c = -1 if was_square else r
    s = s if was_square else -absolute(s * t)
    n = c * (r - 1) * D_MINUS_ONE_SQ - v
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def plus(p: Point, q: Point) -> Point:
    """Add (Hisil, Wong, Carter, Dawson 2008, 3.1, a = -1); complete, so it also doubles."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = p, q
    a, b = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    c, d = 2 * D * t1 * t2, 2 * z1 * z2
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar: int, point: Point) -> Point:
    total = IDENTITY
    for bit in bin(scalar % (8 * ORDER))[2:]:
        total = plus(total, total)
        if bit == "1":
            total = plus(total, point)
    return total
