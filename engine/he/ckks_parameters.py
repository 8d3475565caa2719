"""What the parties of `engine.he.ckks` agree on, what follows from it, and the heads of what they send.

A head is 44 bytes: "CKKS", kind, level, whether sums, 0, rows (u32), then 16 bytes each of the SHA-256 of the
parameters and of the public key.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from engine.errors import Misuse
from engine.he.ckks_context import Bytes, CkksContext, Floats, Words, context
from engine.he.sharing import add_modulo

SECURE = {8192: 218, 16384: 438}
"""The largest modulus in bits for 128-bit security, ternary secrets; homomorphic encryption standard 2018, table 1."""

HEADER = 44
FRESH, ANSWER = 1, 2


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What both parties agree on.

    Raises Misuse where they do not fit each other, or together fall short of 128 bits of security.
    """

    values: int = 4096
    """How many numbers a row, one ciphertext, holds; at most degree / 2."""

    bits: int = 4
    """Numbers to be encrypted are at most 2**bits in size."""

    sum_bits: int = 16
    """Numbers to be decrypted, and all on the way, are at most 2**sum_bits in size."""

    scale_bits: int = 84
    """Numbers are encrypted times 2**scale_bits; even, 60 to 100. Flooding takes some 64 of them."""

    levels: int = 1
    """How many products with plain numbers can follow each other; a product of ciphertexts counts twice."""

    error: float = 2.0**-12
    """How far results may be off; noise fills three quarters of it."""

    degree: int = 8192
    """8192 has room for 218 bits of modulus, 16384 for 438."""

    products: bool = False
    """Whether the owner publishes a relinearisation key, for products of ciphertexts."""

    sums: bool = False
    """Whether the owner publishes keys of rotations, for sums over a row."""

    name = "ckks"
    security_bits = 128
    networked = True

    def __post_init__(self) -> None:
        if self.degree not in SECURE or not 1 <= self.values <= self.degree // 2:
            raise Misuse("CKKS needs a degree of 8192 or 16384, and 1 to degree / 2 values a row.")
        if not (60 <= self.scale_bits <= 100 and self.scale_bits % 2 == 0 and 0 <= self.bits <= self.sum_bits <= 40):
            raise Misuse("CKKS needs even scale_bits from 60 to 100, and 0 <= bits <= sum_bits <= 40.")
        if self.levels < 0 or max(self.prime_bits) > 60:
            raise Misuse("CKKS needs levels >= 0 and scale_bits + sum_bits <= 118.")
        if not (math.isfinite(self.error) and self.error > 0 and 1 <= self.flood_bits <= self.scale_bits - 3):
            raise Misuse("CKKS cannot flood within this error; agree on one between 2**(11 - scale_bits) and 2**5.")
        if sum(self.prime_bits) > SECURE[self.degree]:
            raise Misuse(
                f"These parameters take a modulus of {sum(self.prime_bits)} bits, and 128-bit security allows "
                f"{SECURE[self.degree]} at degree {self.degree}; agree on fewer levels, fewer bits or a larger degree."
            )

    @property
    def prime_bits(self) -> tuple[int, ...]:
        """Sizes of the primes: two of the lowest level, one a level, and one of keys, large where it divides noise."""
        base, step = -(-(self.scale_bits + self.sum_bits + 2) // 2), self.scale_bits // 2
        return (base, base, *[step] * self.levels, 60 if self.products or self.sums else 30)

    @property
    def flood_bits(self) -> int:
        """The logarithm of W. A slot's real part has the deviation W/2 sqrt(degree/2) from each of two floods."""
        slot = 8 * math.sqrt(2) * math.sqrt(self.degree / 2) / 2
        return math.floor(math.log2(0.75 * self.error / slot)) + self.scale_bits

    @property
    def steps(self) -> list[int]:
        """The rotations of sums; rows repeat with this period, so a few suffice."""
        return [1 << i for i in range((self.values - 1).bit_length())] if self.sums else []

    @cached_property
    def context(self) -> CkksContext:
        return context(self.degree, self.prime_bits)

    @cached_property
    def scales(self) -> list[float]:
        """The scale of each level, lowest first."""
        scales = [2.0**self.scale_bits] * (self.levels + 1)
        for k in range(self.levels - 2, -1, -1):
            scales[k] = scales[k + 2] ** 2 / self.context.primes[k + 3] / self.context.primes[k + 2]
        return scales

    @cached_property
    def digest(self) -> bytes:
        fields = (self.values, self.bits, self.sum_bits, self.scale_bits, self.levels, self.error)
        rest = (self.degree, self.products, self.sums, self.context.key_primes)
        return hashlib.sha256(repr(("ckks 1", *fields, *rest)).encode()).digest()[:16]

    @property
    def public_bytes(self) -> int:
        """The size of what the owner publishes."""
        return 16 + self.context.public_bytes + self.context.switch_bytes * (int(self.products) + len(self.steps))

    def fresh_bytes(self, rows: int) -> int:
        """The size of rows that the owner has encrypted."""
        return HEADER + rows * self.context.fresh_bytes

    def answer_bytes(self, rows: int) -> int:
        """The size of an answer of this many rows."""
        return HEADER + rows * self.context.answer_bytes

    def slots(self, rows: Floats, repeat: bool = False) -> Floats:
        """Return rows (any, values) as slots (any, degree / 2), with a power of two for period."""
        period = 1 << (self.values - 1).bit_length()
        width = 0 if repeat else period - rows.shape[1]
        return np.tile(np.pad(rows, ((0, 0), (0, width))), self.context.slots // (rows.shape[1] + width))

    def header(self, kind: int, level: int, summed: bool, rows: int, key: bytes) -> bytes:
        return struct.pack("<4sBBBxI", b"CKKS", kind, level, summed, rows) + self.digest + key

    def opened(self, data: Bytes, kind: int, key: bytes) -> tuple[bytes, int, bool, int]:
        """Check size and head of what was received; return body, level, whether it holds sums, and rows."""
        size = self.context.fresh_bytes if kind == FRESH else self.context.answer_bytes
        rows, rest = divmod(bytes_array(data).size - HEADER, size)
        if rows < 1 or rest:
            raise ValueError("holds ciphertexts of another size than agreed")
        wire = data.tobytes()
        level, summed = wire[5], wire[6]
        if level > self.levels or summed > int(kind == ANSWER and self.sums) or (kind == FRESH and level < self.levels):
            raise ValueError("holds ciphertexts of a level or form that cannot be")
        if wire[12:28] != self.digest:
            raise ValueError("holds ciphertexts of other parameters than agreed")
        if wire[28:HEADER] != key:
            raise ValueError("holds ciphertexts under another key")
        if wire[:HEADER] != self.header(kind, level, bool(summed), rows, key):
            raise ValueError("holds a head that is not of these ciphertexts")
        return wire[HEADER:], level, bool(summed), rows

    def add_flood(self, residues: Words) -> None:
        """Add fresh noise of the width agreed to the first polynomial of residues (2, 2, N)."""
        primes = np.array(self.context.primes[:2], dtype=np.uint64)[:, None]
        residues[0] = add_modulo(residues[0], self.context.flood(self.flood_bits), primes)


def bytes_array(data: Bytes) -> Bytes:
    """Check that what a peer sent is uint8 of shape (any,)."""
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError("holds something else than bytes")
    return data


def numbers_of(values: Floats | float) -> Floats:
    """Return own numbers as float64."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise Misuse("CKKS works on real numbers, in arrays of float64.") from cause


def theirs(load: Callable[..., Any], *received: Any) -> Any:
    """Load what a peer sent; whatever SEAL finds wrong with it is theirs."""
    try:
        return load(*received)
    except RuntimeError as cause:
        raise ValueError("holds something that SEAL does not read") from cause
