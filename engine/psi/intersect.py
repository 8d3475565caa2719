"""Private set intersection of which one side, the receiver, learns the rows and the other how many they are.

    receiver, holding X                             sender, holding Y
    1  Hello                            <----->     Hello: sizes, padded
    2  Points, raised;  3  PooledTags              as in ecdh.py, part by part (stream.py);  the sender's policy decides
    4                                      <---     Marks  which points of the receiver's shuffle are shared
       finds x in I;  its policy decides

One bit a row is all that comes back: the sender has found the shared points in a shuffle that the receiver alone knows.

The receiver learns its rows that are shared and about how many the sender has; the sender learns how many are shared
and about how many the receiver has. Assumptions, and what guesses tell, as in ecdh.py. For few ids against a large set
that is asked often, or to release a payload with each match: unbalanced.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse
from engine.psi import stream
from engine.psi.ecdh import Marks, marked
from engine.psi.identifiers import Spec
from engine.psi.session import Budget, unlimited
from engine.runtime.party import Party

MESSAGES = stream.MESSAGES


@dataclass(frozen=True)
class Outcome:
    """What a side learns."""

    shared: int  # how many rows
    rows: NDArray[np.int64] | None  # which of its own, ascending, shape (shared,); None for the sender


def intersect(
    party: Party,
    keys: NDArray[np.uint8],
    *,
    receiver: str | None = None,
    min_intersection: int = 1,
    pad: bool = True,
    context: bytes = b"",
    spec: Spec | None = None,
    budget: Budget = unlimited,
    folder: Path | None = None,
) -> Outcome:
    """Match this party's rows with the other party's; the receiver learns which are shared.

    Args:
        keys: one key a row, shape (n, 16), dtype uint8, distinct: from `identifiers.encode`; or a memory map of them.
        receiver: who learns the rows, the same on both sides; default the first party.
        min_intersection: the run's minimum of shared rows; the larger of it and the policy's holds.
        pad: whether the peer is told the size of a bucket in place of the number of rows; each side decides for itself.
        context, spec: as in `align`.
        budget: told what the peer brings; see `session.Budget`.
        folder: where parts of sets of more than a million rows are written meanwhile, 24 bytes a row.

    Raises:
        Misuse: keys of another form, two rows with one id, no rows, or not two parties.
        PeerFault: the peer has no rows, another rule or plan, or broke the protocol.
        Refused: too few rows are shared, a set is too large, or the budget is used up.
    """
    learns = receiver or party.parties[0]
    if learns not in party.parties:
        raise Misuse(f"the receiver must be one of {', '.join(party.parties)}")
    mode = f"ecdh for {learns}"
    with stream.started(
        party, mode, keys, min_intersection, pad=pad, context=context, spec=spec, budget=budget, folder=folder
    ) as run:
        return _receiver(run) if party.name == learns else _sender(run)


def _receiver(run: stream.Run) -> Outcome:
    stream.offer_all(run)  # 2, 3
    parts, sender = run.parts, run.peer
    found = [parts.kept(part)[marked(sender, parts.size)] for part in range(parts.parts)]  # 4
    rows = np.sort(np.concatenate(found))
    sender.require(not len(rows) or int(rows[0]) != stream.PAD, "marked a row that only pads")
    run.check(len(rows))
    return Outcome(len(rows), rows)


def _sender(run: stream.Run) -> Outcome:
    shared, marks = stream.count_all(run)  # 2, 3
    for bits in marks:
        run.peer.send(Marks(bits))  # 4
    return Outcome(shared, None)
