# mypy: allow-untyped-defs, no-check-untyped-defs
"""Between plaintexts modulo t and residues, in scalar Numba; t and the primes are below 2**50."""

from __future__ import annotations

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from engine.kernels.jit import helper, inlined, kernel, multiply_high, reads, writes
from engine.kernels.portable.ring import quotient, times

U = np.uint64
_THIRD = U((2**64 - 1) // 3)  # which is a whole number
_ROWS = writes(types.uint64, 2)
_VECTOR, _PRIMES = reads(types.uint64, 1), reads(types.uint64, 1)


@intrinsic
def ones(typing, word):
    """Count the bits that are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@helper
def modulus(primes, m):
    """Return the product of the primes modulo m < 2**63."""
    q = U(1)
    for p in primes:
        w = p % m
        q = times(q, w, quotient(w, m), m)
    return q


@helper
def power(x, e, p):
    result = U(1)
    while e:
        if e & U(1):
            result = times(result, x, quotient(x, p), p)
        x, e = times(x, x, quotient(x, p), p), e >> U(1)
    return result


@kernel(_VECTOR, types.uint64, _PRIMES, _ROWS)
def scale(values, t, primes, out):
    """With r = q m mod t, centred, round(q m / t) = (q m - r) / t, which is -r / t modulo each prime."""
    q = modulus(primes, t)
    q_quotient = quotient(q, t)
    for i in range(primes.size):
        p = primes[i]
        inverse = p - power(t % p, p - U(2), p)
        inverse_quotient = quotient(inverse, p)
        lift = p - t % p
        for j in range(values.size):
            r = times(values[j], q, q_quotient, t)
            out[i, j] = times(r + lift if r > t >> U(1) else r, inverse, inverse_quotient, p)


@kernel(reads(types.uint64, 2), types.uint64, _PRIMES, _VECTOR, writes(types.uint64, 1))
def divide(residues, t, primes, cofactors, out):
    """x/q = sum y_i/p_i modulo 1 with y_i = x * cofactor_i mod p_i. Each t*y_i/p_i is a whole number and a fraction.

    A fraction r/p is kept to 64 bits: r/2**b * (1 + (2**b - p)/p) where p has b bits, at most 2 units too low. So the
    rounding goes wrong only within 2**-61 of a half, with three primes.
    """
    out[:] = U(0)
    fractions = np.zeros(out.size, np.uint64)
    for i in range(primes.size):
        p, bits = primes[i], U(0)
        while p >> bits:
            bits += U(1)
        c, c_quotient, w, w_quotient = cofactors[i], quotient(cofactors[i], p), t % p, quotient(t % p, p)
        excess = quotient((U(1) << bits) - p, p)
        for j in range(out.size):
            y = times(residues[i, j], c, c_quotient, p)
            whole = multiply_high(y, w_quotient)
            rest = y * w - whole * p
            if rest >= p:
                whole, rest = whole + U(1), rest - p
            scaled = rest << (U(64) - bits)
            fraction = fractions[j] + (scaled + multiply_high(scaled, excess))
            out[j] += whole + y * (t // p) + U(fraction < fractions[j])
            fractions[j] = fraction
    for j in range(out.size):
        out[j] = (out[j] + (fractions[j] >> U(63))) % t


@inlined
def least(a, b):
    return a if a < b else b


@kernel(reads(types.int64, 1), _PRIMES, _ROWS)
def lift(values, primes, out):
    """A negative number wraps, and then is larger than itself plus p."""
    for i in range(primes.size):
        p = primes[i]
        for j in range(values.size):
            x = U(values[j])
            out[i, j] = least(x, x + p)


@kernel(_VECTOR, _PRIMES, _ROWS)
def ternary(words, primes, out):
    """p - 1, p or p + 1, of which p is taken unless that is below 0."""
    for i in range(primes.size):
        p = primes[i]
        for j in range(words.size):
            x = p - U(1) + U(words[j] > _THIRD) + U(words[j] > U(2) * _THIRD)
            out[i, j] = least(x, x - p)


@kernel(reads(types.uint64, 2), _PRIMES, _ROWS)
def add(others, primes, out):
    for i in range(primes.size):
        p = primes[i]
        for j in range(out.shape[1]):
            total = out[i, j] + others[i, j]
            out[i, j] = least(total, total - p)


@kernel(_VECTOR, _PRIMES, _ROWS)
def add_noise(words, primes, out):
    """A sum below 0 wraps and is then larger than itself plus p; one from p on is larger than itself less p."""
    half = U(2**21 - 1)
    for i in range(primes.size):
        p = primes[i]
        for j in range(words.size):
            noise = ones(words[j] & half) - ones(words[j] >> U(21) & half)
            total = out[i, j] + noise
            total = least(total, total + p)
            out[i, j] = least(total, total - p)
