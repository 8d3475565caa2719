"""Arithmetic modulo large numbers, in every tier, against Python integers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Misuse
from engine.kernels import montgomery, threads
from engine.kernels.montgomery import Modulus, SquareModulus, to_bytes

# The sizes that Paillier needs, both sides of a step in the number of limbs, and the least there is.
SIZES = (3, 508, 509, 1024, 2048, 3072, 4096, 6144, 8192)
SQUARES = (3, 508, 509, 1024, 1536, 2048, 3072, 4096)


def odd(bits: int, seed: int = 0) -> int:
    """Return an odd number of exactly these bits."""
    draw = np.random.default_rng(bits + seed).bytes(bits // 8 + 1)
    return int.from_bytes(draw, "big") % (1 << bits - 1) | 1 << bits - 1 | 1


def modulus_of(bits: int, square: bool = False) -> Modulus:
    """Return a modulus of these bits, or the square of a number of these bits."""
    return SquareModulus(odd(bits)) if square else Modulus(odd(bits))


def edges(m: Modulus, count: int = 19) -> list[int]:
    """Return numbers below N: its ends and numbers whose limbs, in Montgomery form, are empty, full or random."""
    rng = np.random.default_rng(m.limbs)
    unwind = pow(m.montgomery_r, -1, m.n)
    found = [0, 1, 2, m.n - 1, m.n - 2, m.n // 2, m.n // 2 + 1, unwind, m.n - unwind, 2**52 - 1, 2**52]
    for _ in range(count - len(found)):
        limbs = [int(rng.choice([0, 1, 2**52 - 1, int(rng.integers(2**52))])) for _ in range(m.words)]
        found.append(sum(limb << 52 * j for j, limb in enumerate(limbs)) % m.n * unwind)
    return [number % m.n for number in found]


@pytest.fixture(params=[*((bits, False) for bits in SIZES), *((bits, True) for bits in SQUARES)], ids=str)
def modulus(request: pytest.FixtureRequest) -> Modulus:
    return modulus_of(*request.param)


@pytest.mark.usefixtures("tier")
def test_numbers_enter_and_leave(modulus: Modulus) -> None:
    numbers = edges(modulus)
    residues = modulus.enter_integers(numbers)
    assert residues.shape == (len(numbers), modulus.words)
    assert modulus.leave_integers(residues) == numbers
    assert modulus.leave(residues).shape == (len(numbers), modulus.width)
    most = 256**modulus.width - 1
    above = to_bytes([most, modulus.n], modulus.width)
    assert modulus.leave_integers(modulus.enter(above)) == [most % modulus.n, 0]
    few = to_bytes([200, 1], 1)
    assert modulus.leave_integers(modulus.enter(few)) == [200 % modulus.n, 1]


@pytest.mark.usefixtures("tier")
def test_products_squares_and_sums(modulus: Modulus) -> None:
    numbers = edges(modulus)
    for shift in (0, 1, 7):
        others = numbers[shift:] + numbers[:shift]
        a, b = modulus.enter_integers(numbers), modulus.enter_integers(others)
        pairs = list(zip(numbers, others, strict=True))
        assert modulus.leave_integers(modulus.multiply(a, b)) == [x * y % modulus.n for x, y in pairs]
        assert modulus.leave_integers(modulus.add(a, b)) == [(x + y) % modulus.n for x, y in pairs]
    assert modulus.leave_integers(modulus.square(a)) == [x * x % modulus.n for x in numbers]
    assert modulus.leave_integers(modulus.square(a, 5)) == [pow(x, 32, modulus.n) for x in numbers]
    once = modulus.constant(others[3])
    assert modulus.leave_integers(modulus.multiply(once, b)) == [others[3] * y % modulus.n for y in others]


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize(("bits", "square"), [(3, False), (519, False), (4096, False), (3, True), (2048, True)])
def test_powers(bits: int, square: bool) -> None:
    m = modulus_of(bits, square)
    numbers = edges(m, 12)
    a = m.enter_integers(numbers)
    for exponent in (0, 1, 15, 16, 0x1234567890ABCDEF00, 2**80 + 1, odd(1300) if bits < 600 else 2**64 - 1):
        assert m.leave_integers(m.power(a, exponent)) == [pow(x, exponent, m.n) for x in numbers]
    exponents = [0, 1, 2, 2**53, 2**53 - 1, 16, 15, 255, 256, 0x70F0F0F0F0F0F0, 3, 2**52]
    powers = m.leave_integers(m.powers(a, to_bytes(exponents, 8)))
    assert powers == [pow(x, e, m.n) for x, e in zip(numbers, exponents, strict=True)]
    base = m.fixed_base(a[3:4], 53 + 1)
    assert base.bits == 55
    powers = m.leave_integers(m.fixed_powers(base, to_bytes(exponents, 8)))
    assert powers == [pow(numbers[3], e, m.n) for e in exponents]
    with pytest.raises(Misuse, match="longer"):
        m.fixed_powers(base, to_bytes([2**55], 8))


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize(("bits", "square"), [(519, False), (2048, True)])
def test_products_by_list(bits: int, square: bool) -> None:
    m = modulus_of(bits, square)
    numbers = edges(m)
    a = m.enter_integers(numbers)
    lengths = [0, 1, 2, 150, 0, 64, 65, 1, 3]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    members = np.random.default_rng(1).integers(2, len(numbers), offsets[-1])
    expected = [math.prod(numbers[i] for i in members[s:e]) % m.n for s, e in pairwise(offsets)]
    assert m.leave_integers(m.product_by_list(a, offsets, members)) == expected
    assert m.leave_integers(m.product(a[2:])) == [math.prod(numbers[2:]) % m.n]
    assert m.leave_integers(m.product_by_list(a, np.array([0, 0]), np.array([], dtype=np.int64))) == [1]


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize(("bits", "square"), [(508, False), (2048, False), (1024, True)])
def test_inverses(bits: int, square: bool) -> None:
    m = modulus_of(bits, square)
    numbers = [x for x in edges(m, 25) if math.gcd(x, m.n) == 1]
    for count in (0, 1, 2, 3, len(numbers)):
        a = m.enter_integers(numbers[:count])
        assert m.leave_integers(m.invert(a)) == [pow(x, -1, m.n) for x in numbers[:count]]
        assert m.coprime(a)
    bad = m.enter_integers([1, 2, 0, 4])
    assert not m.coprime(bad)
    with pytest.raises(ValueError, match="not invertible"):
        m.invert(bad)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("sizes", [(1024, 2048), (509, 509), (8, 1040), (700, 9)])
def test_residues_modulo_a_divisor_and_back(sizes: tuple[int, int]) -> None:
    for kind in (Modulus, SquareModulus):
        left, right = kind(odd(sizes[0])), kind(odd(sizes[1], seed=1) | 2)
        if math.gcd(left.n, right.n) > 1:
            continue
        both = kind(left._root * right._root)
        numbers = edges(both)
        residues = both.enter_integers(numbers)
        a, b = left.convert(residues, both), right.convert(residues, both)
        assert left.leave_integers(a) == [x % left.n for x in numbers]
        assert right.leave_integers(b) == [x % right.n for x in numbers]
        np.testing.assert_array_equal(both.combine(a, left, b, right), residues)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("bits", [3, 509, 2048])
def test_one_more_than_multiples_of_the_root(bits: int) -> None:
    m = SquareModulus(odd(bits))
    multiples = [0, 1, m._root - 1, m._root // 3]
    residues = m.one_plus_multiples(to_bytes(multiples, m.width // 2))
    assert m.leave_integers(residues) == [1 + k * m._root for k in multiples]
    assert m.multiples(residues).tolist() == to_bytes(multiples, m.width // 2).tolist()


def test_large_batches_are_split_over_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)
    monkeypatch.setattr(montgomery, "_PER_THREAD", 100)
    m = modulus_of(508)
    numbers = [x * x % m.n for x in range(1003)]
    a = m.enter_integers(numbers)
    assert m.leave_integers(m.multiply(a, a)) == [x * x % m.n for x in numbers]
    lists = m.product_by_list(a, np.arange(1004), np.arange(1003)[::-1])
    assert m.leave_integers(lists) == numbers[::-1]
    exponents = to_bytes(list(range(1003)), 2)
    assert m.leave_integers(m.powers(a, exponents)) == [pow(x, e, m.n) for e, x in enumerate(numbers)]


@given(st.integers(5, 2**700), st.booleans(), st.data())
@settings(max_examples=80)
def test_laws(n: int, square: bool, data: st.DataObject) -> None:
    m = SquareModulus(n | 1) if square else Modulus(n | 1)
    x, y, z = (data.draw(st.integers(0, m.n - 1)) for _ in range(3))
    a, b, c = (m.constant(number) for number in (x, y, z))
    assert np.array_equal(m.multiply(a, b), m.multiply(b, a))
    assert np.array_equal(m.multiply(m.add(a, b), c), m.add(m.multiply(a, c), m.multiply(b, c)))
    assert np.array_equal(m.square(a), m.multiply(a, a))
    assert np.array_equal(m.multiply(a, m.one), a)


@pytest.mark.parametrize("n", [0, 1, 3, 4, -7, 2**64, 2**8192 + 1])
def test_a_number_that_is_no_modulus_is_refused(n: int) -> None:
    for kind in (Modulus, SquareModulus):
        with pytest.raises(Misuse, match="odd"):
            kind(n)
    with pytest.raises(Misuse, match="4096 bits"):
        SquareModulus(2**4096 + 1)


def test_arrays_of_other_shapes_are_refused() -> None:
    m = modulus_of(508)
    a = m.enter_integers([1, 2, 3])
    with pytest.raises(Misuse, match="same length"):
        m.multiply(a, a[:2])
    with pytest.raises(Misuse, match=r"shape \(n, 10\)"):
        m.add(a, a[:, :5])
    with pytest.raises(Misuse, match="one row for each"):
        m.powers(a, np.zeros((2, 4), dtype=np.uint8))
    with pytest.raises(Misuse, match="not among the 3"):
        m.product_by_list(a, np.array([0, 1]), np.array([3]))
    with pytest.raises(Misuse, match="ascend"):
        m.product_by_list(a, np.array([0, 2]), np.array([0]))
    with pytest.raises(Misuse, match="divisor"):
        m.convert(a, modulus_of(509))
    with pytest.raises(Misuse, match="product of their moduli"):
        m.combine(a, m, a, m)
    with pytest.raises(Misuse, match="wide"):
        m.enter(np.zeros((1, 66), dtype=np.uint8))
