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
