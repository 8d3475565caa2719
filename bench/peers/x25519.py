"""X25519 of `cryptography` (OpenSSL): what one multiplication on this curve costs, decoding and encoding included."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from bench.clock import cpu_seconds
from bench.peers import answer

KEYS = 2000


def main() -> None:
    """Time exchanges with encoded public keys."""
    mine = X25519PrivateKey.generate()
    encoded = [X25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(KEYS)]
    exchange = cpu_seconds(lambda: [mine.exchange(X25519PublicKey.from_public_bytes(raw)) for raw in encoded])
    answer(multiply=exchange / KEYS * 1e6)


if __name__ == "__main__":
    main()
