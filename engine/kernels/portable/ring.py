# mypy: allow-untyped-defs, no-check-untyped-defs
"""Arithmetic modulo M = p*q on residue pairs, in scalar Numba; `engine.kernels.reference.ring` is the definition.

p and q have the same number of bits, at most 46, so p < 2q, M < 2**92, and sums of a few residues never reach 2**64.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from engine.kernels.jit import helper, kernel, multiply_high, reads, writes
from engine.kernels.tiers import kernel as implementation

U = np.uint64
Words = NDArray[np.uint64]
_IN, _OUT, _CONSTANTS = reads(types.uint64, 2), writes(types.uint64, 2), reads(types.uint64, 1)
_HALF = 23
_CHUNK = 1 << 14


@helper
def quotient(w, p):
    """Return floor(w * 2**64 / p) for w < p < 2**63, bit by bit: once per call, not per number."""
    q = U(0)
    for _ in range(64):
        w, q = w << U(1), q << U(1)
        if w >= p:
            w, q = w - p, q | U(1)
    return q


@helper
def times(a, w, w_quotient, p):
    """Return a*w mod p for any a < 2**64 and w < p < 2**63 (Shoup): the estimate is at most one p too small."""
    r = a * w - multiply_high(a, w_quotient) * p
    return r - p if r >= p else r


@helper
def combined(a, b, p, q, inverse, inverse_quotient):
    """Return x in [0, pq), x = a mod p = b mod q, as its high and low word. b + 2q - a > 0 since a < p < 2q."""
    k = times(b + U(2) * q - a, inverse, inverse_quotient, q)
    low = k * p
    high = multiply_high(k, p)
    total = low + a
    return high + U(total < low), total


@helper
def negated(high, low, p, q):
    """Return pq - x as two words, for 0 <= x <= pq."""
    top, bottom = multiply_high(p, q), p * q
    return top - high - U(bottom < low), bottom - low


@helper
def remainder(high, low, wrap, wrap_quotient, m):
    """Return (high * 2**64 + low) mod m for m < 2**63, where wrap = 2**64 mod m."""
    r = times(high, wrap, wrap_quotient, m) + low % m
    return r - m if r >= m else r


@helper
def wrapped(m):
    """Return 2**64 mod m and its quotient."""
    wrap = (U(0) - m) % m
    return wrap, quotient(wrap, m)


@kernel(_IN, _CONSTANTS, _CONSTANTS, _OUT)
def scale(residues, factors, constants, out):
    for row in range(2):
        p, w = constants[row], factors[row]
        w_quotient = quotient(w, p)
        for i in range(residues.shape[1]):
            out[row, i] = times(residues[row, i], w, w_quotient, p)


@kernel(_IN, types.uint64, types.boolean, _CONSTANTS, _OUT)
def truncate(residues, shift, leader, constants, out):
    p, q, inverse = constants[0], constants[1], constants[2]
    inverse_quotient = quotient(inverse, q)
    wrap_p, wrap_p_quotient = wrapped(p)
    wrap_q, wrap_q_quotient = wrapped(q)
    for i in range(residues.shape[1]):
        high, low = combined(residues[0, i], residues[1, i], p, q, inverse, inverse_quotient)
        if not leader:
            high, low = negated(high, low, p, q)
        # Two shifts, since a machine shift by 64 (for shift = 0) is no shift at all.
        low = low >> shift | high << U(1) << (U(63) - shift)
        high = high >> shift
        a = remainder(high, low, wrap_p, wrap_p_quotient, p)
        b = remainder(high, low, wrap_q, wrap_q_quotient, q)
        if not leader:
            a, b = (p - a) % p, (q - b) % q
        out[0, i], out[1, i] = a, b


@kernel(_IN, types.uint64, types.boolean, _CONSTANTS, writes(types.uint64, 1))
def phase(residues, modulus, leader, constants, out):
    p, q, inverse = constants[0], constants[1], constants[2]
    inverse_quotient = quotient(inverse, q)
    wrap, wrap_quotient = wrapped(modulus)
    for i in range(residues.shape[1]):
        high, low = combined(residues[0, i], residues[1, i], p, q, inverse, inverse_quotient)
        if not leader:
            high, low = negated(high, low, p, q)
        r = remainder(high, low, wrap, wrap_quotient, modulus)
        out[i] = r if leader else (modulus - r) % modulus


@kernel(_IN, _CONSTANTS, _OUT, writes(types.boolean, 1))
def integers(residues, constants, magnitude, negative):
    p, q, inverse = constants[0], constants[1], constants[2]
    inverse_quotient = quotient(inverse, q)
    for i in range(residues.shape[1]):
        high, low = combined(residues[0, i], residues[1, i], p, q, inverse, inverse_quotient)
        other_high, other_low = negated(high, low, p, q)
        negative[i] = other_high < high or (other_high == high and other_low < low)
        if negative[i]:
            high, low = other_high, other_low
        magnitude[0, i], magnitude[1, i] = high, low


@kernel(reads(types.uint64, 3), _CONSTANTS, _OUT)
def fold(words, constants, out):
    for row in range(2):
        p = constants[row]
        wrap, wrap_quotient = wrapped(p)
        for i in range(words.shape[1]):
            out[row, i] = remainder(words[row, i, 0], words[row, i, 1], wrap, wrap_quotient, p)


def product(matrix: NDArray[np.integer], residues: Words, constants: Words) -> Words:
    """Multiply by floating-point BLAS, exactly.

    |x| <= 2**16 and shares are split into halves below 2**23, so 2**14 terms stay within 2**53, where float64 is exact
    in any order of summation. Longer sums run in chunks; reduced chunks (below 2**46) add up far below 2**63.
    """
    primes = np.tile(constants[:2].astype(np.int64), 2)[:, None]
    low, high = residues & U((1 << _HALF) - 1), residues >> U(_HALF)
    halves = np.concatenate([low, high]).T.astype(np.float64)
    total = np.zeros((4, matrix.shape[0]), dtype=np.int64)
    for start in range(0, matrix.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        sums = matrix[:, chunk].astype(np.float64) @ halves[chunk]
        total += sums.T.astype(np.int64) % primes
    lower, upper = np.split((total % primes).astype(np.uint64), 2)
    shifted = np.empty_like(upper)
    implementation("ring.scale")(upper, U(1 << _HALF) % constants[:2], constants, shifted)
    result: Words = (shifted + lower) % constants[:2, None]
    return result
