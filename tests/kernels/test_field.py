"""The field under the group, at the very bounds that its docstrings claim, and points with torsion.

What is tested here never leaves a kernel, so the tests bring kernels of their own that take bare limbs.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numba.core import types
from numpy.typing import NDArray

from engine.kernels import field as f
from engine.kernels import jit, ristretto, tiers
from engine.kernels.constants import ORDER, SQRT_M1, P
from engine.kernels.edwards import get_element, put_element
from engine.kernels.portable import field as _portable  # noqa: F401  brings the overloads
from engine.kernels.reference import group as reference
from engine.kernels.simd import field as _simd  # noqa: F401  brings the overloads
from engine.kernels.simd.vector import broadcast

Words = NDArray[np.uint64]

RADIX = {"portable": 51, "simd": 52}
LANES = {"portable": 1, "simd": 8}
SIMD = pytest.param("simd", marks=pytest.mark.skipif(not tiers.has_simd(), reason="no AVX-512 IFMA"))
each_fast_tier = pytest.mark.parametrize("fast", ["portable", SIMD])

# The largest limbs, one by one, that an operand, a wide element, a sum of four and a difference may have.
OPERAND = {"portable": [2**54 - 1] * 5, "simd": [2**64 - 1] * 4 + [2**47 + 2**10 - 1]}
WIDE = {"portable": [2**51 + 2**18 - 1] * 5, "simd": [2**56 - 1] * 5}
SUM = {tier: [4 * limb for limb in limbs] for tier, limbs in WIDE.items()}
DIFFERENCE = {"portable": [2**54 - 1] * 5, "simd": [2**60 - 1] * 5}
WIDEST = {"portable": [2**54 - 1] * 5, "simd": [2**62 - 1] * 5}  # what `carry` and `pack` take


def value(limbs: list[int], tier: str, operand: bool = False) -> int:
    """Return the number that limbs spell; an operand of the simd tier counts its low 52 bits only."""
    kept = [limb & 2**52 - 1 for limb in limbs] if operand and tier == "simd" else limbs
    return sum(limb << RADIX[tier] * i for i, limb in enumerate(kept)) % P


def weighted(highest: list[int], tier: str) -> list[list[int]]:
    """Return elements: 0, 1, p - 1, p, p + 1, 2**255 - 1, each limb alone or all at the bound, and mixtures."""
    radix, rng = RADIX[tier], np.random.default_rng(len(tier) + highest[0] % 97)
    near = [0, 1, 2, 19, P - 1, P, P + 1, 2**255 - 20, 2**255 - 1, SQRT_M1]
    elements = [[number >> radix * i & 2**radix - 1 for i in range(5)] for number in near]
    elements += [[top if i == j else 0 for i, top in enumerate(highest)] for j in range(5)] + [highest]
    for _ in range(40):
        edges = [
            [0, 1, top, top - 1, top // 2, 2**radix - 1, int(rng.integers(0, top, dtype=np.uint64))] for top in highest
        ]
        elements.append([min(edge[rng.integers(0, len(edge))], top) for edge, top in zip(edges, highest, strict=True)])
    return elements


def lanes_of(rows: list[list[int]], tier: str) -> Words:
    """Lay out rows of words as kernels read them, shape (steps, words, lanes); zeros fill the last step."""
    lanes = LANES[tier]
    padded = rows + [[0] * len(rows[0])] * (-len(rows) % lanes)
    return np.array(padded, dtype=np.uint64).reshape(-1, lanes, len(rows[0])).transpose(0, 2, 1).copy()


def rows_of(words: Words, count: int) -> list[list[int]]:
    return words.transpose(0, 2, 1).reshape(-1, words.shape[1])[:count].tolist()  # type: ignore[no-any-return]


@jit.helper
def arithmetic(source, target, like):  # type: ignore[no-untyped-def]
    """From operands a, b, a difference c and a sum d: a * b, a * a and c - d, limbs kept bare."""
    a, b = get_element(source, 0, like), get_element(source, 5, like)
    c, d = get_element(source, 10, like), get_element(source, 15, like)
    put_element(target, 0, f.product(a, b))
    put_element(target, 5, f.square(a))
    put_element(target, 10, f.minus(c, d))


@jit.helper
def forms(source, target, like):  # type: ignore[no-untyped-def]
    """From the widest element a and a wide one b: carried, packed, negated, absolute, and b's inverse."""
    a, b = get_element(source, 0, like), get_element(source, 5, like)
    put_element(target, 0, f.carry(a))
    put_element(target, 5, f.negated(b))
    put_element(target, 10, f.absolute(b))
    put_element(target, 15, f.inverse(f.carry(b)))
    for i, word in enumerate(f.pack(a)):
        f.put(target, 20 + i, word)
    f.put(target, 24, f.odd_mask(a))
    f.put(target, 25, f.equal_mask(b, b))
    f.put(target, 26, f.zero_mask(f.pack(b)))


@jit.helper
def encodings(source, target, like):  # type: ignore[no-untyped-def]
    """From the words of x, y, z, t: the encoding of the point, and that of its double without a square root."""
    x, y = get_element(source, 0, like), get_element(source, 5, like)
    z, t = get_element(source, 10, like), get_element(source, 15, like)
    for i, word in enumerate(ristretto.encode((x, y, z, t), like)):
        f.put(target, i, word)
    states = jit.scratch(ristretto.STATE * 8)
    running = ristretto.put_state(states, 0, (x, y, z, t), f.element(f.ONE, like), like)
    words, before = ristretto.encode_state(states, 0, f.inverse(running), like)
    for i, word in enumerate(words):
        f.put(target, 4 + i, word)
    for i, word in enumerate(f.pack(f.product(before, f.element(f.ONE, like)))):
        f.put(target, 8 + i, word)


@jit.helper
def each_step(choice, source, target, like):  # type: ignore[no-untyped-def]
    for i in range(source.shape[0]):
        if choice == 0:
            arithmetic(source[i], target[i], like)
        elif choice == 1:
            forms(source[i], target[i], like)
        else:
            encodings(source[i], target[i], like)


@jit.kernel(types.int64, jit.reads(types.uint64, 2), jit.writes(types.uint64, 2))
def portable(choice, source, target):  # type: ignore[no-untyped-def]
    each_step(choice, source, target, np.uint64(0))


@jit.kernel(types.int64, jit.reads(types.uint64, 2), jit.writes(types.uint64, 2))
def simd(choice, source, target):  # type: ignore[no-untyped-def]
    each_step(choice, source, target, broadcast(np.uint64(0)))


def run(tier: str, choice: int, rows: list[list[int]], words: int) -> list[list[int]]:
    """Run arithmetic, forms or encodings (0, 1, 2) in a tier on rows of words; returns rows of `words` words."""
    kernel = {"portable": portable, "simd": simd}[tier]
    jit.compile_ahead(kernel)
    source = lanes_of(rows, tier)
    target = np.zeros((len(source), words, LANES[tier]), dtype=np.uint64)
    kernel(choice, source.reshape(len(source), -1), target.reshape(len(source), -1))
    return rows_of(target, len(rows))


@each_fast_tier
def test_products_and_differences_at_the_bounds(fast: str) -> None:
    operands, sums = weighted(OPERAND[fast], fast), weighted(SUM[fast], fast)
    differences = weighted(DIFFERENCE[fast], fast) if fast == "portable" else sums
    rows = [
        operands[i] + operands[(i * step + step) % len(operands)] + differences[i] + sums[(i * step + 1) % len(sums)]
        for step in (1, 3, 7, 12)
        for i in range(len(operands))
    ]
    for row, out in zip(rows, run(fast, 0, rows, 15), strict=True):
        a, b = value(row[:5], fast, True), value(row[5:10], fast, True)
        assert value(out[:5], fast) == a * b % P
        assert value(out[5:10], fast) == a * a % P
        assert value(out[10:], fast) == (value(row[10:15], fast) - value(row[15:], fast)) % P
        assert all(limb <= top for limb, top in zip(out[:10], WIDE[fast] * 2, strict=True))
        assert all(limb <= top for limb, top in zip(out[10:], DIFFERENCE[fast], strict=True))


@each_fast_tier
def test_forms_at_the_bounds(fast: str) -> None:
    rows = [a + b for a, b in zip(weighted(WIDEST[fast], fast), weighted(WIDE[fast], fast), strict=True)]
    for row, out in zip(rows, run(fast, 1, rows, 27), strict=True):
        a, b = value(row[:5], fast), value(row[5:], fast)
        assert value(out[:5], fast, True) == a
        assert value(out[5:10], fast) == -b % P
        assert value(out[10:15], fast) == reference.absolute(b)
        assert value(out[15:20], fast, True) == pow(b, P - 2, P)
        assert sum(word << 64 * i for i, word in enumerate(out[20:24])) == a
        assert out[24:] == [2**64 - 1 if true else 0 for true in (a % 2 == 1, True, b == 0)]
        assert all(limb <= top for limb, top in zip(out[:5], OPERAND[fast], strict=True))
        assert all(limb <= 2 * top for limb, top in zip(out[5:15], WIDE[fast] * 2, strict=True))


def torsion() -> list[reference.Point]:
    """Return the eight points of order 1, 2, 4 and 8, as multiples of one of order 8."""
    for y in range(2, 100):
        square, x = reference.sqrt_ratio(y * y - 1, reference.D * y * y + 1)
        point = multiple(ORDER, (x, y, 1, x * y % P))
        half = multiple(4, point)
        if square and (half[1] + half[2]) % P == 0:  # (0, -1), the point of order 2
            return [multiple(i, point) for i in range(8)]
    raise AssertionError("no point of order 8 among small y")


def multiple(scalar: int, point: reference.Point) -> reference.Point:
    """Multiply without reducing the scalar, for a point of any order."""
    total = reference.IDENTITY
    for bit in bin(scalar)[2:]:
        total = reference.plus(total, total)
        if bit == "1":
            total = reference.plus(total, point)
    return total


def test_the_torsion_points_are_eight() -> None:
    points = torsion()
    affine = {(x * pow(z, -1, P) % P, y * pow(z, -1, P) % P) for x, y, z, _ in points}
    assert len(affine) == 8
    assert {(0, 1), (0, P - 1), (SQRT_M1, 0), (P - SQRT_M1, 0)} < affine


@each_fast_tier
def test_torsion_and_scaling_do_not_show_in_an_encoding(fast: str) -> None:
    eighth = torsion()
    bases = [reference.times(k, reference.generator()) for k in (0, 1, 2, 12345)]
    points = [reference.plus(base, t) for base in bases for t in eighth[::2]]
    points += [(x * k % P, y * k % P, z * k % P, t * k % P) for x, y, z, t in points for k in (P - 1, SQRT_M1)]
    radix = RADIX[fast]
    rows = [[number >> radix * i & 2**radix - 1 for number in point for i in range(5)] for point in points]
    for point, out in zip(points, run(fast, 2, rows, 12), strict=True):
        own, double = (sum(w << 64 * i for i, w in enumerate(out[k : k + 4])) for k in (0, 4))
        assert own == reference.encode(point)
        assert double == reference.encode(reference.plus(point, point))
        assert sum(w << 64 * i for i, w in enumerate(out[8:])) == 1  # the running product that was there before
    encoded = [reference.encode(point) for point in points[: 4 * len(bases)]]
    assert all(a == b for k in range(0, len(encoded), 4) for a, b in pairwise(encoded[k : k + 4]))
