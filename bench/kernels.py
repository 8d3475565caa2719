"""Kernels by tier: batches of group elements, products of shared vectors, masks.

The peers compute one element at a time and on one core; CPU time is compared. X25519 works on the same curve with
the x-coordinate alone, and neither hashes to the group nor adds; libsodium's ristretto255 is the same group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench.clock import cpu_seconds
from bench.contest import Contest
from bench.peers import Peer
from engine.he.contexts import PRIMES
from engine.kernels import group, masks, tiers
from engine.kernels.ring import Ring
from engine.randomness import random_bytes

DST = b"SYNERGOS-BENCH"
ELEMENTS = {"reference": 16, "portable": 2_048, "simd": 16_384}
REPEAT = 20  # of products, which take milliseconds
MATRIX = {"reference": (64, 10), "portable": (20_000, 30)}
VALUES = {"reference": 10_000, "portable": 1_000_000, "simd": 1_000_000}
PEERS = (
    Peer("libsodium (rbcl 1.1.2) ristretto255", "sodium", "sodium_ristretto", ("multiply", "hash_and_multiply")),
    Peer("cryptography 50.0.2 X25519", "crypto", "x25519", ("multiply",)),
)


def contests(quick: bool) -> list[Contest]:
    """Return one contest for each kernel and tier that this CPU has; the sizes are the same, quick or not."""
    present = [tier for tier in tiers.TIERS if tier != "simd" or tiers.has_simd()]
    return (
        [elements(tier, ELEMENTS[tier]) for tier in present]
        + [products(tier, *MATRIX[tier]) for tier in MATRIX]
        + [masking(tier, VALUES[tier]) for tier in present]
    )


def elements(tier: str, count: int) -> Contest:
    """Return the contest of the group's kernels at `count` elements."""
    messages, scalar = random_bytes(16 * count).reshape(-1, 16), group.random_scalar()

    def measure() -> dict[str, float]:
        with forced(tier):
            points = group.hash_and_multiply(messages, DST, scalar)
            group.multiply(points[:16], scalar)  # whatever is compiled or loaded at first use
            work = {
                "multiply": lambda: group.multiply(points, scalar),
                "hash_and_multiply": lambda: group.hash_and_multiply(messages, DST, scalar),
            }
            return {key: cpu_seconds(run) / count * 1e6 for key, run in work.items()}

    cases = {key: (f"{key} {tier}", "us CPU/element") for key in ("multiply", "hash_and_multiply")}
    return Contest(suite="kernels", size=f"{count:,}", cases=cases, ours=measure, peers=PEERS)


def products(tier: str, rows: int, columns: int) -> Contest:
    """Return the contest of a plain matrix times shared weights; plain: NumPy on float64."""
    numbers, ring = np.random.default_rng(1), Ring(PRIMES)
    matrix = numbers.integers(-(1 << 15), 1 << 15, (rows, columns), dtype=np.int16)
    shares, done = ring.random(columns), REPEAT * matrix.size
    real, weights = matrix.astype(np.float64), numbers.standard_normal(columns)

    def measure() -> dict[str, float]:
        with forced(tier):
            ring.matmul(matrix[:1], shares)
            return {"matmul": cpu_seconds(lambda: [ring.matmul(matrix, shares) for _ in range(REPEAT)]) / done * 1e6}

    return Contest(
        suite="kernels",
        size=f"{rows:,} x {columns}",
        cases={"matmul": (f"ring matmul {tier}", "us CPU/entry")},
        ours=measure,
        plain=lambda: {"matmul": cpu_seconds(lambda: [real @ weights for _ in range(REPEAT)]) / done * 1e6},
    )


def masking(tier: str, count: int) -> Contest:
    """Return the contest of one mask, expanded and added to as many uint32 in place; plain: NumPy's addition."""
    values, other = np.zeros(count, dtype=np.uint32), np.ones(count, dtype=np.uint32)
    key, sign = random_bytes(32).reshape(1, 32), np.array([1])
    ways = (("cryptography 50.0.2 AES-256-CTR", "openssl"), ("numpy 2.4.6 MT19937 as Flower 1.41 masks", "mersenne"))

    def measure() -> dict[str, float]:
        with forced(tier):
            masks.add_masks(values[:1], key, sign, 0)
            work = [lambda: masks.add_masks(values, key, sign, 0, out=values)] * (1 if tier == "reference" else REPEAT)
            return {"masks": cpu_seconds(lambda: [run() for run in work]) / len(work) / count * 1e9}

    return Contest(
        suite="kernels",
        size=f"{count:,}",
        cases={"masks": (f"mask and add uint32 {tier}", "ns CPU/value")},
        ours=measure,
        peers=tuple(Peer(name, "crypto", "masks", ("masks",), (way, str(count))) for name, way in ways),
        plain=lambda: {
            "masks": cpu_seconds(lambda: [np.add(values, other, out=values) for _ in range(REPEAT)])
            / REPEAT
            / count
            * 1e9
        },
    )


@contextmanager
def forced(tier: str) -> Iterator[None]:
    """Run kernels in this tier while the block lasts."""
    before = os.environ.get("ENGINE_KERNELS")
    os.environ["ENGINE_KERNELS"] = tier
    try:
        yield
    finally:
        if before is None:
            del os.environ["ENGINE_KERNELS"]
        else:
            os.environ["ENGINE_KERNELS"] = before
