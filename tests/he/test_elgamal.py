"""Lifted ElGamal: its laws, what crosses the wire, what is refused, and logarithms."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.he.elgamal import Ciphertexts, Elgamal, PublicKey, SecretKey
from engine.he.logarithm import Logarithms
from engine.kernels import group, points
from engine.kernels.constants import GENERATOR, ORDER, SQRT_M1, P
from engine.kernels.reference import group as reference
from engine.kernels.reference import points as definition

Integers = NDArray[np.int64]

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/ristretto255_rfc9496.json").read_text())
BAD = [bytes.fromhex(text) for kind in VECTORS["bad_encodings"].values() for text in kind]
SCHEME = Elgamal(values=2, bits=16, sum_bits=22, table_bits=14)
EDGES = np.array([[0, 0], [1, -1], [2**16 - 1, -(2**16) + 1], [-1, 2**16 - 1], [4095, 4096], [-2048, 2047]])


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return SCHEME.key()


@pytest.fixture(scope="module")
def public(key: SecretKey) -> PublicKey:
    return SCHEME.peer(key.public.public)


def numbers(count: int, seed: int = 1) -> Integers:
    return np.concatenate([EDGES, np.random.default_rng(seed).integers(-(2**16) + 1, 2**16, (count, 2))])[:count]


def sent(public: PublicKey, c: Ciphertexts) -> Ciphertexts:
    """Send computed ciphertexts back to the owner of the key."""
    return public.from_bytes(public.to_bytes(c), bound=c.bound)


# Laws.


def test_a_thousand_round_trips_over_the_wire(key: SecretKey, public: PublicKey) -> None:
    """Decoding returns any point of a coset; only four times it has one logarithm."""
    values = numbers(1000)
    data = public.to_bytes(public.encrypt(values))
    assert data.shape == (1000, 96)
    assert np.array_equal(key.decrypt(key.public.from_bytes(data)), values)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 513])
def test_batches_of_every_size(key: SecretKey, public: PublicKey, count: int) -> None:
    values = numbers(count)
    encrypted = public.encrypt(values)
    assert len(encrypted) == count
    assert np.array_equal(key.decrypt(encrypted), values)
    assert np.array_equal(key.decrypt(sent(public, encrypted)), values)
    assert np.array_equal(key.decrypt(sent(public, public.add(encrypted, encrypted))), 2 * values)


@pytest.mark.parametrize("values", [1, 3])
def test_rows_of_any_width(values: int) -> None:
    scheme = Elgamal(values=values, bits=4, sum_bits=8, table_bits=4)
    key, rows = scheme.key(), np.arange(-15, 15).reshape(-1, values)
    assert np.array_equal(key.decrypt(sent(key.public, key.public.encrypt(rows))), rows)
    if values == 1:
        assert np.array_equal(key.decrypt(key.public.encrypt(rows[:, 0])), rows)


@pytest.mark.parametrize("lengths", [[], [0], [1, 0, 2], [60, 3, 0, 17, 1, 64], [40] * 20])
def test_sums_by_list_are_those_of_numpy(key: SecretKey, public: PublicKey, lengths: list[int]) -> None:
    values = numbers(100)
    received = key.public.from_bytes(public.to_bytes(public.encrypt(values)))
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    members = np.random.default_rng(7).integers(0, 100, offsets[-1])
    found = key.decrypt(sent(public, public.sum_by_list(received, offsets, members)))
    expected = [values[members[a:b]].sum(axis=0) for a, b in pairwise(offsets)]
    assert np.array_equal(found, np.array(expected, dtype=np.int64).reshape(-1, 2))


def test_lists_longer_than_a_piece() -> None:
    scheme = Elgamal(bits=1, sum_bits=14, table_bits=8)
    key, values = scheme.key(), np.random.default_rng(3).integers(-1, 2, 9000)
    offsets = np.array([0, 257, 257, 1, 513, 9000])
    offsets.sort()
    found = key.decrypt(key.public.sum_by_list(key.public.encrypt(values), offsets, np.arange(9000)))
    assert found[:, 0].tolist() == [int(values[a:b].sum()) for a, b in pairwise(offsets)]


@settings(max_examples=10, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(-65535, 65535), st.integers(-65535, 65535)), min_size=1, max_size=9), st.data())
def test_addition_commutes_and_associates(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    key, values = KEY, np.array(rows)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    encrypted = key.public.encrypt(values)
    cut = data.draw(st.integers(0, len(rows)))
    halves = key.public.sum_by_list(encrypted, np.array([0, cut, len(rows)]), order)
    whole = key.public.sum_by_list(halves, np.array([0, 2]), np.array([1, 0]))
    assert key.decrypt(whole).tolist() == [values.sum(axis=0).tolist()]


KEY = SCHEME.key()


@pytest.mark.parametrize("factor", [0, 1, -1, 7, -64])
def test_factors_multiply(key: SecretKey, public: PublicKey, factor: int) -> None:
    values = numbers(9)
    scaled = public.times(public.encrypt(values), factor)
    assert scaled.bound == abs(factor) * (2**16 - 1)
    assert np.array_equal(key.decrypt(sent(public, scaled)), factor * values)


def test_each_row_may_have_a_factor_of_its_own(key: SecretKey, public: PublicKey) -> None:
    values, factors = numbers(7), np.array([3, -1, 0, 3, 5, -1, 1])
    encrypted = public.encrypt(values)
    scaled = public.times(encrypted, factors)
    assert np.array_equal(key.decrypt(scaled), factors[:, None] * values)
    difference = public.subtract(scaled, encrypted)
    assert difference.bound == 6 * encrypted.bound
    assert np.array_equal(key.decrypt(sent(public, difference)), (factors[:, None] - 1) * values)


# What others see.


def test_ciphertexts_of_equal_rows_have_nothing_in_common(public: PublicKey) -> None:
    same = np.zeros((300, 2), dtype=np.int64)
    once = public.encrypt(same)
    again = public.rerandomise(once)
    found = np.concatenate([once.encoded.reshape(-1, 32), again.encoded.reshape(-1, 32)])
    assert len(np.unique(found, axis=0)) == 2 * 3 * 300


def test_an_answer_about_one_row_is_no_point_that_was_received(public: PublicKey) -> None:
    received = public.encrypt(numbers(5))
    alone = public.sum_by_list(received, np.arange(6), np.arange(5))
    assert np.array_equal(alone.encoded, received.encoded)
    answer = public.to_bytes(alone).reshape(-1, 32)
    assert not (answer[:, None] == received.encoded.reshape(1, -1, 32)).all(axis=2).any()


def test_torsion_does_not_survive(key: SecretKey, public: PublicKey) -> None:
    """Points of the same cosets, by any point of order 2 or 4, decrypt to the same and encode as the same."""
    values = numbers(24)
    encrypted = public.encrypt(values)
    torsion = [(0, 1, 1, 0), (0, P - 1, 1, 0), (SQRT_M1, 0, 1, 0), (P - SQRT_M1, 0, 1, 0)]
    moved = np.empty_like(encrypted.points)
    for index in np.ndindex(moved.shape[:2]):
        point = definition.point_of(encrypted.points[index])
        moved[index] = definition.row_of(reference.plus(point, torsion[sum(index) % 4]))
    twisted = Ciphertexts(public, encrypted.bound, True, moved)
    assert np.array_equal(twisted.encoded, encrypted.encoded)
    assert np.array_equal(key.decrypt(twisted), values)


def test_what_was_received_does_not_go_back_as_it_came(key: SecretKey, public: PublicKey) -> None:
    received = public.to_bytes(key.public.encrypt(numbers(5)))
    returned = public.to_bytes(public.from_bytes(received))
    assert not (returned.reshape(-1, 1, 32) == received.reshape(1, -1, 32)).all(axis=2).any()
    assert np.array_equal(key.decrypt(key.public.from_bytes(returned)), numbers(5))


def test_no_secret_is_shown(key: SecretKey, public: PublicKey) -> None:
    text = repr(key) + repr(public.encrypt(numbers(2)))
    assert "_secrets" not in text
    assert not any(str(secret) in text for secret in key._secrets)
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(Misuse, match="stays in its process"):
            write(key)


# The budget.


def test_the_bound_of_sums_is_tracked(public: PublicKey) -> None:
    encrypted = public.encrypt(numbers(6))
    assert encrypted.bound == 2**16 - 1
    twice = public.add(encrypted, encrypted)
    assert twice.bound == 2 * encrypted.bound
    four = public.sum_by_list(twice, np.array([0, 1, 3]), np.array([0, 1, 2]))
    assert four.bound == public.rerandomise(four).bound == 4 * encrypted.bound
    with pytest.raises(Misuse, match="sum_bits"):
        public.sum_by_list(encrypted, np.array([0, 65]), np.zeros(65, dtype=np.int64))
    with pytest.raises(Misuse, match="sum_bits"):
        public.from_bytes(public.to_bytes(encrypted), bound=2**22)


def test_a_sum_out_of_range_is_refused(key: SecretKey, public: PublicKey) -> None:
    """A peer that adds more than was agreed on; the edge itself is found."""
    most = 2**16 - 1
    encrypted = public.encrypt(np.array([[most, -most], [63, -63], [64, 0], [0, -64]]))

    def total(last: int) -> Integers:
        members = np.array([0] * 64 + [last])
        sums = [points.sum_by_list(part, np.array([0, 65]), members) for part in encrypted.points]
        return key.decrypt(Ciphertexts(public, 2**22 - 1, True, np.stack(sums)))

    assert total(1).tolist() == [[2**22 - 1, -(2**22) + 1]]
    for last in (2, 3):
        with pytest.raises(ValueError, match="out of range"):
            total(last)


def test_a_sum_beyond_its_own_bound_is_refused(key: SecretKey, public: PublicKey) -> None:
    sent = public.to_bytes(public.encrypt(np.array([[9, -9], [8, 0]])))
    assert key.decrypt(key.public.from_bytes(sent, bound=9)).tolist() == [[9, -9], [8, 0]]
    with pytest.raises(ValueError, match="out of range"):
        key.decrypt(key.public.from_bytes(sent, bound=8))
    with pytest.raises(Misuse, match="0 or more"):
        key.public.from_bytes(sent, bound=-1)


@pytest.mark.parametrize("bits", [11, 12, 22, 23, 24, 34, 35, 36, 40])
def test_the_largest_numbers_of_every_size_are_encrypted_whole(bits: int) -> None:
    """Sizes at which a number takes one more digit of 12 bits; what is encrypted, as points."""
    key = Elgamal(bits=bits, sum_bits=40, table_bits=4).key()
    most = 2**bits - 1
    values = [most, -most, most - 2**10, most - 2 ** (bits - 2), 2 ** (bits - 1), -(2 ** (bits - 1))]
    masks, part = key.public.encrypt(np.array(values)).points
    generator, _ = points.decode(np.frombuffer(GENERATOR, dtype=np.uint8)[None])
    expected = np.concatenate([points.times(generator, 4 * value) for value in values])
    assert np.array_equal(points.encode(points.unmask(masks, part, key._secrets[0])), points.encode(expected))


def test_numbers_out_of_range_are_refused(public: PublicKey) -> None:
    for wrong in ([[2**16, 0]], [[0, -(2**16)]]):
        with pytest.raises(Misuse, match="bits"):
            public.encrypt(np.array(wrong))


# What is refused.


@pytest.mark.parametrize("bad", [*BAD, b"\xff" * 32], ids=lambda bad: bad.hex()[:12])
@pytest.mark.parametrize("part", [0, 2])
def test_encodings_that_are_not_canonical_are_refused(public: PublicKey, bad: bytes, part: int) -> None:
    data = public.to_bytes(public.encrypt(numbers(9)))
    data[4, 32 * part : 32 * part + 32] = np.frombuffer(bad, dtype=np.uint8)
    with pytest.raises(ValueError, match="canonical"):
        public.from_bytes(data)


def test_randomness_of_nothing_or_of_another_row_is_refused(public: PublicKey) -> None:
    data = public.to_bytes(public.encrypt(numbers(9)))
    for row in (np.zeros(32, dtype=np.uint8), data[0, :32].copy()):
        data[4, :32] = row
        with pytest.raises(ValueError, match="randomness"):
            public.from_bytes(data)


@settings(max_examples=50, deadline=None, database=None)
@given(st.binary(min_size=96, max_size=96))
def test_any_bytes_are_read_or_refused(row: bytes) -> None:
    with pytest.raises(ValueError, match="holds"):
        KEY.public.from_bytes(np.frombuffer(row, dtype=np.uint8)[None].repeat(2, axis=0))


@pytest.mark.parametrize("shape", [(3,), (3, 95), (3, 64), (1, 3, 32)])
def test_ciphertexts_of_another_size_are_refused(public: PublicKey, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="size"):
        public.from_bytes(np.zeros(shape, dtype=np.uint8))


def test_keys_are_checked(key: SecretKey) -> None:
    good = key.public.public
    for wrong in (good[:1], good.astype(np.int8), good[:, :31]):
        with pytest.raises(ValueError, match="another number"):
            SCHEME.peer(wrong)
    for wrong in (
        good[[0, 0]],
        np.stack([good[0], np.zeros(32, np.uint8)]),
        np.stack([good[0], np.full(32, 255, np.uint8)]),
    ):
        with pytest.raises(ValueError, match="distinct"):
            SCHEME.peer(wrong)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p, c: p.encrypt(np.zeros((3, 1), dtype=np.int64)), r"shape \(n, 2\)"),
        (lambda p, c: p.encrypt(np.zeros((3, 2))), "integers"),
        (lambda p, c: p.encrypt(np.zeros(3, dtype=np.int64)), r"shape \(n, 2\)"),
        (lambda p, c: p.times(c, np.array([1.5])), "Factors"),
        (lambda p, c: p.times(c, np.array([2**63], dtype=np.uint64)), "Factors"),
        (lambda p, c: p.times(c, 2**70), "Factors"),
        (lambda p, c: p.times(c, np.array([1, 2, 3])), "Factors"),
        (lambda p, c: p.times(c, np.array([-(2**63)])), "sum_bits"),
        (lambda p, c: p.sum_by_list(c, np.array([0, 4]), np.array([0, 1, 2])), "ascend"),
        (lambda p, c: p.sum_by_list(c, np.array([1, 3]), np.array([0, 1, 2])), "ascend"),
        (lambda p, c: p.sum_by_list(c, np.array([0, 2, 1, 3]), np.array([0, 1, 2])), "ascend"),
        (lambda p, c: p.sum_by_list(c, np.array([0, 1]), np.array([4])), "not among the 4"),
        (lambda p, c: p.sum_by_list(c, np.array([0, 1]), np.array([-1])), "not among the 4"),
        (lambda p, c: p.sum_by_list(c, np.array([0.0, 1.0]), np.array([1])), "integers"),
        (lambda p, c: p.add(c, p.encrypt(numbers(3))), "same length"),
        (lambda p, c: p.add(c, KEY.public.encrypt(numbers(4))), "another key"),
        (lambda p, c: KEY.decrypt(c), "another key"),
        (lambda p, c: Elgamal(values=0), "1 or more"),
        (lambda p, c: Elgamal(bits=20, sum_bits=19), "sum_bits"),
        (lambda p, c: Elgamal(table_bits=23), "table_bits"),
    ],
)
def test_misuse_is_named(
    key: SecretKey, public: PublicKey, call: Callable[[PublicKey, Ciphertexts], Any], sentence: str
) -> None:
    with pytest.raises(Misuse, match=sentence):
        call(public, public.encrypt(numbers(4)))


# Points and logarithms.


def test_opposites_are_canonical_and_add_up_to_nothing() -> None:
    encodings = np.array([np.frombuffer(bytes.fromhex(t), np.uint8) for t in VECTORS["multiples_of_generator"]])
    rows, valid = points.decode(encodings)
    assert valid.all()
    opposite = points.opposites(rows)
    assert np.array_equal(points.add(rows, opposite), points.identities(16))
    assert np.array_equal(points.opposites(opposite), rows)
    expected = [definition.row_of(definition.negative(definition.point_of(row))) for row in rows]
    assert np.array_equal(opposite, np.array(expected))


def test_opposites_borrow_as_far_as_they_must() -> None:
    """2dxy of every size that leaves no room for a borrow in one word or several; y + x and y - x change places."""
    near = [0, 1, 2, 17, 18, 19, 20, P - 20, P - 19, P - 18, P - 2, P - 1]
    near += [2**bits - less for bits in (64, 128, 192) for less in range(20)] + [
        2**192 + 2**64 - 1,
        2**192 - 2**128 - 1,
    ]
    rows = np.array([[word for n in (3, 5, c) for word in words_of(n)] for c in near], dtype=np.uint64)
    expected = np.array([[word for n in (5, 3, -c % P) for word in words_of(n)] for c in near], dtype=np.uint64)
    assert np.array_equal(points.opposites(rows), expected)


def words_of(number: int) -> list[int]:
    return [number >> 64 * i & 2**64 - 1 for i in range(4)]


def multiples(base: points.Points, values: Integers) -> points.Points:
    comb = points.Comb.of(base, 8, 6)
    numbers = np.zeros((len(values), 4), dtype=np.uint64)
    numbers[:, 0] = (values + comb.shift).astype(np.uint64)
    return comb.add_to(points.identities(len(values)), numbers)


@pytest.fixture(scope="module")
def base() -> points.Points:
    rows, _ = points.decode(np.frombuffer(GENERATOR, dtype=np.uint8)[None])
    return points.times_two(rows[0], 2)


@pytest.mark.parametrize("bits", [4, 5, 9])
def test_every_number_around_the_steps_is_found(base: points.Points, bits: int) -> None:
    table, bound = Logarithms(base, bits), 9 << bits
    values = np.arange(-bound, bound + 1)
    assert np.array_equal(table.find(multiples(base, values), bound), values)


@pytest.mark.parametrize("far", [1, -1])
@pytest.mark.parametrize("bound", [0, 15, 16, 17, 100])
def test_numbers_beyond_the_bound_are_refused(base: points.Points, bound: int, far: int) -> None:
    table = Logarithms(base, 4)
    assert table.find(multiples(base, np.array([far * bound])), bound).tolist() == [far * bound]
    with pytest.raises(ValueError, match="out of range"):
        table.find(multiples(base, np.array([0, far * (bound + 1)])), bound)


def test_the_default_table_finds_each_of_its_entries(base: points.Points) -> None:
    """The table is the same in every process; entries of one place never agree in the 40 bits that tell them apart."""
    from engine.he.logarithm import _labels

    table = Logarithms(base, 20)
    assert np.count_nonzero(table._table) == 2**20 + 1
    sample = np.concatenate([np.arange(5000), 2**20 - np.arange(5000)])
    assert np.array_equal(table.find(multiples(base, sample), 2**20), sample)
    assert _labels(base[None], points.identities(1)[0]).shape == (1, 2)


def test_a_point_that_is_no_small_multiple_is_refused(base: points.Points) -> None:
    strange, _ = points.decode(group.multiply_base(np.arange(32, dtype=np.uint8)[None]))
    assert ORDER > 2**252
    with pytest.raises(ValueError, match="out of range"):
        Logarithms(base, 8).find(strange, 2**12)
