"""Peers that break the protocol are named; none of what they send is used.

A cheater here is an honest party whose messages of one class are spoilt on their way out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import PeerFault
from engine.psi.align import MESSAGES, Confirmation, align
from engine.psi.ecdh import Marks, Places, PooledTags, Positions
from engine.psi.identifiers import encode
from engine.psi.multiparty import Common, FullyBlinded, SharedCount
from engine.psi.session import Hello, Points
from engine.runtime.channel import Channel
from engine.runtime.party import Party

Play = Callable[..., dict[str, Any]]
Spoil = Callable[[Any], Any]
NAMES = ("bank", "telco", "shop")
KEYS = encode(np.arange(4))
P = 2**255 - 19


class Spoilt:
    """A channel whose messages of one class are changed before they leave."""

    def __init__(self, channel: Channel, kind: type[Any], spoil: Spoil) -> None:
        self.channel, self.kind, self.spoil = channel, kind, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    def send(self, message: Any) -> None:
        self.channel.send(self.spoil(message) if type(message) is self.kind else message)


def cheating(kind: type[Any], spoil: Spoil) -> Callable[[Party], Any]:
    def role(party: Party) -> Any:
        party.channels.update({peer: Spoilt(c, kind, spoil) for peer, c in party.channels.items()})  # type: ignore
        return align(party, KEYS)

    return role


def fault(play: Play, parties: int, cheater: str, kind: type[Any], spoil: Spoil) -> PeerFault:
    roles = dict.fromkeys(NAMES[:parties], lambda party: align(party, KEYS))
    with pytest.raises(PeerFault) as raised:
        play({**roles, cheater: cheating(kind, spoil)}, MESSAGES)
    return raised.value


def row(encoding: bytes) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    def put(points: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = points.copy()
        out[1] = np.frombuffer(encoding, dtype=np.uint8)
        return out

    return put


BAD_POINTS = {
    "identity": (row(bytes(32)), "sent a point that is not a canonical element"),
    "not reduced": (row(P.to_bytes(32, "little")), "sent a point that is not a canonical element"),
    "negative": (row(b"\1" + bytes(31)), "sent a point that is not a canonical element"),
    "all ones": (row(b"\xff" * 32), "sent a point that is not a canonical element"),
    "twice": (lambda p: p[[0, 1, 1, 3]], "sent a point twice"),
    "too few": (lambda p: p[:-1].copy(), "sent another number of rows"),
    "too many": (lambda p: p[[0, 1, 2, 3, 0]], "sent another number of rows"),
    "short": (lambda p: p[:, :31].copy(), "sent another number of rows"),
}


@pytest.mark.parametrize("case", BAD_POINTS)
@pytest.mark.parametrize(("parties", "cheater"), [(2, "bank"), (2, "telco"), (3, "bank"), (3, "telco"), (3, "shop")])
def test_bad_points(play: Play, parties: int, cheater: str, case: str) -> None:
    spoil, text = BAD_POINTS[case]
    found = fault(play, parties, cheater, Points, lambda m: Points(spoil(m.rows)))
    assert found.peer == cheater
    assert text in found.what


@pytest.mark.parametrize("case", ["twice", "too few", "too many", "short"])
def test_bad_sets_to_the_leader(play: Play, case: str) -> None:
    spoil, text = BAD_POINTS[case]
    found = fault(play, 3, "telco", FullyBlinded, lambda m: FullyBlinded(spoil(m.rows)))
    assert found.peer == "telco"
    assert text in found.what


@pytest.mark.parametrize("cheater", ["bank", "telco", "shop"])
@pytest.mark.parametrize("case", BAD_POINTS)
def test_bad_points_on_the_way_back(play: Play, cheater: str, case: str) -> None:
    spoil, _ = BAD_POINTS[case]
    found = fault(play, 3, cheater, Common, lambda m: Common(spoil(m.rows)))
    # An owner cannot tell who on the way spoilt a point that is in the group but not its own.
    assert found.peer == cheater or "never sent" in found.what


@pytest.mark.parametrize("parties", [2, 3])
def test_impossible_greetings(play: Play, parties: int) -> None:
    assert fault(play, parties, "telco", Hello, lambda m: Hello(m.nonce, -1, m.spec, m.plan)).peer == "telco"
    assert fault(play, parties, "telco", Hello, lambda m: Hello(b"", m.rows, m.spec, m.plan)).peer == "telco"


@pytest.mark.parametrize("count", [-1, 0, 5, 1 << 40])
def test_impossible_counts(play: Play, count: int) -> None:
    found = fault(play, 3, "bank", SharedCount, lambda m: SharedCount(count))
    assert found.peer == "bank"
    assert "counted more rows" in found.what


@pytest.mark.parametrize(("kind", "cheater"), [(Positions, "bank"), (Places, "telco")])
@pytest.mark.parametrize(
    ("places", "text"),
    [
        ([0, 1, 2], "another number of rows"),
        ([0, 1, 2, 4], "not offered"),
        ([0, 1, 2, 2**32 - 1], "not offered"),
        ([0, 1, 2, 2], "named a row twice"),
    ],
)
def test_bad_positions(play: Play, kind: type[Any], cheater: str, places: list[int], text: str) -> None:
    found = fault(play, 2, cheater, kind, lambda m: kind(np.array(places, dtype=np.uint32)))
    assert found.peer == cheater
    assert text in found.what


@pytest.mark.parametrize(
    ("bits", "text"), [([31], "not sent"), ([255], "not sent"), ([15, 0], "another number"), ([], "another number")]
)
def test_bad_marks(play: Play, bits: list[int], text: str) -> None:
    found = fault(play, 2, "telco", Marks, lambda m: Marks(np.array(bits, dtype=np.uint8)))
    assert found.peer == "telco"
    assert text in found.what


def test_marks_of_fewer_rows_than_places(play: Play) -> None:
    found = fault(play, 2, "telco", Marks, lambda m: Marks(np.array([7], dtype=np.uint8)))
    assert found.peer == "telco"
    assert "another number of rows" in found.what


def test_positions_in_another_order_are_found_by_the_confirmation(play: Play) -> None:
    found = fault(play, 2, "bank", Positions, lambda m: Positions(m.rows[::-1].copy()))
    assert "aligned other rows" in found.what


@pytest.mark.parametrize(("kind", "cheater"), [(PooledTags, "bank")])
@pytest.mark.parametrize("spoil", [lambda tags: tags[:-1].copy(), lambda tags: tags[:, :-1].copy()])
def test_tags_of_another_shape(play: Play, kind: type[Any], cheater: str, spoil: Spoil) -> None:
    found = fault(play, 2, cheater, kind, lambda m: kind(spoil(m.rows)))
    assert found.peer == cheater
    assert "another number of rows" in found.what


def test_another_confirmation(play: Play) -> None:
    assert "aligned other rows" in fault(play, 2, "telco", Confirmation, lambda m: Confirmation(b"")).what
