"""One sealed link to one peer: records in order, each once, with credit as back-pressure.

The receiver grants a total of bytes and grants more as its role takes messages: a role that stops taking stops the
sender, which is all the back-pressure. One exception keeps two roles that both send before they receive from blocking
for ever: while a role of this party waits in `put`, its links also grant for what has arrived but was not yet taken.

Roles block in `put` and `take`; the attachment's reader thread calls `on_frame`. All share the outbox and its lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from engine.errors import LinkLost, Misuse, PeerFault
from engine.runtime.message import Buffer
from engine.runtime.noise import Session
from node import records, wire
from node.errors_status import Fault
from node.wire import Header, Kind

_HEAD_LIMIT = 64  # at most: frame header 35, tag 16
_EARLY = 1 << 30  # most that is held for a role that is itself waiting in `put`


class Outbox:
    """What the links of one attachment share: the lock, the way out, and the first cause of failure."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.cause: Fault | None = None
        self.blocked = 0
        self.links: dict[str, Link] = {}
        self._filled = threading.Condition(self.lock)
        self._urgent: deque[bytes] = deque()
        self._data: deque[bytes] = deque()
        self._ended = False

    def send(self, frame: bytes, *, urgent: bool = False) -> None:
        """Queue a frame; urgent ones (control, signs of life) overtake data. The lock is held."""
        (self._urgent if urgent else self._data).append(frame)
        self._filled.notify()

    def fail(self, cause: Fault) -> bool:
        """Record why nothing goes on, wake everybody, and say whether this was the first cause. The lock is held."""
        first = self.cause is None
        self.cause = self.cause or cause
        self.changed.notify_all()
        return first

    def end(self) -> None:
        """Let `frames` finish with what is queued; after a failure data no longer matters."""
        with self.lock:
            self._ended = True
            if self.cause is not None:
                self._data.clear()
            self._filled.notify()

    def empty(self) -> bool:
        """Whether all that was queued has been handed to the network."""
        with self.lock:
            return not (self._urgent or self._data)

    def frames(self) -> Iterator[bytes]:
        """Yield the frames to send until the outbox has ended and is empty."""
        while True:
            with self.lock:
                while not (self._urgent or self._data or self._ended):
                    self._filled.wait()
                if not (self._urgent or self._data):
                    return
                frame = (self._urgent or self._data).popleft()
            yield frame


class Link:
    """A pair of sealed directions between this party and one peer."""

    networked = True

    def __init__(
        self, peer: str, session: Session, outbox: Outbox, window: int, epoch: int, me: int, them: int, patience: float
    ) -> None:
        self.peer = peer
        self._session, self._outbox, self._patience = session, outbox, patience
        self._window, self._chunk = window, min(wire.CHUNK, window // 4)
        self._out = (Kind.DATA, me, them, epoch)
        self._putting, self._taking = threading.Lock(), threading.Lock()
        self._ended: Fault | None = None  # why the peer sends no more ...
        self._end_at = 0  # ... once all data before this have been taken
        self._closed = False
        self._next_out = self._next_in = self._next_opened = 0
        self._control_out = 0
        self._control_in = -1
        self._sent, self._credit = 0, window
        self._arrived = self._opened = 0
        self._granted = window
        self._inbox: deque[bytes] = deque()

    # For the role.

    def put(self, buffers: Sequence[Buffer]) -> None:
        """Send one message; block while the peer has granted no credit.

        Raises:
            LinkLost: the peer or the coordinator is gone, or nothing could be sent for `patience` seconds.
            EngineError: the cause that a peer reported, or that ended this attachment.
        """
        with self._putting:
            for record in records.cut(buffers, self._chunk):
                self._wait_for_credit(sum(map(len, record)) + _HEAD_LIMIT)
                header = Header(*self._out, self._next_out)
                frame = wire.encode(header, self._session.send_data.seal(*_bound(header), record))
                with self._outbox.lock:
                    self._next_out += 1
                    self._sent += len(frame)
                    self._outbox.send(frame)

    def take(self, limit: int, timeout: float) -> memoryview:
        """Return the next message, aligned to 64 bytes.

        Raises:
            PeerFault: the peer announced more than `limit` bytes, or broke the framing of its message.
            LinkLost: the peer or the coordinator is gone, or nothing arrived for `timeout` seconds.
            EngineError: the cause that a peer reported, or that ended this attachment.
        """
        with self._taking:
            return records.join(self.peer, limit, lambda: self._next_record(timeout))

    def close(self, why: str) -> None:
        """Tell the peer that this side sends no more; what was sent before still arrives."""
        with self._outbox.lock:
            if not self._closed:
                self._closed = True
                self._control(Kind.CLOSE, wire.pack(self._next_out, why[:1000]))

    # For the attachment; the outbox's lock is held.

    def report(self, cause: Fault) -> None:
        """Tell the peer why this party's role failed."""
        self._control(Kind.FAULT, cause.pack())

    def lose(self, why: str) -> None:
        """The peer is gone; what arrived before may still be taken."""
        self._ended = self._ended or Fault("LinkLost", self.peer, why)
        self._outbox.changed.notify_all()

    def on_frame(self, header: Header, body: memoryview, frame: bytes) -> None:
        """Take a frame from the peer: data wait to be opened by the role, control acts at once.

        Raises:
            LinkLost: data are missing, so the relay or the way there is broken.
            PeerFault: the peer sent more than it was granted, or control that makes no sense.
            EngineError: the cause that the peer reports.
        """
        if header.kind is Kind.DATA:
            self._on_data(header, frame)
            return
        if header.seq <= self._control_in:
            return  # seen before
        plain = self._session.receive_control.open(*_bound(header), body)
        if plain is None:
            return  # forged: as if it had never come
        self._control_in = header.seq
        self._on_control(header.kind, plain)

    def grant(self) -> None:
        """Grant more credit once a quarter of the window has been used up."""
        settled = min(self._arrived, self._opened + _EARLY) if self._outbox.blocked else self._opened
        if settled + self._window - self._granted >= self._window // 4:
            self._granted = settled + self._window
            self._control(Kind.ACK, wire.pack(self._next_opened, self._granted))

    def _on_data(self, header: Header, frame: bytes) -> None:
        if header.seq < self._next_in:
            return  # a duplicate
        if header.seq > self._next_in:
            raise LinkLost(self.peer, "frames from it went missing on the way")
        self._next_in += 1
        self._arrived += len(frame)
        if self._arrived > self._granted:
            raise PeerFault(self.peer, "sent more than it was granted")
        self._inbox.append(frame)
        if self._outbox.blocked:
            self.grant()
        self._outbox.changed.notify_all()

    def _on_control(self, kind: Kind, plain: bytes) -> None:
        if kind is Kind.ACK:
            _, credit = wire.unpack(plain, wire.ACK, self.peer)
            self._credit = max(self._credit, credit)
        elif kind is Kind.FAULT:
            raise Fault.unpack(plain, self.peer).error()
        elif kind is Kind.CLOSE:
            self._end_at, why = wire.unpack(plain, wire.CLOSE, self.peer)
            self._ended = Fault("LinkLost", self.peer, f"it closed the link: {why}")
        self._outbox.changed.notify_all()

    def _control(self, kind: Kind, plain: bytes) -> None:
        header = Header(kind, *self._out[1:], self._control_out)
        self._control_out += 1
        self._outbox.send(wire.encode(header, self._session.send_control.seal(*_bound(header), [plain])), urgent=True)

    # Waiting.

    def _wait_for_credit(self, size: int) -> None:
        outbox = self._outbox
        with outbox.lock:
            if self._closed:
                raise Misuse(f"the link to {self.peer} is closed on this side: nothing more can be sent")
            outbox.blocked += 1
            try:
                if self._sent + size > self._credit:
                    for link in outbox.links.values():
                        link.grant()
                self._wait(lambda: self._sent + size <= self._credit, self._patience, "it took nothing")
                if self._ended is not None:
                    raise self._ended.error()
            finally:
                outbox.blocked -= 1

    def _next_record(self, timeout: float) -> bytes:
        with self._outbox.lock:
            self._wait(lambda: bool(self._inbox), timeout, "it sent nothing")
            frame = self._inbox.popleft()
        header, body = wire.decode(frame, self.peer)
        plain = self._session.receive_data.open(*_bound(header), body)
        if plain is None:
            raise LinkLost(self.peer, "a record from it was altered on the way")
        with self._outbox.lock:
            self._next_opened += 1
            self._opened += len(frame)
            self.grant()
        return plain

    def _wait(self, ready: Callable[[], bool], timeout: float, failing: str) -> None:
        """Wait until `ready`; raise the first cause, or the peer's end, or LinkLost after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if self._outbox.cause is not None:
                raise self._outbox.cause.error()
            if ready():
                return
            if self._ended is not None and self._next_opened >= self._end_at:
                raise self._ended.error()
            left = deadline - time.monotonic()
            if left <= 0:
                raise LinkLost(self.peer, f"{failing} for {timeout:g} s")
            self._outbox.changed.wait(left)


def _bound(header: Header) -> tuple[int, int, int, int, int]:
    """What a seal binds, in its order."""
    return header.kind, header.epoch, header.sender, header.to, header.seq
