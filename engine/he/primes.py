"""Secret primes: trial division, then Miller-Rabin with bases that nobody can foresee."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from engine import randomness
from engine.errors import Misuse

__all__ = ["has_small_factor", "is_prime", "random_below", "random_prime"]

_SIEVE = 1 << 13
_ROUNDS = 40  # a composite passes with probability below 4**-40, whoever chose it


def random_below(bound: int) -> int:
    """Return a secret integer, within 2**-128 of uniform in [0, bound)."""
    count = bound.bit_length() // 8 + 17
    return int.from_bytes(randomness.random_bytes(count).tobytes(), "big") % bound


def has_small_factor(n: int) -> bool:
    """Say whether a prime below 2**13 divides n."""
    return math.gcd(n, _primorial()) > 1


def is_prime(n: int) -> bool:
    """Say whether n is prime; wrong with probability below 2**-80, for numbers made to deceive too."""
    if n < _SIEVE:
        return n in _small_primes()
    if has_small_factor(n):
        return False
    return all(_passes(n, 2 + random_below(n - 3)) for _ in range(_ROUNDS))


def random_prime(bits: int) -> int:
    """Return a secret prime p = 3 mod 4 of exactly `bits` bits, 16 or more, the two highest of them set."""
    if bits < 16:
        raise Misuse("Secret primes have 16 bits or more.")
    while True:
        start = int.from_bytes(randomness.random_bytes(-(-bits // 8)).tobytes(), "big") >> -bits % 8
        candidate = start | 3 << bits - 2 | 3
        if not has_small_factor(candidate) and _passes(candidate, 2) and is_prime(candidate):
            return candidate


def _passes(n: int, base: int) -> bool:
    """One round of Miller-Rabin, 1 < base < n odd."""
    odd = n - 1
    twos = (odd & -odd).bit_length() - 1
    x = _power()(base, odd >> twos, n)
    for _ in range(twos):
        if x in (1, n - 1):
            return True
        x = x * x % n
        if x == 1:
            return False
    return False


@cache
def _power() -> Callable[[int, int, int], int]:
    """Return modular exponentiation: gmpy2's where it is installed, several times as fast."""
    try:
        import gmpy2
    except ImportError:
        return pow
    return lambda base, exponent, modulus: int(gmpy2.powmod_sec(base, exponent, modulus))


@cache
def _small_primes() -> frozenset[int]:
    sieve = bytearray([0, 0]) + bytearray([1]) * (_SIEVE - 2)
    for i in range(2, math.isqrt(_SIEVE) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(sieve[i * i :: i]))
    return frozenset(i for i, prime in enumerate(sieve) if prime)


@cache
def _primorial() -> int:
    return math.prod(_small_primes())
