"""Private set intersection: two sets of equal size of which half is shared, ids as text.

CPU of both parties over the rows of one, from texts to rows; bytes of all messages likewise. Ours in memory, bytes as
in the ledger. Plain: a pandas merge of the same two columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.clock import cpu_seconds, timed
from bench.contest import Contest
from bench.peers import Peer
from engine.parties import run_local
from engine.psi import align, identifiers
from engine.runtime.party import Party

QUICK = (10_000, 100_000)
FULL = (*QUICK, 1_000_000)


def contests(quick: bool) -> list[Contest]:
    """Return one contest for each size."""
    return [contest(rows) for rows in (QUICK if quick else FULL)]


def contest(rows: int) -> Contest:
    """Return the contest at `rows` rows a side."""
    ids = {
        "receiver": np.array([f"id{i:012d}" for i in range(rows)], dtype=object),
        "sender": np.array([f"id{2 * i:012d}" for i in range(rows)], dtype=object),
    }
    return Contest(
        suite="psi",
        size=f"{rows:,} x 2",
        cases={"cpu": ("ecdh", "us CPU/row"), "bytes": ("ecdh bytes", "bytes/row")},
        ours=lambda: _ecdh(ids),
        peers=_peers(rows),
        plain=lambda: {"cpu": _merge(ids)},
    )


def _peers(rows: int) -> tuple[Peer, ...]:
    figures = ("cpu", "bytes")
    return (
        Peer("openmined.psi 2.0.6 GCS", "openmined", "openmined_psi", figures, (str(rows),)),
        Peer("spu.psi 0.9.5 ECDH", "spu", "spu_psi", figures, (str(rows), "ECDH")),
        Peer("spu.psi 0.9.5 RR22", "spu", "spu_psi", figures, (str(rows), "RR22")),
    )


def _ecdh(ids: Mapping[str, NDArray[np.object_]]) -> dict[str, float]:
    rows = len(ids["receiver"])

    def role(party: Party) -> NDArray[np.int64]:
        return align.align(party, identifiers.encode(ids[party.name]))

    seconds, (parties, found) = timed(lambda: run_local(tuple(ids), align.MESSAGES, role))
    matched = [ids[name][found[name]] for name in ids]
    assert len(matched[0]) == (rows + 1) // 2
    assert (matched[0] == matched[1]).all()
    sent = sum(parties["receiver"].ledger.bytes_by_pair().values())
    return {"cpu": seconds / rows * 1e6, "bytes": sent / rows}


def _merge(ids: Mapping[str, NDArray[np.object_]]) -> float:
    left, right = (pd.DataFrame({"id": ids[name], name: np.arange(len(ids[name]))}) for name in ids)
    return cpu_seconds(lambda: left.merge(right, on="id")) / len(left) * 1e6
