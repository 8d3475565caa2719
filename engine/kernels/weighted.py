"""Products of powers with public exponents: what a plain matrix does to ciphertexts, in a few products an entry.

The method of buckets (Bernstein, Doumen, Lange, Oosterwijk, INDOCRYPT 2012, section 4, call it Pippenger's): exponents
are cut into digits of c bits; for each list and digit position, the rows that share a digit are multiplied into a
bucket, one product for each row and digit that is not 0. Bucket d is then due d times. Instead of running products,
which go one after the other, its digit is halved again: all buckets with the same upper half make one bucket of half
the width, those with the same lower half another, until a bucket stands for one bit. Squarings join the bits, once a
list. So all the work is `product_by_list` on large batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.lists import Places, check_lists
from engine.kernels.montgomery import Modulus, Words

__all__ = ["power_products_vartime"]

_WIDEST = 12
_BYTES = 1 << 26  # of buckets at a time


def power_products_vartime(
    modulus: Modulus, a: Words, offsets: Places, members: Places, exponents: NDArray[Any]
) -> Words:
    """Return the product of a[members[j]] ** exponents[j] over each list j = offsets[i] ... offsets[i + 1] - 1.

    exponents: integers of either sign and any size (int, uint or Python integers), one a member. Where some are
    negative the residues of their lists are inverted, so must be public. **Time and memory accesses depend on the
    exponents.** Raises Misuse for lists that are none, or another number of exponents; ValueError where a row that a
    negative exponent needs has no inverse.
    """
    modulus._require(a)
    offsets, members = check_lists(offsets, members, len(a))
    exponents = np.asarray(exponents)
    if exponents.shape != members.shape or exponents.dtype.kind not in "iuO":
        raise Misuse("Each member of a list has an exponent, an integer.")
    negative = np.asarray(exponents < 0, dtype=np.bool_)
    if not negative.any():
        return _products(modulus, a, offsets, members, exponents)
    lists = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.argsort(2 * lists + negative, kind="stable")
    split = np.zeros(2 * len(offsets) - 1, dtype=np.int64)
    np.cumsum(np.bincount(2 * lists + negative, minlength=2 * len(offsets) - 2), out=split[1:])
    both = _products(modulus, a, split, members[order], magnitudes(exponents)[order])
    return modulus.multiply(np.ascontiguousarray(both[::2]), modulus.invert(np.ascontiguousarray(both[1::2])))


def magnitudes(exponents: NDArray[Any]) -> NDArray[Any]:
    """Return magnitudes: uint64, or Python integers."""
    if exponents.dtype.kind == "u":
        return exponents
    sizes: NDArray[Any] = np.abs(exponents if exponents.dtype.kind == "O" else exponents.astype(np.int64))
    return sizes if exponents.dtype.kind == "O" else sizes.view(np.uint64)


def _products(modulus: Modulus, a: Words, offsets: Places, members: Places, exponents: NDArray[Any]) -> Words:
    """As above for exponents >= 0, so many lists at a time that their buckets stay small."""
    lists = len(offsets) - 1
    little = _little_endian(exponents)
    bits = int(exponents.max(initial=0)).bit_length()
    if bits == 0 or lists == 0:
        return np.repeat(modulus.one, lists, axis=0)
    most = _BYTES // (8 * modulus.words)
    width = _best_width(bits, len(members) / lists, most)
    widths = [min(width, bits - start) for start in range(0, bits, width)]
    step = max(1, most // sum((1 << w) - 1 for w in widths))
    found = []
    for first in range(0, lists, step):
        bounds = offsets[first : first + step + 1]
        s = slice(int(bounds[0]), int(bounds[-1]))
        buckets = _buckets(modulus, a, bounds - bounds[0], members[s], little[s], widths)
        found.append(_joined(modulus, buckets, widths, len(bounds) - 1))
    return np.concatenate(found)


def _best_width(bits: int, length: float, most: int) -> int:
    """Return the width of digits with which a list of this length takes the fewest products."""

    def cost(width: int) -> float:
        return -(-bits // width) * (length * (1 - 0.5**width) + (2 << width))

    small = [width for width in range(1, _WIDEST + 1) if -(-bits // width) << width <= most]
    return min(small, key=cost, default=1)


def _little_endian(exponents: NDArray[Any]) -> NDArray[np.uint8]:
    """Return exponents in little-endian bytes, three zeros after the last."""
    if exponents.dtype.kind != "O":
        rows = exponents.astype("<u8").view(np.uint8).reshape(-1, 8)
    else:
        size = -(-int(exponents.max(initial=0)).bit_length() // 8)
        text = b"".join(int(number).to_bytes(size, "little") for number in exponents)
        rows = np.frombuffer(text, dtype=np.uint8).reshape(len(exponents), size)
    return np.pad(rows, ((0, 0), (0, 3)))


def _digit(little: NDArray[np.uint8], start: int, width: int) -> Places:
    """Return the `width` bits from bit `start` of each number; a digit of 12 bits touches three bytes at most."""
    first = little[:, start // 8 : start // 8 + 3].astype(np.int64)
    read = first[:, 0] | first[:, 1] << 8 | first[:, 2] << 16
    digit: Places = read >> start % 8 & (1 << width) - 1
    return digit


def _buckets(
    modulus: Modulus, a: Words, offsets: Places, members: Places, little: NDArray[np.uint8], widths: list[int]
) -> Words:
    """Return the products of rows by list, digit position and digit from 1, in this order."""
    total = sum((1 << w) - 1 for w in widths)
    base = np.repeat(np.arange(len(offsets) - 1) * total, np.diff(offsets))
    keys, rows, start = [], [], 0
    for width in widths:
        digits = _digit(little, start, width)
        used = np.flatnonzero(digits)
        keys.append(base[used] + digits[used] - 1)
        rows.append(members[used])
        base, start = base + (1 << width) - 1, start + width
    key = np.concatenate(keys)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=total * (len(offsets) - 1)))])
    return modulus.product_by_list(a, bounds, np.concatenate(rows)[np.argsort(key)])


def _joined(modulus: Modulus, buckets: Words, widths: list[int], lists: int) -> Words:
    """Return, for each list, the product of its buckets to the power of what their digits stand for."""
    while max(widths) > 1:
        offsets, members = _halving(widths)
        size = sum((1 << w) - 1 for w in widths)
        members = (np.arange(lists)[:, None] * size + members).reshape(-1)
        ends = (np.arange(lists)[:, None] * offsets[-1] + offsets[1:]).reshape(-1)
        buckets = modulus.product_by_list(buckets, np.concatenate([[0], ends]), members)
        widths = [part for w in widths for part in (w - w // 2, w // 2) if part]
    bits = buckets.reshape(lists, len(widths), modulus.words)
    total = np.ascontiguousarray(bits[:, -1])
    for bit in range(len(widths) - 2, -1, -1):
        total = modulus.multiply(modulus.square(total), np.ascontiguousarray(bits[:, bit]))
    return total


def _halving(widths: list[int]) -> tuple[Places, Places]:
    """Return as lists, for one list's buckets, those that agree in the lower half of their digit, or in the upper."""
    counts, members, at = [np.zeros(1, dtype=np.int64)], [], 0
    for width in widths:
        digits, low = np.arange(1, 1 << width), width - width // 2
        for half in (digits & (1 << low) - 1, digits >> low)[: 2 if width > 1 else 1]:
            order = np.argsort(half, kind="stable")
            members.append(at + order[np.count_nonzero(half == 0) :])
            counts.append(np.bincount(half)[1:])
        at += len(digits)
    return np.cumsum(np.concatenate(counts)), np.concatenate(members)
