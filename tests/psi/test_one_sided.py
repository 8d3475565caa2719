"""Intersections that one side learns, their size, and sums over them: in one part in memory, and in many on disk."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import Misuse, PeerFault, Refused
from engine.he.clear import Clear
from engine.he.rlwe import Rlwe
from engine.kernels import tiers
from engine.psi import cardinality, intersect, session, stream
from engine.psi.cardinality import Cardinality, Key, Opening, Sums, Total, Values, total
from engine.psi.ecdh import Marks, PooledTags
from engine.psi.identifiers import encode
from engine.psi.intersect import Outcome
from engine.psi.session import PerPeer, bucket, padded
from engine.runtime.message import spec_of
from engine.runtime.party import Party
from engine.runtime.policy import Policy, Rule

Play = Callable[..., dict[str, Any]]
in_memory = pytest.mark.parametrize("links", ["in memory"], indirect=True)


def shuffled(ids: range, seed: int) -> list[int]:
    return random.Random(seed).sample(list(ids), len(ids))


@pytest.fixture(params=["one part", "many parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "many parts":
        if tiers.tier() == "reference":
            pytest.skip("parts are padded with hundreds of rows, which takes minutes in Python integers")
        monkeypatch.setattr(stream, "PART", 16)
        monkeypatch.setattr(session, "CHUNK", 32)
    return str(request.param)


def matched(play: Play, *sets: range, policies: Any = None, **options: Any) -> dict[str, tuple[list[int], Outcome]]:
    def role(ids: list[int]) -> Callable[[Party], tuple[list[int], Outcome]]:
        return lambda party: (ids, intersect.intersect(party, encode(np.array(ids)), **options))

    roles = {name: role(shuffled(ids, i)) for i, (name, ids) in enumerate(zip(("bank", "telco"), sets, strict=True))}
    return play(roles, intersect.MESSAGES, policies)


# The receiver alone.


@pytest.mark.parametrize("receiver", [None, "bank", "telco"])
@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("sets", [(range(1), range(1)), (range(40), range(20, 50)), (range(60), range(59, 64))])
def test_the_receiver_learns_its_rows_and_the_sender_how_many(
    play: Play, parts: str, tmp_path: Path, receiver: str | None, pad: bool, sets: tuple[range, range]
) -> None:
    found = matched(play, *sets, receiver=receiver, pad=pad, folder=tmp_path)
    expected = set(sets[0]) & set(sets[1])
    for name, (ids, outcome) in found.items():
        assert outcome.shared == len(expected)
        if name == (receiver or "bank"):
            assert outcome.rows is not None
            assert outcome.rows.tolist() == sorted(outcome.rows.tolist())
            assert {ids[row] for row in outcome.rows} == expected
        else:
            assert outcome.rows is None
    assert not list(tmp_path.iterdir())


@in_memory
def test_sets_in_parts_are_spilled_and_removed_even_if_a_run_fails(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PART", 16)
    seen, count = set(), stream.count_shared

    def spy(*arguments: Any) -> Any:
        seen.update(path.name.split(".")[0] for path in tmp_path.glob("*/*"))
        return count(*arguments)

    monkeypatch.setattr(stream, "count_shared", spy)
    with pytest.raises(Refused, match="minimum of 30"):
        matched(play, range(40), range(20, 50), min_intersection=30, folder=tmp_path)
    assert "keys" in seen
    assert not list(tmp_path.iterdir())


@in_memory
def test_keys_may_be_a_memory_map(play: Play, parts: str, tmp_path: Path) -> None:
    def role(ids: range) -> Callable[[Party], Outcome]:
        def run(party: Party) -> Outcome:
            path = tmp_path / party.name
            encode(np.array(ids)).tofile(path)
            keys = np.memmap(path, dtype=np.uint8, mode="r", shape=(len(ids), 16))
            return intersect.intersect(party, keys)

        return run

    found = play({"bank": role(range(40)), "telco": role(range(10, 50))}, intersect.MESSAGES)
    assert found["bank"].rows.tolist() == list(range(10, 40))


def test_misuse_is_named(play: Play, parts: str) -> None:
    with pytest.raises(Misuse, match="receiver must be one of bank, telco"):
        matched(play, range(3), range(3), receiver="shop")
    twice = encode(np.arange(40))[[*range(40), 30]]
    for keys, text in ((twice, "rows 31 and 41"), (twice[:, :4], "shape")):
        with pytest.raises((Misuse, PeerFault), match=text):
            play(dict.fromkeys(("bank", "telco"), lambda p, k=keys: intersect.intersect(p, k)), intersect.MESSAGES)
    with pytest.raises(Misuse, match="two parties"):
        play(dict.fromkeys("abc", lambda p: intersect.intersect(p, twice[:9])), intersect.MESSAGES)


def test_below_the_minimum_the_receiver_learns_nothing(play: Play, parts: str) -> None:
    ledgers = {}

    def role(party: Party) -> None:
        ledgers[party.name] = party.ledger
        intersect.intersect(party, encode(np.arange(20) + 17 * (party.name == "telco")), min_intersection=4)

    with pytest.raises(Refused, match="fewer customers than the minimum of 4"):
        play(dict.fromkeys(("bank", "telco"), role), intersect.MESSAGES)
    sent = {entry.message for ledger in ledgers.values() for entry in ledger.entries()}
    assert spec_of(PooledTags).name in sent
    assert spec_of(Marks).name not in sent


@pytest.mark.parametrize("strict", ["bank", "telco"])
def test_policies_and_budgets_of_either_side_hold(play: Play, strict: str) -> None:
    with pytest.raises(Refused, match=rf"{strict} refuses: .* minimum of 6"):
        matched(play, range(9), range(4, 13), policies={strict: Policy(strict, (Rule(min_intersection=6),))})
    with pytest.raises(Refused, match="budget"):
        matched(play, range(9), range(9), budget=PerPeer(strict, rows=15))


def test_sizes_are_padded_to_buckets() -> None:
    for rows in [*range(1, 2000), 10**5, 10**6, 10**7, 10**8]:
        size = bucket(rows)
        assert rows <= size <= max(16, 17 * rows // 16 + 16)
        assert bucket(size) == size
    assert len({bucket(rows) for rows in range(1 << 16, 1 << 17)}) <= 33
    keys = encode(np.arange(17))
    assert padded(keys).shape == (32, 16)
    assert np.array_equal(padded(keys)[:17], keys)
    assert len(np.unique(padded(keys), axis=0)) == 32


@pytest.mark.parametrize(("rows", "parts"), [(1 << 20, 1), (10**7, 10), (1000, 10), (10**8, 96), (5, 3)])
def test_parts_are_large_enough(rows: int, parts: int) -> None:
    size = stream.part_size(rows, parts)
    if parts == 1:
        assert size == rows
        return
    mean = rows / parts
    # Chernoff's bound for a sum of independent rows, sharper than Bernstein's: exp(-mean h(x)), h(x) = (1+x)ln(1+x)-x.
    x = (size - mean) / mean
    assert parts * np.exp(-mean * ((1 + x) * np.log1p(x) - x)) <= 2**-40
    assert size <= mean * 1.01 or mean < 10**6


def test_what_is_sent_depends_on_padded_sizes_only(play: Play, parts: str) -> None:
    def transcript(*sets: range) -> Any:
        def role(ids: range) -> Callable[[Party], Any]:
            def run(party: Party) -> Any:
                intersect.intersect(party, encode(np.array(ids)))
                return [(e.sender, e.receiver, e.message, e.messages, e.bytes) for e in party.ledger.entries()]

            return run

        return play({"bank": role(sets[0]), "telco": role(sets[1])}, intersect.MESSAGES)

    assert transcript(range(35), range(40)) == transcript(range(1000, 1047), range(1000, 1033))


@in_memory
def test_a_sender_that_marks_padding_or_other_sizes_is_named(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = encode(np.arange(20))

    def cheat(change: Callable[[Any], Any]) -> str:
        def sender(party: Party) -> None:
            channel, send = party["bank"], party["bank"].send
            channel.send = lambda m: send(change(m) if type(m) is Marks else m)  # type: ignore[method-assign]
            intersect.intersect(party, ids)

        with pytest.raises(PeerFault) as raised:
            play({"bank": lambda p: intersect.intersect(p, ids), "telco": sender}, intersect.MESSAGES)
        assert raised.value.peer == "telco"
        return raised.value.what

    assert "only pads" in cheat(lambda m: Marks(np.full_like(m.bits, 255)))
    assert "another number" in cheat(lambda m: Marks(m.bits[:-1].copy()))


# The size, and sums.


def counted(play: Play, *sets: range, **options: Any) -> list[int]:
    def role(ids: range) -> Callable[[Party], int]:
        return lambda party: cardinality.cardinality(party, encode(np.array(ids)), **options)

    return list(play({"bank": role(sets[0]), "telco": role(sets[1])}, cardinality.MESSAGES).values())


@pytest.mark.parametrize("sets", [(range(1), range(1)), (range(40), range(20, 50))])
def test_both_learn_how_many_rows_they_share(play: Play, parts: str, sets: tuple[range, range]) -> None:
    assert counted(play, *sets) == [len(set(sets[0]) & set(sets[1]))] * 2


def test_a_size_below_the_minimum_is_not_told(play: Play) -> None:
    with pytest.raises(Refused, match="minimum of 4"):
        counted(play, range(9), range(6, 20), min_intersection=4)


IDS = {"bank": range(50), "telco": range(20, 60)}
COLUMNS = np.stack([np.arange(50) ** 2 - 900, np.full(50, -(2**50))], axis=1)
EXPECTED = COLUMNS[20:].sum(axis=0).tolist()


def summed(play: Play, holder: str, make: Callable[[], Any] = Clear, **options: Any) -> dict[str, Total]:
    names = ("bank", "telco") if holder == "bank" else ("telco", "bank")

    def role(party: Party) -> Total:
        holds = party.name == holder
        ids, values = (IDS["bank"], COLUMNS) if holds else (IDS["telco"], None)
        order = np.random.default_rng(len(ids)).permutation(len(ids))
        own = values[order] if values is not None else None
        return total(party, encode(np.array(ids)[order]), own, make(), holder=holder, **options)

    return play(dict.fromkeys(names[:: 1 if options.get("first", True) else -1], role), cardinality.MESSAGES)


@in_memory
@pytest.mark.parametrize("to", [None, ("bank",), ("telco",)])
@pytest.mark.parametrize("holder", ["bank", "telco"])
def test_sums_over_the_shared_rows(play: Play, parts: str, holder: str, to: Any) -> None:
    for name, found in summed(play, holder, to=to).items():
        assert found.shared == 30
        assert (found.sums.tolist() if found.sums is not None else None) == (
            EXPECTED if to is None or name in to else None
        )


def test_sums_under_encryption(play: Play) -> None:
    for found in summed(play, "bank", Rlwe).values():
        assert found.sums is not None
        assert found.sums.tolist() == EXPECTED


@in_memory
@pytest.mark.parametrize("holder_refuses", [True, False])
def test_below_a_minimum_no_sum_is_opened(play: Play, holder_refuses: bool) -> None:
    name = "bank" if holder_refuses else "telco"
    sent = set()

    def role(party: Party) -> None:
        try:
            total(party, encode(np.array(IDS[party.name])), COLUMNS if party.name == "bank" else None, Clear())
        finally:
            sent.update(entry.message for entry in party.ledger.entries())

    with pytest.raises(Refused, match=rf"{name} refuses: .* minimum of 31"):
        play(dict.fromkeys(IDS, role), cardinality.MESSAGES, {name: Policy(name, (Rule(min_intersection=31),))})
    kinds = (Values, Sums, Opening) if holder_refuses else (Cardinality, Values, Sums, Opening)
    assert not sent & {spec_of(kind).name for kind in kinds}


@in_memory
def test_values_and_sides_that_cannot_be(play: Play) -> None:
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (COLUMNS[:5], {}, "one row for each key"),
        (COLUMNS.astype(float), {}, "int64"),
        (None, {}, "one row for each key"),
        (np.full((50, 1), 2**62), {}, "less than 2"),
        (np.full((50, 1), -(2**63)), {}, "less than 2"),
        (COLUMNS, {"to": ()}, "who learn"),
        (COLUMNS, {"to": ("shop",)}, "who learn"),
        (COLUMNS, {"holder": "shop"}, "holder"),
    ]
    keys = encode(np.array(IDS["bank"]))

    def role(party: Party) -> None:
        for values, options, text in cases:
            with pytest.raises(Misuse, match=text):
                total(party, keys, values, Clear(), **options)
        assert not party.ledger.entries()

    play({"bank": role, "telco": lambda party: None}, cardinality.MESSAGES)


@in_memory
def test_a_scheme_that_encrypts_nothing_stays_in_this_process(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Party, "networked", True)
    with pytest.raises(Misuse, match="encrypts nothing"):
        summed(play, "bank")


@in_memory
@pytest.mark.parametrize(
    ("cheater", "kind", "change", "text"),
    [
        ("telco", Cardinality, lambda m: Cardinality(0), "counted more"),
        ("telco", Cardinality, lambda m: Cardinality(1 << 40), "counted more"),
        ("telco", Sums, lambda m: Sums(m.ciphertexts[:1].copy()), "sent something invalid"),
        ("bank", Key, lambda m: Key(m.public[:-1].copy(), m.columns), "sent something invalid"),
        ("bank", Key, lambda m: Key(m.public, 0), "number of columns"),
        ("bank", Key, lambda m: Key(m.public, 1 << 40), "number of columns"),
        ("bank", Values, lambda m: Values(m.ciphertexts[:, :-1].copy()), "sent something invalid"),
        ("bank", Opening, lambda m: Opening(m.share[:, :1].copy()), "shares that cannot be"),
        ("telco", Opening, lambda m: Opening(m.share + np.uint64(1 << 60)), "shares that cannot be"),
        ("telco", Opening, lambda m: Opening(m.share ^ np.array([[1], [0]], np.uint64)), "a sum that no column"),
    ],
)
def test_cheats_are_named(play: Play, cheater: str, kind: type[Any], change: Callable[[Any], Any], text: str) -> None:
    def role(party: Party) -> None:
        if party.name == cheater:
            for channel in party.channels.values():
                send = channel.send
                channel.send = lambda m, s=send: s(change(m) if type(m) is kind else m)  # type: ignore
        total(party, encode(np.array(IDS[party.name])), COLUMNS if party.name == "bank" else None, Clear())

    with pytest.raises(PeerFault, match=text) as raised:
        play(dict.fromkeys(IDS, role), cardinality.MESSAGES)
    assert raised.value.peer == cheater
