# mypy: allow-untyped-defs, no-check-untyped-defs
"""What this machine could do at best: the time in which it issues the IFMA products that a computation cannot avoid.

Nothing else is counted, no carries, loads or additions; so nothing of this kind, ours included, can be faster here. One
product of 52 bits by 52 in eight lanes is one instruction; CPUs issue one or two of them a cycle.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from bench.clock import cpu_seconds

LANES = 8
CHAINS, STEPS = 12, 1_000_000
# Modulo 2**255 - 19 in five limbs: each product of limbs has two halves, 25 of them or 15 for a square; 9 fold.
PRODUCT, SQUARE = 2 * 25 + 9, 2 * 15 + 9
DOUBLINGS, DIGITS, ROOT = 4 * 62, 63, 254
WALK = DOUBLINGS * (3 * SQUARE + 4 * PRODUCT) + DIGITS * 8 * PRODUCT  # a scalar multiplication, radix 16
DECODE = ROOT * SQUARE + 20 * PRODUCT  # a square root


@cache
def _issue():
    from numba import njit, types
    from numba.extending import intrinsic

    from engine.kernels.simd.vector import constant, fused, splat, store, u64x8

    kinds = types.UniTuple(u64x8, CHAINS)

    @intrinsic
    def spread(typing, word):
        def generate(context, builder, signature, arguments):
            return context.make_tuple(builder, kinds, [splat(builder, arguments[0])] * CHAINS)

        return kinds(types.uint64), generate

    @intrinsic
    def step(typing, chains):
        def generate(context, builder, signature, arguments):
            totals = [builder.extract_value(arguments[0], i) for i in range(CHAINS)]
            return context.make_tuple(
                builder, kinds, [fused(builder, "l", total, total, constant(3)) for total in totals]
            )

        return kinds(kinds), generate

    @njit(types.void(types.uint64[::1]))
    def issue(out):
        chains = spread(out[0])
        for _ in range(STEPS):
            chains = step(chains)
        for i in range(CHAINS):
            store(out, 8 * i, chains[i])

    return issue


def issue_seconds() -> float:
    """Measure the time in which one core issues one IFMA instruction, when none waits for another."""
    run, out = _issue(), np.ones(8 * CHAINS, dtype=np.uint64)
    return cpu_seconds(lambda: run(out)) / (CHAINS * STEPS)


def group_us(*, hashed: bool) -> float:
    """Return microseconds for an element decoded (one root), or hashed (two), and multiplied."""
    return issue_seconds() * (WALK + (2 if hashed else 1) * DECODE) / LANES * 1e6


def modular_us(limbs: int, *, square: bool) -> float:
    """Return microseconds for a product modulo n squared, in pairs modulo n of so many limbs (`kernels.residues`).

    Three products and two reductions, each of limbs**2 products of limbs with two halves. In a square one of the three
    is a square, which takes half, and two are the same.
    """
    halves = (7 if square else 10) * limbs * limbs
    return issue_seconds() * halves / LANES * 1e6
