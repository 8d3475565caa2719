"""A run process attached to the coordinator: one stream, and over it a sealed link to every other party.

    with Attachment("coordinator:7443", credentials, run=..., me="bank", parties=("bank", "telco"), ...) as attachment:
        links = attachment.links()          # all handshakes done
        ...                                 # roles put and take; an exception that leaves the block reaches all peers

Threads: gRPC's own takes frames from the outbox; a reader sorts what arrives; a pulse sends signs of life and notices
when none come back. Roles only ever wait on the outbox's condition, which every ending wakes: nothing waits for ever.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import TracebackType

import grpc

from engine.errors import EngineError, LinkLost, Misuse, PeerFault
from engine.runtime.noise import Initiator, RunKeys, Session, respond
from node import wire
from node.errors_status import Fault, error_from
from node.link import Link, Outbox
from node.wire import Header, Kind

_COORDINATOR = "coordinator"
_PROLOGUE = b"synergos/e2e/1"
_SHAKE_AGAIN = 0.25  # seconds; the peer may not be attached yet
_SMALLEST_WINDOW, _LARGEST_WINDOW = 64 << 10, 64 << 20
_SHORTEST_BEAT_MS = 50


class Attachment:
    """This party's place in the grid of one run.

    Args:
        address: host and port of the coordinator.
        credentials: TLS with this worker's client certificate.
        run: the run's id, 16 bytes.
        me: this party; `parties`: all of them in the manifest's order.
        keys: this party's run keys; `peer_public`: {peer: its 1216 public bytes}, from the signed manifest.
        manifest_digest: 32 bytes; two sides with different manifests cannot shake hands.
        heartbeat: seconds between signs of life, at most; the run's own setting may shorten it.
        patience: seconds that `put` waits for a peer that takes nothing.
        establish: seconds until all parties must have attached and shaken hands.
        options: further gRPC channel options.
    """

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials,
        *,
        run: bytes,
        me: str,
        parties: Sequence[str],
        keys: RunKeys,
        peer_public: Mapping[str, bytes],
        manifest_digest: bytes,
        epoch: int = 1,
        heartbeat: float = 20.0,
        patience: float = 600.0,
        establish: float = 120.0,
        options: Sequence[tuple[str, object]] = (),
    ) -> None:
        if me not in parties or set(peer_public) != set(parties) - {me} or len(manifest_digest) != 32:
            raise Misuse("an attachment needs the digest of its manifest and the public keys of all its other parties")
        self._address, self._credentials, self._options = address, credentials, options
        self._run, self._epoch, self._digest = run, epoch, manifest_digest
        self._me, self._parties, self._index = me, tuple(parties), parties.index(me)
        self._keys, self._public = keys, dict(peer_public)
        self._heartbeat, self._patience, self._establish = heartbeat, patience, establish
        self._outbox = Outbox()
        self._window = 0  # until WELCOME
        self._shaking: dict[str, Initiator] = {}
        self._answered: dict[str, tuple[bytes, bytes]] = {}
        self._heard = time.monotonic()
        self._stopped = threading.Event()

    def __enter__(self) -> Attachment:
        """Open the stream. A coordinator that cannot be reached or refuses shows in `links`."""
        for peer in self._parties[self._index + 1 :]:
            self._shaking[peer] = Initiator(self._keys, peer, self._public[peer], self._prologue(peer))
        options = (*wire.MESSAGE_OPTIONS, ("grpc.use_local_subchannel_pool", 1), *self._options)
        self._channel = grpc.secure_channel(self._address, self._credentials, options)
        self._say(Kind.HELLO, wire.pack(wire.WIRE, version("synergos")))
        attach = self._channel.stream_stream(wire.ATTACH)
        metadata = ((wire.RUN_KEY, self._run), (wire.EPOCH_KEY, str(self._epoch)))
        self._call = attach(self._outbox.frames(), metadata=metadata)
        self._threads = [
            threading.Thread(target=part, name=f"{self._me} {name}", daemon=True)
            for part, name in ((self._read, "reader"), (self._beat, "pulse"))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell peers how this side ended, let what is queued leave, end the stream and its threads."""
        if error is not None:
            self.fail(error)
        for link in list(self._outbox.links.values()):
            link.close("its role failed" if error else "its role has ended")
        self._outbox.end()
        reader, pulse = self._threads
        while reader.is_alive():
            reader.join(3 * self._heartbeat)
            if self._outbox.empty():
                self._call.cancel()  # all is said and the coordinator still does not hang up
        self._stopped.set()
        pulse.join()
        self._channel.close()

    def links(self) -> dict[str, Link]:
        """Return a link to each peer, once every handshake is done.

        Raises:
            Refused: the coordinator does not let this party attach.
            PeerFault: a peer has another manifest or a wrong key.
            LinkLost: the coordinator or a peer is gone, or they were not all there after `establish` seconds.
        """
        outbox = self._outbox
        deadline = time.monotonic() + self._establish
        with outbox.lock:
            while missing := [p for p in self._parties if p != self._me and p not in outbox.links]:
                if outbox.cause is not None:
                    raise outbox.cause.error()
                if time.monotonic() >= deadline:
                    raise LinkLost(missing[0], f"no handshake within {self._establish:g} s")
                outbox.changed.wait(deadline - time.monotonic())
            return dict(outbox.links)

    def fail(self, error: BaseException) -> None:
        """End the run here and tell every peer why; the first cause counts.

        A cause that came from a peer is told on: a third party may otherwise first see this one leave, and blame it.
        """
        cause = Fault.of(error, self._me)
        with self._outbox.lock:
            if self._outbox.fail(cause):
                for link in self._outbox.links.values():
                    link.report(cause)

    def _prologue(self, peer: str) -> bytes:
        low, high = sorted((self._index, self._parties.index(peer)))
        return _PROLOGUE + self._digest + struct.pack(">III", self._epoch, low, high)

    def _say(self, kind: Kind, body: bytes = b"") -> None:
        """Send a frame to the coordinator itself."""
        with self._outbox.lock:
            self._outbox.send(wire.encode(Header(kind, self._index, self._index, self._epoch), body), urgent=True)

    def _send(self, kind: Kind, peer: str, body: bytes) -> None:
        header = Header(kind, self._index, self._parties.index(peer), self._epoch)
        self._outbox.send(wire.encode(header, body), urgent=True)

    # The pulse's thread.

    def _beat(self) -> None:
        ping = time.monotonic()
        while True:
            due = min(ping, self._heard + 3 * self._heartbeat)
            if self._shaking:
                due = min(due, time.monotonic() + _SHAKE_AGAIN)
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            now = time.monotonic()
            if now - due > self._heartbeat:
                self._heard = now  # it was this process that stood still; what the coordinator sent waits to be read
            if now - self._heard >= 3 * self._heartbeat:
                self._lost(LinkLost(_COORDINATOR, "it missed three heartbeats"))
                self._call.cancel()
                return
            if now >= ping:
                self._say(Kind.PING)
                ping = now + self._heartbeat
            with self._outbox.lock:
                self._shake()

    def _shake(self) -> None:
        """Send message 1 to each peer that has not answered it; it may not have been attached before."""
        for peer, initiator in self._shaking.items() if self._window else ():
            self._send(Kind.SHAKE1, peer, initiator.message)

    # The reader's thread.

    def _read(self) -> None:
        try:
            for frame in self._call:
                self._heard = time.monotonic()
                self._receive(frame)
        except grpc.RpcError:
            error = error_from(self._call, _COORDINATOR)
            blamed = Fault.of(error, self._me).who
            honest = blamed in ("", self._me, _COORDINATOR)  # it has no say about what another organisation did
            self._lost(error if honest else LinkLost(_COORDINATOR, f"it ended the stream and blames {blamed}"))
        finally:
            self._lost(LinkLost(_COORDINATOR, "it ended the stream"))

    def _receive(self, frame: bytes) -> None:
        try:
            with self._outbox.lock:
                if self._outbox.cause is None:
                    self._sort(frame)
        except EngineError as error:
            self.fail(error)

    def _lost(self, error: EngineError) -> None:
        with self._outbox.lock:
            self._outbox.fail(Fault.of(error, self._me))

    def _sort(self, frame: bytes) -> None:
        header, body = wire.decode(frame, _COORDINATOR)
        if header.to != self._index or header.epoch != self._epoch or header.sender >= len(self._parties):
            raise PeerFault(_COORDINATOR, "relayed a frame that is not for this party")
        if header.sender == self._index:
            self._on_hop(header.kind, body)
            return
        if not self._window:
            raise PeerFault(_COORDINATOR, "relayed a frame before it said welcome")
        peer = self._parties[header.sender]
        if header.kind is Kind.SHAKE1:
            self._on_shake1(peer, bytes(body))
        elif header.kind is Kind.SHAKE2:
            self._on_shake2(peer, body)
        elif header.kind is Kind.AWAY:
            self._on_away(peer, body)
        elif peer in self._outbox.links:
            self._outbox.links[peer].on_frame(header, body, frame)

    def _on_hop(self, kind: Kind, body: memoryview) -> None:
        if kind is Kind.WELCOME:
            spoken, self._window, heartbeat = wire.unpack(body, wire.WELCOME, _COORDINATOR)
            if spoken != wire.WIRE:
                raise PeerFault(_COORDINATOR, "speaks another version of the wire")
            if not (_SMALLEST_WINDOW <= self._window <= _LARGEST_WINDOW and heartbeat >= _SHORTEST_BEAT_MS):
                raise PeerFault(_COORDINATOR, "offers a window or heartbeat that cannot work")
            self._heartbeat = min(self._heartbeat, heartbeat / 1000)
            self._shake()

    def _on_shake1(self, peer: str, message: bytes) -> None:
        if self._index < self._parties.index(peer):
            raise PeerFault(peer, "began a handshake that is not its to begin")
        seen, answer = self._answered.get(peer, (b"", b""))
        if not seen:
            try:
                answer, session = respond(self._keys, peer, self._public[peer], self._prologue(peer), message)
            except PeerFault:
                self._send(Kind.SHAKE2, peer, b"")  # so that the peer learns at once, and blames the same cause
                raise
            self._answered[peer] = message, answer
            self._add_link(peer, session)
        elif seen != message:
            return  # a replay, or a peer that started anew within this epoch: its old link is lost already
        self._send(Kind.SHAKE2, peer, answer)

    def _on_shake2(self, peer: str, answer: memoryview) -> None:
        if peer in self._outbox.links:
            return  # an answer to a repeated SHAKE1
        if peer not in self._shaking:
            raise PeerFault(peer, "answered a handshake that was not begun")
        session, _ = self._shaking.pop(peer).finish(answer)
        self._add_link(peer, session)

    def _add_link(self, peer: str, session: Session) -> None:
        them = self._parties.index(peer)
        link = Link(peer, session, self._outbox, self._window, self._epoch, self._index, them, self._patience)
        self._outbox.links[peer] = link
        self._outbox.changed.notify_all()

    def _on_away(self, peer: str, body: memoryview) -> None:
        lost, why = wire.unpack(body, wire.AWAY, _COORDINATOR)
        if peer in self._outbox.links:
            self._outbox.links[peer].lose(why)
        elif lost:
            raise LinkLost(peer, why)
