"""The linear algebra of `rlwe` on our own kernels: BFV at one level, both plaintext primes under one key.

    receiver, holding s                                sender, holding X
    1  Z = (z0, seed): an encryption of zero  ------>  kept for the session
    2  Enc(w), seeded                         ------>
    3                                         <------  masked answer (c1, and c0 where wanted); keeps its own share
    4  share = Dec(answer)                             share + share = X w, exactly modulo each prime

Parameters: N = 8192, q = p0 p1 p2 of 50 bits each, 150 <= 218 bits for 128-bit security with a ternary secret (table 1
of the homomorphic encryption standard, 2018); errors are centred binomial of standard deviation 3.24; plaintext primes
t1, t2 of 45 bits, 1 mod 2N. Assumption: RLWE with ternary secrets; AES-256 in counter mode is what expands seeds.

A ciphertext is (c0, c1), c0 - c1 s = round(q m / t) + e modulo q. On the wire c1 is a seed of 32 bytes, from which it
is expanded in transformed form: the transform of a uniform polynomial is uniform.

**Answers** hide X as those of `rlwe` do; see there. There is no switch of the modulus here, so Z u is added at q
itself, c1 = b + a u + e2 with u ternary is pseudorandom even to one who knows s, whatever b is, and U, uniform modulo
q, is added to each wanted coefficient of c0. The own share is -round(t U / q).

Correctness. A value comes out one off only where the fraction of t U / q lies within t/q times the noise of a half.
Noise is a sum of N products for each polynomial that is multiplied: beyond 13 standard deviations, 2^27 sqrt(T) for a
matrix of T tiles in a row or column and 2^56 sqrt(k) for k slot products, with probability below 2^-120 only. That is
2^-77 sqrt(T) and 2^-48 sqrt(k) a value and prime, to which rounding by 64 bits of fraction adds 2^-60. It is computed
from what is to be multiplied (`failure`), and what is above 2^-40 is refused.

Who learns what, and what is not protected, is as for `rlwe`. Kernels take time that depends on sizes only, except that
a draw below a prime is repeated (of seeds and masks, never of secrets) and `randomness.random_below(3)` likewise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from engine import randomness
from engine.errors import Misuse
from engine.he.contexts import PRIMES
from engine.he.encoding import SLOTS, Layout, layout
from engine.he.polynomials import (
    COLUMN,
    MODULI,
    PIECE,
    SEED_BYTES,
    P,
    add,
    add_noise,
    add_product,
    divided,
    expanded,
    forward,
    inverse,
    lifted,
    require_reduced,
    ternary,
    transforms,
    uniform,
)
from engine.he.rlwe import array_of, blocks_of, checked_terms, own_vector, require_matrix
from engine.he.scheme import Bytes, Counts, PeerKey, Words
from engine.he.secret import Secret
from engine.kernels.tiers import kernel

UPLINK = 8 * len(MODULI) * SLOTS + SEED_BYTES
_ENTRY_BITS, _SLOT_BITS = 15, 44  # of factors: entries of a matrix, and residues modulo t around 0
_TILE_BYTES = 8 * len(MODULI) * SLOTS
_FAILURE = 2.0**-40
_CHUNK = 32  # row tiles that are worked on together


def answer_bytes(places: int) -> int:
    """Return the size of an answer: c1 whole and c0 at `places` places, 24 bytes each."""
    return 8 * len(MODULI) * (SLOTS + places)


def _received(wire: Bytes) -> Words:
    """Check and expand a ciphertext: both polynomials, transformed, (primes, 2, SLOTS)."""
    out = np.empty((len(MODULI), 2, SLOTS), dtype=np.uint64)
    out[:, 0] = wire[:-SEED_BYTES].view("<u8").reshape(-1, SLOTS)
    require_reduced(out[:, 0])
    for transform, rows in zip(transforms()[0], out, strict=True):
        transform.forward(rows[0])
    out[:, 1] = expanded(wire[-SEED_BYTES:])
    return out


def failure(factor_bits: int, terms: int) -> float:
    """Return how probable it is that a value of a sum of so many products of polynomials comes out one off.

    Factors are below 2**factor_bits in size. An error has a variance of 10.5, with what rounding adds at most 10.75;
    what re-randomising and the mask add is below 2**19.
    """
    noise = 13 * sqrt(10.75 * SLOTS * terms) * 2.0**factor_bits + 2.0**19
    return 2 * noise * max(PRIMES) / prod(MODULI) + 2.0**-60


def _require_exact(factor_bits: int, terms: int) -> None:
    if failure(factor_bits, terms) > _FAILURE:
        raise Misuse(f"A sum of {terms} products would come out wrong too often; sum up fewer at a time.")


class RlweNative:
    """The scheme; see the head of this module."""

    name = "rlwe-native"
    security_bits = 128
    networked = True
    primes = PRIMES
    slots = SLOTS

    def __init__(self) -> None:
        self.counts = Counts()

    def key(self) -> NativeSecretKey:
        return NativeSecretKey(self.counts)

    def peer(self, public: Bytes) -> NativePeerKey:
        return NativePeerKey(self.counts, array_of(public.reshape(1, -1), 1, UPLINK)[0])

    def layout(self, rows: int, columns: int) -> Layout:
        return layout(rows, columns)

    def matrix(self, matrix: NDArray[np.integer], layout: Layout, cache_bytes: int = 1 << 30) -> NativeMatrix:
        """Tiles are transformed at first use and kept while they fit in `cache_bytes`, 24 bytes an entry."""
        require_matrix(matrix, layout)
        _require_exact(_ENTRY_BITS, max(layout.row_tiles, layout.column_tiles))
        return NativeMatrix(self.counts, matrix, layout, cache_bytes)


class NativeSecretKey(Secret):
    """The receiver: one ternary secret for both plaintext primes."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._secret = ternary()
        self.public: Bytes = self._encryptions(np.zeros((len(MODULI), 1, SLOTS), dtype=np.uint64))[0]  # 1

    def encrypt_weights(self, weights: Words, layout: Layout) -> Bytes:
        return self._encrypt(layout.spread_weights(own_vector(weights, layout.columns)))

    def encrypt_rows(self, values: Words, layout: Layout) -> Bytes:
        return self._encrypt(layout.spread_rows(own_vector(values, layout.rows)))

    def encrypt_slots(self, values: Words) -> Bytes:
        slots = blocks_of(own_vector(values, values.shape[-1]))
        return self._encrypt(np.stack([transforms()[1][i].inverse(slots[i].copy()) for i in range(2)]))

    def decrypt_rows(self, answer: Bytes, layout: Layout) -> Words:
        return self._decrypt(answer, layout.row_tiles, layout.row_places).reshape(2, -1)[:, : layout.rows]

    def decrypt_weights(self, answer: Bytes, layout: Layout) -> Words:
        return self._decrypt(answer, layout.column_tiles, layout.column_places).reshape(2, -1)[:, : layout.columns]

    def decrypt_slots(self, answer: Bytes, count: int) -> Words:
        plain = self._decrypt(answer, -(-count // SLOTS), np.arange(SLOTS))
        return np.stack([transforms()[1][i].forward(plain[i]) for i in range(2)]).reshape(2, -1)[:, :count]

    def _encrypt(self, vectors: Words) -> Bytes:  # 2
        """Encrypt coefficients (2, tiles, SLOTS)."""
        wires = []
        for lane, vector in enumerate(vectors):
            scaled = np.empty((len(MODULI), vector.size), dtype=np.uint64)
            kernel("bfv.scale")(vector.reshape(-1), np.uint64(PRIMES[lane]), P, scaled)
            wires.append(self._encryptions(scaled.reshape(len(MODULI), -1, SLOTS)))
        self._counts.encryptions += 2 * vectors.shape[1]
        return np.concatenate(wires)

    def _encryptions(self, scaled: Words) -> Bytes:
        """Return the wire form of c0 = scaled + e + a s, with the seed of a, for scaled (primes, n, SLOTS)."""
        count = scaled.shape[1]
        out = np.empty((count, UPLINK), dtype=np.uint8)
        for i in range(count):
            out[i, -SEED_BYTES:] = randomness.random_bytes(SEED_BYTES)
            body = add(self._times_secret(expanded(out[i, -SEED_BYTES:])), scaled[:, i])
            out[i, :-SEED_BYTES] = add_noise(body).astype("<u8", copy=False).reshape(-1).view(np.uint8)
        return out

    def _times_secret(self, polynomial: Words) -> Words:
        """Return the coefficients of a transformed polynomial (primes, SLOTS) times the secret."""
        out = np.zeros((len(MODULI), 1, SLOTS), dtype=np.uint64)
        add_product(out, self._secret, polynomial[:, None])
        return inverse(out)[:, 0]

    def _decrypt(self, answer: Bytes, tiles: int, places: NDArray[np.intp]) -> Words:  # 4
        """Return the values at the places, (2, tiles, places)."""
        words = array_of(answer, 2 * tiles, answer_bytes(len(places))).view("<u8").reshape(2, tiles, -1)
        self._counts.decryptions += 2 * tiles
        found = [[self._decrypted(lane, part, places) for part in words[lane]] for lane in range(2)]
        return np.array(found, dtype=np.uint64).reshape(2, tiles, len(places))

    def _decrypted(self, lane: int, words: Words, places: NDArray[np.intp]) -> Words:
        cut = len(MODULI) * SLOTS
        c1, c0 = words[:cut].reshape(-1, SLOTS).astype(np.uint64), words[cut:].reshape(len(MODULI), -1)
        require_reduced(c1)
        require_reduced(c0)
        if not c1.any():
            raise ValueError("holds a ciphertext without randomness")
        product = self._times_secret(forward(c1))[:, places]
        return divided(add(np.ascontiguousarray(COLUMN - product), c0.astype(np.uint64)), lane)


class NativePeerKey:
    """The sender's side of a receiver's key: its encryption of zero, whose `a` exists as a seed only."""

    def __init__(self, counts: Counts, public: Bytes) -> None:
        self._counts = counts
        self._zero = _received(public)  # 1

    def combine_slots(self, terms: Sequence[tuple[Bytes, Words]]) -> tuple[Bytes, Words]:
        _require_exact(_SLOT_BITS, len(terms))
        checked, count = checked_terms(terms, UPLINK)
        blocks = -(-count // SLOTS)
        totals = (self._combined(checked, block) for block in range(blocks))
        answer, shares = self.answer(totals, blocks, np.arange(SLOTS))
        slots = [transforms()[1][i].forward(shares[i]) for i in range(2)]
        return answer, np.stack(slots).reshape(2, -1)[:, :count]

    def _combined(self, terms: list[tuple[Bytes, Words]], block: int) -> Sequence[Words]:
        out = np.zeros((2, len(MODULI), 2, SLOTS), dtype=np.uint64)
        for lane in range(2):
            for ciphertexts, factors in terms:
                pair = _received(ciphertexts[lane, block])
                add_product(out[lane], _slot_factor(lane, factors[lane, block]), pair)
        self._counts.products += 2 * len(terms)
        return out[0], out[1]

    def answer(self, totals: Iterator[Sequence[Words]], tiles: int, places: NDArray[np.intp]) -> tuple[Bytes, Words]:
        """Mask sums of products, (primes, 2, SLOTS) of both lanes; return answers and shares (2, tiles, places)."""
        answers = np.empty((2, tiles, answer_bytes(len(places)) // 8), dtype="<u8")
        shares = np.empty((2, tiles, len(places)), dtype=np.uint64)
        for tile, pair in enumerate(totals):
            for lane, total in enumerate(pair):
                shares[lane, tile] = self._mask(lane, total, places, answers[lane, tile])
        self._counts.outputs += 2 * tiles
        return answers.reshape(2 * tiles, -1).view(np.uint8), shares

    def _mask(self, lane: int, total: Words, places: NDArray[np.intp], out: Words) -> Words:
        """Fill one answer from a sum (primes, 2, SLOTS), which is changed; return the own share."""
        self._rerandomise(total)
        inverse(total)
        cut = len(MODULI) * SLOTS
        answer = out[:cut].reshape(len(MODULI), SLOTS)
        answer[:] = total[:, 1]
        add_noise(answer)  # 3 b
        mask = uniform(len(places))
        out[cut:] = add(mask.copy(), total[:, 0][:, places]).reshape(-1)  # 3 c
        t = np.uint64(PRIMES[lane])
        share: Words = (t - divided(mask, lane)) % t
        return share

    def _rerandomise(self, total: Words) -> None:
        """Add Z u, u fresh and ternary."""
        add_product(total, ternary(), self._zero)  # 3 a


def _slot_factor(lane: int, slots: Words) -> Words:
    """Return slot values as a factor of products, (primes, SLOTS), transformed; coefficients centred, below t/2."""
    t = PRIMES[lane]
    coefficients = transforms()[1][lane].inverse(slots.copy()).astype(np.int64)
    return forward(lifted(np.where(coefficients > t // 2, coefficients - t, coefficients)))


class NativeMatrix:
    """The sender's matrix in tiles; a transformed tile serves both plaintext primes and both directions."""

    def __init__(self, counts: Counts, matrix: NDArray[np.integer], layout: Layout, cache_bytes: int) -> None:
        self._counts = counts
        self._layout = layout
        self._matrix = matrix
        kept = min(layout.row_tiles, cache_bytes // (_TILE_BYTES * layout.column_tiles))
        self._kept = self._room(kept)
        self._ready = 0

    def _room(self, rows: int) -> Words:
        """Return space for rows of tiles, in the order in which products read them: pieces of one place together."""
        return np.empty((len(MODULI), SLOTS // PIECE, rows, self._layout.column_tiles, PIECE), dtype=np.uint64)

    def times_weights(self, key: PeerKey, weights: Bytes) -> tuple[Bytes, Words]:
        at = self._layout
        rows = self._pairs(array_of(weights, 2 * at.column_tiles, UPLINK).reshape(2, -1, UPLINK))
        answer, share = _key_of(key).answer(self._forward(rows), at.row_tiles, at.row_places)
        return answer, share.reshape(2, -1)[:, : at.rows]

    def times_rows(self, key: PeerKey, rows: Bytes) -> tuple[Bytes, Words]:
        at = self._layout
        totals = self._backward(array_of(rows, 2 * at.row_tiles, UPLINK).reshape(2, -1, UPLINK))
        answer, share = _key_of(key).answer(totals, at.column_tiles, at.column_places)
        return answer, share.reshape(2, -1)[:, : at.columns]

    def _forward(self, rows: Words) -> Iterator[Sequence[Words]]:
        for tiles, start, count in self._chunks():
            out = np.zeros((len(MODULI), count, 4, SLOTS), dtype=np.uint64)
            self._add_products(out, tiles, start, rows, along_columns=True)
            self._counts.products += 2 * count * self._layout.column_tiles
            yield from (_lanes(out[:, i]) for i in range(count))

    def _backward(self, wires: Bytes) -> Iterator[Sequence[Words]]:
        columns, done = self._layout.column_tiles, 0
        totals = np.zeros((len(MODULI), columns, 4, SLOTS), dtype=np.uint64)
        for tiles, start, count in self._chunks():
            self._add_products(totals, tiles, start, self._pairs(wires[:, done : done + count]), along_columns=False)
            done += count
            self._counts.products += 2 * columns * count
        return (_lanes(totals[:, column]) for column in range(columns))

    def _add_products(self, out: Words, tiles: Words, start: int, rows: Words, along_columns: bool) -> None:
        """Add sums over column tiles, or over row tiles, from row `start` on, times rows (primes, n, 4, SLOTS)."""
        row = self._layout.column_tiles * PIECE
        steps = (row, PIECE) if along_columns else (PIECE, row)
        for i, transform in enumerate(transforms()[0]):
            transform.add_products(out[i], tiles[i], (start * row, *steps, tiles.shape[2] * row), rows[i])

    @staticmethod
    def _pairs(wires: Bytes) -> Words:
        """Return ciphertexts of both lanes side by side, (primes, tiles, 4, SLOTS)."""
        out = np.empty((len(MODULI), wires.shape[1], 4, SLOTS), dtype=np.uint64)
        for lane, tile in np.ndindex(*wires.shape[:2]):
            out[:, tile, 2 * lane : 2 * lane + 2] = _received(wires[lane, tile])
        return out

    def _chunks(self) -> Iterator[tuple[Words, int, int]]:
        """Give transformed tiles some rows at a time: where they are, the first row there, and how many."""
        for start in range(0, self._layout.row_tiles, _CHUNK):
            stop = min(start + _CHUNK, self._layout.row_tiles)
            if stop > self._kept.shape[2]:
                passing = self._room(stop - start)
                self._transform(passing, start)
                yield passing, 0, stop - start
                continue
            if stop > self._ready:
                self._transform(self._kept[:, :, start:stop], start)
                self._ready = stop
            yield self._kept, start, stop - start

    def _transform(self, out: Words, start: int) -> None:
        """Fill (primes, pieces, rows, columns, 16) with the tiles from row `start` on."""
        for row, column in np.ndindex(out.shape[2:4]):
            tile = forward(lifted(self._layout.tile(self._matrix, start + row, column)))
            out[:, :, row, column] = tile.reshape(len(MODULI), -1, PIECE)


def _lanes(quad: Words) -> tuple[Words, Words]:
    """Return (primes, 4, SLOTS) as (primes, 2, SLOTS) of each lane."""
    return quad[:, :2], quad[:, 2:]


def _key_of(key: PeerKey) -> NativePeerKey:
    if not isinstance(key, NativePeerKey):
        raise Misuse("The key belongs to another scheme than the matrix; make both with the same scheme.")
    return key
