"""Unbalanced and labelled private set intersection: few ids against a large table that is made once and used often.

    receiver, few ids X                                 sender, a Table of its set Y under a key k
    1  Hello                                <----->     Hello (session.py);  its budget and policy decide
    2                                       <---        Offer: what the table is
       Wanted: unless it holds the table    --->
    3                                       <---        Prefixes, Tails, Labels: the table, sorted by tag
    4  Queries  r_x H(x)                    --->
    5                                       <---        Answers  k r_x H(x), and a proof if the table is verifiable
    6  x is in Y  iff  its tag is in the table, and then its label opens

The function is that of oprf.py, the table that of table.py. Chen, Laine, Rindal 2017, section 1; Jarecki, Liu 2010.

The receiver learns which of its ids the sender holds, their labels, and about how many rows the table has (padded). The
sender learns about how many ids were asked (padded): not which, nor how many matched. So it cannot hold the result to
a minimum and refuses where its policy asks for one. Semi-honest; with a verifiable table the sender must answer
every query with the key of the table's public element (a pinned one, if the receiver has it from elsewhere): else it
could tell by a later reaction which query it had answered wrongly. What stands in the table is the sender's word, and a
label that does not open stops the receiver, which tells a sender who spoilt it on purpose that its row was asked for.

Every query is a guess at an id, and nothing but the budget bounds them. Whoever holds a table can ask later, under the
same key: make a new one when the set changes, for two tables under one key would show the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse, Refused
from engine.kernels import group
from engine.psi.identifiers import Spec
from engine.psi.matching import match, tag_size
from engine.psi.oprf import PROOF_BYTES, Suite
from engine.psi.session import Budget, chunks, give, greet, padded, raised, take, unlimited
from engine.psi.table import LONGEST_LABEL, SEAL, Bytes, Directory, Table, check, opened
from engine.runtime.channel import Channel
from engine.runtime.message import Array, Bytes2, message
from engine.runtime.party import Party
from engine.runtime.protection import Blinded, Public, Sealed

_ASSUMPTION = "one-more gap Diffie-Hellman in ristretto255, random oracle"


@message(Public("a table's digest, public key and sizes"), limit=1 << 12)
class Offer:
    """What the sender's table is: see Directory."""

    digest: bytes
    public: bytes
    salt: bytes
    tag: int
    label: int
    verifiable: bool


@message(Public("whether the receiver lacks the table"), limit=1 << 12)
class Wanted:
    """Whether the table is to be sent."""

    table: bool


@message(Blinded(_ASSUMPTION))
class Prefixes:
    """How many tags begin with each value of their first bytes; rows (256**p,)."""

    rows: Annotated[NDArray[np.uint32], Array("u4", 1)]


@message(Blinded(_ASSUMPTION))
class Tails:
    """What follows the prefix in each tag, sorted; rows (n, t - p)."""

    rows: Bytes2


@message(Sealed("whoever may evaluate the function at the row's id"))
class Labels:
    """Sealed labels in the order of the tags; rows (n, w)."""

    rows: Bytes2


@message(Blinded("none needed: each row has its own uniform scalar"))
class Queries:
    """Hashed ids, each times a scalar of its own; rows (n, 32)."""

    rows: Bytes2


@message(Blinded(_ASSUMPTION))
class Answers:
    """The queries times the table's key; rows (n, 32), and a proof of 64 bytes or none."""

    rows: Bytes2
    proof: bytes


MESSAGES: tuple[type, ...] = (Offer, Wanted, Prefixes, Tails, Labels, Queries, Answers)


@dataclass(frozen=True)
class Found:
    """What a receiver learns."""

    rows: NDArray[np.int64]  # its rows that the sender holds, ascending, shape (k,)
    labels: Bytes  # their labels, shape (k, w); w is 0 without labels
    directory: Directory  # to keep for the next queries


def receiver(
    party: Party,
    keys: Bytes,
    *,
    directory: Directory | None = None,
    verifiable: bool = False,
    pinned: bytes | None = None,
    min_intersection: int = 0,
    context: bytes = b"",
    spec: Spec | None = None,
) -> Found:
    """Ask the other party for these ids.

    Args:
        keys: shape (n, 16), dtype uint8, distinct: from `identifiers.encode`.
        directory: the table as it was found before; it is not sent again while it is the sender's.
        verifiable: whether the sender must prove each answer; the same on both sides.
        pinned: the sender's public key, 32 bytes, if known; any other is refused.
        min_intersection: fewer matches, and the result is refused here; the sender cannot know. 0: none is a result.
        context, spec: as in `align`.

    Raises:
        Misuse: keys of another form, two rows with one id, no rows, or another number of parties.
        PeerFault: the sender broke the protocol, or answered with another key.
        Refused: too few rows are shared, or a table is too large, for this party's policy.
    """
    sender = _only_peer(party)
    check(keys)
    asked = padded(keys)
    session = greet(party, "oprf", len(asked), spec or Spec(), _plan(verifiable, context))  # 1
    offer = sender.receive(Offer)  # 2
    _require_sound(sender, offer, verifiable, pinned)
    held = directory is not None and directory.digest == offer.digest
    rows = len(directory.tags) if directory is not None and held else session.rows[sender.peer]
    sender.require(offer.tag >= min(tag_size(rows, len(asked)), 32), "made tags that are too short")
    sender.send(Wanted(not held))
    table = directory if directory is not None and held else _table(sender, offer, rows)  # 3
    outputs = _outputs(party, sender, asked, Suite(verifiable), table.public)  # 4, 5
    mine, theirs = match(outputs[: len(keys), : table.tags.shape[1]], table.tags)  # 6
    if len(mine) or min_intersection or party.policy.min_intersection > 1:
        party.policy.check_intersection(len(mine), min_intersection)
    order = np.argsort(mine)
    mine, theirs = mine[order], theirs[order]
    with sender.blame():
        labels = opened(outputs[mine], table.salt, table.labels[theirs])
    return Found(mine, labels, table)


def sender(
    party: Party,
    table: Table,
    *,
    budget: Budget = unlimited,
    context: bytes = b"",
    spec: Spec | None = None,
) -> None:
    """Answer the other party's queries from a table.

    Raises:
        Misuse: another number of parties.
        PeerFault: the receiver broke the protocol, or has another plan or id rule.
        Refused: the budget is used up, a table is too large, or the policy sets a minimum that nobody can check here.
    """
    receiver, own = _only_peer(party), table.directory
    if party.policy.min_intersection > 1:
        raise Refused(party.policy.owner, "its policy sets a minimum of shared rows, which oprf hides from the sender")
    plan = _plan(own.verifiable, context)
    session = greet(party, "oprf", len(own.tags), spec or Spec(), plan, budget)  # 1
    receiver.send(Offer(own.digest, own.public, own.salt, own.tags.shape[1], own.labels.shape[1], own.verifiable))  # 2
    if receiver.receive(Wanted).table:
        _give_table(receiver, own)  # 3
    count, suite = session.rows[receiver.peer], Suite(own.verifiable)
    for part, points in zip(chunks(count), take(receiver, Queries, count, 32), strict=True):  # 4
        answers = raised(receiver, points, table.key)
        proof = suite.prove(table.key, points, answers) if own.verifiable else b""
        receiver.send(Answers(answers, proof))  # 5
        party.report("match", part.stop, count)


def _only_peer(party: Party) -> Channel:
    if len(party.peers) != 1:
        raise Misuse("a table answers one party at a time: this needs two parties")
    return party[party.peers[0]]


def _plan(verifiable: bool, context: bytes) -> bytes:
    return (b"verifiable oprf " if verifiable else b"oprf ") + context


def _require_sound(sender: Channel, offer: Offer, verifiable: bool, pinned: bytes | None) -> None:
    sender.require(len(offer.digest) == len(offer.salt) == len(offer.public) == 32, "offered a table that cannot be")
    sender.require(offer.verifiable == verifiable, "offered a table of the other mode")
    sender.require(5 <= offer.tag <= 32, "offered tags of a size that cannot be")
    sender.require(
        offer.label == 0 or SEAL < offer.label <= LONGEST_LABEL + SEAL, "offered labels of a size that cannot be"
    )
    _, valid = group.multiply(np.frombuffer(offer.public, dtype=np.uint8)[None], 1)
    sender.require(bool(valid.all()), "has a public key that is not a canonical element of the group, or its identity")
    sender.require(pinned is None or offer.public == pinned, "has another public key than the one pinned here")


def prefix_size(rows: int) -> int:
    """Return how many first bytes of sorted tags are sent as counts: those whose counts cost half a byte a row."""
    return sum(8 * 256**p <= rows for p in (1, 2, 3))


def _give_table(receiver: Channel, own: Directory) -> None:
    p = prefix_size(len(own.tags))
    give(receiver, Prefixes, np.bincount(_heads(own.tags, p), minlength=256**p).astype(np.uint32))
    give(receiver, Tails, own.tags[:, p:])
    if own.labels.shape[1]:
        give(receiver, Labels, own.labels)


def _heads(tags: Bytes, size: int) -> NDArray[np.int64]:
    out = np.zeros(len(tags), dtype=np.int64)
    for i in range(size):
        out = out << 8 | tags[:, i]
    return out


def _table(sender: Channel, offer: Offer, rows: int) -> Directory:
    p = prefix_size(rows)
    ends = np.cumsum(np.concatenate(list(take(sender, Prefixes, 256**p))), dtype=np.uint64)
    sender.require(int(ends[-1]) == rows, "counted another number of tags than it offered")
    tags, labels = [], [np.empty((rows, 0), dtype=np.uint8)]
    for part, tails in zip(chunks(rows), take(sender, Tails, rows, offer.tag - p), strict=True):
        heads = np.searchsorted(ends, np.arange(part.start, part.stop, dtype=np.uint64), side="right").astype(">u4")
        tags.append(np.concatenate([heads.view(np.uint8).reshape(-1, 4)[:, 4 - p :], tails], axis=1))
    if offer.label:
        labels = list(take(sender, Labels, rows, offer.label))
    table = Directory(offer.public, offer.salt, offer.verifiable, np.concatenate(tags), np.concatenate(labels))
    sender.require(table.digest == offer.digest, "sent another table than it offered")
    return table


def _outputs(party: Party, sender: Channel, asked: Bytes, suite: Suite, public: bytes) -> Bytes:
    """Have the function evaluated at each key; shape (n, 64)."""
    out = []
    for part in chunks(len(asked)):
        inputs, blinds = asked[part], group.random_scalars(part.stop - part.start)
        blinded = suite.blind(inputs, blinds)
        sender.send(Queries(blinded))  # 4
        answer = sender.receive(Answers)  # 5
        sender.require(answer.rows.shape == blinded.shape, "sent another number of rows than is due")
        outputs, valid = suite.unblinded(inputs, blinds, answer.rows)
        sender.require(bool(valid.all()), "sent a point that is not a canonical element of the group, or its identity")
        sender.require(len(answer.proof) == PROOF_BYTES * suite.verifiable, "sent a proof of another size")
        if suite.verifiable:
            sender.require(suite.proves(public, blinded, answer.rows, answer.proof), "answered with another key")
        out.append(outputs)
        party.report("match", part.stop, len(asked))
    return np.concatenate(out)
