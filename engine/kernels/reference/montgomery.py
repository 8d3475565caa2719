"""Montgomery arithmetic in Python integers: the definition of what `engine.kernels.montgomery` runs.

Rows of uint64 hold numbers below N in L limbs of 52 bits, lowest first: one in an array (n, L), or a pair in an array
(n, 2 * L), which stands for a0 + a1 * N modulo N**2. R = 2**(52 * L); the product of a and b is a * b / R, modulo N or
N**2. `modulus` is N's limbs, those of 1 - R mod N, and the word -1/N mod 2**52. An array of one row serves all rows of
the other. Digits are uint8, most significant first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Digits = NDArray[np.uint8]
Places = NDArray[np.int64]


def integers(rows: Words) -> list[int]:
    """Read rows of limbs."""
    return [sum(int(limb) << 52 * j for j, limb in enumerate(row)) for row in rows]


def limbs_of(numbers: list[int], limbs: int) -> Words:
    """Lay out numbers below 2**(52 * limbs) as rows of limbs."""
    rows = [[number >> 52 * j & 2**52 - 1 for j in range(limbs)] for number in numbers]
    return np.array(rows, dtype=np.uint64).reshape(len(numbers), limbs)


class _Ring:
    """Integers modulo N or N**2 in Montgomery form, one at a time; rows of its width are read and written."""

    def __init__(self, modulus: Words, width: int) -> None:
        self.limbs = len(modulus) // 2
        self.n = integers(modulus[None, : self.limbs])[0]
        self.pairs = width != self.limbs
        self.m = self.n**2 if self.pairs else self.n
        self.inverse = pow(1 << 52 * self.limbs, -1, self.m)

    def product(self, a: int, b: int) -> int:
        return a * b * self.inverse % self.m

    def power(self, a: int, exponent: int, one: int) -> int:
        """Return the form of the power of what a is the form of."""
        return pow(self.product(a, 1), exponent, self.m) * one % self.m

    def read(self, rows: Words, count: int | None = None) -> list[int]:
        """Return what rows stand for, as many as there are or `count` times the only one."""
        found = [low + high * self.n for low, high in zip(*self._halves(rows), strict=True)]
        return found * (count if count and len(rows) == 1 else 1)

    def _halves(self, rows: Words) -> tuple[list[int], list[int]]:
        return integers(rows[:, : self.limbs]), integers(rows[:, self.limbs :]) if self.pairs else [0] * len(rows)

    def write(self, numbers: list[int]) -> Words:
        low = limbs_of([number % self.n for number in numbers], self.limbs)
        if not self.pairs:
            return low
        return np.concatenate([low, limbs_of([number // self.n for number in numbers], self.limbs)], axis=1)


def multiply(a: Words, b: Words, modulus: Words, out: Words) -> None:
    """The product of each pair of rows."""
    ring = _Ring(modulus, out.shape[1])
    pairs = zip(ring.read(a, len(out)), ring.read(b, len(out)), strict=True)
    out[:] = ring.write([ring.product(x, y) for x, y in pairs])


def squares(a: Words, count: int, modulus: Words, out: Words) -> None:
    """Each row squared `count` times."""
    ring = _Ring(modulus, out.shape[1])
    numbers = ring.read(a)
    for _ in range(count):
        numbers = [ring.product(x, x) for x in numbers]
    out[:] = ring.write(numbers)


def add(a: Words, b: Words, modulus: Words, out: Words) -> None:
    """The sum of each pair of rows."""
    ring = _Ring(modulus, out.shape[1])
    pairs = zip(ring.read(a, len(out)), ring.read(b, len(out)), strict=True)
    out[:] = ring.write([(x + y) % ring.m for x, y in pairs])


def powers(a: Words, digits: Digits, bits: int, one: Words, modulus: Words, out: Words) -> None:
    """Each row to the power that its digits of `bits` bits spell; one row of digits serves all rows."""
    ring = _Ring(modulus, out.shape[1])
    unit = ring.read(one)[0]
    exponents = [sum(int(digit) << bits * i for i, digit in enumerate(row[::-1])) for row in digits]
    exponents *= len(out) if len(digits) == 1 else 1
    numbers = [ring.power(x, e, unit) for x, e in zip(ring.read(a, len(out)), exponents, strict=True)]
    out[:] = ring.write(numbers)


def fixed_powers(digits: Digits, table: Words, modulus: Words, out: Words) -> None:
    """The product of the table's entries (windows, entries, L) that the digits of each row name, one a window."""
    ring = _Ring(modulus, out.shape[1])
    for i, row in enumerate(digits):
        first, *others = (ring.read(table[window, digit][None])[0] for window, digit in enumerate(row))
        for entry in others:
            first = ring.product(first, entry)
        out[i] = ring.write([first])[0]


def products(a: Words, starts: Places, stops: Places, members: Places, one: Words, modulus: Words, out: Words) -> None:
    """The product of the rows that each list names, `one` for none; list i is members[starts[i]:stops[i]]."""
    ring = _Ring(modulus, out.shape[1])
    for i in range(len(out)):
        total = ring.read(one)[0]
        for x in ring.read(a[members[starts[i] : stops[i]]]):
            total = ring.product(total, x)
        out[i] = ring.write([total])[0]


def join(a: Words, modulus: Words, out: Words) -> None:
    """The 2 * L limbs of a0 + a1 * N of each pair."""
    ring = _Ring(modulus, out.shape[1])
    out[:] = limbs_of(ring.read(a), 2 * ring.limbs)
