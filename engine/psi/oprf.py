"""Oblivious pseudorandom functions after RFC 9497, suite ristretto255-SHA512, in batches; nothing here talks.

    client, holding x                               server, holding k (and K = k G)
    1  r <- Zq;  r H(x)                    --->
    2                                      <---     k r H(x), and a proof that it is k's (`Suite.verifiable`)
    3  output = SHA-512(x, k H(x), "Finalize")      the same from x at once: `evaluated`

The server learns nothing of x, not even with unlimited power: each input has its own r. The client learns the output
at x and nothing else of the function (one-more gap Diffie-Hellman, H and SHA-512 as random oracles). Without the proof
a server may answer each query with another key; with it, all answers of a batch are K's or the client notices (batched
proof of equal discrete logarithms, RFC 9497, 2.2). Each k in use for long loses log2(queries) / 2 bits of its strength
(static Diffie-Hellman): change keys with the data.

Elements, scalars and outputs are rows of uint8 arrays: (n, 32), (n, 32), (n, 64); inputs (n, w) with w up to 64.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import group

Bytes = NDArray[np.uint8]
MAX_BATCH: Final = 1 << 16
PROOF_BYTES: Final = 64
OUTPUT_BYTES: Final = 64


@dataclass(frozen=True)
class Suite:
    """Mode 0 (OPRF) or 1 (VOPRF): what separates the hashes of one mode from those of the other."""

    verifiable: bool = False

    @property
    def context(self) -> bytes:
        """The context string of RFC 9497, 3.1."""
        return b"OPRFV1-" + bytes([self.verifiable]) + b"-ristretto255-SHA512"

    @property
    def group_dst(self) -> bytes:
        """The tag under which inputs are hashed to the group."""
        return b"HashToGroup-" + self.context

    def derive_key(self, seed: bytes, info: bytes) -> int:
        """Return the key of a 32-byte seed and a public text (3.2.1); `group.random_scalar` gives a fresh one."""
        if len(seed) != 32:
            raise Misuse("A key is derived from a seed of 32 bytes.")
        for counter in range(256):
            message = seed + len(info).to_bytes(2, "big") + info + bytes([counter])
            wide = group.expand_message_xmd(message, b"DeriveKeyPair" + self.context, 64)
            if key := int.from_bytes(wide, "little") % group.ORDER:
                return key
        raise Misuse("No key can be derived from this seed: take another.")

    def blind(self, inputs: Bytes, blinds: Bytes) -> Bytes:
        """Return the elements to send for the inputs, each under its own blind from `group.random_scalars`."""
        return group.multiply_each(group.hash_to_group(inputs, self.group_dst), blinds)[0]

    def evaluated(self, key: int, inputs: Bytes) -> Bytes:
        """Return the outputs at inputs that are known in plain."""
        return self.finalised(inputs, group.hash_and_multiply(inputs, self.group_dst, key))

    def unblinded(self, inputs: Bytes, blinds: Bytes, answers: Bytes) -> tuple[Bytes, NDArray[np.bool_]]:
        """Return the outputs of what was blinded, and which answers were elements other than the identity."""
        elements, valid = group.multiply_each(answers, group.inverses(blinds))
        return self.finalised(inputs, elements), valid

    def finalised(self, inputs: Bytes, elements: Bytes) -> Bytes:
        """Hash inputs with their elements k H(x) to outputs (3.3.1)."""
        raw, own, width = inputs.tobytes(), elements.tobytes(), inputs.shape[1]
        head, middle, sha512 = width.to_bytes(2, "big"), (32).to_bytes(2, "big"), hashlib.sha512
        digests = [
            sha512(head + raw[i * width : (i + 1) * width] + middle + own[32 * i : 32 * i + 32] + b"Finalize").digest()
            for i in range(len(inputs))
        ]
        return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, OUTPUT_BYTES)

    def prove(self, key: int, blinded: Bytes, answers: Bytes, r: int | None = None) -> bytes:
        """Prove that the answers, at most MAX_BATCH, are the blinded elements times the key; `r` for vectors only."""
        public, r = public_key(key), r if r is not None else group.random_scalar()
        composite = self._weighed(public, blinded, answers, blinded)
        shown = _times(composite, key)
        c = self._challenge(public, composite, shown, public_key(r), _times(composite, r))
        return group.scalar_rows([c, (r - c * key) % group.ORDER]).tobytes()

    def proves(self, public: bytes, blinded: Bytes, answers: Bytes, proof: bytes) -> bool:
        """Say whether a proof holds: all answers, (n, 32) elements, are the blinded elements times one key, K's."""
        if len(proof) != PROOF_BYTES:
            return False
        c, s = (int.from_bytes(part, "little") for part in (proof[:32], proof[32:]))
        if max(c, s) >= group.ORDER:
            return False
        composite = self._weighed(public, blinded, answers, blinded)
        shown = self._weighed(public, blinded, answers, answers)
        t2 = _plus(public_key(s), _times(public, c))
        t3 = _plus(_times(composite, s), _times(shown, c))
        return self._challenge(public, composite, shown, t2, t3) == c

    def _weighed(self, public: bytes, blinded: Bytes, answers: Bytes, summands: Bytes) -> bytes:
        """Return the sum of the rows, each times the weight that the transcript gives it (2.2.1, ComputeComposites)."""
        if not 0 < len(blinded) <= MAX_BATCH:
            raise Misuse(f"A proof is about 1 to {MAX_BATCH:,} elements.")
        seed = hashlib.sha512(_text(public) + _text(b"Seed-" + self.context)).digest()
        count = len(blinded)
        messages = np.concatenate(
            [
                _repeated(_text(seed), count),
                np.arange(count, dtype=">u2")[:, None].view(np.uint8),
                _repeated(b"\x00\x20", count),
                blinded,
                _repeated(b"\x00\x20", count),
                answers,
                _repeated(b"Composite", count),
            ],
            axis=1,
        )
        weights = group.hash_to_scalars(messages, b"HashToScalar-" + self.context)
        products, _ = group.multiply_each(summands, weights)
        return group.sum_by_list(products, np.array([0, count])).tobytes()

    def _challenge(self, *elements: bytes) -> int:
        transcript = b"".join(_text(element) for element in elements) + b"Challenge"
        wide = group.expand_message_xmd(transcript, b"HashToScalar-" + self.context, 64)
        return int.from_bytes(wide, "little") % group.ORDER


def public_key(key: int) -> bytes:
    """Return the key's public element, 32 bytes."""
    return group.multiply_base(group.scalar_rows([key])).tobytes()


def _times(element: bytes, scalar: int) -> bytes:
    return group.multiply(_row(element), scalar)[0].tobytes()


def _plus(p: bytes, q: bytes) -> bytes:
    return group.add(_row(p), _row(q)).tobytes()


def _row(element: bytes) -> Bytes:
    return np.frombuffer(element, dtype=np.uint8)[None]


def _text(part: bytes) -> bytes:
    return len(part).to_bytes(2, "big") + part


def _repeated(part: bytes, count: int) -> Bytes:
    return np.broadcast_to(np.frombuffer(part, dtype=np.uint8), (count, len(part)))
