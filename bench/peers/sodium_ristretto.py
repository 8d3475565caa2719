"""libsodium's ristretto255 through rbcl: multiplication, and hashing onto the group with one SHA-512 before it."""

from __future__ import annotations

import hashlib

import rbcl  # type: ignore[import-not-found]

from bench.clock import cpu_seconds
from bench.peers import answer

ELEMENTS = 2000


def main() -> None:
    """Time both; one SHA-512 stands for the expansion of RFC 9380, which takes two."""
    scalar = rbcl.crypto_core_ristretto255_scalar_random()
    points = [rbcl.crypto_core_ristretto255_random() for _ in range(ELEMENTS)]
    messages = [i.to_bytes(16, "little") for i in range(ELEMENTS)]

    def hashed(message: bytes) -> bytes:
        point: bytes = rbcl.crypto_core_ristretto255_from_hash(hashlib.sha512(message).digest())
        return point

    multiply = cpu_seconds(lambda: [rbcl.crypto_scalarmult_ristretto255(scalar, point) for point in points])
    both = cpu_seconds(lambda: [rbcl.crypto_scalarmult_ristretto255(scalar, hashed(message)) for message in messages])
    answer(multiply=multiply / ELEMENTS * 1e6, hash_and_multiply=both / ELEMENTS * 1e6)


if __name__ == "__main__":
    main()
