"""The Rust utilities of FATE: ids hashed and multiplied, points multiplied, on Curve25519, in batches."""

from __future__ import annotations

from fate_utils import psi  # type: ignore[import-not-found]

from bench.clock import cpu_seconds, timed
from bench.peers import answer

COUNT = 2000


def main() -> None:
    """Give the microseconds for each element."""
    ids = [f"id{i:012d}".encode() for i in range(COUNT)]
    mine, theirs = psi.Curve25519(), psi.Curve25519()
    hashing, points = timed(lambda: mine.encrypt_vec(ids))
    multiplying = cpu_seconds(lambda: theirs.diffie_hellman_vec(points))
    answer(hash_and_multiply=hashing / COUNT * 1e6, multiply=multiplying / COUNT * 1e6)


if __name__ == "__main__":
    main()
