"""Products of polynomials modulo x**N + 1 against the school's way, in every tier, and what transforms refuse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.ntt import Transform, Words

SIZE = 64
PRIMES = [1125899906826241, 35184371613697, 257]


def summed(transform: Transform, factors: Words, places: tuple[int, int, int], rows: Words, count: int) -> Words:
    out = np.zeros((count, *rows.shape[1:]), dtype=np.uint64)
    transform.add_products(out, factors, (*places, 16), rows)
    return out


def multiplied(a: NDArray[np.uint64], b: NDArray[np.uint64], prime: int) -> list[int]:
    product = [0] * (2 * len(a))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += int(x) * int(y)
    return [(low - high) % prime for low, high in zip(product[: len(a)], product[len(a) :], strict=True)]


@pytest.mark.parametrize("prime", PRIMES)
def test_values_multiply_as_polynomials_do(tier: str, prime: int) -> None:
    rng, transform = np.random.default_rng(1), Transform(prime, SIZE)
    a = np.concatenate([np.full((1, SIZE), prime - 1, np.uint64), rng.integers(0, prime, (2, SIZE), dtype=np.uint64)])
    b = rng.integers(0, prime, (3, 2, SIZE), dtype=np.uint64)
    found = transform.inverse(
        summed(transform, transform.forward(a.copy()), (0, 0, SIZE), transform.forward(b.copy()), 1)
    )[0]
    for half in range(2):
        products = [multiplied(x, y, prime) for x, y in zip(a, b[:, half], strict=True)]
        assert found[half].tolist() == [sum(column) % prime for column in zip(*products, strict=True)]


@pytest.mark.parametrize("prime", PRIMES)
def test_values_are_those_at_the_odd_powers_of_a_root(tier: str, prime: int) -> None:
    """Of which the transform chooses the order: each of the roots of x**N + 1 serves once."""
    line = np.zeros((1, SIZE), dtype=np.uint64)
    line[0, 1] = 1
    roots = Transform(prime, SIZE).forward(line)[0].tolist()
    assert len(set(roots)) == SIZE
    assert all(pow(root, SIZE, prime) == prime - 1 for root in roots)
    coefficients = np.random.default_rng(2).integers(0, prime, SIZE, dtype=np.uint64)
    values = Transform(prime, SIZE).forward(coefficients.copy())
    expected = [sum(int(c) * pow(root, i, prime) for i, c in enumerate(coefficients)) % prime for root in roots]
    assert values.tolist() == expected


def test_factors_may_lie_anywhere(tier: str) -> None:
    """By row and by column of one matrix; a step of 0 uses one factor again."""
    prime = PRIMES[0]
    transform, rng = Transform(prime, SIZE), np.random.default_rng(3)
    matrix = rng.integers(0, prime, (4, 3, 2, SIZE), dtype=np.uint64)
    rows = rng.integers(0, prime, (4, 2, SIZE), dtype=np.uint64)
    line, exact = 2 * SIZE, matrix.astype(object)
    by_column = summed(transform, matrix, (SIZE, line, 3 * line), rows, 3)
    expected = [sum(exact[k, i, 1] * rows[k].astype(object) for k in range(4)) % prime for i in range(3)]
    np.testing.assert_array_equal(by_column, np.array(expected, dtype=np.uint64))
    by_row = summed(transform, matrix, (0, 3 * line, line), rows[:3], 4)
    expected = [sum(exact[i, k, 0] * rows[k].astype(object) for k in range(3)) % prime for i in range(4)]
    np.testing.assert_array_equal(by_row, np.array(expected, dtype=np.uint64))
    same = summed(transform, matrix, (0, 0, 0), rows, 1)
    expected = sum(rows.astype(object)) * exact[0, 0, 0] % prime
    np.testing.assert_array_equal(same[0], expected.astype(np.uint64))


def test_factors_may_lie_in_pieces(tier: str) -> None:
    """Pieces of the same place side by side: what the sums are does not depend on it."""
    prime = PRIMES[0]
    transform, rng = Transform(prime, SIZE), np.random.default_rng(4)
    matrix = rng.integers(0, prime, (3, 2, SIZE), dtype=np.uint64)
    rows = rng.integers(0, prime, (2, 4, SIZE), dtype=np.uint64)
    together = np.ascontiguousarray(matrix.reshape(3, 2, -1, 16).transpose(2, 0, 1, 3))
    out = np.zeros((3, 4, SIZE), dtype=np.uint64)
    transform.add_products(out, together, (0, 32, 16, 96), rows)
    np.testing.assert_array_equal(out, summed(transform, matrix, (0, 2 * SIZE, SIZE), rows, 3))


def test_what_has_no_transform_is_refused() -> None:
    for prime, size in ((257, 32), (257, 96), (257, 256), ((1 << 50) + 1, 64), (193, 128)):
        with pytest.raises(Misuse, match="size"):
            Transform(prime, size)
    transform, rows = Transform(257, SIZE), np.zeros((3, 2, SIZE), dtype=np.uint64)
    for wrong in (rows[:, :, :32], rows[:, :, ::-1], rows.transpose(2, 1, 0)):
        with pytest.raises(Misuse):
            transform.forward(wrong)
        with pytest.raises(Misuse, match="contiguous"):
            summed(transform, rows, (0, 0, 0), wrong, 1)
    for places, count in (((SIZE + 1, 0, 2 * SIZE), 1), ((0, 2 * SIZE, 2 * SIZE), 2), ((-1, 0, 0), 1)):
        with pytest.raises(Misuse, match="beyond"):
            summed(transform, rows, places, rows, count)
