"""Queries against a table: what is found and released, what each side sends, and sides that cheat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import Misuse, PeerFault, Refused
from engine.kernels import group
from engine.psi import session, unbalanced
from engine.psi.identifiers import Spec, encode
from engine.psi.oprf import Suite, public_key
from engine.psi.session import Hello, PerPeer, bucket
from engine.psi.table import Directory, Table, build
from engine.psi.unbalanced import Answers, Found, Labels, Offer, Prefixes, Tails
from engine.runtime.party import Party
from engine.runtime.policy import Policy, Rule

Play = Callable[..., dict[str, Any]]
MESSAGES = (Hello, *unbalanced.MESSAGES)
KEYS = encode(np.arange(40))
LABELS = np.arange(40 * 3, dtype=np.uint8).reshape(40, 3)
MODES = pytest.mark.parametrize("verifiable", [False, True])
SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def tables() -> dict[bool, Table]:
    return {verifiable: build(KEYS, LABELS, queries=1 << 10, verifiable=verifiable) for verifiable in (False, True)}


def ask(play: Play, table: Table, ids: Any, policies: Any = None, budget: Any = session.unlimited, **own: Any) -> Found:
    def receiver(party: Party) -> Found:
        return unbalanced.receiver(party, encode(np.array(ids)), verifiable=table.directory.verifiable, **own)

    def sender(party: Party) -> None:
        unbalanced.sender(party, table, budget=budget)

    found = play({"shop": receiver, "bank": sender}, MESSAGES, policies)["shop"]
    assert isinstance(found, Found)
    return found


@MODES
@pytest.mark.parametrize("ids", [[3], [39, 40, 0, 1000], range(30, 50), [77], range(40)])
def test_ids_that_the_sender_holds_are_found_with_their_labels(
    play: Play, tables: dict[bool, Table], verifiable: bool, ids: Any
) -> None:
    found = ask(play, tables[verifiable], ids)
    held = [i for i, one in enumerate(ids) if one < 40]
    assert found.rows.tolist() == held
    assert found.labels.tolist() == [LABELS[ids[i]].tolist() for i in held]
    assert found.labels.dtype == np.uint8


def test_queries_and_tables_of_several_chunks(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CHUNK", 16)
    for labels in (None, LABELS):
        table = build(KEYS, labels, verifiable=True)
        found = ask(play, table, range(5, 60))
        assert found.rows.tolist() == list(range(35))
        assert found.labels.shape == (35, 0 if labels is None else 3)


def test_a_table_is_sent_once_and_asked_often(play: Play, tables: dict[bool, Table]) -> None:
    table, sent = tables[True], []

    def receiver(directory: Directory | None) -> Callable[[Party], Found]:
        def run(party: Party) -> Found:
            found = unbalanced.receiver(party, KEYS[5:7], verifiable=True, directory=directory)
            sent.append({entry.message.split(".")[-1] for entry in party.ledger.entries() if entry.sender == "bank"})
            return found

        return run

    first = play({"shop": receiver(None), "bank": lambda p: unbalanced.sender(p, table)}, MESSAGES)["shop"]
    again = play({"shop": receiver(first.directory), "bank": lambda p: unbalanced.sender(p, table)}, MESSAGES)["shop"]
    other = build(KEYS, verifiable=True)
    newer = play({"shop": receiver(first.directory), "bank": lambda p: unbalanced.sender(p, other)}, MESSAGES)["shop"]
    assert first.rows.tolist() == again.rows.tolist() == newer.rows.tolist() == [0, 1]
    assert [("Tails" in kinds, "Labels" in kinds) for kinds in sent] == [(True, True), (False, False), (True, False)]
    assert newer.directory.digest == other.directory.digest


@MODES
def test_a_table_is_kept_with_its_key_sealed(
    play: Play, tables: dict[bool, Table], tmp_path: Path, verifiable: bool
) -> None:
    table = tables[verifiable]
    table.save(tmp_path / "a" / "table", SECRET)
    loaded = Table.load(tmp_path / "a" / "table", SECRET)
    assert loaded.key == table.key
    assert ask(play, loaded, [38, 39, 40]).rows.tolist() == [0, 1]
    everything = b"".join(path.read_bytes() for path in sorted((tmp_path / "a" / "table").iterdir()))
    assert table.key.to_bytes(32, "little") not in everything
    assert str(table.key) not in repr(table)


def test_a_table_that_was_changed_or_is_none_is_refused(tables: dict[bool, Table], tmp_path: Path) -> None:
    def saved(name: str) -> Path:
        tables[False].save(tmp_path / name, SECRET)
        return tmp_path / name

    for name in ("table", "tags.npy", "labels.npy"):
        path = saved(name) / name
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        with pytest.raises(Misuse, match="another secret, or its files were changed"):
            Table.load(path.parent, SECRET)
    with pytest.raises(Misuse, match="another secret"):
        Table.load(saved("other"), bytes(32))
    for change in (b"", b"SYNERGOS OPRF 1\n", b"x" * 200):
        (saved("cut") / "table").write_bytes(change)
        with pytest.raises(Misuse, match="no table of this version"):
            Table.load(tmp_path / "cut", SECRET)
    with pytest.raises(Misuse, match="holds no table"):
        Table.load(tmp_path / "nowhere", SECRET)
    with pytest.raises(Misuse, match="32 bytes"):
        tables[False].save(tmp_path / "weak", b"password")


def test_misuse_is_named(play: Play) -> None:
    for call, text in (
        (lambda: build(KEYS[:0]), "no rows"),
        (lambda: build(KEYS[[0, 1, 0]]), "rows 1 and 3"),
        (lambda: build(KEYS[:, :8]), "shape"),
        (lambda: build(KEYS, LABELS[:5]), "one row for each key"),
        (lambda: build(KEYS, LABELS.astype(np.int64)), "uint8"),
        (lambda: build(KEYS, np.zeros((40, 513), np.uint8)), "512 bytes"),
    ):
        with pytest.raises(Misuse, match=text):
            call()

    def role(party: Party) -> None:
        with pytest.raises(Misuse, match="one party at a time"):
            unbalanced.receiver(party, KEYS)

    play(dict.fromkeys(("a", "b", "c"), role), MESSAGES)


def test_tables_never_repeat_and_pad_with_what_looks_like_rows() -> None:
    one, other = build(KEYS, LABELS), build(KEYS, LABELS)
    assert one.key != other.key
    assert one.directory.digest != other.directory.digest
    assert len(one.directory.tags) == bucket(40) == len(np.unique(one.directory.tags, axis=0)) == 48
    order = [row.tobytes() for row in one.directory.tags]
    assert order == sorted(order)
    assert len(np.unique(one.directory.labels, axis=0)) == 48
    assert public_key(one.key) == one.directory.public


# Policies and budgets.


def test_a_budget_bounds_all_queries_of_a_peer(play: Play, tables: dict[bool, Table]) -> None:
    budget = PerPeer("bank", rows=40)
    ask(play, tables[False], range(16), budget=budget)
    ask(play, tables[False], range(16), budget=budget)
    with pytest.raises(Refused, match="bank refuses: shop has used up its budget"):
        ask(play, tables[False], range(16), budget=budget)
    budget("another", 40)
    few = PerPeer("bank", rows=1 << 20, runs=1)
    few("shop", 1)
    with pytest.raises(Refused, match="used up"):
        few("shop", 1)


def test_policies_hold(play: Play, tables: dict[bool, Table]) -> None:
    with pytest.raises(Refused, match=r"bank refuses: .* hides from the sender"):
        ask(play, tables[False], range(9), {"bank": Policy("bank", (Rule(min_intersection=2),))})
    with pytest.raises(Refused, match=r"shop refuses: .* minimum of 9"):
        ask(play, tables[False], range(8), {"shop": Policy("shop", (Rule(min_intersection=9),))})
    with pytest.raises(Refused, match="minimum of 9"):
        ask(play, tables[False], range(8), min_intersection=9)
    with pytest.raises(Refused, match=r"bank refuses: .* at most 20 rows"):
        ask(play, tables[False], range(21), {"bank": Policy("bank", (Rule(max_rows=20),))})


def test_sides_of_another_mode_or_rule_part_at_the_greeting(play: Play, tables: dict[bool, Table]) -> None:
    for options, text in (({"verifiable": True}, "another plan"), ({"spec": Spec(case="fold")}, "another form")):
        with pytest.raises(PeerFault, match=text):
            play(
                {
                    "shop": lambda p, o=options: unbalanced.receiver(p, KEYS, **o),
                    "bank": lambda p: unbalanced.sender(p, tables[False]),
                },
                MESSAGES,
            )


# What is sent.


@MODES
def test_what_is_sent_depends_on_padded_sizes_only(play: Play, tables: dict[bool, Table], verifiable: bool) -> None:
    def transcript(ids: Any) -> Any:
        ledgers = {}

        def receiver(party: Party) -> None:
            unbalanced.receiver(party, encode(np.array(ids)), verifiable=verifiable)
            ledgers["shop"] = [(e.sender, e.message, e.messages, e.bytes) for e in party.ledger.entries()]

        play({"shop": receiver, "bank": lambda p: unbalanced.sender(p, tables[verifiable])}, MESSAGES)
        return ledgers["shop"]

    assert transcript(range(16)) == transcript(range(100, 110)) == transcript([5])


# Cheats.


class Spoilt:
    """A channel whose messages of one class are changed before they leave."""

    def __init__(self, channel: Any, kind: type[Any], spoil: Callable[[Any], Any]) -> None:
        self.channel, self.kind, self.spoil = channel, kind, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    def send(self, message: Any) -> None:
        self.channel.send(self.spoil(message) if type(message) is self.kind else message)


def fault(play: Play, table: Table, kind: type[Any], spoil: Callable[[Any], Any], **own: Any) -> str:
    def cheat(party: Party) -> None:
        party.channels.update({peer: Spoilt(c, kind, spoil) for peer, c in party.channels.items()})  # type: ignore
        unbalanced.sender(party, table)

    def receiver(party: Party) -> None:
        unbalanced.receiver(party, KEYS[:9], verifiable=table.directory.verifiable, **own)

    with pytest.raises(PeerFault) as raised:
        play({"shop": receiver, "bank": cheat}, MESSAGES)
    assert raised.value.peer == "bank"
    return raised.value.what


def first_row(rows: NDArray[np.uint8], value: bytes) -> NDArray[np.uint8]:
    out = rows.copy()
    out[0] = np.frombuffer(value, dtype=np.uint8)
    return out


def test_a_sender_with_another_key_is_found_out(play: Play, tables: dict[bool, Table]) -> None:
    table, key = tables[True], 12345

    def other(message: Answers) -> Answers:
        rows = group.multiply(message.rows, key)[0]
        return Answers(rows, message.proof)

    def one_row(message: Answers) -> Answers:
        return Answers(first_row(message.rows, group.multiply(message.rows[:1], key)[0].tobytes()), message.proof)

    for spoil in (
        other,
        one_row,
        lambda m: Answers(m.rows, bytes(64)),
        lambda m: Answers(m.rows[::-1].copy(), m.proof),
    ):
        assert "answered with another key" in fault(play, table, Answers, spoil)
    assert "a proof of another size" in fault(play, table, Answers, lambda m: Answers(m.rows, b""))
    # One who proves another key than it offered, or offers another than is known of it, does not pass either.
    liar = Table(table.directory, key)
    assert "answered with another key" in fault(play, liar, Offer, lambda m: m)
    pinned = public_key(key)
    assert "than the one pinned" in fault(play, table, Offer, lambda m: m, pinned=pinned)
    assert ask(play, table, [1], pinned=table.directory.public).rows.tolist() == [0]


@MODES
def test_answers_that_are_no_elements(play: Play, tables: dict[bool, Table], verifiable: bool) -> None:
    for value in (bytes(32), b"\xff" * 32, b"\1" + bytes(31)):
        spoil = lambda m, v=value: Answers(first_row(m.rows, v), m.proof)  # noqa: E731
        assert "canonical element" in fault(play, tables[verifiable], Answers, spoil)
    for cut in (lambda rows: rows[:-1].copy(), lambda rows: rows[:, :-1].copy()):
        spoil = lambda m, c=cut: Answers(c(m.rows), m.proof)  # noqa: E731
        assert "another number of rows" in fault(play, tables[verifiable], Answers, spoil)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"digest": b""}, "cannot be"),
        ({"salt": bytes(31)}, "cannot be"),
        ({"public": bytes(32)}, "identity"),
        ({"public": b"\xff" * 32}, "canonical"),
        ({"tag": 3}, "tags of a size"),
        ({"tag": 33}, "tags of a size"),
        ({"tag": 8}, "another number of rows"),
        ({"label": 16}, "labels of a size"),
        ({"label": 1 << 20}, "labels of a size"),
        ({"label": -1}, "labels of a size"),
        ({"verifiable": True}, "other mode"),
        ({"digest": bytes(32)}, "another table"),
        ({"salt": bytes(32)}, "another table"),
    ],
)
def test_offers_that_cannot_be(play: Play, tables: dict[bool, Table], changes: dict[str, Any], text: str) -> None:
    names = ("digest", "public", "salt", "tag", "label", "verifiable")

    def spoil(offer: Offer) -> Offer:
        return Offer(**({name: getattr(offer, name) for name in names} | changes))

    assert text in fault(play, tables[False], Offer, spoil)


def test_tables_that_cannot_be(play: Play, tables: dict[bool, Table]) -> None:
    table = tables[False]
    assert "another number of tags" in fault(play, table, Prefixes, lambda m: Prefixes(m.rows + np.uint32(1)))
    assert "another table" in fault(play, table, Tails, lambda m: Tails(m.rows[::-1].copy()))
    assert "another table" in fault(play, table, Labels, lambda m: Labels(m.rows[::-1].copy()))
    swapped = replace(table.directory, labels=table.directory.labels[::-1].copy())
    assert "under another key than its row's" in fault(play, Table(swapped, table.key), Offer, lambda m: m)
    many = replace(
        table.directory, tags=np.repeat(table.directory.tags, 1 << 16, axis=0), labels=np.zeros((48 << 16, 0), np.uint8)
    )
    assert "too short" in fault(play, Table(many, table.key), Offer, lambda m: m)


def test_queries_that_are_no_elements(play: Play, tables: dict[bool, Table], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Suite, "blind", lambda self, inputs, blinds: np.zeros((len(inputs), 32), dtype=np.uint8))
    with pytest.raises(PeerFault, match=r"shop sent a point that is not a canonical element"):
        ask(play, tables[False], [1])
