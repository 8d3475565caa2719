"""Diffie-Hellman private set intersection, both sides learn the result.

    receiver, holding X                             sender, holding Y
    1  Hello                            <----->     Hello (session.py)
    2  a <- Zq;  Points  a H(x), shuffled  --->     raises them: a b H(x)
       raises them: a b H(y)               <---     b <- Zq;  Points  b H(y), shuffled
    3  PooledTags of a b H(y), sorted      --->     counts those among the tags of a b H(x);  its policy decides
    4                                      <---     OrderedTags of a b H(x), in the order received
       finds x in I;  its policy decides
    5  Positions in the sender's shuffle   --->     finds y in I
    6  Confirmation                     <----->     Confirmation (align.py)

Meadows 1986; Huberman, Franklin, Hogg 1999. H is the hash to ristretto255 of RFC 9380 under the session's tag; a tag is
SHA-256(session id || point), cut so that no two of the sets collide but with probability 2**-40. The agreed order is
that of the tags, which nobody can predict or steer towards the order of a file.

Both learn the rows they share and the size of the other's set, nothing else, if both follow the protocol (semi-honest;
decisional Diffie-Hellman in ristretto255, H and the tags as random oracles). Each policy decides before the other side
learns which rows are shared; whoever stops has learnt more than the other: the sender how many (3), the receiver which
(4). A party that brings guessed ids learns which guesses are right: a policy bounds the rows of a run, `max_rows`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from engine.kernels import group
from engine.psi.matching import in_byte_order, match, tag_size, tags
from engine.psi.session import ASSUMPTION, Points, Session, chunks, give, raised, require_distinct, take
from engine.randomness import permutation
from engine.runtime.channel import Channel
from engine.runtime.message import Array, Bytes2, message
from engine.runtime.party import Party
from engine.runtime.protection import Blinded, Plain


@message(Blinded(ASSUMPTION))
class PooledTags:
    """Tags of the sender's points, sorted: they tell how many rows are shared, not which; rows (n, t)."""

    rows: Bytes2


@message(Blinded(ASSUMPTION))
class OrderedTags:
    """Tags of the receiver's points, in its order: they tell it which rows are shared; rows (n, t)."""

    rows: Bytes2


@message(Plain("which rows are shared", "both sides must know their rows of the result"))
class Positions:
    """Places of the shared points in the order in which the sender offered them; rows (n,)."""

    rows: Annotated[NDArray[np.uint32], Array("u4", 1)]


def receiver(party: Party, sender: Channel, keys: NDArray[np.uint8], session: Session, floor: int) -> NDArray[np.int64]:
    """Return the rows whose keys the sender holds too, in the agreed order; keys (n, 16) are distinct."""
    size = tag_size(*session.rows.values())
    order, a = permutation(len(keys)), group.random_scalar()
    _offer(party, sender, keys[order], a, session, done=0)  # 2
    offered = _raise(party, sender, a, session, done=len(keys))
    theirs = tags(session.id, offered, size)  # 3
    give(sender, PooledTags, theirs[in_byte_order(theirs)[0]])
    mine = np.concatenate(list(take(sender, OrderedTags, len(keys), size)))  # 4
    ours, places = match(mine, theirs)
    party.policy.check_intersection(len(ours), floor)
    give(sender, Positions, places.astype(np.uint32))  # 5
    return order[ours]


def sender(party: Party, receiver: Channel, keys: NDArray[np.uint8], session: Session, floor: int) -> NDArray[np.int64]:
    """Return the rows whose keys the receiver holds too, in the agreed order; keys (n, 16) are distinct."""
    size = tag_size(*session.rows.values())
    order, b = permutation(len(keys)), group.random_scalar()
    offered = _raise(party, receiver, b, session, done=0)  # 2
    _offer(party, receiver, keys[order], b, session, done=len(offered))
    theirs = tags(session.id, offered, size)  # 3
    pooled = np.concatenate(list(take(receiver, PooledTags, len(keys), size)))
    shared = len(match(pooled, theirs)[0])
    party.policy.check_intersection(shared, floor)
    give(receiver, OrderedTags, theirs)  # 4
    places: NDArray[np.uint32] = np.concatenate(list(take(receiver, Positions, shared)))  # 5
    receiver.require(int(places.max()) < len(keys), "named a row that it was not offered")
    receiver.require(len(np.unique(places)) == shared, "named a row twice")
    return order[places]


def _offer(party: Party, peer: Channel, keys: NDArray[np.uint8], scalar: int, session: Session, done: int) -> None:
    """Send one's own points; `done` rows of the session were worked on before."""
    for part in chunks(len(keys)):
        peer.send(Points(group.hash_and_multiply(keys[part], session.dst, scalar)))
        party.report("align", done + part.stop, session.total)


def _raise(party: Party, peer: Channel, scalar: int, session: Session, done: int) -> NDArray[np.uint8]:
    """Receive the peer's points and return them times the scalar, in the order received, shape (n, 32)."""
    count, out = session.rows[peer.peer], []
    for part, points in zip(chunks(count), take(peer, Points, count, 32), strict=True):
        out.append(raised(peer, points, scalar))
        party.report("align", done + part.stop, session.total)
    return require_distinct(peer, np.concatenate(out))
