"""Shares modulo two primes, against Python integers, in every tier."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels.ring import Ring

# The two 45-bit primes next below 2**45 that are 1 modulo 2**14, and a pair as unequal as two primes of 46 bits can be.
RINGS = [Ring((35184371613697, 35184371417089)), Ring((70368744177643, 35184372088891)), Ring((13, 11))]

# AES-256-CTR of the key 00..1f from block 7 * 2**64, as 128-bit words modulo each prime, in Python integers.
ZERO_SHARE = [[15776735869777, 23527683477207, 21376219650620], [31487522370527, 12823648752262, 5317602919504]]


@pytest.fixture(params=RINGS, ids=lambda ring: f"{ring.modulus.bit_length()} bits")
def ring(request: pytest.FixtureRequest) -> Ring:
    return request.param  # type: ignore[no-any-return]


def edges(ring: Ring) -> list[int]:
    p, q = ring.primes
    m = ring.modulus
    near = [
        0,
        1,
        2,
        p - 1,
        p,
        q - 1,
        q,
        m // 2,
        m // 2 + 1,
        m - 1,
        m - 2,
        1 << 63,
        1 << 64,
        m - (1 << 63),
        m - (1 << 64),
    ]
    return [x % m for x in near] + [x * 0x9E3779B97F4A7C15F39CC0605CEDC835 % m for x in range(1, 40)]


def shares(ring: Ring, values: list[int]) -> NDArray[np.uint64]:
    return np.array([[x % p for x in values] for p in ring.primes], dtype=np.uint64)


def values(ring: Ring, residues: NDArray[np.uint64]) -> list[int]:
    p, q = ring.primes
    return [int(a) + p * ((int(b) - int(a)) * pow(p, -1, q) % q) for a, b in residues.T]


def test_sums_are_sums_modulo_m(tier: str, ring: Ring) -> None:
    xs, ys = edges(ring), edges(ring)[::-1]
    a, b, m = shares(ring, xs), shares(ring, ys), ring.modulus
    assert values(ring, ring.add(a, b)) == [(x + y) % m for x, y in zip(xs, ys, strict=True)]
    assert values(ring, ring.subtract(a, b)) == [(x - y) % m for x, y in zip(xs, ys, strict=True)]
    assert values(ring, ring.negate(a)) == [-x % m for x in xs]
    for factor in (0, 1, -1, ring.primes[0], 1 << 90, -12345):
        assert values(ring, ring.scale(a, factor)) == [x * factor % m for x in xs]


@pytest.mark.parametrize("shift", [0, 1, 20, 32, 63])
def test_truncation_shifts_the_lifted_share(tier: str, ring: Ring, shift: int) -> None:
    xs, m = edges(ring), ring.modulus
    led = ring.lift_truncate(shares(ring, xs), shift, leader=True)
    followed = ring.lift_truncate(shares(ring, xs), shift, leader=False)
    assert values(ring, led) == [(x >> shift) % m for x in xs]
    assert values(ring, followed) == [-((m - x) >> shift) % m for x in xs]


def test_truncated_shares_add_up_within_one(tier: str) -> None:
    ring = RINGS[0]
    secret = np.array([0, 1, -1, 5 << 20, -(5 << 20), (1 << 40) + 12345, -(1 << 40)], dtype=np.int64)
    leader = ring.random(secret.size)
    follower = ring.subtract(ring.to_residues(secret), leader)
    total = ring.add(ring.lift_truncate(leader, 20, leader=True), ring.lift_truncate(follower, 20, leader=False))
    assert np.all(np.abs(ring.to_signed(total) - secret / 2**20) <= 1)


@pytest.mark.parametrize(("scale", "period"), [(0, 1), (32, 32), (40, 14), (48, 32)])
def test_phases_are_exact(tier: str, ring: Ring, scale: int, period: int) -> None:
    xs, m = edges(ring), ring.modulus
    for leader in (True, False):
        phase = ring.lift_phase(shares(ring, xs), leader, scale, period)
        assert [int(x * 2.0**scale) for x in phase] == [(x if leader else x - m) % (period << scale) for x in xs]
        assert np.all((phase >= 0) & (phase < period))


def test_integers_return(tier: str) -> None:
    ring = RINGS[0]
    numbers = np.array([0, 1, -1, 1 << 62, -(1 << 62), (1 << 63) - 1, -(1 << 63) + 1], dtype=np.int64)
    assert np.array_equal(ring.to_signed(ring.to_residues(numbers)), numbers)
    assert np.allclose(ring.to_float(ring.to_residues(numbers)), numbers.astype(float), rtol=2**-52, atol=0)
    xs = edges(ring)
    centred = [x - ring.modulus if 2 * x > ring.modulus else x for x in xs]
    assert np.allclose(ring.to_float(shares(ring, xs)), np.array(centred, dtype=float), rtol=2**-51, atol=0)
    with pytest.raises(Misuse, match="too large"):
        ring.to_signed(shares(ring, [1 << 63]))


def test_zero_shares_are_alike_in_every_tier(tier: str) -> None:
    ring = RINGS[0]
    pad = ring.zero_share(bytes(range(32)), 7, 3)
    assert pad.tolist() == ZERO_SHARE
    assert not np.array_equal(pad, ring.zero_share(bytes(range(32)), 8, 3))
    with pytest.raises(Misuse):
        ring.zero_share(bytes(31), 0, 1)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_products_at_the_bounds(tier: str, dtype: type) -> None:
    ring = RINGS[1]
    rows, columns = 5, 3
    bound = (1 << 15) if dtype is np.int16 else 1 << 16
    matrix = np.array([[-bound, bound - 1, 0][(i + j) % 3] for i in range(rows) for j in range(columns)], dtype=dtype)
    matrix = matrix.reshape(rows, columns)
    for vector, apply, plain in (
        (edges(ring)[:columns], ring.matmul, matrix),
        (edges(ring)[3:8], ring.matmul_t, matrix.T),
    ):
        expected = [sum(int(x) * v for x, v in zip(row, vector, strict=True)) % ring.modulus for row in plain]
        assert values(ring, apply(matrix, shares(ring, vector))) == expected


def test_a_long_sum_of_extreme_products_stays_exact() -> None:
    ring = RINGS[1]
    n = (1 << 15) + 3
    matrix = np.full((n, 1), -(1 << 16), dtype=np.int32)
    share = shares(ring, [ring.modulus - 1]).repeat(n, axis=1)
    assert values(ring, ring.matmul_t(matrix, share)) == [n << 16]


def test_misuse_is_named() -> None:
    ring = RINGS[0]
    with pytest.raises(Misuse, match="two different primes"):
        Ring((35184371613697, 13))
    with pytest.raises(Misuse, match="2\\*\\*16"):
        ring.matmul(np.array([[1 << 17]]), ring.random(1))
    with pytest.raises(Misuse, match="multiplies shares"):
        ring.matmul(np.zeros((2, 3), np.int16), ring.random(2))
    with pytest.raises(Misuse, match="0 to 63"):
        ring.lift_truncate(ring.random(1), 64, leader=True)
    with pytest.raises(Misuse, match="53 bits"):
        ring.lift_phase(ring.random(1), True, 49, 32)


def test_a_share_array_is_recognised() -> None:
    ring = RINGS[0]
    good = ring.random(4)
    assert ring.contains(good)
    assert not ring.contains(good.astype(np.int64))
    assert not ring.contains(good[0])
    assert not ring.contains(np.full((2, 1), ring.primes[0], dtype=np.uint64))
