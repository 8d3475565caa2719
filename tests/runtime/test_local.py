"""All parties in one process: every run ends, and what ends it is the first thing that went wrong."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import LinkLost, Misuse, PeerFault, Refused
from engine.runtime.local import Network, run
from engine.runtime.message import message
from engine.runtime.party import Party
from engine.runtime.protection import Public

Role = Callable[[Party], Any]
NAMES = ("bank", "telco", "shop")


@message(Public("a number"))
class Number:
    """A number."""

    value: int


@message(Public("some bytes"), limit=1 << 20)
class Raw:
    """Bytes."""

    raw: bytes


def together(roles: dict[str, Role], timeout: float = 30.0) -> dict[str, Any]:
    network = Network(tuple(roles))
    parties = {n: Party(n, tuple(roles), network.links(n), (Number, Raw), timeout=timeout) for n in roles}
    return run(network, {n: lambda n=n: roles[n](parties[n]) for n in roles})


def number(party: Party, peer: str) -> int:
    return party[peer].receive(Number).value


def test_each_role_s_result_comes_back() -> None:
    def role(party: Party) -> int:
        for peer in party.peers:
            party[peer].send(Number(party.parties.index(party.name)))
        return sum(number(party, peer) for peer in party.peers)

    assert together(dict.fromkeys(NAMES, role)) == {"bank": 3, "telco": 2, "shop": 1}


def test_links_keep_the_order() -> None:
    def bank(party: Party) -> list[int]:
        return [number(party, "telco") for _ in range(500)]

    def telco(party: Party) -> None:
        for i in range(500):
            party["bank"].send(Number(i))

    assert together({"bank": bank, "telco": telco})["bank"] == list(range(500))


@pytest.mark.parametrize(
    "cause", [ValueError("a bug"), Refused("telco", "its policy"), PeerFault("shop", "lied"), SystemExit(3)]
)
def test_the_first_cause_is_raised_not_what_follows_from_it(cause: BaseException) -> None:
    seen: dict[str, BaseException] = {}

    def waits(party: Party) -> None:
        try:
            number(party, "telco")
        except LinkLost as error:
            seen[party.name] = error
            raise

    def fails(party: Party) -> None:
        raise cause

    with pytest.raises(type(cause)) as raised:
        together({"bank": waits, "telco": fails, "shop": waits})
    assert raised.value is cause
    assert {str(error) for error in seen.values()} == {"telco was lost: the run has failed elsewhere"}


def test_sending_after_a_failure_ends_too() -> None:
    def keeps_sending(party: Party) -> None:
        while True:
            party["telco"].send(Number(0))
            time.sleep(0.001)

    def fails(party: Party) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        together({"bank": keeps_sending, "telco": fails})


def test_a_deadlock_names_who_waits_for_whom() -> None:
    following = dict(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))
    start = time.monotonic()
    with pytest.raises(Misuse) as error:
        together({n: lambda party: number(party, following[party.name]) for n in NAMES})
    said = str(error.value)
    assert "none can go on" in said
    assert all(f"{one} waits for {other}" in said for one, other in following.items())
    assert time.monotonic() - start < 5  # at once, not at the deadline


def test_a_deadlock_of_those_who_are_left() -> None:
    def waits(party: Party) -> int:
        return number(party, "telco" if party.name == "bank" else "bank")

    with pytest.raises(Misuse, match=r"bank waits for telco, telco waits for bank$"):
        together({"bank": waits, "telco": waits, "shop": lambda party: None})


def test_who_waits_for_one_that_is_gone_is_told_so() -> None:
    """Though everybody who is left waits: the cause is the one that left."""

    def late(party: Party) -> None:
        time.sleep(0.05)

    for _ in range(5):
        with pytest.raises(LinkLost, match="shop was lost: its role has ended"):
            together({"bank": lambda p: number(p, "shop"), "telco": lambda p: number(p, "bank"), "shop": late})


def test_what_was_sent_before_leaving_still_arrives() -> None:
    roles: dict[str, Role] = {
        "bank": lambda party: (time.sleep(0.05), number(party, "telco"))[1],
        "telco": lambda party: party["bank"].send(Number(5)),
    }
    assert together(roles)["bank"] == 5


def test_a_message_on_its_way_is_no_deadlock() -> None:
    def ping(party: Party) -> int:
        (peer,) = party.peers
        first = party.name == "bank"
        for i in range(300):
            if first:
                party[peer].send(Number(i))
            assert number(party, peer) == i
            if not first:
                party[peer].send(Number(i))
        return 300

    assert together({"bank": ping, "telco": ping}) == {"bank": 300, "telco": 300}


def test_a_silent_peer_counts_as_lost_after_the_deadline() -> None:
    release = threading.Event()

    def silent(party: Party) -> None:
        release.wait(10)

    def waits(party: Party) -> None:
        try:
            number(party, "telco")
        finally:
            release.set()

    start = time.monotonic()
    with pytest.raises(LinkLost, match=r"telco was lost: it sent nothing for 0\.2 s"):
        together({"bank": waits, "telco": silent}, timeout=0.2)
    assert 0.2 <= time.monotonic() - start < 5


def test_a_message_over_the_limit_of_what_is_due_is_not_taken_in() -> None:
    def large(party: Party) -> None:
        party["bank"].send(Raw(bytes(1000)))

    network = Network(("bank", "telco"))
    large(Party("telco", network.parties, network.links("telco"), (Raw,)))
    with pytest.raises(PeerFault, match=r"telco sent 1,016 bytes where at most 100 were due"):
        network.links("bank")["telco"].take(100, 1.0)


def test_a_closed_link_says_why() -> None:
    def closes(party: Party) -> None:
        party["bank"].close("it was cancelled")

    with pytest.raises(LinkLost, match="telco was lost: it was cancelled"):
        together({"bank": lambda party: number(party, "telco"), "telco": closes})


def test_an_interrupt_ends_all_roles() -> None:
    ended = threading.Event()

    def waits(party: Party) -> None:
        try:
            number(party, "telco")
        finally:
            ended.set()

    def interrupts(party: Party) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        ended.wait(10)

    with pytest.raises(KeyboardInterrupt):
        together({"bank": waits, "telco": interrupts})
    assert ended.wait(5)


def test_no_thread_stays_behind() -> None:
    before = threading.active_count()
    with pytest.raises(Misuse):
        together({n: lambda party: number(party, party.peers[0]) for n in NAMES[:2]})
    assert threading.active_count() == before
