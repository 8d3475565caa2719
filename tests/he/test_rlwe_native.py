"""What rlwe-native promises beyond the interface: SEAL decrypts the same, answers hide what they were made from."""

from __future__ import annotations

import copy
import pickle
from math import prod

import numpy as np
import pytest

from engine import he, randomness
from engine.errors import Misuse
from engine.he import rlwe_native as module
from engine.he.rlwe_native import MODULI, SEED_BYTES, UPLINK, answer_bytes
from engine.he.scheme import SLOTS

COLUMN = np.array(MODULI, dtype=np.uint64)[:, None]


@pytest.fixture
def native():
    return he.scheme("rlwe-native")


@pytest.fixture
def parts(native, ring, features):
    """Key, peer key, layout, matrix and encrypted weights of 8192 rows and one column: every coefficient is wanted."""
    at, key = native.layout(SLOTS, 1), native.key()
    matrix = native.matrix(features(SLOTS, 1), at)
    return key, native.peer(key.public), at, matrix, key.encrypt_weights(ring.random(1), at)


def secret_of(key):
    """The coefficients of the secret as Python integers, -1, 0 or 1."""
    residues = module.inverse(key._secret.copy())[0].astype(np.int64)
    return np.where(residues > 1, residues - MODULI[0], residues)


def centred(residues):
    """Residues (primes, n) as Python integers around 0."""
    q = prod(MODULI)
    parts = [q // p * pow(q // p, -1, p) for p in MODULI]
    found = sum(row.astype(object) * part for row, part in zip(residues, parts, strict=True)) % q
    return np.where(found > q // 2, found - q, found)


def phase_of(key, pair):
    """c0 - c1 s of a ciphertext (primes, 2, SLOTS), transformed."""
    product = key._times_secret(np.ascontiguousarray(pair[:, 1]))
    return centred((module.inverse(pair.copy())[:, 0] + COLUMN - product) % COLUMN)


def test_the_parameters_are_within_the_standard_for_128_bits():
    """The homomorphic encryption standard's table for ternary secrets: at most 218 bits at N = 8192."""
    assert prod(MODULI).bit_length() <= 218
    assert all(p % (2 * SLOTS) == 1 and p < 2**50 and pow(3, p - 1, p) == 1 for p in MODULI)


def test_seal_computes_the_same_integers(native, rlwe, ring, features):
    """The same inputs through both schemes, in both directions and by slots."""
    matrix, weights, rows = features(500, 20), ring.random(20), ring.random(500)
    found = []
    for scheme in (native, rlwe):
        key, at = scheme.key(), scheme.layout(500, 20)
        tiles, peer = scheme.matrix(matrix, at), scheme.peer(key.public)
        answer, own = tiles.times_weights(peer, key.encrypt_weights(weights, at))
        back, own_back = tiles.times_rows(peer, key.encrypt_rows(rows, at))
        slots, own_slots = peer.combine_slots([(key.encrypt_slots(rows), ring.negate(rows))] * 3)
        found.append(
            [
                ring.add(key.decrypt_rows(answer, at), own),
                ring.add(key.decrypt_weights(back, at), own_back),
                ring.add(key.decrypt_slots(slots, 500), own_slots),
            ]
        )
    for mine, seals in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, seals)


def test_fresh_noise_is_small_and_secrets_are_ternary(native):
    key = native.key()
    secret = secret_of(key)
    counts = [int((secret == x).sum()) for x in (-1, 0, 1)]
    assert sum(counts) == SLOTS
    assert all(abs(count - SLOTS / 3) < 6 * (SLOTS * 2 / 9) ** 0.5 for count in counts)
    noise = phase_of(key, module._received(key.public))
    assert 2.9 < float(np.std(noise.astype(float))) < 3.6
    assert max(abs(noise)) <= 21


def test_what_would_fail_too_often_is_refused(native, ring, monkeypatch):
    """The bound is computed from how much is summed up: of slots some ten thousands, of tiles more than there are."""
    key = native.key()
    peer, term = native.peer(key.public), (key.encrypt_slots(ring.random(3)), ring.random(3))
    most = 70_000
    assert module.failure(44, 10) < 2**-46
    assert module.failure(44, most) < 2**-40 < module.failure(44, 2 * most)
    assert module.failure(15, 1 << 20) < 2**-59
    with pytest.raises(Misuse, match="sum up fewer"):
        peer.combine_slots([term] * (2 * most))
    monkeypatch.setattr(module, "_FAILURE", module.failure(15, 2))
    native.matrix(np.zeros((2 * SLOTS, 1), dtype=np.int16), native.layout(2 * SLOTS, 1))
    for rows, columns in ((3 * SLOTS, 1), (1, 3 * SLOTS)):
        with pytest.raises(Misuse, match="sum up fewer"):
            native.matrix(np.zeros((rows, columns), dtype=np.int16), native.layout(rows, columns))


def test_a_secret_key_is_not_written_down(native):
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(Misuse, match="stays in its process"):
            write(native.key())


@pytest.mark.parametrize("columns", [2, 13])
def test_noise_leaves_room_before_the_mask(native, ring, features, columns):
    """Before the mask a product's noise is below 2**27, of 150 bits of q less 45 of t."""
    at, key = native.layout(SLOTS, columns), native.key()
    matrix, weights = native.matrix(features(SLOTS, columns), at), ring.random(columns)
    asked = key.encrypt_weights(weights, at).reshape(2, -1, UPLINK)
    total = next(matrix._forward(matrix._pairs(asked)))[0]
    native.peer(key.public)._rerandomise(total)
    t, q = ring.primes[0], prod(MODULI)
    scaled = phase_of(key, total) * t
    noise = [abs((int(x) + q // 2) % q - q // 2) // t for x in scaled]
    assert max(noise).bit_length() <= 27
    assert module.failure(15, 1) < 2**-59


def test_no_two_encryptions_are_alike(native, ring):
    key, values = native.key(), ring.random(SLOTS)
    wires = np.concatenate([key.encrypt_slots(values) for _ in range(3)])
    assert len({wire[:64].tobytes() for wire in wires}) == len({wire[-SEED_BYTES:].tobytes() for wire in wires}) == 6


def test_sizes_depend_on_public_sizes_only(native, ring, features):
    at, key = native.layout(8193, 5), native.key()
    assert key.public.nbytes == UPLINK == 196_640
    asked = key.encrypt_rows(ring.random(8193), at)
    assert asked.shape == (2 * at.row_tiles, UPLINK)
    answer, _ = native.matrix(features(8193, 5), at).times_rows(native.peer(key.public), asked)
    assert answer.shape == (2 * at.column_tiles, 196_608 + 24 * at.width)


@pytest.mark.parametrize("columns", [1, 13])
def test_whole_answers_are_uniform(native, ring, features, assert_uniform, columns):
    at, key = native.layout(SLOTS, columns), native.key()
    matrix, peer = native.matrix(features(SLOTS, columns), at), native.peer(key.public)
    answer, own = matrix.times_weights(peer, key.encrypt_weights(ring.random(columns), at))
    for share in (key.decrypt_rows(answer, at)[0], own[0]):
        assert_uniform(share, ring.primes[0])
    words = answer.view("<u8")[0, : 3 * SLOTS].reshape(3, SLOTS)
    for row, p in zip(words, MODULI, strict=True):
        assert_uniform(row, p)


def test_oversized_noise_does_not_show_through_the_mask(native, parts, ring, assert_uniform):
    key, peer, at, matrix, asked = parts
    planted = asked.copy()
    residues = planted[:, :-SEED_BYTES].view("<u8").reshape(2, 3, SLOTS)
    residues[:] = randomness.random_below(min(MODULI), residues.shape)
    answer, own = matrix.times_weights(peer, planted)
    assert_uniform(key.decrypt_rows(answer, at)[0], ring.primes[0])
    assert_uniform(own[0], ring.primes[0])


def naive_c1(native, asked, tile):
    """What c1 would be without re-randomisation: anyone who knows what was asked can test a guess of the tile."""
    total = np.zeros((len(MODULI), 2, SLOTS), dtype=np.uint64)
    module.add_product(total, module.forward(module.lifted(tile)), module._received(asked[0]))
    return module.inverse(total)[:, 1]


def test_the_receiver_cannot_test_a_guess_of_the_tile(native, parts, features, assert_uniform):
    _, peer, at, matrix, asked = parts
    returned = matrix.times_weights(peer, asked)[0][0].view("<u8")[: 3 * SLOTS].reshape(3, SLOTS)
    difference = (returned + COLUMN - naive_c1(native, asked, at.tile(features(SLOTS, 1), 0, 0))) % COLUMN
    for row, p in zip(difference, MODULI, strict=True):
        assert_uniform(row, p)


def test_without_rerandomisation_the_receiver_could(native, parts, features, monkeypatch):
    _, peer, at, matrix, asked = parts
    monkeypatch.setattr(type(peer), "_rerandomise", lambda self, total: None)
    monkeypatch.setattr(module, "add_noise", lambda out: out)
    returned = matrix.times_weights(peer, asked)[0][0].view("<u8")[: 3 * SLOTS].reshape(3, SLOTS)
    np.testing.assert_array_equal(returned, naive_c1(native, asked, at.tile(features(SLOTS, 1), 0, 0)))


def with_word(at, value):
    def change(received):
        received = received.copy()
        received[0, 8 * at : 8 * at + 8] = np.array([value], dtype="<u8").view(np.uint8)
        return received

    return change


DAMAGE = [
    with_word(0, MODULI[0]),
    with_word(2 * SLOTS, MODULI[2]),
    with_word(5, 2**64 - 1),
    lambda received: received[:1],
    lambda received: received[:, 1:],
    lambda received: received.astype(np.uint16),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_questions_are_refused(native, parts, damage):
    _, peer, _, matrix, asked = parts
    with pytest.raises(ValueError, match="holds"):
        matrix.times_weights(peer, damage(asked))


@pytest.mark.parametrize("damage", [*DAMAGE, with_word(3 * SLOTS, MODULI[0])])
def test_damaged_answers_are_refused(parts, damage):
    key, peer, at, matrix, asked = parts
    answer, _ = matrix.times_weights(peer, asked)
    assert answer.shape == (2, answer_bytes(SLOTS))
    with pytest.raises(ValueError, match="holds"):
        key.decrypt_rows(damage(answer), at)


def test_answers_without_randomness_are_refused(parts):
    key, peer, at, matrix, asked = parts
    answer, _ = matrix.times_weights(peer, asked)
    answer[0, : 3 * 8 * SLOTS] = 0
    with pytest.raises(ValueError, match="without randomness"):
        key.decrypt_rows(answer, at)


def test_bad_keys_are_refused(native):
    public = native.key().public
    for bad in (public[1:], public.astype(np.uint16), with_word(0, MODULI[0])(public.reshape(1, -1))[0]):
        with pytest.raises(ValueError, match="holds"):
            native.peer(bad)


def test_another_key_decrypts_to_nothing(native, ring, parts, exact, features):
    _, peer, at, matrix, asked = parts
    answer, own = matrix.times_weights(peer, asked)
    share = native.key().decrypt_rows(answer, at)
    assert (ring.add(share, own)[0] < 2**20).sum() < 10


@pytest.mark.parametrize("cache_bytes", [0, 2 * 3 * 8 * SLOTS, 1 << 30])
def test_tiles_that_are_not_kept_give_the_same(native, ring, features, exact, cache_bytes, monkeypatch):
    """Also where some rows of tiles are kept and others are not, and where they come in several chunks."""
    monkeypatch.setattr(module, "_CHUNK", 2)
    rows, columns = 5 * SLOTS, 2
    at, key, x = native.layout(rows, columns), native.key(), features(rows, columns)
    matrix, peer = native.matrix(x, at, cache_bytes=cache_bytes), native.peer(key.public)
    weights, values = ring.random(columns), ring.random(rows)
    for _ in range(2):
        answer, own = matrix.times_weights(peer, key.encrypt_weights(weights, at))
        np.testing.assert_array_equal(ring.add(key.decrypt_rows(answer, at), own), exact(x, weights))
        answer, own = matrix.times_rows(peer, key.encrypt_rows(values, at))
        np.testing.assert_array_equal(ring.add(key.decrypt_weights(answer, at), own), exact(x.T, values))


def test_a_key_of_another_scheme_is_misuse(native, rlwe, ring, features):
    at = native.layout(2, 2)
    with pytest.raises(Misuse, match="another scheme"):
        native.matrix(features(2, 2), at).times_weights(
            rlwe.peer(rlwe.key().public), native.key().encrypt_weights(ring.random(2), at)
        )
