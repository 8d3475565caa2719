"""Alignment: every party finds its rows that all parties hold, in one agreed order.

This is the only door to `engine.psi` for those who train. After the protocol all parties compare a digest of the keys
they aligned, keyed with the session id that only they know, so that rows which do not belong together never reach a
model.
"""

from __future__ import annotations

import hmac

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.psi import ecdh, multiparty, session
from engine.psi.identifiers import KEY_BYTES, Spec, require_distinct
from engine.runtime.message import message
from engine.runtime.party import Party
from engine.runtime.protection import Public

PROTOCOLS = ("ecdh",)


@message(Public("a digest of the aligned keys, keyed with the session id"), limit=1 << 12)
class Confirmation:
    """HMAC-SHA-256 of the aligned keys under the session id."""

    digest: bytes


MESSAGES: tuple[type, ...] = (
    session.Hello,
    session.Points,
    ecdh.PooledTags,
    ecdh.Marks,
    ecdh.Places,
    ecdh.Positions,
    multiparty.FullyBlinded,
    multiparty.SharedCount,
    multiparty.Common,
    Confirmation,
)


def align(
    party: Party,
    keys: NDArray[np.uint8],
    *,
    protocol: str = "ecdh",
    min_intersection: int = 1,
    context: bytes = b"",
    spec: Spec | None = None,
    budget: session.Budget = session.unlimited,
) -> NDArray[np.int64]:
    """Return this party's rows that all parties hold, in the agreed order.

    Row i of the result belongs to the same id on every side. The order is fresh and unpredictable in each run.

    Args:
        keys: one key a row, shape (n, 16), dtype uint8, distinct: from `identifiers.encode`.
        protocol: "ecdh" (between two parties as in ecdh.py, among more as in multiparty.py).
        min_intersection: the run's minimum of shared rows; the larger of it and the policy's holds.
        context: canonical bytes of the plan or manifest; must be the same on every side.
        spec: the rule by which the keys were made; must be the same on every side.
        budget: told what each peer brings; see `session.Budget`.

    Raises:
        Misuse: no such protocol, keys of another form, two rows with one id, or no rows.
        PeerFault: a peer has no rows, another rule or plan, or broke the protocol.
        Refused: too few rows are shared, or a table is too large, for this party's policy.
    """
    if protocol not in PROTOCOLS:
        raise Misuse(f"no protocol {protocol!r} aligns rows; use one of {', '.join(PROTOCOLS)}")
    if len(party.parties) < 2:
        raise Misuse("alignment needs two parties or more")
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise Misuse(f"keys to align have shape (rows, {KEY_BYTES}) and dtype uint8: make them with encode()")
    require_distinct(keys)
    agreed = session.greet(party, f"{protocol} {len(party.parties)}", len(keys), spec or Spec(), context, budget)
    rows = _matched(party, keys, agreed, min_intersection)
    _confirm(party, agreed, keys[rows])
    return rows


def _matched(party: Party, keys: NDArray[np.uint8], agreed: session.Session, floor: int) -> NDArray[np.int64]:
    first = party.name == party.parties[0]
    if len(party.parties) > 2:
        role = multiparty.leader if first else multiparty.member
        return role(party, keys, agreed, floor)
    pair = ecdh.receiver if first else ecdh.sender
    return pair(party, party[party.peers[0]], keys, agreed, floor)


def _confirm(party: Party, agreed: session.Session, aligned: NDArray[np.uint8]) -> None:
    mine = Confirmation(hmac.digest(agreed.id, aligned.tobytes(), "sha256"))
    for peer in party.peers:
        party[peer].send(mine)
    for peer in party.peers:
        theirs = party[peer].receive(Confirmation)
        party[peer].require(hmac.compare_digest(theirs.digest, mine.digest), "aligned other rows than this side")
