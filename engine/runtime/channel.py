"""A channel joins a party to one peer: `Link` moves bytes, `Channel` adds types, the ledger and blame."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from engine.errors import PeerFault, Refused
from engine.runtime.ledger import Ledger
from engine.runtime.message import Buffer, decode, encode, spec_of

M = TypeVar("M")


class Link(Protocol):
    """Moves whole messages to and from one peer, in order, each exactly once."""

    peer: str
    networked: bool

    def put(self, buffers: Sequence[Buffer]) -> None:
        """Send one message, given as buffers; block while the peer is slow.

        Raises:
            LinkLost: the peer is gone.
        """

    def take(self, limit: int, timeout: float) -> Buffer:
        """Return the next message, of at most `limit` bytes.

        Raises:
            LinkLost: the peer is gone, or sent nothing for `timeout` seconds.
            PeerFault: the message is larger than `limit`.
        """

    def close(self, why: str) -> None:
        """End the link; a peer that still waits is told why."""


class Channel:
    """Typed, counted messages to and from one peer.

    Args:
        allowed: the message classes of the protocols this run has agreed to; none other leaves or is accepted.
        timeout: seconds that `receive` waits before the peer counts as lost.
    """

    def __init__(
        self, link: Link, me: str, ledger: Ledger, allowed: Collection[type[Any]], timeout: float = 600.0
    ) -> None:
        self.peer = link.peer
        self.me = me
        self.networked = link.networked
        self._link = link
        self._ledger = ledger
        self._allowed = frozenset(allowed)
        self._timeout = timeout

    def send(self, message: object) -> None:
        """Send one message; Refused, before a byte leaves, if its class is not part of the run's protocols."""
        self._put(type(message), self._encoded(message))

    def _encoded(self, message: object) -> list[Buffer]:
        kind = type(message)
        if kind not in self._allowed:
            raise Refused(self.me, f"{spec_of(kind).name} is not a message of the protocols agreed for this run")
        return encode(message)

    def _put(self, kind: type[Any], buffers: list[Buffer]) -> None:
        self._link.put(buffers)
        self._ledger.record(self.me, self.peer, kind, sum(len(b) for b in buffers))

    def receive(self, kind: type[M]) -> M:
        """Return the next message, which must be of this class; PeerFault if it is anything else."""
        data = self._link.take(spec_of(kind).limit, self._timeout)
        message = decode(kind, data, self.peer)
        if kind not in self._allowed:
            raise PeerFault(self.peer, f"sent {spec_of(kind).name}, which is not part of the protocols agreed")
        self._ledger.record(self.peer, self.me, kind, len(data))
        return message

    def exchange(self, message: M) -> M:
        """Send a message and return the peer's of the same class; both directions at once, so neither side blocks."""
        kind, buffers = type(message), self._encoded(message)
        failure: list[Exception] = []

        def sending() -> None:
            try:
                self._put(kind, buffers)
            except Exception as error:
                failure.append(error)

        thread = threading.Thread(target=sending, name=f"{self.me} sends to {self.peer}", daemon=True)
        thread.start()
        answer = self.receive(kind)
        thread.join()
        if failure:
            raise failure[0]
        return answer

    def require(self, holds: bool, what: str) -> None:
        """Raise PeerFault naming the peer unless the condition holds: `sender.require(n == m, "answered ...")`."""
        if not holds:
            raise PeerFault(self.peer, what)

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Turn a ValueError, raised while reading what this peer sent, into its PeerFault."""
        try:
            yield
        except ValueError as error:
            raise PeerFault(self.peer, f"sent something invalid: {error}") from None

    def close(self, why: str) -> None:
        """End the link to this peer."""
        self._link.close(why)
