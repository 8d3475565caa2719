"""What rlwe promises beyond the interface: what leaves hides what it was made from, what comes in is checked."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine import he, randomness
from engine.errors import Misuse
from engine.he import rlwe as module
from engine.he.rlwe import UPLINK
from engine.he.scheme import SLOTS


@pytest.fixture
def parts(rlwe, ring, features):
    """Key, peer key, layout, matrix and encrypted weights of 8192 rows and one column: every coefficient is wanted."""
    at, key = rlwe.layout(SLOTS, 1), rlwe.key()
    matrix = rlwe.matrix(features(SLOTS, 1), at)
    return key, rlwe.peer(key.public), at, matrix, key.encrypt_weights(ring.random(1), at)


def coefficients(rlwe, key, wire, places, lane=0):
    """All coefficients that the receiver can compute from one answer."""
    return rlwe.contexts.lanes[lane].coefficients(key._decrypted(lane, wire.view("<u8"), places))


def naive_c1(rlwe, asked, tile, lane=0):
    """What c1 would be without re-randomisation: anyone who knows what was asked can test a guess of the tile."""
    contexts = rlwe.contexts
    total = contexts.plus_product(None, contexts.received(asked[lane]), contexts.lifted(tile))
    contexts._evaluator.transform_from_ntt_inplace(total)
    contexts._evaluator.mod_switch_to_next_inplace(total)
    return contexts.compute.answer_residues(total)[1]


def test_no_two_encryptions_are_alike(rlwe, ring):
    key, values = rlwe.key(), ring.random(SLOTS)
    wires = np.concatenate([key.encrypt_slots(values) for _ in range(3)])
    assert len({wire[:64].tobytes() for wire in wires}) == len({wire[-64:].tobytes() for wire in wires}) == 6


def test_sizes_depend_on_public_sizes_only(rlwe, ring, features):
    at, key = rlwe.layout(8193, 5), rlwe.key()
    assert key.public.nbytes == 262_272
    asked = key.encrypt_rows(ring.random(8193), at)
    assert asked.shape == (2 * at.row_tiles, 196_672)
    answer, _ = rlwe.matrix(features(8193, 5), at).times_rows(rlwe.peer(key.public), asked)
    assert answer.shape == (2 * at.column_tiles, 131_072 + 16 * at.width)


@pytest.mark.parametrize("columns", [1, 13])
def test_whole_answers_are_uniform(rlwe, ring, features, assert_uniform, columns):
    at, key = rlwe.layout(SLOTS, columns), rlwe.key()
    matrix, peer = rlwe.matrix(features(SLOTS, columns), at), rlwe.peer(key.public)
    answer, _ = matrix.times_weights(peer, key.encrypt_weights(ring.random(columns), at))
    assert_uniform(coefficients(rlwe, key, answer[0], at.row_places), ring.primes[0])
    answer, _ = matrix.times_rows(peer, key.encrypt_rows(ring.random(SLOTS), at))
    assert_uniform(coefficients(rlwe, key, answer[0], at.column_places), ring.primes[0])


def test_whole_answers_are_uniform_in_slots(rlwe, ring, assert_uniform):
    key, values = rlwe.key(), ring.random(SLOTS)
    answer, own = rlwe.peer(key.public).combine_slots([(key.encrypt_slots(values), np.ones_like(values))])
    for share in (key.decrypt_slots(answer, SLOTS), own):
        assert_uniform(share[0], ring.primes[0])
    assert_uniform(coefficients(rlwe, key, answer[0], np.arange(SLOTS)), ring.primes[0])


def test_oversized_noise_does_not_show_through_the_mask(rlwe, parts, ring, assert_uniform):
    key, peer, at, matrix, asked = parts
    planted = asked.copy()
    residues = planted[:, :-64].view("<u8").reshape(2, 3, SLOTS)
    residues[:] = randomness.random_below(min(rlwe.contexts.compute.primes), residues.shape)
    answer, own = matrix.times_weights(peer, planted)
    assert_uniform(key.decrypt_rows(answer, at)[0], ring.primes[0])
    assert_uniform(own[0], ring.primes[0])


def test_the_receiver_cannot_test_a_guess_of_the_tile(rlwe, parts, features, assert_uniform):
    _, peer, at, matrix, asked = parts
    tile = at.tile(features(SLOTS, 1), 0, 0)
    primes = rlwe.contexts.primes[:2]
    returned = matrix.times_weights(peer, asked)[0][0].view("<u8")[: 2 * SLOTS].reshape(2, SLOTS)
    difference = (returned + primes - naive_c1(rlwe, asked, tile)) % primes
    for i in range(2):
        assert_uniform(difference[i], int(primes[i, 0]))


def test_without_rerandomisation_the_receiver_could(rlwe, parts, features, monkeypatch):
    _, peer, at, matrix, asked = parts
    tile = at.tile(features(SLOTS, 1), 0, 0)
    contexts = rlwe.contexts

    def not_rerandomised(total, zero):
        contexts._evaluator.transform_from_ntt_inplace(total)
        contexts._evaluator.mod_switch_to_next_inplace(total)
        return contexts.compute.answer_residues(total)

    monkeypatch.setattr(contexts, "rerandomised", not_rerandomised)
    monkeypatch.setattr(module, "small_noise", lambda count: np.zeros(count, dtype=np.int64))
    returned = matrix.times_weights(peer, asked)[0][0].view("<u8")[: 2 * SLOTS].reshape(2, SLOTS)
    assert np.array_equal(returned, naive_c1(rlwe, asked, tile))


@pytest.mark.parametrize("columns", [2, 13])
def test_noise_leaves_room_before_the_mask(rlwe, ring, features, columns):
    key, at, lane = rlwe.key(), rlwe.layout(SLOTS, columns), rlwe.contexts.lanes[0]
    peer = rlwe.peer(key.public)
    matrix = rlwe.matrix(features(SLOTS, columns), at)
    asked = key.encrypt_weights(ring.random(columns), at)
    total = next(matrix._forward(asked.reshape(2, -1, UPLINK)))[0]
    residues = rlwe.contexts.rerandomised(total, peer._zeros[0])
    answer = lane._load(lane.api.Ciphertext(), lane._full.around(residues.tobytes()))
    assert key._decryptors[0].invariant_noise_budget(answer) >= 60  # 120 bits of q', 45 of t, 12 of noise, 1 of sign


def with_word(at, value):
    def change(received):
        received[0, 8 * at : 8 * at + 8] = np.array([value], dtype="<u8").view(np.uint8)
        return received

    return change


FIRST_PRIME = 1152921504606683137
DAMAGE = {
    "truncated": lambda received: received[:, :-1],
    "longer": lambda received: np.pad(received, ((0, 0), (0, 8))),
    "one fewer": lambda received: received[:-1],
    "one more": lambda received: np.concatenate([received, received[:1]]),
    "flat": lambda received: received.reshape(-1),
    "other type": lambda received: received.view(np.int8),
    "a file of SEAL, seeded and compressed": lambda received: np.resize(received, (len(received), 196_817)),
    "a file of SEAL, not seeded": lambda received: np.resize(received, (len(received), 393_313)),
    "the lower level": lambda received: received[:, : 8 * 2 * SLOTS + 64],
    "not reduced": with_word(0, FIRST_PRIME),
    "far from reduced": with_word(SLOTS, (1 << 64) - 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_questions_are_refused(rlwe, parts, damage):
    _, peer, _, matrix, asked = parts
    with pytest.raises(ValueError, match=r"^holds "):
        matrix.times_weights(peer, DAMAGE[damage](asked.copy()))
    with pytest.raises(ValueError, match=r"^holds "):
        peer.combine_slots([(DAMAGE[damage](asked.copy()), np.ones((2, 5), dtype=np.uint64))])


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_answers_are_refused(parts, damage):
    key, peer, at, matrix, asked = parts
    answer = matrix.times_weights(peer, asked)[0]
    with pytest.raises(ValueError, match=r"^holds "):
        key.decrypt_rows(DAMAGE[damage](answer.copy()), at)
    with pytest.raises(ValueError, match=r"^holds "):
        key.decrypt_slots(DAMAGE[damage](answer.copy()), SLOTS)


def test_answers_without_randomness_are_refused(parts):
    key, peer, at, matrix, asked = parts
    answer = matrix.times_weights(peer, asked)[0].copy()
    answer[:, : 16 * SLOTS] = 0
    with pytest.raises(ValueError, match="without randomness"):
        key.decrypt_rows(answer, at)


@pytest.mark.parametrize(
    "change",
    [
        lambda public: public[:-1],
        lambda public: np.resize(public, 2 * 2 * 16 * SLOTS),  # both polynomials in full, none from a seed
        lambda public: np.concatenate([np.full(8, 255, dtype=np.uint8), public[8:]]),
    ],
    ids=["truncated", "not seeded", "not reduced"],
)
def test_bad_keys_are_refused(rlwe, parts, change):
    with pytest.raises(ValueError, match=r"^holds "):
        rlwe.peer(change(parts[0].public))


def test_another_key_decrypts_to_nothing(rlwe, ring, parts, exact, features):
    _, peer, at, matrix, asked = parts
    answer, own = matrix.times_weights(peer, asked)
    other = ring.add(rlwe.key().decrypt_rows(answer, at), own)
    assert np.count_nonzero(other == ring.add(parts[0].decrypt_rows(answer, at), own)) < 5


def test_tiles_that_are_not_kept_give_the_same(rlwe, ring, features, exact):
    x, at, key = features(100, 5), rlwe.layout(100, 5), rlwe.key()
    matrix, weights = rlwe.matrix(x, at, cache_bytes=0), ring.random(5)
    answer, own = matrix.times_weights(rlwe.peer(key.public), key.encrypt_weights(weights, at))
    assert np.array_equal(ring.add(key.decrypt_rows(answer, at), own), exact(x, weights))
    assert not matrix._tiles


def test_roles_may_run_in_threads(ring, features, exact):
    def role(seed):
        scheme = he.scheme("rlwe")
        x, at, key, weights = features(9, 2 + seed), scheme.layout(9, 2 + seed), scheme.key(), ring.random(2 + seed)
        answer, own = scheme.matrix(x, at).times_weights(scheme.peer(key.public), key.encrypt_weights(weights, at))
        return np.array_equal(ring.add(key.decrypt_rows(answer, at), own), exact(x, weights))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(role, range(8)))


def test_mistakes_of_this_side(rlwe, ring, features):
    key, at = rlwe.key(), rlwe.layout(7, 2)
    with pytest.raises(Misuse, match="entries below"):
        rlwe.matrix(np.full((7, 2), -32768, dtype=np.int16), at)
    with pytest.raises(Misuse, match="reduced residues"):
        key.encrypt_rows(ring.random(6), at)
    with pytest.raises(Misuse, match="reduced residues"):
        key.encrypt_slots(np.full((2, 3), ring.primes[0], dtype=np.uint64))
    clear = he.scheme("clear")
    with pytest.raises(Misuse, match="another scheme"):
        rlwe.matrix(features(7, 2), at).times_weights(
            clear.peer(clear.key().public), key.encrypt_weights(ring.random(2), at)
        )


def test_a_machine_without_memory_files_is_named(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(Misuse, match="needs Linux"):
        module.contexts.__wrapped__()


def test_a_tenseal_that_computes_otherwise_is_named(monkeypatch):
    right = module.masks
    monkeypatch.setattr(
        module, "masks", lambda primes, t, count: (right(primes, t, count)[0], np.zeros(count, np.uint64))
    )
    with pytest.raises(Misuse, match="something else"):
        module.contexts.__wrapped__()
