"""Between plaintexts modulo t and residues modulo q = product of primes, in Python integers; `engine.he.rlwe_native`.

`cofactors` holds 1 / (q / p_i) modulo p_i. All of t and the primes are odd and different, so nothing lies halfway.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def scale(values: Words, t: int, primes: Words, out: Words) -> None:
    """Fill (primes, n) with round(q m / t) for values m below t."""
    t, moduli = int(t), [int(p) for p in primes]
    q = prod(moduli)
    for i, m in enumerate(values):
        scaled = (2 * q * int(m) + t) // (2 * t)
        out[:, i] = [scaled % p for p in moduli]


def divide(residues: Words, t: int, primes: Words, cofactors: Words, out: Words) -> None:
    """Fill (n,) with round(t x / q) modulo t for x in [0, q), given as residues (primes, n)."""
    t, moduli = int(t), [int(p) for p in primes]
    q = prod(moduli)
    parts = [q // p * int(c) for p, c in zip(moduli, cofactors, strict=True)]
    for i, column in enumerate(residues.T):
        x = sum(int(r) * part for r, part in zip(column, parts, strict=True)) % q
        out[i] = (2 * t * x + q) // (2 * q) % t


def lift(values: NDArray[np.int64], primes: Words, out: Words) -> None:
    """Fill (primes, n) with the residues of signed numbers smaller than the primes."""
    for i, p in enumerate(primes):
        out[i] = [int(x) % int(p) for x in values]


def ternary(words: Words, primes: Words, out: Words) -> None:
    """Fill (primes, n) with residues of -1, 0 or 1, each from 64 uniform bits: within 2**-63 of uniform."""
    lift(np.array([3 * int(word) // 2**64 - 1 for word in words]), primes, out)


def add(others: Words, primes: Words, out: Words) -> None:
    """Add residues (primes, n) to residues."""
    for i, p in enumerate(primes):
        out[i] = [(int(a) + int(b)) % int(p) for a, b in zip(out[i], others[i], strict=True)]


def add_noise(words: Words, primes: Words, out: Words) -> None:
    """Add to residues (primes, n) centred binomial noise of variance 42/4: bits 0-20 of a word less bits 21-41."""
    for i, p in enumerate(primes):
        noise = [(int(w) & 2**21 - 1).bit_count() - (int(w) >> 21 & 2**21 - 1).bit_count() for w in words]
        out[i] = [(int(a) + e) % int(p) for a, e in zip(out[i], noise, strict=True)]
