"""CKKS on the wire: sizes, what is refused, what stays, and that TenSEAL reads the same ciphertexts."""

from __future__ import annotations

import math
import os
import pickle
import struct
from functools import lru_cache

import numpy as np
import pytest
import tenseal

from engine.errors import Misuse
from engine.he.ckks import Ckks
from engine.he.ckks_context import CkksContext, context
from engine.he.ckks_parameters import ANSWER, HEADER
from engine.he.sealraw import memory_file, saved

PLAIN = Ckks(values=100, levels=2)
FULL = Ckks(values=10, bits=2, degree=16384, levels=4, products=True, sums=True)
SMALL = Ckks(values=5, levels=0, sums=True)


@lru_cache
def parties(scheme):
    key = scheme.key()
    return key, scheme.peer(key.public)


def rows(scheme, count=2, seed=1):
    return np.random.default_rng(seed).uniform(-(2**scheme.bits), 2**scheme.bits, (count, scheme.values))


@pytest.mark.parametrize("scheme", [PLAIN, FULL, SMALL])
def test_bytes_are_as_the_formulas_say(scheme):
    key, peer = parties(scheme)
    sent = key.encrypt(rows(scheme, 3))
    n, data = scheme.degree, scheme.levels + 2
    assert sent.size == 44 + 3 * (8 * data * n + 64) == scheme.fresh_bytes(3)
    assert peer.to_bytes(peer.from_bytes(sent)).size == 44 + 3 * 32 * n == scheme.answer_bytes(3)
    switch = data * (8 * (data + 1) * n + 64)
    rotations = math.ceil(math.log2(scheme.values)) if scheme.sums else 0
    assert key.public.size == 16 + 16 * (data + 1) * n + switch * (scheme.products + rotations) == scheme.public_bytes


def test_keys_and_ciphertexts_of_others_are_refused():
    key, peer = parties(PLAIN)
    sent = key.encrypt(rows(PLAIN))
    other = Ckks(values=100, levels=2, bits=5)
    assert other.key().public.size == key.public.size
    with pytest.raises(ValueError, match="other parameters"):
        other.peer(key.public)
    with pytest.raises(ValueError, match="another size"):
        SMALL.peer(key.public)
    with pytest.raises(ValueError, match="another key"):
        PLAIN.peer(PLAIN.key().public).from_bytes(sent)
    with pytest.raises(ValueError, match="another key"):
        PLAIN.key().decrypt(peer.to_bytes(peer.from_bytes(sent)))
    stranger = other.key()
    with pytest.raises(ValueError, match="other parameters"):
        stranger.decrypt(peer.to_bytes(peer.from_bytes(sent)))
    with pytest.raises(ValueError, match=r"size|level"):
        peer.from_bytes(peer.to_bytes(peer.from_bytes(sent)))
    with pytest.raises(ValueError, match=r"size|level"):
        key.decrypt(sent)


def with_bytes(data, at, value):
    changed = data.copy()
    changed[at : at + len(value)] = np.frombuffer(value, dtype=np.uint8)
    return changed


def test_what_is_received_is_checked():
    key, peer = parties(PLAIN)
    sent = key.encrypt(rows(PLAIN))
    back = peer.to_bytes(peer.from_bytes(sent))
    high = struct.pack("<Q", PLAIN.context.primes[0])
    size = PLAIN.context.fresh_bytes
    for data in (sent.tolist(), sent.tobytes(), sent.astype(np.int64), sent[None], sent[:-1], sent[:HEADER], sent[:0]):
        with pytest.raises(ValueError, match=r"size|bytes"):
            peer.from_bytes(data)
    for at, value, reason in (
        (0, b"BFV1", "head"),
        (4, b"\x02", "head"),
        (5, b"\x01", "level"),
        (5, b"\x03", "level"),
        (6, b"\x01", "form"),
        (7, b"\x01", "head"),
        (8, b"\x03", "head"),
        (12, b"another size 16.", "parameters"),
        (28, b"another size 16.", "key"),
        (HEADER, high, "range"),
        (HEADER + size - 64, sent[-64:].tobytes(), "randomness"),
    ):
        with pytest.raises(ValueError, match=reason):
            peer.from_bytes(with_bytes(sent, at, value))
    for at, value, reason in (
        (5, b"\x03", "level"),
        (6, b"\x01", "form"),
        (HEADER, high, "range"),
        (HEADER + 16 * PLAIN.degree, bytes(8 * PLAIN.degree), "randomness"),
        (HEADER + 16 * PLAIN.degree, struct.pack("<Q", 12345678901234) * 40, "beyond the size"),
    ):
        with pytest.raises(ValueError, match=reason):
            key.decrypt(with_bytes(back, at, value))


def test_keys_received_are_checked():
    key, _ = parties(SMALL)
    primes = SMALL.context.key_primes
    half = 8 * len(primes) * SMALL.degree
    for at, value, reason in (
        (0, b"x", "parameters"),
        (16, struct.pack("<Q", primes[0]), "range"),
        (16 + half, bytes(half), "without randomness"),
        (16 + 2 * half, b"\xff" * 8, "range"),
    ):
        with pytest.raises(ValueError, match=reason):
            SMALL.peer(with_bytes(key.public, at, value))


def test_changed_bytes_raise_nothing_but_value_errors():
    random = np.random.default_rng(5)
    key, peer = parties(SMALL)
    sent = key.encrypt(rows(SMALL, 1))
    back = peer.to_bytes(peer.from_bytes(sent))
    reasons = []
    for reader, data, count in ((peer.from_bytes, sent, 150), (key.decrypt, back, 150), (SMALL.peer, key.public, 40)):
        for trial in range(count):
            changed = data.copy()
            places = random.integers(0, HEADER if trial % 2 else data.size, random.integers(1, 40))
            changed[places] = random.integers(0, 256, len(places))
            if trial % 5 == 0:
                changed = changed[: random.integers(0, data.size)]
            if trial % 7 == 0:
                changed = np.concatenate([changed, random.integers(0, 256, 64, dtype=np.uint8)])
            try:
                reader(changed)
            except ValueError as reason:
                reasons.append(str(reason))
    assert len(reasons) > 200
    assert max(map(len, reasons)) < 80


def test_the_secret_key_stays():
    key = SMALL.key()
    for copied in (lambda: pickle.dumps(key), key.__reduce__):
        with pytest.raises(Misuse, match="not to be copied"):
            copied()
    context = SMALL.context
    words = np.frombuffer(key.public.tobytes()[16 : 16 + context.public_bytes], "<u8").reshape(2, -1, SMALL.degree)
    spread = words / np.array(context.key_primes)[:, None]
    assert np.abs(spread.mean(axis=-1) - 0.5).max() < 6 / (12 * SMALL.degree) ** 0.5  # nothing small in it


def tenseal_vector(theirs, ciphertext, scale, count):
    """A CKKSVector of TenSEAL around one of our ciphertexts, as its protocol buffers say."""

    def varint(number):
        return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])

    with memory_file() as (descriptor, path):
        ciphertext.save(path)
        file = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    sizes = varint(count)
    proto = (
        b"\x0a" + varint(len(sizes)) + sizes + b"\x12" + varint(len(file)) + file + b"\x19" + struct.pack("<d", scale)
    )
    return tenseal.ckks_vector_from(theirs, proto)


def test_a_tenseal_that_computes_otherwise_is_named(monkeypatch):
    bits = PLAIN.prime_bits
    monkeypatch.setattr(CkksContext, "decoded", lambda self, plain: np.zeros(self.slots))
    with pytest.raises(Misuse, match="computes something else"):
        context.__wrapped__(8192, bits)
    monkeypatch.setattr(CkksContext, "_learn_frames", lambda self: self.missing)
    with pytest.raises(Misuse, match="needs Linux"):
        context.__wrapped__(8192, bits)


def test_tenseal_reads_our_vectors_and_we_read_its():
    scheme = Ckks(values=64, levels=1)
    theirs = tenseal.context(tenseal.SCHEME_TYPE.CKKS, scheme.degree, -1, list(scheme.prime_bits))
    api = scheme.context.api
    secret = api.SecretKey()
    with memory_file() as (_, path):
        theirs.secret_key().data.save(path)
        secret.load(scheme.context.seal, path)
    key = type(scheme.key())(scheme, api.KeyGenerator(scheme.context.seal, secret))
    peer = scheme.peer(key.public)
    x, w = rows(scheme, 1), np.linspace(-1, 1, scheme.values)

    product = peer.times(peer.from_bytes(key.encrypt(x)), w)
    vector = tenseal_vector(theirs, product._rows[0], scheme.scales[0], scheme.values)
    assert np.abs(np.array(vector.decrypt()) - (x * w)[0]).max() < 2.0**-25

    ours = api.Ciphertext()
    with memory_file() as (_, path):
        tenseal.ckks_vector(theirs, x[0].tolist(), scale=2.0**scheme.scale_bits).ciphertext()[0].save(path)
        ours.load(scheme.context.seal, path)
    plain = api.Plaintext()
    key._decryptor.decrypt(ours, plain)
    assert np.abs(scheme.context.decoded(plain)[: scheme.values] - x[0]).max() < 2.0**-40


def solved_key(scheme, key, peer, method):
    """What two decryptions of zeros that nobody flooded say the secret is, by Li and Micciancio; (2, N), transformed.

    Results hold the real parts of slots, so twice a result is c0 + c1 s at a root plus the same at its inverse.
    """
    context, primes = scheme.context, scheme.context.primes[:2]
    size = 97 + context.answer_bytes
    rows, sums = [], []
    for _ in range(2):
        c = peer.from_bytes(key.encrypt(np.zeros(scheme.values)))
        known = np.frombuffer(saved(c._rows[0], size), "<u8", offset=16 + 97).reshape(2, 2, -1).astype(object)
        head = scheme.header(ANSWER, 0, False, 1, peer.fingerprint)
        sent = np.frombuffer(head + context.answer_residues(c._rows[0]).tobytes(), dtype=np.uint8)
        doubled = context.encoded(2 * getattr(key, method)(sent)[0], 0, scheme.scales[0])
        noise = np.frombuffer(saved(doubled, 72 + 16 * scheme.degree), "<u8", offset=16 + 72).reshape(2, -1)
        rows.append(known[1])
        sums.append(noise.astype(object) - known[0] - known[0][:, ::-1])
    (a, c), (b, d) = rows, (row[:, ::-1] for row in rows)
    determinants, numerators = a * d - b * c, sums[0] * d - sums[1] * b
    return [
        [
            n * pow(e, -1, p) % p if e % p else 0
            for n, e in zip(numerators[i].tolist(), determinants[i].tolist(), strict=True)
        ]
        for i, p in enumerate(primes)
    ]


def test_decrypted_values_show_the_key_unless_they_are_flooded():
    scheme = Ckks(values=4096, levels=0)
    key, peer = parties(scheme)
    first, second = (np.array(solved_key(scheme, key, peer, "decrypt_unflooded")) for _ in range(2))
    assert (first == second).mean() > 0.99  # the same from other ciphertexts, so it is the key
    first, second = (np.array(solved_key(scheme, key, peer, "decrypt")) for _ in range(2))
    assert (first == second).mean() < 0.01
