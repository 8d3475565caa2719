"""Polynomials modulo x**N + 1 and three primes of 50 bits, in which `rlwe_native` computes: arithmetic and sampling.

Polynomials are residues, uint64 (primes, ..., SLOTS), as coefficients or transformed (`engine.kernels.ntt`).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.he.contexts import PRIMES
from engine.he.encoding import SLOTS
from engine.he.scheme import Bytes, Words
from engine.kernels.masks import add_masks
from engine.kernels.ntt import Transform
from engine.kernels.tiers import kernel

MODULI = (1125899906826241, 1125899906629633, 1125899905744897)  # the three largest below 2**50 that are 1 mod 2N
SEED_BYTES = 32
PIECE = 16
"""Words of a factor of products that lie together."""
_SPARE = 8  # draws of each residue polynomial that may be rejected; more are with probability below 2**-150

P = np.array(MODULI, dtype=np.uint64)
COLUMN = P[:, None]
COFACTORS = np.array([pow(prod(MODULI) // p, -1, p) for p in MODULI], dtype=np.uint64)


@lru_cache(maxsize=1)
def transforms() -> tuple[list[Transform], list[Transform]]:
    """Return the transforms for the primes of q, and for the plaintext primes."""
    return [Transform(p, SLOTS) for p in MODULI], [Transform(t, SLOTS) for t in PRIMES]


def forward(polynomials: Words) -> Words:
    """Transform (primes, ..., SLOTS) in place."""
    for transform, rows in zip(transforms()[0], polynomials, strict=True):
        transform.forward(rows)
    return polynomials


def inverse(polynomials: Words) -> Words:
    for transform, rows in zip(transforms()[0], polynomials, strict=True):
        transform.inverse(rows)
    return polynomials


def add_product(out: Words, factor: Words, rows: Words) -> None:
    """Add a polynomial (primes, SLOTS) times rows (primes, r, SLOTS) to out, of the same shape; all transformed."""
    for i, transform in enumerate(transforms()[0]):
        transform.add_products(out[i][None], factor[i], (0, 0, 0, PIECE), rows[i][None])


def lifted(signed: NDArray[np.int64]) -> Words:
    """Return small signed coefficients (SLOTS,) modulo each prime: (primes, SLOTS)."""
    out = np.empty((len(MODULI), SLOTS), dtype=np.uint64)
    kernel("bfv.lift")(signed, P, out)
    return out


def add(out: Words, others: Words) -> Words:
    kernel("bfv.add")(np.ascontiguousarray(others), P, out)
    return out


def require_reduced(residues: Words) -> None:
    if (residues >= COLUMN).any():
        raise ValueError("holds a ciphertext with a number out of range")


def divided(residues: Words, lane: int) -> Words:
    """Return round(t x / q) modulo t for residues (primes, n) of x."""
    out = np.empty(residues.shape[1], dtype=np.uint64)
    kernel("bfv.divide")(np.ascontiguousarray(residues), np.uint64(PRIMES[lane]), P, COFACTORS, out)
    return out


def ternary() -> Words:
    """Return a fresh uniform ternary polynomial, transformed: (primes, SLOTS)."""
    out = np.empty((len(MODULI), SLOTS), dtype=np.uint64)
    kernel("bfv.ternary")(randomness.random_words(SLOTS), P, out)
    return forward(out)


def uniform(count: int) -> Words:
    """Return uniform residues (primes, count); where one is not below its prime, all are drawn again."""
    while True:
        words = randomness.random_words((len(MODULI), count)) >> np.uint64(14)
        if (words < COLUMN).all():
            return words


def add_noise(out: Words) -> Words:
    kernel("bfv.add_noise")(randomness.random_words(SLOTS), P, out)
    return out


def expanded(seed: Bytes) -> Words:
    """Return the uniform polynomial of a seed, transformed: (primes, SLOTS)."""
    words = np.zeros(len(MODULI) * (SLOTS + _SPARE), dtype=np.uint64)
    add_masks(words, seed.reshape(1, SEED_BYTES), np.array([1]), 0, out=words)
    out = np.empty((len(MODULI), SLOTS), dtype=np.uint64)
    for row, draws, p in zip(out, (words >> np.uint64(14)).reshape(len(MODULI), -1), P, strict=True):
        if (draws[:SLOTS] >= p).any():
            draws = draws[draws < p]
            if len(draws) < SLOTS:
                raise ValueError("holds a seed that gives no polynomial")
        row[:] = draws[:SLOTS]
    return out
