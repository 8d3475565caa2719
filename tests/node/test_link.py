"""Records and credit without a network: honest use in every shape, and peers that cheat with valid keys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import LinkLost, PeerFault
from engine.runtime.noise import Session
from node import records, wire
from node.link import Link, Outbox
from node.records import FIRST, LAST
from node.wire import Header, Kind

WINDOW = 64 << 10


class Pair:
    """Two links whose frames are carried by hand."""

    def __init__(self) -> None:
        one, two = os.urandom(32), os.urandom(32)
        self.boxes = Outbox(), Outbox()
        self.sessions = Session(one, two), Session(two, one)
        self.bank = Link("telco", self.sessions[0], self.boxes[0], WINDOW, 1, 0, 1, 0.05)
        self.telco = Link("bank", self.sessions[1], self.boxes[1], WINDOW, 1, 1, 0, 0.05)
        for box, link in zip(self.boxes, (self.bank, self.telco), strict=True):
            box.links[link.peer] = link

    def sent(self, box: int = 0) -> list[bytes]:
        """Take what waits in an outbox."""
        with self.boxes[box].lock:
            out = [*self.boxes[box]._urgent, *self.boxes[box]._data]
            self.boxes[box]._urgent.clear()
            self.boxes[box]._data.clear()
        return out

    def carry(self, frames: list[bytes] | None = None, to: int = 1) -> None:
        """Hand frames to a side; by default what the bank has sent to the telco."""
        link = (self.bank, self.telco)[to]
        for frame in self.sent(1 - to) if frames is None else frames:
            with self.boxes[to].lock:
                link.on_frame(*wire.decode(frame, "relay"), frame)

    def forge(self, *plain: bytes, seq: int = 0) -> list[bytes]:
        """Seal records as the bank itself could."""
        out = []
        for body in plain:
            sealed = self.sessions[0].send_data.seal(Kind.DATA, 1, 0, 1, seq, [body])
            out.append(wire.encode(Header(Kind.DATA, 0, 1, 1, seq), sealed))
            seq += 1
        return out


def head(flags: int, total: int) -> bytes:
    return bytes((flags,)) + total.to_bytes(8)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_what_is_cut_joins_again(buffers, chunk):
    cut = [b"".join(record) for record in records.cut(buffers, chunk)]
    whole = b"".join(buffers)
    assert len(cut) == max(1, -(-len(whole) // chunk))
    message = records.join("bank", len(whole), iter(cut).__next__)
    assert bytes(message) == whole
    assert message.readonly
    assert not message or np.frombuffer(message, np.uint8).ctypes.data % 64 == 0


def test_room_grows_with_what_arrives(monkeypatch):
    monkeypatch.setattr(records, "_ROOM", 8)
    data = bytes(range(200))
    cut = [b"".join(record) for record in records.cut([data], 5)]
    assert bytes(records.join("bank", 200, iter(cut).__next__)) == data


def test_arrays_of_any_shape_are_sent_as_their_bytes():
    arrays = [np.arange(12, dtype=np.uint32).reshape(3, 4), np.empty((0, 4)), np.float64(2.5).reshape(1)]
    cut = [b"".join(record) for record in records.cut([a.data for a in arrays], 7)]
    assert bytes(records.join("bank", 100, iter(cut).__next__)) == b"".join(a.tobytes() for a in arrays)


@pytest.mark.parametrize(
    ("cheat", "what"),
    [
        ([b""], "malformed record"),
        ([bytes((4,))], "malformed record"),
        ([bytes((FIRST,)) + b"short"], "malformed record"),
        ([bytes((LAST,)) + b"x"], "without its beginning"),
        ([head(FIRST, 2) + b"x", head(FIRST | LAST, 1) + b"x"], "inside another"),
        ([head(FIRST | LAST, 2) + b"x"], "less than it had announced"),
        ([head(FIRST, 2) + b"x", bytes(1) + b"yz"], "more than it had announced"),
        ([head(FIRST | LAST, 101) + b"x"], "announced a message of 101 bytes where at most 100"),
        ([head(FIRST, 2**63) + b"x"], "announced a message"),
    ],
)
def test_a_peer_that_breaks_framing_is_blamed(cheat, what):
    pair = Pair()
    pair.carry(pair.forge(*cheat))
    with pytest.raises(PeerFault, match=what) as caught:
        pair.telco.take(100, 0.1)
    assert caught.value.peer == "bank"


def test_more_than_was_granted_is_a_fault():
    pair = Pair()
    frames = pair.forge(*[head(FIRST | LAST, 1) + bytes(16 << 10)] * 5)
    with pytest.raises(PeerFault, match="more than it was granted"):
        pair.carry(frames)


def test_credit_comes_back_as_messages_are_taken():
    pair = Pair()
    for _ in range(40):  # ten windows
        pair.bank.put([bytes(16 << 10)])
        pair.carry()
        pair.telco.take(16 << 10, 0.1)
        pair.carry(to=0)


def test_without_credit_put_waits_and_gives_up():
    pair = Pair()
    with pytest.raises(LinkLost, match="telco was lost: it took nothing"):
        pair.bank.put([bytes(2 * WINDOW)])


def test_a_party_that_waits_in_put_goes_on_accepting():
    pair = Pair()
    pair.bank._patience = 5.0
    blocked = threading.Thread(target=lambda: pair.bank.put([bytes(2 * WINDOW)]))
    blocked.start()
    while not pair.boxes[0].blocked:
        pass
    for _ in range(20):
        pair.telco.put([bytes(16 << 10)])
        pair.carry(to=0)
        pair.carry()
    while blocked.is_alive():
        pair.carry()
        if pair.telco._inbox:
            pair.telco._next_record(0.1)
        pair.carry(to=0)
    blocked.join()
    assert all(len(pair.bank.take(16 << 10, 0.1)) == 16 << 10 for _ in range(20))


@pytest.mark.parametrize(
    ("frames", "ends"),
    [
        (lambda f: [f[0], f[0], f[1], f[0]], False),  # repeated
        (lambda f: [f[0], *f[2:]], True),  # one is missing
        (lambda f: [f[1], f[0]], True),  # swapped
    ],
)
def test_frames_count_once_and_in_order(frames: Callable[[list[bytes]], list[bytes]], ends: bool):
    pair = Pair()
    for i in range(3):
        pair.bank.put([bytes((i,))])
    sent = pair.sent()
    if ends:
        with pytest.raises(LinkLost, match="missing"):
            pair.carry(frames(sent))
        return
    pair.carry(frames(sent))
    assert [bytes(pair.telco.take(1, 0.1)) for _ in range(2)] == [b"\0", b"\1"]
    with pytest.raises(LinkLost, match="sent nothing"):
        pair.telco.take(1, 0.01)


def test_old_and_reflected_control_is_ignored():
    pair = Pair()
    pair.bank.close("done")
    frames = pair.sent()
    pair.carry(frames)
    pair.telco._ended = None
    pair.carry(frames)  # a replay
    pair.carry(frames, to=0)  # its own, sent back
    assert pair.telco._ended is None
    assert pair.bank._ended is None


def test_what_was_sent_before_a_close_is_still_taken():
    pair = Pair()
    pair.bank.put([b"first"])
    pair.bank.close("done")
    control, data = pair.sent()  # control overtakes data
    pair.carry([control])
    with pytest.raises(LinkLost, match="sent nothing"):
        pair.telco.take(5, 0.01)
    pair.carry([data])
    assert bytes(pair.telco.take(5, 0.1)) == b"first"
    with pytest.raises(LinkLost, match="bank was lost: it closed the link: done"):
        pair.telco.take(5, 10.0)
