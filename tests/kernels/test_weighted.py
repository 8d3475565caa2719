"""Products of powers by list, in every tier, against Python integers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import weighted
from engine.kernels.montgomery import Modulus, SquareModulus, Words
from engine.kernels.weighted import power_products_vartime

SMALL, SQUARE = Modulus(2**107 - 1), SquareModulus((2**89 - 1) * (2**107 - 1))
INT64 = np.iinfo(np.int64)


def bases(m: Modulus, count: int) -> tuple[list[int], Words]:
    numbers = [pow(3, 7 * i + 1, m.n) for i in range(count)]
    return numbers, m.enter_integers(numbers)


def expected(m: Modulus, numbers: list[int], offsets: Any, members: Any, exponents: NDArray[Any]) -> list[int]:
    powers = [pow(numbers[i], int(e), m.n) for i, e in zip(members, exponents, strict=True)]
    return [math.prod(powers[s:e]) % m.n for s, e in pairwise(offsets)]


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("m", [SMALL, SQUARE], ids=["number", "square"])
@pytest.mark.parametrize(
    "exponents",
    [
        np.array([0, 1, -1, INT64.max, INT64.min, 2**31, -255, 256] * 4),
        np.array([0, 1, 255, 256, 2**64 - 1, 3, 2, 2**63] * 4, dtype=np.uint64),
        np.array([0, 1, -1, 2**200 - 1, -(2**199), 5, 4096, -4095] * 4, dtype=object),
        np.zeros(32, dtype=np.int64),
        np.ones(32, dtype=np.uint8),
    ],
    ids=["int64", "uint64", "wide", "zeros", "ones"],
)
def test_powers_are_multiplied_by_list(m: Modulus, exponents: NDArray[Any]) -> None:
    numbers, a = bases(m, 9)
    offsets, members = np.array([0, 0, 1, 4, 20, 20, 32]), np.random.default_rng(1).integers(0, 9, 32)
    found = power_products_vartime(m, a, offsets, members, exponents)
    assert m.leave_integers(found) == expected(m, numbers, offsets, members, exponents)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 8, 11, 12])
def test_digits_of_every_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighted, "_best_width", lambda *_: width)
    numbers, a = bases(SMALL, 40)
    exponents = np.random.default_rng(width).integers(-(2**25), 2**25, 40)
    offsets = np.array([0, 30, 40])
    found = power_products_vartime(SMALL, a, offsets, np.arange(40), exponents)
    assert SMALL.leave_integers(found) == expected(SMALL, numbers, offsets, range(40), exponents)


def test_lists_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, a = bases(SMALL, 50)
    offsets, members = np.arange(0, 501, 20), np.random.default_rng(2).integers(0, 50, 500)
    exponents = np.random.default_rng(3).integers(-(2**40), 2**40, 500)
    whole = power_products_vartime(SMALL, a, offsets, members, exponents)
    assert SMALL.leave_integers(whole) == expected(SMALL, numbers, offsets, members, exponents)
    calls: list[int] = []
    joined = weighted._joined
    monkeypatch.setattr(weighted, "_joined", lambda *given: (calls.append(given[-1]), joined(*given))[1])
    monkeypatch.setattr(weighted, "_BYTES", 1 << 16)
    np.testing.assert_array_equal(power_products_vartime(SMALL, a, offsets, members, exponents), whole)
    assert len(calls) > 2
    assert sum(calls) == 2 * 25


def test_wide_digits_serve_long_lists_and_memory_limits_them() -> None:
    assert weighted._best_width(53, 1, 1 << 16) <= 2
    assert 3 < weighted._best_width(53, 1000, 1 << 16) < weighted._best_width(53, 10**5, 1 << 16)
    assert weighted._best_width(53, 10**7, 1 << 10) == 7


def test_what_is_no_power_is_refused() -> None:
    _, a = bases(SMALL, 3)
    for exponents in (np.ones(2, np.int64), np.ones(3), np.ones((3, 1), np.int64)):
        with pytest.raises(Misuse, match="an exponent"):
            power_products_vartime(SMALL, a, np.array([0, 3]), np.arange(3), exponents)
    with pytest.raises(Misuse, match="ascend"):
        power_products_vartime(SMALL, a, np.array([0, 2]), np.arange(3), np.ones(3, np.int64))
    with pytest.raises(Misuse, match="shape"):
        power_products_vartime(SMALL, a[:, :4], np.array([0, 3]), np.arange(3), np.ones(3, np.int64))
    both = SquareModulus(15)
    with pytest.raises(ValueError, match="not invertible"):
        power_products_vartime(both, both.enter_integers([3]), np.array([0, 1]), np.array([0]), np.array([-1]))


@given(st.lists(st.tuples(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70)), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_exponents_add_up(pairs: list[tuple[int, int]]) -> None:
    """Two lists with exponents e and f multiply to one with e + f."""
    _, a = bases(SMALL, len(pairs))
    every, whole = np.arange(len(pairs)), np.array([0, len(pairs)])
    first, second, both = (
        power_products_vartime(SMALL, a, whole, every, np.array(column, dtype=object))
        for column in (*zip(*pairs, strict=True), [e + f for e, f in pairs])
    )
    np.testing.assert_array_equal(SMALL.multiply(first, second), both)
