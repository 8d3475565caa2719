"""ristretto255 against the vectors of RFC 9496, 9380 and 9497, its laws, and what is refused, in every tier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import group, threads
from engine.kernels.group import ORDER

Bytes = NDArray[np.uint8]

FOLDER = Path(__file__).parent.parent / "vectors"
RISTRETTO = json.loads((FOLDER / "ristretto255_rfc9496.json").read_text())
EXPANSIONS = json.loads((FOLDER / "expand_message_xmd_rfc9380.json").read_text())
OPRF = json.loads((FOLDER / "ristretto255_rfc9497.json").read_text())

IDENTITY = bytes(32)
# Where a step of eight lanes ends, where one of two steps does, and where a block of 64 steps shares an inversion.
SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 511, 512, 513]

few = settings(
    max_examples=12, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
scalars = st.integers(0, ORDER - 1) | st.sampled_from([0, 1, 2, ORDER - 1, ORDER // 2, 2**252])


def rows(texts: list[str]) -> Bytes:
    """Lay out hexadecimal texts of one length as rows of bytes."""
    return np.array([np.frombuffer(bytes.fromhex(text), dtype=np.uint8) for text in texts])


def texts(array: Bytes) -> list[str]:
    return [row.tobytes().hex() for row in array]


def cycled(array: Bytes, count: int) -> Bytes:
    return array[np.arange(count) % len(array)]


def number_rows(numbers: list[int]) -> Bytes:
    return rows([number.to_bytes(32, "little").hex() for number in numbers])


MULTIPLES = rows(RISTRETTO["multiples_of_generator"])
BAD = rows([text for kind in RISTRETTO["bad_encodings"].values() for text in kind])
UNIFORM = rows([vector["uniform_bytes"] for vector in RISTRETTO["element_derivation"]])
MESSAGES = np.arange(17 * 16, dtype=np.uint16).astype(np.uint8).reshape(17, 16) * np.uint8(37)


# RFC 9496, appendix A.


def test_multiples_of_the_generator(tier: str) -> None:
    assert texts(group.multiply_base(number_rows(list(range(16))))) == RISTRETTO["multiples_of_generator"]
    generator = MULTIPLES[1:2]
    for k, expected in enumerate(RISTRETTO["multiples_of_generator"]):
        product, valid = group.multiply(generator, k)
        assert texts(product) == [expected]
        assert valid.tolist() == [True]
    assert texts(group.add(MULTIPLES[:-1], np.repeat(generator, 15, axis=0))) == texts(MULTIPLES[1:])


def test_bad_encodings_are_no_elements(tier: str) -> None:
    assert group.decode_valid(MULTIPLES).all()
    assert not group.decode_valid(BAD).any()
    product, valid = group.multiply(np.concatenate([BAD, MULTIPLES]), 5)
    assert not valid[: len(BAD) + 1].any()  # the identity, first of the multiples, is told apart too
    assert not product[: len(BAD) + 1].any()
    assert valid[len(BAD) + 1 :].all()
    for bad in BAD:
        with pytest.raises(Misuse, match="canonical"):
            group.add(MULTIPLES[:1], bad[None])
        with pytest.raises(Misuse, match="canonical"):
            group.sum_by_list(np.stack([MULTIPLES[1], bad]), np.array([0, 2]))


def test_one_way_map(tier: str) -> None:
    assert texts(group.one_way_map(UNIFORM)) == [v["encoded_element"] for v in RISTRETTO["element_derivation"]]


# RFC 9380: expansion; and hashing through the blinded elements of RFC 9497, which are Blind * HashToGroup(Input).


@pytest.mark.parametrize("vector", EXPANSIONS["tests"], ids=lambda v: f"{len(v['msg'])} to {v['len_in_bytes']}")
def test_expansion(vector: dict[str, str]) -> None:
    out = group.expand_message_xmd(vector["msg"].encode(), EXPANSIONS["DST"].encode(), int(vector["len_in_bytes"], 16))
    assert out.hex() == vector["uniform_bytes"]


def test_an_oversize_tag_is_hashed_first() -> None:
    tag = bytes(256)
    short = hashlib.sha512(b"H2C-OVERSIZE-DST-" + tag).digest()
    assert group.expand_message_xmd(b"x", tag, 64) == group.expand_message_xmd(b"x", short, 64)
    assert group.expand_message_xmd(b"x", bytes(255), 64) != group.expand_message_xmd(b"x", short, 64)


@pytest.mark.parametrize("width", [0, 1, 16, 63, 64])
def test_batches_of_messages_are_hashed_as_single_ones(tier: str, width: int) -> None:
    messages = np.resize(np.arange(251, dtype=np.uint8), (9, width))
    for tag in (b"T", bytes(100), bytes(255), bytes(300)):
        expanded = [np.frombuffer(group.expand_message_xmd(m.tobytes(), tag, 64), dtype=np.uint8) for m in messages]
        assert np.array_equal(group.hash_to_group(messages, tag), group.one_way_map(np.array(expanded)))


def test_hash_to_group(tier: str) -> None:
    for suite in OPRF["suites"]:
        tag = bytes.fromhex(suite["groupDST"])
        key = int.from_bytes(bytes.fromhex(suite["skSm"]), "little")
        for vector in suite["vectors"]:
            cases = zip(
                *(vector[k].split(",") for k in ("Input", "Blind", "BlindedElement", "EvaluationElement")), strict=True
            )
            for text, blind, blinded, evaluated in cases:
                secret = int.from_bytes(bytes.fromhex(blind), "little")
                assert texts(group.hash_and_multiply(rows([text]), tag, secret)) == [blinded]
                assert texts(group.multiply(group.hash_to_group(rows([text]), tag), secret)[0]) == [blinded]
                if suite["mode"] < 2:  # mode 2 evaluates with the inverse of a tweaked key
                    assert texts(group.multiply(rows([blinded]), key)[0]) == [evaluated]


# Sizes and threads.


@pytest.mark.parametrize("cores", [1, 3])
def test_batches_of_every_size_are_their_rows(tier: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_PER_THREAD", 16)
    monkeypatch.setattr(threads, "cores", lambda: cores)
    points = np.concatenate([MULTIPLES, BAD[:1]])
    operations: dict[str, tuple[Bytes, Callable[[Bytes], Any]]] = {
        "multiply": (points, lambda x: group.multiply(x, 2**200 + 3)[0]),
        "valid": (points, lambda x: group.multiply(x, 2**200 + 3)[1]),
        "check": (points, group.decode_valid),
        "hash": (MESSAGES, lambda x: group.hash_to_group(x, b"sizes")),
        "hash_and_multiply": (MESSAGES, lambda x: group.hash_and_multiply(x, b"sizes", ORDER - 3)),
        "map": (cycled(UNIFORM, 17), group.one_way_map),
        "add": (cycled(MULTIPLES, 17), lambda x: group.add(x, x)),
        "each": (points, lambda x: group.multiply_each(x, cycled(number_rows([2**200 + 3]), len(x)))[0]),
        "base": (number_rows([3**i % ORDER for i in range(17)]), group.multiply_base),
        "sums": (cycled(MULTIPLES, 17), lambda x: group.sum_by_list(x, np.arange(len(x) + 1))),
    }
    for name, (distinct, operation) in operations.items():
        expected = np.array([operation(row[None])[0] for row in distinct])
        for size in SIZES if tier != "reference" else SIZES[:8]:
            found = operation(cycled(distinct, size))
            assert np.array_equal(found, cycled(expected, size)), f"{name}, {size} rows"
            assert found.shape[1:] == expected.shape[1:]
            assert found.dtype == expected.dtype


def test_arrays_in_any_layout_are_read(tier: str) -> None:
    spread = np.zeros((2 * len(MULTIPLES), 40), dtype=np.uint8)
    spread[::2, 4:36] = MULTIPLES
    frozen = MULTIPLES.copy()
    frozen.flags.writeable = False
    expected = group.multiply(MULTIPLES, 77)[0]
    for array in (spread[::2, 4:36], np.asfortranarray(MULTIPLES), frozen):
        assert np.array_equal(group.multiply(array, 77)[0], expected)


# Sums.


@pytest.mark.parametrize("lengths", [[], [0], [3], [0, 1, 0, 5, 0], [64, 65, 128, 129, 0, 300], [1] * 20])
def test_sums_by_list(tier: str, lengths: list[int]) -> None:
    """The multiples 0 to 15 of the generator in lists of some lengths: each sum is a known multiple."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    indices = np.arange(offsets[-1]) % 16
    totals = [int(indices[a:b].sum()) for a, b in pairwise(offsets)]
    found = group.sum_by_list(MULTIPLES[indices], offsets)
    assert found.shape == (len(lengths), 32)
    if lengths:
        assert np.array_equal(found, group.multiply_base(number_rows(totals)))


def test_rows_before_and_after_the_lists_do_not_count(tier: str) -> None:
    points = np.concatenate([BAD[:1], MULTIPLES[1:4], BAD[:1]])
    assert texts(group.sum_by_list(points, np.array([1, 3, 4]))) == texts(MULTIPLES[[3, 3]])


# Laws.


@few
@given(a=scalars, b=scalars)
def test_scalars_multiply_and_add(tier: str, a: int, b: int) -> None:
    points = group.hash_to_group(MESSAGES[:3], b"laws")
    by_a, by_b = group.multiply(points, a)[0], group.multiply(points, b)[0]
    assert np.array_equal(group.add(by_a, by_b), group.multiply(points, (a + b) % ORDER)[0])
    if a:
        assert np.array_equal(group.multiply(by_a, b)[0], group.multiply(points, a * b % ORDER)[0])
        inverse = pow(a, -1, ORDER)
        assert np.array_equal(group.multiply(by_a, inverse)[0], points)


@few
@given(a=scalars, text=st.binary(min_size=1, max_size=64))
def test_ways_to_one_result(tier: str, a: int, text: bytes) -> None:
    message = np.frombuffer(text, dtype=np.uint8)[None]
    hashed = group.hash_to_group(message, b"ways")
    product, valid = group.multiply(hashed, a)
    assert valid.all()
    assert np.array_equal(product, group.hash_and_multiply(message, b"ways", a))
    assert np.array_equal(product, group.multiply(hashed, number_rows([a])[0])[0])
    assert np.array_equal(group.multiply_base(number_rows([a])), group.multiply(MULTIPLES[1:2], a)[0])
    assert group.decode_valid(product).all()


@few
@given(order=st.permutations(range(16)), cut=st.integers(0, 16))
def test_addition_commutes_and_associates(tier: str, order: list[int], cut: int) -> None:
    shuffled = MULTIPLES[order]
    whole = group.sum_by_list(shuffled, np.array([0, 16]))
    parts = group.sum_by_list(shuffled, np.array([0, cut, 16]))
    assert np.array_equal(whole, group.add(parts[:1], parts[1:]))
    assert np.array_equal(whole, group.multiply_base(number_rows([120])))


def test_opposites_and_the_identity(tier: str) -> None:
    points = group.hash_to_group(MESSAGES, b"opposites")
    zeros = np.zeros_like(points)
    assert np.array_equal(group.add(points, zeros), points)
    opposite, valid = group.multiply(points, ORDER - 1)
    assert valid.all()
    assert not group.add(points, opposite).any()
    for nothing in (0, ORDER):
        product, valid = group.multiply(points, nothing)
        assert valid.all()  # about the point that came in, not about the product
        assert not product.any()


@few
@given(number=scalars)
@example(ORDER // 2)
@example(ORDER // 2 + 1)
def test_digits_spell_their_number(number: int) -> None:
    digits = group.digits_of(number)
    assert sum(int(digit) * 16**i for i, digit in enumerate(digits)) in (number, number - ORDER)
    assert digits.shape == (group.DIGITS,)
    assert digits.dtype == np.int8
    assert np.abs(digits.astype(int)).max() <= 8


def test_random_scalars_are_in_range_and_differ() -> None:
    drawn = [group.random_scalar() for _ in range(50)]
    assert all(0 < scalar < ORDER for scalar in drawn)
    assert len(set(drawn)) == 50
    assert max(drawn) > ORDER // 2 > min(drawn)


@few
@given(numbers=st.lists(scalars, min_size=1, max_size=20))
def test_scalars_of_their_own(tier: str, numbers: list[int]) -> None:
    points = cycled(MULTIPLES[1:], len(numbers))
    found, valid = group.multiply_each(points, number_rows(numbers))
    assert valid.all()
    expected = [group.multiply(point[None], number)[0][0] for point, number in zip(points, numbers, strict=True)]
    assert np.array_equal(found, np.array(expected))


def test_scalars_in_batches() -> None:
    drawn = group.random_scalars(40)
    values = [int.from_bytes(row.tobytes(), "little") for row in drawn]
    assert all(0 < value < ORDER for value in values)
    assert len(set(values)) == 40
    inverse = [int.from_bytes(row.tobytes(), "little") for row in group.inverses(drawn)]
    assert [a * b % ORDER for a, b in zip(values, inverse, strict=True)] == [1] * 40
    assert group.inverses(drawn[:0]).shape == (0, 32)
    messages = np.arange(400, dtype=np.uint8).reshape(2, 200)
    wide = [group.expand_message_xmd(message.tobytes(), b"tag", 64) for message in messages]
    assert np.array_equal(
        group.hash_to_scalars(messages, b"tag"), number_rows([int.from_bytes(w, "little") % ORDER for w in wide])
    )


# What is refused.


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: group.multiply(np.zeros((2, 31), np.uint8), 1), r"shape \(n, 32\)"),
        (lambda: group.multiply(np.zeros((2, 32), np.int8), 1), "uint8"),
        (lambda: group.multiply(np.zeros(32, np.uint8), 1), r"shape \(n, 32\)"),
        (lambda: group.multiply(MULTIPLES, np.zeros(31, np.uint8)), r"shape \(32,\)"),
        (lambda: group.multiply_each(MULTIPLES, np.zeros((1, 32), np.uint8)), "same length"),
        (lambda: group.multiply_each(MULTIPLES[:1], np.full((1, 32), 32, np.uint8)), "below"),
        (lambda: group.hash_to_scalars(np.zeros((1, 257), np.uint8), b"x"), "at most 256 bytes"),
        (lambda: group.decode_valid(np.zeros((1, 64), np.uint8)), r"shape \(n, 32\)"),
        (lambda: group.one_way_map(np.zeros((1, 32), np.uint8)), r"shape \(n, 64\)"),
        (lambda: group.add(MULTIPLES, MULTIPLES[1:]), "same length"),
        (lambda: group.hash_to_group(np.zeros((1, 65), np.uint8), b"x"), "at most 64 bytes"),
        (lambda: group.hash_to_group(np.zeros((1, 8), np.int64), b"x"), "uint8"),
        (lambda: group.hash_to_group(MESSAGES, b""), "not empty"),
        (lambda: group.multiply_base(np.full((1, 32), 32, np.uint8)), "below"),
        (lambda: group.sum_by_list(MULTIPLES, np.array([], np.int64)), "Offsets"),
        (lambda: group.sum_by_list(MULTIPLES, np.array([-1, 2])), "Offsets"),
        (lambda: group.sum_by_list(MULTIPLES, np.array([3, 2])), "Offsets"),
        (lambda: group.sum_by_list(MULTIPLES, np.array([0, 17])), "Offsets"),
        (lambda: group.sum_by_list(MULTIPLES, np.array([0.0, 1.5])), "Offsets"),
        (lambda: group.expand_message_xmd(b"", b"x", 0), "16320"),
        (lambda: group.expand_message_xmd(b"", b"x", 16321), "16320"),
    ],
)
def test_misuse_is_named(call: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        call()
