"""Points in memory, in Python integers: the definition of what `engine.kernels.points` runs.

An affine row is y + x, y - x and 2dxy modulo p, four little-endian words each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.constants import D, P
from engine.kernels.reference import group
from engine.kernels.reference.group import IDENTITY, Point, Words

Positions = NDArray[np.int64]
NUMBER = 2**24 - 1


def row_of(point: Point) -> Words:
    """Return a point as an affine row, shape (12,)."""
    x, y, z, _ = point
    x, y = x * pow(z, -1, P) % P, y * pow(z, -1, P) % P
    text = b"".join((v % P).to_bytes(32, "little") for v in (y + x, y - x, 2 * D * x * y))
    return np.frombuffer(text, dtype="<u8")


def point_of(row: Words) -> Point:
    high, low = _integer(row[:4]), _integer(row[4:8])
    half = pow(2, -1, P)
    x, y = (high - low) * half % P, (high + low) * half % P
    return x, y, 1, x * y % P


def negative(point: Point) -> Point:
    x, y, z, t = point
    return -x % P, y, z, -t % P


def decode(encodings: Words, out: Words, valid: NDArray[np.bool_]) -> None:
    """Affine rows of encodings; valid says which are canonical, the other rows are anything."""
    for i, row in enumerate(encodings):
        point = group.decode(row.tobytes())
        valid[i] = point is not None
        out[i] = row_of(point or IDENTITY)


def encode(points: Words, out: Words) -> None:
    """The encodings of affine rows."""
    for i, row in enumerate(points):
        out[i] = group._words(group.encode(point_of(row)))


def sums(points: Words, members: Positions, starts: Positions, stops: Positions, out: Words) -> None:
    """The sum of the rows that members[starts[i]:stops[i]] names, for each list i."""
    for i in range(len(out)):
        total = IDENTITY
        for member in members[starts[i] : stops[i]]:
            total = group.plus(total, point_of(points[member]))
        out[i] = row_of(total)


def comb(start: Point, number: int, windows: int, bits: int, table: NDArray[np.uint64]) -> Point:
    """Add to a point, for each window, the row of the table that a digit less half names, or its opposite."""
    for window in table[:windows]:
        digit = number % 2**bits - 2 ** (bits - 1)
        number >>= bits
        point = point_of(window[abs(digit)])
        start = group.plus(start, negative(point) if digit < 0 else point)
    return start


def comb_encode(
    numbers: Words,
    table: NDArray[np.uint64],
    shifts: Words,
    digits: int,
    base: NDArray[np.uint64],
    bits: int,
    out: Words,
) -> None:
    """The encodings of twice the comb of `numbers` in `table` plus that of `shifts` in `base`, of so many digits."""
    for i, (number, shift) in enumerate(zip(numbers, shifts, strict=True)):
        point = comb(IDENTITY, _integer(number), len(table), int(bits), table)
        point = comb(point, _integer(shift), digits, int(bits), base)
        out[i] = group._words(group.encode(group.plus(point, point)))


def comb_add(points: Words, numbers: Words, table: NDArray[np.uint64], bits: int, out: Words) -> None:
    """Each row plus the comb of its number, as affine rows."""
    for i, (row, number) in enumerate(zip(points, numbers, strict=True)):
        out[i] = row_of(comb(point_of(row), _integer(number), len(table), int(bits), table))


def unmask(masks: Words, points: Words, digits: NDArray[np.int8], out: Words) -> None:
    """Four times (the number that the digits spell, times the mask, plus the point), as affine rows."""
    scalar = group._number(digits)
    for i, (mask, row) in enumerate(zip(masks, points, strict=True)):
        known = point_of(mask)
        masked = group.times(abs(scalar), negative(known) if scalar < 0 else known)
        out[i] = row_of(group.times(4, group.plus(masked, point_of(row))))


def times(points: Words, digits: NDArray[np.int8], out: Words) -> None:
    """The number that the digits spell times each row, as affine rows."""
    scalar = group._number(digits)
    for i, row in enumerate(points):
        known = point_of(row)
        out[i] = row_of(group.times(abs(scalar), negative(known) if scalar < 0 else known))


def labels(points: Words, step: Words, out: Words) -> None:
    """The lowest words of twice y of each point plus the step, and less it."""
    other = point_of(step[0])
    for i, row in enumerate(points):
        point = point_of(row)
        for j, moved in enumerate((group.plus(point, other), group.plus(point, negative(other)))):
            out[i, j] = 2 * moved[1] * pow(moved[2], -1, P) % P % 2**64


def enter(labels: Words, first: int, table: Words) -> None:
    """Enter labels, numbered from `first`, in a table of a power of two of places, by open addressing."""
    for number, label in enumerate(labels.tolist(), start=int(first) + 1):
        place = label % len(table)
        while table[place]:
            place = (place + 1) % len(table)
        table[place] = (label & ~NUMBER) | number


def find(labels: Words, table: Words, out: Positions) -> None:
    """The number of each label, -1 where the table has none that agrees in the upper 40 bits."""
    for i, label in enumerate(labels.tolist()):
        place, out[i] = label % len(table), -1
        while table[place] and out[i] < 0:
            entry = int(table[place])
            if (entry ^ label) & ~NUMBER == 0:
                out[i] = (entry & NUMBER) - 1
            place = (place + 1) % len(table)


def _integer(words: Words) -> int:
    return int.from_bytes(words.tobytes(), "little")
