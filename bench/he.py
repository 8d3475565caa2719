"""Encrypted linear algebra: one party's plain matrix times the other's encrypted vector.

`dot` is the work of the matrix' owner, for each entry of the matrix; `round trip` is that and the key holder's, which
encrypts the vector and decrypts the product. `encrypt` and `decrypt` are for each value of a long vector. Entries are
whole numbers of at most 15 bits and a sign; Plain: NumPy on float64. Schemes that only add up are in `additive.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench import additive
from bench.clock import cpu_seconds, timed
from bench.contest import Contest
from bench.peers import Peer
from engine import he
from engine.he.scheme import SLOTS
from engine.kernels.ring import Ring

QUICK = ((4096, 24), (32_768, 100))
FULL = (*QUICK, (200_000, 100))
PRODUCT = {
    "dot": ("rlwe dot", "us CPU/entry"),
    "round_trip": ("rlwe round trip", "us CPU/entry"),
    "bytes": ("rlwe round trip bytes", "bytes/entry"),
}
VALUES = {"encrypt": ("rlwe encrypt", "us CPU/value"), "decrypt": ("rlwe decrypt", "us CPU/value")}
REPEAT = 50  # of the plain product, which takes microseconds


def contests(quick: bool) -> list[Contest]:
    """Return one contest for each shape; what does not depend on the shape is told with the first."""
    first, *others = QUICK if quick else FULL
    by_peers = [contest(*first, {**PRODUCT, **VALUES}), *(contest(*shape, PRODUCT) for shape in others)]
    return [*by_peers, *(by_seal(*shape) for shape in (first, *others)), *additive.contests()]


def contest(rows: int, columns: int, cases: Mapping[str, tuple[str, str]]) -> Contest:
    """Return the contest for a matrix of this shape."""
    return Contest(
        suite="he",
        size=f"{rows:,} x {columns}",
        cases=cases,
        ours=rlwe(rows, columns),
        peers=_peers(rows, columns),
        plain=_plain(rows, columns),
    )


@dataclass(frozen=True)
class Here:
    """A competitor in this process."""

    name: str
    figures: tuple[str, ...]
    ask: Callable[[], dict[str, float]]


def by_seal(rows: int, columns: int) -> Contest:
    """Return the contest of rlwe-native, our kernels, with rlwe, the same by SEAL."""
    shown = {**PRODUCT, **VALUES}
    return Contest(
        suite="he",
        size=f"{rows:,} x {columns}",
        cases={key: (name.replace("rlwe", "rlwe-native"), unit) for key, (name, unit) in shown.items()},
        ours=rlwe(rows, columns, "rlwe-native"),
        peers=(Here("rlwe (SEAL of tenseal 0.3.18)", tuple(shown), rlwe(rows, columns)),),
        plain=_plain(rows, columns),
    )


def _peers(rows: int, columns: int) -> tuple[Peer, ...]:
    figures = ("dot", "round_trip", "bytes", "encrypt", "decrypt")
    shape = (str(rows), str(columns))
    return (
        Peer("phe 1.5.0 Paillier-2048", "crypto", "phe_paillier", figures, ("2048", *shape)),
        Peer("phe 1.5.0 Paillier-3072", "crypto", "phe_paillier", figures, ("3072", *shape)),
        Peer("sf-heu 0.5.2b0 ZPaillier-2048", "heu", "heu_paillier", figures, ("2048", *shape)),
        Peer("sf-heu 0.5.2b0 ZPaillier-3072", "heu", "heu_paillier", figures, ("3072", *shape)),
        Peer("tenseal 0.3.18 CKKS-8192", "crypto", "tenseal_ckks", figures, shape),
    )


def rlwe(rows: int, columns: int, name: str = "rlwe") -> Callable[[], dict[str, float]]:
    """Return what measures our scheme: the matrix is prepared, the keys are there, as in the midst of a training."""
    scheme, entries = he.scheme(name), rows * columns
    ring, layout = Ring(scheme.primes), scheme.layout(rows, columns)
    plain = np.random.default_rng(1).integers(-(1 << 15) + 1, 1 << 15, (rows, columns), dtype=np.int16)
    weights, values, factors = ring.random(columns), ring.random(SLOTS), ring.random(SLOTS)
    key, matrix = scheme.key(), scheme.matrix(plain, layout)
    peer = scheme.peer(key.public)

    def measure() -> dict[str, float]:
        asking, asked = timed(lambda: key.encrypt_weights(weights, layout))
        dot, (answer, own) = timed(lambda: matrix.times_weights(peer, asked))
        reading, share = timed(lambda: key.decrypt_rows(answer, layout))
        assert (ring.add(share, own) == ring.matmul(plain, weights)).all()
        encrypt, encrypted = timed(lambda: key.encrypt_slots(values))
        masked, _ = peer.combine_slots([(encrypted, factors)])
        return {
            "dot": dot / entries * 1e6,
            "round_trip": (asking + dot + reading) / entries * 1e6,
            "bytes": (asked.nbytes + answer.nbytes) / entries,
            "encrypt": encrypt / SLOTS * 1e6,
            "decrypt": cpu_seconds(lambda: key.decrypt_slots(masked, SLOTS)) / SLOTS * 1e6,
        }

    measure()  # transforms the tiles
    return measure


def _plain(rows: int, columns: int) -> Callable[[], dict[str, float]]:
    numbers = np.random.default_rng(1)
    matrix, weights = numbers.standard_normal((rows, columns)), numbers.standard_normal(columns)

    def measure() -> dict[str, float]:
        seconds = cpu_seconds(lambda: [matrix @ weights for _ in range(REPEAT)]) / REPEAT
        return {"dot": seconds / matrix.size * 1e6, "round_trip": seconds / matrix.size * 1e6}

    return measure
