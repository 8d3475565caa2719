"""Schemes, uniform vectors and reference products for the tests of engine.he."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import he
from engine.he.scheme import Scheme
from engine.kernels.ring import Ring

Words = NDArray[np.uint64]


@pytest.fixture(params=he.SCHEMES)
def scheme(request: pytest.FixtureRequest) -> Scheme:
    return he.scheme(request.param)


@pytest.fixture
def rlwe() -> Scheme:
    return he.scheme("rlwe")


@pytest.fixture
def ring() -> Ring:
    return Ring(he.scheme("clear").primes)


@pytest.fixture
def features() -> Callable[[int, int], NDArray[np.int16]]:
    """Matrices of the given size whose first row holds the extreme entries."""

    def build(rows: int, columns: int) -> NDArray[np.int16]:
        matrix = np.random.default_rng(rows * 100 + columns).integers(-32767, 32768, (rows, columns)).astype(np.int16)
        matrix[0] = np.resize([32767, -32767], columns)
        return matrix

    return build


@pytest.fixture
def exact(ring: Ring) -> Callable[[NDArray[np.integer], Words], Words]:
    """A matrix times residues (2, n) in Python integers."""

    def product(matrix: NDArray[np.integer], vector: Words) -> Words:
        rows = [matrix.astype(object) @ vector[i].astype(object) % p for i, p in enumerate(ring.primes)]
        return np.array(rows, dtype=np.uint64)

    return product


@pytest.fixture
def assert_uniform() -> Callable[[Words, int], None]:
    """Chi-square of 64 bins against the uniform distribution below a bound; fails once in 10^8 at random."""

    def check(values: Words, bound: int) -> None:
        bins = 64
        observed = np.bincount((values.reshape(-1).astype(np.float64) * bins / bound).astype(np.int64), minlength=bins)
        expected = values.size / bins
        deviation = float(((observed - expected) ** 2 / expected).sum()) - (bins - 1)
        assert abs(deviation) < 6 * (2 * (bins - 1)) ** 0.5

    return check
