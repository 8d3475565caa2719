"""Ciphertexts that add up, one value or one pair of values each: part of the suite `he`.

Keys and tables are there beforehand. `times` multiplies by whole numbers of 53 bits, half of them negative. ElGamal
encrypts pairs under one randomness, encoding apart; its figures are for each pair, for each point of a sum (three a
pair), for each value decrypted, of sums below 2^25.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from bench.clock import cpu_seconds, timed
from bench.contest import Contest
from bench.peers import Peer
from engine.he.elgamal import Elgamal
from engine.he.paillier import Paillier

PAILLIER_VALUES, PAIRS, SUMS = 2000, 350_000, 4096
STEPS = ("encrypt", "add", "times", "decrypt")


def contests() -> list[Contest]:
    """Return the contests of Paillier at two sizes of keys, and of ElGamal."""
    return [paillier(2048, PAILLIER_VALUES), paillier(3072, PAILLIER_VALUES), elgamal(PAIRS, SUMS)]


def paillier(bits: int, values: int) -> Contest:
    """Return the contest for this many values under a key of this size."""
    arguments = (str(bits),)
    return Contest(
        suite="he",
        size=f"{values:,}",
        cases={step: (f"paillier-{bits} {step}", "us CPU/value") for step in STEPS},
        ours=_paillier(bits, values),
        peers=(
            Peer(f"phe 1.5.0 Paillier-{bits}", "crypto", "phe_values", STEPS, arguments),
            Peer(f"sf-heu 0.5.2b0 ZPaillier-{bits}", "heu", "heu_values", STEPS, ("ZPaillier", *arguments)),
            Peer(f"fate_utils 0.1.0 Paillier-{bits}", "fate", "fate_values", STEPS, arguments),
        ),
    )


def _paillier(bits: int, values: int) -> Callable[[], dict[str, float]]:
    numbers = np.random.default_rng(1)
    plain = numbers.integers(-(1 << 52), 1 << 52, values)
    scalars = numbers.integers(1 << 52, 1 << 53, values) * numbers.choice([-1, 1], values)
    key = Paillier(bits).key()
    public = key.public

    def measure() -> dict[str, float]:
        encrypting, encrypted = timed(lambda: public.encrypt(plain))
        adding, added = timed(lambda: public.add(encrypted, encrypted))
        multiplying = cpu_seconds(lambda: public.times(encrypted, scalars))
        decrypting, decrypted = timed(lambda: key.decrypt(added))
        assert (decrypted == 2 * plain).all()
        seconds = zip(STEPS, (encrypting, adding, multiplying, decrypting), strict=True)
        return {step: spent / values * 1e6 for step, spent in seconds}

    measure()  # makes the tables of the keys
    return measure


def elgamal(pairs: int, sums: int, bits: int = 25) -> Contest:
    """Return the contest for this many pairs, added up in lists, and this many sums of so many bits decrypted."""
    steps = ("encrypt", "sum", "decrypt")
    units = ("us CPU/pair", "us CPU/point", "us CPU/value")
    return Contest(
        suite="he",
        size=f"{pairs:,} pairs",
        cases={step: (f"elgamal {step}", unit) for step, unit in zip(steps, units, strict=True)},
        ours=_elgamal(pairs, sums, bits),
        peers=(Peer("sf-heu 0.5.2b0 ElGamal-256", "heu", "heu_values", steps, ("ElGamal", "256")),),
    )


def _elgamal(pairs: int, sums: int, bits: int) -> Callable[[], dict[str, float]]:
    numbers = np.random.default_rng(1)
    small = numbers.integers(-127, 128, (pairs, 2))
    large = numbers.integers(-(1 << bits - 1), 1 << bits - 1, (sums, 2))
    members, offsets = numbers.permutation(pairs), np.linspace(0, pairs, 33).astype(np.int64)
    key = Elgamal(values=2, bits=8, sum_bits=bits).key()
    wide = Elgamal(values=2, bits=bits, sum_bits=bits).key()
    wide_sums = wide.public.encrypt(large)

    def measure() -> dict[str, float]:
        encrypting, encrypted = timed(lambda: key.public.encrypt(small))
        received = key.public.from_bytes(key.public.to_bytes(encrypted))
        adding, added = timed(lambda: key.public.sum_by_list(received, offsets, members))
        parts = [small[members[a:b]].sum(axis=0) for a, b in pairwise(offsets)]
        assert (key.decrypt(added) == parts).all()
        decrypting, decrypted = timed(lambda: wide.decrypt(wide_sums))
        assert (decrypted == large).all()
        return {
            "encrypt": encrypting / pairs * 1e6,
            "sum": adding / (3 * pairs) * 1e6,
            "decrypt": decrypting / (2 * sums) * 1e6,
        }

    measure()  # makes the tables of the keys
    return measure
