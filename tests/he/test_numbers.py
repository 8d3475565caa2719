"""What may be encrypted and multiplied by: integers of any kind and size, and nothing that would be cut off."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.errors import Misuse
from engine.he import phe_keys
from engine.he.packing import Lanes, as_numbers, decode
from engine.he.paillier import Ciphertexts, Paillier, PaillierPublicKey, PaillierSecretKey

LOWEST = np.int64(-(2**63))


@pytest.fixture(scope="module")
def key() -> PaillierSecretKey:
    return Paillier(2048).key()


@pytest.fixture(scope="module")
def peer(key: PaillierSecretKey) -> PaillierPublicKey:
    return Paillier(2048).peer(key.public.public)


@pytest.fixture(scope="module")
def pair(peer: PaillierPublicKey) -> Ciphertexts:
    return peer.encrypt(np.array([3, -4]))


def objects(*values: object) -> Any:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def test_objects_of_numpys_own_integers_keep_their_size(
    key: PaillierSecretKey, peer: PaillierPublicKey, pair: Ciphertexts
) -> None:
    """Whose absolute values are negative: int64's and int8's lowest."""
    lowest = peer.encrypt(objects(LOWEST, np.int8(-128)))
    assert lowest.bound == 2**63
    assert key.decrypt(lowest).tolist() == [-(2**63), -128]
    scaled = peer.times(pair, objects(LOWEST, np.int8(-128)))
    assert scaled.bound == pair.bound * 2**63
    assert key.decrypt(scaled).tolist() == [-3 * 2**63, 512]
    assert peer.encrypt(np.array([LOWEST])).bound == 2**63


def test_all_of_int64_comes_back_at_the_bound_that_nobody_gave(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    """Which is the same whether the lowest is among the values or not."""
    a = peer.encrypt(np.array([LOWEST, 2**63 - 1]))
    assert a.bound == peer.encrypt(np.array([0])).bound == 2**63
    found = key.decrypt(key.public.from_bytes(peer.to_bytes(a)))
    assert found.dtype == np.int64
    assert found.tolist() == [-(2**63), 2**63 - 1]


def test_lists_of_integers_that_no_dtype_holds_stay_exact(
    key: PaillierSecretKey, peer: PaillierPublicKey, pair: Ciphertexts
) -> None:
    scalars: Any = [2**63 + 1, -1]
    assert key.decrypt(peer.times(pair, scalars)).tolist() == [3 * (2**63 + 1), 4]
    assert as_numbers(scalars).tolist() == scalars
    assert as_numbers([1.5, 2]).dtype == np.float64


@pytest.mark.parametrize("value", [1.5, "7", None, np.float64(2.0)])
def test_objects_that_are_no_integers_are_refused(peer: PaillierPublicKey, pair: Ciphertexts, value: object) -> None:
    for mistake in (
        lambda: peer.encrypt(objects(1, value)),
        lambda: peer.times(pair, objects(1, value)),
        lambda: Lanes(8, 2).pack(objects(1, value)[None]),
    ):
        with pytest.raises(Misuse, match="must be integers"):
            mistake()


def test_nothing_times_nothing_is_nothing(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    none = peer.encrypt(np.zeros(0, dtype=np.int64))
    lanes = peer.lanes(40)
    answers = (
        peer.times(none, np.array([-3])),
        peer.times(none, np.zeros(0)),
        peer.negate(none),
        peer.add(none, none),
        peer.add(none, peer.encrypt(np.array([1]))),
        peer.compress(peer.encrypt(np.zeros(0, dtype=np.uint64)), lanes),
        peer.sum_by_list(none, np.array([0]), np.zeros(0, dtype=np.int64)),
        key.encrypt(np.zeros(0)),
    )
    assert all(key.decrypt(key.public.from_bytes(peer.to_bytes(answer))).shape == (0,) for answer in answers)


@pytest.mark.parametrize("width", [-1, 0, 1, 5000])
def test_lanes_must_fit(peer: PaillierPublicKey, width: int) -> None:
    with pytest.raises(Misuse, match="lane"):
        peer.lanes(width)


def test_a_lane_at_its_lowest_was_not_packed() -> None:
    with pytest.raises(ValueError, match="more than its lanes"):
        Lanes(8, 2).unpack([-128])
    assert Lanes(8, 2).unpack([-127]).tolist() == [[-127, 0]]


def test_lanes_of_fractions_are_fractions(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    lanes, values = peer.lanes(64), np.array([0.5, -0.25, 0.125])
    assert key.decrypt_lanes(peer.compress(peer.encrypt(values), lanes), lanes, 3).tolist() == values.tolist()


@pytest.mark.parametrize("exponent", [-1, 1])
def test_numbers_beyond_floats_are_refused(key: PaillierSecretKey, peer: PaillierPublicKey, exponent: int) -> None:
    sent = peer.to_bytes(peer.encrypt(np.array([1 << 1500], dtype=object)))
    with pytest.raises(ValueError, match="range of floats"):
        key.decrypt(key.public.from_bytes(sent, bound=1 << 1500, exponent=exponent))
    assert decode(objects(3 << 1500), -375).tolist() == [3.0]


def test_exponents_and_bounds_are_checked_before_they_are_used(peer: PaillierPublicKey, pair: Ciphertexts) -> None:
    sent = peer.to_bytes(pair)
    for exponent in (10**12, -(10**12)):
        with pytest.raises(ValueError, match="exponent"):
            peer.from_bytes(sent, exponent=exponent)
    with pytest.raises(Misuse, match="0 or more"):
        peer.from_bytes(sent, bound=-1)
    far = Ciphertexts(peer.n, pair.rows, pair.bound, exponent=10**12)
    with pytest.raises(Misuse, match="too many"):
        peer.add(pair, far)


def test_exponents_of_phe_that_are_far_apart_are_the_peers_fault(
    key: PaillierSecretKey, peer: PaillierPublicKey
) -> None:
    public = phe_keys.secret_to_phe(key).public_key
    for apart in (500, 10**12):
        numbers = [public.encrypt(1), public.encrypt(1)]
        numbers[1].exponent = apart
        with pytest.raises(ValueError, match="far apart"):
            phe_keys.ciphertexts_from_phe(peer, numbers, bound=3 << 60)


def test_the_largest_numbers_of_phe_go_both_ways(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    private = phe_keys.secret_to_phe(key)
    most = private.public_key.max_int
    assert most == peer.limit
    theirs = [private.public_key.encrypt(value) for value in (most, -most)]
    assert key.decrypt(phe_keys.ciphertexts_from_phe(peer, theirs, bound=most)).tolist() == [most, -most]
    ours = peer.encrypt(objects(most, -most))
    assert [private.decrypt(c) for c in phe_keys.ciphertexts_to_phe(peer, ours)] == [most, -most]


@pytest.mark.parametrize("values", [[5e-324, -1.7976931348623157e308], [2.0**70, 1e15], [0.0, -0.0], [0.1, 3.0]])
@pytest.mark.parametrize("precision", [None, 1e-5, 100.0])
def test_encodings_are_those_of_phe(
    key: PaillierSecretKey, peer: PaillierPublicKey, values: list[float], precision: float | None
) -> None:
    """One by one, since an array of ours has one exponent; exact ones are at 0 where phe's are above it."""
    private = phe_keys.secret_to_phe(key)
    for value in values:
        ours = phe_keys.ciphertexts_to_phe(peer, peer.encrypt(np.array([value]), precision=precision))[0]
        theirs = private.public_key.encrypt(value, precision=precision)
        assert private.decrypt(ours) == private.decrypt(theirs)
        assert key.decrypt(peer.encrypt(np.array([value]), precision=precision)).tolist() == [private.decrypt(theirs)]
        if precision:
            assert private.decrypt_encoded(ours).encoding == private.decrypt_encoded(theirs).encoding
            assert ours.exponent == theirs.exponent


def test_a_key_with_a_small_factor_is_refused(key: PaillierSecretKey) -> None:
    n = key.public.n
    public = key.public.public.copy()
    multiple = n // 8191 * 8191
    multiple -= 8191 * (multiple % 2 == 0)
    public[:256] = np.frombuffer(multiple.to_bytes(256, "big"), dtype=np.uint8)
    with pytest.raises(ValueError, match="no product of two large primes"):
        Paillier(2048).peer(public)


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_key_is_not_written_down(key: PaillierSecretKey, write: Callable[[object], object]) -> None:
    with pytest.raises(Misuse, match="stays in its process"):
        write(key)
