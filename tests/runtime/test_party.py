"""A party: agreement on everything comes before anything else, and names what differs."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from engine.errors import Misuse, PeerFault
from engine.runtime.local import Network
from engine.runtime.message import message, spec_of
from engine.runtime.party import Agreement, Party, Progress
from engine.runtime.protection import Public

NAMES = ("bank", "telco", "shop")
PLAN = {"version": b"1", "model": b"logistic regression", "parts": b"train"}


@message(Public("stands for the data of a run"))
class Data:
    """What moves after the agreement."""

    raw: bytes


def agreeing(plans: dict[str, dict[str, bytes]], ledgers: dict[str, Any]) -> dict[str, Any]:
    """Return roles that agree on their plans, then send data."""

    def role(party: Party) -> bytes:
        ledgers[party.name] = party.ledger
        digest = party.agree(plans[party.name])
        for peer in party.peers:
            party[peer].send(Data(b"row"))
        for peer in party.peers:
            party[peer].receive(Data)
        return digest

    return dict.fromkeys(plans, role)


def test_equal_plans_give_one_digest_which_names_the_whole(play: Any) -> None:
    got = play(agreeing(dict.fromkeys(NAMES, PLAN), {}), (Data,))
    assert len(set(got.values())) == 1
    other = play(agreeing(dict.fromkeys(NAMES, PLAN | {"parts": b"evaluate"}), {}), (Data,))
    assert got["bank"] != other["bank"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": b"another"}, "they differ in model$"),
        ({"model": b"another", "parts": b"other"}, "they differ in model, parts$"),
        ({"extra": b""}, "they differ in "),
    ],
)
def test_a_differing_section_is_a_fault_that_names_it_before_data_moves(play: Any, change: Any, says: str) -> None:
    ledgers: dict[str, Any] = {}
    with pytest.raises(PeerFault, match=says) as fault:
        play(agreeing({"bank": PLAN, "telco": PLAN | change}, ledgers), (Data,))
    assert fault.value.peer in ("bank", "telco")
    sent = {entry.message for ledger in ledgers.values() for entry in ledger.entries()}
    assert sent == {spec_of(Agreement).name}


def test_among_three_the_odd_one_is_named_by_the_others(play: Any) -> None:
    seen: dict[str, str] = {}

    def role(party: Party) -> None:
        try:
            party.agree(PLAN | ({"model": b"x"} if party.name == "shop" else {}))
        except PeerFault as fault:
            seen[party.name] = fault.peer

    play(dict.fromkeys(NAMES, role), (Data,))
    assert seen == {"bank": "shop", "telco": "shop", "shop": "bank"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: Agreement(a.sections[:-1], a.digests[:-1]),
        lambda a: Agreement(a.sections, a.digests[:-1]),
        lambda a: Agreement((*a.sections, a.sections[0]), (*a.digests, a.digests[0])),
        lambda a: Agreement(a.sections, (a.digests[1], a.digests[0], *a.digests[2:])),
        lambda a: Agreement((), ()),
    ],
)
def test_a_peer_cannot_agree_to_less(play: Any, spoil: Any) -> None:
    right = Agreement(tuple(PLAN), tuple(hashlib.sha256(part).digest() for part in PLAN.values()))

    def cheats(party: Party) -> None:
        party["bank"].send(spoil(right))
        party["bank"].receive(Agreement)

    with pytest.raises(PeerFault, match="telco agreed to another run than bank"):
        play({"bank": lambda party: party.agree(PLAN), "telco": cheats}, (Data,))


def test_the_content_of_a_plan_does_not_leave(play: Any) -> None:
    def role(party: Party) -> Any:
        party.agree({"model": b"confidential" * 1000})
        return party.ledger.entries()

    assert all(e.bytes < 200 for e in play(dict.fromkeys(NAMES, role), (Data,))["bank"])


def test_names_must_fit() -> None:
    for name, parties in (("bank", ("telco", "shop")), ("bank", ("bank", "bank"))):
        with pytest.raises(Misuse, match="named once each and include this one"):
            Party(name, parties, {}, ())


def test_peers_and_channels() -> None:
    party = Party("telco", NAMES, Network(NAMES).links("telco"), (Data,))
    assert party.peers == ("bank", "shop")
    assert party["shop"].peer == "shop"
    assert not party.networked
    assert Party("telco", NAMES, Network(NAMES, networked=True).links("telco"), (Data,)).networked


def test_progress_says_who_and_how_far() -> None:
    seen: list[Progress] = []
    party = Party("bank", NAMES, {}, (), progress=seen.append)
    party.report("train", 3, 15, loss=0.5)
    assert seen == [Progress("bank", "train", 3, 15, {"loss": 0.5})]
    Party("bank", NAMES, {}, ()).report("train", 1, 2)  # to nobody
