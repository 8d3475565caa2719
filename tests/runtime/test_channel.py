"""Channels: everything is counted, nothing outside the run's protocols passes, and whoever is wrong is named."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engine.errors import LinkLost, Misuse, PeerFault, Refused
from engine.runtime.channel import Channel
from engine.runtime.ledger import Ledger
from engine.runtime.message import Bytes1, Floats1, decode, encode, message
from engine.runtime.protection import Plain, Public, Sealed


@message(Public("a size"))
class Size:
    """A number."""

    rows: int


@message(Sealed("its receiver"), limit=1 << 10)
class Answer:
    """Some bytes."""

    ciphertext: Bytes1


@message(Plain("a column", "this run does not ask for it"))
class Column:
    """What no protocol of the run has."""

    values: Floats1


ANSWER = Answer(np.arange(100, dtype=np.uint8))


class Wire:
    """A link to telco: keeps what is put, gives what is fed."""

    peer = "telco"
    networked = True

    def __init__(self, *feed: bytes) -> None:
        self.sent: list[bytes] = []
        self.feed = list(feed)
        self.asked: list[tuple[int, float]] = []
        self.closed = ""

    def put(self, buffers: Sequence[Any]) -> None:
        self.sent.append(b"".join(buffers))

    def take(self, limit: int, timeout: float) -> bytes:
        self.asked.append((limit, timeout))
        return self.feed.pop(0)

    def close(self, why: str) -> None:
        self.closed = why


def channel(wire: Any, timeout: float = 600.0) -> tuple[Channel, Ledger]:
    ledger = Ledger("bank")
    return Channel(wire, "bank", ledger, (Size, Answer), timeout), ledger


def raw(value: object) -> bytes:
    return b"".join(encode(value))


def counts(ledger: Ledger) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {(e.sender, e.receiver, e.message.split(".")[-1]): (e.messages, e.bytes) for e in ledger.entries()}


def test_what_is_sent_and_received_is_counted_to_the_byte() -> None:
    wire = Wire(raw(Size(7)), raw(ANSWER), raw(ANSWER))
    telco, ledger = channel(wire)
    telco.send(Size(3))
    telco.send(ANSWER)
    assert telco.receive(Size).rows == 7
    assert [telco.receive(Answer).ciphertext.tolist() for _ in range(2)] == [list(range(100))] * 2
    assert counts(ledger) == {
        ("bank", "telco", "Size"): (1, len(wire.sent[0])),
        ("bank", "telco", "Answer"): (1, len(wire.sent[1])),
        ("telco", "bank", "Size"): (1, len(raw(Size(7)))),
        ("telco", "bank", "Answer"): (2, 2 * len(raw(ANSWER))),
    }
    assert decode(Answer, wire.sent[1], "bank").ciphertext.tolist() == list(range(100))


def test_no_class_outside_the_run_leaves() -> None:
    wire = Wire()
    telco, ledger = channel(wire)
    for send in (telco.send, telco.exchange):
        with pytest.raises(Refused, match=r"bank refuses: .*Column is not a message of the protocols agreed"):
            send(Column(np.ones(3)))
        with pytest.raises(Misuse, match="is not a message"):
            send([1.0, 2.0])
    assert wire.sent == []
    assert ledger.entries() == []


def test_no_class_outside_the_run_is_accepted() -> None:
    telco, ledger = channel(Wire(raw(Column(np.ones(3))), raw(Column(np.ones(3)))))
    with pytest.raises(PeerFault, match=r"telco sent .*Column, which is not part of the protocols"):
        telco.receive(Column)
    with pytest.raises(PeerFault, match=r"telco sent .*Column where .*Size was due"):
        telco.receive(Size)
    assert ledger.entries() == []


def test_the_message_that_is_due_is_the_only_one_accepted() -> None:
    telco, ledger = channel(Wire(raw(ANSWER)))
    with pytest.raises(PeerFault, match=r"telco sent .*Answer where .*Size was due"):
        telco.receive(Size)
    assert ledger.entries() == []


def test_the_limits_of_the_class_hold_both_ways() -> None:
    wire = Wire(raw(ANSWER))
    telco, _ = channel(wire, timeout=5.0)
    with pytest.raises(Misuse, match="over its limit of 1,024"):
        telco.send(Answer(np.zeros(1 << 10, dtype=np.uint8)))
    telco.receive(Answer)
    assert wire.asked == [(1 << 10, 5.0)]  # the link is told before it takes anything in
    assert wire.sent == []


def test_require_and_blame_name_the_peer() -> None:
    telco, _ = channel(Wire())
    telco.require(True, "answered another number of rows")
    with pytest.raises(PeerFault, match=r"^telco answered another number of rows$") as fault:
        telco.require(False, "answered another number of rows")
    assert fault.value.peer == "telco"
    with pytest.raises(PeerFault, match="telco sent something invalid: holds a number out of range"), telco.blame():
        raise ValueError("holds a number out of range")
    with pytest.raises(KeyError), telco.blame():
        raise KeyError("a mistake of this side stays one")


class Narrow:
    """Two ends of a link that holds one message each way; `put` blocks until the peer has taken the last."""

    networked = False

    def __init__(self, peer: str, out: queue.Queue[bytes], back: queue.Queue[bytes]) -> None:
        self.peer, self.out, self.back = peer, out, back

    def put(self, buffers: Sequence[Any]) -> None:
        self.out.put(b"".join(buffers), timeout=10)
        self.out.join()

    def take(self, limit: int, timeout: float) -> bytes:
        data = self.back.get(timeout=10)
        self.back.task_done()
        return data

    def close(self, why: str) -> None: ...


def test_an_exchange_does_not_block_where_both_send_first() -> None:
    from threading import Thread

    one, other = queue.Queue[bytes](1), queue.Queue[bytes](1)
    bank = Channel(Narrow("telco", one, other), "bank", Ledger("bank"), (Size,))
    telco = Channel(Narrow("bank", other, one), "telco", Ledger("telco"), (Size,))
    got: list[int] = []
    thread = Thread(target=lambda: got.append(telco.exchange(Size(2)).rows), daemon=True)
    thread.start()
    got.append(bank.exchange(Size(1)).rows)
    thread.join(10)
    assert sorted(got) == [1, 2]


def test_an_exchange_that_cannot_send_says_so() -> None:
    class Broken(Wire):
        def put(self, buffers: Sequence[Any]) -> None:
            raise LinkLost("telco", "it is gone")

    telco, ledger = channel(Broken(raw(Size(1))))
    with pytest.raises(LinkLost, match="it is gone"):
        telco.exchange(Size(2))
    assert [e.sender for e in ledger.entries()] == ["telco"]


def test_closing_tells_the_link_why() -> None:
    wire = Wire()
    channel(wire)[0].close("the run is over")
    assert wire.closed == "the run is over"
