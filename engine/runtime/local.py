"""All parties in one process: a thread each, memory links between them.

`run` starts every role, ends all when one fails, and raises the first cause rather than the others' lost links. When
every role that still runs waits for another, nobody can ever go on: the run ends at once and says who waits for whom.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from engine.errors import LinkLost, Misuse, PeerFault
from engine.runtime.channel import Link
from engine.runtime.message import Buffer

R = TypeVar("R")


class Network:
    """The shared state of all memory links of one run; one condition guards it."""

    def __init__(self, parties: Sequence[str], networked: bool = False) -> None:
        self.parties = tuple(parties)
        self.networked = networked
        self.changed = threading.Condition()
        self.queues: dict[tuple[str, str], deque[bytes]] = {(a, b): deque() for a in parties for b in parties if a != b}
        self.waiting: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.cause: BaseException | None = None

    def links(self, me: str) -> dict[str, Link]:
        """Return one link to each other party."""
        return {peer: MemoryLink(self, me, peer) for peer in self.parties if peer != me}

    def end(self, party: str, why: str) -> None:
        """Mark a party as gone; whoever waits for it is told why."""
        with self.changed:
            self.ended.setdefault(party, why)
            self.changed.notify_all()

    def fail(self, cause: BaseException) -> None:
        """Record the first cause and wake everybody."""
        with self.changed:
            self.cause = self.cause or cause
            self.changed.notify_all()

    def check_deadlock(self) -> None:
        """Raise Misuse if every party that still runs waits for a message that nobody is left to send."""
        alive = [p for p in self.parties if p not in self.ended]
        if all(self._waits_in_vain(p) for p in alive):
            waits = ", ".join(f"{p} waits for {self.waiting[p]}" for p in alive)
            raise Misuse(f"the roles wait for each other and none can go on: {waits}")

    def _waits_in_vain(self, party: str) -> bool:
        """Whether a party waits, and for one that may still send; who waits for one that is gone is told so instead."""
        peer = self.waiting.get(party)
        return peer is not None and peer not in self.ended and not self.queues[peer, party]


class MemoryLink:
    """One direction pair of a `Network`; unbounded, so `put` never blocks."""

    def __init__(self, network: Network, me: str, peer: str) -> None:
        self.peer = peer
        self.networked = network.networked
        self._network = network
        self._me = me

    def put(self, buffers: Sequence[Buffer]) -> None:
        data = b"".join(buffers)
        with self._network.changed:
            self._raise_if_over(sending=True)
            self._network.queues[self._me, self.peer].append(data)
            self._network.changed.notify_all()

    def take(self, limit: int, timeout: float) -> Buffer:
        network = self._network
        queue = network.queues[self.peer, self._me]
        deadline = time.monotonic() + timeout
        with network.changed:
            network.waiting[self._me] = self.peer
            try:
                while not queue:
                    self._raise_if_over(sending=False)
                    network.check_deadlock()
                    if not network.changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                        raise LinkLost(self.peer, f"it sent nothing for {timeout:g} s")
            finally:
                del network.waiting[self._me]
            data = queue.popleft()
        if len(data) > limit:
            raise PeerFault(self.peer, f"sent {len(data):,} bytes where at most {limit:,} were due")
        return data

    def close(self, why: str) -> None:
        self._network.end(self._me, why)

    def _raise_if_over(self, sending: bool) -> None:
        if self._network.cause is not None:
            raise LinkLost(self.peer, "the run has failed elsewhere")
        if self.peer in self._network.ended and not sending:
            raise LinkLost(self.peer, self._network.ended[self.peer])


class Roles(Generic[R]):
    """Runs one function per party, each in its own thread, and gives back what each returned."""

    def __init__(self, network: Network, roles: Mapping[str, Callable[[], R]]) -> None:
        self._network = network
        self._roles = roles
        self._results: dict[str, R] = {}

    def _play(self, party: str) -> None:
        try:
            self._results[party] = self._roles[party]()
        except BaseException as error:  # whatever ends a role ends the run, or the others would wait for it
            self._network.fail(error)
        finally:
            self._network.end(party, "its role has ended")

    def run(self) -> dict[str, R]:
        """Run all roles to their end; raise the first cause if one fails."""
        threads = [
            threading.Thread(target=self._play, args=(party,), name=f"role {party}", daemon=True)
            for party in self._roles
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._network.fail(LinkLost("the run", "interrupted"))
            raise
        if self._network.cause is not None:
            raise self._network.cause
        return {party: self._results[party] for party in self._roles}


def run(network: Network, roles: Mapping[str, Callable[[], R]]) -> dict[str, R]:
    """Run one role per party over the network and return {party: what its role returned}.

    Raises:
        Exception: whatever the first failing role raised.
    """
    return Roles(network, roles).run()
