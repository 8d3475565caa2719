"""Discrete logarithms of small numbers: m from m B, |m| < 2**reach, for many points at once.

Baby steps: a table of the y of i B for i to 2**bits; a point and its opposite share y, so it covers both signs. Giant
steps: p + k W B and p - k W B, W = 2**(bits + 1), looked up for k = 0, 1, 2 ... until all are found; the small ones are
found first. The table keeps 40 bits of y beside the place, so what it proposes is checked: the point is rebuilt from
the number. What it takes in time depends on the numbers, which whoever holds the key learns anyway.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import points
from engine.kernels.points import ROW, Points
from engine.kernels.tiers import kernel

LONGEST = 40


class Logarithms:
    """The table for one base B, an affine row of shape (12,); bits from 4 to 22, 2**(bits + 4) bytes."""

    def __init__(self, base: Points, bits: int) -> None:
        if not 4 <= bits <= 22:
            raise Misuse("A table of logarithms has 2**4 to 2**22 entries.")
        self._bits = bits
        self._split = bits // 2
        self._low = _multiples(base, 1 << self._split)
        self._high = _multiples(points.times_two(base, self._split), (1 << (bits - self._split)) + 1)
        parts = np.concatenate([self._low, self._high])
        self._signed = np.concatenate([parts, points.opposites(parts)])
        self._giant = points.times_two(base, bits + 1)
        self._table = np.zeros(2 << bits, dtype=np.uint64)
        self._fill()

    def _fill(self) -> None:
        """Enter the label of every i B, i = 0 ... 2**bits, those of one low part a step."""
        count = 1 << self._bits
        labels = np.empty(count + 1, dtype=np.uint64)
        low, width = self._low, 1 << self._split
        for i in range(width):
            found = _labels(self._high, low[i])
            labels[i::width] = found[: len(labels[i::width]), 0]
        kernel("points.enter")(labels, np.uint64(0), self._table)

    def find(self, targets: Points, bound: int) -> NDArray[np.int64]:
        """Return the number m of each row m B, |m| <= bound, shape (n,); ValueError where there is no such number."""
        if bound >> LONGEST:
            raise Misuse(f"Logarithms are searched up to 2**{LONGEST}.")
        values, missing = np.zeros(len(targets), dtype=np.int64), np.arange(len(targets))
        step, width = points.identities(1)[0], 2 << self._bits
        for k in range((bound + width // 2) // width + 1):
            if not len(missing):
                break
            rest = np.ascontiguousarray(targets[missing])
            number, found = self._near(rest, step, k * width)
            values[missing[found]] = number[found]
            missing = missing[~found]
            step = points.add(step[None], self._giant[None])[0]
        if len(missing) or (np.abs(values) > bound).any():
            raise ValueError("holds a sum out of range")
        return values

    def _near(self, targets: Points, step: Points, centre: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find the numbers whose distance to `centre` or to its opposite is at most 2**bits."""
        labels = _labels(targets, step)
        hits = np.empty(labels.shape, dtype=np.int64)
        kernel("points.find")(labels.reshape(-1), self._table, hits.reshape(-1))
        values, found = np.zeros(len(targets), dtype=np.int64), np.zeros(len(targets), dtype=np.bool_)
        for column, middle in ((1, centre), (0, -centre)):  # less the step, a number near the centre is small
            for sign in (1, -1):
                rows = np.flatnonzero((hits[:, column] >= 0) & ~found)
                guess = sign * hits[rows, column]
                right = self._equal(targets[rows], step, column, guess)
                values[rows[right]], found[rows[right]] = middle + guess[right], True
        return values, found

    def _equal(self, targets: Points, step: Points, column: int, guess: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which targets are the step (its opposite in column 0) plus the guessed multiple of the base."""
        size, width = np.abs(guess), 1 << self._split
        signed = np.concatenate([self._signed, [step], points.opposites(step[None])])
        away = np.where(guess < 0, len(self._signed) // 2, 0)
        three = (
            size % width + away,
            size // width + len(self._low) + away,
            np.full(len(guess), len(self._signed) + 1 - column),
        )
        members = np.ascontiguousarray(np.stack(three, axis=1)).reshape(-1)
        rebuilt = points.sum_by_list(signed, 3 * np.arange(len(guess) + 1), members)
        return np.asarray((rebuilt == targets).all(axis=1))


def _multiples(base: Points, count: int) -> Points:
    """Return the rows of 0, 1 ... count - 1 times the base."""
    rows = np.concatenate([points.identities(1), base[None]])
    while len(rows) < count:  # all so far, plus the last once more
        rows = np.concatenate([rows, points.add(rows[1:], np.repeat(rows[-1:], len(rows) - 1, axis=0))])
    return np.ascontiguousarray(rows[:count])


def _labels(targets: Points, step: Points) -> NDArray[np.uint64]:
    out = np.empty((len(targets), 2), dtype=np.uint64)
    kernel("points.labels")(targets, np.ascontiguousarray(step).reshape(1, ROW), out)
    return out
