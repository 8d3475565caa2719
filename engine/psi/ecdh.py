"""Diffie-Hellman private set intersection; both sides learn the result (the receiver alone: intersect.py).

    receiver, holding X                             sender, holding Y
    1  Hello                            <----->     Hello (session.py)
    2  a <- Zq;  Points  a H(x), shuffled  --->     raises them: a b H(x)
       raises them: a b H(y)               <---     b <- Zq;  Points  b H(y), shuffled
    3  PooledTags of a b H(y), sorted      --->     finds those among the tags of a b H(x);  its policy decides
    4                                      <---     Marks  which pooled tags are shared, Places  of their points in the
       finds x in I;  its policy decides            receiver's shuffle
    5  Positions in the sender's shuffle   --->     finds y in I
    6  Confirmation                     <----->     Confirmation (align.py)

Meadows 1986; Huberman, Franklin, Hogg 1999. H is the hash to ristretto255 of RFC 9380 under the session's tag; a tag is
a hash of the session id and a point, cut so that no two of the sets collide but with probability 2**-40. The agreed
order is that of the tags, which nobody can predict or steer towards the order of a file.

The sender sees which of the receiver's points are shared, in a shuffle that tells it nothing but how many; so their
places are all that it need return. Both learn the rows they share and the size of the other's set, nothing else, if
both follow the protocol (semi-honest; decisional Diffie-Hellman in ristretto255, H and the tags as random oracles).
Each policy decides before the other side learns which rows are shared;
whoever stops has learnt more than the other: the sender how many (3), the receiver which (4). A party that brings
guessed ids learns which guesses are right: a policy bounds the rows of a run (`max_rows`), a budget those of all runs.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from engine.kernels import group
from engine.psi.matching import in_byte_order, match, tags
from engine.psi.session import ASSUMPTION, Points, Session, chunks, give, raised, take
from engine.randomness import permutation
from engine.runtime.channel import Channel
from engine.runtime.message import Array, Bytes1, Bytes2, message
from engine.runtime.party import Party
from engine.runtime.protection import Blinded, Plain

_WIDE = (
    16  # bytes of a tag by which a peer's points are told apart; in one set much larger than the other, cut ones tie
)


@message(Blinded(ASSUMPTION))
class PooledTags:
    """Tags of the sender's points, sorted: they tell how many rows are shared, not which; rows (n, t)."""

    rows: Bytes2


@message(Plain("which rows are shared", "the receiver must know its rows of the result"), limit=1 << 30)
class Marks:
    """A bit for each point or tag of the receiver, first bit lowest: whether it is shared; bits (ceil(n / 8),)."""

    bits: Bytes1


@message(Plain("which rows are shared", "the receiver must know its rows of the result"))
class Places:
    """Places of the shared points in the order in which the receiver offered them; rows (n,)."""

    rows: Annotated[NDArray[np.uint32], Array("u4", 1)]


@message(Plain("which rows are shared", "both sides must know their rows of the result"))
class Positions:
    """Places of the shared points in the order in which the sender offered them; rows (n,)."""

    rows: Annotated[NDArray[np.uint32], Array("u4", 1)]


def receiver(party: Party, sender: Channel, keys: NDArray[np.uint8], session: Session, floor: int) -> NDArray[np.int64]:
    """Return the rows whose keys the sender holds too, in the agreed order; keys (n, 16) are distinct."""
    order, back = offer_and_pool(party, sender, keys, session)  # 2, 3
    shared = marked(sender, session.rows[sender.peer])  # 4
    party.policy.check_intersection(len(shared), floor)
    places: NDArray[np.uint32] = np.concatenate(list(take(sender, Places, len(shared))))
    _require_places(sender, places, len(keys))
    give(sender, Positions, back[shared].astype(np.uint32))  # 5
    found: NDArray[np.int64] = order[places]
    return found


def sender(party: Party, receiver: Channel, keys: NDArray[np.uint8], session: Session, floor: int) -> NDArray[np.int64]:
    """Return the rows whose keys the receiver holds too, in the agreed order; keys (n, 16) are distinct."""
    order, pooled, places = count_shared(party, receiver, keys, session)  # 2, 3
    party.policy.check_intersection(len(pooled), floor)
    mark(receiver, pooled, len(keys))  # 4
    give(receiver, Places, places.astype(np.uint32))
    positions: NDArray[np.uint32] = np.concatenate(list(take(receiver, Positions, len(pooled))))  # 5
    _require_places(receiver, positions, len(keys))
    return order[positions]


def offer_and_pool(
    party: Party, sender: Channel, keys: NDArray[np.uint8], session: Session
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offer, raise and pool; return the own shuffle, and of each pooled tag the place in the sender's."""
    order, a = permutation(len(keys)), group.random_scalar()
    _offer(party, sender, keys[order], a, session, session.before)  # 2
    theirs, back = _raise(party, sender, a, session, session.before + len(keys))
    give(sender, PooledTags, theirs[back])  # 3
    return order, back


def count_shared(
    party: Party, receiver: Channel, keys: NDArray[np.uint8], session: Session
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Raise, offer and count; return the own shuffle, and of the shared places in the pool and the receiver's."""
    order, b = permutation(len(keys)), group.random_scalar()
    theirs, _ = _raise(party, receiver, b, session, session.before)  # 2
    _offer(party, receiver, keys[order], b, session, session.before + len(theirs))
    pooled = np.concatenate(list(take(receiver, PooledTags, len(keys), theirs.shape[1])))  # 3
    return order, *match(pooled, theirs)


def mark(receiver: Channel, places: NDArray[np.int64], count: int) -> None:
    bits = np.zeros(count, dtype=np.bool_)
    bits[places] = True
    receiver.send(Marks(np.packbits(bits, bitorder="little")))


def marked(sender: Channel, count: int) -> NDArray[np.int64]:
    """Return the places that the sender marks, ascending."""
    bits = sender.receive(Marks).bits
    sender.require(len(bits) == -(-count // 8), "marked another number of rows than it was sent")
    marks = np.unpackbits(bits, bitorder="little")
    sender.require(not marks[count:].any(), "marked a row that it was not sent")
    return np.flatnonzero(marks)


def _require_places(peer: Channel, places: NDArray[np.uint32], count: int) -> None:
    peer.require(int(places.max()) < count, "named a row that it was not offered")
    peer.require(len(np.unique(places)) == len(places), "named a row twice")


def _offer(party: Party, peer: Channel, keys: NDArray[np.uint8], scalar: int, session: Session, done: int) -> None:
    """Send one's own points; `done` rows of the session were worked on before."""
    for part in chunks(len(keys)):
        peer.send(Points(group.hash_and_multiply(keys[part], session.dst, scalar)))
        party.report("align", done + part.stop, session.total)


def _raise(
    party: Party, peer: Channel, scalar: int, session: Session, done: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Receive the peer's points; return the tags of them times the scalar, (n, t), and the order that sorts them."""
    count, out = session.rows[peer.peer], []
    for part, points in zip(chunks(count), take(peer, Points, count, 32), strict=True):
        out.append(tags(session.id, raised(peer, points, scalar), _WIDE))
        party.report("align", done + part.stop, session.total)
    wide = np.concatenate(out)
    order, same = in_byte_order(wide)
    peer.require(not same.any(), "sent a point twice")
    return np.ascontiguousarray(wide[:, : session.tag]), order
