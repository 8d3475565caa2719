"""Points of ristretto255 kept in memory for sums: decoded once, added often, multiplied by table, found by logarithm.

Points are affine rows, uint64 of shape (n, 12): y + x, y - x and 2dxy. Such a row is one point of the coset that an
encoding stands for, so rows never leave this process: what is sent is encoded, which makes the coset one again.
Not constant-time: combs and logarithms look rows up by secret digits (see README.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.constants import ORDER
from engine.kernels.group import Bytes, Mask, _elements, _in_threads, _words, digits_of
from engine.kernels.lists import Places, check_lists, evenly, pieces
from engine.kernels.tiers import kernel

Points = NDArray[np.uint64]

__all__ = ["Comb", "Points", "add", "decode", "encode", "opposites", "sum_by_list", "times", "unmask"]

ROW = 12
_PIECE = 256
_COMPLEMENT = np.array([2**64 - 1] * 3 + [2**63 - 1], dtype=np.uint64)


def decode(encodings: Bytes) -> tuple[Points, Mask]:
    """Return the points of encodings (n, 32), and which rows are canonical ones; the others hold anything."""
    encodings = _elements(encodings)
    out, valid = empty(len(encodings)), np.empty(len(encodings), dtype=np.bool_)
    _in_threads(len(out), lambda s: kernel("points.decode")(_words(encodings[s]), out[s], valid[s]))
    return out, valid


def encode(points: Points) -> Bytes:
    """Return the canonical encodings, shape (n, 32)."""
    out = np.empty((len(points), 32), dtype=np.uint8)
    _in_threads(len(out), lambda s: kernel("points.encode")(points[s], _words(out[s])))
    return out


def add(p: Points, q: Points) -> Points:
    """Return the sum of each pair of rows."""
    if len(p) != len(q):
        raise Misuse("Points are added row by row: give two arrays of the same length.")
    pairs = np.ascontiguousarray(np.arange(2 * len(p)).reshape(2, -1).T)
    return sum_by_list(stack([p, q]).reshape(-1, ROW), np.arange(len(p) + 1) * 2, pairs.reshape(-1))


def sum_by_list(points: Points, offsets: Places, members: Places) -> Points:
    """Return the sum of the rows members[offsets[i]:offsets[i + 1]] for each list i, the identity for an empty one.

    Raises Misuse for offsets that do not ascend and for members that are no rows.
    """
    offsets, members = check_lists(offsets, members, len(points))
    if not len(members):
        return identities(len(offsets) - 1)
    starts, stops, bounds = pieces(offsets, _PIECE)
    order = evenly(stops - starts)
    starts, stops, partial = starts[order], stops[order], empty(len(order))
    run = kernel("points.sums")
    _in_threads(len(order), lambda s: run(points, members, starts[s], stops[s], partial[s]), work=_PIECE)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return partial[ranks] if len(ranks) == len(offsets) - 1 else sum_by_list(partial, bounds, ranks)


def unmask(masks: Points, points: Points, scalar: int) -> Points:
    """Return 4 (points - scalar * masks), row by row, in constant time for a secret scalar.

    Decoding gives one of the points of a coset, which differ by points of order 4: four times it is the same for all.
    """
    digits, out = digits_of(-scalar % ORDER), empty(len(points))
    _in_threads(len(out), lambda s: kernel("points.unmask")(masks[s], points[s], digits, out[s]))
    return out


def times(points: Points, scalar: int) -> Points:
    """Return each row times a whole number, in constant time for a secret one."""
    digits, out = digits_of(scalar % ORDER), empty(len(points))
    _in_threads(len(out), lambda s: kernel("points.times")(points[s], digits, out[s]))
    return out


@dataclass(frozen=True, eq=False)
class Comb:
    """A table of multiples of one point, by which multiplying it by a number takes an addition for each digit.

    `table` is uint64 (windows, 2**(bits - 1) + 1, 12): in window i the rows of 0, 1, 2 ... times 2**(bits * i) times
    the point. Numbers are read as digits of `bits` bits, each less 2**(bits - 1).
    """

    table: Points
    bits: int

    @classmethod
    def of(cls, point: Points, bits: int, windows: int) -> Comb:
        """Return the table of one row, shape (12,)."""
        half = 1 << (bits - 1)
        table = empty(windows, half + 1)
        table[:, 0], table[0, 1] = identities(1), point
        for i in range(1, windows):
            table[i, 1] = times_two(table[i - 1, 1], bits)
        size = 1
        while size < half:  # rows 1 to size are there; size more are row `size` plus each of them
            old = table[:, 1 : size + 1]
            more = add(old.reshape(-1, ROW), np.repeat(old[:, -1:], size, axis=1).reshape(-1, ROW))
            table[:, size + 1 : 2 * size + 1] = more.reshape(windows, size, ROW)
            size *= 2
        return cls(table, bits)

    @property
    def shift(self) -> int:
        """The number that stands for no multiple at all: every digit at its middle."""
        return shift_of(self.bits, len(self.table))

    def encode_twice(self, numbers: Points, base: Comb, shifts: NDArray[np.uint64], digits: int) -> Bytes:
        """Encode twice the point times each number plus twice another's comb of `digits` digits of each shift.

        Numbers are uint64 (n, 4), shifts uint64 (n,).
        """
        out, padded = np.empty((len(numbers), 32), dtype=np.uint8), np.zeros((len(numbers), 4), dtype=np.uint64)
        padded[:, 0] = shifts
        run, bits = kernel("points.comb_encode"), np.uint64(self.bits)
        _in_threads(
            len(out), lambda s: run(numbers[s], self.table, padded[s], digits, base.table, bits, _words(out[s]))
        )
        return out

    def add_to(self, points: Points, numbers: Points) -> Points:
        """Return each row plus the point times its number."""
        out, run = empty(len(points)), kernel("points.comb_add")
        _in_threads(len(out), lambda s: run(points[s], numbers[s], self.table, np.uint64(self.bits), out[s]))
        return out


def shift_of(bits: int, windows: int) -> int:
    return sum(1 << (bits * i + bits - 1) for i in range(windows))


def times_two(point: Points, times: int) -> Points:
    """Return a row, shape (12,), doubled `times` times."""
    from engine.kernels.reference import group
    from engine.kernels.reference import points as reference

    doubled = reference.point_of(point)
    for _ in range(times):
        doubled = group.plus(doubled, doubled)
    return reference.row_of(doubled)


def stack(parts: Iterable[Points]) -> Points:
    """Return arrays of rows as one, shape (parts, n, 12)."""
    parts = list(parts)
    out = empty(len(parts), len(parts[0]))
    for place, part in zip(out, parts, strict=True):
        place[:] = part
    return out


def identities(count: int) -> Points:
    """Return rows of the identity."""
    rows = np.zeros((count, ROW), dtype=np.uint64)
    rows[:, [0, 4]] = 1
    return rows


def opposites(points: Points) -> Points:
    """Return the opposite of each row: y + x and y - x change places, 2dxy changes its sign."""
    out = empty(*points.shape[:-1])
    out[..., :4], out[..., 4:8] = points[..., 4:8], points[..., :4]
    # p - c is (2**255 - 1 - c) - 18: a complement has no borrows, and 18 borrows hardly ever.
    words, less = points[..., 8:] ^ _COMPLEMENT, np.full(points.shape[:-1], 18, dtype=np.uint64)
    for i in range(4):
        borrow = (words[..., i] < less).astype(np.uint64)
        out[..., 8 + i] = words[..., i] - less
        less = borrow
    out[..., 8:] *= points[..., 8:].any(axis=-1, keepdims=True)  # 0 stays 0
    return out


def empty(*shape: int) -> Points:
    """Return rows to be filled, shape (*shape, 12), at the start of a cache line: each then lies in two, not three."""
    size = int(np.prod(shape)) * ROW
    words = np.empty(size + 7, dtype=np.uint64)
    start = -(words.ctypes.data >> 3) & 7
    return words[start : start + size].reshape(*shape, ROW)
