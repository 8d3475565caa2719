"""Every kernel of every tier against its definition, on inputs weighted towards the edges.

A kernel that is registered without such inputs in `EDGES` fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.kernels import KERNELS, group, ntt, tiers
from engine.kernels.constants import INVSQRT_A_MINUS_D, ORDER, SQRT_M1, D, P
from engine.kernels.montgomery import Modulus, SquareModulus
from engine.kernels.reference import group as reference
from engine.kernels.reference import points as definition
from engine.kernels.reference.montgomery import limbs_of
from engine.kernels.ring import Ring

Array = NDArray[Any]
Case = tuple[tuple[Any, ...], tuple[Array, ...]]
"""What a kernel reads, and what it fills, shapes and dtypes as it is to find them."""

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/ristretto255_rfc9496.json").read_text())
FAST = [
    pytest.param(
        name, tier, marks=pytest.mark.skipif(tier == "simd" and not tiers.has_simd(), reason="no AVX-512 IFMA")
    )
    for name, tiers_of_it in KERNELS.items()
    for tier in tiers_of_it
    if tier != "reference"
]


def rows_of(numbers: list[int], width: int = 32) -> Array:
    """Lay out numbers as rows of little-endian words."""
    text = b"".join(number.to_bytes(width, "little") for number in numbers)
    return np.frombuffer(text, dtype="<u8").reshape(-1, width // 8)


def edge_numbers() -> list[int]:
    """Return numbers below 2**256: edges of the field and the order, and limbs of each radix empty, full or random."""
    rng = np.random.default_rng(255)
    near = [x + i for x in (0, P, P // 2, ORDER, 2**252, 2**254, 2**255) for i in (-2, -1, 0, 1, 2) if x + i >= 0]
    special = [SQRT_M1, P - SQRT_M1, D, INVSQRT_A_MINUS_D, 2**256 - 1, 2**255 - 20]
    weighted = [
        sum(int(rng.choice([0, 1, 2**radix - 1, int(rng.integers(2**radix))])) << radix * i for i in range(5))
        for radix in (51, 52)
        for _ in range(20)
    ]
    return [number % 2**256 for number in near + special + weighted]


def elements() -> Array:
    """Return encodings: the identity, multiples of the generator, all bad ones of the RFC, and numbers of any kind."""
    known = VECTORS["multiples_of_generator"] + [bad for kind in VECTORS["bad_encodings"].values() for bad in kind]
    numbers = [int.from_bytes(bytes.fromhex(text), "little") for text in known]
    last = [reference.encode(reference.times(k, reference.generator())) for k in (ORDER - 1, ORDER // 2, 2**200 + 1)]
    return np.concatenate([rows_of(numbers + last + edge_numbers()), uniform()[:5, :4]])


def uniform() -> Array:
    """Return rows of 64 bytes: pairs of edge numbers, and halves alike, alike but for the sign, or exceptional.

    Exceptional is a t whose r = SQRT_M1 * t**2 is -1/D, -D or -1 (where there is one): v or u of MAP is 0.
    """
    numbers = edge_numbers()
    exceptional = [reference.sqrt_ratio(r, SQRT_M1) for r in (-pow(D, -1, P), -D, -1)]
    roots = [t for exists, t in exceptional if exists]
    pairs = list(zip(numbers, numbers[7:] + numbers[:7], strict=True))
    pairs += [(t, u) for t in [0, 1, 5, *roots] for u in (t, -t % P, 0, 1)]
    return np.concatenate([rows_of([a for a, _ in pairs]), rows_of([b for _, b in pairs])], axis=1)


def scalars() -> list[int]:
    """Return scalars below the order: the edges, and digits that are all at one of their ends."""
    ends = [twice * (16**62 - 1) // 15 for twice in (16, 14, 2, -16, -14)] + [2**251, 2**252]
    return [0, 1, 2, ORDER - 1, ORDER - 2, ORDER // 2, (ORDER + 1) // 2, *(end % ORDER for end in ends)]


def outputs(count: int, flags: bool = True) -> tuple[Array, ...]:
    filled = np.full((count, 4), 0xA5A5, dtype=np.uint64)
    return (filled, np.ones(count, dtype=np.bool_)) if flags else (filled,)


def expansions() -> Iterator[Case]:
    rng = np.random.default_rng(64)
    for width in (0, 1, 16, 63, 64, 145, 256):
        for tag in (1, 41, 110, 255):  # the padding fits in the last block, fills it, or needs another
            messages = rng.integers(0, 256, (9, width), dtype=np.uint8)
            messages[:2] = np.array([[0], [255]], dtype=np.uint8)
            prime = np.frombuffer(bytes(range(tag)) + bytes([tag]), dtype=np.uint8)
            yield (messages, prime), (np.full((9, 64), 0xA5, dtype=np.uint8),)


def maps() -> Iterator[Case]:
    yield (uniform(),), outputs(len(uniform()), flags=False)


def map_products() -> Iterator[Case]:
    rows = np.ascontiguousarray(uniform()[::3])
    for scalar in scalars()[:4]:
        yield (rows, group._halved_digits(scalar)), outputs(len(rows), flags=False)


def products() -> Iterator[Case]:
    rows = elements()
    for scalar in scalars():
        few = np.ascontiguousarray(rows[::5]) if scalar else rows
        yield (few, group._halved_digits(scalar)), outputs(len(few))


def own_products() -> Iterator[Case]:
    rows, numbers = elements(), [*scalars(), ORDER, 2**253 - 1, 16**62 * 7, 8 * ((16**63 - 1) // 15)]
    halves = rows_of([numbers[i % len(numbers)] for i in range(len(rows))])
    for shift in (0, 1, 5):
        yield (rows, np.roll(halves, shift, axis=0)), outputs(len(rows))


def base_products() -> Iterator[Case]:
    rows = rows_of([*scalars(), ORDER, ORDER + 1, 2**253 - 1, 8 * ((16**63 - 1) // 15), 16**63 - 1])
    yield (rows, group._base_table()), outputs(len(rows), flags=False)


def checks() -> Iterator[Case]:
    yield (elements(),), (np.ones(len(elements()), dtype=np.bool_),)


def additions() -> Iterator[Case]:
    rows = elements()
    for shift in (0, 1, 5):
        yield (rows, np.roll(rows, shift, axis=0)), outputs(len(rows))


def sums() -> Iterator[Case]:
    good = rows_of([int.from_bytes(bytes.fromhex(text), "little") for text in VECTORS["multiples_of_generator"]])
    lists = [0, 0, 1, 1, 3, 3, 6, 14, 15, 16, 16]
    yield (good, np.array(lists, dtype=np.int64)), outputs(len(lists) - 1)
    everything = elements()
    lists = [*range(0, len(everything), 7), len(everything)]
    yield (everything, np.array(lists, dtype=np.int64)), outputs(len(lists) - 1)


def affine_rows() -> Array:
    """Return points of every kind: multiples of the generator with each point of order 4 or 2 added, and opposites.

    The last ones have all limbs of x or y at an edge: y as near to those of `edge_numbers` as there is a point.
    """
    generator, torsion = (
        reference.generator(),
        [(0, 1, 1, 0), (0, P - 1, 1, 0), (SQRT_M1, 0, 1, 0), (P - SQRT_M1, 0, 1, 0)],
    )
    known = [reference.times(k, generator) for k in (0, 1, 2, 3, ORDER - 1, ORDER // 2, 2**200 + 1)]
    found = [reference.plus(p, q) for p in known for q in torsion]
    for number in edge_numbers():
        exists, x = reference.sqrt_ratio(number**2 - 1, D * number**2 + 1)
        if exists:
            found.append((x, number % P, 1, x * number % P))
    return np.array([definition.row_of(point) for point in found])


def rows_out(count: int, width: int = 12) -> tuple[Array, ...]:
    return (np.full((count, width), 0xA5A5, dtype=np.uint64),)


def decodings() -> Iterator[Case]:
    """Only what is canonical: the rows of the others may hold anything."""
    rows, valid = elements(), np.empty(len(elements()), dtype=np.bool_)
    definition.decode(rows, np.empty((len(rows), 12), dtype=np.uint64), valid)
    good = np.ascontiguousarray(rows[valid])
    for count in (1, 9, len(good)):
        yield (good[:count],), (*rows_out(count), np.zeros(count, dtype=np.bool_))


def encodings() -> Iterator[Case]:
    for rows in (affine_rows(), affine_rows()[3:4]):
        yield (rows,), rows_out(len(rows), 4)


def listed_sums() -> Iterator[Case]:
    """Lists of no rows, one, equal ones, opposite ones, of very different lengths, in any order."""
    rows = affine_rows()
    members = np.concatenate([np.arange(len(rows)), [5, 5, 4, 16, 0, 0], np.arange(len(rows))[::-1]])
    bounds = np.array([0, 0, 1, 9, 9, 12, 28, len(rows), len(rows) + 2, len(rows) + 4, len(rows) + 6, len(members)])
    for starts, stops in ((bounds[:-1], bounds[1:]), (bounds[1::-1], bounds[2:0:-1]), (bounds[:1], bounds[-1:])):
        starts, stops = np.ascontiguousarray(starts), np.ascontiguousarray(stops)
        yield (rows, members, starts, stops), rows_out(len(starts))
    yield (rows, np.arange(len(rows)), np.arange(16), np.arange(16) + 3), rows_out(16)


def comb_table(bits: int, windows: int, seed: int) -> Array:
    """Return a table of any points, the identity first: what a comb adds up need not be multiples."""
    picks = np.random.default_rng(seed).integers(len(affine_rows()), size=(windows, 2 ** (bits - 1) + 1))
    picks[:, 0] = 0
    return affine_rows()[picks]


def comb_numbers(bits: int) -> Array:
    """Return numbers whose digits are all at the bottom, in the middle, at the top, or anything."""
    digits = [0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2 ** (bits - 1) + 1, 2**bits - 1]
    same = [sum(digit << bits * i for i in range(252 // bits)) for digit in digits]
    return rows_of([number % 2**252 for number in same + edge_numbers()])


def combs_encoded() -> Iterator[Case]:
    for bits, windows, digits in ((3, 84, 2), (4, 63, 0), (5, 3, 3)):
        numbers, table, base = comb_numbers(bits), comb_table(bits, windows, 1), comb_table(bits, 3, 2)
        shifts = np.ascontiguousarray(np.roll(numbers, 1, axis=0))
        yield (numbers, table, shifts, digits, base, np.uint64(bits)), rows_out(len(numbers), 4)


def combs_added() -> Iterator[Case]:
    for bits, windows in ((3, 84), (4, 2)):
        numbers = comb_numbers(bits)
        rows = np.ascontiguousarray(np.resize(affine_rows(), (len(numbers), 12)))
        yield (rows, numbers, comb_table(bits, windows, 3), np.uint64(bits)), rows_out(len(numbers))


def unmaskings() -> Iterator[Case]:
    rows = affine_rows()
    for scalar in scalars():
        few = np.ascontiguousarray(rows[:: 5 if scalar else 1])
        yield (few, np.ascontiguousarray(np.roll(few, 1, axis=0)), group.digits_of(scalar)), rows_out(len(few))


def multiples() -> Iterator[Case]:
    rows = affine_rows()
    for scalar in scalars():
        few = np.ascontiguousarray(rows[:: 5 if scalar else 1])
        yield (few, group.digits_of(scalar)), rows_out(len(few))


def labellings() -> Iterator[Case]:
    rows = affine_rows()
    for step in (0, 1, 4, 17, len(rows) - 1):
        yield (rows, rows[step : step + 1]), rows_out(len(rows), 2)


def labels_of_a_table() -> Array:
    """Return labels that fall on one place, wrap around the end of a table of 32, or agree in their upper 40 bits."""
    edges = [0, 1, 31, 31 + 2**24, 31 + 2**63, 2**64 - 1, 2**64 - 2, 5 + 2**24, 5 + 2**25, 5, 37]
    return np.array(edges, dtype=np.uint64)


def entries() -> Iterator[Case]:
    for first in (0, 2**24 - 20):
        yield (labels_of_a_table(), np.uint64(first)), (np.zeros(32, dtype=np.uint64),)


def findings() -> Iterator[Case]:
    table = np.zeros(32, dtype=np.uint64)
    definition.enter(labels_of_a_table(), 0, table)
    asked = np.concatenate([labels_of_a_table(), np.arange(40, dtype=np.uint64) << np.uint64(23)])
    yield (asked, table), (np.zeros(len(asked), dtype=np.int64),)


RINGS = [Ring((35184371613697, 35184371417089)), Ring((70368744177643, 35184372088891)), Ring((13, 11))]


def ring_cases(make: Callable[[Ring, Array], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
    """Give a maker of cases each ring and residues: 0, 1, half and all of it, either prime, and random ones."""

    def cases() -> Iterator[Case]:
        rng = np.random.default_rng(2)
        for ring in RINGS:
            (p, q), m = ring.primes, ring.modulus
            numbers = [x % m for x in (0, 1, m - 1, m // 2, m // 2 + 1, p, q, p - 1, q - 1, 2**63, 2**64 - 1, 2**64)]
            numbers += [int(rng.integers(2**62)) * int(rng.integers(2**62)) % m for _ in range(21)]
            yield from make(ring, np.array([[x % prime for x in numbers] for prime in ring.primes], dtype=np.uint64))

    return cases


def scalings(ring: Ring, residues: Array) -> Iterator[Case]:
    for factor in (0, 1, -1, 2**90):
        factors = np.array([factor % prime for prime in ring.primes], dtype=np.uint64)
        yield (residues, factors, ring._constants), (np.empty_like(residues),)


def truncations(ring: Ring, residues: Array) -> Iterator[Case]:
    for shift in (0, 1, 20, 63):
        for leader in (True, False):
            yield (residues, np.uint64(shift), leader, ring._constants), (np.empty_like(residues),)


def phases(ring: Ring, residues: Array) -> Iterator[Case]:
    for modulus in (1, 3, 2**32, 2**53):
        for leader in (True, False):
            yield (residues, np.uint64(modulus), leader, ring._constants), (np.empty(residues.shape[1], np.uint64),)


def centred(ring: Ring, residues: Array) -> Iterator[Case]:
    yield (residues, ring._constants), (np.empty_like(residues), np.empty(residues.shape[1], np.bool_))


def foldings(ring: Ring, residues: Array) -> Iterator[Case]:
    edge = np.array([0, 1, *ring.primes, 2**63, 2**64 - 1], dtype=np.uint64)
    words = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(1, -1, 2).repeat(2, axis=0)
    yield (words, ring._constants), (np.empty(words.shape[:2], np.uint64),)


def matrix_products(ring: Ring, residues: Array) -> Iterator[Case]:
    for kind, bound in ((np.int16, 2**15), (np.int32, 2**16)):
        matrix = np.resize(np.array([-bound, bound - 1, 0, 1, -1], dtype=kind), (7, residues.shape[1]))
        yield (matrix, residues, ring._constants), ()


def maskings() -> Iterator[Case]:
    """Sizes and counters that fill no step, or more than the piece that keys pass over, with carries inside."""
    rng = np.random.default_rng(800)
    for count, begin in ((0, 0), (2, 0), (130, 5), (510, 2**64 - 33), (8500, 2**128 - 1), (4224, 7 * 2**64 - 1000)):
        counter = np.array([begin >> 64, begin % 2**64], dtype=np.uint64)
        words = rng.choice(np.array([0, 1, 2**32 - 1, 2**31, 12345], dtype=np.uint32), count)
        for wide in (False, True):
            for keys, negative in (([0, 255], [True, False]), ([7], [True])):
                lines = np.resize(rng.integers(0, 2**32, 8 * len(keys), dtype=np.uint32), (len(keys), 8))
                lines[0] = keys[0]
                yield (lines, np.array(negative), counter, wide), (words.copy(),)


def quantisings() -> Iterator[Case]:
    values = np.array(
        [0, -0.0, 0.5, 1.5, -0.5, -1.5, 0.49999999999999994, 2.0**40, -(2.0**60), np.inf, -np.inf, 1e-320]
    )
    for factor, limit in ((1.0, 2.0**53), (2.0**20, 2.0**30), (1.0, 1.5)):
        yield (np.tile(values, 3), factor, limit), (np.empty(3 * values.size, np.int64),)


def drawn_quantisings() -> Iterator[Case]:
    """Draws at both ends, and on either side of the fraction; negative numbers nearer to 0 than a fraction can tell."""
    values = [
        0,
        -0.0,
        0.5,
        1.5,
        -0.5,
        0.49999999999999994,
        2.0**40 + 0.25,
        -(2.0**60),
        np.inf,
        -np.inf,
        1e-320,
        -1e-320,
    ]
    values += [2.0**-53, -(2.0**-53), -0.75 * 2.0**-53, 1 - 2.0**-53, 0.1, -0.1, 2.0**52 - 0.5]
    draws = []
    for value in values:
        fraction = int(min((value % 1) if np.isfinite(value) else 0, 1) * 2**53)
        draws += [k % 2**53 << 11 | low for k in (fraction - 1, fraction, 0, 2**53 - 1) for low in (0, 2**11 - 1)]
    held = np.array(draws, dtype=np.uint64).view(np.int64)
    for factor, limit in ((1.0, 2.0**53), (2.0**20, 2.0**30), (1.0, 1.5)):
        yield (np.repeat(values, 8), factor, limit), (held.copy(),)


def packings() -> Iterator[Case]:
    words = np.resize(np.array([0, 2**64 - 1, 1, 2**63, 0x0123456789ABCDEF], dtype=np.uint64), 23)
    for bits in (1, 3, 8, 31, 32, 33, 63, 64):
        yield (words, np.uint64(bits)), (np.zeros(-(-23 * bits // 8), np.uint8),)


def unpackings() -> Iterator[Case]:
    for bits in (1, 3, 8, 31, 32, 33, 63, 64):
        packed = np.resize(np.array([255, 0, 129, 255, 255, 1], dtype=np.uint8), -(-23 * bits // 8))
        yield (packed, np.uint64(bits)), (np.empty(23, np.uint64),)


def histograms() -> Iterator[Case]:
    """Each extreme of 64 bits in the same bin, so that sums wrap; more rows than a piece; no rows."""
    rng = np.random.default_rng(3)
    for count in (0, 1, 4097):
        bins = rng.choice(np.array([0, 1, 65535], dtype=np.uint16), (2, count))
        nodes = rng.choice(np.array([-1, 0, 2], dtype=np.int32), count)
        pairs = rng.choice(np.array([0, 1, -1, 2**63 - 1, -(2**63)]), (count, 2))
        yield (bins, nodes, pairs, 0), (np.empty((3, 2, 65536, 2), np.int64),)
        yield (bins[:1], nodes, pairs, 2), (np.full((3, 4, 65536, 2), -7, np.int64),)


def segments() -> Iterator[Case]:
    values = np.resize(np.array([2**63 - 1, 1, -(2**63), -1, 0]), (9, 2))
    for offsets in ([0, 9], [2], [0, 0, 1, 5, 5, 9]):
        yield (values, np.array(offsets)), (np.empty((len(offsets) - 1, 2), np.int64),)


def transforms() -> Iterator[Case]:
    """Numbers at their bounds, random signs of them, and random numbers, in every size that has passes of its own."""
    rng = np.random.default_rng(50)
    for size in (64, 128, 256, 512, 1024, 8192):
        for prime in (1125899906826241, 35184371613697, 65537):
            edge = np.array([0, 1, prime - 1, prime // 2], dtype=np.uint64)
            rows = [
                np.full(size, prime - 1, np.uint64),
                rng.choice(edge, size),
                rng.integers(0, prime, size, np.uint64),
            ]
            yield (ntt.table(prime, size), np.uint64(prime)), (np.stack(rows),)


def sums_of_products() -> Iterator[Case]:
    """No products, one, and more than fit in an accumulator of 64 bits, all at their bounds."""
    rng = np.random.default_rng(51)
    for prime in (1125899906826241, 65537):
        for rows, width, count in ((0, 2, 2), (1, 3, 3), (5, 4, 2), (4097, 1, 1)):
            factors = rng.choice(np.array([0, 1, prime - 1, prime // 2], dtype=np.uint64), 7 + 256 * (rows * count + 1))
            values = rng.choice(np.array([prime - 1, prime - 1, 0], dtype=np.uint64), (rows, width, 256))
            factors[7::256], values[:, :, 0] = prime - 1, prime - 1
            factors[8::256], values[:, :, 1] = (2**26 - 1) % prime, (2**26 + 1) % prime  # lower halves of all ones
            places = np.array([7, 256 * rows, 256, 16] if rows % 2 else [7, 16 * rows, 16, 16 * rows * count])
            yield (factors, places, values, np.uint64(prime)), (rng.choice(factors[7::256], (count, width, 256)),)


LATTICES = [(1125899906826241, 1125899906629633, 1125899905744897), (65537, 114689)]
PLAIN_MODULI = (35184371613697, 35184371417089, 17, 3)


def scaled_plaintexts() -> Iterator[Case]:
    for primes in LATTICES:
        for t in PLAIN_MODULI:
            near = [0, 1, t - 1, t // 2, t // 2 + 1, 2, *np.random.default_rng(t).integers(0, t, 50)]
            values = np.array([x % t for x in near], dtype=np.uint64)
            yield (
                (values, np.uint64(t), np.array(primes, np.uint64)),
                (np.empty((len(primes), len(values)), np.uint64),),
            )


def divided_residues() -> Iterator[Case]:
    """Multiples of q/t and of q/2t, and their neighbours at a distance that 64 bits of a fraction can tell."""
    for primes in LATTICES:
        q = prod(primes)
        for t in PLAIN_MODULI:
            halves = [q * k // (2 * t) for k in (0, 1, 2, 3, t, t + 1, 2 * t - 1, 2 * t - 2)]
            far = (q >> 60) // t + 1
            numbers = [(x + d) % q for x in halves for d in (far, -far)] + [0, 1, q - 1]
            residues = np.array([[x % p for x in numbers] for p in primes], dtype=np.uint64)
            cofactors = np.array([pow(q // p, -1, p) for p in primes], dtype=np.uint64)
            yield (residues, np.uint64(t), np.array(primes, np.uint64), cofactors), (np.empty(len(numbers), np.uint64),)


def small_numbers() -> Iterator[Case]:
    for primes in LATTICES:
        values = np.array([0, 1, -1, 2, -2, 32767, -32767], dtype=np.int64)
        yield (values, np.array(primes, np.uint64)), (np.empty((len(primes), 7), np.uint64),)


def draws() -> Iterator[Case]:
    """The ends of each third of 64 bits, and bits that make noise most positive, most negative and nothing."""
    third = (2**64 - 1) // 3
    ends = [0, third, third + 1, 2 * third, 2 * third + 1, 2**64 - 1, 2**21 - 1, 2**42 - 2**21, 2**42, 1, 2**21]
    for primes in LATTICES:
        kept = np.array([[0] * 9 + [p - 1] * 2 for p in primes], dtype=np.uint64)
        yield (np.array(ends, np.uint64), np.array(primes, np.uint64)), (kept,)


def additions_of_residues() -> Iterator[Case]:
    for primes in LATTICES:
        ends = np.array([[0, 1, p // 2, p // 2 + 1, p - 1] for p in primes], dtype=np.uint64)
        yield (np.repeat(ends, 5, axis=1), np.array(primes, np.uint64)), (np.tile(ends, (1, 5)),)


MODULI = [Modulus(n) for n in (2**518 - 1, 2**517 + 1, 2**1039 + 2**500 - 1, int("5" * 600) | 1, 7)]
MODULI += [SquareModulus(n) for n in (2**500 - 1, 2**507 + 1, 2**1027 + 2**500 - 1, 7)]


def residue_cases(make: Callable[[Modulus, Array], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
    """Give a maker of cases each modulus and residues: its ends, and limbs empty, full or random."""

    def cases() -> Iterator[Case]:
        rng = np.random.default_rng(52)
        for modulus in MODULI:
            root = modulus._root
            edge = [x % root for x in (0, 1, -1, -2, root // 2, modulus.montgomery_r, 2**52 - 1)]
            for _ in range(12):
                limbs = [int(rng.choice([0, 1, 2**52 - 1, int(rng.integers(2**52))])) for _ in range(modulus.limbs)]
                edge.append(sum(limb << 52 * j for j, limb in enumerate(limbs)) % root)
            numbers = limbs_of(edge, modulus.limbs)
            pairs = [np.concatenate([numbers, np.roll(numbers, shift, axis=0)], axis=1) for shift in (0, 1, 5)]
            yield from make(modulus, numbers if modulus.words == modulus.limbs else np.concatenate(pairs))

    return cases


def residue_pairs(modulus: Modulus, residues: Array) -> Iterator[Case]:
    for other in (residues, residues[::-1].copy(), residues[2:3].copy()):
        yield (residues, other, modulus.kernel_words), (np.empty_like(residues),)
        yield (other, residues, modulus.kernel_words), (np.empty_like(residues),)


def residue_products(modulus: Modulus, residues: Array) -> Iterator[Case]:
    yield from residue_pairs(modulus, residues)
    limit = modulus.montgomery_r // 16 - 1  # beside a number below N anything up to here is an operand
    full = limbs_of([limit, limit, modulus._root, limit, 0, limit], modulus.limbs).reshape(-1, modulus.words)[:3].copy()
    yield (full, np.roll(residues, -2, axis=0)[: len(full)].copy(), modulus.kernel_words), (np.empty_like(full),)


def residue_squares(modulus: Modulus, residues: Array) -> Iterator[Case]:
    for count in (0, 1, 2, 5):
        yield (residues, count, modulus.kernel_words), (np.empty_like(residues),)


def residue_powers(modulus: Modulus, residues: Array) -> Iterator[Case]:
    digits = np.random.default_rng(4).integers(0, 16, (len(residues), 3), dtype=np.uint8)
    digits[:3] = np.array([[0], [15], [1]], dtype=np.uint8)
    for exponents in (digits, digits[4:5].copy(), digits[:, :1].copy()):
        yield (residues, exponents, 4, modulus.one, modulus.kernel_words), (np.empty_like(residues),)


def fixed_residue_powers(modulus: Modulus, residues: Array) -> Iterator[Case]:
    table = np.resize(residues, (4, 32, modulus.words))
    digits = np.random.default_rng(5).integers(0, 32, (21, 4), dtype=np.uint8)
    digits[:2] = np.array([[0], [31]], dtype=np.uint8)
    yield (digits, table, modulus.kernel_words), (np.empty((21, modulus.words), np.uint64),)


def listed_residue_products(modulus: Modulus, residues: Array) -> Iterator[Case]:
    lists = np.array([0, 0, 1, 1, 3, 6, 14, 15, 16, 16, 30], dtype=np.int64)
    members = np.random.default_rng(6).integers(1, len(residues), lists[-1])
    out = np.empty((len(lists) - 1, modulus.words), np.uint64)
    yield (residues, lists[:-1].copy(), lists[1:].copy(), members, modulus.one, modulus.kernel_words), (out,)


def residue_pairs_joined(modulus: Modulus, residues: Array) -> Iterator[Case]:
    if isinstance(modulus, SquareModulus):
        yield (residues, modulus.kernel_words), (np.empty_like(residues),)


EDGES: dict[str, Callable[[], Iterator[Case]]] = {
    "ring.scale": ring_cases(scalings),
    "ring.truncate": ring_cases(truncations),
    "ring.phase": ring_cases(phases),
    "ring.integers": ring_cases(centred),
    "ring.fold": ring_cases(foldings),
    "ring.product": ring_cases(matrix_products),
    "masks.add": maskings,
    "masks.quantise": quantisings,
    "masks.quantise_by_draw": drawn_quantisings,
    "masks.pack": packings,
    "masks.unpack": unpackings,
    "sums.histogram": histograms,
    "sums.segments": segments,
    "ntt.forward": transforms,
    "ntt.inverse": transforms,
    "ntt.add_products": sums_of_products,
    "bfv.scale": scaled_plaintexts,
    "bfv.divide": divided_residues,
    "bfv.lift": small_numbers,
    "bfv.ternary": draws,
    "bfv.add": additions_of_residues,
    "bfv.add_noise": draws,
    "group.expand": expansions,
    "group.map": maps,
    "group.map_multiply": map_products,
    "group.multiply": products,
    "group.multiply_each": own_products,
    "group.multiply_base": base_products,
    "group.check": checks,
    "group.add": additions,
    "group.sums": sums,
    "points.decode": decodings,
    "points.encode": encodings,
    "points.sums": listed_sums,
    "points.comb_encode": combs_encoded,
    "points.comb_add": combs_added,
    "points.unmask": unmaskings,
    "points.times": multiples,
    "points.labels": labellings,
    "points.enter": entries,
    "points.find": findings,
    "montgomery.multiply": residue_cases(residue_products),
    "montgomery.squares": residue_cases(residue_squares),
    "montgomery.add": residue_cases(residue_pairs),
    "montgomery.powers": residue_cases(residue_powers),
    "montgomery.fixed_powers": residue_cases(fixed_residue_powers),
    "montgomery.products": residue_cases(listed_residue_products),
    "montgomery.join": residue_cases(residue_pairs_joined),
}


def results(name: str, tier: str) -> list[tuple[Array, ...]]:
    """Return what a kernel fills, and what it returns if anything, case by case."""
    run = tiers._load(name, tier)
    found = []
    for inputs, filled in EDGES[name]():
        returned = run(*inputs, *filled)
        found.append(filled if returned is None else (*filled, returned))
    return found


@cache
def defined(name: str) -> list[tuple[Array, ...]]:
    return results(name, "reference")


def test_every_kernel_has_edges_and_a_definition() -> None:
    assert EDGES.keys() == KERNELS.keys()
    assert all(versions[0] == "reference" and len(versions) > 1 for versions in KERNELS.values())


@pytest.mark.parametrize(("name", "tier"), FAST)
def test_a_fast_kernel_agrees_with_its_definition(name: str, tier: str) -> None:
    expected = defined(name)
    assert expected
    for case, (found, wanted) in enumerate(zip(results(name, tier), expected, strict=True)):
        for mine, defined_ in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(mine, defined_, err_msg=f"{name} in {tier}, case {case}")


def test_the_edges_reach_both_sides_of_every_decision() -> None:
    """Both valid and invalid encodings, with zero and other results, and exceptional values of the one-way map."""
    valid = defined("group.check")[0][0]
    assert valid.any()
    assert not valid.all()
    for name in ("group.multiply", "group.multiply_each", "group.add", "group.sums"):
        good = np.concatenate([flags for _, flags in defined(name)])
        assert good.any()
        assert not good.all()
    assert any((row == 0).all() for (mapped,) in defined("group.map") for row in mapped)
