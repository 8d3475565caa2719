"""gmpy2 (GMP): products modulo an odd number, one after the other; argument: its bits."""

from __future__ import annotations

import secrets
import sys

import gmpy2

from bench.clock import cpu_seconds
from bench.peers import answer

COUNT, POWERS = 2000, 8


def main(bits: int) -> None:
    """Give the microseconds for each product, square and power of as many bits."""
    n = gmpy2.mpz(secrets.randbits(bits) | 1 << bits - 1 | 1)
    numbers = [gmpy2.mpz(secrets.randbelow(int(n))) for _ in range(COUNT)]
    exponent = gmpy2.mpz(secrets.randbits(bits // 2))
    multiply = cpu_seconds(lambda: [a * b % n for a, b in zip(numbers, reversed(numbers), strict=True)])
    square = cpu_seconds(lambda: [a * a % n for a in numbers])
    power = cpu_seconds(lambda: [gmpy2.powmod(a, exponent, n) for a in numbers[:POWERS]])
    answer(multiply=multiply / COUNT * 1e6, square=square / COUNT * 1e6, power=power / POWERS * 1e6)


if __name__ == "__main__":
    main(int(sys.argv[1]))
