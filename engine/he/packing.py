"""How numbers lie in plaintexts: several signed lanes in one, and fractions as integers times a power of 16.

Fractions are encoded as `phe` does: the integer v * 16**-exponent. An array has one exponent, which is public.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.he.additive import Numbers

__all__ = ["Lanes", "as_numbers", "decode", "encode"]

BASE = 16
_MANTISSA = 53


@dataclass(frozen=True)
class Lanes:
    """`count` lanes of `width` bits in one plaintext: the sum of lane[i] * 2**(width * i), |lane[i]| < 2**(width-1)."""

    width: int
    count: int

    def __post_init__(self) -> None:
        if self.width < 2 or self.count < 1:
            raise Misuse("A plaintext holds one lane or more, of 2 bits or more each.")

    @property
    def bound(self) -> int:
        """What a lane may reach."""
        return (1 << self.width - 1) - 1

    def pack(self, values: NDArray[np.int64]) -> NDArray[np.object_]:
        """Pack (n, count) integers; (n,) Python integers. Raises Misuse for a value that its lane cannot hold."""
        if values.ndim != 2 or values.shape[1] != self.count or values.dtype.kind not in "iuO":
            raise Misuse(f"Values to pack are integers of shape (n, {self.count}).")
        wide = as_numbers(values.astype(object))
        if values.size and max(int(wide.max()), -int(wide.min())) > self.bound:
            raise Misuse(f"A value does not fit in a lane of {self.width} bits.")
        weights = np.array([1 << self.width * i for i in range(self.count)], dtype=object)
        packed: NDArray[np.object_] = np.sum(wide * weights, axis=1, dtype=object)
        return packed

    def unpack(self, packed: Sequence[int]) -> NDArray[np.int64]:
        """Return the lanes, (n, count), int64 (objects where lanes are wider than 64 bits).

        Raises ValueError where something is left over above the last lane, or a lane holds -2**(width-1).
        """
        rows = [self._lanes(int(number)) for number in packed]
        kind = np.int64 if self.width <= 64 else object
        return np.array(rows, dtype=kind).reshape(len(rows), self.count)

    def _lanes(self, number: int) -> list[int]:
        half, full = 1 << self.width - 1, 1 << self.width
        lanes = []
        for _ in range(self.count):
            lane = (number + half) % full - half
            lanes.append(lane)
            number = (number - lane) >> self.width
        if number or -half in lanes:
            raise ValueError("holds more than its lanes")
        return lanes


def as_numbers(values: Numbers | Sequence[float]) -> Numbers:
    """Return numbers as an array, objects as Python integers; Misuse where an object is no integer.

    Lists of integers that no dtype holds, which NumPy reads as floats, stay integers.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f" and not isinstance(values, np.ndarray | np.generic):
        objects = np.array(values, dtype=object)
        array = objects if all(isinstance(value, int) for value in objects.flat) else array
    if array.dtype.kind != "O":
        return array
    try:
        whole = [int(operator.index(value)) for value in array.flat]
    except TypeError:
        raise Misuse("Where an array holds objects they must be integers.") from None
    return np.array(whole, dtype=object).reshape(array.shape)


def encode(values: NDArray[np.float64], precision: float | None = None) -> tuple[NDArray[np.object_], int]:
    """Return integers (n,) and the exponent: exact without `precision`, else rounded to at most that step.

    The exponent of exact encodings depends on the smallest value; give a precision where that tells too much. Raises
    Misuse for values that are not finite and for a precision that is no positive number.
    """
    if not np.isfinite(values).all():
        raise Misuse("Values to encrypt must be finite.")
    if precision is not None:
        if not 0 < precision < math.inf:
            raise Misuse("A precision is a positive number, such as 1e-6.")
        exponent = math.floor(math.log(precision, BASE))
    else:
        lowest = np.frexp(values[values != 0])[1].min(initial=_MANTISSA) - _MANTISSA
        exponent = int(lowest) // 4
    scale = Fraction(BASE) ** -exponent
    return np.array([round(Fraction(float(value)) * scale) for value in values], dtype=object), exponent


def decode(integers: NDArray[np.object_], exponent: int) -> NDArray[np.float64]:
    """Return integers times 16**exponent; ValueError where that is beyond the range of floats."""
    up, down = BASE ** max(exponent, 0), BASE ** max(-exponent, 0)
    try:
        return np.array([int(i) * up / down for i in integers], dtype=np.float64)
    except OverflowError:
        raise ValueError("holds a number beyond the range of floats") from None
