"""Linear algebra under BFV (SEAL): products of polynomials, no rotations, no relinearisation, answers hidden perfectly.

    receiver, holding s                                sender, holding X
    1  Z = (z0, seed): an encryption of zero  ------>  kept for the session
    2  Enc(w), seeded                         ------>
    3                                         <------  masked answer (c0 where wanted, c1); keeps its own share
    4  share = Dec(answer)                             share + share = X w, exactly modulo each prime

Parameters: N = 8192, data primes 60, 60, 60 bits and a key prime of 30, 210 <= 218 bits for 128-bit security (checked
by SEAL); plaintext primes t1, t2 of 45 bits, 1 mod 2N, one key each. Assumption: RLWE with ternary secrets.

**Answers** (`RlwePeerKey._mask`). Without care the receiver, who knows s and what it sent, reads X off the returned c1.
  a  the sum of products is switched down to the two primes q' = p0 p1, which makes its noise small;
  b  Z u is added, u uniform ternary, Z = (z0, a) at q' itself. With c below the returned c1 holds a u + e2, an RLWE
     sample with secret u under a uniform `a`, which the receiver could choose only through the seed of a generator:
     pseudorandom even to one who knows s, so c1 says nothing of X. Were u applied before the switch, e2 would have to
     go in there too, since rounding scales a u + e2 and its error alike;
  c  e2, centred binomial of standard deviation 3.24, is added to c1;
  d  U, uniform in Z_q', is added to each wanted coefficient of c0, and only these leave. They are uniform whatever
     they held, so message and noise are hidden perfectly, even if the receiver sent oversized noise; that can only
     spoil correctness. Other coefficients are other combinations of X and never leave.
The own share is -round(t U / q') (`engine.he.sharing`).

Correctness. Before the switch noise is below 2^67 in the worst case (ten slot products; matrices 2^47), after it
below 2^7; Z u, e2 s and rounding add 2^12 in practice, 2^19 in the worst case. A value comes out one off only where
the fraction of t U / q' lies within t/q' times the noise of a half (2^-62 in practice), where a fraction is cut off
(2^-62) or where SEAL's own decryption approximates (two parts in its 61-bit auxiliary prime, 2^-60): below 2^-59 a
value and prime.

Who learns what: the sender learns sizes; the receiver its share, uniform. Semi-honest for correctness: nothing proves
that an answer was computed from X. Randomness: SEAL samples keys, seeds and errors of encryptions with its own
generator, seeded from /dev/urandom; masks, u and e2 come from `engine.randomness`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.he.contexts import PRIMES, Contexts
from engine.he.encoding import SLOTS, Layout, layout
from engine.he.scheme import Bytes, Counts, PeerKey, Words
from engine.he.sealraw import seeded_bytes
from engine.he.sharing import add_modulo, masks, small_noise
from engine.kernels.ring import Ring

UPLINK = seeded_bytes(0)
PUBLIC_PART = seeded_bytes(1)
_TILE_BYTES = 3 * 8 * SLOTS
_LIMIT = 1 << 15


def answer_bytes(places: int) -> int:
    """Return the size of an answer: c1 whole and c0 at `places` places, at two primes; 131,072 + 16 a place."""
    return 2 * 8 * (SLOTS + places)


def array_of(received: Bytes, count: int, size: int) -> Bytes:
    """Check that a peer sent `count` objects of `size` bytes."""
    if received.dtype != np.uint8 or received.shape != (count, size):
        raise ValueError("holds ciphertexts of another number or size than agreed")
    return np.ascontiguousarray(received)


def own_vector(values: Words, count: int) -> Words:
    if values.shape != (2, count) or not Ring(PRIMES).contains(values):
        raise Misuse("A vector must be given as reduced residues, uint64 of shape (2, n), of the length agreed.")
    return values


def require_matrix(matrix: NDArray[np.integer], layout: Layout) -> None:
    """Raise Misuse unless a matrix is one of integers below 2**15 in size, in its layout's shape."""
    fits = matrix.dtype.kind in "iu" and matrix.shape == (layout.rows, layout.columns)
    if not fits or max(int(matrix.max()), -int(matrix.min())) >= _LIMIT:
        raise Misuse(
            "A matrix must have its layout's shape and be integers, entries below 2**15; scale the features down."
        )


def blocks_of(values: Words) -> Words:
    """Cut (2, n) into slots, (2, blocks, SLOTS), zeros at the end."""
    blocks = -(-values.shape[1] // SLOTS)
    return np.pad(values, ((0, 0), (0, blocks * SLOTS - values.shape[1]))).reshape(2, blocks, SLOTS)


def checked_terms(terms: Sequence[tuple[Bytes, Words]], size: int) -> tuple[list[tuple[Bytes, Words]], int]:
    """Return ciphertexts (2, blocks, size), checked, with factors (2, blocks, SLOTS), and the length of the vectors."""
    if not terms:
        raise Misuse("A combination needs at least one term.")
    count = terms[0][1].shape[-1]
    blocks = -(-count // SLOTS)
    checked = [
        (array_of(ciphertexts, 2 * blocks, size).reshape(2, blocks, size), blocks_of(own_vector(factors, count)))
        for ciphertexts, factors in terms
    ]
    return checked, count


@lru_cache(maxsize=1)
def contexts() -> Contexts:
    """Build the contexts and send one product through them; raises Misuse where this machine or TenSEAL cannot."""
    try:
        built = Contexts()
        correct = _multiplies(Rlwe(built))
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError) as cause:
        raise Misuse(
            "The rlwe scheme needs Linux and TenSEAL from 0.3.16 to 0.3.x; install it, or run there."
        ) from cause
    if not correct:
        raise Misuse("This build of TenSEAL computes something else than the rlwe scheme expects; pin version 0.3.18.")
    return built


def _multiplies(scheme: Rlwe) -> bool:
    key, at = scheme.key(), layout(2, 2)
    weights = np.array([[7, 2], [7, 2]], dtype=np.uint64)
    matrix = scheme.matrix(np.array([[3, -4], [0, 5]], dtype=np.int16), at)
    answer, own = matrix.times_weights(scheme.peer(key.public), key.encrypt_weights(weights, at))
    return np.array_equal(Ring(PRIMES).add(key.decrypt_rows(answer, at), own), [[13, 10], [13, 10]])


class Rlwe:
    """The scheme; see the head of this module."""

    name = "rlwe"
    security_bits = 128
    networked = True
    primes = PRIMES
    slots = SLOTS

    def __init__(self, prepared: Contexts | None = None) -> None:
        self.contexts = prepared or contexts()
        self.counts = Counts()

    def key(self) -> RlweSecretKey:
        return RlweSecretKey(self)

    def peer(self, public: Bytes) -> RlwePeerKey:
        return RlwePeerKey(self, array_of(public.reshape(1, -1), 1, 2 * PUBLIC_PART).reshape(2, PUBLIC_PART))

    def layout(self, rows: int, columns: int) -> Layout:
        return layout(rows, columns)

    def matrix(self, matrix: NDArray[np.integer], layout: Layout, cache_bytes: int = 1 << 30) -> RlweMatrix:
        """Tiles are transformed at first use and kept while they fit in `cache_bytes`, 24 bytes an entry."""
        require_matrix(matrix, layout)
        return RlweMatrix(self, matrix, layout, cache_bytes)


class RlweSecretKey:
    """The receiver: one SEAL key for each plaintext prime."""

    def __init__(self, scheme: Rlwe) -> None:
        self._contexts = scheme.contexts
        self._counts = scheme.counts
        keys = [lane.new_secret_key() for lane in self._contexts.lanes]
        pairs = list(zip(self._contexts.lanes, keys, strict=True))
        self._encryptors = [lane.encryptor(key) for lane, key in pairs]
        self._decryptors = [lane.decryptor(key) for lane, key in pairs]
        zeros = [  # 1
            lane.wire_form(encryptor.encrypt_zero_symmetric(lane.levels[1]), 1)
            for lane, encryptor in zip(self._contexts.lanes, self._encryptors, strict=True)
        ]
        self.public: Bytes = np.frombuffer(b"".join(zeros), dtype=np.uint8)

    def encrypt_weights(self, weights: Words, layout: Layout) -> Bytes:
        return self._encrypt(layout.spread_weights(own_vector(weights, layout.columns)), self._loaded)

    def encrypt_rows(self, values: Words, layout: Layout) -> Bytes:
        return self._encrypt(layout.spread_rows(own_vector(values, layout.rows)), self._loaded)

    def encrypt_slots(self, values: Words) -> Bytes:
        return self._encrypt(blocks_of(own_vector(values, values.shape[-1])), self._contexts.encoded)

    def decrypt_rows(self, answer: Bytes, layout: Layout) -> Words:
        plains = self._decrypt(answer, layout.row_tiles, layout.row_places)
        return self._values(plains, layout.row_places)[:, : layout.rows]

    def decrypt_weights(self, answer: Bytes, layout: Layout) -> Words:
        plains = self._decrypt(answer, layout.column_tiles, layout.column_places)
        return self._values(plains, layout.column_places)[:, : layout.columns]

    def decrypt_slots(self, answer: Bytes, count: int) -> Words:
        plains = self._decrypt(answer, -(-count // SLOTS), np.arange(SLOTS))
        values = [[self._contexts.decoded(i, plain) for plain in plains[i]] for i in range(2)]
        return np.array(values).reshape(2, -1)[:, :count]

    def _loaded(self, lane: int, coefficients: Words) -> Any:
        return self._contexts.lanes[lane].load_plain(coefficients)

    def _encrypt(self, vectors: Words, encode: Callable[[int, Words], Any]) -> Bytes:  # 2
        lanes = self._contexts.lanes
        wires = [
            lanes[i].wire_form(self._encryptors[i].encrypt_symmetric(encode(i, vector)), 0)
            for i in range(2)
            for vector in vectors[i]
        ]
        self._counts.encryptions += len(wires)
        return np.frombuffer(b"".join(wires), dtype=np.uint8).reshape(len(wires), UPLINK)

    def _decrypt(self, answer: Bytes, tiles: int, places: NDArray[np.intp]) -> list[list[Any]]:  # 4
        """Return the plaintexts of each prime; they mean something at `places` only."""
        wires = array_of(answer, 2 * tiles, answer_bytes(len(places))).reshape(2, tiles, -1)
        self._counts.decryptions += 2 * tiles
        return [[self._decrypted(i, wire.view("<u8"), places) for wire in wires[i]] for i in range(2)]

    def _decrypted(self, lane: int, words: Words, places: NDArray[np.intp]) -> Any:
        residues = np.zeros((2, 2, SLOTS), dtype=np.uint64)
        residues[1] = words[: 2 * SLOTS].reshape(2, SLOTS)
        residues[0][:, places] = words[2 * SLOTS :].reshape(2, -1)
        self._contexts.require_reduced(residues)
        if not residues[1].any():
            raise ValueError("holds a ciphertext without randomness")
        return self._contexts.lanes[lane].decrypted(self._decryptors[lane], residues)

    def _values(self, plains: list[list[Any]], places: NDArray[np.intp]) -> Words:
        lanes = self._contexts.lanes
        return np.array([[lanes[i].coefficients(p)[places] for p in plains[i]] for i in range(2)]).reshape(2, -1)


class RlwePeerKey:
    """The sender's side of a receiver's key: its encryptions of zero, whose `a` exists as a seed only."""

    def __init__(self, scheme: Rlwe, public: Bytes) -> None:
        self._contexts = scheme.contexts
        self._counts = scheme.counts
        self._zeros = [scheme.contexts.received(part, 1) for part in public]  # 1

    def combine_slots(self, terms: Sequence[tuple[Bytes, Words]]) -> tuple[Bytes, Words]:
        checked, count = checked_terms(terms, UPLINK)
        blocks = -(-count // SLOTS)
        totals = ([self._combined(checked, i, block) for i in range(2)] for block in range(blocks))
        answer, own = self.answer(totals, blocks, np.arange(SLOTS))
        return answer, self._in_slots(own).reshape(2, -1)[:, :count]

    def _combined(self, terms: list[tuple[Bytes, Words]], lane: int, block: int) -> Any | None:
        total = None
        for ciphertexts, factors in terms:
            factor = self._contexts.slot_factor(lane, factors[lane, block])
            total = self._contexts.plus_product(total, self._contexts.received(ciphertexts[lane, block]), factor)
        self._counts.products += len(terms)
        return total

    def _in_slots(self, polynomials: Words) -> Words:
        decoded = [
            [self._contexts.decoded(i, lane.load_plain(p)) for p in polynomials[i]]
            for i, lane in enumerate(self._contexts.lanes)
        ]
        return np.array(decoded)

    def answer(self, totals: Iterable[Sequence[Any]], tiles: int, places: NDArray[np.intp]) -> tuple[Bytes, Words]:
        """Mask sums of products, given tile by tile for both primes; return answers and shares (2, tiles, places)."""
        answers = np.empty((2, tiles, answer_bytes(len(places)) // 8), dtype="<u8")
        shares = np.empty((2, tiles, len(places)), dtype=np.uint64)
        for tile, pair in enumerate(totals):
            for lane, total in enumerate(pair):
                shares[lane, tile] = self._mask(lane, total, places, answers[lane, tile])
        self._counts.outputs += 2 * tiles
        return answers.reshape(2 * tiles, -1).view(np.uint8), shares

    def _mask(self, lane: int, total: Any | None, places: NDArray[np.intp], out: Words) -> Words:
        primes = self._contexts.primes[:2]
        c0, c1 = self._contexts.rerandomised(total, self._zeros[lane])  # 3 a, b
        noise = np.mod(small_noise(SLOTS), primes.astype(np.int64)).astype(np.uint64)
        out[: 2 * SLOTS] = add_modulo(c1, noise, primes).reshape(-1)  # 3 c
        mask, share = masks(self._contexts.answer_primes, PRIMES[lane], len(places))
        out[2 * SLOTS :] = add_modulo(c0[:, places], mask, primes).reshape(-1)  # 3 d
        return share


class RlweMatrix:
    """The sender's matrix in tiles; transformed ones are the same for both plaintext primes."""

    def __init__(self, scheme: Rlwe, matrix: NDArray[np.integer], layout: Layout, cache_bytes: int) -> None:
        self._contexts = scheme.contexts
        self._counts = scheme.counts
        self._layout = layout
        self._matrix = matrix
        self._room = cache_bytes // _TILE_BYTES
        self._tiles: dict[tuple[int, int], Any | None] = {}

    def times_weights(self, key: PeerKey, weights: Bytes) -> tuple[Bytes, Words]:
        at = self._layout
        totals = self._forward(array_of(weights, 2 * at.column_tiles, UPLINK).reshape(2, -1, UPLINK))
        answer, own = _key_of(key).answer(totals, at.row_tiles, at.row_places)
        return answer, own.reshape(2, -1)[:, : at.rows]

    def times_rows(self, key: PeerKey, rows: Bytes) -> tuple[Bytes, Words]:
        at = self._layout
        totals = self._backward(array_of(rows, 2 * at.row_tiles, UPLINK).reshape(2, -1, UPLINK))
        answer, own = _key_of(key).answer(totals, at.column_tiles, at.column_places)
        return answer, own.reshape(2, -1)[:, : at.columns]

    def _forward(self, wires: Bytes) -> Iterator[list[Any]]:
        pairs = [self._pair(wires, k) for k in range(self._layout.column_tiles)]
        for r in range(self._layout.row_tiles):
            total = [None, None]
            for k, pair in enumerate(pairs):
                self._add_products(total, pair, r, k)
            yield total

    def _backward(self, wires: Bytes) -> list[list[Any]]:
        totals: list[list[Any]] = [[None, None] for _ in range(self._layout.column_tiles)]
        for r in range(self._layout.row_tiles):
            pair = self._pair(wires, r)
            for k, total in enumerate(totals):
                self._add_products(total, pair, r, k)
        return totals

    def _pair(self, wires: Bytes, tile: int) -> list[Any]:
        return [self._contexts.received(wires[lane, tile]) for lane in range(2)]

    def _add_products(self, total: list[Any], pair: list[Any], row_tile: int, column_tile: int) -> None:
        tile = self._tile(row_tile, column_tile)
        for lane in range(2):
            total[lane] = self._contexts.plus_product(total[lane], pair[lane], tile)
        self._counts.products += 2

    def _tile(self, row_tile: int, column_tile: int) -> Any | None:
        at = row_tile, column_tile
        if at in self._tiles:
            return self._tiles[at]
        tile = self._contexts.lifted(self._layout.tile(self._matrix, row_tile, column_tile))
        if len(self._tiles) < self._room:
            self._tiles[at] = tile
        return tile


def _key_of(key: PeerKey) -> RlwePeerKey:
    if not isinstance(key, RlwePeerKey):
        raise Misuse("The key belongs to another scheme than the matrix; make both with the same scheme.")
    return key
