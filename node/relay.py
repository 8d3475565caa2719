"""The coordinator's relay: passes sealed frames between the parties of a run, and can read none of them.

Each party attaches one stream per run. Who it is comes from its client certificate alone; whom it may reach is the list
of parties that the control plane gave `open`. Frames wait in one queue per sender and receiver, bounded by the run's
window, in memory only, and are served round robin. A party whose stream ends before it closed its pairs is lost: the
others are told at once. Nothing here holds a key, a message or a plaintext.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from engine.errors import EngineError, LinkLost, Misuse, PeerFault, Refused
from node import wire
from node.errors_status import abort
from node.wire import Header, Kind

ME = "coordinator"
_WINDOW = 8 << 20
_RUN_MEMORY = 256 << 20
_TOTAL_MEMORY = 1 << 30
_SMALLEST_WINDOW = 64 << 10
_CONTROL_SLACK = 1 << 20  # queued ACK, FAULT, CLOSE and handshake frames of one pair, on top of its window
_IDENTITY = re.compile(r"synergos://([^/]+)/org/([^/]+)/worker/([^/]+)")
_TO_PEER = frozenset({Kind.SHAKE1, Kind.SHAKE2, Kind.DATA, Kind.ACK, Kind.SYNC, Kind.FAULT, Kind.CLOSE})


@dataclass
class Lane:
    """What waits on its way from one party to another."""

    frames: deque[bytes] = field(default_factory=deque)
    size: int = 0


class Stream:
    """One attached party: what waits for it, and how its stream ends."""

    def __init__(self, run: Run, index: int, epoch: int) -> None:
        self.run, self.index, self.epoch = run, index, epoch
        self.loop = asyncio.get_running_loop()
        self.heard = self.loop.time()
        self.closed_to: set[int] = set()
        self.ended: asyncio.Future[EngineError | None] = self.loop.create_future()
        self._own: deque[bytes] = deque()
        self._lanes: defaultdict[int, Lane] = defaultdict(Lane)
        self._turn: deque[int] = deque()
        self._ready = asyncio.Event()

    def end(self, error: EngineError | None) -> None:
        """End the stream: orderly, or because of an error. The first call counts."""
        if not self.ended.done():
            self.ended.set_result(error)
            self._ready.set()

    def say(self, kind: Kind, body: bytes = b"") -> None:
        """Queue a frame of the relay's own, ahead of all others."""
        self._own.append(wire.encode(Header(kind, self.index, self.index, self.epoch), body))
        self._ready.set()

    def pong(self) -> None:
        """Answer a PING; one answer that still waits is enough, so that pings cannot fill memory."""
        if not self._own:
            self.say(Kind.PONG)

    def queue(self, sender: int, frame: bytes) -> None:
        """Queue a frame from another party; Misuse if that pair's queue is full."""
        if self._lanes[sender].size + len(frame) > self.run.window + _CONTROL_SLACK:
            raise Misuse("more frames are under way to one party than the run's window allows")
        self.queue_unmetered(sender, frame)

    def queue_unmetered(self, sender: int, frame: bytes) -> None:
        """Queue a frame of the relay's own behind what a party had sent."""
        lane = self._lanes[sender]
        if not lane.frames:
            self._turn.append(sender)
        lane.frames.append(frame)
        lane.size += len(frame)
        self._ready.set()

    async def next_frame(self) -> bytes | None:
        """Return the next frame for this party, the senders taking turns; None once the stream has ended."""
        while not (self._own or self._turn or self.ended.done()):
            self._ready.clear()
            await self._ready.wait()
        if self.ended.done():
            return None
        if self._own:
            return self._own.popleft()
        sender = self._turn.popleft()
        lane = self._lanes[sender]
        frame = lane.frames.popleft()
        lane.size -= len(frame)
        if lane.frames:
            self._turn.append(sender)
        return frame


@dataclass
class Run:
    """A run whose grid is open."""

    parties: tuple[str, ...]
    window: int
    heartbeat: float
    streams: dict[int, Stream] = field(default_factory=dict)
    lost: dict[tuple[int, int], bytes] = field(default_factory=dict)  # (party, epoch): notice to whoever comes later


class Relay:
    """Relays the frames of every open run.

    `open`, `close` and `attached` may be called from any thread. Add `handler()` to a grpc.aio server that requires
    client certificates and was made with `wire.MESSAGE_OPTIONS`.

    Args:
        federation: the only federation whose certificates may attach.
    """

    def __init__(self, federation: str) -> None:
        self._federation = federation
        self._runs: dict[bytes, Run] = {}

    def open(self, run_id: bytes, parties: Sequence[str], window: int | None = None, heartbeat: float = 20.0) -> None:
        """Let the parties of a run attach.

        Args:
            parties: their organisations' names in the manifest's order.
            window: bytes under way per sender and receiver, from 64 KiB; by default 8 MiB, less for many parties.
            heartbeat: seconds between signs of life; a side silent for three of them is dead.

        Raises:
            Misuse: the run is open already, or it has not two parties named once each.
            Refused: all open runs together could need more than 1 GiB.
        """
        pairs = len(parties) * (len(parties) - 1)
        if run_id in self._runs or pairs == 0 or len(set(parties)) != len(parties):
            raise Misuse("a run is opened once, for two or more parties named once each")
        window = max(_SMALLEST_WINDOW, window or min(_WINDOW, _RUN_MEMORY // pairs))
        taken = sum(len(run.parties) * (len(run.parties) - 1) * run.window for run in self._runs.values())
        if taken + pairs * window > _TOTAL_MEMORY:
            raise Refused(
                ME, "the relay's memory is spoken for; wait until a run has ended, or open with a smaller window"
            )
        self._runs[run_id] = Run(tuple(parties), window, heartbeat)

    def close(self, run_id: bytes, why: str) -> None:
        """Dismantle a run's grid: its streams end, and nobody attaches to it again."""
        run = self._runs.pop(run_id, None)
        streams = list(run.streams.values()) if run else []

        def end() -> None:  # all in one step, so that none is told that another was lost
            for stream in streams:
                stream.end(LinkLost(ME, f"it closed the run: {why}"))

        if streams:
            streams[0].loop.call_soon_threadsafe(end)

    def attached(self, run_id: bytes) -> frozenset[str]:
        """Return the parties of a run that are attached now."""
        run = self._runs.get(run_id)
        return frozenset(run.parties[i] for i in list(run.streams)) if run else frozenset()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what makes a grpc.aio server serve `Attach`."""
        package, method = wire.ATTACH.strip("/").split("/")
        return grpc.method_handlers_generic_handler(
            package, {method: grpc.stream_stream_rpc_method_handler(self._attach)}
        )

    def deliver(self, stream: Stream, header: Header, frame: bytes) -> None:
        """Pass one frame on, or tell its sender that the receiver is away."""
        if header.kind is Kind.CLOSE:
            stream.closed_to.add(header.to)
        target = stream.run.streams.get(header.to)
        if target is not None and target.epoch == header.epoch:
            target.queue(stream.index, frame)
        else:
            about = Header(Kind.AWAY, header.to, stream.index, stream.epoch)
            stream.queue(header.to, wire.encode(about, wire.pack(0, "it is not attached")))

    async def _attach(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        try:
            run, index, epoch = self._admit(context)
        except EngineError as error:
            await abort(context, error, ME)
            return
        stream = self._join(run, index, epoch)
        reader, writer = asyncio.create_task(self._read(stream, context)), asyncio.create_task(_write(stream, context))
        watch = asyncio.create_task(_watch(stream))
        try:
            failure = await stream.ended
            await asyncio.wait({writer}, timeout=run.heartbeat)  # gRPC takes no status while a write is under way
        finally:  # also when the connection broke, which cancels this call
            for task in (reader, writer, watch):
                task.cancel()
            self._leave(stream)
        if failure is not None:
            await abort(context, failure, ME)

    def _admit(self, context: grpc.aio.ServicerContext) -> tuple[Run, int, int]:
        organisation = _organisation(context, self._federation)
        metadata = dict(context.invocation_metadata() or ())
        run = self._runs.get(metadata.get(wire.RUN_KEY, b""))
        if run is None or organisation not in run.parties:  # the same answer, so that foreign runs cannot be probed
            raise Refused(ME, f"{organisation} is not a party of a run that is open under this id")
        epoch = str(metadata.get(wire.EPOCH_KEY, ""))
        if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 10):
            raise Misuse("the stream's metadata names no epoch")
        return run, run.parties.index(organisation), int(epoch)

    def _join(self, run: Run, index: int, epoch: int) -> Stream:
        if index in run.streams:  # the newest wins: the older one may hang on a dead connection
            older = run.streams[index]
            older.end(LinkLost(ME, "the same party attached anew"))
            self._leave(older)
        stream = run.streams[index] = Stream(run, index, epoch)
        run.lost.pop((index, epoch), None)
        stream.say(Kind.WELCOME, wire.pack(wire.WIRE, run.window, round(run.heartbeat * 1000)))
        for (lost, when), body in run.lost.items():
            if when == epoch:
                _tell_lost(stream, lost, body)
        return stream

    def _leave(self, stream: Stream) -> None:
        run = stream.run
        if run.streams.get(stream.index) is not stream:
            return
        del run.streams[stream.index]
        error = stream.ended.result() if stream.ended.done() and not stream.ended.cancelled() else None
        body = wire.pack(1, str(error) if error else "its connection ended without a word")
        run.lost[stream.index, stream.epoch] = body
        for other in run.streams.values():
            if other.index not in stream.closed_to and other.epoch == stream.epoch:
                _tell_lost(other, stream.index, body)

    async def _read(self, stream: Stream, context: grpc.aio.ServicerContext) -> None:
        sender = stream.run.parties[stream.index]
        expected = frozenset({Kind.HELLO})
        try:
            while (frame := await context.read()) is not grpc.aio.EOF:
                stream.heard = stream.loop.time()
                header, body = wire.decode(frame, sender)
                if header.sender != stream.index or header.epoch != stream.epoch or header.kind not in expected:
                    raise PeerFault(sender, "sent a frame that is not its to send")
                self._take(stream, header, body, frame)
                expected = _TO_PEER | {Kind.PING}
            stream.end(None)
        except EngineError as error:
            stream.end(error)
        except grpc.aio.BaseError:
            stream.end(LinkLost(sender, "its stream broke"))

    def _take(self, stream: Stream, header: Header, body: memoryview, frame: bytes) -> None:
        sender = stream.run.parties[stream.index]
        if header.kind in _TO_PEER:
            if header.to == stream.index or header.to >= len(stream.run.parties):
                raise PeerFault(sender, "sent a frame to nobody")
            self.deliver(stream, header, frame)
        elif header.kind is Kind.PING:
            stream.pong()
        elif wire.unpack(body, wire.HELLO, sender)[0] != wire.WIRE:
            raise Misuse(f"this coordinator speaks version {wire.WIRE} of the wire; install the matching software")


async def _write(stream: Stream, context: grpc.aio.ServicerContext) -> None:
    try:
        while (frame := await stream.next_frame()) is not None:
            await context.write(frame)
    except grpc.aio.BaseError:
        stream.end(LinkLost(stream.run.parties[stream.index], "its stream broke"))


async def _watch(stream: Stream) -> None:
    patience = 3 * stream.run.heartbeat
    while (left := stream.heard + patience - stream.loop.time()) > 0:
        await asyncio.sleep(left)
    stream.end(LinkLost(stream.run.parties[stream.index], "it missed three heartbeats"))


def _tell_lost(stream: Stream, lost: int, body: bytes) -> None:
    """Queue the notice behind what the lost party had sent, which still counts."""
    stream.queue_unmetered(lost, wire.encode(Header(Kind.AWAY, lost, stream.index, stream.epoch), body))


def _organisation(context: grpc.aio.ServicerContext, federation: str) -> str:
    uris = [uri.decode("ascii", "replace") for uri in context.auth_context().get("peer_uri", ())]
    found = _IDENTITY.fullmatch(uris[0]) if len(uris) == 1 else None
    if found is None or found[1] != federation:
        raise Refused(ME, "the client certificate names no organisation of this federation")
    return found[2]
