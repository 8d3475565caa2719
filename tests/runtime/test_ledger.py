"""The ledger: both ends agree, weakest protection first, exported as it stands."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.runtime import protection
from engine.runtime.ledger import Ledger
from engine.runtime.message import message
from engine.runtime.party import Party
from engine.runtime.protection import Aggregate, Plain, Protection, Sealed


@message(Sealed("its receiver"))
class Secret:
    """Encrypted."""

    raw: bytes


@message(Aggregate("a loss", "all rows"))
class Total:
    """A sum."""

    value: float


@message(Plain("a score", "it is what was asked for"))
class Score:
    """In clear."""

    value: float


def test_protections_are_ranked_strongest_first() -> None:
    kinds = [kind for kind in vars(protection).values() if isinstance(kind, type) and kind.__base__ is Protection]
    assert [k.__name__.lower() for k in sorted(kinds, key=lambda k: k.rank)] == [
        "sealed", "shared", "masked", "blinded", "noised", "public", "aggregate", "plain",
    ]  # fmt: skip
    assert [kind.rank for kind in kinds] == list(range(8))
    assert all(Protection.rank > kind.rank for kind in kinds)


def test_a_protection_reads_as_words() -> None:
    assert str(Sealed("its sender")) == "sealed (its sender)"
    assert str(Plain("a score", "it is asked for")) == "plain (a score; it is asked for)"
    with pytest.raises(TypeError):
        Plain("without a reason")  # type: ignore[call-arg]


def test_entries_count_and_stand_weakest_first() -> None:
    ledger = Ledger("bank")
    for kind, size in ((Secret, 10), (Score, 5), (Secret, 20), (Total, 1)):
        ledger.record("bank", "telco", kind, size)
    ledger.record("telco", "bank", Secret, 7)
    seen = [(e.sender, e.message.split(".")[-1], e.messages, e.bytes) for e in ledger.entries()]
    assert seen == [
        ("bank", "Score", 1, 5),
        ("bank", "Total", 1, 1),
        ("bank", "Secret", 2, 30),
        ("telco", "Secret", 1, 7),
    ]
    assert ledger.bytes_by_pair() == {"bank>telco": 36, "telco>bank": 7}


def test_export_and_print_say_the_same() -> None:
    ledger = Ledger("bank")
    ledger.record("bank", "telco", Score, 1234)
    (row,) = json.loads(json.dumps(ledger.to_json()))
    assert row | {"message": ""} == {
        "sender": "bank", "receiver": "telco", "message": "", "rank": 7, "messages": 1, "bytes": 1234,
        "protection": "plain (a score; it is what was asked for)",
    }  # fmt: skip
    lines = str(ledger).splitlines()
    assert lines[0] == "Disclosure ledger of bank"
    assert lines[1].startswith("  bank > telco ")
    assert lines[1].endswith("Score: plain (a score; it is what was asked for); 1 messages, 1,234 bytes")


def test_threads_lose_no_count() -> None:
    ledger = Ledger("bank")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.record("bank", "telco", Secret, 3), range(4000)))
    (entry,) = ledger.entries()
    assert (entry.messages, entry.bytes) == (4000, 12000)


def test_what_one_says_it_sent_the_other_says_it_received(play: Any) -> None:
    def role(party: Party) -> Ledger:
        at = party.parties.index(party.name)
        for peer in party.peers:
            for size in range(at + 2):
                party[peer].send(Secret(bytes(100 * size)))
            party[peer].send(Total(float(at)))
        for peer in party.peers:
            for _ in range(party.parties.index(peer) + 2):
                party[peer].receive(Secret)
            party[peer].receive(Total)
        return party.ledger

    names = ("bank", "telco", "shop")
    ledgers = play(dict.fromkeys(names, role), (Secret, Total))
    for one in names:
        for other in names:
            if one == other:
                continue
            mine, theirs = (
                [e for e in ledgers[n].entries() if (e.sender, e.receiver) == (one, other)] for n in (one, other)
            )
            assert mine == theirs
            assert {e.message.split(".")[-1] for e in mine} == {"Secret", "Total"}
