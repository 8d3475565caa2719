"""Montgomery arithmetic in Python integers: the definition of what `engine.kernels.montgomery` runs.

Rows (n, L) of uint64 hold numbers below N in limbs of 52 bits, little-endian; R = 2**(52 * L). `modulus` is N's limbs
and the word -1/N mod 2**52. An array of one row serves all rows of the other. Digits are uint8, most significant first.
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


class _Field:
    """Numbers modulo N in Montgomery form, one at a time."""

    def __init__(self, modulus: Words) -> None:
        self.limbs = len(modulus) - 1
        self.n = integers(modulus[None, :-1])[0]
        self.inverse = pow(1 << 52 * self.limbs, -1, self.n)

    def product(self, a: int, b: int) -> int:
        return a * b * self.inverse % self.n

    def power(self, a: int, exponent: int, one: int) -> int:
        """Return the form of the power of what a is the form of."""
        plain = self.product(a, 1)
        return pow(plain, exponent, self.n) * one % self.n

    def read(self, rows: Words, count: int) -> list[int]:
        return integers(rows) * (count if len(rows) == 1 else 1)


def multiply(a: Words, b: Words, modulus: Words, out: Words) -> None:
    """The product of each pair of rows."""
    field = _Field(modulus)
    pairs = zip(field.read(a, len(out)), field.read(b, len(out)), strict=True)
    out[:] = limbs_of([field.product(x, y) for x, y in pairs], field.limbs)


def squares(a: Words, count: int, modulus: Words, out: Words) -> None:
    """Each row squared `count` times."""
    field = _Field(modulus)
    numbers = integers(a)
    for _ in range(count):
        numbers = [field.product(x, x) for x in numbers]
    out[:] = limbs_of(numbers, field.limbs)


def add(a: Words, b: Words, modulus: Words, out: Words) -> None:
    """The sum of each pair of rows."""
    field = _Field(modulus)
    pairs = zip(field.read(a, len(out)), field.read(b, len(out)), strict=True)
    out[:] = limbs_of([(x + y) % field.n for x, y in pairs], field.limbs)


def powers(a: Words, digits: Digits, one: Words, modulus: Words, out: Words) -> None:
    """Each row to the power that its digits of radix 16 spell; one row of digits serves all rows."""
    field = _Field(modulus)
    unit = integers(one)[0]
    exponents = [int(row.astype(object) @ [16**i for i in range(len(row))][::-1]) for row in digits]
    exponents *= len(out) if len(digits) == 1 else 1
    numbers = [field.power(x, e, unit) for x, e in zip(field.read(a, len(out)), exponents, strict=True)]
    out[:] = limbs_of(numbers, field.limbs)


def fixed_powers(digits: Digits, table: Words, modulus: Words, out: Words) -> None:
    """The product of the table's entries (windows, entries, L) that the digits of each row name, one a window."""
    field = _Field(modulus)
    for i, row in enumerate(digits):
        first, *others = (integers(table[window, digit][None])[0] for window, digit in enumerate(row))
        for entry in others:
            first = field.product(first, entry)
        out[i] = limbs_of([first], field.limbs)[0]


def products(a: Words, offsets: Places, members: Places, one: Words, modulus: Words, out: Words) -> None:
    """The product of the rows that each list names, `one` for none; list i is members[offsets[i]:offsets[i + 1]]."""
    field = _Field(modulus)
    for i in range(len(out)):
        total = integers(one)[0]
        for x in integers(a[members[offsets[i] : offsets[i + 1]]]):
            total = field.product(total, x)
        out[i] = limbs_of([total], field.limbs)[0]
