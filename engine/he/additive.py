"""What schemes offer whose ciphertexts add up, one small protocol for each capability: `paillier` and `elgamal` do.

The key owner encrypts an array of signed integers by rows, a ciphertext each: (n,), or (n, values) where a scheme holds
several numbers under one randomness. Whoever holds the public key computes with ciphertexts row by row and sees nothing
of them. Arrays stay in the form that is fastest to compute with; bytes are for the wire. Ciphertexts know a public
bound of what they hold, so that a sum that might overflow is refused before it is made, and whether their randomness is
fresh: `to_bytes` re-randomises what is not.

Code asks for what it needs, `Adds[C]` say, and `isinstance` tells what a key can do. What comes from a peer is checked
before use and raises ValueError with a short reason; the caller knows which peer to blame. A mistake of this side
raises Misuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.he import elgamal, paillier
    from engine.he.packing import Lanes

__all__ = [
    "AdditivePublicKey",
    "AdditiveScheme",
    "AdditiveSecretKey",
    "Adds",
    "Bytes",
    "Compresses",
    "Encrypts",
    "Multiplies",
    "Numbers",
    "Places",
    "Serialises",
    "SumsByList",
]

Bytes = NDArray[np.uint8]
Numbers = NDArray[Any]
"""Signed integers (n,) or (n, values): an integer dtype, or Python integers in an array of objects."""
Places = NDArray[np.int64]
C = TypeVar("C")
"""A scheme's array of ciphertexts."""
Made = TypeVar("Made", covariant=True)


@runtime_checkable
class Encrypts(Protocol[Made]):
    """Turns plain integers into ciphertexts."""

    def encrypt(self, values: Numbers, /) -> Made:
        """Encrypt integers, a ciphertext a row."""


@runtime_checkable
class Adds(Protocol[C]):
    """Adds and subtracts row by row."""

    def add(self, a: C, b: C, /) -> C:
        """Add up pair by pair."""

    def subtract(self, a: C, b: C, /) -> C:
        """Subtract pair by pair."""


@runtime_checkable
class Multiplies(Protocol[C]):
    """Multiplies by plain integers."""

    def times(self, a: C, scalars: Numbers, /) -> C:
        """Multiply by plain signed integers, (n,) or one for all rows."""


@runtime_checkable
class SumsByList(Protocol[C]):
    """Adds up the rows that lists name, a bin or a node each."""

    def sum_by_list(self, a: C, offsets: Places, members: Places, /) -> C:
        """Return the sum of a[members[offsets[i]:offsets[i + 1]]] for each i."""


@runtime_checkable
class Compresses(Protocol[C]):
    """Packs many short values into one ciphertext, for the way back."""

    def lanes(self, width: int, /) -> Lanes:
        """Return as many lanes of this width as fit in a plaintext."""

    def compress(self, a: C, lanes: Lanes, /) -> C:
        """Put each `lanes.count` neighbours into one ciphertext."""


@runtime_checkable
class Serialises(Protocol[C]):
    """Writes and reads what travels; what leaves is re-randomised."""

    def rerandomise(self, a: C, /) -> C:
        """Return encryptions of the same values, whose randomness tells nothing of where they come from."""

    def to_bytes(self, a: C, /) -> Bytes:
        """Return what to send, (n, size), re-randomised unless it is fresh."""

    def from_bytes(self, data: Bytes, bound: int) -> C:
        """Check and read what a peer sent; `bound` is what the protocol allows its values to reach."""


class AdditivePublicKey(Encrypts[C], Adds[C], Multiplies[C], SumsByList[C], Serialises[C], Protocol[C]):
    """What computes without the power to read: all that every scheme here can do."""


class AdditiveSecretKey(Protocol[C]):
    """A key owner's key."""

    @property
    def public(self) -> AdditivePublicKey[C]:
        """What computes with this key's ciphertexts."""

    def decrypt(self, a: C, /) -> Numbers:
        """Return what is inside; ValueError where a value exceeds its bound."""


class AdditiveScheme(Protocol[C]):
    """A scheme object belongs to one party; the parties' objects only need the same name and sizes."""

    @property
    def name(self) -> str: ...

    @property
    def security_bits(self) -> int: ...

    @property
    def networked(self) -> bool:
        """Whether it may be used between machines."""

    def key(self) -> AdditiveSecretKey[C]:
        """Return a fresh key."""

    def peer(self, public: Bytes, /) -> AdditivePublicKey[C]:
        """Check and read what the key owner published."""


if TYPE_CHECKING:  # what mypy is to hold the schemes to

    def _paillier(scheme: paillier.Paillier, key: paillier.PaillierPublicKey) -> Compresses[paillier.Ciphertexts]:
        _: AdditiveScheme[paillier.Ciphertexts] = scheme
        return key

    def _elgamal(scheme: elgamal.Elgamal) -> AdditiveScheme[elgamal.Ciphertexts]:
        return scheme
