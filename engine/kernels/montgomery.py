"""Arithmetic modulo large odd numbers, batch first: products, powers, inverses of whole arrays in Montgomery form.

A residue x of a `Modulus` N is a row of a uint64 array that holds x * R mod N in limbs of 52 bits, lowest first, R =
2**(52 * limbs). Of a `SquareModulus` N**2 it is a pair (a0, a1) in one row, a0 + a1 * N = x * R mod N**2, which takes
5/8 of the work of twice as many limbs (`engine.kernels.residues`). Rows stay in that form from `enter` to `leave`, and
all that go in or come out are below N. Where two arrays meet row by row, one of a single row serves all rows of the
other. Kernels run in the tier of this process, on all cores for large batches, with identical results in each tier.

Exponents and residues are secrets, so far as the caveats of README.md go: time depends on sizes, and on an exponent's
length where the text says so. `invert` uses Python integers, whose time depends on values: residues that it is given
must be public, as ciphertexts are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.lists import Places, check_lists, evenly, pieces
from engine.kernels.threads import in_threads
from engine.kernels.tiers import kernel

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

__all__ = ["MAX_BITS", "FixedBase", "Modulus", "SquareModulus"]

MAX_BITS = 8192
_STEP, _SPARE = 10, 12  # limbs come in tens, as kernels take them; R exceeds N by at least 11 bits
_FIXED_WINDOW = 5
_PER_THREAD = 2000  # products
_PIECE = 64
_LANES = 8
_MASK = np.uint64(2**52 - 1)
_12, _52 = np.uint64(12), np.uint64(52)


@dataclass(frozen=True)
class FixedBase:
    """A residue ready for many powers of `bits` bits: row [i, j] is base**(j * 32**(windows - 1 - i))."""

    table: Words
    bits: int


class Modulus:
    """An odd modulus N above 3, of at most 8192 bits. Raises Misuse for another number."""

    def __init__(self, n: int) -> None:
        if n < 5 or n % 2 == 0 or n.bit_length() > MAX_BITS:
            raise Misuse(f"A modulus is an odd number above 3 of at most {MAX_BITS} bits.")
        self.n = n
        self._prepare(n, 1)

    def _prepare(self, root: int, numbers: int) -> None:
        self._root = root
        self.limbs = -(-(root.bit_length() + _SPARE) // (52 * _STEP)) * _STEP
        self.words = numbers * self.limbs
        self.width = numbers * -(-root.bit_length() // 8)
        self.montgomery_r = 1 << 52 * self.limbs
        offset, quotient = (1 - self.montgomery_r) % root, -pow(root, -1, 2**52) % 2**52
        limbs = _limbs([root, offset], self.limbs).reshape(-1)
        self.kernel_words = np.append(limbs, np.uint64(quotient))
        self.one = self.constant(1)
        self._unit = self._row(1)
        self._into = self.constant(self.montgomery_r)

    def _row(self, number: int) -> Words:
        """Lay out a number below the modulus."""
        return _limbs([number], self.limbs)

    def constant(self, number: int) -> Words:
        """Return one number as a residue, a single row."""
        return self._row(number * self.montgomery_r % self.n)

    def enter(self, numbers: Bytes) -> Words:
        """Return the residues of numbers below 256**width in big-endian bytes, (n, at most width)."""
        self._require_width(numbers, self.width)
        return self.multiply(_from_bytes(numbers, self.limbs), self._into)

    def leave(self, a: Words) -> Bytes:
        """Return residues as numbers below the modulus in big-endian bytes, (n, width)."""
        return _to_bytes(self.multiply(a, self._unit), self.width)

    def enter_integers(self, numbers: Iterable[int]) -> Words:
        """As `enter`, from Python integers of either sign."""
        return self.enter(to_bytes([number % self.n for number in numbers], self.width))

    def leave_integers(self, a: Words) -> list[int]:
        """As `leave`, to Python integers."""
        return from_bytes(self.leave(a))

    def convert(self, a: Words, source: Modulus) -> Words:
        """Return, modulo this modulus, which divides the source's, what the residues of the source are."""
        if source.n % self.n:
            raise Misuse("Residues can be taken modulo a divisor of their modulus only.")
        return self._weighed(a, source, 1)

    def combine(self, a: Words, source: Modulus, b: Words, other: Modulus) -> Words:
        """Return what is `a` modulo its source and `b` modulo the other, whose product is this modulus."""
        if source.n * other.n != self.n:
            raise Misuse("Residues combine to one modulo the product of their moduli.")
        inverse = pow(other.n, -1, source.n)
        left = self._weighed(a, source, other.n * inverse)
        return self.add(left, self._weighed(b, other, 1 - other.n * inverse))

    def _weighed(self, a: Words, source: Modulus, weight: int) -> Words:
        """Return what a source's residues are, read modulo this one, times a number."""
        source._require(a)
        weight *= pow(source.montgomery_r, -1, self.n) * self.montgomery_r
        total = np.zeros((len(a), self.words), dtype=np.uint64)
        for first in range(0, source.words, source.limbs):
            scale = weight * source._root ** (first // source.limbs)
            for start in range(0, source.limbs, self.limbs - 1):  # a limb less than R
                piece = a[:, first + start : first + min(start + self.limbs - 1, source.limbs)]
                part = np.pad(piece, ((0, 0), (0, self.words - piece.shape[1])))
                total = self.add(total, self.multiply(part, self.constant(scale << 52 * start)))
        return total

    def multiply(self, a: Words, b: Words) -> Words:
        """Return the product of each pair of rows. Where one is below N, the other's numbers may be up to R / 16."""
        return self._run("multiply", self._pair(a, b), a, b)

    def square(self, a: Words, times: int = 1) -> Words:
        """Return each row squared `times` times."""
        self._require(a)
        run = kernel("montgomery.squares")
        return self._filled(len(a), times, lambda s, out: run(a[s], times, self.kernel_words, out))

    def add(self, a: Words, b: Words) -> Words:
        """Return the sum of each pair of rows."""
        return self._run("add", self._pair(a, b), a, b)

    def power(self, a: Words, exponent: int) -> Words:
        """Return each row to the power of one secret exponent >= 0; time depends on its length."""
        width = max(1, -(-exponent.bit_length() // 8))
        return self.powers(a, to_bytes([exponent], width))

    def powers(self, a: Words, exponents: Bytes) -> Words:
        """Return each row to the power of its own secret exponent, big-endian (n, width).

        Time depends on the length of the longest exponent.
        """
        self._require(a)
        if exponents.ndim != 2 or exponents.dtype != np.uint8 or len(exponents) not in (1, len(a)):
            raise Misuse("Exponents are rows of a uint8 array, one row for each residue or one for all.")
        bits = _window(_bit_length(exponents))
        digits = _digits(exponents, bits)
        run = kernel("montgomery.powers")
        return self._filled(
            len(a),
            bits * digits.shape[1],
            lambda s, out: run(a[s], _part(digits, s), bits, self.one, self.kernel_words, out),
        )

    def fixed_base(self, base: Words, bits: int) -> FixedBase:
        """Prepare one residue, a single row, for powers of at most `bits` bits."""
        self._require(base)
        windows = -(-bits // _FIXED_WINDOW)
        table = np.empty((windows, 1 << _FIXED_WINDOW, self.words), dtype=np.uint64)
        for window in range(windows - 1, -1, -1):
            table[window, 1] = base[0]
            base = self.square(base, _FIXED_WINDOW)
        table[:, 0] = self.one
        for entry in range(2, table.shape[1]):
            table[:, entry] = self.multiply(
                np.ascontiguousarray(table[:, entry - 1]), np.ascontiguousarray(table[:, 1])
            )
        return FixedBase(table, windows * _FIXED_WINDOW)

    def fixed_powers(self, base: FixedBase, exponents: Bytes) -> Words:
        """Return the base to the power of each secret exponent, big-endian (n, width)."""
        digits = _digits(exponents, _FIXED_WINDOW, len(base.table))
        run = kernel("montgomery.fixed_powers")
        return self._filled(
            len(digits), len(base.table), lambda s, out: run(digits[s], base.table, self.kernel_words, out)
        )

    def product_by_list(self, a: Words, offsets: Places, members: Places) -> Words:
        """Return the product of the rows a[members[offsets[i]:offsets[i + 1]]] for each i, 1 for none.

        Raises Misuse for offsets that do not ascend and for members that are no rows.
        """
        self._require(a)
        offsets, members = check_lists(offsets, members, len(a))
        if len(members) == 0:
            return np.repeat(self.one, len(offsets) - 1, axis=0)
        starts, stops, bounds = pieces(offsets, _PIECE)
        order = evenly(stops - starts)
        starts, stops = starts[order], stops[order]
        run = kernel("montgomery.products")
        partial = self._filled(
            len(order),
            -(-len(members) // len(order)),
            lambda s, out: run(a, starts[s], stops[s], members, self.one, self.kernel_words, out),
        )
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        return partial[ranks] if len(ranks) == len(offsets) - 1 else self.product_by_list(partial, bounds, ranks)

    def product(self, a: Words) -> Words:
        """Return the product of all rows, a single row."""
        while len(a) > 1:
            odd = a[-1:] if len(a) % 2 else a[:0]
            half = len(a) // 2
            a = np.concatenate([self.multiply(a[:half], a[half : 2 * half]), odd])
        return a if len(a) else self.one

    def coprime(self, a: Words) -> bool:
        """Say whether every row is invertible; one gcd for all of them."""
        return math.gcd(from_bytes(self.leave(self.product(a)))[0], self.n) == 1

    def invert(self, a: Words) -> Words:
        """Return the inverse of each row, public residues: three products a row and one inversion for all of them.

        Raises ValueError where a row has none.
        """
        self._require(a)
        if len(a) == 0:
            return a
        if len(a) == 1:
            return self.constant(pow(self.leave_integers(a)[0], -1, self.n))
        half = len(a) // 2
        left, right = a[:half], a[half : 2 * half]
        both = self.invert(np.concatenate([self.multiply(left, right), a[2 * half :]]))
        pairs = both[:half]
        return np.concatenate([self.multiply(pairs, right), self.multiply(pairs, left), both[half:]])

    def _require(self, *arrays: Words) -> None:
        for a in arrays:
            if a.ndim != 2 or a.dtype != np.uint64 or a.shape[1] != self.words:
                raise Misuse(f"Residues of this modulus are rows of a uint64 array of shape (n, {self.words}).")

    def _require_width(self, numbers: Bytes, width: int) -> None:
        if numbers.ndim != 2 or numbers.dtype != np.uint8 or numbers.shape[1] > width:
            raise Misuse(f"Numbers are rows of a uint8 array (n, width), at most {width} bytes wide.")

    def _pair(self, a: Words, b: Words) -> int:
        self._require(a, b)
        if len(a) != len(b) and 1 not in (len(a), len(b)):
            raise Misuse("Residues meet row by row: give two arrays of the same length, or one of a single row.")
        return 0 if 0 in (len(a), len(b)) else max(len(a), len(b))

    def _run(self, name: str, count: int, a: Words, b: Words) -> Words:
        run = kernel(f"montgomery.{name}")
        return self._filled(count, 1, lambda s, out: run(_part(a, s), _part(b, s), self.kernel_words, out))

    def _filled(self, count: int, products: int, run: Callable[[slice, Words], None]) -> Words:
        """Have `count` rows filled in slices, each in a thread where rows of so many products are worth it."""
        out = np.empty((count, self.words), dtype=np.uint64)
        in_threads(count, lambda s: run(s, out[s]), _PER_THREAD / max(products, 1), _LANES)
        return out


def _part(rows: NDArray[np.generic], s: slice) -> NDArray[np.generic]:
    """Return the slice, contiguous, of an array, all of it where one row serves all."""
    return np.ascontiguousarray(rows if len(rows) == 1 else rows[s])


class SquareModulus(Modulus):
    """The square of an odd number N above 3, of at most 4096 bits. Raises Misuse for another number."""

    def __init__(self, root: int) -> None:
        if root < 5 or root % 2 == 0 or 2 * root.bit_length() > MAX_BITS:
            raise Misuse(f"A modulus is the square of an odd number above 3 of at most {MAX_BITS // 2} bits.")
        self.n = root * root
        self._prepare(root, 2)
        self._into_high = self.constant(self.montgomery_r << 4 * self.width)

    def _row(self, number: int) -> Words:
        return _limbs([number % self._root, number // self._root], self.limbs).reshape(1, -1)

    def enter(self, numbers: Bytes) -> Words:
        self._require_width(numbers, self.width)
        cut = max(0, numbers.shape[1] - self.width // 2)
        low, high = numbers[:, cut:], numbers[:, :cut]
        nothing = np.zeros((len(numbers), self.limbs), dtype=np.uint64)
        rows = [np.hstack([_from_bytes(part, self.limbs), nothing]) for part in (low, high)]
        return self.add(self.multiply(rows[0], self._into), self.multiply(rows[1], self._into_high))

    def leave(self, a: Words) -> Bytes:
        plain = self.multiply(a, self._unit)
        run = kernel("montgomery.join")
        joined = self._filled(len(a), 1, lambda s, out: run(plain[s], self.kernel_words, out))
        return _to_bytes(joined, self.width)

    def one_plus_multiples(self, numbers: Bytes) -> Words:
        """Return the residues of 1 + m * N for big-endian m, (n, at most width / 2)."""
        self._require_width(numbers, self.width // 2)
        low = np.zeros((len(numbers), self.limbs), dtype=np.uint64)
        low[:, 0] = 1
        return self.multiply(np.hstack([low, _from_bytes(numbers, self.limbs)]), self._into)

    def multiples(self, a: Words) -> Bytes:
        """Return the m, big-endian (n, width / 2), of residues that are 1 + m * N; of others, the quotient by N."""
        return _to_bytes(self.multiply(a, self._unit)[:, self.limbs :], self.width // 2)


def _limbs(numbers: Sequence[int], limbs: int) -> Words:
    return _from_bytes(to_bytes(numbers, 52 * limbs // 8), limbs)


def _from_bytes(numbers: Bytes, limbs: int) -> Words:
    """Return big-endian numbers as limbs: 13 bytes are two of them."""
    blocks = -(-numbers.shape[1] // 13)
    little = np.zeros((len(numbers), 13 * blocks), dtype=np.uint8)
    little[:, : numbers.shape[1]] = numbers[:, ::-1]
    pairs = np.zeros((len(numbers), blocks, 16), dtype=np.uint8)
    pairs[:, :, :13] = little.reshape(len(numbers), blocks, 13)
    words = pairs.view("<u8")
    rows = np.zeros((len(numbers), limbs), dtype=np.uint64)
    rows[:, : 2 * blocks : 2] = words[:, :, 0] & _MASK
    rows[:, 1 : 2 * blocks : 2] = words[:, :, 0] >> _52 | words[:, :, 1] << _12
    return rows


def _to_bytes(rows: Words, width: int) -> Bytes:
    """Return limbs as big-endian numbers of `width` bytes."""
    low, high = rows[:, ::2], rows[:, 1::2]
    pairs = np.empty((*low.shape, 2), dtype="<u8")
    pairs[:, :, 0] = low | high << _52
    pairs[:, :, 1] = high >> _12
    little = pairs.view(np.uint8)[:, :, :13].reshape(len(rows), 13 * low.shape[1])
    return np.ascontiguousarray(little[:, width - 1 :: -1])


def to_bytes(numbers: Sequence[int], width: int) -> Bytes:
    """Lay out numbers below 256**width as big-endian rows."""
    text = b"".join(number.to_bytes(width, "big") for number in numbers)
    return np.frombuffer(text, dtype=np.uint8).reshape(len(numbers), width)


def from_bytes(rows: Bytes) -> list[int]:
    """Read big-endian rows."""
    return [int.from_bytes(row.tobytes(), "big") for row in rows]


def _bit_length(numbers: Bytes) -> int:
    """Return the bits of the longest of big-endian numbers."""
    used = np.flatnonzero(numbers.any(axis=0))
    if len(used) == 0:
        return 0
    first = int(used[0])
    highest = int(numbers[:, first].max())
    return 8 * (int(numbers.shape[1]) - first - 1) + highest.bit_length()


def _window(bits: int) -> int:
    """Return the bits of a digit with which an exponent of this length costs least."""
    return 3 if bits < 80 else 4 if bits < 1200 else 5


def _digits(numbers: Bytes, width: int, count: int | None = None) -> Bytes:
    """Return big-endian numbers as digits of `width` bits, most significant first, as many as the longest takes.

    Raises Misuse where a number takes more than `count` digits, if that is given.
    """
    bits = np.unpackbits(numbers, axis=1)
    bits = np.pad(bits, ((0, 0), (-bits.shape[1] % width, 0)))
    digits = np.packbits(bits.reshape(len(bits), bits.shape[1] // width, width), axis=2)[:, :, 0] >> np.uint8(8 - width)
    if count is None:
        used = np.flatnonzero(digits.any(axis=0))
        return np.ascontiguousarray(digits[:, used[0] if len(used) else -1 :])
    digits = np.pad(digits, ((0, 0), (max(0, count - digits.shape[1]), 0)))
    extra = digits.shape[1] - count
    if digits[:, :extra].any():
        raise Misuse("An exponent is longer than its base was prepared for.")
    return np.ascontiguousarray(digits[:, extra:])
