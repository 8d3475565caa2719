"""Private set intersection of three parties or more, in a ring; every party learns the result.

    the leader is the first party (the label holder), the others are members; party i holds X_i and a scalar k_i
    1  all        Hello to all (session.py)
    2  n - 1 hops, every set at once, i -> i + 1:
                  Points  k_i ... k_o H(X_o), shuffled anew   --->   raised by k_(i+1)
    3  member --> leader    FullyBlinded  K H(X_o), K the product of all scalars; the leader keeps T, what is in every
                            set, sorted by encoding: the agreed order;  its policy decides
    4  leader --> member    SharedCount;  the member's policy decides
    5  for each party j, T goes from the leader by all but j, each taking its scalar off, to j:
                  Common  ... k_j H(x), in the agreed order   --->   j, which finds its rows
    6  all        Confirmation (align.py)

Commuting encryption in a ring as in Vaidya, Clifton 2005, with the way back added. Every party learns its rows of the
intersection of all and the size of each set; the leader also learns how many rows each group of parties shares, not
which (if all follow the protocol: semi-honest; decisional Diffie-Hellman in ristretto255, H a random oracle). No row
can be found without every party taking its scalar off, so one refusal at 4 stops all.

Collusion: parties that pool what they hold with the leader's learn how many rows each combination of their sets shares
with the others', and which, if one of them deviates (another scalar for a row marks it). So take n - 1 colluders to
know what the last party shares with each of them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.kernels import group
from engine.psi.matching import match
from engine.psi.session import ASSUMPTION, Points, Session, chunks, give, raised, require_distinct, take
from engine.randomness import permutation
from engine.runtime.message import Bytes2, message
from engine.runtime.party import Party
from engine.runtime.protection import Aggregate, Blinded


@message(Blinded(ASSUMPTION + "; tells how many rows each group of parties shares"))
class FullyBlinded:
    """A set raised to the scalars of all parties, shuffled by all; rows (n, 32)."""

    rows: Bytes2


@message(Aggregate("the number of rows that all parties share", "the minimum that the leader's policy sets"))
class SharedCount:
    """How many rows all parties share."""

    count: int


@message(Blinded(ASSUMPTION))
class Common:
    """The points of the shared rows in the agreed order, some scalars taken off; rows (n, 32)."""

    rows: Bytes2


def leader(party: Party, keys: NDArray[np.uint8], session: Session, floor: int) -> NDArray[np.int64]:
    """Return the rows whose keys all parties hold, in the agreed order; keys (n, 16) are distinct."""
    k, order = group.random_scalar(), permutation(len(keys))
    own = _hashed(party, keys[order], session, k)
    common = _round_the_ring(party, own, session, k)  # 2
    for at, member in enumerate(party.peers, start=1):  # 3
        count = session.rows[party.parties[(at + 1) % len(party.parties)]]
        full = np.concatenate(list(take(party[member], FullyBlinded, count, 32)))
        common = common[match(common, require_distinct(party[member], full))[0]]
    party.policy.check_intersection(len(common), floor)
    for member in party.peers:  # 4
        party[member].send(SharedCount(len(common)))
    return order[_way_back(party, own, len(common), k, common)]  # 5


def member(party: Party, keys: NDArray[np.uint8], session: Session, floor: int) -> NDArray[np.int64]:
    """Return the rows whose keys all parties hold, in the agreed order; keys (n, 16) are distinct."""
    k, order = group.random_scalar(), permutation(len(keys))
    own = _hashed(party, keys[order], session, k)
    held = _round_the_ring(party, own, session, k)  # 2
    leader = party[party.parties[0]]
    give(leader, FullyBlinded, held)  # 3
    count = leader.receive(SharedCount).count  # 4
    leader.require(0 < count <= min(session.rows.values()), "counted more rows than all can share")
    party.policy.check_intersection(count, floor)
    return order[_way_back(party, own, count, k)]  # 5


def _hashed(party: Party, keys: NDArray[np.uint8], session: Session, k: int) -> NDArray[np.uint8]:
    out = []
    for part in chunks(len(keys)):
        out.append(group.hash_and_multiply(keys[part], session.dst, k))
        party.report("align", part.stop, session.total)
    return np.concatenate(out)


def _round_the_ring(party: Party, own: NDArray[np.uint8], session: Session, k: int) -> NDArray[np.uint8]:
    """Pass every set one hop on, n - 1 times; return the set that ends here, the next party's, fully blinded."""
    at, n = party.parties.index(party.name), len(party.parties)
    held, done = own, len(own)
    for hop in range(1, n):
        coming = session.rows[party.parties[(at - hop) % n]]
        held = _pass_on(party, at, held, coming, k)[permutation(coming)]
        done += coming
        party.report("align", done, session.total)
    return held


def _pass_on(party: Party, at: int, held: NDArray[np.uint8], coming: int, k: int) -> NDArray[np.uint8]:
    """Send what is held to the next party and return what comes from the previous one, raised, shape (coming, 32).

    Links hold little. In each step even places send before they receive and odd ones receive before they send, so some
    party always receives what another sends and the ring cannot block.
    """
    following, previous = (party[party.parties[(at + side) % len(party.parties)]] for side in (1, -1))
    outgoing, incoming, out = chunks(len(held)), take(previous, Points, coming, 32), []
    for _ in chunks(max(len(held), coming)):
        part = next(outgoing, None)
        if part is not None and at % 2 == 0:
            following.send(Points(held[part]))
        points = next(incoming, None)
        if part is not None and at % 2 == 1:
            following.send(Points(held[part]))
        if points is not None:
            out.append(raised(previous, points, k))
    return require_distinct(previous, np.concatenate(out))


def _way_back(
    party: Party, own: NDArray[np.uint8], count: int, k: int, common: NDArray[np.uint8] | None = None
) -> NDArray[np.int64]:
    """Help every party in turn to its shared rows; return this one's places in `own`, in the agreed order.

    The leader brings `common`, shape (count, 32). Nothing is shuffled on the way.
    """
    leader, *members = party.parties
    inverse = pow(k, -1, group.ORDER)
    found = np.empty(count, dtype=np.int64)
    for owner in party.parties:
        points = own[:0]
        if common is not None:
            points = common if owner == leader else group.multiply(common, inverse)[0]
        for source, target in pairwise([leader, *(m for m in members if m != owner), owner]):
            if target == party.name:
                came = take(party[source], Common, count, 32)
                points = np.concatenate([p if owner == target else raised(party[source], p, inverse) for p in came])
            if source == party.name:
                give(party[target], Common, points)
            if target == owner == party.name:
                ours, theirs = match(own, points)
                party[source].require(len(ours) == count, "returned points that this party never sent")
                found[theirs] = ours
    return found
