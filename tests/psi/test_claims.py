"""What a peer only claims costs nothing, sets of very unequal size are safe, and files are the owner's alone."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import LinkLost, PeerFault, Refused
from engine.kernels import tiers
from engine.psi import align, cardinality, intersect, session, stream, unbalanced
from engine.psi.identifiers import Spec, encode
from engine.psi.oprf import Suite
from engine.psi.session import Hello, greet
from engine.psi.table import Table, build
from engine.psi.unbalanced import Offer, Prefixes, Tails, Wanted
from engine.runtime.party import Party
from engine.runtime.policy import Policy, Rule

Play = Callable[..., dict[str, Any]]
in_memory = pytest.mark.parametrize("links", ["in memory"], indirect=True)
MESSAGES = (Hello, *unbalanced.MESSAGES)
SECRET = bytes(range(32))


@in_memory
def test_a_table_takes_no_more_memory_than_was_sent(play: Play) -> None:
    rows, table, peak = 1 << 26, build(encode(np.arange(3))), 0

    def liar(party: Party) -> None:
        greet(party, "oprf", rows, Spec(), b"oprf ")
        own = table.directory
        party["shop"].send(Offer(own.digest, own.public, own.salt, 12, 0, False))
        party["shop"].receive(Wanted)
        party["shop"].send(Prefixes(np.array([rows, *[0] * 65535], dtype=np.uint32)))
        party["shop"].send(Tails(np.zeros((1, 10), dtype=np.uint8)))

    def receiver(party: Party) -> None:
        nonlocal peak
        tracemalloc.start()
        try:
            unbalanced.receiver(party, encode(np.arange(3)))
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    with pytest.raises(PeerFault, match="bank sent another number of rows"):
        play({"shop": receiver, "bank": liar}, MESSAGES)
    assert peak < 8 << 20


def test_tags_that_are_too_short_are_refused_before_the_table_is_sent(play: Play) -> None:
    table, wanted = build(encode(np.arange(3))), []

    def liar(party: Party) -> None:
        greet(party, "oprf", 1 << 26, Spec(), b"oprf ")
        own = table.directory
        party["shop"].send(Offer(own.digest, own.public, own.salt, 5, 0, False))
        wanted.append(party["shop"].receive(Wanted))

    with pytest.raises(PeerFault, match="bank made tags that are too short"):
        play({"shop": lambda p: unbalanced.receiver(p, encode(np.arange(3))), "bank": liar}, MESSAGES)
    assert not wanted


@in_memory
def test_tags_of_a_large_set_may_tie_beside_a_small_one(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "tag_size", lambda mine, theirs: 1)  # 60 points tie in one byte but once in a thousand

    def role(party: Party) -> Any:
        return intersect.intersect(party, encode(np.arange(60 if party.name == "bank" else 1)), pad=False)

    found = play(dict.fromkeys(("bank", "telco"), role), intersect.MESSAGES)
    assert found["telco"].shared == 1


def test_the_sender_counts_over_many_of_its_rows_or_over_none() -> None:
    part = stream.PART
    assert stream.part_count((10**7, 10**7)) == 10
    assert stream.part_count((1, part)) == stream.part_count((part, 16)) == 1
    assert stream.part_count((1 << 32, 1000)) == 1  # whatever the other side claims
    assert stream.part_count((1 << 32, part)) == stream.SPREAD
    for small in (1, 1000, 10**5, 10**6, 10**7):
        for large in (small, 10**7, 10**8, 1 << 32):
            assert stream.part_count((small, large)) in {1, *range(2, small // (part // stream.SPREAD) + 1)}


@in_memory
def test_one_row_against_more_than_a_part(play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if tiers.tier() == "reference":
        pytest.skip("thousands of multiplications take minutes in Python integers")
    monkeypatch.setattr(stream, "PART", 1024)
    monkeypatch.setattr(session, "CHUNK", 256)
    counts, count = [], stream.count_shared

    def spy(*arguments: Any) -> Any:
        counts.append(arguments)
        return count(*arguments)

    monkeypatch.setattr(stream, "count_shared", spy)

    def role(party: Party) -> Any:
        ids = np.arange(3000) if party.name == "bank" else np.array([7])
        return intersect.intersect(party, encode(ids), pad=False, folder=tmp_path)

    found = play(dict.fromkeys(("bank", "telco"), role), intersect.MESSAGES)
    assert found["bank"].rows.tolist() == [7]
    assert len(counts) == 1


@in_memory
def test_parts_are_files_of_their_owner_alone(play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if tiers.tier() == "reference":
        pytest.skip("parts are padded with hundreds of rows, which takes minutes in Python integers")
    monkeypatch.setattr(stream, "PART", 16)
    modes, keep = {}, stream.Parts.keep

    def spy(*arguments: Any) -> None:
        keep(*arguments)
        modes.update({path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*/*")})

    monkeypatch.setattr(stream.Parts, "keep", spy)
    role = lambda party: intersect.intersect(party, encode(np.arange(40)), folder=tmp_path)  # noqa: E731
    play(dict.fromkeys(("bank", "telco"), role), intersect.MESSAGES)
    assert {name.split(".")[0] for name in modes} == {"keys", "shuffle"}
    assert set(modes.values()) == {0o600}
    assert not list(tmp_path.iterdir())


@in_memory
@pytest.mark.parametrize("leaver", ["bank", "telco"])
def test_nothing_is_left_where_a_peer_stops_half_way(
    play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, leaver: str
) -> None:
    if tiers.tier() == "reference":
        pytest.skip("parts are padded with hundreds of rows, which takes minutes in Python integers")
    monkeypatch.setattr(stream, "PART", 16)
    seen = set()

    def role(party: Party) -> Any:
        if party.name == leaver:
            channel = next(iter(party.channels.values()))
            send, sent = channel.send, []

            def half(message: Any) -> None:
                sent.append(message)
                if len(sent) == 4:  # a greeting, and points of the first two parts or so
                    seen.update(path.name.split(".")[0] for path in tmp_path.glob("*/*"))
                    raise LinkLost(leaver, "it went")
                send(message)

            channel.send = half  # type: ignore[method-assign]
        return intersect.intersect(party, encode(np.arange(40)), folder=tmp_path)

    with pytest.raises(LinkLost):
        play(dict.fromkeys(("bank", "telco"), role), intersect.MESSAGES)
    assert "keys" in seen
    assert not list(tmp_path.iterdir())


# Sides that mean different things by one run.


@in_memory
@pytest.mark.parametrize(
    "roles",
    [
        {name: lambda p: intersect.intersect(p, encode(np.arange(5)), receiver=p.name) for name in ("bank", "telco")},
        {
            "bank": lambda p: intersect.intersect(p, encode(np.arange(5))),
            "telco": lambda p: cardinality.cardinality(p, encode(np.arange(5))),
        },
    ],
)
def test_sides_of_another_mode_part_at_the_greeting(play: Play, roles: Any) -> None:
    with pytest.raises(PeerFault, match="agreed to another plan"):
        play(roles, cardinality.MESSAGES)


@in_memory
def test_sides_that_order_the_parties_differently_part_at_the_greeting(play: Play) -> None:
    def role(party: Party) -> Any:
        party.parties = tuple(sorted(party.parties, reverse=party.name == "bank"))
        return align.align(party, encode(np.arange(5)))

    with pytest.raises(PeerFault, match="agreed to another plan"):
        play(dict.fromkeys(("bank", "telco"), role), align.MESSAGES)


# Tables.


def test_none_found_is_less_than_a_policys_minimum(play: Play) -> None:
    table = build(encode(np.arange(30)))
    roles = {
        "shop": lambda p: unbalanced.receiver(p, encode(np.array([99]))),
        "bank": lambda p: unbalanced.sender(p, table),
    }
    assert not len(play(roles, MESSAGES)["shop"].rows)
    with pytest.raises(Refused, match=r"shop refuses: .* minimum of 9"):
        play(roles, MESSAGES, {"shop": Policy("shop", (Rule(min_intersection=9),))})


def test_a_table_in_which_tags_tie_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated, calls = Suite.evaluated, 0

    def ties(self: Suite, key: int, inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        outputs = evaluated(self, key, inputs)
        return np.repeat(outputs[:1], len(outputs), axis=0) if calls == 1 else outputs

    monkeypatch.setattr(Suite, "evaluated", ties)
    tags = build(encode(np.arange(5))).directory.tags
    assert calls == 2
    assert len(np.unique(tags, axis=0)) == len(tags)


def test_a_table_is_saved_over_itself_under_another_secret(tmp_path: Path) -> None:
    table = build(encode(np.arange(300)))
    table.save(tmp_path, SECRET)
    loaded = Table.load(tmp_path, SECRET)
    loaded.save(tmp_path, bytes(32))
    assert Table.load(tmp_path, bytes(32)).directory.digest == table.directory.digest
    assert np.array_equal(loaded.directory.tags, table.directory.tags)
    assert {path.name for path in tmp_path.iterdir()} == {"table", "tags.npy", "labels.npy"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_save_that_fails_leaves_the_older_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(encode(np.arange(3))).save(tmp_path, SECRET)
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        build(encode(np.arange(4))).save(tmp_path, SECRET)
    assert len(list(tmp_path.iterdir())) == 3
    assert Table.load(tmp_path, SECRET).directory.tags.shape[0] == 16
