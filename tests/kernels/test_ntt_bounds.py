"""Sums of products and transforms where every reduction is needed: numbers at the bounds that simd/ntt.py argues.

Below 2**50 a prime decides how far its own reductions fall short. Quotients are cut off to 52 bits; what is cut off of
2**52 / p and of (2**52 mod p) * 2**52 / p is nearly nothing for the primes next to 2**50, whose products never exceed
p by much, and nearly 1 for `LOOSE`, whose products reach 2p. Both kinds are tested.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.kernels.ntt import Transform, Words
from engine.kernels.reference import ntt as reference

TIGHT, LOOSE = 1125899906826241, 900719933962369
SIZE = 64


def test_the_loose_prime_is_one() -> None:
    shift = 2**52 % LOOSE
    assert pow(3, LOOSE - 1, LOOSE) == 1
    assert all(rest / LOOSE > 0.999 for rest in (shift, (shift << 52) % LOOSE))
    assert all(rest / TIGHT < 0.001 for rest in (2**52 % TIGHT, ((2**52 % TIGHT) << 52) % TIGHT))


def edges(prime: int, shape: tuple[int, ...], seed: int) -> Words:
    """Numbers below the prime, half of them next to it, and some 0."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, prime, shape, dtype=np.uint64)
    near = np.uint64(prime - 1) - rng.integers(0, 4, shape, dtype=np.uint64)
    kind = rng.integers(0, 8, shape)
    return np.where(kind < 4, near, np.where(kind == 4, np.uint64(0), values))


@pytest.mark.parametrize("prime", [TIGHT, LOOSE])
@pytest.mark.parametrize("count", [1, 40, 4096, 4097])
@pytest.mark.parametrize("start", ["nothing", "most"])
def test_sums_of_products_at_their_bounds(tier: str, prime: int, count: int, start: str) -> None:
    """From 0, and from p - 1, with which the last reduction is just enough; 2**12 products fill an accumulator."""
    count = min(count, 40) if tier == "reference" else count
    rows = edges(prime, (count, 5, SIZE), count)
    factors = edges(prime, (3, count, SIZE), count + 1)
    factors[0], rows[:, 0] = prime - 1, prime - 1
    factors[1], rows[:, 1] = 2**26 - 1, 2**26 + 1  # products of 2**52 - 1: their lower halves are as large as any
    out = np.full((3, 5, SIZE), prime - 1 if start == "most" else 0, dtype=np.uint64)
    expected = summed(factors, rows, out, prime)
    Transform(prime, SIZE).add_products(out, factors, (0, count * SIZE, SIZE, 16), rows)
    np.testing.assert_array_equal(out, expected)


def summed(factors: Words, rows: Words, out: Words, prime: int) -> NDArray[np.uint64]:
    """The same in halves of 25 bits, whose products and sums of 4097 fit in 64 bits; the rest in Python integers."""
    cut, mask = np.uint64(25), np.uint64(2**25 - 1)
    total = out.astype(object)
    for a, up in ((factors & mask, 0), (factors >> cut, 25)):
        for b, more in ((rows & mask, 0), (rows >> cut, 25)):
            part = np.einsum("iks,krs->irs", a, b)
            total = total + part.astype(object) * (1 << up + more)
    return (total % prime).astype(np.uint64)


@pytest.mark.parametrize(("prime", "size"), [(TIGHT, 64), (TIGHT, 128), (TIGHT, 1024), (LOOSE, 64)])
def test_transforms_at_their_bounds(tier: str, prime: int, size: int) -> None:
    transform = Transform(prime, size)
    values = edges(prime, (12, size), size)
    values[0], values[1] = prime - 1, 0
    there = transform.forward(values.copy())
    expected = values.copy()
    reference.forward(transform._table, np.uint64(prime), expected)
    np.testing.assert_array_equal(there, expected)
    back = transform.inverse(values.copy())
    expected = values.copy()
    reference.inverse(transform._table, np.uint64(prime), expected)
    np.testing.assert_array_equal(back, expected)
    np.testing.assert_array_equal(transform.inverse(there), values)
