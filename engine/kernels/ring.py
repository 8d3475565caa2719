"""Additive shares modulo M = p*q, kept as residues modulo two primes of equal size.

A share array is uint64 of shape (2, n): row 0 modulo p, row 1 modulo q, both reduced. x = x_A + x_H mod M, where A is
the leader and H the follower. **Lift rule** (for |x| < 2**l and a uniform share of the leader): over the integers
x = x_A - (M - x_H), except with probability 2**l / M. So each side alone may truncate, or reduce modulo something else,
the integer that it reads its share as: the leader x_A in [0, M), the follower x_H - M in [-M, 0). Shares must be fresh:
add a `zero_share` before each lift. These functions are not constant-time; a share is uniform and is used by its owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.kernels.tiers import kernel

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Ring:
    """The integers modulo the product of two primes; both have the same number of bits, at most 46."""

    primes: tuple[int, int]

    def __post_init__(self) -> None:
        p, q = self.primes
        if p == q or min(p, q) < 2 or p.bit_length() != q.bit_length() or p.bit_length() > 46:
            raise Misuse("A ring needs two different primes of the same number of bits, at most 46.")

    @property
    def modulus(self) -> int:
        return self.primes[0] * self.primes[1]

    @cached_property
    def _constants(self) -> Words:
        p, q = self.primes
        return np.array([p, q, pow(p, -1, q)], dtype=np.uint64)

    @cached_property
    def _column(self) -> Words:
        return self._constants[:2, None].copy()

    def contains(self, residues: NDArray[Any]) -> bool:
        """Say whether an array (from a peer, say) is a share array of this ring: uint64 (2, n), all reduced."""
        well_formed = residues.ndim == 2 and residues.shape[0] == 2 and residues.dtype == np.uint64
        return well_formed and bool((residues < self._column).all())

    def add(self, a: Words, b: Words) -> Words:
        total = a + b
        reduced: Words = np.minimum(
            total, total - self._column
        )  # the difference wraps to a huge number where total < prime
        return reduced

    def subtract(self, a: Words, b: Words) -> Words:
        difference = a - b
        reduced: Words = np.minimum(difference, difference + self._column)  # as above, from the other side
        return reduced

    def negate(self, a: Words) -> Words:
        return self.subtract(np.zeros_like(a), a)

    def scale(self, a: Words, factor: int) -> Words:
        """Multiply shares by a public integer of any size and sign."""
        factors = np.array([factor % p for p in self.primes], dtype=np.uint64)
        out = np.empty_like(a)
        kernel("ring.scale")(np.ascontiguousarray(a), factors, self._constants, out)
        return out

    def sum(self, a: Words) -> Words:
        """Return the sum of all elements, shape (2, 1)."""
        total = np.zeros((2, 1), dtype=np.uint64)
        for start in range(0, a.shape[1], 1 << 17):  # 2**17 residues below 2**46 add up to less than 2**63
            total = (total + a[:, start : start + (1 << 17)].sum(axis=1, keepdims=True)) % self._column
        return total

    def random(self, count: int) -> Words:
        """Return `count` uniform elements, shape (2, count)."""
        return np.stack([randomness.random_below(p, count) for p in self.primes])

    def zero_share(self, key: bytes, counter: int, count: int) -> Words:
        """Return pseudorandom elements, shape (2, count), the same for both holders of `key`: one adds, one subtracts.

        AES-256-CTR of the 32-byte key, block counter starting at counter * 2**64; each residue is a 128-bit word modulo
        its prime, within 2**-82 of uniform. A counter must serve once per key; 0 <= counter < 2**64.
        """
        if len(key) != 32 or not 0 <= counter < 1 << 64:
            raise Misuse("A zero share needs a key of 32 bytes and a counter below 2**64.")
        cipher = Cipher(algorithms.AES256(key), modes.CTR(counter.to_bytes(8, "big") + bytes(8))).encryptor()
        stream = np.frombuffer(cipher.update(bytes(32 * count)), dtype="<u8").reshape(2, count, 2)
        out = np.empty((2, count), dtype=np.uint64)
        kernel("ring.fold")(stream.astype(np.uint64), self._constants, out)
        return out

    def to_residues(self, values: NDArray[np.int64]) -> Words:
        """Turn signed integers, shape (n,), into elements."""
        return np.mod(np.asarray(values, dtype=np.int64), self._column.astype(np.int64)).astype(np.uint64)

    def to_signed(self, a: Words) -> NDArray[np.int64]:
        """Return the elements as integers centred around 0, dtype int64; raises Misuse where one does not fit."""
        magnitude, negative = self._magnitudes(a)
        if magnitude[0].any() or (magnitude[1] >= np.uint64(1 << 63)).any():
            raise Misuse("An element of the ring is too large for a 64-bit integer; read it with to_float.")
        signed: NDArray[np.int64] = magnitude[1].astype(np.int64) * _sign(negative)
        return signed

    def to_float(self, a: Words) -> NDArray[np.float64]:
        """Return the elements centred around 0 as float64, each within two roundings."""
        magnitude, negative = self._magnitudes(a)
        size = magnitude[0].astype(np.float64) * 2.0**64 + magnitude[1].astype(np.float64)
        signed: NDArray[np.float64] = size * _sign(negative)
        return signed

    def _magnitudes(self, a: Words) -> tuple[Words, NDArray[np.bool_]]:
        magnitude, negative = np.empty_like(a), np.empty(a.shape[1], dtype=np.bool_)
        kernel("ring.integers")(np.ascontiguousarray(a), self._constants, magnitude, negative)
        return magnitude, negative

    def lift_truncate(self, shares: Words, shift: int, leader: bool) -> Words:
        """Divide the shared values by 2**shift, 0 <= shift < 64, each side on its own share; they come out within 1."""
        if not 0 <= shift < 64:
            raise Misuse("A truncation must be by 0 to 63 bits.")
        out = np.empty_like(shares)
        kernel("ring.truncate")(np.ascontiguousarray(shares), np.uint64(shift), leader, self._constants, out)
        return out

    def lift_phase(self, shares: Words, leader: bool, scale_bits: int, period: int) -> NDArray[np.float64]:
        """Return the lifted shares / 2**scale_bits modulo `period`, float64 in [0, period), exactly.

        The two sides' results add up to the shared value modulo the period. Raises Misuse where float64 would round.
        """
        if period < 1 or scale_bits < 0 or period << scale_bits > 1 << 53:
            raise Misuse("A period times 2**scale_bits must be a whole number of at most 53 bits.")
        out = np.empty(shares.shape[1], dtype=np.uint64)
        modulus = np.uint64(period << scale_bits)
        kernel("ring.phase")(np.ascontiguousarray(shares), modulus, leader, self._constants, out)
        return out.astype(np.float64) / 2.0**scale_bits

    def matmul(self, matrix: NDArray[np.integer], shares: Words) -> Words:
        """Multiply a public integer matrix (n, f), |entries| <= 2**16, by shared weights (2, f): (2, n)."""
        if matrix.ndim != 2 or shares.shape != (2, matrix.shape[1]):
            raise Misuse("A matrix (n, f) multiplies shares of shape (2, f).")
        if matrix.dtype.itemsize > 2 and matrix.size and max(int(matrix.max()), -int(matrix.min())) > 1 << 16:
            raise Misuse("An entry of the matrix exceeds 2**16; scale the features down.")
        result: Words = kernel("ring.product")(matrix, shares, self._constants)
        return result

    def matmul_t(self, matrix: NDArray[np.integer], shares: Words) -> Words:
        """Multiply the transpose of a public integer matrix (n, f) by shares (2, n): (2, f)."""
        return self.matmul(matrix.T, shares)


def _sign(negative: NDArray[np.bool_]) -> NDArray[np.int8]:
    return 1 - 2 * negative.astype(np.int8)
