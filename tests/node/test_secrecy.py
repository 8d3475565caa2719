"""What the coordinator sees and keeps of a run, and what passes between workers: no id, no value, no secret; nothing
but declared messages, sealed so that only their sizes show."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization

from engine import simulate
from engine.jobfile import Job
from engine.psi.identifiers import encode
from engine.runtime.message import decode, spec_of
from engine.runtime.noise import RunKeys
from engine.runtime.party import Agreement
from engine.runtime.protection import Protection
from engine.vertical import job as vertical
from node import coordinator, records, wire
from node.coordinator import Coordinator
from node.folders import coordinator_folder, operator_folder, worker_folder
from node.link import Link
from node.local import LocalFederation
from node.operator import Operator
from node.relay import Relay
from node.wire import Header, Kind
from node.worker import Worker

PARTIES = ("bank", "telco", "shop")
TAG = 16  # bytes that AES-GCM adds


class Needles:
    """Byte strings of 8 bytes or more, to be looked for all at once."""

    def __init__(self, strings: Iterable[bytes]) -> None:
        self._by_start: dict[int, list[bytes]] = defaultdict(list)
        for string in strings:
            self._by_start[int.from_bytes(string[:8], "little")].append(string)
        self._starts = np.array(sorted(self._by_start), dtype=np.uint64)
        self._likely = np.zeros(1 << 16, dtype=bool)
        self._likely[(self._starts & np.uint64(0xFFFF)).astype(np.int64)] = True

    def found_in(self, hay: bytes) -> bool:
        """Whether any of them stands anywhere in these bytes."""
        return any(
            hay.startswith(string, at)
            for offset in range(min(8, len(hay)))
            for at in self._candidates(hay, offset)
            for string in self._by_start[int.from_bytes(hay[at : at + 8], "little")]
        )

    def _candidates(self, hay: bytes, offset: int) -> Iterator[int]:
        words = np.frombuffer(hay, dtype="<u8", count=(len(hay) - offset) // 8, offset=offset)
        places = np.flatnonzero(self._likely[(words & np.uint64(0xFFFF)).astype(np.int64)])
        yield from (offset + 8 * int(place) for place in places[np.isin(words[places], self._starts)])


def data_of(tables: Any) -> Needles:
    """What tells of a row: ids as they are written and hashed, values as text and as numbers, runs of labels."""
    strings: list[bytes] = []
    for frame in tables.frames.values():
        ids = frame["customer"].to_numpy(dtype=object)
        strings += [text.encode() for name in ids for text in (name, name.removeprefix("customer-"))]
        strings += [row.tobytes() for row in encode(ids)]
        values = frame.drop(columns=["customer", "y"], errors="ignore").to_numpy().ravel()
        strings += [value.tobytes() for value in values]
        strings += [text.encode() for text in map(str, values.tolist()) if len(text) > 10]
    labels = tables.frames["bank"]["y"].to_numpy()
    strings += [labels.astype(kind)[at : at + 40].tobytes() for kind in ("u1", "i8", "f8") for at in range(0, 200, 40)]
    return Needles(strings)


def secret(*values: bytes) -> Needles:
    """These secrets, as bytes, in hex, and within a longer text of base64 wherever they begin."""
    forms = [form for value in values for form in (value, value.hex().encode())]
    for value in values:
        forms += [base64.b64encode(bytes(shift) + value)[8:-8] for shift in (4, 5, 6)]
    return Needles(forms)


def test_needles_are_found_wherever_they_are() -> None:
    needles = Needles([b"customer-0123456789", bytes(range(8)), b"customer-0123456700"])
    for at in range(20):
        assert needles.found_in(bytes(at) + b"customer-0123456700" + b"x")
        assert needles.found_in(b"\xff" * at + bytes(range(8)))
        assert not needles.found_in(bytes(at) + b"customer-0123456799")
    assert not needles.found_in(b"")
    key = bytes(range(100, 132))
    for at in range(9):
        assert secret(key).found_in(base64.b64encode(b"\x01" * at + key + b"\x02" * 5))


# The coordinator.


@dataclass
class Watched:
    """A coordinator and its workers in this process, their run processes outside; what reaches the coordinator."""

    federation: LocalFederation
    frames: list[tuple[Header, bytes]] = field(default_factory=list)
    notes: list[bytes] = field(default_factory=list)
    run_keys: list[RunKeys] = field(default_factory=list)
    run_processes: list[bytes] = field(default_factory=list)  # command lines and environments while a run goes on

    async def serve(self, started: Callable[[str], None], over: asyncio.Event) -> None:
        """Serve until it is over."""
        loop = asyncio.get_running_loop()
        address = loop.create_future()
        folder = coordinator_folder(self.federation.directory / "coordinator")
        tasks = [asyncio.create_task(Coordinator(folder, "127.0.0.1:0", address.set_result).serve())]
        for name in PARTIES:
            admitted = loop.create_future()
            worker = Worker(worker_folder(self.federation.folder(name)), await address, admitted.set_result)
            tasks.append(asyncio.create_task(worker.serve()))
            await admitted
        started(await address)
        await over.wait()
        for task in reversed(tasks):
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture(scope="module")
def watched(tables: Any, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """What a coordinator saw of one run of three parties that trained, evaluated and predicted."""
    seen = Watched(LocalFederation(tmp_path_factory.mktemp("watched") / "f", PARTIES))
    addresses: list[str] = []
    started = threading.Event()
    control: list[Any] = []

    def start(address: str) -> None:
        addresses.append(address)
        started.set()

    async def main() -> None:
        control[:] = asyncio.get_running_loop(), asyncio.Event()
        await seen.serve(start, control[1])

    with pytest.MonkeyPatch.context() as patch:
        spy(patch, seen)
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        try:
            assert started.wait(30)
            play_watched(seen, tables, addresses[0])
        finally:
            control[0].call_soon_threadsafe(control[1].set)
            thread.join()
    return seen


def spy(patch: pytest.MonkeyPatch, seen: Watched) -> None:
    """Note every frame that the relay passes, every note that a worker sends, every key that is made."""
    deliver, read, generate = Relay.deliver, coordinator._next, RunKeys.generate

    def delivering(relay: Relay, stream: Any, header: Header, frame: bytes) -> None:
        seen.frames.append((header, frame))
        deliver(relay, stream, header, frame)

    async def reading(context: Any, sender: str) -> bytes:
        seen.notes.append(await read(context, sender))
        return seen.notes[-1]

    def generating() -> RunKeys:
        seen.run_keys.append(generate())
        return seen.run_keys[-1]

    patch.setattr(Relay, "deliver", delivering)
    patch.setattr(coordinator, "_next", reading)
    patch.setattr(RunKeys, "generate", generating)


def play_watched(seen: Watched, tables: Any, address: str) -> None:
    """Play the job to its end; note the run processes on the way."""
    job = tables.predicting(*PARTIES)
    for name, data in job.parties.items():
        seen.federation.register(name, data.sources())
    (person,) = (seen.federation.directory / "operators").iterdir()
    with Operator(operator_folder(person), address) as operator:

        def see(event: Any) -> None:
            if event.body.get("state") == "running":
                seen.run_processes += list(run_processes(seen.federation.directory))

        operator.follow(operator.submit(job.with_named_sources()), see)


def run_processes(directory: Path) -> Iterator[bytes]:
    """Yield command line and environment of every run process of a federation."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:  # another program's, or it has just ended
                continue
            if b"node.run" in command and str(directory).encode() in command:
                yield command + environment


def files_of(folder: Path) -> list[bytes]:
    """Return the content of every file in a folder."""
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


def test_the_coordinator_meets_no_row(watched: Watched, tables: Any) -> None:
    needles = data_of(tables)
    kinds = Counter(header.kind for header, _ in watched.frames)
    assert kinds[Kind.DATA] > 100
    assert {message for note in watched.notes for message in (b"Approved", b"Progress", b"Finished") if message in note}
    for piece in (*(frame for _, frame in watched.frames), *watched.notes):
        assert not needles.found_in(piece)
    kept = files_of(watched.federation.directory / "coordinator")
    assert any(b"run-1" in content or b"joint-risk" in content for content in kept)
    assert not any(needles.found_in(content) for content in kept)
    # The same search finds each party's rows where they do lie.
    assert all(needles.found_in(Path(file).read_bytes()) for file in tables.files.values())
    assert needles.found_in((watched.federation.folder("bank") / "runs" / "run-1" / "scores.csv").read_bytes())


def test_the_coordinator_meets_no_secret(watched: Watched) -> None:
    identities = [worker_folder(watched.federation.folder(party)).identity()._key for party in PARTIES]
    raw = serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    run_keys = [part for keys in watched.run_keys for part in (keys.secret()[:32], keys.secret()[32:])]
    assert len(run_keys) == 2 * len(PARTIES)
    needles = secret(*run_keys, *(key.private_bytes(*raw) for key in identities))
    pieces = [*(frame for _, frame in watched.frames), *watched.notes]
    pieces += files_of(watched.federation.directory / "coordinator")
    assert not any(needles.found_in(piece) for piece in pieces)


def test_a_run_s_keys_are_in_no_file_command_line_or_environment(watched: Watched) -> None:
    needles = secret(*(part for keys in watched.run_keys for part in (keys.secret()[:32], keys.secret()[32:])))
    assert len(watched.run_processes) == len(PARTIES)
    assert not any(needles.found_in(piece) for piece in watched.run_processes)
    assert not any(needles.found_in(content) for content in files_of(watched.federation.directory))


def test_only_handshakes_and_sealed_frames_pass_the_relay(watched: Watched) -> None:
    assert {header.kind for header, _ in watched.frames} <= {Kind.SHAKE1, Kind.SHAKE2, Kind.DATA, Kind.ACK, Kind.CLOSE}
    bodies = [bytes(wire.decode(frame, "x")[1]) for header, frame in watched.frames if header.kind is Kind.DATA]
    assert len({body[:16] for body in bodies if len(body) >= 16}) == len(bodies)  # no two are sealed alike
    ones = np.unpackbits(np.frombuffer(b"".join(body[:4096] for body in bodies), np.uint8)).mean()
    assert abs(ones - 0.5) < 0.01


# Between workers.


@dataclass
class Overheard:
    """One run over gRPC in this process: each message before it is sealed, each frame as the relay passes it."""

    job: Job
    messages: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    frames: dict[tuple[str, str], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    ledgers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@pytest.fixture(scope="module", params=[PARTIES[:2], PARTIES], ids=["two", "three"])
def overheard(request: pytest.FixtureRequest, loopback: Any, tables: Any) -> Overheard:
    """What was heard of a run of so many parties that trained, evaluated and predicted."""
    heard = Overheard(tables.predicting(*request.param))
    deliver, put, names = Relay.deliver, Link.put, {}
    read = simulate.check(heard.job)

    def delivering(relay: Relay, stream: Any, header: Header, frame: bytes) -> None:
        if header.kind is Kind.DATA:
            heard.frames[heard.job.order[header.sender], heard.job.order[header.to]].append(frame)
        deliver(relay, stream, header, frame)

    def putting(link: Link, buffers: Any) -> None:
        heard.messages[names[link], link.peer].append(b"".join(buffers))
        put(link, buffers)

    def role(party: Any) -> None:
        names.update({channel._link: party.name for channel in party.channels.values()})
        vertical.play(party, heard.job, read[party.name])
        heard.ledgers[party.name] = party.ledger.to_json()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Relay, "deliver", delivering)
        patch.setattr(Link, "put", putting)
        loopback.play(dict.fromkeys(heard.job.order, role), vertical.messages(heard.job))
    return heard


def test_every_message_is_a_declared_one_and_in_the_ledger(overheard: Overheard) -> None:
    kinds = (*vertical.messages(overheard.job), Agreement)
    by_layout = {spec_of(kind).layout.to_bytes(4, "little"): kind for kind in kinds}
    counted: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for (sender, receiver), messages in overheard.messages.items():
        for data in messages:
            spec = spec_of(type(decode(by_layout[data[4:8]], data, sender)))
            assert isinstance(spec.protection, Protection)
            count = counted[sender, receiver, spec.name, str(spec.protection)]
            count[0] += 1
            count[1] += len(data)
    entries = [entry for party, ledger in overheard.ledgers.items() for entry in ledger if entry["sender"] == party]
    keys = ("sender", "receiver", "message", "protection")
    assert {tuple(e[k] for k in keys): [e["messages"], e["bytes"]] for e in entries} == dict(counted)


def test_no_message_holds_an_id_or_a_value_of_a_row(overheard: Overheard, tables: Any) -> None:
    needles = data_of(tables)
    assert not any(needles.found_in(data) for messages in overheard.messages.values() for data in messages)


def test_frames_show_the_sizes_of_messages_and_nothing_else(overheard: Overheard) -> None:
    sent = [data for messages in overheard.messages.values() for data in messages]
    parts = [data[at : at + 16] for data in sent for at in range(0, len(data), max(997, len(data) // 8))]
    telling = Needles(part for part in parts if len(set(part)) > 8)
    assert all(telling.found_in(data) for data in sent if len(data) > 10_000)
    for (sender, receiver), frames in overheard.frames.items():
        places = overheard.job.order.index(sender), overheard.job.order.index(receiver)
        assert [len(frame) for frame in frames] == list(sealed_sizes(*places, overheard.messages[sender, receiver]))
        assert not any(telling.found_in(frame) for frame in frames)


def sealed_sizes(sender: int, to: int, messages: list[bytes]) -> Iterator[int]:
    """Yield the sizes of the frames of messages, computed from the messages' sizes alone."""
    seq = 0
    for size in map(len, messages):
        for record in records.cut([bytes(size)], wire.CHUNK):
            yield len(wire.encode(Header(Kind.DATA, sender, to, 1, seq), bytes(sum(map(len, record)) + TAG)))
            seq += 1
