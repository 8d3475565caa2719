"""Masks against Python integers, at the edges of the words."""

from __future__ import annotations

import numpy as np
import pytest

from engine.he import sharing
from engine.he.contexts import PRIMES

DATA_PRIMES = (1152921504606683137, 1152921504606748673)
EDGES = [0, 1, 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 60) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@pytest.mark.parametrize("b", EDGES)
def test_multiply_high(b):
    assert sharing.multiply_high(np.array(EDGES, dtype=np.uint64), b).tolist() == [a * b >> 64 for a in EDGES]


@pytest.mark.parametrize("p", [*DATA_PRIMES, *PRIMES, (1 << 63) - 25])
def test_divided_product(p):
    a = np.array([*EDGES, p - 1, p, p + 1], dtype=np.uint64)
    for w in (0, 1, p // 2, p - 1):
        quotient, remainder = sharing.divided_product(a, w, p)
        assert list(zip(quotient.tolist(), remainder.tolist(), strict=True)) == [divmod(int(x) * w, p) for x in a]


@pytest.mark.parametrize("t", PRIMES)
def test_masks_and_shares_cancel(t, assert_uniform):
    residues, share = sharing.masks(DATA_PRIMES, t, 8192)
    (p, r), q = DATA_PRIMES, DATA_PRIMES[0] * DATA_PRIMES[1]
    lift = r * pow(r, -1, p), p * pow(p, -1, r)
    mask = [(int(a) * lift[0] + int(b) * lift[1]) % q for a, b in residues.T]
    assert [(s + (2 * t * u + q) // (2 * q)) % t for s, u in zip(share.tolist(), mask, strict=True)] == [0] * 8192
    for values, bound in ((residues[0], p), (residues[1], r), (share, t)):
        assert_uniform(values, bound)


@pytest.mark.parametrize("edges", [(0, 0), (DATA_PRIMES[0] - 1, DATA_PRIMES[1] - 1), (DATA_PRIMES[0] // 2, 0)])
def test_masks_at_the_ends_of_their_range(monkeypatch, edges):
    drawn = iter(edges)
    monkeypatch.setattr(sharing.randomness, "random_below", lambda p, n: np.full(n, next(drawn), dtype=np.uint64))
    t = PRIMES[0]
    expected = sum(2 * t * y * (DATA_PRIMES[0] * DATA_PRIMES[1] // p) for y, p in zip(edges, DATA_PRIMES, strict=True))
    q = DATA_PRIMES[0] * DATA_PRIMES[1]
    share = sharing.masks(DATA_PRIMES, t, 1)[1]
    assert (int(share[0]) + (expected + q) // (2 * q)) % t == 0


def test_small_noise_is_centred_and_small():
    noise = sharing.small_noise(1 << 16)
    assert abs(noise.mean()) < 0.1
    assert 3.1 < noise.std() < 3.4
    assert np.abs(noise).max() <= 21
