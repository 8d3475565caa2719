"""Paillier: what comes out is the same computation in plain, with `phe` too; what is malformed is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phe import paillier as phe

from engine.errors import Misuse
from engine.he import paillier, phe_keys
from engine.he.packing import Lanes, decode, encode
from engine.he.paillier import Ciphertexts, Paillier, PaillierPublicKey, PaillierSecretKey
from engine.he.primes import is_prime, random_prime

_ODD = 2**2047 + 2**2046 + 2**1000 + 5  # stands in for n where no key is needed
INT64 = np.iinfo(np.int64)
EDGES = np.array([0, 1, -1, 2, INT64.max, INT64.min + 1, INT64.min + 2, 2**52, -(2**53), 77], dtype=np.int64)


@pytest.fixture(scope="module", params=[2048, 3072])
def secret(request: pytest.FixtureRequest) -> PaillierSecretKey:
    return Paillier(request.param).key()


@pytest.fixture(scope="module")
def key() -> PaillierSecretKey:
    return Paillier(2048).key()


@pytest.fixture
def peer(key: PaillierSecretKey) -> PaillierPublicKey:
    """The key as its public bytes tell it to others."""
    return Paillier(2048).peer(key.public.public)


def test_what_is_encrypted_comes_out(secret: PaillierSecretKey) -> None:
    peer = Paillier(secret.public.bits).peer(secret.public.public)
    encrypted = peer.encrypt(EDGES)
    decrypted = secret.decrypt(encrypted)
    assert decrypted.dtype == np.int64
    np.testing.assert_array_equal(decrypted, EDGES)
    sent = peer.to_bytes(encrypted)
    assert sent.shape == (len(EDGES), secret.public.bits // 4)
    np.testing.assert_array_equal(secret.decrypt(secret.public.from_bytes(sent)), EDGES)


def test_the_owner_encrypts_modulo_the_squares_of_its_primes(secret: PaillierSecretKey) -> None:
    encrypted = secret.encrypt(EDGES)
    assert encrypted.fresh
    np.testing.assert_array_equal(secret.decrypt(encrypted), EDGES)
    same = secret.public.to_bytes(secret.encrypt(np.zeros(9, dtype=np.int64)))
    assert len(np.unique(same, axis=0)) == 9
    read = phe_keys.secret_to_phe(secret)
    assert [read.raw_decrypt(int.from_bytes(row.tobytes(), "big")) for row in same] == [0] * 9


def test_sums_and_products_of_all_signs(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    a, b = peer.encrypt(EDGES), peer.encrypt(EDGES[::-1])
    wide = EDGES.astype(object)
    assert key.decrypt(peer.add(a, b)).tolist() == (wide + wide[::-1]).tolist()
    assert key.decrypt(peer.subtract(a, b)).tolist() == (wide - wide[::-1]).tolist()
    assert key.decrypt(peer.negate(a)).tolist() == (-wide).tolist()
    scalars = np.array([3, -3, 0, 1, -1, 2**53, -(2**53), INT64.max, INT64.min, 5], dtype=np.int64)
    assert key.decrypt(peer.times(a, scalars)).tolist() == (wide * scalars.astype(object)).tolist()
    assert key.decrypt(peer.times(a, np.array([7], dtype=np.uint8))).tolist() == (7 * wide).tolist()
    big = np.array([10**40, -(10**40)] * 5, dtype=object)
    assert key.decrypt(peer.times(a, big)).tolist() == (wide * big).tolist()


def test_sums_by_list(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    a = peer.encrypt(EDGES)
    offsets, members = np.array([0, 3, 3, 4, 12]), np.array([4, 4, 4, 9, 0, 1, 2, 3, 4, 5, 6, 7])
    expected = [sum(int(EDGES[i]) for i in members[s:e]) for s, e in pairwise(offsets)]
    assert key.decrypt(peer.sum_by_list(a, offsets, members)).tolist() == expected


def test_weighted_sums_by_list(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    """What `times` and `sum_by_list` make together, bounds no larger; integers of all kinds, and floats."""
    a = peer.encrypt(EDGES)
    offsets, members = np.array([0, 3, 3, 4, 12]), np.array([4, 4, 4, 9, 0, 1, 2, 3, 4, 5, 6, 7])
    wide = np.array([10**30, -(10**30), 1, 0, -1, 2**64, 3, 5, -7, 2**70, 1, -2], dtype=object)
    for weights in (np.arange(-5, 7), np.arange(12, dtype=np.uint16), np.array([INT64.min] * 12), wide):
        sums = peer.weighted_sum_by_list_vartime(a, offsets, members, weights)
        expected = [sum(int(EDGES[members[j]]) * int(weights[j]) for j in range(s, e)) for s, e in pairwise(offsets)]
        assert key.decrypt(sums).tolist() == expected
        assert max(map(abs, expected)) <= sums.bound
        plain = peer.sum_by_list(peer.times(a[members], weights), offsets, np.arange(12))
        assert sums.bound <= plain.bound
    fractions = np.array([0.5, -0.25, 1.75, 3.0])
    sums = peer.weighted_sum_by_list_vartime(a, np.array([0, 4]), np.array([3, 4, 5, 3]), fractions)
    assert key.decrypt(sums).tolist() == [float(EDGES[[3, 4, 5, 3]].astype(object) @ fractions)]
    assert not sums.fresh
    for bad in (fractions[:3], fractions.reshape(2, 2)):
        with pytest.raises(Misuse):
            peer.weighted_sum_by_list_vartime(a, np.array([0, 4]), np.array([3, 4, 5, 3]), bad)
    small = peer.encrypt(np.array([1, 1]), bound=peer.limit // 2**64)
    lists = (np.array([0, 2]), np.array([0, 1]))
    assert (
        peer.weighted_sum_by_list_vartime(small, *lists, np.array([2**63, 2**63 - 1], dtype=np.uint64)).bound
        < peer.limit
    )
    with pytest.raises(Misuse, match="too many"):
        peer.weighted_sum_by_list_vartime(small, *lists, np.array([2**64 - 1, 2], dtype=np.uint64))


def test_packed_lanes(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    lanes = peer.lanes(37)
    assert lanes.count == 55
    values = np.resize(np.array([lanes.bound, -lanes.bound, 0, 1, -1, 12345]), 2 * lanes.count + 3)
    for packed in (lanes, Lanes(37, 4), Lanes(37, 1)):
        answer = peer.compress(peer.encrypt(values, bound=lanes.bound), packed)
        assert len(answer) == -(-len(values) // packed.count)
        np.testing.assert_array_equal(key.decrypt_lanes(answer, packed, len(values)), values)
    pairs = Lanes(40, 2)
    both = np.array([[2**38, -(2**38)], [-1, 2**20], [0, 0]])
    a = peer.encrypt(pairs.pack(both))
    total = peer.sum_by_list(a, np.array([0, 3, 4]), np.array([0, 1, 2, 1]))
    np.testing.assert_array_equal(
        pairs.unpack(key.decrypt_integers(total)), [[2**38 - 1, -(2**38) + 2**20], [-1, 2**20]]
    )
    with pytest.raises(ValueError, match="more than its lanes"):
        pairs.unpack([2**79])
    with pytest.raises(Misuse, match="do not fit"):
        peer.compress(a, lanes)
    with pytest.raises(Misuse, match="lane of 40 bits"):
        pairs.pack(np.array([[2**39, 0]]))


def test_an_overflow_is_refused_before_it_is_made(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    edge = np.array([peer.limit, -peer.limit], dtype=object)
    a = peer.encrypt(edge)
    assert key.decrypt(a).tolist() == edge.tolist()
    with pytest.raises(Misuse, match="2048 bits"):
        peer.encrypt(edge + 1)
    with pytest.raises(Misuse, match="too many"):
        peer.add(a, peer.encrypt(np.array([1, 1])))
    with pytest.raises(Misuse, match="too many"):
        peer.times(a, np.array([2, 0]))
    with pytest.raises(Misuse, match="too many"):
        peer.sum_by_list(a, np.array([0, 2]), np.array([0, 1]))
    with pytest.raises(Misuse, match="exceeds the bound"):
        peer.encrypt(np.array([8]), bound=7)
    assert peer.add(peer.encrypt(np.array([8]), bound=8), peer.encrypt(np.array([1]), bound=1)).bound == 9


def test_a_value_beyond_its_bound_is_noticed(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    sent = peer.to_bytes(peer.encrypt(np.array([9])))
    with pytest.raises(ValueError, match="beyond the bound"):
        key.decrypt(key.public.from_bytes(sent, bound=8))
    assert key.decrypt(key.public.from_bytes(sent, bound=9)).tolist() == [9]


def malformed(key: PaillierPublicKey) -> dict[str, np.ndarray]:
    size, square = key.size, key.n**2
    numbers = {"zero": 0, "n^2": square, "above": 2 ** (8 * size) - 1, "n": key.n}
    rows = {name: np.frombuffer(number.to_bytes(size, "big"), np.uint8)[None] for name, number in numbers.items()}
    rows["short"] = np.ones((2, size - 1), np.uint8)
    rows["words"] = np.ones((2, size), np.uint16)
    rows["flat"] = np.ones(size, np.uint8)
    return rows


@pytest.mark.parametrize("case", ["zero", "n^2", "above", "n", "short", "words", "flat"])
def test_malformed_ciphertexts_are_refused(case: str, peer: PaillierPublicKey) -> None:
    with pytest.raises(ValueError, match=r"^holds "):
        peer.from_bytes(malformed(peer)[case])


def test_multiples_of_a_prime_factor_are_refused(key: PaillierSecretKey) -> None:
    good = key.public.to_bytes(key.public.encrypt(EDGES))
    good[3] = np.frombuffer((key.primes[0] * 12345).to_bytes(key.public.size, "big"), np.uint8)
    with pytest.raises(ValueError, match="not invertible"):
        key.public.from_bytes(good)
    assert len(key.public.from_bytes(good[:0])) == 0


def test_malformed_keys_are_refused(key: PaillierSecretKey) -> None:
    public, scheme = key.public.public, Paillier(2048)
    assert len(public) == 4 * 256 + 16
    for position in (0, 255, 256, 767, 768, 783, 784, 1039):  # both ends of n, h_s, challenge and answer
        bad = public.copy()
        bad[position] ^= 1 if position % 256 else 128
        with pytest.raises(ValueError, match=r"^sent a key"):
            scheme.peer(bad)
    for bad in (public[:-1], public.astype(np.uint16), np.zeros_like(public)):
        with pytest.raises(ValueError, match=r"^sent a key"):
            scheme.peer(bad)
    with pytest.raises(ValueError, match="another size"):
        Paillier(3072).peer(public)
    with pytest.raises(Misuse, match="2048, 3072, 4096"):
        Paillier(1024)


def test_randomness_is_fresh_where_it_must_be(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    same = peer.encrypt(np.zeros(8, dtype=np.int64))
    assert len(np.unique(peer.to_bytes(same), axis=0)) == 8
    np.testing.assert_array_equal(peer.to_bytes(same), peer.to_bytes(same))  # encrypted here: sent as it is
    for answer in (peer.add(same, same), same[:], peer.from_bytes(peer.to_bytes(same)), peer.negate(same)):
        once, again = peer.to_bytes(answer), peer.to_bytes(answer)
        assert (once != again).any(axis=1).all()
        np.testing.assert_array_equal(key.decrypt(key.public.from_bytes(once)), np.zeros(8))


def test_a_rerandomised_answer_tells_nothing_of_its_subset(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    """The key owner knows the randomness of each term; that of the answer must not be the product of a subset's.

    The owner strips the value, is left with the n-th residue, and looks at a character that it can compute: the residue
    in the small subgroups of both prime factors. Equal subsets must give different ones, in full range of exponents.
    """
    a = peer.encrypt(np.arange(4))
    total = peer.sum_by_list(a, np.array([0, 2]), np.array([0, 1]))
    n, square = key.public.n, key.public.n**2

    def randomness(c: Ciphertexts) -> int:
        value = int(key.decrypt(c)[0])
        return key.public.modulus.leave_integers(c.rows)[0] * (1 - value * n) % square

    known = randomness(a[:1]) * randomness(a[1:2]) % square
    assert randomness(total) == known
    masked = [randomness(peer.rerandomise(total)) for _ in range(6)]
    assert len({known, *masked}) == 7
    assert peer._long.bits >= 2048 + 128


@pytest.mark.parametrize("values", [[0.5, -0.25, 3.0], [1e-9, -12345.678, 0.0], [2.0**70, 1.5, -1.0]])
def test_fractions_are_those_of_phe(values: list[float], key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    array = np.array(values)
    encrypted = peer.encrypt(array)
    assert key.decrypt(encrypted).tolist() == values
    assert key.decrypt(peer.add(encrypted, peer.encrypt(np.array([1, 1, 1])))).tolist() == (array + 1).tolist()
    assert key.decrypt(peer.times(encrypted, np.array([0.5, -2.0, 4.0]))).tolist() == (array * [0.5, -2, 4]).tolist()
    integers, exponent = encode(array)
    theirs = [phe.EncodedNumber.encode(phe.PaillierPublicKey(key.public.n), v) for v in values]
    assert exponent == min(e.exponent for e, v in zip(theirs, values, strict=True) if v)
    assert decode(integers, exponent).tolist() == values
    rounded, step = encode(array, precision=1e-3)
    assert step == -3
    np.testing.assert_allclose(decode(rounded, step), array, atol=16.0**-3)


def test_phe_reads_ours_and_we_read_phes(key: PaillierSecretKey) -> None:
    private = phe_keys.secret_to_phe(key)
    public = private.public_key
    ours = key.public.encrypt(EDGES)
    assert [private.decrypt(c) for c in phe_keys.ciphertexts_to_phe(key.public, ours)] == EDGES.tolist()
    floats = key.public.encrypt(np.array([0.1, -2.5e10]))
    assert [private.decrypt(c) for c in phe_keys.ciphertexts_to_phe(key.public, floats)] == [0.1, -2.5e10]
    theirs = [public.encrypt(v) for v in (3, -4, 2**80)]
    read = phe_keys.ciphertexts_from_phe(key.public, theirs, bound=2**81)
    assert key.decrypt(read).tolist() == [3, -4, 2**80]
    total = key.public.add(read, key.public.encrypt(np.array([10, 20, -30])))
    assert [private.decrypt(c) for c in phe_keys.ciphertexts_to_phe(key.public, total)] == [13, 16, 2**80 - 30]
    mixed = [public.encrypt(v) for v in (0.125, 7, -1e6)] + [public.encrypt(1.5) * 2.25 + 1]
    read = phe_keys.ciphertexts_from_phe(key.public, mixed, bound=2**128)
    assert key.decrypt(read).tolist() == [0.125, 7.0, -1e6, 4.375]
    assert [private.decrypt(c + 1) for c in phe_keys.ciphertexts_to_phe(key.public, read)] == [
        1.125,
        8.0,
        1 - 1e6,
        5.375,
    ]


def test_keys_of_phe(key: PaillierSecretKey) -> None:
    public, private = phe.generate_paillier_keypair(n_length=2048)
    secret, peer = phe_keys.secret_from_phe(private), phe_keys.public_from_phe(public)
    total = peer.rerandomise(peer.add(peer.encrypt(EDGES), peer.encrypt(EDGES)))
    assert secret.decrypt(total).tolist() == (2 * EDGES.astype(object)).tolist()
    assert [private.decrypt(c) for c in phe_keys.ciphertexts_to_phe(peer, total)] == (2 * EDGES.astype(object)).tolist()
    with pytest.raises(Misuse, match="n alone"):
        _ = peer.public
    with pytest.raises(Misuse, match="another key"):
        phe_keys.ciphertexts_from_phe(key.public, [public.encrypt(1)], bound=1)
    with pytest.raises(Misuse, match="bits"):
        phe_keys.public_from_phe(phe.generate_paillier_keypair(n_length=512)[0])


def test_every_tier_computes_the_same(key: PaillierSecretKey, monkeypatch: pytest.MonkeyPatch) -> None:
    data = key.public.to_bytes(key.public.encrypt(EDGES[:3]))
    found = []
    for tier in ("reference", "portable"):
        monkeypatch.setenv("ENGINE_KERNELS", tier)
        peer = PaillierPublicKey(key.public.n)
        a = peer.from_bytes(data)
        found.append(peer.modulus.leave(peer.times(peer.add(a, a), np.array([-5, 1, 3])).rows))
        np.testing.assert_array_equal(key.decrypt(peer.encrypt(EDGES[:2])), EDGES[:2])
    np.testing.assert_array_equal(*found)


def test_a_key_hides_its_primes(key: PaillierSecretKey) -> None:
    assert repr(key) == "PaillierSecretKey(bits=2048)"
    p, q = key.primes
    assert p.bit_length() == q.bit_length() == 1024
    assert p % 4 == q % 4 == 3
    assert is_prime(p)
    assert is_prime(q)


def test_primes_that_do_not_go_together_are_drawn_again(
    key: PaillierSecretKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal ones, close ones, and those whose p - 1 and q - 1 share more than 2."""
    p, q = key.primes
    drawn = [p, p, p, p + 4, p, (p + 1) // 2, p, q]
    monkeypatch.setattr(paillier, "random_prime", lambda bits: drawn.pop(0))
    found = Paillier(2048).key().primes
    assert found == (p, q)
    assert math.gcd(p - 1, q - 1) == 2
    assert abs(p - q) >> 924


@pytest.mark.parametrize("n", [2, 3, 8191, 8209, 2**61 - 1, 2**521 - 1])
def test_primes(n: int) -> None:
    assert is_prime(n)


# Carmichael numbers, strong pseudoprimes to the first prime bases, squares and products of primes.
@pytest.mark.parametrize(
    "n", [-7, 0, 1, 4, 561, 3215031751, 3825123056546413051, 8209**2, 8209 * 8219, (2**61 - 1) ** 2, 2**521 - 3]
)
def test_composites(n: int) -> None:
    assert not is_prime(n)


def test_random_primes_have_their_size() -> None:
    with pytest.raises(Misuse, match="16 bits"):
        random_prime(13)
    for bits in (16, 64, 100, 257):
        p = random_prime(bits)
        assert p.bit_length() == bits
        assert p % 4 == 3
        assert p >> bits - 2 == 3


@given(st.binary(min_size=1040, max_size=1040), st.binary(min_size=512, max_size=512))
@settings(max_examples=25)
def test_bytes_of_any_kind_are_read_or_refused(public: bytes, ciphertext: bytes) -> None:
    """A number that is odd and of the right size is taken for n; nothing but ValueError may come of it."""
    whole = bytearray(public)
    whole[0], whole[255] = whole[0] | 128, whole[255] | 1
    with pytest.raises(ValueError, match=r"^sent a key"):
        Paillier(2048).peer(np.frombuffer(bytes(whole), np.uint8))
    reader = PaillierPublicKey(_ODD)
    data = np.frombuffer(ciphertext, np.uint8)[None]
    number = int.from_bytes(ciphertext, "big")
    if number < _ODD**2 and math.gcd(number, _ODD) == 1:
        np.testing.assert_array_equal(reader.modulus.leave(reader.from_bytes(data).rows), data)
    else:
        with pytest.raises(ValueError, match=r"^holds a ciphertext"):
            reader.from_bytes(data)


def test_ciphertexts_of_another_key_are_refused(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    other = PaillierPublicKey(_ODD)
    a, b = peer.encrypt(EDGES), other.from_bytes(np.frombuffer((2).to_bytes(512, "big"), np.uint8)[None])
    for mistake in (
        lambda: peer.add(a, b),
        lambda: peer.times(b, EDGES[:1]),
        lambda: peer.sum_by_list(b, np.array([0, 1]), np.array([0])),
        lambda: peer.weighted_sum_by_list_vartime(b, np.array([0, 1]), np.array([0]), np.array([1])),
        lambda: peer.to_bytes(b),
        lambda: key.decrypt(b),
    ):
        with pytest.raises(Misuse, match="another"):
            mistake()


def test_the_dtype_follows_the_bound(key: PaillierSecretKey, peer: PaillierPublicKey) -> None:
    a = peer.encrypt(np.array([INT64.min]))
    assert key.decrypt(a).tolist() == [INT64.min]
    assert key.decrypt(peer.negate(a)).tolist() == [2**63]
    assert key.decrypt(peer.encrypt(np.array([1, 2], dtype=np.uint8), bound=9)).dtype == np.int64
    assert key.decrypt(peer.encrypt(np.array([1]), bound=2**70)).dtype == object
