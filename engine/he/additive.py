"""What a scheme offers whose ciphertexts add up: `paillier` here, lifted ElGamal beside it.

The key owner encrypts an array of signed integers, one ciphertext each. Whoever holds the public key adds them,
multiplies them by plain integers and sums them by lists, and sees none of them. Arrays stay in the form that is fastest
to compute with; bytes are for the wire. Ciphertexts know a public bound of what they hold, so that a sum that might
overflow is refused before it is made, and whether their randomness is fresh: `to_bytes` re-randomises what is not.

What comes from a peer is checked before use and raises ValueError with a short reason; the caller knows which peer to
blame. A mistake of this side raises Misuse.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["AdditivePublicKey", "AdditiveScheme", "AdditiveSecretKey", "Bytes", "Numbers", "Places"]

Bytes = NDArray[np.uint8]
Numbers = NDArray[Any]
"""Signed integers (n,): an integer dtype, or Python integers in an array of objects."""
Places = NDArray[np.int64]
C = TypeVar("C")
"""A scheme's array of ciphertexts."""


class AdditivePublicKey(Protocol[C]):
    """What computes without the power to read."""

    def encrypt(self, values: Numbers) -> C:
        """Encrypt (n,) integers."""

    def add(self, a: C, b: C) -> C:
        """Add up pair by pair."""

    def subtract(self, a: C, b: C) -> C:
        """Subtract pair by pair."""

    def times(self, a: C, scalars: Numbers) -> C:
        """Multiply by plain signed integers, (n,) or one."""

    def sum_by_list(self, a: C, offsets: Places, members: Places) -> C:
        """Return the sum of a[members[offsets[i]:offsets[i + 1]]] for each i."""

    def rerandomise(self, a: C) -> C:
        """Return encryptions of the same values, whose randomness tells nothing of where they come from."""

    def to_bytes(self, a: C) -> Bytes:
        """Return what to send, (n, size), re-randomised unless it is fresh."""

    def from_bytes(self, data: Bytes, bound: int) -> C:
        """Check and read what a peer sent; `bound` is what the protocol allows its values to reach."""


class AdditiveSecretKey(Protocol[C]):
    """A key owner's key."""

    @property
    def public(self) -> AdditivePublicKey[C]:
        """What computes with this key's ciphertexts."""

    def decrypt(self, a: C) -> Numbers:
        """Return what is inside; ValueError where a value exceeds its bound."""


class AdditiveScheme(Protocol[C]):
    """A scheme object belongs to one party; the parties' objects only need the same name and size."""

    name: str
    security_bits: int
    networked: bool

    def key(self) -> AdditiveSecretKey[C]:
        """Return a fresh key."""

    def peer(self, public: Bytes) -> AdditivePublicKey[C]:
        """Check and read what the key owner published."""
