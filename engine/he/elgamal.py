"""Lifted ElGamal in ristretto255: whole numbers in the exponent, several of them under one randomness.

    key          x_j uniform, K_j = x_j G               for each of the values of a row, independent
    encrypt      (r G, r K_1 + m_1 G, r K_2 + m_2 G ...)  one fresh uniform r for each row
    add          points add up, and so do the numbers
    decrypt      4 (C_j - x_j R) = m_j 4 G, and the logarithm of that (`engine.he.logarithm`)

Sharing r among independent keys is as secure as one r each (Kurosawa 2002; Bellare, Boldyreva, Staddon 2003): IND-CPA
under decisional Diffie-Hellman in ristretto255, 128 bits. What a holder of the public key computes shows which rows it
added, to whoever can test guesses; `rerandomise` adds a fresh encryption of zero, so that an answer is a fresh
encryption whose only content is the sums. `to_bytes` does that to whatever was computed and is not yet fresh.

Numbers are signed. How large they can be is part of the scheme: |m| < 2**bits when encrypted, sums below 2**sum_bits,
and each ciphertext carries the bound that its numbers have kept; what could pass sum_bits is a Misuse before any work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.he.logarithm import LONGEST, Logarithms
from engine.he.secret import Secret
from engine.kernels import group, points
from engine.kernels.constants import GENERATOR, ORDER
from engine.kernels.lists import check_lists
from engine.kernels.points import Comb, Points

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

__all__ = ["Ciphertexts", "Elgamal", "PublicKey", "SecretKey"]

_DIGIT = 12
_WINDOWS = 21  # 252 bits: a uniform number of that many is uniform modulo the order but for 2**-127
_HALF = pow(2, -1, ORDER)


@dataclass(frozen=True, kw_only=True)
class Elgamal:
    """The parameters, which both parties agree on.

    Raises Misuse where they do not fit each other.
    """

    values: int = 1
    """How many numbers a row holds."""

    bits: int = 16
    """Numbers to be encrypted are below 2**bits in size."""

    sum_bits: int = 25
    """Sums to decrypt are below 2**sum_bits in size; finding one takes up to 2**(sum_bits - table_bits - 1) steps."""

    table_bits: int = 20
    """The key holder keeps a table of 2**(table_bits + 4) bytes for logarithms."""

    name = "elgamal"
    security_bits = 128
    networked = True

    def __post_init__(self) -> None:
        if not (self.values >= 1 and 1 <= self.bits <= self.sum_bits <= LONGEST and 4 <= self.table_bits <= 22):
            raise Misuse(f"ElGamal needs 1 or more values, 1 <= bits <= sum_bits <= {LONGEST}, 4 <= table_bits <= 22.")

    def key(self) -> SecretKey:
        """Return a fresh key; take one per session."""
        secrets = tuple(group.random_scalar() for _ in range(self.values))
        rows = np.array([np.frombuffer(x.to_bytes(32, "little"), dtype=np.uint8) for x in secrets])
        return SecretKey(self.peer(group.multiply_base(rows)), secrets)

    def peer(self, public: Bytes) -> PublicKey:
        """Read what the other party published, uint8 (values, 32); ValueError unless it is a key of this scheme."""
        if public.dtype != np.uint8 or public.shape != (self.values, 32):
            raise ValueError("sent a key of another number of values than agreed")
        if not (group.decode_valid(public) & public.any(axis=1)).all() or len(np.unique(public, axis=0)) < self.values:
            raise ValueError("sent a key that is not of distinct elements of the group")
        return PublicKey(self, public.copy())


@dataclass(frozen=True, eq=False)
class Ciphertexts:
    """Encrypted rows: R, then one point for each value. `bound` is the largest size that any number in it can have."""

    key: PublicKey
    bound: int
    fresh: bool
    """Whether nobody can tell from it what it was computed from."""
    _points: Points | None = field(default=None, repr=False)
    _encoded: Bytes | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return int((self.points if self._encoded is None else self._encoded).shape[1])

    @cached_property
    def points(self) -> Points:
        """Affine rows, uint64 of shape (values + 1, n, 12)."""
        if self._points is not None:
            return self._points
        assert self._encoded is not None
        return points.stack(points.decode(part)[0] for part in self._encoded)

    @cached_property
    def encoded(self) -> Bytes:
        """Canonical encodings, uint8 of shape (values + 1, n, 32)."""
        if self._encoded is not None:
            return self._encoded
        return np.stack([points.encode(part) for part in self.points])


@dataclass(frozen=True, eq=False)
class PublicKey:
    """What encrypts and computes; `public` is its form on the wire, uint8 (values, 32)."""

    scheme: Elgamal
    public: Bytes

    def encrypt(self, values: Integers) -> Ciphertexts:
        """Encrypt rows of integers, shape (n, values), or (n,) for one value; |values| < 2**bits, else Misuse."""
        values, base = self._rows(values), self._combs[0]
        digits = (self.scheme.bits + 1) // _DIGIT + 1  # a value and the shift, below 2**(bits + 1) together
        shifts = (values + points.shift_of(_DIGIT, digits)).astype(np.uint64)
        numbers, none = _random_numbers(len(values)), np.zeros(len(values), dtype=np.uint64)
        parts = [base.encode_twice(numbers, base, none, 0)]
        parts += [
            comb.encode_twice(numbers, base, np.ascontiguousarray(shifts[:, j]), digits)
            for j, comb in enumerate(self._combs[1:])
        ]
        return Ciphertexts(self, (1 << self.scheme.bits) - 1, fresh=True, _encoded=np.stack(parts))

    def add(self, a: Ciphertexts, b: Ciphertexts) -> Ciphertexts:
        """Return the sums of rows with rows."""
        self._own(a)
        self._own(b)
        bound = self._within(a.bound + b.bound)
        sums = points.stack(points.add(p, q) for p, q in zip(a.points, b.points, strict=True))
        return Ciphertexts(self, bound, False, sums)

    def sum_by_list(self, c: Ciphertexts, offsets: Integers, members: Integers) -> Ciphertexts:
        """Return the sum of the rows members[offsets[i]:offsets[i + 1]] for each list i."""
        self._own(c)
        offsets, members = check_lists(offsets, members, len(c))
        bound = self._within(c.bound * int(np.diff(offsets).max(initial=0)))
        sums = points.stack(points.sum_by_list(part, offsets, members) for part in c.points)
        return Ciphertexts(self, bound, False, sums)

    def subtract(self, a: Ciphertexts, b: Ciphertexts) -> Ciphertexts:
        """Return the differences of rows and rows."""
        self._own(b)
        return self.add(a, Ciphertexts(self, b.bound, False, points.opposites(b.points)))

    def times(self, c: Ciphertexts, factors: int | Integers) -> Ciphertexts:
        """Return each row's numbers times its factor, integers of shape (n,), or one for all; best if few differ."""
        self._own(c)
        factors = _factors(factors, len(c))
        distinct = np.unique(factors)
        bound = self._within(c.bound * max((abs(factor) for factor in distinct.tolist()), default=0))
        scaled = points.empty(len(c.points), len(c))
        for factor in distinct.tolist():
            rows = np.flatnonzero(factors == factor)
            for part, out in zip(c.points, scaled, strict=True):
                out[rows] = points.times(part[rows], factor)
        return Ciphertexts(self, bound, False, scaled)

    def rerandomise(self, c: Ciphertexts) -> Ciphertexts:
        """Return encryptions of the same numbers that show nothing of what they were computed from."""
        self._own(c)
        numbers = _random_numbers(len(c))
        masked = [comb.add_to(part, numbers) for comb, part in zip(self._combs, c.points, strict=True)]
        return Ciphertexts(self, c.bound, True, points.stack(masked))

    def to_bytes(self, c: Ciphertexts) -> Bytes:
        """Return ciphertexts for the wire, uint8 (n, 32 * (values + 1)), re-randomised unless they are fresh."""
        self._own(c)
        c = c if c.fresh else self.rerandomise(c)
        return np.ascontiguousarray(c.encoded.transpose(1, 0, 2)).reshape(len(c), 32 * len(c.encoded))

    def from_bytes(self, data: Bytes, bound: int | None = None) -> Ciphertexts:
        """Check and read ciphertexts from the wire; `bound` is the size of the numbers agreed on, else 2**bits - 1.

        Raises ValueError unless all points are canonical and no row's randomness is nothing or another row's.
        """
        parts = self.scheme.values + 1
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 32 * parts:
            raise ValueError("holds ciphertexts of another size than agreed")
        encoded = np.ascontiguousarray(data.reshape(len(data), parts, 32).transpose(1, 0, 2))
        decoded = points.empty(parts, len(data))
        for part, out in zip(encoded, decoded, strict=True):
            out[:], valid = points.decode(part)
            if not valid.all():
                raise ValueError("holds a point that is no canonical encoding")
        if not encoded[0].any(axis=1).all() or _repeats(encoded[0]):
            raise ValueError("holds a row whose randomness is nothing or that of another row")
        bound = self._within((1 << self.scheme.bits) - 1 if bound is None else bound)
        return Ciphertexts(self, bound, False, decoded)

    def _rows(self, values: Integers) -> Integers:
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != self.scheme.values or values.dtype.kind not in "iu":
            raise Misuse(f"Rows to encrypt are integers of shape (n, {self.scheme.values}).")
        limit = 1 << self.scheme.bits
        if len(values) and not (int(values.max()) < limit and int(values.min()) > -limit):
            raise Misuse(f"A number to encrypt is not below 2**{self.scheme.bits}; scale it, or agree on more bits.")
        return values.astype(np.int64)

    def _own(self, c: Ciphertexts) -> None:
        if c.key is not self and not np.array_equal(c.key.public, self.public):
            raise Misuse("These ciphertexts belong to another key.")

    def _within(self, bound: int) -> int:
        if bound < 0:
            raise Misuse("The bound of numbers is 0 or more.")
        if bound >> self.scheme.sum_bits:
            raise Misuse(
                f"A sum could reach {bound}, and sums are decrypted below 2**{self.scheme.sum_bits}; "
                "add fewer rows, encrypt smaller numbers, or agree on more sum_bits."
            )
        return bound

    @cached_property
    def _combs(self) -> tuple[Comb, ...]:
        """Tables of half the generator and half of each key: what is encoded is twice what is computed."""
        elements = np.concatenate([np.frombuffer(GENERATOR, dtype=np.uint8)[None], self.public])
        halves, _ = points.decode(group.multiply(elements, _HALF)[0])
        return tuple(Comb.of(row, _DIGIT, _WINDOWS) for row in halves)


@dataclass(frozen=True, eq=False)
class SecretKey(Secret):
    """A key of one session."""

    public: PublicKey
    _secrets: tuple[int, ...] = field(repr=False)

    def decrypt(self, c: Ciphertexts) -> Integers:
        """Return the numbers, int64 of shape (n, values); ValueError where one exceeds the bound of its ciphertext."""
        self.public._own(c)
        masks, *parts = c.points
        bound = self.public._within(c.bound)
        columns = [points.unmask(masks, part, x) for part, x in zip(parts, self._secrets, strict=True)]
        return self._logarithms.find(np.concatenate(columns), bound).reshape(len(columns), len(c)).T

    @cached_property
    def _logarithms(self) -> Logarithms:
        generator, _ = points.decode(np.frombuffer(GENERATOR, dtype=np.uint8)[None])
        return Logarithms(points.times_two(generator[0], 2), self.public.scheme.table_bits)


def _factors(factors: int | Integers, count: int) -> Integers:
    found = np.asarray(factors)
    whole = found.dtype.kind in "iu" and (not found.size or int(found.max()) < 2**63)
    if not whole or found.shape not in ((), (1,), (count,)):
        raise Misuse("Factors are integers below 2**63 in size, one for each row or one for all.")
    return np.broadcast_to(found.astype(np.int64), (count,))


def _random_numbers(count: int) -> NDArray[np.uint64]:
    """Return fresh secret numbers of 252 bits, shape (n, 4)."""
    numbers = randomness.random_words((count, 4))
    numbers[:, 3] &= np.uint64(2**60 - 1)
    return numbers


def _repeats(rows: Bytes) -> bool:
    """Say whether two rows are equal; most differ in their first words already."""
    words = np.sort(rows.view("<u8")[:, 0])
    return bool((words[1:] == words[:-1]).any()) and len(np.unique(rows, axis=0)) < len(rows)
