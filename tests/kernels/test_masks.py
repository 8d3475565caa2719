"""Masks against the vectors of NIST SP 800-38A and RFC 3686, their laws, and what is refused, in every tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.kernels import masks

# Key, counter, plaintext, ciphertext: SP 800-38A, F.5.5; RFC 3686, section 6, vectors 7 to 9.
VECTORS = [
    (
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
    ),
    (
        "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104",
        "00000060db5672c97aa8f0b200000001",
        "53696e676c6520626c6f636b206d7367",
        "145ad01dbf824ec7560863dc71e3e0c0",
    ),
    (
        "f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a23884",
        "00faac24c1585ef15a43d87500000001",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c",
    ),
    (
        "ff7a617ce69148e4f1726e2f43581de2aa62d9f805532edff1eed687fb54153d",
        "001cc5b751a51d70a1c1114800000001",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
        "eb6c52821d0bbbf7ce7594462aca4faab407df866569fd07f48cc0b583d6071f1ec0e6b8",
    ),
]
KEYS = np.random.default_rng(256).integers(0, 256, (3, 32), dtype=np.uint8)
SIGNS = np.array([1, -1, 1])


@pytest.mark.parametrize(("key", "counter", "plain", "cipher"), VECTORS)
def test_the_stream_is_that_of_the_standards(tier: str, key: str, counter: str, plain: str, cipher: str) -> None:
    text = bytes.fromhex(plain)
    keys = np.frombuffer(bytes.fromhex(key), dtype=np.uint8).reshape(1, 32)
    zeros = np.zeros(len(text) // 4, dtype=np.uint32)
    stream = masks.add_masks(zeros, keys, np.array([1]), int(counter, 16))
    assert bytes(np.frombuffer(text, np.uint8) ^ stream.view(np.uint8)).hex() == cipher


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_masks_cancel(tier: str, dtype: type[Any]) -> None:
    values = np.arange(1000, dtype=dtype) * dtype(0x9E3779B1)
    masked = masks.add_masks(values, KEYS, SIGNS, 5 << 64)
    assert masked.dtype == dtype
    assert (masked != values).mean() > 0.99
    np.testing.assert_array_equal(masks.add_masks(masked, KEYS, -SIGNS, 5 << 64), values)
    one_by_one = values.copy()
    for key, sign in zip(KEYS, SIGNS, strict=True):
        assert masks.add_masks(one_by_one, key[None], np.array([sign]), 5 << 64, out=one_by_one) is one_by_one
    np.testing.assert_array_equal(one_by_one, masked)


@pytest.mark.parametrize("counter", [0, 1, 31, (1 << 64) - 3, (7 << 64) - 32, (1 << 128) - 40, (1 << 128) - 1])
def test_a_later_counter_continues_the_stream(tier: str, counter: int) -> None:
    """Carries into the high word, and the wrap at 2**128, at any place within a step of 32 blocks."""
    zeros = np.zeros(4 * 70 + 3, dtype=np.uint32)
    whole = masks.add_masks(zeros, KEYS[:1], SIGNS[:1], counter)
    for blocks in (1, 2, 33, 39, 64):
        rest = masks.add_masks(zeros[4 * blocks :], KEYS[:1], SIGNS[:1], (counter + blocks) % (1 << 128))
        np.testing.assert_array_equal(whole[4 * blocks :], rest)


def test_a_carry_reaches_the_pieces_that_follow(tier: str) -> None:
    """Words are worked on in pieces; those after a carry into the high word begin with it."""
    zeros, counter = np.zeros(1 << 17, dtype=np.uint32), (6 << 64) - 100
    whole = masks.add_masks(zeros, KEYS[:1], SIGNS[:1], counter)
    rest = masks.add_masks(zeros[4 * 200 :], KEYS[:1], SIGNS[:1], counter + 200)
    np.testing.assert_array_equal(whole[4 * 200 :], rest)


def test_nothing_to_mask_and_nobody_to_mask_for(tier: str) -> None:
    values = np.arange(10, dtype=np.uint64)
    np.testing.assert_array_equal(masks.add_masks(values, KEYS[:0], SIGNS[:0], 0), values)
    assert masks.add_masks(values[:0], KEYS, SIGNS, 0).shape == (0,)
    np.testing.assert_array_equal(
        masks.add_masks(values[::3], KEYS, SIGNS, 0), masks.add_masks(values[::3].copy(), KEYS, SIGNS, 0)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.zeros(3)}, "uint32 or uint64"),
        ({"values": np.zeros((3, 1), np.uint32)}, "uint32 or uint64"),
        ({"keys": KEYS[:, :16]}, r"\(k, 32\)"),
        ({"signs": SIGNS[:2]}, "a sign for each"),
        ({"signs": np.array([1, 0, -1])}, "1 or -1"),
        ({"counter": 1 << 128}, "counter"),
        ({"counter": -1}, "counter"),
        ({"out": np.zeros(6, np.uint32)[::2]}, "contiguous"),
        ({"out": np.zeros(3, np.uint64)}, "shape and type"),
    ],
)
def test_what_cannot_be_masked_is_refused(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"values": np.zeros(3, np.uint32), "keys": KEYS, "signs": SIGNS, "counter": 0}
    with pytest.raises(Misuse, match=words):
        masks.add_masks(**(arguments | change))


def test_numbers_are_rounded_to_the_nearest_and_held(tier: str) -> None:
    values = np.array([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 7.99, 8.0, 8.5, -1e300, np.inf])
    expected = [0, 0, 0, 2, 2, 0, -2, 0, 8, 8, 8, -8, 8]
    assert masks.quantise(values, 0, 8.0).tolist() == expected
    assert masks.quantise(np.array([np.pi], np.float32), 20, 64.0).tolist() == [round(float(np.float32(np.pi)) * 2**20)]
    assert masks.quantise(np.array([1e9, -1e9]), 43, 1024.0).tolist() == [1 << 53, -(1 << 53)]
    for bad in (lambda: masks.quantise(values, 43, 1025.0), lambda: masks.quantise(values * np.nan, 0, 8.0)):
        with pytest.raises(Misuse):
            bad()


def test_stochastic_rounding_has_the_mean_of_what_is_rounded(tier: str) -> None:
    """Each number, often: the mean within six standard deviations, and both neighbours and nothing else."""
    count = 300 if tier == "reference" else 40_000
    for number in (0.3, -0.3, 2.75, -5.1, 0.5, 7.0, -7.0, 0.0):
        drawn = masks.quantise(np.full(count, number / 16), 4, 1.0, "stochastic", KEYS[0], counter=9 << 64)
        fraction = number - np.floor(number)
        assert abs(drawn.mean() - number) <= 6 * np.sqrt(fraction * (1 - fraction) / count)
        assert set(np.unique(drawn)) <= {np.floor(number), np.ceil(number)}
        assert fraction == 0 or len(np.unique(drawn)) == 2


def test_stochastic_rounding_follows_its_key(tier: str) -> None:
    """As the stream of the key says, the same for the same key and counter, and held within the limit."""
    values = np.random.default_rng(4).normal(0, 3, 101)
    once = masks.quantise(values, 10, 4.0, "stochastic", KEYS[1])
    draws = masks.add_masks(np.zeros(101, np.uint64), KEYS[1:2], np.ones(1), 0) >> np.uint64(11)
    scaled = np.clip(values * 2**10, -(2**12), 2**12)
    fractions = scaled - np.floor(scaled)
    np.testing.assert_array_equal(once, np.floor(scaled) + (draws.astype(np.float64) < fractions * 2**53))
    np.testing.assert_array_equal(masks.quantise(values, 10, 4.0, "stochastic", KEYS[1]), once)
    assert (masks.quantise(values, 10, 4.0, "stochastic", KEYS[1], counter=51) != once).any()
    assert (masks.quantise(values, 10, 4.0, "stochastic", KEYS[2]) != once).any()
    assert masks.quantise(values[:0], 10, 4.0, "stochastic", KEYS[2]).shape == (0,)


@pytest.mark.parametrize(
    "arguments",
    [("stochastic",), ("nearest", KEYS[0]), ("up", KEYS[0]), ("stochastic", KEYS[0][:16]), ("stochastic", KEYS[0], -1)],
)
def test_a_rounding_without_its_key_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(Misuse):
        masks.quantise(np.zeros(3), 4, 1.0, *arguments)


def test_a_sum_of_masked_numbers_is_the_sum(tier: str) -> None:
    """Three parties, a mask for each pair; what is published is uniform, and the sum is exact."""
    numbers = np.random.default_rng(3).normal(0, 3, (3, 500))
    signs = np.array([[1, 1, 0], [-1, 0, 1], [0, -1, -1]])
    fixed = [masks.quantise(row, 16, 100.0) for row in numbers]
    total = np.zeros(500, dtype=np.uint32)
    for row, mine in zip(fixed, signs, strict=True):
        masked = masks.add_masks(row.astype(np.uint32), KEYS[mine != 0], mine[mine != 0], 9 << 64)
        total += masks.unpack(masks.pack(masked, 27), 27, 500).astype(np.uint32)
    np.testing.assert_array_equal(masks.to_real(total, 16, 27), np.sum(fixed, axis=0) / 2**16)


def packed_by_numpy(words: NDArray[np.uint64], bits: int) -> NDArray[np.uint8]:
    digits = words[:, None] >> np.arange(bits, dtype=np.uint64) & np.uint64(1)
    return np.packbits(digits.astype(np.uint8).ravel(), bitorder="little")


@pytest.mark.parametrize("bits", [1, 5, 7, 8, 22, 31, 32, 33, 40, 57, 63, 64])
def test_packing_leaves_no_gaps(tier: str, bits: int) -> None:
    words = np.random.default_rng(bits).integers(0, 2**64, 101, dtype=np.uint64)
    words[:4] = [0, 2**64 - 1, 1, 2**63]
    packed = masks.pack(words, bits)
    np.testing.assert_array_equal(packed, packed_by_numpy(words, bits))
    kept = words & np.uint64((1 << bits) - 1)
    np.testing.assert_array_equal(masks.unpack(packed, bits, 101), kept)
    assert masks.pack(words[:0], bits).size == masks.unpack(packed[:0], bits, 0).size == 0


def test_packed_numbers_have_one_spelling(tier: str) -> None:
    packed = masks.pack(np.arange(3, dtype=np.uint32), 3)
    packed[-1] |= 2
    with pytest.raises(ValueError, match="not zero"):
        masks.unpack(packed, 3, 3)
    with pytest.raises(ValueError, match="another size"):
        masks.unpack(packed[:1], 3, 3)
    with pytest.raises(Misuse, match="1 to 64"):
        masks.pack(packed, 65)
