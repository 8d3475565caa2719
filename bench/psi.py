"""Private set intersection: two sets of equal size of which half is shared, ids as text.

CPU of both parties over the rows of one, from texts to rows; bytes of all messages likewise. Ours in memory, bytes as
in the ledger. `ecdh` tells the receiver alone which rows are shared, as the peers do; `align` tells both, in one order.
Plain: a pandas merge of the same two columns. Limit: the IFMA products of the four multiplications a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import limits
from bench.clock import cpu_seconds, timed
from bench.contest import Contest
from bench.peers import Peer
from engine.kernels import tiers
from engine.parties import run_local
from engine.psi import align, identifiers, intersect
from engine.runtime.party import Party

Ids = Mapping[str, NDArray[np.object_]]
QUICK = (10_000, 100_000)
FULL = (*QUICK, 1_000_000)


def contests(quick: bool) -> list[Contest]:
    """Return one contest for each size and, ours alone, what it costs that both learn their rows."""
    sizes = QUICK if quick else FULL
    return [contest(rows) for rows in sizes] + [both(rows) for rows in sizes]


def contest(rows: int) -> Contest:
    """Return the contest at `rows` rows a side."""
    return _contest("ecdh", rows, _told, _peers(rows))


def both(rows: int) -> Contest:
    """Return the cost of `align`."""
    return _contest("align", rows, _aligned, ())


def _contest(name: str, rows: int, ours: Callable[[Ids], dict[str, float]], peers: tuple[Peer, ...]) -> Contest:
    ids = local_rows(rows)
    return Contest(
        suite="psi",
        size=f"{rows:,} x 2",
        cases={"cpu": (name, "us CPU/row"), "bytes": (f"{name} bytes", "bytes/row")},
        ours=lambda: ours(ids),
        peers=peers,
        plain=lambda: {"cpu": _merge(ids)},
        limit=_limit,
    )


def _peers(rows: int) -> tuple[Peer, ...]:
    figures = ("cpu", "bytes")
    return (
        Peer("openmined.psi 2.0.6 GCS", "openmined", "openmined_psi", figures, (str(rows),)),
        Peer("spu.psi 0.9.5 ECDH", "spu", "spu_psi", figures, (str(rows), "ECDH")),
        Peer("spu.psi 0.9.5 RR22", "spu", "spu_psi", figures, (str(rows), "RR22")),
    )


def _limit() -> dict[str, float]:
    if not tiers.has_simd():
        return {}
    return {"cpu": 2 * (limits.group_us(hashed=True) + limits.group_us(hashed=False))}


def local_rows(rows: int) -> Ids:
    """Return the ids of two parties, half of which they share."""
    return {
        "receiver": np.array([f"id{i:012d}" for i in range(rows)], dtype=object),
        "sender": np.array([f"id{2 * i:012d}" for i in range(rows)], dtype=object),
    }


def meet(ids: Ids) -> tuple[Mapping[str, Party], Mapping[str, intersect.Outcome]]:
    """Run the protocol that tells the receiver; what comes of it for each party."""

    def role(party: Party) -> intersect.Outcome:
        return intersect.intersect(party, identifiers.encode(ids[party.name]), receiver="receiver", pad=False)

    return run_local(tuple(ids), intersect.MESSAGES, role)


def _told(ids: Ids) -> dict[str, float]:
    seconds, (parties, outcomes) = timed(lambda: meet(ids))
    rows = outcomes["receiver"].rows
    assert rows is not None
    assert (rows == np.arange(0, len(ids["receiver"]), 2)).all()
    return _cost(seconds, parties, len(ids["receiver"]))


def _aligned(ids: Ids) -> dict[str, float]:
    def role(party: Party) -> NDArray[np.int64]:
        return align.align(party, identifiers.encode(ids[party.name]))

    seconds, (parties, found) = timed(lambda: run_local(tuple(ids), align.MESSAGES, role))
    matched = [ids[name][found[name]] for name in ids]
    assert len(matched[0]) == (len(ids["receiver"]) + 1) // 2
    assert (matched[0] == matched[1]).all()
    return _cost(seconds, parties, len(ids["receiver"]))


def _cost(seconds: float, parties: Mapping[str, Party], rows: int) -> dict[str, float]:
    sent = sum(parties["receiver"].ledger.bytes_by_pair().values())
    return {"cpu": seconds / rows * 1e6, "bytes": sent / rows}


def _merge(ids: Ids) -> float:
    left, right = (pd.DataFrame({"id": ids[name], name: np.arange(len(ids[name]))}) for name in ids)
    return cpu_seconds(lambda: left.merge(right, on="id")) / len(left) * 1e6
