"""Polynomials modulo x**N + 1 and a prime p = 1 modulo 2N, p < 2**50, where products are taken value by value.

Rows are uint64 of N numbers below p. `forward` turns coefficients into the values at the 2N-th roots of unity of odd
order, in an order of its own; `inverse` undoes it. N is a power of two, at least 64.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.threads import in_threads
from engine.kernels.tiers import kernel

__all__ = ["Transform"]

Words = NDArray[np.uint64]

_NUMBERS, _PRODUCTS = 1 << 19, 1 << 22  # to be transformed or multiplied in a thread
_SUMS = 4  # each thread reads all rows: for so many sums at least


class Transform:
    """The transforms for one prime and size. Shapes are checked; numbers that are not below p are not."""

    def __init__(self, prime: int, size: int) -> None:
        if size < 64 or size & size - 1 or prime >= 1 << 50 or prime % (2 * size) != 1:
            raise Misuse("A transform needs a size of 2**k, at least 64, and a prime below 2**50, 1 modulo twice it.")
        self.prime, self.size = prime, size

    @cached_property
    def _table(self) -> Words:
        return table(self.prime, self.size)

    def forward(self, values: Words) -> Words:
        """Transform rows (..., N) in place and return them; they must be contiguous."""
        return self._transformed("ntt.forward", values)

    def inverse(self, values: Words) -> Words:
        """Undo `forward`, in place."""
        return self._transformed("ntt.inverse", values)

    def add_products(self, out: Words, factors: Words, places: tuple[int, int, int, int], rows: Words) -> None:
        """Add sum_k factor_ik * rows[k], value by value, to out[i], (m, r, N), for rows (n, r, N), all transformed.

        factor_ik lies in `factors`, an array of any shape, in pieces of 16 words, `pitch` words apart, the first piece
        at first + i*across + k*along; places is (first, across, along, pitch), none negative. A pitch of 16 is a row.
        Where factors are many, let pieces of the same place in all of them be neighbours: a stride that is a power of
        two defeats caches. All arrays are contiguous.
        """
        well_formed = rows.ndim == 3 and rows.shape[2] == self.size and out.shape[1:] == rows.shape[1:]
        if not well_formed or not all(array.flags.c_contiguous for array in (out, factors, rows)):
            raise Misuse(f"Sums (m, r, {self.size}) of products take rows (n, r, {self.size}), contiguous.")
        first, across, along, pitch = places
        last = (
            first + max(len(out) - 1, 0) * across + max(len(rows) - 1, 0) * along + (self.size // 16 - 1) * pitch + 16
        )
        if min(places) < 0 or (len(out) and len(rows) and last > factors.size):
            raise Misuse("A sum of products reaches beyond its factors.")
        run, flat = kernel("ntt.add_products"), factors.reshape(-1)

        def part(s: slice) -> None:
            run(flat, np.array([first + s.start * across, *places[1:]]), rows, np.uint64(self.prime), out[s])

        in_threads(len(out), part, max(_SUMS, _PRODUCTS / max(rows.size, 1)), 1)

    def _transformed(self, name: str, values: Words) -> Words:
        if values.shape[-1] != self.size or not values.flags.c_contiguous:
            raise Misuse(f"A transform takes contiguous rows of {self.size} words.")
        rows, run, table = values.reshape(-1, self.size), kernel(name), self._table
        in_threads(len(rows), lambda s: run(table, np.uint64(self.prime), rows[s]), _NUMBERS / self.size, 1)
        return values


def table(prime: int, size: int) -> Words:
    """Return (8, N): powers of the root as `reference.ntt` has them and their quotients, then both for eight lanes.

    Below is the same of the inverse, with 1/N in the first column. A quotient is floor(w * 2**64 / p), or 2**52.
    """
    root = _root(prime, size)
    rows: list[list[int]] = []
    for base in (root, pow(root, -1, prime)):
        powers = _powers(base, prime, size)
        if base != root:
            powers[0] = pow(size, -1, prime)
        lanes = _by_lane(powers)
        rows += [powers, [(w << 64) // prime for w in powers], lanes, [(w << 52) // prime for w in lanes]]
    return np.array(rows, dtype=np.uint64)


def _root(prime: int, size: int) -> int:
    """Return a number of order 2N: one whose N-th power is -1."""
    candidates = (pow(x, (prime - 1) // (2 * size), prime) for x in range(2, 1000))
    return next(root for root in candidates if pow(root, size, prime) == prime - 1)


def _powers(root: int, prime: int, size: int) -> list[int]:
    """Return root**e at index i, where e is i with its bits in reverse."""
    powers = [1] * size
    for i in range(1, size):
        top = 1 << i.bit_length() - 1
        powers[i] = powers[i - top] * pow(root, size // (2 * top), prime) % prime
    return powers


def _by_lane(powers: list[int]) -> list[int]:
    """Reorder the last two steps' powers, so that those for eight factors of N/8 lie side by side."""
    size, arranged = len(powers), powers.copy()
    for parts in (2, 4):
        begin = size // 8 * parts
        for start in range(begin, 2 * begin, 8 * parts):
            group = powers[start : start + 8 * parts]
            arranged[start : start + 8 * parts] = [x for part in range(parts) for x in group[part::parts]]
    return arranged
