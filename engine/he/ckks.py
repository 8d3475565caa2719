"""CKKS vectors (SEAL through TenSEAL): approximate arithmetic on encrypted float64 numbers, flooded before release.

    owner, holding s                                 peer
    1  public key, keys that parameters ask for  ->  kept for the session
    2  Enc(rows), seeded                         ->  adds, multiplies, sums; tracks level, magnitude, noise
    3                                            <-  answer: lowest level, plus Enc(0), plus noise of width W
    4  decrypts, with noise of width W of its own

Levels and scales. A product with plain numbers takes one level, of ciphertexts two; a ciphertext of level k has the
one scale S_k: S_L = S_(L-1) = 2**scale_bits, S_(k-2) = S_k^2 / (q_k q_(k-1)). Plain factors are encoded at q_k S_(k-1)
/ S_k. So equal levels are equal scales, and a peer can set neither. The lowest level has two primes, for S 2**sum_bits
and room.

**Answers** (`PublicKey.to_bytes`). The owner knows s and what it sent, so noise and the second polynomial of a product
would show it the peer's factors. Enc(0) under the public key is added, modulo p q', p the next prime, and switched
down to q': its second polynomial is an RLWE sample with a fresh ternary secret, pseudorandom even to one who knows s.
Then F of width W is added to the first. With v all noise by then, Enc(0)'s included, F + v differs from F by a
statistical distance below 1.07 |v| sqrt(rows) / W over the whole answer (`ckks_context` proves it and bounds |v|),
which must be at most 2**-40, else Misuse. W depends on parameters alone: 2**w, the largest for which two floods stay
below 3/4 `error` in each value but for probability 2**-45. So an answer shows the result, level and number of rows and
nothing of noise. The result is that of the polynomials encoded: roundings of the peer's plain factors, near 2**(8 -
scale_bits/2), belong to it and are not hidden.

**Decrypted values** (`SecretKey.decrypt`). Whoever knows what was encrypted and sees approximate results can solve for
s (Li and Micciancio, Eurocrypt 2021); the peer knows its own F. So the owner adds noise of width W too before it
decodes, which hides v within the same 2**-40; k decryptions of answers cost k times that. `decrypt_unflooded` is for
results that nobody else ever sees, not even in part or by what the owner does next.

Results are approximate: within `error` of the same computation in real numbers, or `to_bytes` is a Misuse. The bound
of magnitudes (`bits`, `sum_bits`) and of errors is part of what is tracked and never sent, as it may depend on the
peer's factors.

Who learns what: the peer learns sizes; the owner the results, and how many levels they took. Assumption: RLWE with
ternary secrets at 128 bits by the table of the homomorphic encryption standard, circular security for `products` and
`sums`. Semi-honest: an owner who publishes malformed keys or encrypts other noise than agreed defeats the flooding,
and so does for decrypted values a peer who understates noise; an owner's refusal of an answer shows that it was wrong.
SEAL draws keys and encryptions from its generator, seeded by the system; floods come from `engine.randomness`. SEAL is
not constant-time, and Python cannot erase secrets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from engine.errors import Misuse
from engine.he.ckks_context import Bytes, Floats, Words
from engine.he.ckks_parameters import ANSWER, FRESH, Parameters, bytes_array, numbers_of, theirs
from engine.he.ckks_peer import Encrypted, PublicKey

__all__ = ["Ckks", "Encrypted", "PublicKey", "SecretKey"]


@dataclass(frozen=True, kw_only=True)
class Ckks(Parameters):
    """The scheme; its fields are those of `ckks_parameters.Parameters`."""

    def key(self) -> SecretKey:
        """Return a fresh key; take one per session."""
        return SecretKey(self, self.context.new_keys())

    def peer(self, public: Bytes) -> PublicKey:
        """Read what the owner published, uint8 (public_bytes,); ValueError unless it is a key of these parameters."""
        if bytes_array(public).size != self.public_bytes:
            raise ValueError("sent a key of another size than agreed")
        wire = public.tobytes()
        if wire[:16] != self.digest:
            raise ValueError("sent a key of other parameters than agreed")
        return PublicKey(self, wire)


class SecretKey:
    """The owner's key of one session. It is never part of `public` or of what it encrypts, and cannot be pickled."""

    def __init__(self, scheme: Ckks, keys: Any) -> None:
        self._scheme, self._context = scheme, scheme.context
        secret = keys.secret_key()
        self._encryptor = self._context.api.Encryptor(self._context.seal, secret)
        self._decryptor = self._context.api.Decryptor(self._context.seal, secret)
        wire = scheme.digest + self._context.public_wire(keys)
        wire += self._context.relin_wire(keys) if scheme.products else b""
        wire += self._context.rotation_wire(keys, scheme.steps) if scheme.steps else b""
        self.public: Bytes = np.frombuffer(wire, dtype=np.uint8)
        self._fingerprint = hashlib.sha256(wire).digest()[:16]

    def __reduce__(self) -> NoReturn:
        raise Misuse("A secret key is not to be copied or pickled.")

    def encrypt(self, values: Floats) -> Bytes:
        """Encrypt float64 rows (rows, values), or one (values,), for the peer; uint8 (fresh_bytes(rows),)."""
        scheme, rows = self._scheme, np.atleast_2d(numbers_of(values))
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != scheme.values:
            raise Misuse(f"Rows to encrypt are of shape (rows, {scheme.values}) or ({scheme.values},).")
        if not np.abs(rows).max() <= 2.0**scheme.bits:
            raise Misuse(
                f"A number to encrypt is not finite or exceeds 2**{scheme.bits}; scale it, or agree on more bits."
            )
        level, scale = scheme.levels, scheme.scales[scheme.levels]
        plains = (self._context.encoded(row, level, scale) for row in scheme.slots(rows))
        wires = [self._context.fresh_wire(self._encryptor, plain) for plain in plains]
        head = scheme.header(FRESH, level, False, len(wires), self._fingerprint)
        return np.frombuffer(head + b"".join(wires), dtype=np.uint8)

    def decrypt(self, answer: Bytes) -> Floats:
        """Return an answer's numbers, (rows, values) or (rows, 1) for sums, flooded: they may be shown to others.

        Raises ValueError for what is no answer of these parameters under this key.
        """
        return self._decrypted(answer, flooded=True)

    def decrypt_unflooded(self, answer: Bytes) -> Floats:
        """As `decrypt`, half a bit more precise. Showing these numbers to others, the peer included, shows the key."""
        return self._decrypted(answer, flooded=False)

    def _decrypted(self, answer: Bytes, flooded: bool) -> Floats:
        body, level, summed, rows = self._scheme.opened(answer, ANSWER, self._fingerprint)
        self._context.require_reduced(body, self._context.primes[:2])
        residues = np.frombuffer(body, dtype="<u8").reshape(rows, 2, 2, -1).copy()
        if not residues[:, 1].any(axis=-1).all():
            raise ValueError("holds a ciphertext without randomness")
        if flooded:
            for row in residues:
                self._scheme.add_flood(row)
        numbers = np.array([theirs(self._decoded, row, level) for row in residues])
        numbers = numbers[:, : 1 if summed else self._scheme.values]
        if not np.abs(numbers).max() <= 2.0**self._scheme.sum_bits + self._scheme.error:
            raise ValueError("holds a number beyond the size agreed")
        return numbers

    def _decoded(self, residues: Words, level: int) -> Floats:
        plain = self._context.api.Plaintext()
        self._decryptor.decrypt(self._context.load_answer(residues, self._scheme.scales[level]), plain)
        return self._context.decoded(plain)
