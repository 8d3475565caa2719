"""Uniform masks of ciphertexts together with the shares that undo them, and the noise of re-randomisation.

A mask U uniform in Z_q, q = p0 * p1, added to a ciphertext shifts what it decrypts to by round(t U / q), t the
plaintext prime. With y_i = U (q/p_i)^-1 mod p_i, the Chinese remainder theorem reads U/q = y_0/p_0 + y_1/p_1 mod 1.
So we draw the y_i, uniform and independent, derive the residues U mod p_i = y_i p_(1-i) mod p_i, a bijection, and
round t y_0/p_0 + t y_1/p_1 modulo t. Each term's integer part is exact, its fraction kept to 64 bits and at most 2
units low, so the rounding goes wrong for fractions within 2^-62 below a half: probability 2^-62 a value, and then by
one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine import randomness

Words = NDArray[np.uint64]

_LOW = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)


def multiply_high(a: Words, b: int) -> Words:
    """Return the upper 64 bits of a * b, 0 <= b < 2**64. Each partial sum is at most (2**32-1)**2 + 2**32-1 < 2**64."""
    b_low, b_high = np.uint64(b) & _LOW, np.uint64(b) >> _HALF_WORD
    a_low, a_high = a & _LOW, a >> _HALF_WORD
    middle = a_high * b_low + (a_low * b_low >> _HALF_WORD)
    other = a_low * b_high + (middle & _LOW)
    product: Words = a_high * b_high + (middle >> _HALF_WORD) + (other >> _HALF_WORD)
    return product


def divided_product(a: Words, w: int, p: int) -> tuple[Words, Words]:
    """Return floor(a*w / p) and a*w mod p for w < p < 2**63 (Shoup: the estimate is at most one too small)."""
    quotient = multiply_high(a, (w << 64) // p)
    remainder = a * np.uint64(w) - quotient * np.uint64(p)
    over = remainder >= np.uint64(p)
    return quotient + over, remainder - over * np.uint64(p)


def masks(primes: tuple[int, int], t: int, count: int) -> tuple[Words, Words]:
    """Return uniform masks, shape (2, count), and the shares -round(t U / q) mod t, shape (count,).

    `primes` lie in (2**59, 2**60), t < 2**59.
    """
    residues = np.empty((2, count), dtype=np.uint64)
    shift = np.zeros(count, dtype=np.uint64)
    fractions = []
    for i, (p, other) in enumerate((primes, primes[::-1])):
        y = randomness.random_below(p, count)
        residues[i] = divided_product(y, other % p, p)[1]
        whole, rest = divided_product(y, t, p)
        shift += whole
        # rest / p = (rest / 2^60) (1 + (2^60 - p) / p); the second term is small, so it keeps its precision.
        scaled = rest << np.uint64(4)
        fractions.append(scaled + multiply_high(scaled, (((1 << 60) - p) << 64) // p))
    total = fractions[0] + fractions[1]
    shift += total < fractions[0]
    shift += total >= np.uint64(1 << 63)
    return residues, (np.uint64(t) - shift % np.uint64(t)) % np.uint64(t)


def small_noise(count: int) -> NDArray[np.int64]:
    """Return centred binomial noise of standard deviation sqrt(42)/2 = 3.24, the error distribution of SEAL itself."""
    bits = randomness.random_words(count)
    half = np.uint64((1 << 21) - 1)
    up: NDArray[np.int64] = np.bitwise_count(bits & half).astype(np.int64)
    noise: NDArray[np.int64] = up - np.bitwise_count(bits >> np.uint64(21) & half)
    return noise


def add_modulo(a: Words, b: Words, primes: Words) -> Words:
    """Return a + b modulo primes below 2**63; where the sum is smaller the difference wraps to a huge number."""
    total = a + b
    least: Words = np.minimum(total, total - primes)
    return least
