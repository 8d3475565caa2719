"""Kernels by tier: batches of group elements, products modulo n squared, products of shared vectors, masks.

The peers compute one element at a time and on one core; CPU time is compared. X25519 works on the same curve with
the x-coordinate alone, and neither hashes to the group nor adds; libsodium's ristretto255 is the same group. FATE's
Curve25519 takes batches. `limit`: the IFMA products alone (`limits.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench import limits, scaling
from bench.clock import cpu_seconds
from bench.contest import Contest
from bench.peers import Peer
from engine.he.contexts import PRIMES
from engine.kernels import group, masks, tiers
from engine.kernels.montgomery import SquareModulus
from engine.kernels.ring import Ring
from engine.randomness import random_bytes

DST = b"SYNERGOS-BENCH"
ELEMENTS = {"reference": 16, "portable": 2_048, "simd": 16_384}
REPEAT = 20  # of products, which take milliseconds
KEYS = (2048, 3072)
MATRIX = {"reference": (64, 10), "portable": (20_000, 30)}
RESIDUES = {"reference": 20, "portable": 2000, "simd": 20_000}
VALUES = {"reference": 10_000, "portable": 1_000_000, "simd": 1_000_000}
PEERS = (
    Peer("libsodium (rbcl 1.1.2) ristretto255", "sodium", "sodium_ristretto", ("multiply", "hash_and_multiply")),
    Peer("cryptography 50.0.2 X25519", "crypto", "x25519", ("multiply",)),
    Peer("fate_utils 0.1.0 Curve25519", "fate", "fate_curve", ("multiply", "hash_and_multiply")),
)


def contests(quick: bool) -> list[Contest]:
    """Return one contest for each kernel and tier that this CPU has; the sizes are the same, quick or not."""
    present = [tier for tier in tiers.TIERS if tier != "simd" or tiers.has_simd()]
    return (
        [elements(tier, ELEMENTS[tier]) for tier in present]
        + [residues(tier, bits, RESIDUES[tier]) for tier in present for bits in KEYS]
        + [products(tier, *MATRIX[tier]) for tier in MATRIX]
        + [masking(tier, VALUES[tier]) for tier in present]
        + scaling.contests()
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
    return Contest(
        suite="kernels",
        size=f"{count:,}",
        cases=cases,
        ours=measure,
        peers=PEERS,
        limit=lambda: {key: limits.group_us(hashed=key != "multiply") for key in cases} if tier == "simd" else {},
    )


def residues(tier: str, bits: int, count: int) -> Contest:
    """Return the contest of products modulo n squared, n of so many bits, as Paillier's arithmetic needs them."""
    modulus = SquareModulus(int.from_bytes(random_bytes(bits // 8).tobytes(), "little") | 1 << bits - 1 | 1)

    def measure() -> dict[str, float]:
        with forced(tier):
            rows = modulus.enter(random_bytes(count * (modulus.width - 1)).reshape(count, -1))
            others = np.ascontiguousarray(rows[::-1])
            work = {"multiply": lambda: modulus.multiply(rows, others), "square": lambda: modulus.square(rows)}
            return {key: cpu_seconds(run) / count * 1e6 for key, run in work.items()}

    cases = {key: (f"{key} mod n^2, n of {bits} bits, {tier}", "us CPU/value") for key in ("multiply", "square")}
    peer = Peer("gmpy2 2.3.2", "crypto", "gmpy2_modular", tuple(cases), (str(2 * bits),))
    found = {key: limits.modular_us(modulus.limbs, square=key == "square") for key in cases} if tier == "simd" else {}
    return Contest(
        suite="kernels",
        size=f"{count:,}",
        cases=cases,
        ours=measure,
        peers=(peer,),
        limit=lambda: found,
    )


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
            times = 1 if tier == "reference" else REPEAT
            seconds = cpu_seconds(lambda: [masks.add_masks(values, key, sign, 0, out=values) for _ in range(times)])
            return {"masks": seconds / times / count * 1e9}

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
