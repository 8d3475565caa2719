"""Arithmetic modulo M = p*q on residue pairs, in Python integers: the definition of what `engine.kernels.ring` runs.

`constants` is (p, q, 1/p mod q). Arrays of shares have shape (2, n), dtype uint64: row 0 modulo p, row 1 modulo q.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def scale(residues: Words, factors: Words, constants: Words, out: Words) -> None:
    """Multiply each row by its own factor."""
    for row in range(2):
        out[row] = [int(r) * int(factors[row]) % int(constants[row]) for r in residues[row]]


def truncate(residues: Words, shift: int, leader: bool, constants: Words, out: Words) -> None:
    """Shift x in [0, M) right by `shift` bits; the follower shifts M - x and negates the result."""
    p, q = int(constants[0]), int(constants[1])
    for i, x in enumerate(_combined(residues, constants)):
        lifted = x >> int(shift) if leader else -((p * q - x) >> int(shift))
        out[:, i] = lifted % p, lifted % q


def phase(residues: Words, modulus: int, leader: bool, constants: Words, out: Words) -> None:
    """Reduce x (of the leader) or x - M (of the follower) to [0, modulus); out (n,)."""
    p, q = int(constants[0]), int(constants[1])
    for i, x in enumerate(_combined(residues, constants)):
        out[i] = (x if leader else x - p * q) % int(modulus)


def integers(residues: Words, constants: Words, magnitude: Words, negative: NDArray[np.bool_]) -> None:
    """Give x, centred around 0, as a sign and a magnitude of two words; magnitude (2, n), the high word first."""
    p, q = int(constants[0]), int(constants[1])
    for i, x in enumerate(_combined(residues, constants)):
        negative[i] = 2 * x > p * q
        size = p * q - x if negative[i] else x
        magnitude[:, i] = size >> 64, size & (1 << 64) - 1


def fold(words: Words, constants: Words, out: Words) -> None:
    """Reduce 128-bit numbers; words (2, n, 2), the high word first, each row by its own prime."""
    for row in range(2):
        out[row] = [((int(high) << 64) + int(low)) % int(constants[row]) for high, low in words[row]]


def product(matrix: NDArray[np.integer], residues: Words, constants: Words) -> Words:
    """Multiply an integer matrix (n, f) by a vector of shares (2, f)."""
    rows = [matrix.astype(object) @ residues[row].astype(object) % int(constants[row]) for row in range(2)]
    return np.array(rows, dtype=np.uint64).reshape(2, matrix.shape[0])


def _combined(residues: Words, constants: Words) -> list[int]:
    p, q, inverse = (int(c) for c in constants)
    return [int(a) + p * ((int(b) - int(a)) * inverse % q) for a, b in residues.T]
