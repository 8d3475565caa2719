"""What a scheme for encrypted linear algebra offers; `rlwe` and `clear` implement it, `engine.vertical` uses it.

Two parties. The receiver holds a key and encrypts vectors of Z_M under it. The sender owns a matrix in plain,
multiplies and returns the answer masked: what the receiver decrypts plus the sender's own share is the product,
exactly modulo each prime, and each of the two alone is uniform.

Vectors are uint64 residues of shape (2, n): row i reduced modulo primes[i], M = primes[0] * primes[1]. Ciphertexts
are uint8 arrays (count, size), those of the first prime first; their shapes depend on public sizes only. What comes
from the peer is checked before use and raises ValueError with a short reason; the caller knows which peer to blame. A
mistake of this side raises Misuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.he.encoding import SLOTS, Layout

__all__ = ["SLOTS", "Bytes", "Counts", "Layout", "Matrix", "PeerKey", "Scheme", "SecretKey", "Words"]

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


@dataclass
class Counts:
    """How many operations a scheme object has done so far, both plaintext primes counted."""

    encryptions: int = 0
    products: int = 0
    outputs: int = 0
    decryptions: int = 0


class PeerKey(Protocol):
    """What the receiver published; the sender needs it to mask answers."""

    def combine_slots(self, terms: Sequence[tuple[Bytes, Words]]) -> tuple[Bytes, Words]:
        """Return the answer to sum_k factor_k * v_k, element by element, and the sender's share, shape (2, n).

        Each term is an encrypted vector (`encrypt_slots`) and the sender's factors, shape (2, n).
        """


class SecretKey(Protocol):
    """A receiver's key of one session."""

    @property
    def public(self) -> Bytes:
        """What the sender needs (`Scheme.peer`), shape (size,)."""

    def encrypt_weights(self, weights: Words, layout: Layout) -> Bytes:
        """Encrypt (2, columns) for `Matrix.times_weights`."""

    def encrypt_rows(self, values: Words, layout: Layout) -> Bytes:
        """Encrypt (2, rows) for `Matrix.times_rows`."""

    def encrypt_slots(self, values: Words) -> Bytes:
        """Encrypt (2, n) for `PeerKey.combine_slots`."""

    def decrypt_rows(self, answer: Bytes, layout: Layout) -> Words:
        """Decrypt an answer of `Matrix.times_weights`: the receiver's share of X w, shape (2, rows)."""

    def decrypt_weights(self, answer: Bytes, layout: Layout) -> Words:
        """Decrypt an answer of `Matrix.times_rows`: the receiver's share of X^T d, shape (2, columns)."""

    def decrypt_slots(self, answer: Bytes, count: int) -> Words:
        """Decrypt an answer of `PeerKey.combine_slots`: the receiver's share, shape (2, count)."""


class Matrix(Protocol):
    """A sender's plain matrix, ready for many products."""

    def times_weights(self, key: PeerKey, weights: Bytes) -> tuple[Bytes, Words]:
        """Return the answer to X w and the sender's share of it, shape (2, rows)."""

    def times_rows(self, key: PeerKey, rows: Bytes) -> tuple[Bytes, Words]:
        """Return the answer to X^T d and the sender's share of it, shape (2, columns)."""


class Scheme(Protocol):
    """A scheme object belongs to one party; the parties' objects only need the same name."""

    name: str
    security_bits: int
    networked: bool
    primes: tuple[int, int]
    slots: int
    counts: Counts

    def key(self) -> SecretKey:
        """Return a fresh key; take one per session."""

    def peer(self, public: Bytes) -> PeerKey:
        """Check and read what the receiver published."""

    def layout(self, rows: int, columns: int) -> Layout:
        """Return the tiles for a matrix of this size."""

    def matrix(self, matrix: NDArray[np.integer], layout: Layout) -> Matrix:
        """Prepare a matrix (rows, columns), int16 or int32, |entries| < 2**15."""
