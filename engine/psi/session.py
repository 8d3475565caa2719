"""What every way of matching begins with and is made of: the greeting, the session, points sent in chunks.

    1  every party -> every other    Hello: nonce, number of rows, digests of the id rule and of mode, parties and plan
       every party                   session id = SHA-256(both digests, (name, nonce, rows) of each party in order)

The session id enters the hash to the group and every tag, so nothing that was seen in one session matches anything in
another. Chunks bound the size of a message and let both sides compute at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import Misuse, Refused
from engine.kernels import group
from engine.psi.identifiers import KEY_BYTES, Spec
from engine.psi.matching import in_byte_order, tag_size
from engine.randomness import random_bytes
from engine.runtime.channel import Channel
from engine.runtime.message import Bytes2, message
from engine.runtime.party import Party
from engine.runtime.protection import Blinded, Public

CHUNK = 1 << 16
POINT_BYTES = 32
ASSUMPTION = "DDH in ristretto255, random oracle"


@message(Public("a nonce, the number of rows, digests of the id rule and of mode, parties and plan"), limit=1 << 12)
class Hello:
    """First message of every matching."""

    nonce: bytes
    rows: int
    spec: bytes
    plan: bytes


@message(Blinded(ASSUMPTION))
class Points:
    """Hashed ids raised to secret scalars, shuffled; rows (n, 32)."""

    rows: Bytes2


@dataclass(frozen=True)
class Session:
    """What the greeting agreed: the session id and the number of rows of each party, in a part if there are several."""

    id: bytes
    rows: dict[str, int]
    parts: int = 1
    part: int = 0

    @property
    def dst(self) -> bytes:
        """The domain separation tag under which this session hashes ids to the group (RFC 9380, section 3.1)."""
        return b"SYNERGOS-PSI-V1-ristretto255_XMD:SHA-512_R255MAP_RO_" + self.id

    @property
    def total(self) -> int:
        """The rows of all parties in all parts, the measure of progress."""
        return self.parts * sum(self.rows.values())

    @property
    def before(self) -> int:
        """The rows of the parts before this one."""
        return self.part * sum(self.rows.values())

    @property
    def tag(self) -> int:
        """The bytes of a tag: in no part do two sets collide but with probability 2**-40."""
        first, second = self.rows.values()
        return tag_size(self.parts * first, second)


Budget = Callable[[str, int], None]
"""Told the name of a peer and the rows it brings, before anything that depends on data is sent; Refused stops the run.

Each row is a guess at an id, so a budget over all runs bounds what repeated runs can tell.
"""


def unlimited(peer: str, rows: int) -> None:
    """Let any peer bring any number of rows, any number of times."""


class PerPeer:
    """A budget of so many rows a peer, and of so many runs, over the life of this object; safe between threads."""

    def __init__(self, owner: str, rows: int, runs: int = 1 << 62) -> None:
        self.owner, self.rows, self.runs = owner, rows, runs
        self._rows: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, peer: str, rows: int) -> None:
        """Take the rows off the peer's budget; Refused, and nothing taken, if they are more than is left."""
        with self._lock:
            if self._rows[peer] + rows > self.rows or self._runs[peer] == self.runs:
                raise Refused(self.owner, f"{peer} has used up its budget of rows or runs to match")
            self._rows[peer] += rows
            self._runs[peer] += 1


def bucket(rows: int) -> int:
    """Return the size that hides `rows`: the next of 16 sizes an octave, so at most an eighth more, 3% on average."""
    step = 1 << max(rows.bit_length() - 5, 4)
    return -(-rows // step) * step


def padded(keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the keys, (n, 16), and random ones after them that match nothing, bucket(n) in all."""
    dummies = bucket(len(keys)) - len(keys)
    return np.concatenate([keys, random_bytes(KEY_BYTES * dummies).reshape(-1, KEY_BYTES)])


def greet(party: Party, mode: str, rows: int, spec: Spec, plan: bytes, budget: Budget = unlimited) -> Session:
    """Exchange greetings with all peers.

    Raises:
        Misuse: this party has no rows.
        PeerFault: a peer has no rows, another id rule, or another plan: mode, order of the parties or context.
        Refused: a table is larger than this party's policy allows (the peer's too: each row is a guess at an id), or
            a budget, the policy's or the run's own, is used up.
    """
    what = [mode.encode(), *(name.encode() for name in party.parties), plan]
    agreed = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in what)).digest()
    mine = Hello(random_bytes(32).tobytes(), rows, spec.digest(), agreed)
    for peer in party.peers:
        party[peer].send(mine)
    hellos = {party.name: mine}
    for peer in party.peers:
        hellos[peer] = _welcome(party[peer], mine)
    if rows == 0:
        raise Misuse(f"{party.name} has no rows to match: check the data it brought to this run")
    for peer in party.peers:
        party[peer].require(hellos[peer].rows > 0, "has no rows to match: it must check the data it brought")
    for hello in hellos.values():
        party.policy.check_rows(hello.rows)
    party.policy.check_match({peer: hellos[peer].rows for peer in party.peers})
    for peer in party.peers:
        budget(peer, hellos[peer].rows)
    digest = hashlib.sha256(b"synergos psi session".ljust(32, b"\0") + mine.plan + mine.spec)
    for name in party.parties:
        hello = hellos[name]
        digest.update(hashlib.sha256(name.encode()).digest() + hello.nonce + hello.rows.to_bytes(8, "big"))
    return Session(digest.digest(), {name: hellos[name].rows for name in party.parties})


def _welcome(peer: Channel, mine: Hello) -> Hello:
    theirs = peer.receive(Hello)
    peer.require(len(theirs.nonce) == 32 and theirs.rows >= 0, "sent a greeting that no party can send")
    peer.require(theirs.spec == mine.spec, "brings ids to another form: give all parties the same id rule")
    peer.require(theirs.plan == mine.plan, "agreed to another plan for this run")
    return theirs


class InChunks(Protocol):
    """A message class whose only field is an array that is sent in chunks."""

    def __init__(self, rows: NDArray[Any]) -> None: ...

    @property
    def rows(self) -> NDArray[Any]:
        """One chunk."""


K = TypeVar("K", bound=InChunks)


def chunks(count: int) -> Iterator[slice]:
    """Yield the slices in which `count` rows travel."""
    for at in range(0, count, CHUNK):
        yield slice(at, min(at + CHUNK, count))


def give(peer: Channel, kind: type[K], rows: NDArray[Any]) -> None:
    """Send an array in chunks."""
    for part in chunks(len(rows)):
        peer.send(kind(rows[part]))


def take(peer: Channel, kind: type[K], count: int, *width: int) -> Iterator[NDArray[Any]]:
    """Yield the chunks of an array of shape (count, *width); PeerFault if the peer sends another shape."""
    for part in chunks(count):
        rows = peer.receive(kind).rows
        peer.require(rows.shape == (part.stop - part.start, *width), "sent another number of rows than is due")
        yield rows


def raised(peer: Channel, points: NDArray[np.uint8], scalar: int) -> NDArray[np.uint8]:
    """Return the peer's points times the scalar, (n, 32); PeerFault unless all are canonical and not the identity."""
    out, valid = group.multiply(points, scalar)
    peer.require(bool(valid.all()), "sent a point that is not a canonical element of the group, or its identity")
    return out


def require_distinct(peer: Channel, points: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the points, (n, 32); PeerFault if the peer sent one twice (raising to a scalar keeps them distinct)."""
    peer.require(not in_byte_order(points)[1].any(), "sent a point twice")
    return points
