"""Whatever a peer sends is read or refused with ValueError, in memory that what was sent bounds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import he
from engine.he.elgamal import Elgamal
from engine.he.paillier import Paillier
from engine.kernels.ring import Ring

Bytes = NDArray[np.uint8]
Reader = Callable[[Bytes], Any]

SCHEMES = ("rlwe-native", "rlwe")
QUESTIONS = ("peer", "times_weights", "times_rows", "combine_slots", "decrypt_rows", "decrypt_weights", "decrypt_slots")
READERS = [
    *[f"{scheme} {question}" for scheme in SCHEMES for question in QUESTIONS],
    *["paillier peer", "paillier from_bytes", "paillier decrypt", "paillier decrypt_lanes"],
    *["elgamal peer", "elgamal from_bytes", "elgamal decrypt"],
]
UNREAD = 1 << 17
"""Bytes that may be taken to refuse what has another shape or type than agreed."""
TIMES, MORE = 8, 4 << 20
"""What is read takes memory for numbers in the form that is computed with, and as much again on the way; a polynomial's
worth besides."""


@cache
def linear(name: str) -> dict[str, tuple[Bytes, Reader]]:
    """What an honest party sends, and what reads it, for a scheme of `he.SCHEMES`."""
    scheme, ring = he.scheme(name), Ring(he.scheme("clear").primes)
    at, key = scheme.layout(3, 2), scheme.key()
    peer = scheme.peer(key.public)
    matrix = scheme.matrix(np.array([[1, -2], [3, 4], [0, 32767]], dtype=np.int16), at)
    weights, rows = key.encrypt_weights(ring.random(2), at), key.encrypt_rows(ring.random(3), at)
    slots, factors = key.encrypt_slots(ring.random(3)), ring.random(3)
    return {
        "peer": (key.public, scheme.peer),
        "times_weights": (weights, lambda sent: matrix.times_weights(peer, sent)),
        "times_rows": (rows, lambda sent: matrix.times_rows(peer, sent)),
        "combine_slots": (slots, lambda sent: peer.combine_slots([(sent, factors)])),
        "decrypt_rows": (matrix.times_weights(peer, weights)[0], lambda sent: key.decrypt_rows(sent, at)),
        "decrypt_weights": (matrix.times_rows(peer, rows)[0], lambda sent: key.decrypt_weights(sent, at)),
        "decrypt_slots": (peer.combine_slots([(slots, factors)])[0], lambda sent: key.decrypt_slots(sent, 3)),
    }


@cache
def paillier() -> dict[str, tuple[Bytes, Reader]]:
    scheme = Paillier(2048)
    key = scheme.key()
    peer, read = scheme.peer(key.public.public), key.public.from_bytes
    lanes, whole = peer.lanes(40), peer.limit
    values = np.array([5, -6, 2**62, 0, 1, 2, 3, 4, 5])
    sent = peer.to_bytes(peer.encrypt(values))
    packed = peer.to_bytes(peer.compress(peer.encrypt(values % 99, bound=99), lanes))
    return {
        "peer": (key.public.public, scheme.peer),
        "from_bytes": (sent, read),
        "decrypt": (sent, lambda sent: key.decrypt(read(sent, bound=whole, exponent=-2))),
        "decrypt_lanes": (packed, lambda sent: key.decrypt_lanes(read(sent, bound=whole), lanes, 9)),
    }


@cache
def elgamal() -> dict[str, tuple[Bytes, Reader]]:
    scheme = Elgamal(values=2, bits=8, sum_bits=10, table_bits=8)
    key = scheme.key()
    sent = key.public.to_bytes(key.public.encrypt(np.arange(-9, 9).reshape(9, 2)))
    return {
        "peer": (key.public.public, scheme.peer),
        "from_bytes": (sent, scheme.peer(key.public.public).from_bytes),
        "decrypt": (sent, lambda sent: key.decrypt(key.public.from_bytes(sent))),
    }


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> tuple[Bytes, Reader]:
    name, question = request.param.split()
    made = {"paillier": paillier, "elgamal": elgamal}.get(name, lambda: linear(name))()
    return made[question]


def reshaped(honest: Bytes) -> Iterator[Bytes]:
    """Cut off, extended, empty, of other types and dimensions."""
    for axis in range(honest.ndim):
        for count in (0, 1, honest.shape[axis] - 1, honest.shape[axis] + 1, 2 * honest.shape[axis]):
            part = np.resize(honest, (*honest.shape[:axis], count, *honest.shape[axis + 1 :]))
            if part.shape != honest.shape and not (axis == 0 and honest.ndim == 2):
                yield part
    yield honest.astype(np.int8)
    yield honest.astype(np.uint16)
    yield honest.astype(np.float64)
    yield np.zeros(honest.shape, dtype=bool)
    yield honest.reshape(-1, 1)[:-1]
    yield honest.reshape(-1)[:1].reshape(())
    yield honest.reshape(1, 1, -1)[:, :, :-1]


def damaged(honest: Bytes) -> Iterator[Bytes]:
    """Of the right shape: random, all alike, shifted, backwards, rows twice, a few bits flipped."""
    rng = np.random.default_rng(honest.size)
    for _ in range(2):
        yield rng.integers(0, 256, honest.shape, dtype=np.uint8)
    for byte in (0, 1, 255):
        yield np.full(honest.shape, byte, dtype=np.uint8)
    yield np.roll(honest, 1, axis=-1)
    yield honest[..., ::-1]
    yield honest[::-1]
    yield np.repeat(honest[:1], len(honest), axis=0)
    for count in (1, 1, 1, 1, 2, 8, 64):
        bits = np.unpackbits(honest)
        bits[rng.integers(0, bits.size, count)] ^= 1
        yield np.packbits(bits).reshape(honest.shape)
    for start in (0, honest.size // 2, honest.size - 8):
        flat = honest.reshape(-1).copy()
        flat[start : start + 8] = 255
        yield flat.reshape(honest.shape)


def peak_of(read: Reader, sent: Bytes) -> tuple[int, Exception | None]:
    """Return how much memory reading took at most, and what it raised."""
    tracemalloc.start()
    try:
        read(sent)
    except Exception as error:  # whatever it is, the caller looks at its type
        return tracemalloc.get_traced_memory()[1], error
    else:
        return tracemalloc.get_traced_memory()[1], None
    finally:
        tracemalloc.stop()


def test_another_shape_or_type_is_refused_unread(reader: tuple[Bytes, Reader]) -> None:
    honest, read = reader
    read(honest)
    for sent in reshaped(honest):
        peak, error = peak_of(read, sent)
        assert type(error) is ValueError, (sent.shape, sent.dtype, error)
        assert peak <= UNREAD
        assert len(str(error)) < 100


def test_damage_is_read_or_refused(reader: tuple[Bytes, Reader]) -> None:
    honest, read = reader
    read(honest)
    for sent in damaged(honest):
        peak, error = peak_of(read, sent)
        assert error is None or type(error) is ValueError, error
        assert peak <= TIMES * sent.nbytes + MORE
        assert len(str(error)) < 100


@pytest.mark.parametrize("name", ["paillier from_bytes", "elgamal from_bytes"])
def test_long_arrays_take_no_more_than_their_share(name: str) -> None:
    """Where a row is a ciphertext an array may be of any length, also one whose last row is bad."""
    scheme, question = name.split()
    honest, read = {"paillier": paillier, "elgamal": elgamal}[scheme]()[question]
    rows = np.resize(honest, (1500, honest.shape[1])).copy()
    rows[-1] = 255
    peak, error = peak_of(read, rows)
    assert type(error) is ValueError
    assert peak <= TIMES * rows.nbytes + UNREAD
