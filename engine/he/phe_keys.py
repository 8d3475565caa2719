"""Keys and ciphertexts of python-paillier (`phe`), both ways: each side decrypts and adds to what the other encrypted.

An array of ours has one exponent, theirs has one for each number; arrays are brought to the lowest. phe's own numbers
are re-randomised on their way out, as ours are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Misuse
from engine.he.packing import BASE
from engine.he.paillier import Ciphertexts, PaillierPublicKey, PaillierSecretKey
from engine.kernels.montgomery import from_bytes, to_bytes

if TYPE_CHECKING:
    from phe import paillier as phe

__all__ = ["ciphertexts_from_phe", "ciphertexts_to_phe", "public_from_phe", "secret_from_phe", "secret_to_phe"]


def public_from_phe(key: phe.PaillierPublicKey) -> PaillierPublicKey:
    """Return phe's public key as ours, without h_s; Misuse where its size is none of ours."""
    return PaillierPublicKey(int(key.n))


def secret_from_phe(key: phe.PaillierPrivateKey) -> PaillierSecretKey:
    """Return phe's private key as ours."""
    return PaillierSecretKey(int(key.p), int(key.q), own=False)


def secret_to_phe(key: PaillierSecretKey) -> phe.PaillierPrivateKey:
    """Return our key as phe's private key, whose `public_key` is phe's of ours."""
    from phe import paillier as phe

    return phe.PaillierPrivateKey(phe.PaillierPublicKey(key.public.n), *key.primes)


def ciphertexts_to_phe(key: PaillierPublicKey, a: Ciphertexts) -> list[phe.EncryptedNumber]:
    """Return phe's encrypted numbers, re-randomised unless they are fresh."""
    from phe import paillier as phe

    public = phe.PaillierPublicKey(key.n)
    return [_obfuscated(phe.EncryptedNumber(public, number, a.exponent)) for number in from_bytes(key.to_bytes(a))]


def ciphertexts_from_phe(key: PaillierPublicKey, numbers: Sequence[phe.EncryptedNumber], bound: int) -> Ciphertexts:
    """Return phe's encrypted numbers as one array; `bound` is what their integers may reach, each at its own exponent.

    Raises Misuse where they belong to another key, ValueError where one is no ciphertext and where exponents are too
    far apart for integers of this bound.
    """
    if any(int(number.public_key.n) != key.n for number in numbers):
        raise Misuse("Encrypted numbers of another key cannot be read with this one.")
    lowest = min((number.exponent for number in numbers), default=0)
    highest = max((number.exponent for number in numbers), default=0)
    steps = highest - lowest
    if steps > key.bits // 4 or (steps and bound * BASE**steps > key.limit):
        raise ValueError("holds numbers whose exponents are too far apart")
    raw = [int(number.ciphertext()) for number in numbers]
    if not all(0 < c < key.n * key.n for c in raw):
        raise ValueError("holds a ciphertext out of range")
    read = key.from_bytes(to_bytes(raw, key.size), bound, lowest)
    if lowest == highest:
        return read
    return key.shifted(read, [BASE ** (number.exponent - lowest) for number in numbers])


def _obfuscated(number: Any) -> Any:
    """Tell phe that the randomness is fresh: else it would raise it to n once more."""
    number._EncryptedNumber__is_obfuscated = True
    return number
