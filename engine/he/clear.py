"""NO ENCRYPTION. The scheme `clear` sends every vector in plain; it exists for tests and to measure overheads.

It answers like `rlwe`, with the product minus a fresh uniform share, so protocols over it compute the same integers;
but whoever receives a "ciphertext" of it reads what is inside. `networked` is False: protocols refuse it on a network
link.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.he.contexts import PRIMES
from engine.he.encoding import SLOTS, Layout, layout
from engine.he.scheme import Bytes, Counts, PeerKey, Words
from engine.kernels.ring import Ring

_RING = Ring(PRIMES)
_PUBLIC = np.frombuffer(b"no encryption", dtype=np.uint8)


def _to_bytes(values: Words) -> Bytes:
    return np.ascontiguousarray(values, dtype="<u8").view(np.uint8)


def _from_bytes(received: Bytes, count: int) -> Words:
    if received.dtype != np.uint8 or received.shape != (2, 8 * count):
        raise ValueError("holds vectors of another number or size than agreed")
    values = np.ascontiguousarray(received).view("<u8").astype(np.uint64)
    if not _RING.contains(values):
        raise ValueError("holds a number out of range")
    return values


def _split(values: Words) -> tuple[Bytes, Words]:
    own = _RING.random(values.shape[1])
    return _to_bytes(_RING.subtract(values, own)), own


def _times(a: Words, b: Words) -> Words:
    """Multiply element by element, in three steps of 15 bits of b, so that sums stay below 2^61."""
    primes = np.array(PRIMES, dtype=np.uint64)[:, None]
    total = np.zeros_like(a)
    for shift in (30, 15, 0):
        digits = b >> np.uint64(shift) & np.uint64(0x7FFF)
        total = ((total << np.uint64(15)) + a * digits) % primes
    return total


class Clear:
    """The scheme. It counts operations as `rlwe` would have done them."""

    name = "clear"
    security_bits = 0
    networked = False
    primes = PRIMES
    slots = SLOTS

    def __init__(self) -> None:
        self.counts = Counts()

    def key(self) -> ClearKey:
        return ClearKey(self.counts)

    def peer(self, public: Bytes) -> ClearPeerKey:
        if not np.array_equal(public, _PUBLIC):
            raise ValueError("sent a key of another scheme")
        return ClearPeerKey(self.counts)

    def layout(self, rows: int, columns: int) -> Layout:
        return layout(rows, columns)

    def matrix(self, matrix: NDArray[np.integer], layout: Layout) -> ClearMatrix:
        if matrix.shape != (layout.rows, layout.columns) or matrix.dtype.kind not in "iu":
            raise Misuse("A matrix must have its layout's shape and be integers.")
        return ClearMatrix(self.counts, matrix, layout)


class ClearKey:
    """A key that hides nothing."""

    public = _PUBLIC

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def encrypt_weights(self, weights: Words, layout: Layout) -> Bytes:
        self._counts.encryptions += 2 * layout.column_tiles
        return _to_bytes(weights)

    def encrypt_rows(self, values: Words, layout: Layout) -> Bytes:
        self._counts.encryptions += 2 * layout.row_tiles
        return _to_bytes(values)

    def encrypt_slots(self, values: Words) -> Bytes:
        self._counts.encryptions += 2 * -(-values.shape[1] // SLOTS)
        return _to_bytes(values)

    def decrypt_rows(self, answer: Bytes, layout: Layout) -> Words:
        self._counts.decryptions += 2 * layout.row_tiles
        return _from_bytes(answer, layout.rows)

    def decrypt_weights(self, answer: Bytes, layout: Layout) -> Words:
        self._counts.decryptions += 2 * layout.column_tiles
        return _from_bytes(answer, layout.columns)

    def decrypt_slots(self, answer: Bytes, count: int) -> Words:
        self._counts.decryptions += 2 * -(-count // SLOTS)
        return _from_bytes(answer, count)


class ClearPeerKey:
    """The sender's side of it."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def combine_slots(self, terms: Sequence[tuple[Bytes, Words]]) -> tuple[Bytes, Words]:
        if not terms:
            raise Misuse("A combination needs at least one term.")
        count = terms[0][1].shape[1]
        total = np.zeros((2, count), dtype=np.uint64)
        for ciphertexts, factors in terms:
            total = _RING.add(total, _times(_from_bytes(ciphertexts, count), factors))
        blocks = -(-count // SLOTS)
        self._counts.products += 2 * blocks * len(terms)
        self._counts.outputs += 2 * blocks
        return _split(total)


class ClearMatrix:
    """The sender's matrix."""

    def __init__(self, counts: Counts, matrix: NDArray[np.integer], layout: Layout) -> None:
        self._counts = counts
        self._matrix = matrix
        self._layout = layout

    def times_weights(self, key: PeerKey, weights: Bytes) -> tuple[Bytes, Words]:
        self._count(self._layout.row_tiles)
        return _split(_RING.matmul(self._matrix, _from_bytes(weights, self._layout.columns)))

    def times_rows(self, key: PeerKey, rows: Bytes) -> tuple[Bytes, Words]:
        self._count(self._layout.column_tiles)
        return _split(_RING.matmul_t(self._matrix, _from_bytes(rows, self._layout.rows)))

    def _count(self, outputs: int) -> None:
        self._counts.products += 2 * self._layout.row_tiles * self._layout.column_tiles
        self._counts.outputs += 2 * outputs
